"""Checkpoints: verified to the last bit, safe to open, never half written."""

import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import cnnzoo
from cnnzoo.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cnnzoo.errors import CnnzooError


@pytest.fixture
def checkpoint() -> Checkpoint:
    return Checkpoint(
        model="lenet",
        model_options={"pooling": "max"},
        num_classes=10,
        in_channels=1,
        image_size=28,
        mean=(0.25,),
        std=(0.5,),
        dataset="mnist",
        data_sha256="0" * 64,
        classes=tuple("0123456789"),
        config={"model": "lenet"},
        epoch=3,
        metrics={"val_acc": 0.5},
        state_dict=cnnzoo.create_model("lenet", pooling="max").state_dict(),
        training={},
    )


def test_what_was_saved_is_loaded(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", checkpoint)
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert replace(loaded, state_dict={}) == replace(checkpoint, state_dict={})
    assert all(torch.equal(loaded.state_dict[k], v) for k, v in checkpoint.state_dict.items())
    model = loaded.build_model()
    assert all(torch.equal(model.state_dict()[k], v) for k, v in checkpoint.state_dict.items())


def test_plain_torch_opens_it_safely(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", checkpoint)
    assert torch.load(tmp_path / "a.pt", weights_only=True)["epoch"] == 3


def test_row_5_a_full_disk_leaves_the_old_checkpoint_and_no_rubbish(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, checkpoint)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(CnnzooError, match=r"a\.pt"):
            save_checkpoint(path, replace(checkpoint, epoch=4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_row_25_a_newer_format_names_both_versions(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnzoo.checkpoint.FORMAT", 7)
    save_checkpoint(tmp_path / "a.pt", checkpoint)
    monkeypatch.undo()
    with pytest.raises(CnnzooError, match=r"format 7.*up to 1"):
        load_checkpoint(tmp_path / "a.pt")


def test_row_23_weights_that_do_not_fit_the_model_are_one_line(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "a.pt", replace(checkpoint, num_classes=7))
    with pytest.raises(CnnzooError, match="do not fit lenet") as refused:
        load_checkpoint(tmp_path / "a.pt").build_model()
    assert "\n" not in str(refused.value)


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CnnzooError, match="cannot read"):
        load_checkpoint(tmp_path)
