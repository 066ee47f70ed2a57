"""LeNet through the tutorial's script and through cnnzoo, beside each other.

``python benchmarks/tutorial_loop.py [--rounds 3]``: each round trains one epoch and validates with both, one
after the other, on the same images (the sample that ships with cnnzoo, or the full set where it is on this
machine), and prints images per second over training and validation: medians, and their ratio.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import cnnzoo
from cnnzoo.data import load_dataset, split_validation
from cnnzoo.data.batches import Batches, Preprocessing, Resident, Source
from cnnzoo.data.datasets import DATASETS, DEFAULT, SAMPLE
from cnnzoo.data.sources import locate
from cnnzoo.device import Precision, describe_device, placed
from cnnzoo.engine import Totals, evaluate, train_one_epoch
from cnnzoo.optimizers import Optimizer
from cnnzoo.trainer import evaluation_batch_size

CPU = torch.device("cpu")


class PilImages(Dataset[tuple[torch.Tensor, int]]):
    """What torchvision's FashionMNIST does for each image: to PIL, resized, to a tensor."""

    def __init__(self, source: Resident) -> None:
        self.source = source
        self.transform = transforms.Compose([transforms.Resize(size=28), transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self.source.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(self.source.images[index, 0].numpy())
        return self.transform(image), int(self.source.labels[index])


def tutorial(train_source: Source, val_source: Source) -> None:
    """One epoch as the tutorial's script has it."""
    assert isinstance(train_source, Resident)
    assert isinstance(val_source, Resident)
    model = cnnzoo.create_model("lenet")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    criterion = nn.CrossEntropyLoss()
    train_loss, train_corrects, val_loss, val_corrects = 0.0, torch.tensor(0), 0.0, torch.tensor(0)
    for b_x, b_y in DataLoader(PilImages(train_source), batch_size=32, shuffle=True):
        model.train()
        output = model(b_x)
        loss = criterion(output, b_y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        train_loss += loss.item() * b_x.size(0)
        train_corrects += torch.sum(torch.argmax(output, dim=1) == b_y)
    for b_x, b_y in DataLoader(PilImages(val_source), batch_size=32, shuffle=True):
        model.eval()
        output = model(b_x)
        val_loss += criterion(output, b_y).item() * b_x.size(0)
        val_corrects += torch.sum(torch.argmax(output, dim=1) == b_y)


def ours(train_source: Source, val_source: Source) -> None:
    """One epoch through cnnzoo's engine."""
    model, precision, preprocessing = (
        placed(cnnzoo.create_model("lenet"), CPU),
        Precision("fp32", ""),
        Preprocessing(28),
    )
    totals = Totals()
    train_one_epoch(
        model,
        Batches(train_source, preprocessing, 32, CPU, seed=0).epoch(1),
        Optimizer(model.parameters(), "adam", lr=0.001, momentum=0.9, weight_decay=0.0),
        totals,
        device=CPU,
        precision=precision,
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        lr_at_step=lambda _: 0.001,
        label_smoothing=0.0,
        grad_clip=0.0,
        on_step=lambda _: None,
    )
    totals.read()
    val_batches = Batches(val_source, preprocessing, evaluation_batch_size(32, 28), CPU)
    evaluate(model, val_batches.epoch(), device=CPU, precision=precision)


def main() -> None:
    """Time both in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    name = DEFAULT if locate(DATASETS[DEFAULT], None) else SAMPLE
    dataset = load_dataset(name, "train", image_size=28)
    assert dataset is not None
    train_source, val_source = split_validation(dataset.source, 0.2, seed=0)
    contestants: dict[str, Callable[[Source, Source], None]] = {"tutorial": tutorial, "cnnzoo": ours}
    rates: dict[str, list[float]] = {who: [] for who in contestants}
    for contestant in contestants.values():  # warm up: imports and first-time set-up are not what is timed
        contestant(train_source.subset(torch.arange(320)), val_source.subset(torch.arange(320)))
    for _ in range(rounds):
        for who, contestant in contestants.items():
            started = time.perf_counter()
            contestant(train_source, val_source)
            rates[who].append(len(dataset.source.labels) / (time.perf_counter() - started))
    print(f"lenet, {name}, torch {torch.__version__}, {describe_device(CPU)}, {rounds} rounds")
    for who, values in rates.items():
        print(f"{who:<10}{statistics.median(values):>10,.0f} images/s")
    medians = [statistics.median(values) for values in rates.values()]
    print(f"cnnzoo is {medians[1] / medians[0]:.2f} times as fast")


if __name__ == "__main__":
    main()
