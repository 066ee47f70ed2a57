"""What docs/architecture.md says of adding something, done as it says."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import REPOSITORY

pytestmark = pytest.mark.slow


def run(tree: Path, folder: Path, *arguments: str) -> str:
    """Run ``cnnzoo ARGUMENTS`` with the code in ``tree``; it has to end well, and to say nothing on stderr."""
    # A copied tree's coverage is not the package's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-m", "cnnzoo", *arguments],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


SMALL = (
    "--dataset",
    "fashionmnist-sample",
    "--limit-train",
    "96",
    "--limit-val",
    "32",
    "--epochs",
    "1",
    "--name",
    "r",
)


def test_a_network_a_dataset_an_augmentation_an_optimizer_and_a_loss_are_added_from_outside(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "import torch\n"
        "from torch import nn\n"
        "import cnnzoo\n"
        "@cnnzoo.register_model('mine', image_size=28)\n"
        "def mine(num_classes, in_channels):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 784, num_classes))\n"
        "@cnnzoo.register_optimizer('halving')\n"
        "class Halving(torch.optim.SGD):\n"
        "    pass\n"
        "@cnnzoo.register_loss('cubic')\n"
        "def cubic(logits, targets):\n"
        "    if targets.ndim == 1:\n"
        "        targets = nn.functional.one_hot(targets, logits.shape[1])\n"
        "    return (logits - targets).abs().pow(3).mean()\n"
        "@cnnzoo.register_augmentation('noise')\n"
        "class Noise(cnnzoo.Augmentation):\n"
        "    def __init__(self, std: float = 0.1):\n"
        "        self.std = std\n"
        "    def draw(self, epoch):\n"
        "        shape = epoch.num_images, 1, epoch.image_size, epoch.image_size\n"
        "        return torch.randn(shape, generator=epoch.generator('noise')) * self.std\n"
        "    def __call__(self, examples, drawn):\n"
        "        return examples._replace(images=examples.images + drawn)\n"
        "@cnnzoo.register_dataset('halves', classes=('dark', 'light'), channels=1, image_size=28)\n"
        "def halves(split):\n"
        "    labels = np.arange(200) % 2\n"
        "    return np.full((200, 1, 28, 28), 255, np.uint8) * labels[:, None, None, None].astype(np.uint8), labels\n",
        encoding="utf-8",
    )

    def command(*line: str) -> str:
        return run(REPOSITORY, tmp_path, *line, "--import", "mine")

    line = ("--augment", "flip,noise:0.2,mixup", "--optimizer", "halving", "--loss", "cubic", *SMALL)
    command("train", "mine", *line, "--dataset", "halves", "--name", "own-data")
    assert "200 test images of halves" in command("eval", "own-data")
    command("train", "mine", *line)
    assert "1,000 test images" in command("eval", "r")
    assert "mine" in command("models")
    command("train", "--resume", "r", "--epochs", "2")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source, to be patched."""
    shutil.copytree(REPOSITORY / "src", tmp_path / "tree" / "src")
    return tmp_path / "tree"


def test_a_column_of_the_history_is_added_in_two_places_and_older_runs_go_on(
    tree: Path, tmp_path: Path
) -> None:
    package = tree / "src" / "cnnzoo"
    for file, old, new in (
        (
            package / "runs" / "history.py",
            "    images_per_second: float\n",
            "    images_per_second: float\n    val_images: int = 0\n    note: float | None = None\n",
        ),
        (
            package / "training" / "state.py",
            "            images_per_second=(trained.images + validated.images) / seconds,\n",
            "            images_per_second=(trained.images + validated.images) / seconds,\n"
            "            val_images=validated.images,\n",
        ),
    ):
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1
        file.write_text(text.replace(old, new), encoding="utf-8")
    folder = tmp_path / "work"
    folder.mkdir()
    for name, lr in (("r", "0.01"), ("other", "0.001")):
        run(REPOSITORY, folder, "train", "lenet", *SMALL, "--lr", lr, "--name", name)
    assert_read(tree, folder)
    run(tree, folder, "train", "--resume", "r", "--epochs", "2")
    with (folder / "runs" / "r" / "history.csv").open(newline="", encoding="utf-8") as rows:
        assert [(row["val_images"], row["note"]) for row in csv.DictReader(rows)] == [("0", ""), ("32", "")]
    run(tree, folder, "train", "lenet", *SMALL, "--name", "new")
    assert_read(tree, folder)
    # A column without a default is in every run: a history that lacks it was changed.
    table = folder / "runs" / "other" / "history.csv"
    table.write_text(table.read_text().replace(",lr,", ",rate,"))
    ended = subprocess.run(
        [sys.executable, "-m", "cnnzoo", "verify", "other"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(tree / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "✗ history.csv: lr of epoch 1 is None, and 0.001 in last.pt" in ended.stdout


def assert_read(tree: Path, folder: Path) -> None:
    """See that every command which reads histories takes the runs in a folder for what they are."""
    names = sorted(path.name for path in (folder / "runs").iterdir() if path.is_dir())
    listed = json.loads(run(tree, folder, "runs", "--format", "json"))
    assert sorted(each["name"] for each in listed) == names
    assert all(each["fault"] == "" and each["val_acc"] is not None for each in listed)
    assert run(tree, folder, "verify", *names).count("✓ history.csv: the history in last.pt.") == len(names)
    assert json.loads(run(tree, folder, "compare", *names, "--format", "json"))["num_images"] == 1000
    assert "best epoch" in run(tree, folder, "plot", *(f"runs/{name}" for name in names), "-o", "all.png")
