"""Rows 10 to 18: a run that goes on ends as if nothing had stopped it, and nothing else writes into its folder."""

import os
import shlex
import signal
from pathlib import Path

import pytest

from cnnzoo.config import TrainConfig
from cnnzoo.config_file import read_yaml
from cnnzoo.errors import UsageError
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.training.schedule import lr_at
from tests.conftest import Command
from tests.faults.shared import SMALL, assert_refused
from tests.faults.test_crashes import wait_for
from tests.helpers import InterruptedRunError, StopAfter, contents, quick, resume, rows, same_state, train
from tests.processes import Processes


@pytest.mark.parametrize(
    ("changes", "stop"),
    [
        pytest.param({"scheduler": "cosine", "warmup_epochs": 1}, StopAfter(10), id="at the end of an epoch"),
        pytest.param({"augment": "flip,crop", "optimizer": "sgd"}, StopAfter(13), id="in an epoch"),
        pytest.param({"augment": "erasing,mixup,cutmix"}, StopAfter(13), id="images mixed"),
        pytest.param({"precision": "bf16"}, StopAfter(2, "val"), id="in validation, bf16"),
        pytest.param(
            {"precision": "fp16"}, StopAfter(1), id="after the first step, fp16", marks=pytest.mark.slow
        ),
        pytest.param({"scheduler": "step"}, StopAfter(17, number=signal.SIGTERM), id="SIGTERM"),
        pytest.param({"model": "dropping", "model_options": {}}, StopAfter(13), id="dropout"),
    ],
)
@pytest.mark.usefixtures("own_models")
def test_rows_10_to_13_an_interrupted_run_ends_as_if_it_had_not_been(
    tmp_path: Path, changes: dict[str, object], stop: StopAfter
) -> None:
    config = quick(tmp_path, **changes)
    whole = train(config).run
    with pytest.raises(InterruptedRunError, match="cnnzoo train --resume") as stopped:
        train(config, reporter=stop)
    assert stopped.value.exit_code == 128 + stop.number
    assert resume(stopped.value.run).epochs_trained >= 1
    assert same_state(whole, stopped.value.run)


def test_row_10_the_learning_rate_goes_on_along_its_schedule(tmp_path: Path) -> None:
    config = quick(tmp_path, scheduler="cosine", warmup_epochs=1.5, limit_train=96, epochs=4)
    with pytest.raises(InterruptedRunError) as stopped:
        train(config, reporter=StopAfter(7))  # the first of three steps of the third epoch
    result = resume(stopped.value.run)
    # Of an epoch's last step, whose middle counts.
    assert [row.lr for row in result.history] == [
        lr_at(config, epoch - 1 + 2.5 / 3) for epoch in (1, 2, 3, 4)
    ]


def test_row_12_epochs_is_the_total_however_often_a_run_goes_on(tmp_path: Path) -> None:
    config = quick(tmp_path, limit_train=96, epochs=5)
    run = tmp_path / "runs" / "r"
    with pytest.raises(InterruptedRunError):
        train(config.replace(name="r"), reporter=StopAfter(1))
    trained = []
    for steps in (3, 5, 1):
        with pytest.raises(InterruptedRunError):
            resume(run, reporter=StopAfter(steps))
        trained.append(load_checkpoint(run / "last.pt").epoch)
    assert trained == [1, 2, 3]
    assert resume(run).epochs_trained == 2
    assert [row["epoch"] for row in rows(run)] == ["1", "2", "3", "4", "5"]
    assert same_state(run, train(config).run)


@pytest.mark.parametrize("monitor", ["val_acc", "val_loss"])
def test_row_13_the_best_so_far_is_kept_if_the_resumed_epochs_are_worse(tmp_path: Path, monitor: str) -> None:
    # A rate that grows till the net unlearns: the first epochs are the good ones.
    config = quick(tmp_path, optimizer="adam", lr=0.5, warmup_epochs=20, epochs=2, monitor=monitor)
    first = train(config)
    best = (first.run / "best.pt").read_bytes()
    result = resume(first.run, {"epochs": 3})
    assert result.history[2] != result.best == first.best, "the test needs a third epoch that is worse"
    assert (first.run / "best.pt").read_bytes() == best


def test_row_14_a_complete_run_is_left_alone_and_more_epochs_extend_it(tmp_path: Path) -> None:
    config = quick(tmp_path, epochs=2)
    run = train(config).run
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.iterdir()}
    assert resume(run).epochs_trained == 0
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.iterdir()} == before
    assert resume(run, {"epochs": 3}).epochs_trained == 1
    assert same_state(run, train(config.replace(epochs=3)).run)
    assert read_yaml(run / "config.yaml")["epochs"] == 3


def test_row_14_a_complete_run_says_so(command: Command, tmp_path: Path) -> None:
    assert command(*SMALL, "--epochs", "1").code == 0
    before = contents(tmp_path)
    complete = command("train", "--resume", "r")
    assert (complete.code, complete.err) == (0, "")
    assert complete.out.startswith("This run is complete: 1 epoch. Nothing to do.\n")
    assert "cnnzoo train --resume runs/r --epochs 2" in complete.out
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        (["--batch-size", "64"], "batch_size (was 32, now 64)"),
        (["--lr", "1", "--epochs", "9"], "lr (was 0.001, now 1.0)"),
        (
            ["--scheduler", "cosine", "--seed", "4"],
            "scheduler (was 'none', now 'cosine'), seed (was 0, now 4)",
        ),
        (["-o", "activation=relu"], "model_options (was {'activation': 'tanh'}, now {'activation': 'relu'})"),
        (["--dataset", "mnist"], "dataset (was 'fashionmnist-sample', now 'mnist')"),
        (["alexnet"], "model (was 'lenet', now 'alexnet')"),
    ],
)
def test_row_15_a_resume_with_another_setting_names_it(
    command: Command, tmp_path: Path, flags: list[str], difference: str
) -> None:
    train(quick(tmp_path, epochs=1, limit_train=32, limit_val=10, name="r"))
    before = contents(tmp_path)
    refused = command("train", *flags, "--resume", "r")
    assert_refused(refused, "a resumed run keeps its settings", difference, "Leave them out.", code=2)
    assert contents(tmp_path) == before


def test_row_15_what_a_resume_may_not_change_a_new_run_with_its_weights_may(
    command: Command, tmp_path: Path
) -> None:
    train(quick(tmp_path, epochs=1, limit_train=32, limit_val=10, name="r"))
    refused = command("train", "--resume", "r", "--lr", "0.01", "--no-normalize", "--augment", "flip,crop")
    line = refused.err.rpartition("start a new run: ")[2]
    assert line == (
        "cnnzoo train --config runs/r/config.yaml --weights runs/r/best.pt --no-normalize "
        "--augment flip,crop --lr 0.01\n"
    )
    done = command(*shlex.split(line)[1:], "--name", "new")
    assert (done.code, done.err) == (0, "")
    new = TrainConfig.from_dict(read_yaml(tmp_path / "runs/new/config.yaml"))
    assert (new.lr, new.normalize, new.augment, new.limit_train) == (0.01, False, ("flip", "crop"), 32)
    assert "start a new run" not in command("train", "--resume", "r", "--image-size", "56").err


def test_row_15_a_resume_takes_no_config_file(command: Command, tmp_path: Path) -> None:
    run = train(quick(tmp_path, epochs=1, limit_train=32, limit_val=10)).run
    refused = command("train", "--config", run / "config.yaml", "--resume", "last")
    assert_refused(refused, "a resumed run keeps its own settings. Leave --config out.", code=2)


def test_row_15_the_same_setting_written_otherwise_is_no_difference(tmp_path: Path) -> None:
    run = train(quick(tmp_path, epochs=1, limit_train=32, limit_val=10)).run
    same = {"lr": "0.0010", "batch_size": "32", "model_options": {"activation": "tanh"}, "epochs": "2"}
    assert resume(run, same).epochs_trained == 1


def test_row_16_a_history_has_one_header_and_every_epoch_once(tmp_path: Path) -> None:
    config = quick(tmp_path, limit_train=96, limit_val=32, epochs=2)
    run = train(config).run
    for epochs in (3, 3, 5):
        resume(run, {"epochs": epochs})
    lines = (run / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "3", "4", "5"]


def test_row_17_training_anew_into_a_used_folder_suggests_to_resume(command: Command, tmp_path: Path) -> None:
    assert command(*SMALL, "--epochs", "1").code == 0
    before = contents(tmp_path)
    refused = command(*SMALL, "--epochs", "1")
    assert_refused(refused, "runs/r holds a run already", "`--resume runs/r`", "another --name", code=2)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["", ".", "..", "./"])
def test_row_17_a_name_that_is_the_folder_of_all_runs_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="names no folder of its own"):
        train(quick(tmp_path, epochs=1, limit_train=32, limit_val=10, name=name))
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_row_18_a_second_run_into_one_folder_is_refused_until_the_first_has_ended(
    processes: Processes, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "r"
    first = processes.start(*SMALL, "--epochs", "10000", cwd=tmp_path)
    wait_for(run / "history.csv")
    second = processes.run("train", "--resume", "r", cwd=tmp_path)
    assert_refused(
        second, "another process is training in runs/r. Wait for it, or train into another folder."
    )
    assert_refused(processes.run(*SMALL, cwd=tmp_path), "runs/r holds a run already", code=2)

    os.kill(first.pid, signal.SIGKILL)
    assert first.wait().code == -signal.SIGKILL
    done = load_checkpoint(run / "last.pt").epoch
    more = processes.run("train", "--resume", "r", "--epochs", str(done + 1), "--quiet", cwd=tmp_path)
    assert (more.code, more.out, more.err) == (0, "runs/r\n", "")
    assert len(rows(run)) == done + 1


def test_row_18_a_second_run_does_not_touch_the_files_of_one_that_has_saved_nothing_yet(
    processes: Processes, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "r"
    images = ("--limit-train", "6000", "--batch-size", "1")  # an epoch that does not end
    first = processes.start(*SMALL, *images, cwd=tmp_path)
    wait_for(run / "config.yaml")
    before = contents(run)
    assert_refused(processes.run(*SMALL, cwd=tmp_path), "another process is training in runs/r")
    assert contents(run) == before
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
