"""Row 51: a long epoch that is killed loses the time since ``--save-every``, and no more."""

import os
import signal
import time
from pathlib import Path

import pytest
import yaml

from cnnzoo.config import TrainConfig
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.runs import run as run_module
from cnnzoo.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tests.conftest import Command
from tests.faults.shared import SMALL, assert_refused
from tests.helpers import quick, resume, same_state, train
from tests.processes import Processes

LONG = (*SMALL, "--limit-train", "6000", "--batch-size", "1", "--epochs", "1")
"""An epoch of some seconds."""


@pytest.mark.slow
def test_row_51_a_long_epoch_that_is_killed_goes_on_where_it_was_last_saved(
    processes: Processes, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "r"
    whole = processes.start(*LONG, "--name", "whole", "--save-every", "off", cwd=tmp_path)
    assert whole.wait().code == 0
    kills, steps = 0, 0
    line: tuple[str, ...] = (*LONG, "--save-every", "0.3s")
    while kills < 3:
        started = processes.start(*line, cwd=tmp_path)
        while not (run / "last.pt").exists() or _steps(run) <= steps:
            time.sleep(0.05)
        os.kill(started.pid, signal.SIGKILL)
        assert started.wait().code == -signal.SIGKILL
        kills, steps = kills + 1, _steps(run)
        assert steps > 0
        line = ("train", "--resume", "r", "--save-every", "0.2s")  # which may be another
    assert processes.run("train", "--resume", "r", "--save-every", "off", cwd=tmp_path).code == 0
    assert same_state(tmp_path / "runs" / "whole", run)


def _steps(run: Path) -> int:
    saved = load_checkpoint(run / "last.pt")
    assert saved.training is not None
    assert saved.epoch == 0
    return saved.training.totals.steps


@pytest.mark.slow
def test_row_51_several_processes_save_by_the_firsts_clock(processes: Processes, tmp_path: Path) -> None:
    args = (*SMALL, "--limit-train", "6000", "--batch-size", "4", "--epochs", "1", "--save-every", "0.2s")
    team = processes.start_team(2, *args, cwds=[tmp_path] * 2)
    run = tmp_path / "runs" / "r"
    until = time.monotonic() + 60
    while not (run / "last.pt").exists() or _steps(run) == 0:
        assert time.monotonic() < until
        time.sleep(0.05)
    for started in team:
        os.kill(started.pid, signal.SIGKILL)
    for started in team:
        started.wait()
    assert _steps(run) > 0
    assert processes.run("train", "--resume", "r", cwd=tmp_path).code == 0


@pytest.mark.usefixtures("own_models")
def test_saves_in_an_epoch_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_epochs = 0

    def counting(path: Path, checkpoint: Checkpoint) -> None:
        nonlocal in_epochs
        in_epochs += checkpoint.training is not None and checkpoint.training.totals.steps > 0
        save_checkpoint(path, checkpoint)

    monkeypatch.setattr(run_module, "save_checkpoint", counting)
    config = quick(tmp_path, model="dropping", model_options={}, augment="flip,crop", save_every="off")
    whole = train(config).run
    assert in_epochs == 0
    saved = train(config.replace(save_every="0.001s", grad_accum_steps=1)).run
    assert in_epochs > 3
    assert same_state(whole, saved)


def test_the_time_may_be_another_on_resume(tmp_path: Path) -> None:
    run = train(quick(tmp_path, epochs=1, limit_train=32, save_every="1h")).run
    assert resume(run, {"epochs": 2, "save_every": "30s"}).config.save_seconds == 30


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2m", 120)])
def test_times_have_a_unit(text: str, seconds: float) -> None:
    assert TrainConfig(model="lenet", save_every=text).save_seconds == seconds


def test_off_is_off_in_yaml_too() -> None:
    values = yaml.safe_load("model: lenet\nsave_every: off")
    assert TrainConfig.from_dict(values).save_every == "off"
    assert TrainConfig(model="lenet").save_seconds == 600


@pytest.mark.parametrize("text", ["10", "0s", "-1m", "m", "10 minutes", "1d", ""])
def test_other_texts_are_refused(command: Command, text: str) -> None:
    assert_refused(
        command(*SMALL, f"--save-every={text}"), "save_every must be a time above 0 such as", code=2
    )
    with pytest.raises(CnnzooError):
        TrainConfig(model="lenet", save_every=text)
    assert issubclass(UsageError, CnnzooError)
