"""How training grows: images a second and memory at 1, 10 and 100 times the data, with 1, 2 and 4 processes.

``python benchmarks/scale.py [--quick] [--data resident,streamed] [--processes 1,2,4]``, on Linux. Resident is LeNet on
Fashion-MNIST in memory, 600 to 60,000 images, a fifth of them for validation; streamed is a net that does next to
nothing on photographs of 500x375, cut to 227x227; the larger sets have more hard links to the same files. Each run is
in processes of its own; the fastest of its epochs counts. Memory is the most that all its processes had at once, what
they share counted once (PSS). ``--quick`` has a tenth of the images.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from cnnzoo.data.named.catalog import DATASETS, DEFAULT_DATASET, SAMPLE
from cnnzoo.data.named.locate import locate
from cnnzoo.device import describe_device

TIMES = (1, 10, 100)
RESIDENT, STREAMED = 600, 400
"""Images of the smallest set."""

PHOTOGRAPHS = 100
"""Different ones."""

POLL_SECONDS = 0.1

THIN = """
import cnnzoo
from torch import nn
from cnnzoo.data import reading

reading.MAX_RESIDENT_BYTES = 0  # small sets are streamed too, so that size is all that differs

@cnnzoo.register_model("thin", image_size=227)
class Thin(nn.Sequential):
    def __init__(self, num_classes=2, in_channels=3):
        super().__init__(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(in_channels * 49, num_classes))
"""


def make_photographs(root: Path, num_images: int) -> Path:
    """Write a tree of so many photographs, of which those beyond PHOTOGRAPHS are links to the former."""
    pictures = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    originals: list[Path] = []
    for index in range(num_images):
        label = index % 2
        file = root / ("china", "flower")[label] / f"{index:06}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        if index < PHOTOGRAPHS:
            left, top = index % 50, index % 40
            pictures[label].crop((left, top, left + 540, top + 365)).resize((500, 375)).save(file, quality=90)
            originals.append(file)
        else:
            os.link(originals[index % PHOTOGRAPHS], file)
    return root


def proportional_memory(root: int) -> int:
    """Return the bytes that a process and all below it have, what several share divided among them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _read(entry / "stat").rpartition(")")[2].split()):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    family = [root]
    for process in family:
        family += children.get(process, [])
    lines = [line for process in family for line in _read(Path(f"/proc/{process}/smaps_rollup")).splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # it has ended
        return ""


def measure(settings: list[str], processes: int) -> tuple[float, int]:
    """Train, and return the images a second of the fastest epoch and the most memory at once, in bytes."""
    with tempfile.TemporaryDirectory() as out:
        own = ["--name", "run", "--out", out, "--quiet", "--batch-size", "32", "--processes", str(processes)]
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        command = [sys.executable, "-m", "cnnzoo", "train", *settings, *own]
        most = 0
        with (Path(out) / "said").open("w+") as said:
            training = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
            while training.poll() is None:
                most = max(most, proportional_memory(training.pid))
                time.sleep(POLL_SECONDS)
            if training.returncode:
                said.seek(0)
                sys.exit(f"{' '.join(command)}: {said.read()}")
        with (Path(out) / "run" / "history.csv").open(newline="") as file:
            return max(float(row["images_per_second"]) for row in csv.DictReader(file)), most


def main() -> None:
    """Measure and print a Markdown table for each kind of data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="resident,streamed")
    parser.add_argument("--processes", default="1,2,4")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    teams = [int(number) for number in asked.processes.split(",")]
    shrink = 10 if asked.quick else 1
    if not (asked.quick or locate(DATASETS[DEFAULT_DATASET], None)):
        sys.exit("Fashion-MNIST is not on this machine. Get it: cnnzoo data fetch fashionmnist")
    print(
        f"{datetime.now():%Y-%m-%d}, {describe_device(torch.device('cpu'))}, torch {torch.__version__}; "
        "images/s, MB of memory"
    )
    for kind in asked.data.split(","):
        smallest = (RESIDENT if kind == "resident" else STREAMED) // shrink
        print(f"\n| {kind} |", " | ".join(f"{n} process{'es' if n > 1 else ''}" for n in teams), "|")
        print("|---|" + "---|" * len(teams))
        for times in TIMES:
            num = times * smallest
            with tempfile.TemporaryDirectory() as folder:
                if kind == "resident":
                    name = SAMPLE if asked.quick else DEFAULT_DATASET
                    settings = ["lenet", "--dataset", name]
                    settings += ["--limit-train", str(num * 4 // 5), "--limit-val", str(num // 5)]
                else:
                    module = Path(folder) / "thin.py"
                    module.write_text(THIN)
                    photographs = make_photographs(Path(folder) / "photographs", num)
                    settings = ["thin", "--import", str(module), "--dataset", f"folder:{photographs}"]
                cells = []
                for processes in teams:
                    speed, memory = measure([*settings, "--epochs", str(asked.epochs)], processes)
                    cells.append(f"{speed:,.0f}, {memory / 1e6:,.0f} MB")
            print(f"| {num:,} images |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
