"""Ctrl-C until a run listens for it. Imports next to nothing, so that the program's first line answers it."""

import signal
import sys
import warnings
from time import monotonic

TYPE_CHECKING = False  # as typing has it, whose import would take longer than all else here
if TYPE_CHECKING:
    from types import FrameType, TracebackType

IMPORT_SECONDS = 2.0
"""Maximum time for which Ctrl-C is held back while a module is imported."""

LOOK_SECONDS, LOST_SECONDS = 0.05, 1.0
"""Time after which to look again whether that import has ended, and whether an interrupt that was raised was lost."""


class Interrupt:
    """Python's answer to Ctrl-C within a block, KeyboardInterrupt, raised where it does no harm and never lost.

    An import that is cut short leaves half a module, whose users then fail with any error but this one: it waits for
    the import's end. Callbacks, destructors and ``except:`` in libraries drop it: it is raised again. Whatever error it
    became on its way, or none, KeyboardInterrupt is what leaves the block.

    A handler that is not Python's own is somebody's, and stays; so does everything in other threads than the main one,
    where Python allows no handlers.

    Args:
        after: The handler from the end of the block on.

    Attributes:
        seen: Whether Ctrl-C was pressed.
    """

    seen = False

    def __init__(self, after: "signal.Handlers | None" = None) -> None:
        self.after = after or signal.default_int_handler
        self.is_asked = False

    def __enter__(self) -> None:
        """Begin to answer."""
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            try:
                signal.signal(signal.SIGINT, self)
            except ValueError:  # not in the main thread
                return
            self.is_asked = True

    def __exit__(self, _: object, error: BaseException | None, trace: "TracebackType | None") -> None:
        """End to answer.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed, whatever came of it.
        """
        if not self.is_asked:
            return
        signal.signal(signal.SIGINT, self.after)
        if self.seen:
            if sys.platform != "win32":
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, self.alarm_before)
                sys.unraisablehook = self.hook_before
                self.quiet.__exit__(None, None, None)
            if not isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt from None

    def __call__(self, number: int, frame: "FrameType | None") -> None:
        """Answer the signal; a second one at once."""
        if self.seen or sys.platform == "win32":  # which has no timer
            self.seen = True
            raise KeyboardInterrupt
        self.seen = True
        self.import_ends_by = monotonic() + IMPORT_SECONDS
        self.quiet = warnings.catch_warnings()  # of what an import that was cut short leaves undone
        self.quiet.__enter__()
        warnings.simplefilter("ignore")
        self.hook_before, sys.unraisablehook = sys.unraisablehook, lambda _: None
        self.alarm_before = signal.signal(signal.SIGALRM, self._look)
        self._look(number, frame)

    def _look(self, _: int, frame: "FrameType | None") -> None:
        waits = _is_interrupted(sys.exc_info()[1]) or (monotonic() < self.import_ends_by and _imports(frame))
        signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS if waits else LOST_SECONDS)
        if not waits:
            raise KeyboardInterrupt


def _imports(frame: "FrameType | None") -> bool:
    """Whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _is_interrupted(error: BaseException | None) -> bool:
    """Whether what is being handled came of an interrupt: something is being tidied up."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False
