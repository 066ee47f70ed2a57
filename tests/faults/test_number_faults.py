"""Rows 26 to 31: numbers that go wrong, memory that runs out, and what evaluation must not depend on."""

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import cnnzoo
from cnnzoo.analysis.eval.evaluation import evaluate as evaluate_checkpoint
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.errors import CnnzooError
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.training.meter import NonFiniteLossError
from tests.conftest import Command
from tests.faults.shared import SMALL, assert_refused, left
from tests.helpers import StopAfter, contents, evaluate, one_epoch, quick, rows, sample_batches, train
from tests.processes import Processes

# A rate that grows until the loss is not a number: the first epoch is a good one, the second is not.
DIVERGING = ("--optimizer", "sgd", "--warmup-epochs", "10", "--epochs", "3")


@pytest.mark.parametrize(
    ("lr", "where"),
    [("1000", "at epoch 2, step 2, lr 183.333."), ("100", "at epoch 2, validation batch 1, lr 18.3333.")],
)
def test_row_26_a_run_that_diverges_names_epoch_step_and_lr_and_the_last_good_epoch_stays_whole(
    command: Command, tmp_path: Path, lr: str, where: str
) -> None:
    refused = command(*SMALL, *DIVERGING, "--lr", lr)
    run = tmp_path / "runs" / "r"
    hint = (
        "Start a new run: lower --lr, or try --grad-clip 1 or --warmup-epochs 1. Epoch 1 is saved in runs/r."
    )
    warning, error = refused.err.splitlines()
    assert warning.startswith("Warning: the loss is ")
    assert error == f"Error: the loss is NaN or infinite {where} {hint}"
    assert load_checkpoint(run / "last.pt").epoch == load_checkpoint(run / "best.pt").epoch == 1
    assert len(rows(run)) == 1
    assert all(tensor.isfinite().all() for tensor in load_checkpoint(run / "best.pt").state_dict.values())
    assert command("eval", "r").code == 0


def test_row_26_a_huge_loss_is_remarked_on_once(command: Command, tmp_path: Path) -> None:
    done = command(*SMALL, "--optimizer", "sgd", "--lr", "10", "--epochs", "2", "--batch-size", "48")
    first, second = (float(row["val_loss"]) for row in rows(tmp_path / "runs" / "r"))
    assert min(first, second) > 1e2 * 2.3
    assert (done.code, done.err.count("\n")) == (0, 1)
    assert done.err.startswith(
        f"Warning: the loss is {first:.3g} in epoch 1, and guessing among 10 classes has 2.28: "
    )


def test_row_26_a_run_that_diverges_at_once_saves_nothing(command: Command, tmp_path: Path) -> None:
    refused = command(*SMALL, "--optimizer", "sgd", "--lr", "1e30")
    assert_refused(
        refused, "the loss is NaN or infinite at epoch 1, step 2, lr 1e+30. Start a new run: lower --lr"
    )
    assert "is saved" not in refused.err
    assert left(tmp_path / "runs" / "r") == {"config.yaml"}


@pytest.mark.usefixtures("own_models")
def test_row_26_nan_is_never_saved_not_even_when_the_run_is_stopped_at_that_step(tmp_path: Path) -> None:
    config = quick(tmp_path, model="exploding", model_options={}, name="r")
    run = tmp_path / "runs" / "r"
    with pytest.raises(CnnzooError, match=r"epoch 2, step 3, lr 0\.001\. Start a new run: lower --lr"):
        train(config, reporter=StopAfter(13))
    before = contents(run)
    assert (
        load_checkpoint(run / "last.pt").epoch
        == load_checkpoint(run / "best.pt").epoch
        == len(rows(run))
        == 1
    )
    with pytest.raises(CnnzooError, match=r"epoch 2, step 3"):
        train(config.replace(name="other"))
    assert contents(run) == before


@pytest.mark.usefixtures("own_models")
def test_row_26_a_gradient_that_is_not_finite_ends_the_run_though_the_loss_is(tmp_path: Path) -> None:
    @cnnzoo.register_model("spoiled", paper="nobody", year=2000, image_size=28, in_channels=1)
    def spoiled(num_classes: int, in_channels: int) -> nn.Module:
        steps = itertools.count()
        layer = nn.Linear(784 * in_channels, num_classes)
        layer.weight.register_hook(lambda gradient: gradient * (math.inf if next(steps) == 2 else 1))
        return nn.Sequential(nn.Flatten(), layer)

    config = quick(tmp_path, model="spoiled", model_options={}, limit_train=96, name="r")
    with pytest.raises(CnnzooError, match="NaN or infinite at epoch 1, validation batch 1") as refused:
        train(config)
    assert "lower --lr" in str(refused.value)
    assert left(tmp_path / "runs" / "r") == {"config.yaml"}


def test_row_26_a_loss_that_is_not_finite_names_its_step() -> None:
    batches = sample_batches(28, 160)
    batches[3][0][0, 0, 0, 0] = math.nan
    with pytest.raises(NonFiniteLossError, match="step 4"):
        one_epoch(cnnzoo.create_model("lenet"), batches).read()


def test_row_27_a_loss_that_stays_at_guessing_is_warned_of_and_training_goes_on(
    command: Command, tmp_path: Path
) -> None:
    stuck = ("--limit-train", "200", "--batch-size", "1", "--lr", "1e-9", "--epochs", "2")
    done = command("train", "lenet", "-d", SAMPLE, "--limit-val", "32", "--name", "r", *stuck)
    assert done.code == 0
    assert done.err.count("\n") == 1
    assert done.err.startswith(
        "Warning: the loss is still that of guessing among 10 classes. Training goes on;"
    )
    assert "--lr" in done.err
    assert len(rows(tmp_path / "runs" / "r")) == 2


@pytest.mark.slow
def test_row_27_a_run_that_learns_or_has_just_begun_is_not_warned_of(command: Command) -> None:
    learns = ("--limit-train", "400", "--batch-size", "2", "--epochs", "2")
    assert command(*SMALL, *learns).err == ""
    assert command(*SMALL, "--name", "begun", "--lr", "1e-9", "--epochs", "2").err == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of memory")
def test_row_28_too_little_memory_names_the_batch_size(processes: Processes, tmp_path: Path) -> None:
    assert processes.run("--help", cwd=tmp_path).code == 0  # it has started, then
    status = Path(f"/proc/{processes.process.pid}/status").read_text()
    few = {"AS": 1024 * int(status.split("VmSize:")[1].split()[0]) + 400 * 2**20}
    train_large = ("train", "lenet", "-d", SAMPLE, "--image-size", "112", "--limit-val", "32", "--name", "r")
    refused = processes.run(*train_large, "--batch-size", "4800", cwd=tmp_path, limits=few)
    assert_refused(refused, "not enough memory for batches of 4800 images. Lower --batch-size.")
    assert left(tmp_path / "runs" / "r") == {"config.yaml"}

    fits = processes.run(*train_large, "--limit-train", "32", "--epochs", "1", cwd=tmp_path, limits=few)
    assert (fits.code, fits.err) == (0, "")
    refused = processes.run("eval", "r", "--batch-size", "1000", cwd=tmp_path, limits=few)
    assert_refused(refused, "not enough memory for batches of 1000 images. Lower --batch-size.")


@pytest.mark.usefixtures("own_models")
@pytest.mark.parametrize("option", [{}, {"model": "dropping", "model_options": {}}])
def test_row_29_a_last_batch_of_one_image_trains(tmp_path: Path, option: dict[str, object]) -> None:
    result = train(quick(tmp_path, limit_train=9, limit_val=1, batch_size=8, epochs=1, **option))
    assert len(result.history) == 1
    assert math.isfinite(result.history[0].val_loss)


def test_row_29_every_image_counts_once_in_the_mean_however_the_batches_fall() -> None:
    batches = sample_batches(28, 33)
    assert len(batches[-1][0]) == 1
    assert one_epoch(cnnzoo.create_model("lenet"), batches).images == 33


def test_row_30_evaluating_twice_gives_the_same_bits_with_dropout() -> None:
    model = cnnzoo.create_model("alexnet", num_classes=10, in_channels=1, image_size=67)
    batches = sample_batches(67, 64)
    first, second = (evaluate(model.train(), batches) for _ in range(2))
    assert first.loss == second.loss
    assert torch.equal(first.predictions, second.predictions)


@pytest.mark.usefixtures("own_models")
def test_row_30_evaluating_a_checkpoint_twice_gives_the_same_figures(tmp_path: Path) -> None:
    run = train(quick(tmp_path, model="dropping", model_options={}, epochs=1)).run
    first, second = (evaluate_checkpoint(run / "best.pt") for _ in range(2))
    assert (first.loss, first.classes) == (second.loss, second.classes)


def test_row_31_no_gradients_are_recorded_in_evaluation() -> None:
    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(784, 10)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.layer(images.flatten(1))
            assert torch.is_inference_mode_enabled()
            assert not logits.requires_grad
            return logits

    model = Spy()
    evaluate(model, sample_batches(28, 64))
    assert model.layer.weight.grad is None
