"""The clock of everything that is timed: it goes on until steps are steady, or says that they are not."""

import time
from itertools import pairwise
from typing import NamedTuple

import torch

from cnnzoo.machine import cpu_times
from cnnzoo.precision import wait_for

WARM_UP, MIN_STEPS = 2, 4
"""Steps before the clock is started, and steps that are timed however long they take."""

WINDOWS, PATIENCE = 4, 3
"""The last so many parts of the time are held against each other, and for so many times as long they may differ."""

STEADY = 1.3
"""Steps are steady where those of the slowest part take at most so many times those of the fastest."""

BUSY = 0.2
"""Share of the time for which this process waits for a core, and others have one, on a busy machine."""


class Timing(NamedTuple):
    """How long a step took.

    Attributes:
        seconds: Of a step, by the last parts of the time.
        is_steady: Whether they hardly differ, and no other process kept this one from a core.
    """

    seconds: float
    is_steady: bool


class Clock:
    """The end of a loop by time: at least so many seconds after its first steps, and then until steps are steady."""

    def __init__(self, device: torch.device, seconds: float) -> None:
        self.device, self.seconds = device, seconds

    def begin_phase(self, *, may_save: bool = False) -> None:
        """Begin with the steps that warm up."""
        self.steps = -WARM_UP
        self.marks: list[tuple[int, float]] = []  # steps done, and when

    def agreed(self) -> bool:
        """Count a step; return whether it was the last."""
        self.steps += 1
        if self.steps == 0:
            self._mark()
            self.before = cpu_times()
        if self.steps <= 0:
            return False
        if time.perf_counter() - self.marks[-1][1] >= self.seconds / WINDOWS:
            self._mark()
        elapsed = time.perf_counter() - self.marks[0][1]
        if self.steps < MIN_STEPS or elapsed < self.seconds:
            return False
        return self._is_even() or elapsed >= PATIENCE * self.seconds

    def _mark(self) -> None:
        wait_for(self.device)
        self.marks.append((self.steps, time.perf_counter()))

    def _is_even(self) -> bool:
        marks = self.marks[-WINDOWS - 1 :]
        means = [(b - a) / (after - before) for (before, a), (after, b) in pairwise(marks)]
        return len(means) == WINDOWS and max(means) <= STEADY * min(means)

    def timing(self) -> Timing:
        """Return how long each of the last steps took."""
        if self.steps > self.marks[-1][0]:
            self._mark()
        waited, others = (now - before for now, before in zip(cpu_times(), self.before, strict=True))
        (first, started), *_, (last, ended) = self.marks[-WINDOWS - 1 :]
        is_alone = min(waited, others) <= BUSY * (ended - self.marks[0][1])
        return Timing((ended - started) / (last - first), self._is_even() and is_alone)
