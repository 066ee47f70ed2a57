"""Six seeds side by side against one after another: ``python benchmarks/seeds.py`` times whole commands, in turn."""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

import torch

from cnnzoo.data.named.catalog import DATASETS, DEFAULT_DATASET, SAMPLE
from cnnzoo.data.named.locate import locate
from cnnzoo.device import describe_device

WAYS = {
    "--threads 1 --jobs 2": ("--threads", "1", "--jobs", "2"),
    "--threads 1": ("--threads", "1"),
    "--threads auto": ("--threads", "auto"),
}
"""What is timed; the first against each of the others."""


def main() -> None:
    """Print the seconds of each way, and the first one's share of the others'."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    dataset = DEFAULT_DATASET if locate(DATASETS[DEFAULT_DATASET], None) else SAMPLE
    print(f"{describe_device(torch.device('cpu'))}, torch {torch.__version__}, lenet on {dataset}")
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way, flags in WAYS.items():
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter()
                subprocess.run(
                    [
                        *(sys.executable, "-m", "cnnzoo", "train", "lenet", "--dataset", dataset, "--quiet"),
                        *("--seeds", str(arguments.seeds), "--epochs", str(arguments.epochs)),
                        *("--out", folder, *flags),
                    ],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                seconds[way].append(time.perf_counter() - started)
    first = statistics.median(next(iter(seconds.values())))
    for way, times in seconds.items():
        shown, middle = ", ".join(f"{each:.1f}" for each in times), statistics.median(times)
        print(f"{way:22}{middle:8.1f} s ({shown}); the first takes {first / middle:.0%} of it")


if __name__ == "__main__":
    main()
