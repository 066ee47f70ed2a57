"""Signals: Ctrl-C before the first step, which Python may drop, and those that ask a run to stop. Imports no torch."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Protocol


class Interrupt:
    """Python's answer to Ctrl-C, KeyboardInterrupt, which also remembers that it was given.

    Where one is raised in a destructor or a weak reference's callback, Python says so and goes on.

    Attributes:
        seen: Whether it was given.
    """

    seen = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Answer the signal."""
        self.seen = True
        signal.default_int_handler(number, frame)


@contextmanager
def answered_by(handler: "Interrupt | signal.Handlers") -> Iterator[None]:
    """Let ``handler`` answer Ctrl-C within the block; where Python allows none, in other threads, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def interrupts_remembered() -> AbstractContextManager[None]:
    """Have no Ctrl-C lost that comes before the first step: the trainer looks for one there.

    A handler that is not Python's own is somebody's, and stays.
    """
    is_pythons = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return answered_by(Interrupt()) if is_pythons else nullcontext()


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


@contextmanager
def stop_signals(group: Agreeing, save_seconds: float = math.inf) -> Iterator[StopSignal]:
    """Let Ctrl-C and SIGTERM end the run at the next step; a second one ends it at once.

    Of several processes none does that by itself: what started them sends its signals more than once, and kills.
    """
    stop = StopSignal(group, save_seconds)
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _: object) -> None:
        stop.number = number
        if group.world_size == 1:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    for number in before:
        signal.signal(number, ask)
    try:
        if isinstance(interrupt := before[signal.SIGINT], Interrupt) and interrupt.seen:
            raise KeyboardInterrupt
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
