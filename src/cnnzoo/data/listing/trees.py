"""Trees of class folders, as people have them: which folders are parts, which are classes."""

import dataclasses
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from shlex import quote

import numpy as np

from cnnzoo.data.listing.listing import (
    Files,
    Listing,
    Part,
    PassedOver,
    Samples,
    cut_test,
    quoted_blanks,
    shown_name,
)
from cnnzoo.data.listing.walk import Tree
from cnnzoo.errors import CnnzooError, named
from cnnzoo.files import as_typed, composed

_WORDS: dict[str, Part] = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "devel", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_AFFIX = "(?:data|dataset|img|image|imgs|images|pics|pictures|set|sets|split|part|folder|dir|x|my)?"
_NAME = re.compile(f"{_AFFIX}({'|'.join(sorted(_WORDS, key=len, reverse=True))}){_AFFIX}")
_TOKENS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_MASK = re.compile(
    rb"[ _.(-]+(mask|segmentation|seg|annotation|annot|groundtruth|ground[_-]truth|gt|label)s?([ _.-]?\d+)?\)?$",
    re.IGNORECASE,
)
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


def list_tree(root: Tree) -> Listing:
    """List the images of a tree of class folders.

    Folders named like parts (``train``, ``seg_train``, ``training_set``; ``val``, ``dev``; ``test``) that hold class
    folders are parts. Beside ``train/``, ``test/`` is the test set, or ``val/`` where there is no ``test/``; with all
    three, ``val/`` validates. Without such a part, about a fifth of the images is kept for the test, each by its name,
    and one at least of a class that has two. A folder that holds nothing but the class folders is entered.

    Raises:
        CnnzooError: There are no classes or one only, a class has no images to train on, another part has classes that
            training does not have, or it is not clear what is what; the message says what was seen.
        OSError: A folder cannot be read.
    """
    top = root.subfolders()
    train = next((tree for tree in top if part_of(tree.name) == "train" and _class_level(tree)), None)
    if train:
        return _list_parts(root, top, train)
    _refuse_parts(root, top)
    if below := [*_trees_below(root, alone=sum(inner.has_images() for inner in top) == 1)]:
        names = named([f"{tree.path.relative_to(root.path)}/" for tree in below])
        raise CnnzooError(
            f"{root.path} has no class folders, but {names} {'has' if len(below) == 1 else 'have'} a training part: "
            f"use {' or '.join(f'folder:{tree.path}' for tree in below[:3])}"
        )
    if len(top) == 1 and (inside := _class_level(root)) == top[0]:
        note = f"The classes are the folders in {inside.name}/, which is all that {root.path} holds."
        return _list_classes(inside, [note])
    return _list_classes(root, [])


def list_all(root: Tree) -> Listing:
    """List all images of a tree as a test set: those of its test part where it has one, else all there are.

    Raises:
        CnnzooError: There are no class folders with images.
        OSError: A folder cannot be read.
    """
    parts = {part_of(tree.name): inside for tree in root.subfolders() if (inside := _class_level(tree))}
    inside = parts.get("test") or parts.get("val") or parts.get("train") or _class_level(root) or root
    _refuse_copies(inside)
    passed = PassedOver()
    classes = _names([tree for tree in inside.subfolders() if tree.has_images()])
    if not classes:
        raise CnnzooError(
            f"{root.path} has no class folders with images. It needs a folder of images for each class."
        )
    samples = _samples(inside.path, inside, classes, passed)
    return Listing(inside.path, classes, {"test": samples}, tuple(passed.note(inside.path)))


def _list_classes(root: Tree, notes: list[str]) -> Listing:
    """List a tree of class folders alone."""
    passed = PassedOver()
    classes = _classes(root)
    for tree in root.subfolders():
        kinds = {part_of(inner.name) for inner in tree.subfolders()}
        if "train" in kinds and kinds & {"val", "test"}:
            raise CnnzooError(
                f"{tree.path} has {_folders(tree.subfolders())} inside a class folder. Put the classes into the "
                f"parts: {root.path / 'train' / tree.name}, and so on."
            )
    samples = _samples(root.path, root, classes, passed)
    _refuse_empty(root.path, classes, samples, passed)
    passed.files.update(_beside(root))
    parts = cut_test(samples, classes, root.path)
    notes = [*notes, *passed.note(root.path), *_note_on_masks([samples])]
    return Listing(root.path, classes, parts, tuple(notes))


def _list_parts(root: Tree, top: Sequence[Tree], train: Tree) -> Listing:
    """List a tree with a training part."""
    train_inside = _class_level(train)
    assert train_inside
    classes = _classes(train_inside)
    by_part: dict[Part, Tree] = {}
    levels: dict[Part, Tree] = {}
    for tree in top:
        part = part_of(tree.name)
        inside = _class_level(tree, classes) if part else None
        if not part or not inside:
            continue
        if part in by_part:
            raise CnnzooError(
                f"{root.path} has {by_part[part].name}/ and {tree.name}/, and both look like its {part} part. "
                f"Move the one that is not meant out of it, such as: {_moving(root, tree)}"
            )
        by_part[part], levels[part] = tree, inside
    unused = [tree for tree in top if tree not in by_part.values() and tree.has_images()]
    if len(by_part) == 1 and any(part_of(tree.name) is None for tree in unused):
        raise CnnzooError(
            f"{root.path} has {train.name}/ with class folders, and {_folders(unused)} with images: it is not clear "
            f"whether those are classes. To train on {train.name}/ alone, use folder:{train.path}"
        )
    passed = PassedOver()
    passed.files.update(_beside(root))
    for tree in unused:
        kind = f"image without a class folder in {tree.name}/"
        names, _ = tree.images_below(PassedOver())
        passed.files[kind] = len(names)
    if len(by_part) == 1:
        listing = _list_classes(train_inside, [])
        return dataclasses.replace(listing, notes=(*passed.note(root.path), *listing.notes))
    if "test" not in by_part:
        by_part["test"], levels["test"] = by_part.pop("val"), levels.pop("val")
    parts: dict[Part, Samples] = {}
    for part, tree in by_part.items():
        inside = levels[part]
        if unknown := sorted(
            {*_names([child for child in inside.subfolders() if child.has_images()])} - {*classes}
        ):
            raise CnnzooError(
                f"{tree.path} has classes that {train.path} does not have: {named([*map(quoted_blanks, unknown)])}. "
                "Give the training part a folder of images for each."
            )
        in_part = PassedOver()
        parts[part] = _samples(root.path, inside, classes, in_part)
        if part == "train":
            _refuse_empty(inside.path, classes, parts[part], in_part)
        elif not parts[part]:
            raise CnnzooError(f"{tree.path} has no images. Put some into its class folders, or remove it.")
        passed.files.update(in_part.files)
        passed.files.update(_beside(inside))
    notes = [*passed.note(root.path), *_note_on_masks(parts.values())]
    return Listing(root.path, classes, parts, tuple(notes))


def _moving(root: Tree, tree: Tree) -> str:
    """Return the command that moves a part out of the folder of parts, to a path beside that which is free."""
    name, beside = f"{root.path.absolute().name}-{tree.name}", Path(os.path.normpath(root.path / ".."))
    names = (name, *(f"{name}-{number}" for number in range(2, 100)))
    free = next((path for name in names if not (path := beside / name).exists()), beside)
    return f"mv {as_typed(tree.path)} {as_typed(free)}"


def _class_level(tree: Tree, classes: Collection[str] = ()) -> Tree | None:
    """Return the folder whose subfolders are classes: ``tree``, or the only one in it; None where there are none.

    Args:
        tree: Where to look.
        classes: Names that are known to be classes, and wrap nothing.
    """
    inner = tree.subfolders()
    if len(inner) == 1 and composed(inner[0].name) not in classes and not tree.num_images():
        deeper = sum(below.has_images() for below in inner[0].subfolders())
        if deeper > 1 or (deeper and part_of(inner[0].name)):
            return inner[0]
    return tree if inner else None


def _refuse_parts(root: Tree, top: Sequence[Tree]) -> None:
    """Refuse folders named like parts, none of which is a training part, where they cannot be classes either."""
    parts = [tree for tree in top if part_of(tree.name)]
    others = [tree for tree in top if tree not in parts and tree.has_images()]
    with_classes = [tree for tree in parts if tree.subfolders()]
    kinds = {part_of(tree.name) for tree in parts}
    if with_classes and not others:
        raise CnnzooError(
            f"{root.path} has {_folders(with_classes)} only. It needs train/ and test/, train/ and val/, or class "
            f"folders alone, as in {with_classes[0].path}."
        )
    if parts and (with_classes or not others or ("train" in kinds and len(kinds) > 1)):
        raise CnnzooError(
            f"{root.path} has {_folders([*parts, *others])}: that looks like parts, and a training part without class "
            "folders. Give each class a folder of its images, as in train/cat, or name a table of the labels: "
            f"--dataset csv:{_table_in(root.path)}"
        )


def _table_in(folder: Path) -> Path:
    """Return the likeliest table of labels in a folder."""

    def likeliness(path: Path) -> tuple[bool, bool, str]:
        name = path.stem.lower()
        return "submission" in name, not ("label" in name or part_of(path.stem) == "train"), name

    tables = (path for path in folder.iterdir() if path.suffix.lower() in (".csv", ".tsv"))
    return min(tables, key=likeliness, default=folder / "labels.csv")


def _trees_below(root: Tree, *, alone: bool, depth: int = DEPTH) -> Iterator[Tree]:
    """Yield the folders below that have a training part, and another one unless there is no other folder of images."""
    for tree in root.subfolders():
        parts = {part_of(inner.name) for inner in tree.subfolders() if _class_level(inner)}
        if "train" in parts and (alone or len(parts - {None}) > 1):
            yield tree
        elif depth > 1:
            yield from _trees_below(tree, alone=alone, depth=depth - 1)


def _refuse_copies(tree: Tree) -> None:
    """Refuse folders with the same class folders, as many as there are folders or more: ``color/`` and ``grayscale/``.

    Fewer are taken for parts of classes, such as ``day`` and ``night`` of many.
    """
    inside = {
        folder: {*_names([inner for inner in folder.subfolders() if inner.has_images()])}
        for folder in tree.subfolders()
        if not folder.num_images()
    }
    copies = [folder for folder, names in inside.items() if len(names) > 1]
    if len(copies) < 2:
        return
    shared = set.intersection(*(inside[copy] for copy in copies))
    num_all = len(set.union(*(inside[copy] for copy in copies)))
    if len(shared) >= max(len(copies), num_all / 2) and not any(map(part_of, shared)):
        ways = " or ".join(f"--dataset {quote(f'folder:{copy.path}')}" for copy in copies)
        raise CnnzooError(
            f"{tree.path} has {_folders(copies)} with the same folders ({named(sorted(shared))}). Name the one that is "
            f"meant: {ways}. If these are the classes, put their images right into them."
        )


def _note_on_masks(parts: Iterable[Samples]) -> list[str]:
    """Return a sentence on images that are called as masks of others beside them; none where there are none."""
    masks: list[str] = []
    for samples in parts:
        names = [name.rpartition(b".")[0] for name in samples.files.names()]
        if ends := {
            place: match.start() for place, name in enumerate(names) if (match := _MASK.search(name))
        }:
            known = {*names}
            found = (samples.files[place] for place, end in ends.items() if names[place][:end] in known)
            masks += [shown_name(file, samples.files.root) for file in found]
    if not masks:
        return []
    what = (
        "1 image is named like the mask" if len(masks) == 1 else f"{len(masks):,} images are named like masks"
    )
    return [
        f"{what} of another one and used like any other: {named(masks, 1)}. Move masks out of the class folders "
        "if that is not meant."
    ]


def _classes(tree: Tree) -> tuple[str, ...]:
    _refuse_copies(tree)
    classes = _names(tree.subfolders())
    if len(classes) < 2:
        what = f"one class only ({classes[0]})" if classes else "no class folders"
        flat = ", but images without one" if tree.num_images() and not classes else ""
        raise CnnzooError(
            f"{tree.path} has {what}{flat}. It needs a folder of images for each of two classes or more."
        )
    return classes


def _names(classes: Iterable[Tree]) -> tuple[str, ...]:
    """Return the names of class folders as they are compared, sorted, each once."""
    return tuple(sorted({composed(folder.name) for folder in classes}))


def _samples(root: Path, inside: Tree, classes: Sequence[str], passed: PassedOver) -> Samples:
    """Return the images of each class, one class after another; a class folder may be missing.

    Args:
        root: From where they are named.
        inside: The folder of the class folders.
        classes: The classes.
        passed: Told what is passed over.
    """
    names: list[bytes] = []
    sizes: list[int] = []
    labels: list[int] = []
    numbers = {name: label for label, name in enumerate(classes)}
    folders = [
        (numbers[name], tree) for tree in inside.subfolders() if (name := composed(tree.name)) in numbers
    ]
    for label, folder in sorted(folders, key=itemgetter(0)):
        below, of_class = folder.images_below(passed, above=(inside,))
        before = f"{folder.path.relative_to(root).as_posix()}/"
        names += [f"{before}{file}".encode(errors="surrogateescape") for file in below]
        sizes += of_class
        labels += [label] * len(below)
    return Samples(Files.of(root, names), np.array(labels, dtype=np.int64), np.array(sizes, dtype=np.int64))


def _refuse_empty(folder: Path, classes: Sequence[str], samples: Samples, passed: PassedOver) -> None:
    found = set(samples.labels.tolist())
    if empty := [name for label, name in enumerate(classes) if label not in found]:
        others = "".join(f" ({note.rstrip('.').replace('P', 'p', 1)})" for note in passed.note(folder))
        raise CnnzooError(
            f"the class folder {folder / empty[0]} has no images{others}. Put some into it, or remove it."
            if len(empty) == 1
            else f"the class folders {named(empty)} in {folder} have no images{others}. Put some into them, or "
            "remove them."
        )


def _beside(tree: Tree) -> dict[str, int]:
    """Return the images that lie beside class folders, as what is passed over."""
    num = tree.num_images()
    return {f"image beside the folders in {tree.name}/": num} if num else {}


def _folders(trees: Sequence[Tree]) -> str:
    return named([f"{tree.name}/" for tree in trees])
