"""Photographs from files to a net: how many a second, beside the loader that everybody writes with torchvision.

``python benchmarks/loader.py`` makes photographs of 500×375 and of 4000×3000, JPEG of quality 90, cut from those that
come with scikit-learn and, where it is installed, scikit-image. Both train the same trivial net on them at 227×227, in
batches of 32, with two workers, and validate on a fifth, in turns, each in a process of its own: cnnzoo by ``train``,
with the images streamed, torchvision by ImageFolder, Resize, CenterCrop, ToTensor, Normalize and DataLoader. Counted
are the epochs behind the first one.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

import cnnzoo
from cnnzoo.data import reading

SIZES = {"small": (500, 375), "large": (4000, 3000)}
COUNTS = {"small": 2_000, "large": 100}
SIDE, BATCH, WORKERS, EPOCHS = 227, 32, 2, 3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LOADERS = ("cnnzoo", "torchvision")
FROM_SKIMAGE = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")


def photographs() -> list[Image.Image]:
    """Return what there is to cut photographs from."""
    found = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    spec = importlib.util.find_spec("skimage")
    if spec and spec.origin:
        folder = Path(spec.origin).parent / "data"
        found += [
            Image.open(folder / name).convert("RGB") for name in FROM_SKIMAGE if (folder / name).exists()
        ]
    return found


def make_photographs(root: Path, size: tuple[int, int], num: int) -> None:
    """Write photographs of that size into ``train/`` and ``val/``, four to one, each with two classes."""
    numbers = np.random.default_rng(0)
    sources = photographs()
    for index in range(num):
        source = sources[index % len(sources)]
        width = int(min(source.width, source.height * size[0] / size[1]) * numbers.uniform(0.7, 1))
        height = int(width * size[1] / size[0])
        left, top = (
            int(numbers.integers(rest + 1)) for rest in (source.width - width, source.height - height)
        )
        photograph = source.resize(
            size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height)
        )
        folder = root / ("val" if index % 5 == 4 else "train") / f"class{index // 5 % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        photograph.save(folder / f"{index}.jpg", quality=90)


def trivial_net(num_classes: int) -> nn.Module:
    """Return a net that takes next to no time."""
    return nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(3 * (SIDE // 32) ** 2, num_classes))


def run_cnnzoo(folder: Path) -> list[float]:
    """Train by cnnzoo; return each epoch's seconds."""
    reading.MAX_RESIDENT_BYTES = 0  # so few photographs would stay in memory

    @cnnzoo.register_model("trivial", image_size=SIDE)
    class Trivial(nn.Module):
        """What both train."""

        def __init__(self, num_classes: int, in_channels: int = 3) -> None:
            super().__init__()
            self.layers = trivial_net(num_classes)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            """Return logits ``(N, num_classes)``."""
            logits: torch.Tensor = self.layers(images)
            return logits

    config = cnnzoo.TrainConfig(
        model="trivial",
        dataset=f"folder:{folder}",
        epochs=EPOCHS,
        batch_size=BATCH,
        num_workers=WORKERS,
        out=folder.parent / "runs",
    )
    return [row.seconds for row in cnnzoo.train(config).history]


def run_torchvision(folder: Path) -> list[float]:
    """Train by a plain loop with torchvision's loader; return each epoch's seconds."""
    steps = [
        transforms.Resize(SIDE),
        transforms.CenterCrop(SIDE),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    train, val = (ImageFolder(str(folder / part), transforms.Compose(steps)) for part in ("train", "val"))
    train_loader = DataLoader(train, BATCH, shuffle=True, num_workers=WORKERS)
    val_loader = DataLoader(val, BATCH, num_workers=WORKERS)
    model = trivial_net(len(train.classes))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    seconds = []
    for _ in range(EPOCHS):
        started = time.perf_counter()
        for images, labels in train_loader:
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            for images, labels in val_loader:
                nn.functional.cross_entropy(model(images), labels)
        seconds.append(time.perf_counter() - started)
    return seconds


def rate(name: str, folder: Path, num: int) -> float:
    """Return the images per second of one of the LOADERS, in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--only", name, "--folder", str(folder)]
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=scratch)
    if done.returncode:
        sys.exit(f"{done.stderr[-3000:]}\n{' '.join(command)} failed with {done.returncode}.")
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return num / statistics.median(seconds[1:])


def main() -> None:
    """Run both in turns, and print medians and what cnnzoo's come to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photographs", default="small,large", help="any of small, large")
    parser.add_argument("--rounds", type=int, default=3)
    for name, num in COUNTS.items():
        parser.add_argument(f"--{name}", type=int, default=num, metavar="N", help=f"so many {name} ones")
    parser.add_argument("--format", choices=["table", "json"], default="table")
    parser.add_argument("--only", choices=LOADERS, help=argparse.SUPPRESS)  # a process that is measured
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        run = run_cnnzoo if arguments.only == "cnnzoo" else run_torchvision
        print(json.dumps(run(arguments.folder)))
        return
    if unknown := set(arguments.photographs.split(",")) - set(SIZES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "torch": torch.__version__,
        "rounds": arguments.rounds,
        "photographs": {},
    }
    for kind in arguments.photographs.split(","):
        num = getattr(arguments, kind)
        rates: dict[str, list[float]] = {name: [] for name in LOADERS}
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "photographs")
            make_photographs(folder, SIZES[kind], num)
            for number in range(1, arguments.rounds + 1):
                for name, done in rates.items():
                    done.append(rate(name, folder, num))
                    print(f"round {number}: {kind}, {name}: {done[-1]:,.1f} images/s", file=sys.stderr)
        middle = {name: statistics.median(done) for name, done in rates.items()}
        result["photographs"][kind] = {
            "images": num,
            "rates": rates,
            "medians": middle,
            "ratio": middle["cnnzoo"] / middle["torchvision"],
        }
    if arguments.format == "json":
        print(json.dumps(result, indent=2))
        return
    print("{date}, {machine}, torch {torch}, rounds: {rounds}".format_map(result))
    print(f"{'images/s':<20}{'cnnzoo':>12}{'torchvision':>14}{'ratio':>8}")
    for kind, found in result["photographs"].items():
        width, height = SIZES[kind]
        ours, theirs = (found["medians"][name] for name in LOADERS)
        print(f"{f'{width}×{height} to {SIDE}':<20}{ours:>12,.1f}{theirs:>14,.1f}{found['ratio']:>8.2f}")


if __name__ == "__main__":
    main()
