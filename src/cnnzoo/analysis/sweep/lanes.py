"""Several runs side by side, each in a process of its own, and what they tell in one place.

The processes come from a warm one, in which torch is imported already.
"""

import multiprocessing
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from cnnzoo.errors import CnnzooError
from cnnzoo.machine import available_memory, peak_memory
from cnnzoo.runs.history import HistoryRow
from cnnzoo.signals import ENDING, stops_answered_by
from cnnzoo.training.reporter import Reporter, RunDescription

T = TypeVar("T")

TELL_SECONDS = 0.2
"""How often a lane tells of its steps, at most."""

ROOM = 1.5
"""How much more memory than its first steps a run is given: validation takes larger batches."""


@dataclass(frozen=True)
class Task(Generic[T]):
    """Something to be done in a lane.

    Attributes:
        name: What it is called, ``seed-3``.
        do: Does it, told whom to report to; a function of a module, and its arguments, that can be pickled.
    """

    name: str
    do: Callable[[Reporter], T]


@dataclass(frozen=True)
class Fault:
    """How a task ended that did not end well.

    Attributes:
        text: A line for a person, or a traceback.
        kind: It was stopped, and saved; it was refused or failed; it was killed; or it is a bug.
        exit_code: That its process would have ended with.
    """

    text: str
    kind: Literal["stopped", "failed", "killed", "bug"]
    exit_code: int


class LaneReporter:
    """Whom the lanes' tasks are told of; this one listens to nothing."""

    def plan(self, names: Sequence[str]) -> None:
        """Tasks are going to be done, in this order."""

    def start(self, name: str, description: RunDescription) -> None:
        """A run is about to begin, or to go on."""

    def step(self, name: str, *figures: Any) -> None:  # noqa: ANN401  (as Reporter.step has them)
        """A run has done a step; now and then one is told of."""

    def epoch(self, name: str, row: HistoryRow, is_best: bool) -> None:
        """A run has finished an epoch."""

    def warn(self, name: str, message: str) -> None:
        """A run has something to say."""

    def end(self, name: str, outcome: object) -> None:
        """A task has ended: with a Fault, or with what it gives."""

    def tick(self) -> None:
        """A moment has passed."""


def run_lanes(
    tasks: Sequence[Task[T]],
    jobs: int,
    listener: LaneReporter,
    *,
    measured: bool = False,
    keep: Callable[[str, object], None] = lambda *_: None,
) -> tuple[dict[str, T | Fault], int | None]:
    """Do tasks side by side, each in a process of its own.

    A task that fails leaves the others going, but for a setting that cannot be right, which ends all. A signal of
    ``signals.STOPS`` has all of them stop and save; none is begun any more.

    Args:
        tasks: In the order in which they begin.
        jobs: How many at once.
        listener: Told what they tell.
        measured: Whether to begin with one, and have as many at once as memory has room for, by what that takes.
        keep: Told the name and the outcome of each task that has ended, before the listener is.

    Returns:
        What each task that was begun gave, by name and in their order, or how it failed; and the signal that ended
        all, if one did.
    """
    lanes = _Lanes(jobs, listener, keep, measured=measured)
    listener.plan([task.name for task in tasks])
    with stops_answered_by(lanes.stop):  # the lanes do not hear what a terminal sends
        waiting = deque(tasks)
        try:
            while lanes.running or (waiting and lanes.goes_on):
                while waiting and lanes.goes_on and len(lanes.running) < lanes.room():
                    lanes.begin(waiting.popleft())
                lanes.listen()
                listener.tick()
        except BaseException:
            lanes.stop(signal.SIGTERM)  # nobody listens any more, for a full disk perhaps: they save and end
            raise
    # As they were given, whichever ended first.
    return {
        task.name: lanes.outcomes[task.name] for task in tasks if task.name in lanes.outcomes
    }, lanes.stopped


class _Lanes:
    """The lanes, seen from the process that the person started."""

    def __init__(
        self, jobs: int, listener: LaneReporter, keep: Callable[[str, object], None], *, measured: bool
    ) -> None:
        self.jobs, self.listener, self.keep, self.measured = jobs, listener, keep, measured
        self.context = _warm_context()
        self.running: dict[str, tuple[BaseProcess, Connection]] = {}
        self.outcomes: dict[str, Any] = {}
        self.stopped: int | None = None
        self.available = available_memory() if measured else None
        self.run_bytes = 0

    @property
    def goes_on(self) -> bool:
        """Whether tasks that wait are to be begun."""
        refused = any(isinstance(end, Fault) and end.exit_code == 2 for end in self.outcomes.values())
        return self.stopped is None and not refused

    def room(self) -> int:
        """Return how many tasks may run at once."""
        if not self.measured or self.available is None:
            return self.jobs
        if not self.run_bytes:
            return self.jobs if self.outcomes else 1  # a first one that ended at once was there already
        return min(self.jobs, max(1, int(self.available / (ROOM * self.run_bytes))))

    def begin(self, task: Task[Any]) -> None:
        """Start a task in a process of its own."""
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_work, args=(task, theirs), name=task.name)  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        self.running[task.name] = process, ours
        if self.stopped is not None:  # while it was started, and not known to `stop`
            _send(process, self.stopped)

    def stop(self, number: int) -> None:
        """Have all of them stop and save; asked a second time to end, at once."""
        if number in ENDING or self.stopped is None:
            self.stopped = self.stopped or number
            for process, _ in self.running.values():
                _send(process, number)

    def listen(self) -> None:
        """Hear what the lanes have to tell, for a moment."""
        by_pipe = {pipe: name for name, (_, pipe) in self.running.items()}
        for pipe in wait(list(by_pipe), timeout=TELL_SECONDS):
            assert isinstance(pipe, Connection)
            name = by_pipe[pipe]
            try:
                kind, *parts = pipe.recv()
            except (EOFError, OSError):
                self._end(name)
                continue
            if kind == "memory":
                self.run_bytes = max(self.run_bytes, *parts)
            elif kind == "outcome":
                (self.outcomes[name],) = parts
            else:
                getattr(self.listener, kind)(name, *parts)

    def _end(self, name: str) -> None:
        process, pipe = self.running.pop(name)
        pipe.close()
        process.join()
        if name not in self.outcomes:
            self.outcomes[name] = self._without_a_word(process.exitcode or 0)
        self.keep(name, self.outcomes[name])
        self.listener.end(name, self.outcomes[name])

    def _without_a_word(self, code: int) -> Fault:
        if self.stopped and code < 0:
            return Fault("stopped before its first step", "stopped", 128 + self.stopped)
        why = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        memory = ", perhaps for want of memory" if code == -signal.SIGKILL else ""
        return Fault(f"its process was ended by {why}{memory}", "killed", 1)


def _send(process: BaseProcess, number: int) -> None:
    if process.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM if number in ENDING else number)


def _warm_context() -> BaseContext:
    """Return what starts processes that have torch already; on Windows, which has no such thing, cold ones."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cnnzoo.training.resume", "cnnzoo.analysis.eval.evaluation"])
    # A terminal sends Ctrl-C to it, too, while it imports; lanes inherit that it does not hear.
    resource_tracker.ensure_running()  # which has its own way of not hearing, and hears again afterwards
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return context


# In a lane


class _Teller(Reporter):
    """Passes on what a run reports; and has it stop where nobody is left to hear."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.parent = pipe, os.getppid()
        self.told_at = 0.0
        self.steps = 0
        self.is_orphan = False

    def tell(self, kind: str, *parts: object) -> None:
        try:
            self.pipe.send((kind, *parts))
        except OSError:
            self._stop()

    def _stop(self) -> None:
        if not self.is_orphan:
            self.is_orphan = True
            # As if a person had: the run is saved, and goes on another time.
            os.kill(os.getpid(), signal.SIGTERM)

    def _look(self) -> None:
        if os.getppid() != self.parent:
            self._stop()

    def progress(self, what: str, done: int, total: int) -> None:
        self._look()

    def start(self, description: RunDescription, run: Path) -> None:
        self.tell("start", description)

    def step(self, *figures: Any) -> None:  # noqa: ANN401
        self._look()
        self.steps += 1
        if self.steps == 3:
            self.tell("memory", peak_memory())
        if (now := time.monotonic()) - self.told_at > TELL_SECONDS:
            self.told_at = now
            self.tell("step", *figures)

    def epoch(self, row: HistoryRow, is_best: bool) -> None:
        self.tell("memory", peak_memory())
        self.tell("epoch", row, is_best)

    def warn(self, message: str) -> None:
        self.tell("warn", message)


def _work(task: Task[Any], pipe: Connection) -> None:
    """Do a task, and tell how it ended."""
    from cnnzoo.training.result import InterruptedRunError

    if hasattr(os, "setpgrp"):
        os.setpgrp()  # a terminal's Ctrl-C is for the first process, which passes it on once
    teller = _Teller(pipe)
    outcome: object
    try:
        outcome = task.do(teller)
    except InterruptedRunError as error:
        outcome = Fault(str(error), "stopped", error.exit_code)
    except CnnzooError as error:
        outcome = Fault(str(error), "failed", error.exit_code)
    except KeyboardInterrupt:
        outcome = Fault("stopped before its first step", "stopped", 130)
    except Exception:
        outcome = Fault(traceback.format_exc(), "bug", 1)
    teller.tell("outcome", outcome)
