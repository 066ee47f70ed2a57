"""Which images there are, of which class, and in which part: what every way of reading them comes to."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cnnzoo.data.images import suffixes
from cnnzoo.errors import CnnzooError, named

Part = Literal["train", "val", "test"]

Sample = tuple[Path, int]
"""An image file and its label."""

RULES = 3
"""Version of the rules by which trees of images are read: listed, split and decoded. A checkpoint keeps its own."""

TEST_SHARE = 0.2
"""Share of images without a part of their own that is kept for the test, about."""

_HIDDEN = (".", "__MACOSX", "@eaDir")
"""How names begin that are passed over: hidden ones, and what macOS and Synology put into archives and shares."""


@dataclass(frozen=True)
class Listing:
    """The images of a data set of files.

    Attributes:
        root: What the person named.
        classes: Names of the classes; a label is an index into them.
        parts: The images of each part that there is: ``train``, ``test``, and ``val`` where some are set aside for it.
        notes: What was passed over, and what was taken for what, each a line for a person.
    """

    root: Path
    classes: tuple[str, ...]
    parts: Mapping[Part, Sequence[Sample]]
    notes: tuple[str, ...] = ()

    def counts(self, part: Part) -> Counter[str]:
        """Return how many images each class has in a part; classes without any are left out."""
        return Counter(self.classes[label] for _, label in self.parts.get(part, ()))


@dataclass
class PassedOver:
    """What lies among images and is not used.

    Attributes:
        files: How many of each suffix, such as ``.txt``, or of each kind, such as ``link to nothing``.
    """

    files: Counter[str] = field(default_factory=Counter)

    def note(self, where: Path) -> list[str]:
        """Return the line that names and counts it; none where there is nothing."""
        kinds = [_counted(num, kind) for kind, num in self.files.most_common() if num]
        if not kinds:
            return []
        return [f"Passed over in {where}: {named(kinds, 5)}."]


def images_below(folder: Path, passed: PassedOver, above: Iterable[Path] = ()) -> list[Path]:
    """Return the image files below a folder, sorted, through links too, each real folder once.

    Names that begin with a dot are left out.

    Args:
        folder: Where to look.
        passed: Told what is passed over: files that are no images by their suffix, and links that lead nowhere.
        above: Folders above it, into which a link is not followed.
    """
    found: list[Path] = []
    for path, entry in _files_below(folder, above):
        if not entry.is_file():
            passed.files["link to nothing" if entry.is_symlink() else "file of a special kind"] += 1
        elif path.suffix.lower() in suffixes():
            found.append(path)
        else:
            passed.files[path.suffix.lower() or "file without a suffix"] += 1
    return sorted(found, key=Path.as_posix)  # paths themselves are ordered otherwise on Windows


def has_images(folder: Path) -> bool:
    """Whether there is an image anywhere below a folder."""
    return any(entry.is_file() and path.suffix.lower() in suffixes() for path, entry in _files_below(folder))


def _files_below(folder: Path, above: Iterable[Path] = ()) -> "Iterator[tuple[Path, os.DirEntry[str]]]":
    """Yield all that is no folder below one, through links too, each real folder once, and none of those ``above``."""
    seen = {_identity(path) for path in above}
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        if (identity := _identity(here)) in seen:
            continue
        seen.add(identity)
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.name.startswith(_HIDDEN):
                    continue
                if entry.is_dir():
                    waiting.append(here / entry.name)
                else:
                    yield here / entry.name, entry


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted by name, but hidden ones and those that systems leave behind."""
    found = (path for path in folder.iterdir() if not path.name.startswith(_HIDDEN) and path.is_dir())
    return sorted(found, key=lambda path: path.name)


def is_for_test(file: Path, root: Path) -> bool:
    """Whether an image without a part of its own is kept for the test.

    That depends on its relative name alone, so that it stays where it is whatever is added, and wherever the folder
    is moved.
    """
    name = relative_name(file, root).decode(errors="surrogateescape")
    name = unicodedata.normalize("NFC", name)  # macOS takes letters apart
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") < TEST_SHARE * 2**64


def cut_test(samples: Sequence[Sample], classes: Sequence[str], root: Path) -> dict[Part, list[Sample]]:
    """Keep a share of images for the test, image by image.

    Raises:
        CnnzooError: A class has no image left to train on.
    """
    parts: dict[Part, list[Sample]] = {"train": [], "test": []}
    for sample in samples:
        parts["test" if is_for_test(sample[0], root) else "train"].append(sample)
    trained = {label for _, label in parts["train"]}
    if missing := [name for label, name in enumerate(classes) if label not in trained]:
        raise CnnzooError(
            f"{root} has too few images of {named(missing)}: which are kept for the test depends on their names, and "
            "none is left to train on. Add some, or make train/ and test/ yourself."
        )
    return parts


def relative_name(file: Path, root: Path) -> bytes:
    """Return a file's name below ``root``, or its whole path elsewhere; it may hold bytes that are no UTF-8."""
    name = file.relative_to(root) if file.is_relative_to(root) else file
    return name.as_posix().encode(errors="surrogateescape")


def _counted(num: int, kind: str) -> str:
    noun, _, rest = kind.partition(" ")
    plural = noun if num == 1 or noun.startswith(".") else f"{noun}s"
    return f"{num:,} {plural} {rest}".rstrip()


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
