"""Images by their names, and the listing of those that a table or a list names."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cnnzoo.data.listing.listing import Files, Listing, Part, PassedOver, Samples, cut_test
from cnnzoo.data.listing.walk import Tree
from cnnzoo.errors import CnnzooError, named
from cnnzoo.files import composed


@dataclass(frozen=True)
class ImagesByName:
    """Images below a folder, by what a table or a list may call them.

    Attributes:
        path: The folder.
        names: Of the images, below it.
        sizes: Bytes of each.
        by_name: Their places by relative names, and by names and stems that only one image has, all composed.
    """

    path: Path
    names: list[str]
    sizes: list[int]
    by_name: dict[str, int]

    @classmethod
    def of(cls, tree: Tree) -> "ImagesByName":
        """Look below a folder."""
        names, sizes = tree.images_below(PassedOver())
        alone: dict[str, int] = {}
        shared: set[str] = set()
        whole = {composed(name): place for place, name in enumerate(names)}
        for name, place in whole.items():
            without_suffix, file = name.rpartition(".")[0], name.rpartition("/")[2]
            for called in (file, file.rpartition(".")[0], without_suffix):
                if alone.setdefault(called, place) != place:
                    shared.add(called)
        for called in shared:
            del alone[called]
        return cls(tree.path, names, sizes, alone | whole)

    @cached_property
    def _by_file(self) -> Mapping[str, list[int]]:
        """Places by names and stems, whatever folders they are in."""
        found: dict[str, list[int]] = defaultdict(list)
        for place, name in enumerate(map(composed, self.names)):
            file = name.rpartition("/")[2]
            found[file].append(place)
            found[file.rpartition(".")[0]].append(place)
        return found

    @cached_property
    def _by_number(self) -> Mapping[str, list[int]]:
        """The same by names and stems without zeros before numbers, which programs drop."""
        found: dict[str, list[int]] = defaultdict(list)
        for name, places in self._by_file.items():
            found[_without_zeros(name)] += places
        return found

    def find(self, cell: str) -> int | None:
        """Return the place of the image that a cell names: by its path, the last parts of it, its name, or its number.

        A suffix may be lacking, and so may zeros before a number. Of several images the one is meant that has most of
        the cell's folders around it: a table may come from another machine.
        """
        name = _as_path(cell)
        if (place := self.by_name.get(name)) is not None:
            return place
        *folders, file = name.split("/")
        places = self._by_file.get(file) or self._by_number.get(_without_zeros(file), [])
        if len(places) < 2:
            return places[0] if places else None
        common = [_num_common(folders, composed(self.names[place]).split("/")[:-1]) for place in places]
        most = max(common)
        return places[common.index(most)] if most and common.count(most) == 1 else None

    def find_below(self, name: str) -> int | None:
        """Return the place of the image that a path ends in, whatever folders that begins with; never by a name alone.

        Only a name without folders is looked for in all of them.
        """
        parts = _as_path(name).split("/")
        ends = ("/".join(parts[start:]) for start in range(max(1, len(parts) - 1)))
        return next((self.by_name[end] for end in ends if end in self.by_name), None)

    def samples(self, labels: Iterable[tuple[int, int]]) -> Samples:
        """Return the images at places, each with its label."""
        pairs = np.array(list(labels), dtype=np.int64).reshape(-1, 2)
        names = [self.names[place].encode(errors="surrogateescape") for place in pairs[:, 0].tolist()]
        sizes = np.array(self.sizes, dtype=np.int64)[pairs[:, 0]]
        return Samples(Files.of(self.path, names), pairs[:, 1], sizes)

    def listing(
        self,
        images: Mapping[int, tuple[str, Part | None]],
        source: str,
        notes: Sequence[str],
        *,
        all_for_test: bool = False,
    ) -> Listing:
        """Return the listing of images, of which each has a label and may have a part.

        Without parts, about a fifth is kept for the test, each by its name.

        Args:
            images: The label and the part of each, by its place.
            source: What names them, for an error.
            notes: What a person should know of it.
            all_for_test: Whether all images, or all of the test part, are a test set.

        Raises:
            CnnzooError: There is one class only, or the training part lacks one.
        """
        classes = in_order({composed(label) for label, _ in images.values()})
        if len(classes) < 2 and not all_for_test:
            what = f"one class only ({classes[0]})" if classes else "no labels"
            raise CnnzooError(f"{source} has {what}. It needs two classes or more.")
        numbers = {name: label for label, name in enumerate(classes)}
        labelled: dict[Part, list[tuple[int, int]]] = {}
        for image, (label, part) in images.items():
            labelled.setdefault(part or "train", []).append((image, numbers[composed(label)]))
        by_part = {part: self.samples(members) for part, members in labelled.items()}
        everything = self.samples(sample for members in labelled.values() for sample in members)
        if all_for_test:
            by_part = {"test": by_part.get("test") or by_part.get("val") or everything}
        elif len(by_part) < 2 or "train" not in by_part:
            by_part = cut_test(everything, classes, self.path)
        elif "test" not in by_part:
            by_part["test"] = by_part.pop("val")
        listing = Listing(self.path, tuple(classes), by_part, tuple(notes))
        trained = listing.counts("train")
        if not all_for_test and (unknown := [name for name in classes if name not in trained]):
            raise CnnzooError(
                f"{source} has no training images of {named(unknown)}. Add some, or take these out."
            )
        return listing


def _as_path(name: str) -> str:
    """Return a name of a table as the path of an image below its folder."""
    return composed(name).replace("\\", "/").removeprefix("./")


def in_order(labels: Iterable[str]) -> list[str]:
    """Return labels in their order: by number where all are numbers, as 2.0 before 10.0."""
    try:
        numbers = {label: float(label) for label in labels}
    except ValueError:
        return sorted(labels)
    if not all(map(math.isfinite, numbers.values())):
        return sorted(labels)
    return sorted(labels, key=lambda label: (numbers[label], label))


def _without_zeros(name: str) -> str:
    """Return a name without zeros before its numbers, and without the fraction that pandas gives numbers."""
    return re.sub(r"(?<![\d.])0+(?=\d)", "", re.sub(r"^(\d+)\.0$", r"\1", name))


def _num_common(some: Sequence[str], others: Sequence[str]) -> int:
    """Return how many of the last folders of two paths are the same."""
    pairs = zip(reversed(some), reversed(others), strict=False)
    return next((num for num, (one, other) in enumerate(pairs) if one != other), min(len(some), len(others)))
