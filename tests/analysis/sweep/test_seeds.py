"""Several seeds: ordinary runs in one folder, side by side, which go on where they were stopped."""

import csv
import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import pytest

from cnnzoo.analysis.sweep.lanes import Fault, LaneReporter, Task, run_lanes
from cnnzoo.analysis.sweep.sweep import share_of_cores, sweep
from cnnzoo.config import TrainConfig
from cnnzoo.errors import UsageError
from cnnzoo.machine import available_memory, cpu_count
from cnnzoo.runs.folder import newest, resolve_run, runs_of
from cnnzoo.training.reporter import Reporter
from tests.faults.shared import assert_refused, left
from tests.helpers import quick, rows, same_state, train
from tests.processes import Processes, Started

SAMPLE = ("--dataset", "fashionmnist-sample", "-o", "activation=tanh", "--out", ".", "--threads", "1")
SHORT = ("train", "lenet", *SAMPLE, "--limit-train", "320", "--limit-val", "100", "--epochs", "2")
LONG = ("train", "lenet", *SAMPLE, "--epochs", "4")
"""Some seconds a run, so that it can be killed within one."""


def results(study: Path) -> list[dict[str, str]]:
    with (study / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def lanes_of(study: Path) -> list[int]:
    """The processes that train in a study's runs, by the locks that they hold."""
    pids = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                names = {str(link.readlink()) for link in (folder / "fd").iterdir()}
            except OSError:
                continue
            if any(
                name.startswith(f"{study}/") and name.endswith("/.lock") and name != f"{study}/.lock"
                for name in names
            ):
                pids.append(int(folder.name))
    return pids


def has_trained(study: Path, name: str) -> bool:
    return (study / name / "last.pt").is_file()


@pytest.mark.slow
def test_each_seed_is_an_ordinary_run_and_the_same_command_goes_on(
    processes: Processes, tmp_path: Path
) -> None:
    line = (*SHORT, "--seed", "3", "--name", "s", "--jobs", "2", "--seeds")
    done = processes.run(*line, "3", cwd=tmp_path)
    assert (done.code, done.err) == (0, ""), done
    study = tmp_path / "s"
    assert [row["run"] for row in results(study)] == ["seed-3", "seed-4", "seed-5"]
    for number in (3, 4, 5):
        alone = processes.run(*SHORT, "--seed", str(number), "--name", f"alone-{number}", cwd=tmp_path)
        assert alone.code == 0
        assert same_state(study / f"seed-{number}", tmp_path / f"alone-{number}")
    best = [float(row["val_acc"]) for row in results(study)]
    assert best == [max(float(row["val_acc"]) for row in rows(study / row["run"])) for row in results(study)]
    assert f"over 3 seeds: {mean(best):.2%}, standard deviation {stdev(best):.2%}\n" in done.out
    assert "seed-4: epoch 1/2  train loss" in done.out
    assert (study / "seed-3" / "history.png").is_file()

    before = {path: path.read_bytes() for path in study.rglob("*.pt")}
    again = processes.run(*line, "4", cwd=tmp_path)
    assert again.code == 0
    assert again.out.count("(complete already)") == 3
    assert {path: path.read_bytes() for path in before} == before
    assert len(results(study)) == 4
    longer = processes.run(*line, "4", "--epochs", "3", cwd=tmp_path)
    assert longer.code == 0
    assert {row["epochs"] for row in results(study)} == {"3"}
    other = processes.run(*line, "4", "--lr", "0.1", cwd=tmp_path)
    assert_refused(other, "was made by other settings; these differ: lr (was 0.001, now 0.1)", code=2)
    evaluated = processes.run("eval", "s", "--out", ".", cwd=tmp_path)
    assert evaluated.out.count("best.pt") == 4
    assert "mean accuracy" in evaluated.out
    drawn = processes.run("plot", "s", "--out", ".", cwd=tmp_path)
    assert drawn.out.count("history.csv (best") == 4
    assert resolve_run("last", tmp_path).parent == study
    assert newest(tmp_path, "best.pt") is not None


@pytest.mark.slow
def test_without_a_name_it_follows_from_the_settings(processes: Processes, tmp_path: Path) -> None:
    line = (*SHORT, "--epochs", "1", "--seeds", "1", "--quiet")
    first = processes.run(*line, cwd=tmp_path)
    assert (first.code, first.err) == (0, "")
    study = Path(first.out.strip())
    assert study.name.startswith("lenet-fashionmnist-sample-")
    assert processes.run(*line, cwd=tmp_path).out == first.out
    new = processes.run(*line, "--new", cwd=tmp_path)
    assert new.out.strip() == f"{study}-2"
    assert processes.run(*line, cwd=tmp_path).out == new.out  # the newest of that name goes on
    assert processes.run(*line, "--lr", "0.1", cwd=tmp_path).out.strip() not in (
        first.out.strip(),
        new.out.strip(),
    )
    assert len(runs_of(tmp_path / study)) == 1


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--jobs", "2"), "Say how many with --seeds"),
        (("--new",), "Say how many with --seeds"),
        (("--seeds", "2", "--jobs", "0"), "--jobs must be a number of at least 1, or auto, not '0'"),
        (("--seeds", "2", "--jobs", "many"), "--jobs must be a number"),
        (("--seeds", "2", "--resume", "last"), "Leave --resume and --processes out"),
        (("--seeds", "2", "--processes", "2"), "Leave --resume and --processes out"),
        (("--seeds", "2", "--new", "--name", "s"), "Choose another --name instead"),
    ],
)
def test_wrong_usage_is_one_line(
    processes: Processes, tmp_path: Path, flags: tuple[str, ...], says: str
) -> None:
    assert_refused(processes.run(*SHORT, *flags, cwd=tmp_path), says, code=2)
    assert left(tmp_path) == set()


def test_a_setting_that_cannot_be_right_is_told_once_and_ends_all(
    processes: Processes, tmp_path: Path
) -> None:
    line = ("train", "lenett", "--seeds", "5", "--jobs", "2", "--name", "s", "--out", ".", "--quiet")
    assert_refused(processes.run(*line, cwd=tmp_path), "Did you mean 'lenet'?", code=2)


def test_cores_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("cnnzoo.analysis.sweep.sweep.cpu_count", lambda: 8)
    assert share_of_cores("auto", 5, None) == (1, "auto")
    assert share_of_cores(3, 5, None) == (1, 3)
    assert share_of_cores("auto", 5, 2) == (2, 4)
    assert share_of_cores("auto", 2, 6) == (2, 4)
    assert share_of_cores("auto", 20, "auto") == (8, 1)
    assert share_of_cores("auto", 2, "auto") == (2, 4)
    assert share_of_cores(4, 20, "auto") == (2, 4)
    assert share_of_cores(16, 20, "auto") == (1, 16)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert share_of_cores("auto", 5, 2) == (2, 2)
    assert cpu_count() >= 1


def _memory(report: Reporter) -> int:
    for step in range(1, 6):
        report.step(1, "train", step, 5, 0.0, 0.0, 0.0)
        time.sleep(0.02)
    time.sleep(0.5)
    return os.getpid()


class Running(LaneReporter):
    """Notes how many tasks run at once."""

    def __init__(self) -> None:
        self.begun: set[str] = set()
        self.most = 0

    def step(self, name: str, *figures: object) -> None:
        self.begun.add(name)
        self.most = max(self.most, len(self.begun))

    def end(self, name: str, outcome: object) -> None:
        self.begun.discard(name)


@pytest.mark.slow
@pytest.mark.parametrize(("runs", "most"), [(1.6, 1), (1000, 3)])
def test_memory_is_shared_by_what_the_first_one_takes(
    monkeypatch: pytest.MonkeyPatch, runs: float, most: int
) -> None:
    if available_memory() is None:
        pytest.skip("this system does not say how much memory there is")
    warm, _ = run_lanes([Task("first", _memory)], 1, LaneReporter())
    assert isinstance(warm["first"], int)
    monkeypatch.setattr("cnnzoo.analysis.sweep.lanes.available_memory", lambda: int(runs * 300e6))
    monkeypatch.setattr("cnnzoo.analysis.sweep.lanes.ROOM", 1.0)
    running = Running()
    outcomes, _ = run_lanes([Task(str(number), _memory) for number in range(6)], 3, running, measured=True)
    assert len(outcomes) == 6
    assert running.most == most


def _fails(report: Reporter) -> int:
    raise ZeroDivisionError("a bug")


@pytest.mark.slow
def test_a_bug_keeps_its_traceback() -> None:
    outcomes, stopped = run_lanes([Task("bug", _fails), Task("fine", _memory)], 1, LaneReporter())
    assert stopped is None
    fault = outcomes["bug"]
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.exit_code) == ("bug", 1)
    assert "_fails" in fault.text
    assert "ZeroDivisionError: a bug" in fault.text
    assert isinstance(outcomes["fine"], int)


def _quick(report: Reporter) -> int:
    return os.getpid()


def _slow(report: Reporter) -> int:
    time.sleep(1.0)
    return os.getpid()


def test_outcomes_come_in_the_order_of_the_tasks() -> None:
    outcomes, _ = run_lanes([Task("slow", _slow), Task("fast", _quick)], 2, LaneReporter())
    assert list(outcomes) == ["slow", "fast"]


def _long(path: Path, report: Reporter) -> int:
    path.write_text(str(os.getpid()))
    for step in range(1, 1000):
        report.step(1, "train", step, 1000, 0.0, 0.0, 0.0)
        time.sleep(0.1)
    return 0


class FullDisk(LaneReporter):
    """Cannot write what it is told."""

    def step(self, name: str, *figures: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_lanes_end_where_nobody_can_listen_to_them_any_more(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with pytest.raises(OSError, match="No space"):
        run_lanes([Task("long", partial(_long, path))], 1, FullDisk())
    until(lambda: not Path("/proc", path.read_text(), "exe").exists())


# Kills


def begin(processes: Processes, folder: Path, *flags: str) -> Started:
    return processes.start(*LONG, "--seeds", "3", "--jobs", "2", "--name", "s", *flags, cwd=folder)


@pytest.mark.slow
def test_row_53_a_lane_that_is_killed_leaves_the_others_going(processes: Processes, tmp_path: Path) -> None:
    study = tmp_path / "s"
    started = begin(processes, tmp_path)
    until(lambda: has_trained(study, "seed-0") and has_trained(study, "seed-1"))
    os.kill(lanes_of(study)[0], signal.SIGKILL)
    ended = started.wait()
    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert "did not end: its process was ended by SIGKILL, perhaps for want of memory" in ended.err
    assert "cnnzoo train --resume s/seed-" in ended.err
    assert len(results(study)) == 2
    again = processes.run(*LONG, "--seeds", "3", "--jobs", "2", "--name", "s", cwd=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert again.out.count("(complete already)") == 2
    for number in range(3):
        whole = train(config_of(tmp_path, number)).run
        assert same_state(study / f"seed-{number}", whole)


def config_of(folder: Path, seed: int) -> TrainConfig:
    changes: dict[str, object] = {
        "limit_train": None,
        "limit_val": None,
        "epochs": 4,
        "seed": seed,
        "threads": 1,
    }
    return quick(folder, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_row_53_ctrl_c_and_sigterm_stop_and_save_all(
    processes: Processes, tmp_path: Path, number: int
) -> None:
    study = tmp_path / "s"
    started = begin(processes, tmp_path)
    until(lambda: has_trained(study, "seed-0") and has_trained(study, "seed-1"))
    os.kill(started.pid, number)
    ended = started.wait()
    assert ended.code == 128 + number
    assert ended.err == "Error: the runs in s are stopped, and saved. The same command goes on.\n"
    assert lanes_of(study) == []
    assert processes.run(*LONG, "--seeds", "3", "--jobs", "2", "--name", "s", cwd=tmp_path).code == 0
    for seed in range(3):
        assert same_state(study / f"seed-{seed}", train(config_of(tmp_path, seed)).run)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_row_7_row_53_a_warning_to_the_whole_group_twice_stops_and_saves_all(
    processes: Processes, tmp_path: Path, number: int
) -> None:
    study = tmp_path / "s"
    started = begin(processes, tmp_path)
    until(lambda: has_trained(study, "seed-0") and has_trained(study, "seed-1"))
    for _ in range(2):
        os.killpg(started.pid, number)  # what starts the lanes hears it, too
        time.sleep(0.1)
    ended = started.wait()
    assert ended.code == 128 + number
    assert ended.err == "Error: the runs in s are stopped, and saved. The same command goes on.\n"
    until(lambda: lanes_of(study) == [])
    assert processes.run(*LONG, "--seeds", "3", "--jobs", "2", "--name", "s", cwd=tmp_path).code == 0
    for seed in range(2):
        assert same_state(study / f"seed-{seed}", train(config_of(tmp_path, seed)).run)


@pytest.mark.slow
def test_row_53_no_orphan_trains_on_and_a_study_killed_again_and_again_ends_the_same(
    processes: Processes, tmp_path: Path
) -> None:
    study = tmp_path / "s"
    for kill in range(3):
        started = begin(processes, tmp_path)
        until(lambda: len(lanes_of(study)) > 0)
        time.sleep(1 + kill / 2)
        os.kill(started.pid, signal.SIGKILL)
        started.wait()
        until(lambda: lanes_of(study) == [], seconds=20)
    assert processes.run(*LONG, "--seeds", "3", "--jobs", "2", "--name", "s", cwd=tmp_path).code == 0
    for seed in range(3):
        assert same_state(study / f"seed-{seed}", train(config_of(tmp_path, seed)).run)


@pytest.mark.slow
def test_row_53_two_commands_in_one_study(processes: Processes, tmp_path: Path) -> None:
    started = begin(processes, tmp_path)
    until(lambda: has_trained(tmp_path / "s", "seed-0"))
    second = begin(processes, tmp_path).wait()
    assert_refused(second, "another process is training in s")
    assert started.wait().code == 0


@pytest.mark.slow
def test_row_53_a_full_disk_in_one_lane_is_one_line(processes: Processes, tmp_path: Path) -> None:
    disk = tmp_path / "s" / "seed-1"
    disk.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        ended = processes.run(*SHORT, "--seeds", "3", "--jobs", "2", "--name", "s", cwd=tmp_path)
        assert ended.code == 1
        assert "s/seed-1 did not end: cannot write s/seed-1/last.pt: No space left on device" in ended.err
        assert [row["run"] for row in results(tmp_path / "s")] == ["seed-0", "seed-2"]
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_seeds_from_python_need_a_reporter_of_nothing(tmp_path: Path) -> None:
    result = sweep(quick(tmp_path, epochs=1, name="s", threads=1), seeds=2, jobs=2)
    assert [run.config.seed for run in result.runs] == [0, 1]
    assert result.error() is None
    with pytest.raises(UsageError, match="Choose another --name"):
        sweep(quick(tmp_path, epochs=1, name="s", threads=1, lr=0.5), seeds=2)
