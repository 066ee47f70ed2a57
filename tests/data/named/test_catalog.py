"""A dataset of one's own: a function that reads it, registered by a name."""

from pathlib import Path

import numpy as np
import pytest
import torch

import cnnzoo
from cnnzoo.data.named import catalog
from cnnzoo.errors import CnnzooError
from tests.faults.shared import assert_refused
from tests.helpers import InterruptedRunError, StopAfter, quick, resume, same_state, train
from tests.processes import Processes

MODULE = """
import numpy as np
import cnnzoo

@cnnzoo.register_dataset("bars", classes=("left", "right"), channels=1, image_size=20)
def bars(split):
    labels = np.arange(200 if split == "train" else 50) % 2
    images = np.zeros((len(labels), 1, 20, 20), dtype=np.uint8)
    images[labels == 0, :, :, :10] = 255
    images[labels == 1, :, :, 10:] = 255
    return images, labels
"""


@pytest.mark.slow
def test_it_trains_is_evaluated_listed_and_resumed_by_the_command(
    processes: Processes, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(MODULE, encoding="utf-8")
    line = (
        "train",
        "lenet",
        "--dataset",
        "bars",
        "-o",
        "activation=relu",
        "--epochs",
        "2",
        "--out",
        ".",
        "--name",
        "r",
    )
    done = processes.run(*line, "--import", "mine", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "data: bars, 160 to train on, 40 to validate" in done.out
    tested = processes.run("eval", "r", "--out", ".", "--import", "mine", cwd=tmp_path)
    assert tested.code == 0
    assert "50 test images of bars" in tested.out
    assert "accuracy 100.00%" in tested.out
    listed = processes.run("--import", "mine", "data", cwd=tmp_path)
    assert [line.split() for line in listed.out.splitlines() if line.startswith("bars")] == [
        ["bars", "1x20x20", "registered"]
    ]
    shown = processes.run("summary", "lenet", "--dataset", "bars", "--import", "mine", cwd=tmp_path)
    assert "2 classes (bars)" in shown.out
    more = processes.run(
        "train", "--resume", "r", "--out", ".", "--epochs", "3", "--import", "mine", cwd=tmp_path
    )
    assert (more.code, more.err) == (0, "")
    assert_refused(processes.run(*line, "--name", "q", cwd=tmp_path), "unknown dataset 'bars'", code=2)
    assert_refused(
        processes.run("train", "--resume", "r", "--out", ".", "--epochs", "4", cwd=tmp_path),
        "If it is one of your own, add --import=mine.",
        code=2,
    )


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what a test registers forgotten at its end."""
    monkeypatch.setattr(catalog, "DATASETS", dict(catalog.DATASETS))


@pytest.mark.usefixtures("registered")
def test_tensors_are_as_good_as_arrays_and_a_stopped_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    @cnnzoo.register_dataset("noise", classes="abc", channels=3, image_size=28)
    def noise(split: str) -> tuple[torch.Tensor, torch.Tensor]:
        chance = torch.Generator().manual_seed(len(split))
        images = torch.randint(256, (160, 3, 28, 28), generator=chance).to(torch.uint8)
        return images, torch.randint(3, (160,), generator=chance)

    config = quick(tmp_path, dataset="noise", limit_train=None, limit_val=None, augment="flip,crop", epochs=2)
    whole = train(config).run
    with pytest.raises(InterruptedRunError):
        train(config.replace(name="stopped"), reporter=StopAfter(6))
    resume(tmp_path / "runs" / "stopped")
    assert same_state(whole, tmp_path / "runs" / "stopped")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (np.zeros((4, 20, 20), np.uint8), np.zeros(4, int), r"gives images uint8 \(4, 20, 20\)"),
        (np.zeros((4, 1, 20, 20)), np.zeros(4, int), "gives images float64"),
        (np.zeros((4, 3, 20, 20), np.uint8), np.zeros(4, int), r"should give uint8 \(N, 1, H, W\)"),
        (np.zeros((4, 1, 20, 20), np.uint8), np.zeros(3, int), "whole numbers"),
        (np.zeros((4, 1, 20, 20), np.uint8), np.zeros(4), "labels float64"),
        (np.zeros((4, 1, 20, 20), np.uint8), np.full(4, 2), r"outside 0 to 1\. Mend what reads it"),
    ],
)
def test_what_is_no_images_and_labels_is_one_line(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, says: str
) -> None:
    cnnzoo.register_dataset("odd", classes=("a", "b"), channels=1, image_size=20)(
        lambda split: (images, labels)
    )
    with pytest.raises(CnnzooError, match=says):
        train(quick(tmp_path, dataset="odd"))


def test_a_name_is_taken_once() -> None:
    with pytest.raises(CnnzooError, match="dataset name 'mnist' is taken"):
        cnnzoo.register_dataset("mnist", classes="ab", channels=1, image_size=8)(lambda split: (None, None))
