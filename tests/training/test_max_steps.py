"""--max-steps: a run ends at a step, is validated there, and goes on from it as if the limit had been larger."""

from pathlib import Path

import pytest

from cnnzoo.config import TrainConfig
from cnnzoo.errors import UsageError
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.training.schedule import lr_at
from tests.conftest import Command
from tests.faults.shared import SMALL, assert_refused, left
from tests.helpers import (
    InterruptedRunError,
    StopAfter,
    contents,
    quick,
    resume,
    rows,
    same_state,
    train,
)
from tests.processes import Processes

# Ten steps an epoch, three epochs.


@pytest.mark.parametrize("steps", [1, 10, 13, 20, 29, 30, 99])
def test_a_run_ends_at_the_step_and_goes_on_from_it(tmp_path: Path, steps: int) -> None:
    config = quick(tmp_path, augment="flip,crop,mixup")
    whole = train(config).run
    first = train(config.replace(max_steps=steps))
    run = first.run
    assert first.limit == ("max_steps" if steps < 30 else "epochs")
    assert [row["epoch"] for row in rows(run)] == [
        str(epoch) for epoch in range(1, min(-(-steps // 10), 3) + 1)
    ]
    saved = load_checkpoint(run / "last.pt").training
    assert saved is not None
    assert (saved.ending is None) == (steps % 10 == 0 or steps > 30)
    assert rows(run)[: steps // 10] == rows(whole)[: steps // 10]
    before = contents(run)
    assert resume(run).epochs_trained == 0
    assert contents(run) == before
    result = resume(run, {"max_steps": 30})
    assert result.epochs_trained == 3 - min(steps // 10, 3)
    assert same_state(run, whole)
    assert left(run) == left(whole)


def test_the_row_of_the_epoch_begun_is_of_what_was_trained_and_of_a_full_validation(tmp_path: Path) -> None:
    """The same images, trained on alone, give the same figures."""
    config = quick(tmp_path, max_steps=13, optimizer="sgd")
    run = train(config).run
    (*_, row) = rows(run)
    best = load_checkpoint(run / "last.pt")
    assert (best.epoch, best.metrics["val_acc"]) == (2, float(row["val_acc"]))
    stopped = train(config.replace(max_steps=12)).run
    resume(stopped, {"max_steps": 13})
    assert rows(stopped) == rows(run)
    assert best.training is not None
    assert (best.training.totals.steps, best.training.totals.images) == (3, 96)
    assert float(row["train_loss"]) == pytest.approx(best.training.totals.loss / 96)


@pytest.mark.parametrize("ends", [13, 5])
def test_a_row_that_was_the_best_is_withdrawn_with_its_weights(tmp_path: Path, ends: int) -> None:
    # A rate that grows till the net unlearns: the row at the early end is the best that there ever is.
    config = quick(tmp_path, lr=0.1, warmup_epochs=10, epochs=4, monitor="val_loss")
    ended = train(config.replace(max_steps=ends))
    assert ended.best == ended.history[-1], "the test needs an end that is the best"
    assert load_checkpoint(ended.run / "best.pt").epoch == len(ended.history)
    assert ("former-best.pt" in left(ended.run)) == (ends > 10)
    assert resume(ended.run, {"max_steps": 1000}).best.epoch == 1
    assert same_state(ended.run, train(config).run)
    assert "former-best.pt" not in left(ended.run)


@pytest.mark.slow
def test_several_ends_and_stops_change_nothing(tmp_path: Path) -> None:
    config = quick(tmp_path, augment="flip,crop", scheduler="plateau", plateau_epochs=1)
    whole = train(config).run
    run = train(config.replace(max_steps=4)).run
    resume(run, {"max_steps": 7})
    with pytest.raises(InterruptedRunError, match="epoch 2 after step 4 of 6"):
        resume(run, {"max_steps": 16}, reporter=StopAfter(7))
    with pytest.raises(InterruptedRunError, match="epoch 2 after step 6 of 6"):  # in its validation
        resume(run, reporter=StopAfter(1, "val"))
    assert resume(run).limit == "max_steps"
    assert [row["epoch"] for row in rows(run)] == ["1", "2"]
    resume(run, {"max_steps": 31})
    assert same_state(run, whole)


def test_fewer_steps_than_are_done_are_refused(tmp_path: Path) -> None:
    run = train(quick(tmp_path, max_steps=13)).run
    before = contents(run)
    with pytest.raises(UsageError, match="--max-steps 12 is less than the 13 steps that the run has done"):
        resume(run, {"max_steps": 12})
    assert contents(run) == before


def test_patience_and_epochs_end_a_run_too(tmp_path: Path) -> None:
    assert train(quick(tmp_path, max_steps=25, epochs=2)).limit == "epochs"
    waiting = train(quick(tmp_path, max_steps=25, lr=1e-12, patience=1))
    assert (waiting.limit, len(waiting.history)) == ("patience", 2)


@pytest.mark.slow
def test_steps_are_those_of_accumulated_batches(tmp_path: Path) -> None:
    config = quick(
        tmp_path, batch_size=8, grad_accum_steps=3, limit_train=100
    )  # 13 batches, 5 steps an epoch
    run = train(config.replace(max_steps=7)).run
    saved = load_checkpoint(run / "last.pt").training
    assert saved is not None
    assert (len(saved.history), saved.totals.steps, saved.totals.images) == (1, 2, 48)
    resume(run, {"max_steps": 15})
    assert same_state(run, train(config).run)


def test_schedules_span_whichever_limit_comes_first() -> None:
    cosine = TrainConfig(model="lenet", lr=1, scheduler="cosine", epochs=10, max_steps=50)
    assert lr_at(cosine, 2.5, steps_per_epoch=10) == pytest.approx(0.5)
    assert lr_at(cosine, 5, steps_per_epoch=10) == pytest.approx(0)
    assert lr_at(cosine, 5, steps_per_epoch=1) == pytest.approx(0.5)  # all ten epochs
    step = TrainConfig(model="lenet", lr=1, scheduler="step", epochs=10, max_steps=30)
    assert [lr_at(step, done + 0.05, steps_per_epoch=10) for done in (0.9, 1, 2)] == pytest.approx(
        [1, 0.1, 0.01]
    )


POINTS = ["last.pt:synced", "last.pt:replaced", "former-best.pt:written", "former-best.pt:replaced"]


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["13", "1000"])
@pytest.mark.parametrize("point", [*POINTS, "best.pt:written", "best.pt:replaced", "history.csv:written"])
def test_a_kill_at_the_end_loses_nothing(
    processes: Processes, tmp_path: Path, point: str, limit: str
) -> None:
    data = ("--dataset", "fashionmnist-sample", "--limit-train", "320", "--limit-val", "100", "--out", ".")
    unlearning = ("-o", "activation=tanh", "--lr", "0.1", "--warmup-epochs", "10", "--monitor", "val_loss")
    line = ("train", "lenet", *data, *unlearning, "--epochs", "2")
    assert processes.run(*line, "--max-steps", limit, "--name", "whole", cwd=tmp_path).code == 0
    assert processes.run(*line, "--max-steps", "10", "--name", "r", cwd=tmp_path).code == 0
    resumed = ("train", "--resume", "r", "--out", ".", "--max-steps")
    killed = processes.run(*resumed, "13", cwd=tmp_path, env={"CNNZOO_FAULT_POINT": point})
    assert killed.code == -9
    ended = processes.run(*resumed, limit, cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert same_state(tmp_path / "r", tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_end_at_the_same_step(processes: Processes, tmp_path: Path) -> None:
    line = (*SMALL[:-2], "--epochs", "9", "--out", ".", "--max-steps", "5")
    assert processes.run(*line, "--name", "one", cwd=tmp_path).code == 0
    assert processes.run(*line, "--name", "two", "--processes", "2", cwd=tmp_path).code == 0
    assert len(rows(tmp_path / "two")) == 2
    for mine, yours in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert {name: float(value) for name, value in mine.items()} == pytest.approx(
            {name: float(value) for name, value in yours.items()}, abs=1e-5
        )


@pytest.mark.slow
def test_what_a_person_sees(command: Command) -> None:
    ended = command(*SMALL, "--max-steps", "5", "--epochs", "9")
    assert ended.code == 0
    for line in ("steps: 5, to epoch 2", "epoch 2/2 ", "Ended after step 5, in epoch 2."):
        assert line in ended.out
    assert "cnnzoo train --resume runs/r --max-steps 10\n" in ended.out
    assert "Nothing to do." in command("train", "--resume", "r").out
    longer = command("train", "--resume", "r", "--max-steps", "7")
    assert "resumed: after epoch 1, step 2\n" in longer.out
    assert_refused(command("train", "--resume", "r", "--max-steps", "3"), "Make it larger", code=2)
    assert_refused(command(*SMALL, "--max-steps", "0"), "max_steps must be", code=2)
