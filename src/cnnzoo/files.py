"""Files that are either the old one or the new one, whole, whatever happens while they are written."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cnnzoo.errors import CnnzooError, one_line


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` once the block has ended well, and not before.

    It is written beside ``path`` as ``.NAME.tmp``; what a crash leaves there, the next write replaces.

    Raises:
        CnnzooError: It cannot be written (no such folder, no right, no room); ``path`` is as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        _forget(temporary)
        hint = {errno.ENOENT: "Make that folder first, or choose", errno.ENOSPC: "Make room, or choose"}
        raise CnnzooError(
            f"cannot write {path}: {one_line(error)}. {hint.get(error.errno or 0, 'Choose')} another place."
        ) from error
    except BaseException:
        _forget(temporary)
        raise


def _sync_folder(folder: Path) -> None:
    # A rename outlives a power cut only once its folder is on the disk too. Windows has no such call.
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _forget(temporary: Path) -> None:
    with suppress(OSError):  # the fault that led here is the one to tell of
        temporary.unlink(missing_ok=True)
