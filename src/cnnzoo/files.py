"""Files that are either the old one or the new one, whole, whatever happens while they are written."""

import errno
import hashlib
import os
import re
import shlex
import signal
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cnnzoo.errors import CnnzooError, one_line, showable

UNSUPPORTED = frozenset(
    {errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY}
)
"""Errors by which a file system (CIFS, FUSE, DrvFs, NFS) says that it has no such call as ``fsync`` or ``flock``."""


@contextmanager
def replacing(
    path: Path, num_bytes: int = 0, *, otherwise: str = "choose another place"
) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` once the block has ended well, and not before.

    It is written beside ``path`` as ``.NAME.tmp``; what a crash leaves there, the next write replaces.

    Args:
        path: The file.
        num_bytes: About how large it will be, for the error when there is no room.
        otherwise: What a person can do where it cannot be written.

    Raises:
        CnnzooError: It cannot be written (no such folder, no right, no room); ``path`` is as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            _fault_point(f"{path.name}:opened")
            yield file
            file.flush()
            _fault_point(f"{path.name}:written")
            _sync(file.fileno())
        _fault_point(f"{path.name}:synced")
        temporary.replace(path)
        _fault_point(f"{path.name}:replaced")
        sync_folder(path.parent)
    except OSError as error:
        _forget(temporary)
        room = f"Make room for {num_bytes / 1e6:,.1f} MB" if num_bytes else "Make room"
        first = {
            errno.ENOENT: "Make that folder first, or ",
            errno.ENOSPC: f"{room}, or ",
            errno.EFBIG: f"{room}, or ",
            errno.EDQUOT: f"{room}, or ",
        }
        hint = first.get(error.errno or 0, "") + otherwise
        raise CnnzooError(f"cannot write {path}: {one_line(error)}. {hint[0].upper()}{hint[1:]}.") from error
    except BaseException:
        _forget(temporary)
        raise


def sync_folder(folder: Path) -> bool:
    """Sync a folder to the disk: only then a rename in it outlives a power loss.

    Returns:
        Whether the file system has such a call.

    Raises:
        OSError: It has, and the call failed.
    """
    if os.name != "posix":  # Windows has no such call
        return True
    handle = os.open(folder, os.O_RDONLY)
    try:
        return _sync(handle)
    finally:
        os.close(handle)


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expanded(path: Path) -> Path:
    """Return a path with the home folder in place of ``~``, where no shell has put it there.

    Raises:
        CnnzooError: Nobody knows that home folder.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise CnnzooError(f"no home folder is known for {path}. Write the path out.") from error


def cache_folder() -> Path:
    """Return the user's cache folder as the platform has it; one among the temporary files where there is no home."""
    from platformdirs import user_cache_path

    with suppress(RuntimeError):  # neither $HOME nor an entry for this user, as in some containers
        if (folder := user_cache_path("cnnzoo", appauthor=False)).is_absolute():
            return folder
    return Path(tempfile.gettempdir(), f"cnnzoo-{os.getuid()}")


def as_typed(path: Path) -> str:
    r"""Return a path as a person types it after a command: quoted, and never taken for an option.

    Bytes that are no UTF-8 are written as the shells have them since POSIX 2024: ``$'r\xfcn'``.
    """
    text = f"./{path}" if str(path).startswith("-") else str(path)
    plain = showable(text)
    if plain == text:
        return shlex.quote(text)
    return "$'" + showable(text.replace("\\", "\\\\").replace("'", "\\'")) + "'"


def composed(name: str) -> str:
    """Return a name with each letter in one piece (NFC), as names are compared: macOS takes letters apart (NFD)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def natural(name: str) -> list[str | int]:
    """Return a key by which names are sorted as people count: ``lenet-10`` after ``lenet-9``."""
    # Text and numbers take turns, so that like is compared with like.
    return [int(part) if part.isascii() and part.isdigit() else part for part in re.split(r"([0-9]+)", name)]


def _fault_point(name: str) -> None:
    """Die here, as by ``kill -9``, if ``$CNNZOO_FAULT_POINT`` names this point: crash tests set it."""
    if os.environ.get("CNNZOO_FAULT_POINT") == name:
        os.kill(os.getpid(), signal.SIGKILL)


def _sync(handle: int) -> bool:
    """Sync what is open to the disk; return whether the file system has such a call."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    return True


def _forget(temporary: Path) -> None:
    with suppress(OSError):  # the fault that led here is the one to tell of
        temporary.unlink(missing_ok=True)
