"""Ctrl-C before the first step of a training, which Python may drop; it imports no torch."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
def interrupts_remembered() -> Iterator[None]:
    """Have no Ctrl-C lost that comes before the first step: the trainer looks for one there.

    A handler that is not Python's own is somebody's, and stays.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, Interrupt())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
