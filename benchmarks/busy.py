"""Beside busy processes: how many images a second a net trains on with one thread, with all, and with auto.

``python benchmarks/busy.py`` times LeNet quiet, beside one busy process and beside two; each of one thread, all threads
and auto in turn, three rounds. ``--model alexnet --size 67`` times another net. Each figure is of a process of its own,
over all its epochs, so that what it takes ``auto`` to notice counts.
"""

import argparse
import csv
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from cnnzoo.data.named.catalog import DATASETS, DEFAULT_DATASET, SAMPLE
from cnnzoo.data.named.locate import locate
from cnnzoo.device import describe_device

SETTINGS = ("1", "all", "auto")


def rate(arguments: argparse.Namespace, threads: str, folder: Path, name: str) -> float:
    """Train in a process of its own, and return the images per second over all epochs."""
    dataset = DEFAULT_DATASET if locate(DATASETS[DEFAULT_DATASET], None) else SAMPLE
    size = ["--image-size", str(arguments.size)] if arguments.size else []
    limit = (
        ["--limit-train", str(arguments.limit), "--limit-val", str(arguments.limit // 4)]
        if arguments.limit
        else []
    )
    number = str(torch.get_num_threads()) if threads == "all" else threads
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    subprocess.run(
        [
            *(sys.executable, "-m", "cnnzoo", "train", arguments.model, "--dataset", dataset, "--quiet"),
            *("--epochs", str(arguments.epochs), "--threads", number, "--out", str(folder), "--name", name),
            *size,
            *limit,
        ],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with (folder / name / "history.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    seconds = [float(row["seconds"]) for row in rows]
    images = [float(row["images_per_second"]) * float(row["seconds"]) for row in rows]
    return sum(images) / sum(seconds)


def main() -> None:
    """Print a table, and the two ratios that auto is to keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="lenet")
    parser.add_argument("--size", type=int)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cores = torch.get_num_threads()
    print(
        f"{describe_device(torch.device('cpu'))}, torch {torch.__version__}, {platform.system()}, {arguments.model}"
    )
    rates: dict[tuple[int, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            for busy in (0, 1, 2):
                others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
                try:
                    for threads in SETTINGS:
                        name = f"{number}-{busy}-{threads}"
                        rates.setdefault((busy, threads), []).append(
                            rate(arguments, threads, Path(folder), name)
                        )
                finally:
                    for other in others:
                        other.kill()
                        other.wait()
    print(f"{'images/s':18}{'1 thread':>12}{f'{cores} threads':>12}{'auto':>12}")
    for busy, label in enumerate(("quiet", "one busy process", "two")):
        figures = (statistics.median(rates[busy, threads]) for threads in SETTINGS)
        print(f"{label:18}" + "".join(f"{figure:>12,.0f}" for figure in figures))
    for busy, against, bound in ((1, "1", 0.6), (0, "all", 0.95)):
        ratios = [
            mine / theirs for mine, theirs in zip(rates[busy, "auto"], rates[busy, against], strict=True)
        ]
        shown = ", ".join(f"{ratio:.0%}" for ratio in ratios)
        where = "beside a busy process, auto of one thread" if busy else "quiet, auto of all threads"
        print(f"{where}: {shown} (to be at least {bound:.0%})")


if __name__ == "__main__":
    main()
