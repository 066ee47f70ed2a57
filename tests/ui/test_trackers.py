"""Trackers hold what history.csv holds, and their faults are none of the run's."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnzoo.runs.history import HistoryRow, read_rows
from cnnzoo.training.reporter import Reporters
from cnnzoo.ui import trackers, tracking
from cnnzoo.ui.trackers import Tracker, figures
from cnnzoo.ui.tracking import tracked
from tests.conftest import Command
from tests.faults.shared import SMALL, assert_refused, left
from tests.helpers import InterruptedRunError, Reporter, StopAfter, quick, resume, rows, same_state, train
from tests.processes import REPOSITORY, Processes


def read_back(name: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.trackers", name, str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return read


def told(history: Path, *, single: bool) -> list[list[Any]]:
    """What a tracker should have been told, each once; ``single`` as float32 has it."""
    return sorted(
        [row.epoch, name, float(np.float32(value)) if single else value]
        for row in read_rows(history)
        for name, value in figures(row).items()
    )


def on_this_machine(folder: Path) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(folder / "runs" / "r"),
        "HOME": str(folder),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_record_holds_the_history_after_kills_and_resumes(
    processes: Processes, tmp_path: Path, name: str
) -> None:
    env = on_this_machine(tmp_path)
    assert processes.run(*SMALL, "--epochs", "1", "--log", name, cwd=tmp_path, env=env).err == ""
    more = ("train", "--resume", "r", "--epochs", "3")  # it has its trackers still
    # Before an epoch is saved, and before it is told of.
    for point in ("last.pt:written", "history.csv:replaced"):
        assert processes.run(*more, cwd=tmp_path, env={**env, "CNNZOO_FAULT_POINT": point}).code < 0
    ended = processes.run(*more, cwd=tmp_path, env=env)
    assert (ended.code, ended.err) == (0, "")
    read = read_back(name, tmp_path)
    assert sorted(read["told"]) == told(tmp_path / "runs/r/history.csv", single=name == "tensorboard")
    assert "history" in str(read["pictures"])
    assert read["config"]
    if name == "wandb":
        return
    # With `--log off` it is told nothing, and what it lacks then it is told another time.
    assert processes.run(*more[:-1], "4", "--log", "off", cwd=tmp_path, env=env).code == 0
    assert sorted(read_back(name, tmp_path)["told"]) == sorted(read["told"])
    assert processes.run(*more[:-1], "5", cwd=tmp_path, env=env).code == 0
    read = read_back(name, tmp_path)
    assert sorted(read["told"]) == told(tmp_path / "runs/r/history.csv", single=name == "tensorboard")


@pytest.mark.slow
def test_each_of_several_seeds_has_a_record(processes: Processes, tmp_path: Path) -> None:
    line = (*SMALL, "--epochs", "2", "--seeds", "2", "--jobs", "2", "--log", "tensorboard")
    ended = processes.run(*line, cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    for seed in ("seed-0", "seed-1"):
        (tmp_path / seed / "runs").mkdir(parents=True)
        (tmp_path / "runs/r" / seed).rename(tmp_path / seed / "runs/r")
        read = read_back("tensorboard", tmp_path / seed)
        assert sorted(read["told"]) == told(tmp_path / seed / "runs/r/history.csv", single=True)


@pytest.mark.slow
def test_a_server_that_is_gone_is_a_warning(processes: Processes, tmp_path: Path) -> None:
    env = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    ended = processes.run(*SMALL, "--epochs", "2", "--log", "mlflow", cwd=tmp_path, env=env)
    assert ended.code == 0
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("Warning: MLflow is told nothing more: ")
    assert len(read_rows(tmp_path / "runs/r/history.csv")) == 2


# Those that fail


class Heard(Reporter):
    """Keeps warnings and epochs."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.epochs: list[int] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def epoch(self, row: HistoryRow, is_best: bool) -> None:
        self.epochs.append(row.epoch)


class Broken(Tracker):
    """A tracker that fails where it is told to."""

    title, module = "Broken", "json"
    fails_in = ""
    error: BaseException = OSError("no space left")

    def open(self, done: object) -> set[int]:
        self._fail("open")
        return set()

    def log(self, row: HistoryRow) -> None:
        self._fail("log")

    def close(self) -> None:
        self._fail("close")

    def _fail(self, where: str) -> None:
        if self.fails_in == "hang":
            time.sleep(60)
        if where == self.fails_in:
            raise self.error


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> type[Broken]:
    monkeypatch.setitem(trackers.TRACKERS, "broken", Broken)
    monkeypatch.setattr(Broken, "fails_in", "")
    return Broken


@pytest.mark.parametrize(
    ("fails_in", "error"),
    [
        ("open", OSError("no space left")),
        ("log", ConnectionError("the server is gone")),
        ("close", RuntimeError("it is\nno more.")),
        ("log", SystemExit(1)),
        ("log", KeyboardInterrupt()),
    ],
)
def test_a_tracker_that_fails_warns_once_and_the_run_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: type[Broken], fails_in: str, error: BaseException
) -> None:
    monkeypatch.setattr(broken, "fails_in", fails_in)
    monkeypatch.setattr(broken, "error", error)
    heard = Heard()
    with tracked(("broken",), heard) as reporter:
        result = train(quick(tmp_path, limit_train=64, limit_val=32), reporter=reporter)
    assert heard.epochs == [1, 2, 3] == [row.epoch for row in result.history]
    (warning,) = heard.warnings
    assert re.fullmatch(
        r"Broken is told nothing more: [^\n]+\. The run goes on, and its folder has all; what Broken lacks it is told "
        r"when the run is resumed\.",
        warning,
    )


def test_a_tracker_that_hangs_keeps_no_run_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: type[Broken]
) -> None:
    monkeypatch.setattr(broken, "fails_in", "hang")
    monkeypatch.setattr(tracking, "LAST_SECONDS", 0.1)
    heard = Heard()
    started = time.monotonic()
    with tracked(("broken",), heard) as reporter:
        train(quick(tmp_path, limit_train=64, limit_val=32), reporter=reporter)
    assert time.monotonic() - started < 30
    assert heard.warnings[0].startswith("Broken is told nothing more: it has not taken all of it within 0 s.")


def test_trackers_change_nothing_in_a_run(tmp_path: Path, broken: type[Broken]) -> None:
    with tracked(("broken",), Heard()) as reporter:
        one = train(quick(tmp_path, limit_train=64, limit_val=32), reporter=reporter).run
    assert same_state(one, train(quick(tmp_path, limit_train=64, limit_val=32)).run)


def test_what_is_no_tracker_or_not_installed_is_refused_before_the_run(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_refused(command(*SMALL, "--log", "wandbb"), "Did you mean 'wandb'?", code=2)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    refused = command(*SMALL, "--log", "mlflow")
    assert_refused(refused, "--log mlflow needs MLflow", "Install it: pip install 'cnnzoo[mlflow]'")
    assert left(tmp_path) == set()


def test_several_reporters_are_told_alike_and_a_stop_passes_through_them(tmp_path: Path) -> None:
    one, other = Heard(), Heard()
    config = quick(tmp_path, limit_train=64, limit_val=32)
    with pytest.raises(InterruptedRunError) as stopped:
        train(config, reporter=Reporters(one, StopAfter(3), other))
    assert one.epochs == other.epochs == [1]
    resume(stopped.value.run, reporter=Reporters(one, other))
    assert one.epochs == other.epochs == [1, 2, 3]

    class Impatient(Reporter):
        def epoch(self, row: HistoryRow, is_best: bool) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, reporter=Reporters(one, Impatient()))


@pytest.mark.slow
def test_the_example_of_the_docs_runs(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "trackers.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(example.partition("\n\n\n")[2].partition("\n\n\n")[0].splitlines()) <= 10
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (run,) = (tmp_path / "runs").iterdir()
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["val_loss"] for line in lines] == [float(row["val_loss"]) for row in rows(run)]
