"""Golden runs: what version 0.1 trained and went on to train, for other versions to be held against.

``git worktree add TREE V0_1`` lays out version 0.1. Then ``python -m tests.golden --tree TREE fixtures`` makes
tests/data/v0.1 anew, and ``python -m tests.golden --tree TREE runs FOLDER`` makes the golden runs in FOLDER. Everything
runs in fp32 on one thread, in processes whose cnnzoo is TREE's.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

V0_1 = "9b0654a742383e58a211522852d2adce467dbe71"
"""The commit of version 0.1."""

REPOSITORY = Path(__file__).parents[1]
FIXTURES = Path(__file__).parent / "data" / "v0.1"
TIMES = ("seconds", "images_per_second")

RUNS: dict[str, tuple[str, ...]] = {
    "lenet": ("lenet", "--epochs", "3"),
    "lenet5-1998": ("lenet5-1998", "--epochs", "3"),
    # Eight steps, with dropout as it comes and without: processors draw its masks differently.
    "alexnet": (
        "alexnet",
        "--epochs",
        "1",
        "--limit-train",
        "256",
        "--limit-val",
        "64",
        "--image-size",
        "67",
    ),
    "alexnet-no-dropout": (
        *("alexnet", "--epochs", "1", "--limit-train", "256", "--limit-val", "64", "--image-size", "67"),
        *("-o", "dropout=0"),
    ),
}
"""Whole runs on the sample, as arguments of ``cnnzoo train``."""

ON_ANY_MACHINE = ("lenet", "lenet5-1998", "alexnet-no-dropout")
"""Those whose histories are kept in tests/data/v0.1."""

SMALL = {"model": "lenet", "image_size": 12, "limit_train": 320, "limit_val": 100, "epochs": 3}
SAMPLE = {"dataset": "fashionmnist-sample", "model_options": {"activation": "tanh"}}

STOPPED: dict[str, tuple[dict[str, object], int]] = {
    "in-epoch": ({**SMALL, **SAMPLE, "image_size": 28, "scheduler": "cosine", "warmup_epochs": 0.5}, 13),
    "at-epochs-end": ({**SMALL, **SAMPLE, "epochs": 1}, 0),
    "augmented": (
        {
            **{**SMALL, **SAMPLE, "augment": ["flip", "crop", "affine", "colour"], "resize": 14},
            **{"optimizer": "sgd", "lr": 0.05, "grad_clip": 0.5, "batch_size": 16, "accumulate": 2},
            **{"workers": 0, "label_smoothing": 0.1, "monitor": "val_loss"},
        },
        13,
    ),
    "folder": (
        {**SMALL, "dataset": "folder:images", "batch_size": 4, "limit_train": None, "limit_val": None},
        7,
    ),
    # Class folders alone, of which a part is kept for the test, and pixels of 12 bits.
    "classes": (
        {**SMALL, "dataset": "folder:images", "batch_size": 4, "limit_train": None, "limit_val": None},
        7,
    ),
}
"""Runs that were stopped, each with its settings and the number of steps after which it was; 0: at its end."""

STOP = """
import json, os, signal, sys
import cnnzoo
from cnnzoo.trainer import InterruptedRunError, Silent

settings, steps = json.loads(sys.argv[1]), int(sys.argv[2])

class Stop(Silent):
    def step(self, epoch, phase, num_steps, totals):
        global steps
        steps -= phase == "train"
        if phase == "train" and steps == 0:
            os.kill(os.getpid(), signal.SIGINT)

try:
    cnnzoo.train(cnnzoo.TrainConfig.from_dict(settings), reporter=Stop())
except InterruptedRunError:
    pass
"""


def python(tree: Path, folder: Path, *arguments: str) -> None:
    """Run Python in ``folder``, with cnnzoo as it is in ``tree``, in fp32 on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree / "src")}
    environment.pop("CNNZOO_DATA", None)
    subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL
    )


def train(tree: Path, folder: Path, name: str) -> Path:
    """Train a golden run with the code in ``tree``, and return its folder."""
    fixed = (
        "--dataset",
        "fashionmnist-sample",
        "--precision",
        "fp32",
        "--device",
        "cpu",
        "--out",
        ".",
        "--name",
        name,
    )
    python(tree, folder, "-m", "cnnzoo", "train", *RUNS[name], *fixed)
    return folder / name


def resume(tree: Path, fixture: Path, folder: Path) -> Path:
    """Go on with a copy of a stopped run in ``folder``, with the code in ``tree``; return its folder."""
    shutil.copytree(fixture, folder, dirs_exist_ok=True)
    python(
        tree,
        folder,
        "-m",
        "cnnzoo",
        "train",
        "--resume",
        "run",
        "--out",
        ".",
        "--epochs",
        "3",
        "--device",
        "cpu",
    )
    return folder / "run"


def history(path: Path) -> list[dict[str, float]]:
    """Return a history's rows without what the clock has a part in."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def bits(run: Path) -> object:
    """Return what a run has come to, to the last bit: history, weights, optimizer and random states."""

    def plain(value: object) -> object:
        if isinstance(value, torch.Tensor):
            return str(value.dtype), tuple(value.shape), value.reshape(-1).view(torch.uint8).numpy().tobytes()
        if isinstance(value, dict):
            return {str(name): plain(member) for name, member in value.items() if name not in left_out}
        return [plain(member) for member in value] if isinstance(value, list | tuple) else value

    left_out = (*TIMES, "ending", "threads")  # what last.pt has beside, since then
    kept = ("epoch", "metrics", "state_dict", "training")
    saved = {name: torch.load(run / name, weights_only=True) for name in ("last.pt", "best.pt")}
    states = {name: {key: plain(values[key]) for key in kept} for name, values in saved.items()}
    return history(run / "history.csv"), states


def make_images(folder: Path, *, parts: bool) -> None:
    """Draw 3 classes of 16 small images: lines of a slope that tells the class.

    Args:
        folder: Where they go.
        parts: Whether 12 are in a folder to train on and 4 in another, as 8 bits; else all are 12 bits of 16.
    """
    from PIL import Image

    chance = torch.Generator().manual_seed(1)
    places = torch.arange(20)
    for label, slope in (("down", 1), ("level", 0), ("up", -1)):
        for number in range(16):
            offset = 4 + 12 * torch.rand((), generator=chance) - slope * 10
            distance = (places[:, None] - slope * places[None, :] - offset).abs()
            noise = 20 * torch.rand((20, 20), generator=chance)
            pixels = (255 - 60 * distance).clamp(min=0) * 0.9 + noise
            part = folder / ("train" if number < 12 else "test") / label if parts else folder / label
            part.mkdir(parents=True, exist_ok=True)
            values = pixels.to(torch.uint8) if parts else (pixels * 16).to(torch.uint16)
            Image.fromarray(values.numpy()).save(part / f"{number:02}.png", optimize=True)


def make_stopped(tree: Path, name: str) -> None:
    """Make a stopped run anew, how 0.1 went on with it, and on which images it was tested then."""
    import json

    settings, steps = STOPPED[name]
    folder = FIXTURES / name
    folder.mkdir(parents=True)
    if str(settings["dataset"]).startswith("folder:"):
        make_images(folder / "images", parts=name == "folder")
    here = {"precision": "fp32", "device": "cpu", "out": ".", "name": "run", **settings}
    python(tree, folder, "-c", STOP, json.dumps(here), str(steps))
    config = folder / "run" / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace(str(tree), "."), encoding="utf-8")
    (folder / "run" / ".lock").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        run = resume(tree, folder, Path(scratch))
        shutil.copy(run / "history.csv", folder / "resumed.csv")
        python(tree, Path(scratch), "-m", "cnnzoo", "eval", "run", "--out", ".")
        tested = json.loads((run / "eval.json").read_text(encoding="utf-8"))
    kept = {key: tested[key] for key in ("num_images", "data_sha256")}
    (folder / "tested.json").write_text(json.dumps(kept) + "\n", encoding="utf-8")


def make_fixtures(tree: Path) -> None:
    """Make tests/data/v0.1 anew: the stopped runs, how 0.1 went on with them, and golden histories."""
    shutil.rmtree(FIXTURES, ignore_errors=True)
    for name in STOPPED:
        make_stopped(tree, name)
    for name in ON_ANY_MACHINE:
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copy(train(tree, Path(scratch), name) / "history.csv", FIXTURES / f"{name}.csv")


def main() -> None:
    """Make what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--tree", type=Path, required=True)
    parser.add_argument("what", choices=["fixtures", "runs"])
    parser.add_argument("folder", type=Path, nargs="?")
    arguments = parser.parse_args()
    tree = arguments.tree.resolve()
    if arguments.what == "fixtures":
        make_fixtures(tree)
        return
    for name in RUNS:
        train(tree, arguments.folder, name)


if __name__ == "__main__":
    main()
