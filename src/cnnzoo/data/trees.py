"""Trees of class folders, as people have them: which folders are parts, which are classes (reading rules 2)."""

import dataclasses
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from cnnzoo.data.images import suffixes
from cnnzoo.data.listing import (
    Listing,
    Part,
    PassedOver,
    Sample,
    cut_test,
    has_images,
    images_below,
    subfolders,
)
from cnnzoo.errors import CnnzooError, named

_WORDS: dict[str, Part] = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "devel", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_AFFIX = "(?:data|dataset|img|image|imgs|images|pics|pictures|set|sets|split|part|folder|dir|x|my)?"
_NAME = re.compile(f"{_AFFIX}({'|'.join(sorted(_WORDS, key=len, reverse=True))}){_AFFIX}")
_TOKENS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_LETTERS = re.compile(r"[A-Za-z]+")

DEPTH = 3
"""How far below a folder, at most, a tree is looked for that was meant."""


def part_of(name: str) -> Part | None:
    """Return the part whose name a folder's name contains: ``test`` for ``seg_test``, ``testset`` and ``Test2017``.

    None for a name with two of them, and for words such as ``contest`` and ``device``.
    """
    tokens = (*_TOKENS.findall(name), *_LETTERS.findall(name))  # of TrainSet and of TRAINset
    matches = (_NAME.fullmatch(token.lower()) for token in tokens)
    parts = {_WORDS[match[1]] for match in matches if match}
    return parts.pop() if len(parts) == 1 else None


def list_tree(root: Path) -> Listing:
    """List the images of a tree of class folders.

    Folders named like parts (``train``, ``seg_train``, ``training_set``; ``val``, ``dev``; ``test``) that hold class
    folders are parts. Beside ``train/``, ``test/`` is the test set, or ``val/`` where there is no ``test/``; with all
    three, ``val/`` validates. Without such a part, about a fifth of the images is kept for the test, each by its name.
    A folder that holds nothing but the class folders is entered.

    Raises:
        CnnzooError: There are no classes or one only, a class has no images to train on, another part has classes that
            training does not have, or it is not clear what is what; the message says what was seen.
    """
    top = subfolders(root)
    train = next((path for path in top if part_of(path.name) == "train" and _class_level(path)), None)
    if train:
        return _list_parts(root, top, train)
    _refuse_parts(root, top)
    for tree in _trees_below(root, alone=sum(map(has_images, top)) == 1):
        raise CnnzooError(
            f"{root} has no class folders, but {tree.relative_to(root)}/ has a training part: use folder:{tree}"
        )
    if len(top) == 1 and (inside := _class_level(root)) == top[0]:
        note = f"The classes are the folders in {inside.name}/, which is all that {root} holds."
        return _list_classes(inside, [note])
    return _list_classes(root, [])


def list_all(root: Path) -> Listing:
    """List all images of a tree as a test set: those of its test part where it has one, else all there are.

    Raises:
        CnnzooError: There are no class folders with images.
    """
    parts = {part_of(path.name): inside for path in subfolders(root) if (inside := _class_level(path))}
    inside = parts.get("test") or parts.get("val") or parts.get("train") or _class_level(root) or root
    passed = PassedOver()
    classes = tuple(path.name for path in subfolders(inside) if has_images(path))
    if not classes:
        raise CnnzooError(
            f"{root} has no class folders with images. It needs a folder of images for each class."
        )
    samples = _samples(inside, classes, passed)
    return Listing(inside, classes, {"test": samples}, tuple(passed.note(inside)))


def _list_classes(root: Path, notes: list[str]) -> Listing:
    """List a tree of class folders alone."""
    passed = PassedOver()
    classes = _classes(root)
    for path in subfolders(root):
        kinds = {part_of(inner.name) for inner in subfolders(path)}
        if "train" in kinds and kinds & {"val", "test"}:
            raise CnnzooError(
                f"{path} has {_folders(subfolders(path))} inside a class folder. Put the classes into the parts: "
                f"{root / 'train' / path.name}, and so on."
            )
    samples = _samples(root, classes, passed)
    _refuse_empty(root, classes, samples, passed)
    passed.files.update(_beside(root))
    return Listing(root, classes, cut_test(samples, classes, root), (*notes, *passed.note(root)))


def _list_parts(root: Path, top: Sequence[Path], train: Path) -> Listing:
    """List a tree with a training part."""
    train_inside = _class_level(train)
    assert train_inside
    classes = _classes(train_inside)
    levels = {path: _class_level(path, classes) for path in top if part_of(path.name)}
    by_part: dict[Part, Path] = {}
    for path in (path for path, inside in levels.items() if inside):
        part = part_of(path.name)
        assert part
        if part in by_part:
            raise CnnzooError(
                f"{root} has {by_part[part].name}/ and {path.name}/, and both look like its {part} part. "
                f"Rename one, or name the one to train on: --dataset folder:{by_part[part]}"
            )
        by_part[part] = path
    unused = [path for path in top if path not in by_part.values() and has_images(path)]
    if len(by_part) == 1 and any(part_of(path.name) is None for path in unused):
        raise CnnzooError(
            f"{root} has {train.name}/ with class folders, and {_folders(unused)} with images: it is not clear "
            f"whether those are classes. To train on {train.name}/ alone, use folder:{train}"
        )
    passed = PassedOver()
    passed.files.update(_beside(root))
    for path in unused:
        kind = f"image without a class folder in {path.name}/"
        passed.files[kind] = len(images_below(path, PassedOver()))
    if len(by_part) == 1:
        listing = _list_classes(train_inside, [])
        return dataclasses.replace(listing, notes=(*passed.note(root), *listing.notes))
    if "test" not in by_part:
        by_part["test"] = by_part.pop("val")
    parts: dict[Part, list[Sample]] = {}
    for part, path in by_part.items():
        inside = levels[path]
        assert inside
        if unknown := sorted({child.name for child in subfolders(inside) if has_images(child)} - {*classes}):
            raise CnnzooError(
                f"{path} has classes that {train} does not have: {named(unknown)}. "
                "Give the training part a folder of images for each."
            )
        in_part = PassedOver()
        parts[part] = _samples(inside, classes, in_part)
        if part == "train":
            _refuse_empty(inside, classes, parts[part], in_part)
        elif not parts[part]:
            raise CnnzooError(f"{path} has no images. Put some into its class folders, or remove it.")
        passed.files.update(in_part.files)
        passed.files.update(_beside(inside))
    return Listing(root, classes, parts, tuple(passed.note(root)))


def _class_level(path: Path, classes: Collection[str] = ()) -> Path | None:
    """Return the folder whose subfolders are classes: ``path``, or the only one in it; None where there are none.

    Args:
        path: Where to look.
        classes: Names that are known to be classes, and wrap nothing.
    """
    inner = subfolders(path)
    if len(inner) == 1 and inner[0].name not in classes and not _images_in(path):
        deeper = sum(map(has_images, subfolders(inner[0])))
        if deeper > 1 or (deeper and part_of(inner[0].name)):
            return inner[0]
    return path if inner else None


def _refuse_parts(root: Path, top: Sequence[Path]) -> None:
    """Refuse folders named like parts, none of which is a training part, where they cannot be classes either."""
    parts = [path for path in top if part_of(path.name)]
    others = [path for path in top if path not in parts and has_images(path)]
    with_classes = [path for path in parts if subfolders(path)]
    kinds = {part_of(path.name) for path in parts}
    if with_classes and not others:
        raise CnnzooError(
            f"{root} has {_folders(with_classes)} only. It needs train/ and test/, train/ and val/, or class folders "
            f"alone, as in {with_classes[0]}."
        )
    if parts and (with_classes or not others or ("train" in kinds and len(kinds) > 1)):
        raise CnnzooError(
            f"{root} has {_folders([*parts, *others])}: that looks like parts, and a training part without class "
            "folders. Give each class a folder of its images, as in train/cat, or name a table of the labels: "
            f"--dataset csv:{_table_in(root)}"
        )


def _table_in(folder: Path) -> Path:
    """Return the likeliest table of labels in a folder."""

    def likeliness(path: Path) -> tuple[bool, bool, str]:
        name = path.stem.lower()
        return "submission" in name, not ("label" in name or part_of(path.stem) == "train"), name

    tables = (path for path in folder.iterdir() if path.suffix.lower() in (".csv", ".tsv"))
    return min(tables, key=likeliness, default=folder / "labels.csv")


def _trees_below(root: Path, *, alone: bool, depth: int = DEPTH) -> Iterator[Path]:
    """Yield the folders below that have a training part, and another one unless there is no other folder of images."""
    for path in subfolders(root):
        parts = {part_of(inner.name) for inner in subfolders(path) if _class_level(inner)}
        if "train" in parts and (alone or len(parts - {None}) > 1):
            yield path
        elif depth > 1:
            yield from _trees_below(path, alone=alone, depth=depth - 1)


def _classes(folder: Path) -> tuple[str, ...]:
    classes = tuple(path.name for path in subfolders(folder))
    if len(classes) < 2:
        what = f"one class only ({classes[0]})" if classes else "no class folders"
        flat = ", but images without one" if _images_in(folder) and not classes else ""
        raise CnnzooError(
            f"{folder} has {what}{flat}. It needs a folder of images for each of two classes or more."
        )
    return classes


def _samples(folder: Path, classes: Sequence[str], passed: PassedOver) -> list[Sample]:
    """Return the images of each class, one class after another; a class folder may be missing."""
    samples: list[Sample] = []
    for label, name in enumerate(classes):
        if (folder / name).is_dir():
            samples += [(file, label) for file in images_below(folder / name, passed, above=(folder,))]
    return samples


def _refuse_empty(
    folder: Path, classes: Sequence[str], samples: Sequence[Sample], passed: PassedOver
) -> None:
    found = {label for _, label in samples}
    if empty := [name for label, name in enumerate(classes) if label not in found]:
        others = "".join(f" ({note.rstrip('.').replace('P', 'p', 1)})" for note in passed.note(folder))
        raise CnnzooError(
            f"the class folder {folder / empty[0]} has no images{others}. Put some into it, or remove it."
            if len(empty) == 1
            else f"the class folders {named(empty)} in {folder} have no images{others}. Put some into them, or "
            "remove them."
        )


def _images_in(folder: Path) -> int:
    """Return how many images lie in a folder itself."""
    return sum(path.suffix.lower() in suffixes() and path.is_file() for path in folder.iterdir())


def _beside(folder: Path) -> dict[str, int]:
    """Return the images that lie beside class folders, as what is passed over."""
    num = _images_in(folder)
    return {f"image beside the folders in {folder.name}/": num} if num else {}


def _folders(paths: Sequence[Path]) -> str:
    return named([f"{path.name}/" for path in paths])
