"""--threads: a number, or auto, which goes on with one thread while the machine is busy, and keeps a record."""

import itertools
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import cnnzoo
from cnnzoo.config import TrainConfig
from cnnzoo.config_file import read_yaml
from cnnzoo.errors import UsageError
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.training.threads import (
    FIRST_WAIT,
    StreamedWatch,
    Switch,
    Threads,
    Watch,
    switches_as_text,
    threads_restored,
)
from tests.conftest import Command
from tests.faults.shared import SMALL, assert_refused
from tests.helpers import (
    InterruptedRunError,
    StopAfter,
    forget_models,
    patch_internal,
    quick,
    resume,
    same_state,
    train,
)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Have two threads, as a laptop has many, and leave all as it was."""
    with threads_restored():
        torch.set_num_threads(2)
        yield


def record_of(run: Path) -> list[tuple[int, int, int]]:
    training = load_checkpoint(run / "last.pt").training
    assert training is not None
    return training.threads


# The watch, told how long steps take


def watched(watch: Watch, times: Callable[[int, float], float], seconds: float) -> list[tuple[float, int]]:
    """Let a machine whose step takes ``times(threads, clock)`` run; return when the number of threads changed."""
    clock, changes = 0.0, [(0.0, watch.threads)]
    while clock < seconds:
        step = times(watch.threads, clock)
        clock += step
        if watch.note(step) != changes[-1][1]:
            changes.append((clock, watch.threads))
    return changes


@pytest.mark.parametrize("base", [0.002, 0.25, 1.0])
def test_a_quiet_machine_keeps_its_threads(base: float) -> None:
    chance = random.Random(0)

    def times(threads: int, clock: float) -> float:
        return base * chance.uniform(1, 1.6) * (5 if chance.random() < 0.05 else 1)

    assert watched(Watch(2), times, 2000 * base) == [(0.0, 2)]


def test_a_laptop_that_slept_is_not_busy() -> None:
    steps = itertools.chain([0.002] * 300, [3600.0], [0.002] * 300, itertools.repeat(0.002))
    assert watched(Watch(4), lambda threads, clock: next(steps), 7201) == [(0.0, 4)]


@pytest.mark.parametrize(("base", "within"), [(0.002, 3), (0.25, 25)])
def test_a_busy_machine_gets_one_thread_and_more_once_it_is_quiet(base: float, within: float) -> None:
    chance = random.Random(1)
    begins, ends = 100 * base + 1, 100 * base + 61

    def times(threads: int, clock: float) -> float:
        pace = 1.4 if threads == 1 else 6 if begins <= clock < ends else 1
        return base * chance.uniform(1, 1.3) * pace

    changes = watched(Watch(2), times, ends + 300)
    assert changes[1][1] == 1
    assert begins < changes[1][0] < begins + within
    assert changes[-1][1] == 2
    assert ends < changes[-1][0] < ends + 90
    with_one = sum(b[0] - a[0] for a, b in itertools.pairwise(changes) if a[1] == 1)
    assert with_one > 0.5 * (ends - begins)
    assert len(changes) < 12


def test_probes_become_rare() -> None:
    changes = watched(
        Watch(2), lambda threads, clock: 0.003 if threads == 1 else 0.03 * (clock > 1) + 0.002, 3600
    )
    probes = [clock for clock, threads in changes if threads == 2][1:]
    gaps = [b - a for a, b in itertools.pairwise(probes)]
    assert FIRST_WAIT < gaps[0] < 3 * FIRST_WAIT
    assert all(later > 0.99 * earlier for earlier, later in itertools.pairwise(gaps))
    assert len(probes) < 14


def test_where_one_thread_is_no_better_all_are_taken_again() -> None:
    """As on eight cores of which one is busy."""
    changes = watched(
        Watch(8), lambda threads, clock: 0.02 if threads == 1 else 0.002 + 0.006 * (clock > 1), 60
    )
    with_one = sum(b[0] - a[0] for a, b in itertools.pairwise(changes) if a[1] == 1)
    assert changes[1][1] == 1
    assert changes[-1][1] == 8
    assert with_one < 4


# The watch of a run whose images are decoded while it trains


def streamed(
    watch: StreamedWatch, steps: Callable[[int, float], tuple[float, float]], seconds: float
) -> list[tuple[float, int]]:
    """Let a run compute and wait for ``steps(threads, clock)``; return when the number of threads changed."""
    clock, changes = 0.0, [(0.0, watch.threads)]
    while clock < seconds:
        computes, waits = steps(watch.threads, clock)
        clock += computes + waits
        if watch.note(computes, waits) != changes[-1][1]:
            changes.append((clock, watch.threads))
    return changes


def share_with(changes: list[tuple[float, int]], threads: int, since: float, until: float) -> float:
    """Return the share of a time that passed with so many threads."""
    whole = [*changes, (until, 0)]
    spans = [(max(a[0], since), b[0]) for a, b in itertools.pairwise(whole) if a[1] == threads]
    return sum(end - begin for begin, end in spans if end > begin) / (until - since)


@pytest.mark.parametrize("base", [0.01, 0.06, 0.5])
def test_one_thread_is_found_where_decoding_limits(base: float) -> None:
    chance = random.Random(2)

    def steps(threads: int, clock: float) -> tuple[float, float]:
        noise = base * chance.uniform(1, 1.3)
        return (0.1 * noise, 0.5 * noise) if threads == 1 else (0.4 * noise, 0.5 * noise)

    watch = StreamedWatch(2)
    changes = streamed(watch, steps, 4000 * base)
    assert watch.settled == 1
    assert changes[1][0] < max(20 * base, 1)
    assert share_with(changes, 1, 0, 4000 * base) > 0.9


def test_a_net_that_is_faster_with_all_threads_keeps_them_though_it_waits() -> None:
    changes = streamed(
        StreamedWatch(2), lambda threads, clock: (0.1, 0.02) if threads == 2 else (0.2, 0.0), 3600
    )
    assert changes[-1][1] == 2
    assert share_with(changes, 2, 0, 3600) > 0.95
    assert len(changes) < 40


def test_a_net_that_does_not_wait_is_never_tried_with_one_thread() -> None:
    assert streamed(StreamedWatch(2), lambda threads, clock: (1.0, 0.05), 3600) == [(0.0, 2)]


def test_all_threads_come_back_once_decoding_does_not_limit_any_more() -> None:
    def steps(threads: int, clock: float) -> tuple[float, float]:
        limits = clock < 60  # until all files are in memory, say
        return (0.02, 0.04 if limits else 0.0) if threads == 1 else (0.012, 0.07 if limits else 0.0)

    changes = streamed(StreamedWatch(2), steps, 600)
    assert share_with(changes, 1, 2, 60) > 0.8
    assert share_with(changes, 2, 300, 600) > 0.9


# Runs


@pytest.mark.slow
def test_a_number_is_taken_kept_and_recorded(tmp_path: Path) -> None:
    seen = []

    class Look(cnnzoo.Reporter):
        def step(self, *figures: object) -> None:
            seen.append(torch.get_num_threads())

    torch.set_num_threads(1)
    run = train(quick(tmp_path, threads=2, epochs=1), reporter=Look()).run
    assert set(seen) == {2}
    assert torch.get_num_threads() == 1  # as somebody had set it
    assert record_of(run) == [(1, 0, 2)]
    config = read_yaml(run / "config.yaml")
    assert config["threads"] == 2
    seen.clear()
    resume(run, {"epochs": 2}, reporter=Look())
    assert set(seen) == {2}
    with pytest.raises(UsageError, match=r"threads \(was 2, now 1\)"):
        resume(run, {"epochs": 3, "threads": 1})


@pytest.mark.slow
def test_auto_never_exceeds_what_the_process_has(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    run = train(quick(tmp_path, epochs=1)).run
    assert record_of(run) == [(1, 0, 1)]
    torch.set_num_threads(2)
    resume(run, {"epochs": 2})  # the same number, although there are more
    assert record_of(run) == [(1, 0, 1)]
    more = train(quick(tmp_path, epochs=1)).run
    torch.set_num_threads(1)
    resume(more, {"epochs": 2})
    assert record_of(more) == [(1, 0, 2), (2, 0, 1)]


@pytest.mark.slow
def test_a_record_is_followed_and_resumed(tmp_path: Path) -> None:
    plan = "2,1@1:4,2@2:10,1@3:3"
    config = quick(tmp_path, threads=plan)
    seen: list[tuple[int, str, int]] = []

    class Look(cnnzoo.Reporter):
        def step(self, epoch: int, phase: str, step: int, *figures: float) -> None:
            seen.append((epoch, phase, torch.get_num_threads()))

    whole = train(config, reporter=Look()).run
    assert [threads for epoch, phase, threads in seen if (epoch, phase) == (1, "train")] == [2] * 3 + [1] * 7
    assert [threads for epoch, phase, threads in seen if (epoch, phase) == (2, "train")] == [1] * 9 + [2]
    assert [threads for epoch, phase, threads in seen if phase == "val"] == [1, 2, 1]
    assert record_of(whole) == [(1, 0, 2), (1, 4, 1), (2, 10, 2), (3, 3, 1)]
    with pytest.raises(InterruptedRunError) as stopped:
        train(config, reporter=StopAfter(15))
    assert record_of(stopped.value.run) == [(1, 0, 2), (1, 4, 1)]
    resume(stopped.value.run)
    assert same_state(stopped.value.run, whole)


@pytest.mark.parametrize(
    "text", ["0", "-1", "two", "2,1", "2,1@1", "2,1@0:3", "2,1@2:1,2@1:1", "2, 1@1:3", ""]
)
def test_what_is_no_number_and_no_record_is_refused(command: Command, text: str) -> None:
    assert_refused(
        command(*SMALL, f"--threads={text}"), "threads must be auto, a number of at least 1", code=2
    )


def test_a_record_reads_back() -> None:
    record = [Switch(1, 0, 2), Switch(1, 340, 1), Switch(12, 0, 2)]
    plan = TrainConfig(model="lenet", threads=switches_as_text(record)).thread_plan
    assert plan is not None
    assert [Switch(*switch) for switch in plan] == record
    assert TrainConfig(model="lenet").thread_plan is None
    assert TrainConfig.from_dict({"model": "lenet", "threads": "3"}).threads == 3


def test_one_thread_and_a_fixed_number_leave_nothing_to_watch() -> None:
    assert Threads(None, watched_by=Watch).watch is not None
    assert Threads([Switch(1, 0, 2)], watched_by=Watch).watch is None
    torch.set_num_threads(1)
    assert Threads(None, watched_by=Watch).watch is None


def command_with_two_threads(folder: Path, *line: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "cnnzoo", *line],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    return done


@pytest.mark.alone
def test_row_52_beside_busy_processes_a_run_gives_way_and_can_be_made_again(tmp_path: Path) -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    sample = ("--dataset", "fashionmnist-sample", "--out", ".", "--epochs", "6")
    line = ("train", "lenet", "-o", "activation=tanh", *sample)
    try:
        done = command_with_two_threads(tmp_path, *line, "--name", "r")
    finally:
        for process in busy:
            process.kill()
            process.wait()
    record = record_of(tmp_path / "r")
    assert len(record) > 1, "this machine did not mind four busy processes"
    assert done.stderr.count("The machine is busy") == 1
    plan = switches_as_text([Switch(*switch) for switch in record])
    assert f"threads: {plan}" in (tmp_path / "r" / "config.yaml").read_text(encoding="utf-8")
    again = command_with_two_threads(tmp_path, *line, "--name", "again", "--threads", plan)
    assert again.stderr == ""
    assert same_state(tmp_path / "again", tmp_path / "r")
    shown = command_with_two_threads(tmp_path, "train", "--resume", "r", "--out", ".", "--epochs", "7")
    assert f"threads: {plan} (THREADS@EPOCH:STEP)" in shown.stdout


@pytest.mark.slow
def test_a_streamed_run_tries_one_thread_and_its_record_makes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_models(monkeypatch)
    patch_internal(monkeypatch, "MAX_RESIDENT_BYTES", 0)

    @cnnzoo.register_model("thin", image_size=128)
    def build(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(192, num_classes))

    chance = np.random.default_rng(0)
    for label, number in itertools.product("ab", range(120)):
        path = tmp_path / "images" / label / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = chance.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((600, 400)).save(path, quality=90)
    settings: dict[str, Any] = {
        **{
            "model": "thin",
            "model_options": {},
            "dataset": f"folder:{tmp_path / 'images'}",
            "num_workers": 2,
        },
        **{"limit_train": None, "limit_val": 8, "batch_size": 8, "epochs": 8},
    }
    run = train(quick(tmp_path / "runs", **settings)).run
    record = record_of(run)
    assert [threads for _, _, threads in record[:3]] == [2, 1, 2]
    plan = switches_as_text([Switch(*switch) for switch in record])
    again = train(quick(tmp_path / "again", **settings, threads=plan)).run
    assert same_state(again, run)
