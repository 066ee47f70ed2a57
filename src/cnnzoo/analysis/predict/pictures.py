"""Pictures that a person names: files, folders, patterns that no shell has expanded, and what comes on stdin."""

import glob
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cnnzoo.data.decoding.images import MAX_FILE_BYTES, read_content
from cnnzoo.data.listing.listing import PassedOver
from cnnzoo.data.listing.walk import walk
from cnnzoo.errors import one_line
from cnnzoo.files import expanded, natural

STDIN = "-"
"""What stands for the bytes of one picture on stdin."""


@dataclass(frozen=True)
class Picture:
    """A picture that was named.

    Attributes:
        name: As a person typed it, or as it was found.
        content: Its bytes, where they came on stdin.
    """

    name: str
    content: bytes | None = None

    @property
    def path(self) -> Path:
        """Where it lies."""
        return expanded(Path(self.name))

    def read(self) -> bytes:
        """Return its bytes.

        Raises:
            BrokenImageError: They cannot be read.
            NoHandleError: The system opens no more files.
        """
        return read_content(self.path) if self.content is None else self.content


@dataclass(frozen=True)
class Found:
    """What is where a person said.

    Attributes:
        pictures: In the order in which people count, each once; none of them has been opened.
        missing: Where there is none, each a sentence.
        notes: What lies in folders and was passed over, each a sentence.
    """

    pictures: tuple[Picture, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]


def find_pictures(words: Iterable[str | os.PathLike[str]]) -> Found:
    """Find the pictures that words mean.

    Args:
        words: Of files, which may be called anything; of folders, in which those count that are called as images
            are, as deep as they lie; patterns such as ``scans/*.png`` or ``**/*.jpg``; or ``-`` for stdin.
    """
    names: list[str] = []
    missing: list[str] = []
    notes: list[str] = []
    content: bytes | None = None
    for word in (os.fspath(word) for word in words):
        if word == STDIN:
            content = sys.stdin.buffer.read(MAX_FILE_BYTES) if content is None else content
            continue
        found = [word] if exists(word) else _matching(word)
        if not found:
            what = "no file matches" if is_pattern(word) else "there is no file or folder"
            missing.append(f"{what} {word}.")
        for name in found:
            folder = expanded(Path(name))
            if not folder.is_dir():
                names.append(name)
                continue
            passed = PassedOver()
            try:
                tree = walk(folder)
                inside, _ = tree.images_below(passed)
            except OSError as error:
                missing.append(f"the folder {name} cannot be read ({one_line(error)}).")
                continue
            names += [str(folder / file) for file in inside]
            notes += (*passed.note(folder), *tree.note_on_outputs())
            if not inside:
                missing.append(f"there is no image in {name}.")
    each = {Path(name): Picture(name) for name in sorted(names, key=natural)}
    from_stdin = () if content is None else (Picture(STDIN, content),)
    return Found((*from_stdin, *each.values()), tuple(missing), tuple(notes))


def is_pattern(word: str) -> bool:
    """Whether a word has signs that a shell expands."""
    return not {"*", "?", "["}.isdisjoint(word)


def exists(word: str) -> bool:
    """Whether a file or folder is called so."""
    with suppress(OSError, ValueError):  # what is too long for a name, or has a NUL in it, names none
        return expanded(Path(word)).exists()
    return False


def _matching(word: str) -> list[str]:
    # Not Path.glob, which takes no absolute pattern and hidden files too, as no shell does.
    return glob.glob(str(expanded(Path(word))), recursive=True) if is_pattern(word) else []  # noqa: PTH207
