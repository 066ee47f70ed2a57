"""What several processes on this machine gain: images a second of ``cnnzoo train --processes``, side by side.

``python benchmarks/processes.py [--rounds 3] [--processes 1 2]``: in turns, each run in processes of its own; the
second of two epochs counts, over the training and the validation images.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import torch

from cnnzoo.device import describe_device

LENET = ("--limit-train", "16000", "--limit-val", "4000")
ALEXNET = ("--limit-train", "320", "--limit-val", "80")
RUNS = {
    "lenet": ("lenet", *LENET, "--batch-size", "32"),
    "lenet, batches of 512": ("lenet", *LENET, "--batch-size", "512"),
    "alexnet": ("alexnet", *ALEXNET, "--batch-size", "32"),
    "alexnet, 4 batches a step": ("alexnet", *ALEXNET, "--batch-size", "32", "--grad-accum", "4"),
}


def rate(settings: tuple[str, ...], processes: int) -> float:
    """Return images a second of the second epoch."""
    with tempfile.TemporaryDirectory() as out:
        own = ["--epochs", "2", "--name", "run", "--out", out, "--quiet", "--processes", str(processes)]
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        command = [sys.executable, "-m", "cnnzoo", "train", *settings, *own]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        with (Path(out) / "run" / "history.csv").open(newline="") as file:
            return float(list(csv.DictReader(file))[-1]["images_per_second"])


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    asked = parser.parse_args()
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(asked.rounds):
        for name, settings in RUNS.items():
            for num in asked.processes:
                rates.setdefault((name, num), []).append(rate(settings, num))
    device = describe_device(torch.device("cpu"))
    print(f"{datetime.now():%Y-%m-%d}, {device}, torch {torch.__version__}, {asked.rounds} rounds\n")
    print("| images a second |", " | ".join(f"{num} process(es)" for num in asked.processes), "| ratio |")
    print("|---|" + "---|" * (len(asked.processes) + 1))
    for name in RUNS:
        medians = [statistics.median(rates[name, num]) for num in asked.processes]
        shown = " | ".join(
            f"{median:,.0f} ({min(rates[name, num]):,.0f} to {max(rates[name, num]):,.0f})"
            for num, median in zip(asked.processes, medians, strict=True)
        )
        print(f"| {name} | {shown} | {medians[-1] / medians[0]:.2f} |")


if __name__ == "__main__":
    main()
