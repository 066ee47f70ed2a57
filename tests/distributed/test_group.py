"""Several processes train what one would: each is a real process, and they meet over Gloo."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._pytree import tree_flatten

from cnnzoo.config_file import read_yaml
from cnnzoo.data.augment import make_augmentations
from cnnzoo.data.loader import Loader
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.data.sources import Resident
from cnnzoo.runs.checkpoint import Checkpoint, load_checkpoint
from tests.helpers import CPU, quick, rows, train
from tests.processes import Ended, Processes

UNEVEN = (
    *("train", "lenet", "-o", "activation=tanh", "--dataset", SAMPLE, "--epochs", "2"),
    # Seven whole batches and one of three images; validation in one of 1,024 and one of a single image.
    *("--limit-train", "227", "--limit-val", "1025", "--out", "."),
)

SETTINGS: Mapping[str, Sequence[str]] = {
    "plain": (),
    "all": (
        *("--optimizer", "sgd", "--lr", "0.05", "--weight-decay", "0.01", "--scheduler", "cosine"),
        *("--augment", "flip,crop,affine", "--label-smoothing", "0.1", "--grad-clip", "0.5"),
        *("--grad-accum", "3", "--monitor", "val_loss"),
    ),
}


def numbers(checkpoint: Checkpoint) -> list[torch.Tensor]:
    """The weights, and what the optimizer keeps of each."""
    values, _ = tree_flatten(
        [checkpoint.state_dict, checkpoint.training.optimizer if checkpoint.training else {}]
    )
    return [torch.as_tensor(value) for value in values if isinstance(value, torch.Tensor | float | int)]


def assert_same_training(one: Path, other: Path) -> None:
    """Two runs have the same figures, and their last and best weights are the same, to 1e-5."""
    for mine, yours in zip(rows(one), rows(other), strict=True):
        assert {name: float(value) for name, value in mine.items()} == pytest.approx(
            {name: float(value) for name, value in yours.items()}, abs=1e-5
        )
    for file in ("last.pt", "best.pt"):
        for a, b in zip(
            numbers(load_checkpoint(one / file)), numbers(load_checkpoint(other / file)), strict=True
        ):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def run_team(processes: Processes, num: int, *args: str, cwd: Path) -> Ended:
    """Train in ``num`` processes, of which all have to end well, and return how the first one did."""
    ends = [started.wait() for started in processes.start_team(num, *args, cwds=[cwd] * num)]
    assert [ended.code for ended in ends] == [0] * num, ends
    assert all((ended.out, ended.err) == ("", "") for ended in ends[1:]), ends
    return ends[0]


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_one_two_and_four_processes_train_the_same(
    processes: Processes, tmp_path: Path, setting: str
) -> None:
    for num in (1, 2, 4):
        run_team(processes, num, *UNEVEN, *SETTINGS[setting], "--name", f"of-{num}", cwd=tmp_path)
    assert_same_training(tmp_path / "of-1", tmp_path / "of-2")
    assert_same_training(tmp_path / "of-1", tmp_path / "of-4")


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["mixup", "cutmix", "crop,erasing,mixup:1,cutmix"])
def test_images_are_mixed_alike_in_one_two_and_three_processes(
    processes: Processes, tmp_path: Path, augment: str
) -> None:
    # By SGD: Adam divides gradients by their size, and makes as much of the order of a sum as of the images.
    line = (*UNEVEN, "--batch-size", "30", "--augment", augment, "--optimizer", "sgd", "--lr", "0.05")
    for num in (1, 2, 3):
        run_team(processes, num, *line, "--name", f"of-{num}", cwd=tmp_path)
    assert_same_training(tmp_path / "of-1", tmp_path / "of-2")
    assert_same_training(tmp_path / "of-1", tmp_path / "of-3")


@pytest.mark.slow
def test_a_run_goes_on_in_another_number_of_processes(processes: Processes, tmp_path: Path) -> None:
    run_team(processes, 1, *UNEVEN, "--epochs", "3", "--name", "whole", cwd=tmp_path)
    run_team(processes, 2, *UNEVEN, "--epochs", "1", "--name", "parts", cwd=tmp_path)
    for num, epochs in ((4, "2"), (1, "3")):
        run_team(processes, num, "train", "--resume", "parts", "--epochs", epochs, cwd=tmp_path)
    assert_same_training(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_they_agree_that_patience_is_out(processes: Processes, tmp_path: Path) -> None:
    run_team(
        processes, 2, *UNEVEN, "--epochs", "9", "--lr", "1e-9", "--patience", "2", "--name", "r", cwd=tmp_path
    )
    assert len(rows(tmp_path / "r")) == 3


@pytest.mark.slow
def test_their_dropout_leaves_out_other_units_in_each_share(processes: Processes, tmp_path: Path) -> None:
    run_team(
        processes,
        2,
        *UNEVEN,
        *("-o", "dropout=0.5", "--epochs", "1", "--name", "r"),
        cwd=tmp_path,
    )
    training = load_checkpoint(tmp_path / "r/last.pt").training
    assert training is not None
    first, second = (state["cpu"] for state in training.random_states)
    assert not torch.equal(first, second)


@pytest.mark.slow
def test_batch_normalisation_is_warned_of_and_keeps_one_set_of_statistics(
    processes: Processes, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "from cnnzoo import register_model\n"
        "@register_model('normalising', paper='nobody', year=2000, image_size=28)\n"
        "def normalising(num_classes=10, in_channels=1):\n"
        "    layers = nn.Conv2d(in_channels, 4, 5, stride=2), nn.BatchNorm2d(4), nn.Flatten()\n"
        "    return nn.Sequential(*layers, nn.Linear(576, num_classes))\n",
        encoding="utf-8",
    )
    own = (
        "--import",
        "mine",
        "--dataset",
        SAMPLE,
        "--limit-train",
        "256",
        "--limit-val",
        "99",
        "--epochs",
        "1",
    )
    line = ("train", "normalising", *own, "--out", ".", "--name", "r")
    first, second = (started.wait() for started in processes.start_team(2, *line, cwds=[tmp_path] * 2))
    assert (first.code, second.code, second.err) == (0, 0, ""), (first, second)
    assert "Warning: this net normalises over a batch" in first.err
    # Validated with one process's statistics, which are those that were saved.
    evaluated = processes.run(
        "--import", "mine", "eval", "r", "--split", "val", "--format", "json", cwd=tmp_path
    )
    assert json.loads(evaluated.out)["loss"] == pytest.approx(
        float(rows(tmp_path / "r")[0]["val_loss"]), abs=1e-5
    )


@pytest.mark.slow
def test_the_command_starts_them_itself(processes: Processes, tmp_path: Path) -> None:
    assert processes.run(*UNEVEN, "--name", "alone", cwd=tmp_path).code == 0
    done = processes.run(*UNEVEN, "--name", "two", "--processes", "2", cwd=tmp_path)
    assert (done.code, done.err) == (0, ""), done
    assert done.out.count("run: two") == 1
    assert "processes: 2, 16 images each of a batch" in done.out
    assert_same_training(tmp_path / "alone", tmp_path / "two")
    assert (tmp_path / "two/history.png").is_file()
    assert "processes: 2\n" in (tmp_path / "two/config.yaml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_one_process_imports_no_more_of_torch_than_torch_does() -> None:
    program = (
        "import sys, torch\n"
        "before = set(sys.modules)\n"
        "import cnnzoo.training.train\n"
        "print(sorted(name for name in set(sys.modules) - before if name.startswith('torch')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Shares of a batch


@settings(max_examples=60, deadline=None)
@given(
    num=st.integers(1, 60),
    share=st.integers(1, 5),
    world_size=st.integers(1, 5),
    accumulate=st.integers(1, 4),
    start=st.integers(0, 3),
)
def test_every_image_of_a_batch_is_in_one_share_and_weighs_the_same(
    num: int, share: int, world_size: int, accumulate: int, start: int
) -> None:
    pixels = torch.randint(0, 256, (num, 1, 8, 8), generator=torch.Generator().manual_seed(num))
    source = Resident(pixels.to(torch.uint8), torch.arange(num))

    def batches(rank: int, of: int) -> Loader:
        return Loader(
            source,
            Preprocessing(8),
            share * world_size,
            CPU,
            seed=7,
            augmentations=make_augmentations(("flip", "crop")),
            rank=rank,
            world_size=of,
            grad_accum_steps=accumulate,
        )

    alone = batches(0, 1)
    team = [batches(rank, world_size) for rank in range(world_size)]
    start *= accumulate
    epochs = [list(one.epoch(2, start=start)) for one in team]
    weights = torch.zeros(num)
    step = torch.zeros(num, dtype=torch.long)
    steps = 0
    for (images, labels, *_), shares in zip(
        alone.epoch(2, start=start), zip(*epochs, strict=True), strict=True
    ):
        counted = [batch for batch in shares if batch.counts]
        assert torch.equal(torch.cat([batch.images for batch in counted]), images)
        assert torch.equal(torch.cat([batch.labels for batch in counted]), labels)
        assert len({part.ends_step for part in shares}) == 1
        for part in shares:
            own = part.labels
            assert 1 <= len(own) <= share
            weight = 1.0 if part.weight is None else float(part.weight)
            if part.counts:
                weights[own] += weight / len(own) / world_size  # gradients are averaged over the processes
                step[own] = steps
            else:
                assert weight == 0
        steps += shares[0].ends_step
    assert steps == max(0, alone.num_steps - start // accumulate)
    for each in range(steps):
        of_step = weights[(step == each) & (weights > 0)]
        assert of_step.sum() == pytest.approx(1, abs=1e-5)
        assert of_step == pytest.approx(float(of_step[0]), abs=1e-6)


# Several batches a step


@pytest.mark.parametrize("changes", [{}, {"optimizer": "sgd", "grad_clip": 0.5, "augment": ("crop",)}])
def test_accumulated_batches_are_one_large_batch(tmp_path: Path, changes: dict[str, object]) -> None:
    # 227 images: 28 batches of 8 and one of 3, so that the last step has one whole batch and that one.
    large = train(quick(tmp_path, limit_train=227, epochs=2, batch_size=32, **changes)).run
    small = train(quick(tmp_path, limit_train=227, epochs=2, batch_size=8, grad_accum_steps=4, **changes)).run
    assert_same_training(large, small)
    assert read_yaml(small / "config.yaml")["grad_accum_steps"] == 4
