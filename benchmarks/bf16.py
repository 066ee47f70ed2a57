"""What conv1 over blocks of pixels does to accuracy in bf16: AlexNet with and without it, the same seeds.

``python benchmarks/bf16.py [--seeds 5] [--epochs 3] [--limit-train N]`` trains AlexNet at 67x67 on the sample that
ships with cnnzoo, in bf16, native or not, and tests it on all of Fashion-MNIST, where it is on this machine. It prints
the accuracies of each pair of runs, the mean difference with its 95% interval by Student's t, and how much seeds differ
by themselves.
"""

import argparse
import tempfile
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from statistics import mean, stdev
from unittest.mock import patch

import torch
from torch import nn

from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.analysis.eval.intervals import t_interval
from cnnzoo.config import TrainConfig
from cnnzoo.config_file import read_sweep
from cnnzoo.data.named.catalog import DATASETS, DEFAULT_DATASET, SAMPLE
from cnnzoo.data.named.locate import locate
from cnnzoo.device import describe_device
from cnnzoo.training.train import train

BASE, _, _ = read_sweep(Path(__file__).parents[1] / "configs" / "alexnet-ideas.yaml")
WITHOUT = patch("cnnzoo.models.layers.Conv2d.forward", nn.Conv2d.forward)


def accuracy(seed: int, epochs: int, limit: int | None, dataset: str, *, in_blocks: bool) -> float:
    """Train, and return the share of test images that are right."""
    changes = {"seed": seed, "epochs": epochs, "limit_train": limit}
    with tempfile.TemporaryDirectory() as out, nullcontext() if in_blocks else WITHOUT:
        run = train(TrainConfig.from_dict({**BASE, **changes, "out": out})).run
        return evaluate(run / "last.pt", dataset=dataset, precision="fp32").accuracy


def main() -> None:
    """Train pairs in turns, and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--limit-train", type=int)
    arguments = parser.parse_args()
    dataset = DEFAULT_DATASET if locate(DATASETS[DEFAULT_DATASET], None) else SAMPLE
    print(f"{date.today()}, {describe_device(torch.device('cpu'))}, torch {torch.__version__}, {dataset}")
    of_blocks: list[float] = []
    plain: list[float] = []
    for seed in range(arguments.seeds):
        for in_blocks, found in ((True, of_blocks), (False, plain)):
            found.append(
                accuracy(seed, arguments.epochs, arguments.limit_train, dataset, in_blocks=in_blocks)
            )
        print(f"seed {seed}: {of_blocks[-1]:.2%} in blocks, {plain[-1]:.2%} without", flush=True)
    differences = [100 * (one - other) for one, other in zip(of_blocks, plain, strict=True)]
    low, high = t_interval(differences)
    print(f"mean {mean(of_blocks):.2%} in blocks, {mean(plain):.2%} without")
    print(f"difference {mean(differences):+.2f} points, 95% interval {low:+.2f} to {high:+.2f}")
    print(f"standard deviation over seeds: {100 * stdev(of_blocks):.2f} and {100 * stdev(plain):.2f} points")


if __name__ == "__main__":
    main()
