"""Images by their names, and the listing of those that a table or a list names."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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

    def find(self, cell: str) -> int | None:
        """Return the place of the image that a cell names, by its path, its name, or that without the suffix."""
        name = composed(cell).replace("\\", "/").removeprefix("./")
        place = self.by_name.get(name)
        return self.by_name.get(name.rpartition("/")[2]) if place is None else place

    def find_below(self, name: str) -> int | None:
        """Return the place of the image that a path ends in, whatever folders that begins with; never by a name alone.

        Only a name without folders is looked for in all of them.
        """
        parts = composed(name).replace("\\", "/").removeprefix("./").split("/")
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
        classes = _sorted(list({composed(label) for label, _ in images.values()}))
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


def _sorted(labels: list[str]) -> list[str]:
    """Return labels in their order: by number where all are numbers, as 2.0 before 10.0."""
    try:
        numbers = {label: float(label) for label in labels}
    except ValueError:
        return sorted(labels)
    if not all(map(math.isfinite, numbers.values())):
        return sorted(labels)
    return sorted(labels, key=lambda label: (numbers[label], label))
