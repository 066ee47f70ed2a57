"""Lists of images beside their folder: ``train.txt`` and ``test.txt``, whose lines say which image is in which part."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cnnzoo.data.listing.listing import Listing, Part, PassedOver
from cnnzoo.data.listing.names import ImagesByName
from cnnzoo.data.listing.trees import DEPTH, part_of
from cnnzoo.data.listing.walk import Tree

_PARTS: tuple[Part, ...] = ("test", "val", "train")

_SUFFIXES = (".txt", ".lst", ".list")

_BETWEEN = re.compile(r"[\s,;]+")


@dataclass(frozen=True)
class Lists:
    """The lists of a tree.

    Attributes:
        tree: The folder in which they, or a folder with them, and the images lie.
        files: The list of each part: ``train``, and ``test``, ``val`` or both.
    """

    tree: Tree
    files: Mapping[Part, Path]

    def __str__(self) -> str:
        files = [self.files[part] for part in reversed(_PARTS) if part in self.files]
        names = [file.relative_to(self.tree.path).as_posix() for file in files]
        return f"{', '.join(names[:-1])} and {names[-1]} in {self.tree.path}"


def find_lists(tree: Tree, depth: int = DEPTH) -> Lists | None:
    """Return the lists beside the images of a tree, or in a folder there; None where there are none.

    Folders that are parts themselves go before lists, and a folder around it all is entered.

    Raises:
        OSError: A folder cannot be read.
    """
    inner = tree.subfolders()
    with_images = [folder for folder in inner if folder.has_images()]
    if any(
        part_of(folder.name) and any(below.has_images() for below in folder.subfolders())
        for folder in with_images
    ):
        return None
    for folder in (tree, *(folder for folder in inner if folder not in with_images)):
        files = _lists_in(folder.path)
        if "train" in files and len(files) > 1:
            return Lists(tree, files)
    return find_lists(with_images[0], depth - 1) if len(with_images) == 1 and depth > 1 else None


def list_lists(lists: Lists, *, all_for_test: bool = False) -> Listing | None:
    """List the images that lists name, by their paths with or without the suffix.

    An image is of the class whose folder it lies in; where the folders are no classes, of that named after it.

    Args:
        lists: The lists.
        all_for_test: Whether the test part alone is wanted.

    Returns:
        None where most of their lines name no image that is there, or of no class: these are other lists.

    Raises:
        CnnzooError: There is one class only, or the training part lacks one.
        OSError: A list cannot be read.
    """
    # An image that several name is tested, and not trained on.
    lines = {part: _lines(lists.files[part]) for part in _PARTS if part in lists.files}
    trees = [lists.tree, *(folder for folder in lists.tree.subfolders() if folder.has_images())]
    found = [(images, _named_images(images, lines)) for images in map(ImagesByName.of, trees)]
    images, entries = max(found, key=lambda each: len(each[1]))
    num_lines = sum(map(len, lines.values()))
    if len(entries) * 2 < num_lines or not entries:
        return None
    labels = _folders_of({place: images.names[place] for place, _, _ in entries})
    written = {place: label for place, label, _ in entries if label}
    if not labels or (len({(labels[place], written[place]) for place in written}) > len({*labels.values()})):
        labels = written  # the folders hold images of several classes each
    if not labels:
        return None
    by_place: dict[int, tuple[str, Part | None]] = {}
    passed = PassedOver()
    for place, _, part in entries:
        passed.files["line without a label"] += place not in labels
        passed.files["line with an image of another line"] += place in by_place
        if place in labels:
            by_place.setdefault(place, (labels[place], part))
    passed.files["line without an image that is there"] = num_lines - len(entries)
    passed.files["image that they do not name"] = len(images.names) - len({place for place, _, _ in entries})
    notes = [f"The parts are those that {lists} name.", *passed.note(lists.tree.path)]
    return images.listing(by_place, f"the listing by {lists}", notes, all_for_test=all_for_test)


def _lists_in(folder: Path) -> dict[Part, Path]:
    """Return the list of each part in a folder: of several the one with the shortest name."""
    found: dict[Part, Path] = {}
    texts = (path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())
    for path in sorted(texts, key=lambda path: (len(path.name), path.name)):
        if part := part_of(path.stem):
            found.setdefault(part, path)
    return found


def _lines(path: Path) -> list[str]:
    text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _named_images(images: ImagesByName, lines: Mapping[Part, list[str]]) -> list[tuple[int, str, Part]]:
    """Return the place of the image that a line names, the label after the name, which may be empty, and the part."""
    found: list[tuple[int, str, Part]] = []
    for part, of_part in lines.items():
        for line in of_part:
            for name, label in _readings(line):
                if (place := images.find_below(name)) is not None:
                    found.append((place, label, part))
                    break
    return found


def _readings(line: str) -> Iterator[tuple[str, str]]:
    """Yield the names that may stand in a line, with the label after each: names may have spaces, too."""
    yield line, ""
    for gap in reversed([*_BETWEEN.finditer(line)]):
        yield line[: gap.start()], _BETWEEN.split(line[gap.end() :])[0]


def _folders_of(names: Mapping[int, str]) -> dict[int, str]:
    """Return the folder of each image that tells its class: the first in which not all lie; none where one has none."""
    folders = {place: name.split("/")[:-1] for place, name in names.items()}
    level = 0
    while all(len(above) > level for above in folders.values()):
        if len({above[level] for above in folders.values()}) > 1:
            return {place: above[level] for place, above in folders.items()}
        level += 1
    return {}
