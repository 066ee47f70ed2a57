"""Row 67: a run whose images were moved; the advice of each error is typed by the letter."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.faults.shared import assert_refused
from tests.helpers import draw_images

READERS = (
    ("eval", "r", "--no-save"),
    ("eval", "r", "--split", "val", "--no-save"),
    ("report", "r"),
    ("plot", "features", "r"),
    ("plot", "activations", "r"),
    ("plot", "batch", "r"),
    ("plot", "confusion", "r"),
    ("train", "--resume", "r", "--epochs", "2"),
)
"""Commands that read a run's images."""


@pytest.fixture
def moved(command: Command, tmp_path: Path) -> None:
    """A run whose folder of images, ``old``, is called ``new`` now, and a folder of others."""
    draw_images(tmp_path / "old")
    assert command("train", "lenet", "--dataset", "folder:old", "--epochs", "1", "--name", "r").code == 0
    (tmp_path / "old").rename(tmp_path / "new")
    shutil.copytree(tmp_path / "new", tmp_path / "other")
    next((tmp_path / "other" / "train" / "up").iterdir()).unlink()


@pytest.mark.usefixtures("moved")
@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_row_67_what_the_error_says_helps(command: Command, words: tuple[str, ...]) -> None:
    refused = command(*words)
    assert_refused(refused, "Say where it lies: --dataset folder:NEW")
    advice = refused.err.rpartition("Say where it lies: ")[2].replace("NEW", "new").split()
    done = command(*words, *advice)
    assert done.code == 0, done.err


@pytest.mark.usefixtures("moved")
def test_row_67_other_images_are_refused(command: Command) -> None:
    for words in (("report", "r"), ("plot", "features", "r"), ("train", "--resume", "r")):
        refused = command(*words, "--dataset", "folder:other")
        assert_refused(refused, "are not those that the run was trained on", "--dataset folder:NEW")
    refused = command("report", "r", "--dataset", "fashionmnist-sample")
    assert_refused(refused, "`cnnzoo eval --dataset fashionmnist-sample` tests it on others.", code=2)


@pytest.mark.slow
@pytest.mark.usefixtures("moved")
def test_row_67_a_complete_run_that_was_told_once_remembers(command: Command, tmp_path: Path) -> None:
    assert command("train", "--resume", "r", "--dataset", "folder:new").code == 0
    for words in (*READERS, ("verify", "runs/r")):
        assert command(*words).code == 0, words
    (tmp_path / "new").rename(tmp_path / "newer")
    told = command("train", "--resume", "r", "--epochs", "3", "--dataset", "folder:newer")
    assert told.code == 0, told.err
    for words in (("eval", "r", "--no-save"), ("train", "--resume", "r", "--epochs", "4")):
        assert command(*words).code == 0, words


@pytest.mark.parametrize("kind", ["curves", "filters"])
def test_row_67_pictures_without_images_take_no_dataset(command: Command, kind: str) -> None:
    assert_refused(command("plot", kind, "--dataset", "folder:x"), "Leave them out.", code=2)


@pytest.mark.usefixtures("moved")
def test_row_67_a_batch_of_a_model_is_of_the_dataset_that_is_named(command: Command, tmp_path: Path) -> None:
    for flag in ("--dataset", "-d"):
        done = command("plot", "batch", "lenet", flag, "folder:new", "-o", "batch.png")
        assert (done.code, done.out) == (0, "batch.png\n")
