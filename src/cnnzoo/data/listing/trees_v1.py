"""Trees of class folders as version 0.1 listed them (reading rules 1), for the runs that it began."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from cnnzoo.data.listing.listing import TEST_SHARE, Listing, Part, Sample, packed, relative_name
from cnnzoo.errors import CnnzooError, named

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}

PARTS: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names of folders that hold a part of the images rather than a class, in small letters."""


def list_tree(root: Path) -> Listing:
    """List the images of a tree of class folders.

    With ``train/`` inside, ``test/`` is the test set, or ``val/`` where there is no ``test/``. With all three, ``val/``
    is the validation set. A tree with class folders only keeps a fifth of each class for the test. Names that begin
    with a dot are passed over, and files that are no images.

    Raises:
        CnnzooError: There are no classes or one only, a class is empty, or the parts have different classes.
    """
    parts = {
        PARTS[path.name.lower()]: path
        for path in _subfolders(root)
        # A folder of that name with no folders inside is a class: a train is a fine thing to photograph.
        if path.name.lower() in PARTS and _subfolders(path)
    }
    if not parts:
        classes = _classes(root)
        return Listing(root, classes, packed(root, _cut(root, _images(root, classes))))
    if len(parts) == 1 or "train" not in parts:
        names = " and ".join(f"{path.name}/" for path in parts.values())
        raise CnnzooError(
            f"{root} has {names} only. It needs train/ and test/, train/ and val/, or class folders alone, "
            f"as in {next(iter(parts.values()))}."
        )
    if "test" not in parts:
        parts["test"] = parts.pop("val")
    classes = _classes(parts["train"])
    for path in parts.values():
        if differ := sorted(set(classes) ^ set(_classes(path))):
            raise CnnzooError(
                f"{parts['train']} and {path} have different classes: {named(differ)}. "
                "Give both the same class folders."
            )
    return Listing(
        root, classes, packed(root, {part: _images(path, classes) for part, path in parts.items()})
    )


def _subfolders(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(found, key=lambda path: path.name)  # paths themselves are ordered otherwise on Windows


def _classes(folder: Path) -> tuple[str, ...]:
    classes = tuple(path.name for path in _subfolders(folder))
    if len(classes) < 2:
        what = f"one class only ({classes[0]})" if classes else "no class folders"
        raise CnnzooError(
            f"{folder} has {what}. It needs a folder of images for each of two classes or more."
        )
    return classes


def _images(folder: Path, classes: Sequence[str]) -> list[Sample]:
    samples: list[Sample] = []
    for label, name in enumerate(classes):
        base = folder / name
        found = (
            path
            for path in base.rglob("*")
            if path.suffix.lower() in SUFFIXES
            and not any(part.startswith(".") for part in path.relative_to(base).parts)
            and path.is_file()
        )
        of_class = [(path, label) for path in sorted(found, key=Path.as_posix)]
        if not of_class:
            raise CnnzooError(f"the class folder {base} has no images. Put some into it, or remove it.")
        samples += of_class
    return samples


def _cut(root: Path, samples: list[Sample]) -> dict[Part, list[Sample]]:
    """Keep a fifth of each class for the test, and one image at least."""
    of_class: dict[int, list[Sample]] = {}
    for sample in samples:
        of_class.setdefault(sample[1], []).append(sample)
    split: dict[Part, list[Sample]] = {"train": [], "test": []}
    for members in of_class.values():
        if len(members) < 2:
            raise CnnzooError(
                f"{members[0][0].parent} has one image only, and one of each class is kept for the test. "
                "Add another."
            )
        # An order that neither the seed nor the file names' own order has a part in.
        members.sort(key=lambda sample: hashlib.sha256(relative_name(sample[0], root)).digest())
        cut = max(1, round(len(members) * TEST_SHARE))
        split["test"] += members[:cut]
        split["train"] += members[cut:]
    return split
