"""A fault in one of several processes is told once, by one of them."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress

from torch import distributed as dist
from torch._C._distributed_c10d import Store

from cnnzoo.errors import AlreadyToldError, CnnzooError
from cnnzoo.signals import WARNINGS

NOTICE_SECONDS = 5
"""How long a fault waits for the first process to tell of it, before another one does."""

END_SECONDS = 30
"""The same at an end that all agreed upon, where the first one still saves; then torchrun kills."""


def with_one_voice(
    error: BaseException, store: Store, *, is_first: bool, leave: Callable[..., None]
) -> BaseException:
    """Return what this process ends with: the error that a person is to read, in one of them alone.

    That is the first process, which has the screen, even if the error is another's; unless it is gone.

    Args:
        error: What has happened in this process.
        store: Where all of them leave words.
        is_first: Whether this is the first process.
        leave: Closes the connections to the others.
    """
    if "finished reduction in the prior iteration" in str(error):
        error = CnnzooError(
            "this net has parameters that its loss does not depend on, which several processes cannot train. "
            "Freeze them (requires_grad_(False)), or train in one process."
        )
    together = getattr(error, "agreed", False)
    agreed = together or isinstance(error, KeyboardInterrupt)
    is_lost = isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
    code = getattr(error, "exit_code", 130 if isinstance(error, KeyboardInterrupt) else 1)
    is_bug = not (agreed or is_lost or hasattr(error, "exit_code") or isinstance(error, SystemExit))
    mine: BaseException = (
        CnnzooError(
            "a process of this training ended without a word: killed perhaps, or out of memory. "
            "Go on by the same command with --resume, or with --name and --resume auto."
        )
        if is_lost
        else error
    )
    with suppress(ValueError):  # not in the main thread
        for number in (signal.SIGTERM, *WARNINGS):  # torchrun's, as soon as one of them has ended
            signal.signal(number, signal.SIG_IGN)
    try:
        if is_bug and store.add("tellers", 1) == 1:  # with its traceback, which is here
            store.set("told", "")
            leave(together=False)
            return error
        if not (agreed or is_lost) and store.add("faults", 1) == 1:
            store.set("fault", f"{code} {error}")
        leave(together=together)
        if is_first:
            mine = (_fault(store, NOTICE_SECONDS / 2) if is_lost else None) or mine
        elif _has(store, "told", END_SECONDS if together else NOTICE_SECONDS):
            told = _fault(store, 0) if is_lost else None
            return AlreadyToldError(told.exit_code if told else code)
        if store.add("tellers", 1) > 1:
            return AlreadyToldError(code)
        store.set("told", "")
    except RuntimeError:  # the store has gone with the process that kept it
        return AlreadyToldError(code) if agreed and not is_first else mine
    return mine


def _fault(store: Store, seconds: float) -> CnnzooError | None:
    """Return what ended another process, if that comes to be known within so many seconds."""
    if not _has(store, "fault", seconds):
        return None
    code, _, text = store.get("fault").decode().partition(" ")
    fault = CnnzooError(text)
    fault.exit_code = int(code)
    return fault


def _has(store: Store, key: str, seconds: float) -> bool:
    return comes_true(lambda: store.check([key]), seconds)


def comes_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until ``condition`` holds, at most so many seconds; return whether it does."""
    until = time.monotonic() + seconds  # the store's own wait prints a warning
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
