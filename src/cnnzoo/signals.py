"""Signals that ask a run to stop. Imports no torch."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from cnnzoo.interrupts import Interrupt

ENDING = (signal.SIGINT, signal.SIGTERM)
"""Those by which a person or the system ends a program; a second one of them ends it at once."""

WARNINGS = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU") if hasattr(signal, name)
)
"""Those that say that the end is near: the terminal is gone, or a job's time is nearly over. Windows has none.

They come more than once, a hangup from the terminal and again from the shell, so that a second one means no more.
"""

STOPS = (*ENDING, *WARNINGS)
"""All that ask a run to stop."""


@contextmanager
def interrupts_end_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process within the block; in other threads Python allows no such thing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Agreeing(Protocol):
    """The processes that have to stop at the same step: ``distributed.group.Group``."""

    world_size: int

    @property
    def is_first(self) -> bool:
        """Whether this is the one whose clock counts."""

    def begin_phase(self) -> None:
        """Begin anew with the pace at which they talk."""

    def agree(self, answer: int | None) -> int | None:
        """Return what all of them have alike of their answers."""


SAVE = 0
"""The reason of a save that is due; as no signal has that number, each signal goes before it."""


class Stop(Protocol):
    """The end of training or of validation before its last step: a signal, a clock or a count fulfils it."""

    def begin_phase(self, *, may_save: bool = False) -> None:
        """Begin training or validation.

        Args:
            may_save: Whether the phase can be left in order to save, and resumed where it was left.
        """

    def agreed(self) -> bool:
        """Return whether the phase ends after this step. All processes ask, once a step."""


class RunStop(Stop, Protocol):
    """The end of a whole run before its last epoch, or a save within an epoch: ``StopSignal``."""

    @property
    def reason(self) -> int | None:
        """The signal that ends the run, or SAVE."""

    def saved(self) -> None:
        """Restart the time to the next save."""


class StopSignal:
    """Whether all processes of a run agree to leave the epoch at this step: to stop, or to save and go on.

    Attributes:
        number: The signal that asked this process to stop, if one did.
        reason: Why all of them leave the epoch: the signal that asked one of them, or 0 for a save that is due.
    """

    number: int | None = None
    reason: int | None = None

    def __init__(self, group: Agreeing, save_seconds: float = math.inf) -> None:
        self.group, self.save_seconds = group, save_seconds
        self.may_save = False
        self.saved()

    def saved(self) -> None:
        """Begin anew with the time to the next save."""
        self.save_at = time.monotonic() + self.save_seconds

    def begin_phase(self, *, may_save: bool = False) -> None:
        """Begin training or validation, whose steps take another time.

        Args:
            may_save: Whether the phase can be taken up where it was left.
        """
        self.may_save = may_save and self.group.is_first
        self.group.begin_phase()

    def agreed(self) -> bool:
        """Return whether all processes leave the epoch after this step. Each asks once a step."""
        answer = self.number
        if answer is None and self.may_save and time.monotonic() >= self.save_at:
            answer = SAVE
        self.reason = self.group.agree(answer)  # number may be another by now
        return self.reason is not None


_heard: set[int] = set()


def stop_was_heard() -> bool:
    """Whether a signal has asked this process to stop while a run listened."""
    return bool(_heard)


@contextmanager
def stops_answered_by(
    answer: Callable[[int], None], numbers: Iterable[int] = STOPS
) -> Iterator[Mapping[int, Any]]:
    """Have ``answer`` told of each of these signals within the block; in other threads Python allows no such thing.

    A warning that is ignored already, as a hangup is under ``nohup``, stays so, and one that has a handler keeps it.

    Args:
        answer: Called with the signal's number, between two operations of Python.
        numbers: Of STOPS.

    Yields:
        What answered each before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield {}
        return

    def hear(number: int, _: object) -> None:
        _heard.add(number)
        answer(number)

    before = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number in before if number in ENDING or before[number] is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, hear)
    try:
        yield before
    finally:
        for number in taken:
            signal.signal(number, before[number])


def ignore_warnings() -> None:
    """Hear no warning from here on: all runs of this process have ended, and it draws and ends."""
    if threading.current_thread() is threading.main_thread():
        for number in WARNINGS:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def stop_signals(group: Agreeing, save_seconds: float = math.inf) -> Iterator[StopSignal]:
    """Let each of STOPS end the run at the next step; a second Ctrl-C or SIGTERM ends it at once.

    Of several processes none does that by itself: what started them sends its signals more than once, and kills.
    """
    stop = StopSignal(group, save_seconds)

    def ask(number: int) -> None:
        if stop.number is None:
            stop.number = number
        if number in ENDING and group.world_size == 1:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    with stops_answered_by(ask) as before:
        if isinstance(interrupt := before.get(signal.SIGINT), Interrupt) and interrupt.seen:
            raise KeyboardInterrupt
        yield stop
