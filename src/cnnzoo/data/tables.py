"""Tables of labels: CSV files that say of which class each image is (reading rules 2)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnzoo.data.images import suffixes
from cnnzoo.data.listing import Listing, Part, PassedOver, Sample, cut_test, images_below, subfolders
from cnnzoo.data.trees import part_of
from cnnzoo.errors import CnnzooError, UsageError, did_you_mean, named
from cnnzoo.plain_csv import Table, read_table

_LABELS = (
    *("label", "labels", "class", "classname", "classlabel", "classes", "category", "target", "y"),
    *("breed", "species", "diagnosis", "emotion", "tag"),
)
"""Headings of labels, without spaces and signs, the likeliest first."""

_PARTS = ("split", "set", "subset", "dataset", "partition", "part", "usage", "phase")
"""Headings of what says whether an image is for training or for the test."""

_LOOKED_AT = 200
"""Rows by which the column of the files is found."""


@dataclass(frozen=True)
class _Folder:
    """Images below a folder, by what a table may call them."""

    path: Path
    by_name: dict[str, Path]

    @classmethod
    def of(cls, path: Path) -> "_Folder":
        """Look below ``path``: by relative names, and by names and stems that only one image has."""
        images = images_below(path, PassedOver())
        relative = {image.relative_to(path).as_posix(): image for image in images}
        alone: defaultdict[str, set[Path]] = defaultdict(set)
        for name, image in relative.items():
            alone[image.name].add(image)
            alone[image.stem].add(image)
            alone[name.removesuffix(image.suffix)].add(image)
        unique = {name: members.pop() for name, members in alone.items() if len(members) == 1}
        return cls(path, {**unique, **relative})

    def find(self, cell: str) -> Path | None:
        """Return the image that a cell names, by its path, its name, or its name without the suffix."""
        name = cell.replace("\\", "/").removeprefix("./")
        return self.by_name.get(name) or self.by_name.get(name.rpartition("/")[2])


def list_table(
    path: Path, columns: Sequence[str] = (), image_root: Path | None = None, *, all_for_test: bool = False
) -> Listing:
    """List the images that a CSV file names.

    They lie beside it, in a folder named like it, or in another one there; a cell is a path, a name, or a name without
    its suffix. A column such as ``split`` says which part an image is in; without one, about a fifth is kept for the
    test, each by its name.

    Args:
        path: The file.
        columns: The headings of the files and of the labels; empty to find them.
        image_root: Where the images lie; None to look for them.
        all_for_test: Whether all images, or all of its test part, are a test set.

    Raises:
        UsageError: It has no such columns.
        CnnzooError: It is no such table; the message says what was seen.
    """
    table = read_table(path, "the CSV file of labels")
    if any(Path(cell).suffix.lower() in suffixes() for cell in table.header):
        raise CnnzooError(
            f"{path} begins with an image and not with headings. Write a first line such as file,label."
        )
    if len(columns) not in (0, 2):
        raise UsageError(
            "--csv-columns takes two headings, of the files and of the labels, as in file,label."
        )
    folders = [_Folder.of(folder) for folder in ([image_root] if image_root else _places(path))]
    wanted = [_column(table, name) for name in columns]
    files, folder = _find_files(table, wanted[:1] or range(len(table.header)), folders)
    labels = wanted[1] if wanted else _find_labels(table, files)
    parts = _find_parts(table, {files, labels})
    images, passed = _images(table, folder, files, labels, parts)
    classes = _sorted(list({label for label, _ in images.values()}))
    if len(classes) < 2 and not all_for_test:
        what = f"one class only ({classes[0]})" if classes else "no labels"
        raise CnnzooError(
            f"{path} has {what} in its column {table.header[labels]!r}. It needs two classes or more."
        )
    notes = [
        f"Of {path} the column {table.header[files]!r} is taken for the images (in {folder.path}), and "
        f"{table.header[labels]!r} for the labels; --csv-columns and --image-root say otherwise."
    ]
    by_part: dict[Part, list[Sample]] = {}
    for image, (label, part) in images.items():
        by_part.setdefault(part or "train", []).append((image, classes.index(label)))
    samples = [sample for members in by_part.values() for sample in members]
    if all_for_test:
        by_part = {"test": by_part.get("test") or by_part.get("val") or samples}
    elif len(by_part) < 2 or "train" not in by_part:
        by_part = cut_test(samples, classes, folder.path)
    elif "test" not in by_part:
        by_part["test"] = by_part.pop("val")
    listing = Listing(folder.path, tuple(classes), by_part, (*([] if columns else notes), *passed.note(path)))
    if not all_for_test and (unknown := [name for name in classes if name not in listing.counts("train")]):
        raise CnnzooError(f"{path} has no training images of {named(unknown)}. Add some, or take these out.")
    return listing


def _places(path: Path) -> Iterator[Path]:
    """Yield where the images of a table may lie, the likeliest first: beside it, in a folder named like it, ..."""
    yield path.parent

    def likeliness(folder: Path) -> tuple[bool, bool, bool, str]:
        name, stem = folder.name.lower(), path.stem.lower()
        same_part = part_of(folder.name) is not None and part_of(folder.name) == part_of(path.stem)
        return (
            name != stem,
            not (stem.startswith(name) or same_part),
            not name.startswith(("im", "train")),
            name,
        )

    yield from sorted(subfolders(path.parent), key=likeliness)


def _column(table: Table, name: str) -> int:
    if name not in table.header:
        hint = did_you_mean(name, table.header)
        raise UsageError(f"{table.path} has no column {name!r}. {hint}It has {named(table.header, 8)}.")
    return table.header.index(name)


def _find_files(table: Table, columns: Sequence[int], folders: Sequence[_Folder]) -> tuple[int, _Folder]:
    """Return the column whose cells name images, and the folder in which they do."""
    step = max(1, len(table.rows) // _LOOKED_AT)
    looked_at = [row.cells for row in table.rows[::step]]
    found = {
        (column, place): sum(
            folder.find(cells[column]) is not None for cells in looked_at if column < len(cells)
        )
        for place, folder in enumerate(folders)
        for column in columns
    }
    column, place = max(found, key=lambda key: (found[key], -key[1], -key[0]))
    if found[column, place] * 2 < len(looked_at) or not looked_at:
        first = looked_at[0][column] if looked_at else "nothing"
        raise CnnzooError(
            f"no column of {table.path} ({named(table.header, 8)}) names images in {folders[0].path} or a folder "
            f"there; the first cell is {first!r}. Say which: --csv-columns FILE,LABEL --image-root FOLDER"
        )
    return column, folders[place]


def _find_labels(table: Table, files: int) -> int:
    """Return the column of the labels: by its heading, else the only one with a few values again and again."""
    others = [column for column in range(len(table.header)) if column != files]
    plain = {_plain(table.header[column]): column for column in reversed(others)}
    for name in _LABELS:
        if name in plain:
            return plain[name]
    repeated = [
        column for column in others if 2 <= len(_values(table, column)) <= max(2, len(table.rows) // 2)
    ]
    repeated = [column for column in repeated if _plain(table.header[column]) not in _PARTS]
    for candidates in (others, repeated):
        if len(candidates) == 1:
            return candidates[0]
    raise CnnzooError(
        f"it is not clear which column of {table.path} has the labels: {named(table.header, 8)}. "
        f"Say which: --csv-columns {table.header[files]},LABEL"
    )


def _find_parts(table: Table, taken: set[int]) -> int | None:
    """Return the column that says in which part an image is, if there is one."""
    for column, heading in enumerate(table.header):
        values = _values(table, column)
        if column not in taken and _plain(heading) in _PARTS and values and all(map(part_of, values)):
            return column
    return None


def _images(
    table: Table, folder: _Folder, files: int, labels: int, parts: int | None
) -> tuple[dict[Path, tuple[str, Part | None]], PassedOver]:
    """Return the label and the part of each image, and what is passed over."""
    passed = PassedOver()
    images: dict[Path, tuple[str, Part | None]] = {}
    for row in table.rows:
        cells = [*row.cells, *[""] * (len(table.header) - len(row.cells))]
        image = folder.find(cells[files])
        if image is None or not cells[labels]:
            passed.files[f"row without {'an image that is there' if image is None else 'a label'}"] += 1
        elif image in images and images[image][0] != cells[labels]:
            raise CnnzooError(
                f"{table.place(row)}: {cells[files]} is {cells[labels]} here, and {images[image][0]} above. "
                "Give each image one label."
            )
        else:
            passed.files["row that is there already"] += image in images
            images[image] = cells[labels], part_of(cells[parts]) if parts is not None else None
    passed.files["image that it does not name"] = len(set(folder.by_name.values()) - images.keys())
    return images, passed


def _sorted(labels: list[str]) -> list[str]:
    """Return labels in their order: by number where all are whole numbers."""
    return sorted(labels, key=int) if all(label.isdecimal() for label in labels) else sorted(labels)


def _values(table: Table, column: int) -> set[str]:
    return {row.cells[column] for row in table.rows if column < len(row.cells)}


def _plain(heading: str) -> str:
    return "".join(letter for letter in heading.lower() if letter.isalnum())
