"""What a command prints to, made fit for printing: streams that are missing or go away, and widths that are none."""

import codecs
import errno
import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cnnzoo.errors import one_line, showable
from cnnzoo.signals import stop_was_heard

WIDTHS = range(20, 10_000)
"""Columns in which lines can be written; what ``$COLUMNS`` says beyond them (some CI systems: 0) is no width."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a stream that may have room again later."""


def make_safe() -> None:
    """See to it that printing never fails for want of a stream, of a letter in its encoding, or of a width."""
    codecs.register_error("showable", _show)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started this process
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="showable")
            if os.name == "posix" and isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO):
                setattr(sys, name, _outliving_its_end(stream))
    for name, fit in (("COLUMNS", WIDTHS), ("LINES", range(1, 10_000))):
        text = os.environ.get(name, "").strip()
        if not (text.isdecimal() and len(text) < 6 and int(text) in fit):
            os.environ.pop(name, None)
    if shutil.get_terminal_size().columns < WIDTHS.start:
        os.environ["COLUMNS"] = "80"  # a terminal that says so folds what it cannot show


def _show(error: UnicodeError) -> tuple[str | bytes, int]:
    """Escape what a stream's encoding lacks, and bytes of names as everything else does that shows them."""
    assert isinstance(error, UnicodeEncodeError)
    shown = showable(error.object[error.start : error.end])
    return shown.encode(error.encoding, errors="backslashreplace"), error.end


def output_is_broken() -> bool:
    """Whether nothing can be printed any more."""
    try:
        sys.stdout.write("")
        sys.stdout.flush()
    except OSError:
        return True
    return False


def discard(stream: TextIO) -> None:
    """Point a stream elsewhere, so that Python's own last flush stays quiet."""
    _discard(stream.fileno())


@contextmanager
def output_optional() -> Iterator[None]:
    """Go on within the block without stdout once it cannot be written to, with one warning on stderr.

    For commands that train: their result is a run's folder, and what they print is only their screen.
    """
    _Outliving.is_optional = True
    try:
        yield
        sys.stdout.flush()
    finally:
        _Outliving.is_optional = False


class _Outliving(io.FileIO):
    """A stream that drops what nobody can read any more, where this must not keep a run from being saved.

    That is what is printed to a terminal that is gone, while this process stops, or within ``output_optional``.

    Attributes:
        is_optional: Whether ``output_optional`` applies, to all streams of this kind.
        is_warned: Whether a person was warned of the loss.
    """

    is_optional = False
    is_warned = False

    def write(self, data: object, /) -> int:
        """Write, or drop what cannot be written."""
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            is_gone = error.errno == errno.EIO or (error.errno == errno.EPIPE and stop_was_heard())
            if not (is_gone or self.is_optional):
                raise
            if error.errno not in FULL:
                _discard(self.fileno())
            if not is_gone and not self.is_warned and self.fileno() == 1:
                self.is_warned = True
                _warn_of_lost_output(error)
            return memoryview(data).nbytes  # type: ignore[arg-type]


def _warn_of_lost_output(error: OSError) -> None:
    from cnnzoo.ui.screen import print_warning

    print_warning(
        f"cannot write to standard output: {one_line(error)}. The training goes on without it; the run's folder "
        "keeps its history."
    )


def _outliving_its_end(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    stream.flush()
    raw = _Outliving(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )


def _discard(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
