"""Checkpoints: verified to the last bit, safe to open, never half written."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import cnnzoo
from cnnzoo.errors import CnnzooError
from cnnzoo.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


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
        precision="fp32",
        state_dict=cnnzoo.create_model("lenet", pooling="max").state_dict(),
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


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CnnzooError, match="cannot read"):
        load_checkpoint(tmp_path)
