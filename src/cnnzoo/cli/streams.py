"""What a command prints to, made fit for printing: streams that are missing or go away, and widths that are none."""

import errno
import io
import os
import shutil
import sys
from pathlib import Path
from typing import TextIO

from cnnzoo.signals import stop_was_heard

WIDTHS = range(20, 10_000)
"""Columns in which lines can be written; what ``$COLUMNS`` says beyond them (some CI systems: 0) is no width."""


def make_safe() -> None:
    """See to it that printing never fails for want of a stream, of a letter in its encoding, or of a width."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started this process
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            if os.name == "posix" and isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO):
                setattr(sys, name, _outliving_its_end(stream))
    for name, fit in (("COLUMNS", WIDTHS), ("LINES", range(1, 10_000))):
        text = os.environ.get(name, "").strip()
        if not (text.isdecimal() and len(text) < 6 and int(text) in fit):
            os.environ.pop(name, None)
    if shutil.get_terminal_size().columns < WIDTHS.start:
        os.environ["COLUMNS"] = "80"  # a terminal that says so folds what it cannot show


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


class _Outliving(io.FileIO):
    """A stream that goes on as nothing where its terminal is gone, or its reader is while this process stops.

    What is printed then is for nobody, and must not keep a run from being saved.
    """

    def write(self, data: object, /) -> int:
        """Write, or drop what nobody can read any more."""
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            if error.errno != errno.EIO and not (error.errno == errno.EPIPE and stop_was_heard()):
                raise
            _discard(self.fileno())
            return memoryview(data).nbytes  # type: ignore[arg-type]


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
