"""How many threads a run computes with on the CPU, and the watches that go on with one where that is faster."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import mean, median
from typing import NamedTuple

import torch


class Switch(NamedTuple):
    """From when on a run has computed with how many threads.

    Attributes:
        epoch: From 1.
        step: Of it, after which; 0 for its beginning.
        threads: How many.
    """

    epoch: int
    step: int
    threads: int


def switches_as_text(record: Sequence[Switch]) -> str:
    """Return a record as ``--threads`` takes it: ``2``, or ``2,1@1:340`` for one thread after step 340 of epoch 1."""
    first, *rest = record
    return ",".join([str(first.threads), *(f"{n}@{epoch}:{step}" for epoch, step, n in rest)])


@contextmanager
def threads_restored() -> Iterator[None]:
    """Leave the number of threads as somebody has set it, whatever the block sets."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


SLOW, SLOW_WINDOWS = 2.0, 2
"""A machine is busy where the steps of so many windows in a row take so many times the fastest steps."""

WINDOW_STEPS, WINDOW_SECONDS = 6, 0.3
"""A window has so many steps at least, and lasts so long."""

PROBE_STEPS, FIRST_WAIT, LAST_WAIT = 5, 10.0, 600.0
"""How many steps try whether more threads pay again, and after how many seconds; each time in vain doubles them."""


class Watch:
    """Judges by the time that steps take whether the machine is busy.

    A step of a small net is a hundred operators, each of which waits for its slowest thread: where another process
    keeps one from running, a step takes tens of times longer. The fastest steps, in which none was kept, tell what it
    could take.

    Args:
        most: Threads on a quiet machine, and never more.
        threads: To begin with; all by default.

    Attributes:
        threads: To compute the next step with.
        why: What a person is told where it goes on with fewer.
    """

    why = "The machine is busy"

    def __init__(self, most: int, threads: int | None = None) -> None:
        self.most = most
        self.fastest = math.inf  # tenth of the steps of a window with all threads
        self.slow = math.inf  # mean of the steps with all threads that made way for one
        self.single = math.inf  # mean of the steps with one
        self.slow_windows = 0
        self.wait = FIRST_WAIT
        is_single = threads is not None and threads < most
        self._go_on(threads or most, self._judge_single if is_single else self._judge_many)

    @property
    def settled(self) -> int:
        """The threads to compute with; it goes by no trial."""
        return self.threads

    def _go_on(self, threads: int, judge: Callable[[list[float]], None]) -> None:
        self.threads, self._judge = threads, judge
        self.times: list[float] = []
        self.since_switch = 0.0
        self.slow_windows = 0

    def note(self, seconds: float, waited: float = 0.0) -> int:
        """Take note of how long a step took from when its images were there; return the threads for the next one."""
        del waited  # for images, which lie ready
        if self.since_switch:  # the first step after a switch is one of warming up
            self.times.append(seconds)
        self.since_switch += seconds
        is_probe = self._judge == self._judge_probe
        long_enough = is_probe or sum(self.times) >= WINDOW_SECONDS
        if len(self.times) >= (PROBE_STEPS if is_probe else WINDOW_STEPS) and long_enough:
            times = sorted(self.times)
            self.times = []
            self._judge(times)
        return self.threads

    def _judge_many(self, times: list[float]) -> None:
        self.fastest = min(self.fastest, times[len(times) // 10])
        self.slow_windows = self.slow_windows + 1 if median(times) > SLOW * self.fastest else 0
        if self.slow_windows >= SLOW_WINDOWS:
            self.slow = _mean(times)
            self._go_on(1, self._judge_single)

    def _judge_single(self, times: list[float]) -> None:
        self.single = _mean(times)
        self.slow_windows = self.slow_windows + 1 if self.single > self.slow else 0
        if self.slow_windows >= SLOW_WINDOWS:  # one thread is worse: it is not tried again soon
            self.wait = min(2 * self.wait, LAST_WAIT)
            self._go_on(self.most, self._judge_later)
        elif self.since_switch >= self.wait:
            self._go_on(self.most, self._judge_probe)

    def _judge_probe(self, times: list[float]) -> None:
        if _mean(times) < self.single:
            self.wait = FIRST_WAIT
            self._go_on(self.most, self._judge_many)
        else:
            self.wait = min(2 * self.wait, LAST_WAIT)
            self._go_on(1, self._judge_single)

    def _judge_later(self, times: list[float]) -> None:
        if self.since_switch >= self.wait:
            self._go_on(self.most, self._judge_many)
            self._judge_many(times)


WAITING_SHARE = 0.1
"""The share of a step's time from which waiting for images limits it."""

FIRST_STEPS = 2
"""Steps after a switch that say nothing: their images were decoded before it."""

GAIN = 0.95
"""By what share of the time one thread must do with, so that it is taken."""


class StreamedWatch:
    """Finds out by trial whether one thread is faster where images are decoded while the net trains.

    Where the net has to wait for them, torch's threads and those that decode keep each other from the cores. So it
    times a stretch of steps with as many threads as now, two stretches with the other number and one as now, and goes
    on with the faster; again later, each time in vain after twice the time. A net that seldom waits keeps all threads.

    Args:
        most: Threads to begin with, and never more.
        threads: To go on with; all by default.

    Attributes:
        threads: To compute the next step with.
        settled: To compute with between the trials.
        why: What a person is told where it settles on one.
    """

    why = "Decoding images limits this run"

    def __init__(self, most: int, threads: int | None = None) -> None:
        self.most = most
        self.wait = FIRST_WAIT
        self._settle(threads or most, 0.0)

    def _settle(self, threads: int, wait: float) -> None:
        """Go on with so many threads, and try again after so many seconds."""
        self.settled = self.threads = threads
        self.left = wait
        self.trial: list[float] = []  # seconds a step, of its stretches so far
        self._begin_stretch()

    def _begin_stretch(self) -> None:
        self.times: list[float] = []
        self.waited = 0.0

    def note(self, seconds: float, waited: float = 0.0) -> int:
        """Take note of how long a step took, and return how many threads the next one should have.

        Args:
            seconds: From when its images were there to its update.
            waited: Seconds before that, from the update before.
        """
        seconds += waited
        self.left -= seconds
        self.times.append(seconds)
        self.waited += waited
        timed = self.times[FIRST_STEPS:]
        if len(timed) >= WINDOW_STEPS and sum(timed) >= WINDOW_SECONDS:
            waits = self.waited >= WAITING_SHARE * sum(self.times)
            self._begin_stretch()
            if self.trial or (self.left <= 0 and (waits or self.settled < self.most)):
                self._go_on(_mean(sorted(timed)))
        return self.threads

    def _go_on(self, seconds_a_step: float) -> None:
        """End a stretch of a trial, and begin the next one, or settle."""
        self.trial.append(seconds_a_step)
        other = 1 if self.settled == self.most else self.most
        if len(self.trial) < 4:
            self.threads = (self.settled, other, other, self.settled)[len(self.trial)]
            return
        first, *others, last = self.trial
        times = {self.settled: first + last, other: sum(others)}
        faster = 1 if times[1] < GAIN * times[self.most] else self.most
        self.wait = min(2 * self.wait, LAST_WAIT) if faster == self.settled else FIRST_WAIT
        self._settle(faster, self.wait)


def _mean(times: list[float]) -> float:
    """Return the mean without the longest, so that a step in which a laptop slept says nothing."""
    return mean(times[:-1])


class Threads:
    """The number of threads at each step of a run, and the record of it.

    Args:
        plan: What to follow: a record, of one switch or several; None to take what the process has.
        watched_by: What judges whether that may change where nothing is planned; None for nobody.
        say: Told once that the run goes on with fewer.

    Attributes:
        record: What was done so far.
    """

    def __init__(
        self,
        plan: Sequence[Switch] | None,
        *,
        watched_by: type[Watch] | type[StreamedWatch] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.plan = plan
        self.record = [Switch(1, 0, plan[0].threads if plan else torch.get_num_threads())]
        self.watch = watched_by(self.now) if watched_by and plan is None and self.now > 1 else None
        self.say: Callable[[str], None] | None = say
        self.full_batch = 0
        self.began: float | None = None  # when the images of the step were there; None between steps
        self.ended: tuple[int, float] | None = None  # the epoch of the step before, and when
        self.waited = 0.0
        torch.set_num_threads(self.now)

    @property
    def now(self) -> int:
        """Threads that the run computes with."""
        return self.record[-1].threads

    def restore(self, record: Sequence[Switch], epoch: int, step: int) -> None:
        """Go on after the record of a run that was stopped; with fewer threads where this process has fewer."""
        if not record:  # of a run that kept none
            return
        has = torch.get_num_threads()
        self.record = list(record)
        if self.plan is None:
            self._switch(epoch, step, min(self.now, has))
            if self.watch:
                self.watch = type(self.watch)(min(record[0].threads, has), self.now)
        torch.set_num_threads(self.now)

    def begin_step(self, epoch: int, step: int) -> None:
        """The images of a step, or of its first part, have come, after so many steps of the epoch."""
        self._follow(epoch, step)
        if self.began is None:
            self.began = time.perf_counter()
            self.waited = self.began - self.ended[1] if self.ended and self.ended[0] == epoch else 0.0

    def end_step(self, epoch: int, step: int, num_images: int) -> None:
        """A step has ended, after which so many of the epoch are done; the next one may have more threads or fewer.

        Args:
            epoch: From 1.
            step: From 1.
            num_images: Of the step's last batch; smaller ones than the others say nothing of the machine.
        """
        self._follow(epoch, step)
        ended = time.perf_counter()
        seconds = ended - (self.began or ended)
        self.began, self.ended = None, (epoch, ended)
        if self.watch is None or num_images < self.full_batch:
            return
        self.full_batch = num_images
        before = self.watch.settled
        threads = self.watch.note(seconds, self.waited)
        if self.watch.settled < before and self.say:
            self.say(
                f"{self.watch.why}: going on with 1 thread of {self.watch.most}, and with more once that pays. "
                "The run keeps a record, by which it can be made again."
            )
            self.say = None
        self._switch(epoch, step, threads)

    def _follow(self, epoch: int, step: int) -> None:
        if self.plan and len(self.plan) > 1:
            due = [switch for switch in self.plan if switch[:2] <= (epoch, step)]
            self._switch(epoch, step, due[-1].threads)

    def _switch(self, epoch: int, step: int, threads: int) -> None:
        if threads != self.now:
            self.record.append(Switch(epoch, step, threads))
            torch.set_num_threads(threads)
