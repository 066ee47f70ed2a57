"""Which images there are, of which class, and in which part: what every way of reading them comes to."""

import hashlib
import operator
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from cnnzoo.errors import CnnzooError, named, showable
from cnnzoo.files import composed

if TYPE_CHECKING:
    from numpy.typing import NDArray

Part = Literal["train", "val", "test"]

Sample = tuple[Path, int]
"""An image file and its label."""

TEST_SHARE = 0.2
"""Share of images without a part of their own that is kept for the test, about."""

SHOWN_NAMES = 10
"""Names of images that cannot be read, at most, where they are told."""


class Files(Sequence[Path]):
    """Files below a folder: their names one after another in one text, each made a path when it is asked for.

    Paths as objects would take 300 bytes each, and a million of them are swept up again and again as garbage.

    Args:
        root: The folder.
        text: The names below it, with ``/`` between folders, as ``relative_name`` gives them.
        ends: Where in it each name ends, int64.
        picks: Which of these names, int64 ``(N,)``; None for all.
    """

    def __init__(
        self, root: Path, text: bytes, ends: "NDArray[np.int64]", picks: "NDArray[np.int64] | None" = None
    ) -> None:
        self.root = root
        self._text = text
        self._ends = ends
        self._picks = np.arange(len(ends)) if picks is None else picks

    @classmethod
    def of(cls, root: Path, names: Iterable[bytes]) -> "Files":
        """Pack names below ``root``."""
        names = list(names)
        return cls(root, b"".join(names), np.cumsum([len(name) for name in names], dtype=np.int64))

    def __len__(self) -> int:
        return len(self._picks)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> "Files": ...
    def __getitem__(self, index: int | slice) -> "Path | Files":
        if isinstance(index, slice):
            return Files(self.root, self._text, self._ends, self._picks[index])
        return self.root / self.name(index).decode(errors="surrogateescape")

    def name(self, index: int) -> bytes:
        """Return a file's name below ``root``; it may hold bytes that are no UTF-8."""
        place = self._picks[operator.index(index)]
        return self._text[self._ends[place - 1] if place else 0 : self._ends[place]]

    def text(self, index: int) -> str:
        """Return a file's path as text, which takes a tenth of the time of an object."""
        return os.path.join(self.root, self.name(index).decode(errors="surrogateescape"))  # noqa: PTH118

    def names(self) -> Iterator[bytes]:
        """Yield the names of all, as ``name`` gives them."""
        for start in range(0, len(self), 10_000):  # numbers as objects only for as many at once
            places = self._picks[start : start + 10_000]
            begins = np.where(places > 0, self._ends[places - 1], 0)
            for begin, end in zip(begins.tolist(), self._ends[places].tolist(), strict=True):
                yield self._text[begin:end]

    def take(self, indices: "NDArray[np.integer]") -> "Files":
        """Return the files at ``indices``."""
        return Files(self.root, self._text, self._ends, self._picks[indices])


@dataclass(frozen=True, eq=False)
class Samples(Sequence[Sample]):
    """Image files, and what is known of each without opening it.

    Attributes:
        files: Where they are.
        labels: Int64 ``(N,)``.
        sizes: Bytes, int64 ``(N,)``.
    """

    files: Files
    labels: "NDArray[np.int64]"
    sizes: "NDArray[np.int64]"

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "Samples": ...
    def __getitem__(self, index: int | slice) -> "Sample | Samples":
        if isinstance(index, slice):
            return Samples(self.files[index], self.labels[index], self.sizes[index])
        return self.files[index], int(self.labels[index])

    def take(self, indices: "NDArray[np.integer]") -> "Samples":
        """Return those at ``indices``."""
        return Samples(self.files.take(indices), self.labels[indices], self.sizes[indices])

    def sha256(self) -> str:
        """Return the checksum of names and sizes."""
        digest = hashlib.sha256()
        for start in range(0, len(self), 10_000):
            some = self[start : start + 10_000]
            lines = zip(map(_composed, some.files.names()), some.sizes.tolist(), strict=True)
            digest.update(b"".join([b"%b %d\n" % line for line in lines]))
        return digest.hexdigest()


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
    parts: Mapping[Part, Samples]
    notes: tuple[str, ...] = ()

    def counts(self, part: Part) -> Counter[str]:
        """Return how many images each class has in a part; classes without any are left out."""
        if part not in self.parts:
            return Counter()
        nums = np.bincount(self.parts[part].labels, minlength=len(self.classes)).tolist()
        return Counter({name: num for name, num in zip(self.classes, nums, strict=True) if num})

    def alike_classes(self) -> list[str]:
        """Return a sentence on classes whose names differ in case or blanks alone; none where there are none."""
        alike: dict[str, list[str]] = {}
        for name in self.classes:
            alike.setdefault(" ".join(name.casefold().split()), []).append(quoted_blanks(name))
        groups = [" and ".join(names) for names in alike.values() if len(names) > 1]
        if not groups:
            return []
        return [
            f"Classes whose names differ in case or blanks alone: {named(groups)}. If they are one, rename them."
        ]

    def missing_in_test(self) -> list[str]:
        """Return a sentence on the classes of which the test part has no images; none where it has all."""
        counts = self.counts("test")
        missing = [name for name in self.classes if name not in counts]
        if not missing or "train" not in self.parts:
            return []
        return [f"The test part has no images of {named(missing)}: what eval says is not about them."]


@dataclass(frozen=True)
class Skipped:
    """The images of a part that cannot be read and were left out.

    Attributes:
        part: Which part.
        num_images: Images of the part, with these.
        names: Theirs, below the data set's folder.
    """

    part: Part
    num_images: int
    names: tuple[str, ...]

    def note(self) -> str:
        """Return the sentence that counts them and names the first ten."""
        num = len(self.names)
        kind = {"train": "training", "val": "validation", "test": "test"}[self.part]
        return (
            f"{num:,} of {self.num_images:,} {kind} images cannot be read and {'is' if num == 1 else 'are'} left out: "
            f"{named(self.names, SHOWN_NAMES)}."
        )


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


def place_of(name: bytes) -> float:
    """Return the place of an image without a part of its own, 0 to 1; below ``TEST_SHARE`` it is kept for the test.

    That depends on its relative name alone, so that it stays where it is whatever is added, and wherever the folder
    is moved.
    """
    return int.from_bytes(hashlib.sha256(_composed(name)).digest()[:8], "big") / 2**64


def choose_tested(names: Iterable[bytes], labels: "NDArray[np.int64]") -> "NDArray[np.bool_]":
    """Return which images are kept for the test: a share of them, and of a class of two or more at least one a part.

    Where all of a class fall into one part, the one that is nearest to the other part goes there; it alone may go back
    when images are added.

    Args:
        names: What an image's place depends on.
        labels: Of each ``(N,)``.
    """
    places = np.fromiter(map(place_of, names), dtype=np.float64, count=len(labels))
    tested = places < TEST_SHARE
    nums = np.bincount(labels)
    nums_tested = np.bincount(labels[tested], minlength=len(nums))
    for lacking, is_tested in ((nums_tested == 0, True), (nums_tested == nums, False)):
        order = np.flatnonzero((lacking & (nums > 1))[labels])
        order = order[np.argsort(places[order] if is_tested else -places[order], kind="stable")]
        _, first = np.unique(labels[order], return_index=True)
        tested[order[first]] = is_tested
    return tested


def cut_test(samples: Samples, classes: Sequence[str], root: Path) -> dict[Part, Samples]:
    """Keep a share of images for the test, each by its name.

    Raises:
        CnnzooError: A class has no image left to train on: its only one is kept for the test.
    """
    tested = choose_tested(samples.files.names(), samples.labels)
    parts: dict[Part, Samples] = {
        "train": samples.take(np.flatnonzero(~tested)),
        "test": samples.take(np.flatnonzero(tested)),
    }
    trained = set(parts["train"].labels.tolist())
    if missing := [name for label, name in enumerate(classes) if label not in trained]:
        raise CnnzooError(
            f"{root} has too few images of {named(missing)}: which are kept for the test depends on their names, and "
            "none is left to train on. Add some, or make train/ and test/ yourself."
        )
    return parts


def quoted_blanks(name: str) -> str:
    """Return a name, in quotes where nobody would see all of its blanks."""
    return name if name == " ".join(name.split()) else repr(name)


def relative_name(file: Path, root: Path) -> bytes:
    """Return a file's name below ``root``, or its whole path elsewhere; it may hold bytes that are no UTF-8."""
    name = file.relative_to(root) if file.is_relative_to(root) else file
    return name.as_posix().encode(errors="surrogateescape")


def shown_name(file: Path, root: Path) -> str:
    """Return a file's name below ``root`` as it can be printed."""
    return showable(relative_name(file, root).decode(errors="surrogateescape"))


def _composed(name: bytes) -> bytes:
    if name.isascii():
        return name
    return composed(name.decode(errors="surrogateescape")).encode(errors="surrogateescape")


def _counted(num: int, kind: str) -> str:
    noun, _, rest = kind.partition(" ")
    plural = noun if num == 1 or noun.startswith(".") else f"{noun}s"
    return f"{num:,} {plural} {rest}".rstrip()
