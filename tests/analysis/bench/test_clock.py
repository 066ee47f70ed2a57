"""Row 68: what is timed is timed until it is steady, or said not to be trusted."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from subprocess import CompletedProcess

import pytest
import torch

from cnnzoo.analysis.bench.clock import Clock, Timing
from cnnzoo.analysis.bench.net import BenchResult
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.ui.bench import print_bench
from tests.helpers import CPU

Run = Callable[..., CompletedProcess[str]]


def timing_of(step: Callable[[int], None], seconds: float) -> Timing:
    """Time steps, which are numbered from 1."""
    clock = Clock(CPU, seconds)
    clock.begin_phase()
    for number in count(1):
        step(number)
        if clock.agreed():
            break
    return clock.timing()


def test_row_68_steps_are_timed_until_they_are_steady() -> None:
    timing = timing_of(lambda number: time.sleep(0.1 if number < 6 else 0.02), 0.4)
    assert timing.is_steady
    assert timing.seconds == pytest.approx(0.02, rel=0.4)


def test_row_68_steps_that_do_not_become_steady_are_told_of() -> None:
    started = time.perf_counter()
    timing = timing_of(lambda number: time.sleep(0.002 * 1.5 ** (number % 12)), 0.2)
    assert not timing.is_steady
    assert time.perf_counter() - started < 2


@pytest.fixture
def busy() -> Iterator[None]:
    """Keep every core busy with another process."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux says who waits for a core")
    burners = [multiprocessing.get_context("spawn").Process(target=_burn) for _ in os.sched_getaffinity(0)]
    for burner in burners:
        burner.start()
    time.sleep(1)
    yield
    for burner in burners:
        burner.kill()
        burner.join()


def _burn() -> None:
    while True:
        pass


@pytest.mark.slow
def test_row_68_steps_that_are_equally_slow_on_a_busy_machine_are_told_of(busy: None) -> None:
    matrix = torch.randn(200, 200)

    def step(_: int) -> None:
        torch.mm(matrix, matrix)

    assert not timing_of(step, 1.0).is_steady


@pytest.mark.slow
def test_row_68_a_plan_and_a_bench_say_that_the_machine_is_busy(cnnzoo: Run, busy: None) -> None:
    says = "The machine is busy: these times are not to be trusted."
    bench = cnnzoo("bench", "lenet", "--seconds", "0.2")
    assert says in bench.stdout
    assert "-" not in bench.stdout.partition("Step, ms")[2].partition("Arithmetic")[0]
    plan = cnnzoo(
        *("train", "lenet", "--dataset", SAMPLE, "--dry-run"), env={"OMP_NUM_THREADS": "2", "COLUMNS": "300"}
    )
    assert says in plan.stdout


def test_row_68_parts_that_cannot_be_told_apart_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_bench(
        [
            BenchResult(
                "lenet", "cpu", "fp32", 32, 1.0, 1.0, 1.0, {}, 1, 1, 1.0, 1.0, 1.0, 1.0, 1.0, is_steady=False
            )
        ]
    )
    said = capsys.readouterr().out
    assert [line.split()[-1] for line in said.splitlines() if line.strip().startswith("backward")] == ["?"]
    assert "The machine is busy" in said
