"""Whether bf16 costs accuracy: AlexNet in both formats over seeds, and the differences seed by seed.

``python benchmarks/precision.py [--seeds 6]`` trains AlexNet at 67×67 on the sample that ships with cnnzoo for three
epochs and tests it on all of Fashion-MNIST. A seed has the same weights, split, order and dropout in both formats.
"""

import argparse
import tempfile
from statistics import mean, stdev

import torch

from cnnzoo.config import TrainConfig
from cnnzoo.data.datasets import DEFAULT, SAMPLE
from cnnzoo.device import describe_device
from cnnzoo.evaluation import evaluate
from cnnzoo.metrics import t_interval
from cnnzoo.trainer import train

RECIPE = {
    "model": "alexnet",
    "dataset": SAMPLE,
    "image_size": 67,
    "epochs": 3,
    "lr": 3e-4,
    "scheduler": "cosine",
}
PRECISIONS = ("fp32", "bf16")


def test_accuracy(precision: str, seed: int) -> float:
    """Train a net, and return what it gets right of the test images, as a fraction."""
    with tempfile.TemporaryDirectory() as out:
        config = TrainConfig.from_dict({**RECIPE, "precision": precision, "seed": seed, "out": out})
        return evaluate(train(config).run / "best.pt", dataset=DEFAULT, precision=precision).accuracy


def main() -> None:
    """Train and test in turns, and print what the formats differ by."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("one seed says nothing of noise: --seeds 2 or more.")
    print(f"torch {torch.__version__}, {describe_device(torch.device('cpu'))}, {arguments.seeds} seeds")
    accuracies: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for seed in range(arguments.seeds):
        for precision, found in accuracies.items():
            found.append(test_accuracy(precision, seed))
        print(
            f"seed {seed}: " + ", ".join(f"{p} {found[-1]:.2%}" for p, found in accuracies.items()),
            flush=True,
        )
    for precision, found in accuracies.items():
        print(f"{precision}  mean {mean(found):.2%}, standard deviation over the seeds {stdev(found):.2%}")
    differences = [100 * (bf16 - fp32) for fp32, bf16 in zip(*accuracies.values(), strict=True)]
    low, high = t_interval(differences)
    print(f"bf16 - fp32  {mean(differences):+.2f} points, 95% interval {low:+.2f} to {high:+.2f}")


if __name__ == "__main__":
    main()
