"""The two nets and the data in plain PyTorch, for the peers that are built on it."""

import argparse

from common import NUM_TRAIN, NUM_VAL
from torch import nn
from torch.utils.data import Dataset, Subset, random_split
from torchvision import transforms
from torchvision.datasets import FashionMNIST


def lenet() -> nn.Module:
    """Return LeNet for 28×28 images."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10),
    )  # fmt: skip


def alexnet() -> nn.Module:
    """Return AlexNet for 227×227 images."""
    return nn.Sequential(
        nn.Conv2d(1, 96, 11, stride=4), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Flatten(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4096, 10),
    )  # fmt: skip


NETS = {"lenet": lenet, "alexnet": alexnet}


def datasets(asked: argparse.Namespace) -> tuple[Dataset, Dataset, Dataset]:
    """Return torchvision's FashionMNIST to train on, validate on and test on."""
    side = {"lenet": 28, "alexnet": 227}[asked.model]
    # LeNet's images have their size already: nobody would write a Resize for them.
    resize = [] if side == 28 else [transforms.Resize(side)]
    transform = transforms.Compose([*resize, transforms.ToTensor()])
    train, val = random_split(FashionMNIST(asked.data, transform=transform), [NUM_TRAIN, NUM_VAL])
    test = FashionMNIST(asked.data, train=False, transform=transform)
    limits = [(train, asked.limit_train), (val, asked.limit_val), (test, asked.limit_test)]
    first, second, third = (Subset(dataset, range(limit)) for dataset, limit in limits)
    return first, second, third
