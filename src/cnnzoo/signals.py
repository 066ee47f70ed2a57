"""Ctrl-C before the first step of a training, which Python may drop; it imports no torch."""

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType


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


class Stop:
    """The first signal that asked this process to stop, if one did."""

    number: int | None = None


@contextmanager
def stop_signals(*, is_alone: bool) -> Iterator[Stop]:
    """Let Ctrl-C and SIGTERM end the run at the next step; a second one ends it at once.

    Of several processes none does that by itself: what started them sends its signals more than once, and kills.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _: object) -> None:
        stop.number = number
        if is_alone:
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
