"""The bytes of a checkpoint: written whole or not at all, and verified before anything in them is read.

The file is torch's own zip (``torch.load(path, weights_only=True)`` opens it) with the SHA-256 of the whole
in the zip's comment, at its very end.
"""

import hashlib
import io
import os
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from torch import Tensor

from cnnzoo.errors import CnnzooError, one_line, shown
from cnnzoo.files import replacing

_MAGIC = b"cnnzoo sha256 "
_COMMENT_BYTES = len(_MAGIC) + 64

NEEDED = re.compile(r"torch\.\w+Storage|torch\._utils\._rebuild_tensor_v2|collections\.OrderedDict")
"""All that a checkpoint's pickle has to name. torch allows more, such as a bytearray of a terabyte."""

_SMALL = 1 << 26
"""Bytes that a tensor may take though the file has fewer: one number may stand for a whole tensor."""

_GROWING = {
    codec + ending
    for codec in ("hex", "base64", "uu", "quopri", "quotedprintable")
    for ending in ("", "codec")
}
"""Codecs from bytes to more bytes, without what separates the words of their names."""

USE_OURS = "Use one that cnnzoo wrote."

NOT_RUN = "Nothing in it was run; do not trust where it came from."


class _HashingFile:
    """What torch.save writes to: passes bytes on, and keeps their checksum and what went wrong."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def write_values(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values and tensors so that ``path`` holds the old file or the new one, whole, at every moment.

    Raises:
        CnnzooError: The disk is full or not writable; ``path`` is as it was.
    """
    with replacing(path, sum(t.nbytes for t in _tensors(values))) as file:
        hashing = _HashingFile(file)
        try:
            torch.save(values, cast("BinaryIO", hashing))
        except RuntimeError:  # of torch's own writer, which says nothing of the write that failed
            if hashing.error is not None:
                raise hashing.error from None
            raise
        comment = _MAGIC + hashing.sha256.hexdigest().encode()
        file.seek(-2, os.SEEK_END)  # the last two bytes of a zip say how long its comment is
        file.write(len(comment).to_bytes(2, "little") + comment)


def stored_sha256(path: Path) -> str | None:
    """Return the checksum that a checkpoint ends with, which ``read_values`` verifies; None where there is none.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _COMMENT_BYTES))
        tail = file.read()
    return tail[len(_MAGIC) :].decode("ascii", "replace") if tail.startswith(_MAGIC) else None


def weights_sha256(state_dict: Mapping[str, Tensor]) -> str:
    """Return a checksum of weights: of their names, types, shapes and every bit, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state_dict.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_values(path: Path) -> object:
    """Read what ``write_values`` has written, onto the CPU. Nothing in it runs, and every bit is verified first.

    Raises:
        CnnzooError: There is no such file, it is damaged or foreign, or claims more than it holds.
    """
    try:
        _verify(path)
        refuse_bombs(path)
        values: object = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CnnzooError(
            f"cannot read the checkpoint {path} ({one_line(error)}). Check the path."
        ) from error
    except CnnzooError:
        raise
    except Exception as error:
        raise CnnzooError(f"{path} is not a checkpoint that can be read safely. {USE_OURS}") from error
    refuse_claims(path, values)
    return values


def refuse_claims(path: Path, values: object) -> None:
    """Refuse values of which a tensor has more numbers than the file that they were read from can hold.

    Raises:
        CnnzooError: There is such a tensor: the net that it fits would take the memory.
    """
    if max((tensor.nbytes for tensor in _tensors(values)), default=0) > max(path.stat().st_size, _SMALL):
        raise CnnzooError(f"{path} claims a tensor larger than the file. Do not trust where it came from.")


def _tensors(value: object) -> Iterator[Tensor]:
    waiting, seen = [value], set()
    while (
        waiting
    ):  # no recursion, and each object once: lists that hold themselves or each other cost nothing
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Mapping | list | tuple):
            waiting.extend(value.values() if isinstance(value, Mapping) else value)


def refuse_bombs(path: Path) -> None:
    """Refuse, before torch reads it, what would run code or take far more memory than the file is large.

    torch packs no member of its zip, lets none overlap, and needs few names in the pickle.
    """
    for name in names_in_zip(path):
        if not NEEDED.fullmatch(name):
            raise CnnzooError(
                f"{path} asks for {shown(name)[1:-1]}, as no checkpoint of cnnzoo does. {NOT_RUN}"
            )


def names_in_zip(path: Path) -> list[str]:
    """Return the names that the pickles in torch's zip file ask for, such as ``collections.OrderedDict``.

    Raises:
        CnnzooError: It would unpack to more than its size, or is no zip file from its beginning on.
    """
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        file.seek(0)
        if file.read(4) != b"PK\3\4":  # else torch would take it for one of its older formats
            raise CnnzooError(
                f"{path} is not a checkpoint of cnnzoo: it does not begin as a zip file does. {USE_OURS}"
            )
        packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
        if packed or sum(member.file_size for member in members) > path.stat().st_size:
            raise CnnzooError(
                f"{path} would unpack to more than its size, as no file of torch does. Use another."
            )
        pickles = [archive.read(m) for m in members if m.filename.lower().endswith(".pkl")]
    return [name for pickled in pickles for name in names_asked(io.BytesIO(pickled))]


def names_asked(file: IO[bytes]) -> list[str]:
    """Return the names that the pickle at a file's position asks for, and leave the file behind it.

    A codec that would double bytes as often as it is called is among them, where there is something to call it.
    """
    names, codecs = [], []
    for opcode, value, _ in pickletools.genops(file):
        if "GLOBAL" in opcode.name or opcode.name == "INST":
            # The newer way to ask takes the name from among the values; the older one has a former name of builtins.
            name = ".".join(str(value).split()) if value else "a function"
            names.append(name.replace("__builtin__.", "builtins."))
        elif isinstance(value, str) and re.sub("[^a-z0-9]", "", value.lower()) in _GROWING:
            codecs.append(f"codecs.{value}")
    return names + codecs if "_codecs.encode" in names else names


def _verify(path: Path) -> None:
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        remaining = size - _COMMENT_BYTES - 2
        while remaining > 0 and (chunk := file.read(min(remaining, 1 << 20))):
            digest.update(chunk)
            remaining -= len(chunk)
        tail = file.read()
    digest.update(b"\0\0")  # the comment's length, as it was before there was a comment
    if tail != _COMMENT_BYTES.to_bytes(2, "little") + _MAGIC + digest.hexdigest().encode():
        raise CnnzooError(
            f"{path} is corrupt or not a checkpoint of cnnzoo. Use another, or start a new run."
        )
