"""Tables of labels: CSV files that say of which class each image is."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from cnnzoo.data.decoding.images import suffixes
from cnnzoo.data.listing.headings import (
    WORDS_OF_HEADINGS,
    Labels,
    column_called,
    describe_unused,
    find_labels,
    find_parts,
    part_in,
)
from cnnzoo.data.listing.listing import Listing, Part, PassedOver
from cnnzoo.data.listing.names import ImagesByName
from cnnzoo.data.listing.trees import part_of
from cnnzoo.data.listing.walk import Tree
from cnnzoo.errors import CnnzooError, UsageError, named
from cnnzoo.files import composed
from cnnzoo.plain_csv import Row, Table, read_table

_LOOKED_AT = 200
"""Rows by which the column of the files is found."""


def list_table(
    path: Path, tree: Tree, columns: Sequence[str] = (), *, searches: bool = True, all_for_test: bool = False
) -> Listing:
    """List the images that a CSV file names.

    They lie beside it, in a folder named like it, or in another one there; a cell is a path, also one of another
    machine, a name, or a name without its suffix or its zeros. Labels are in one column, or one-hot in several. Without
    headings, and in lists of ``path label``, columns are called by their numbers. A column such as ``split`` says which
    part an image is in; without one, about a fifth is kept for the test, each by its name.

    Args:
        path: The file.
        tree: The folder in which it lies, or another one where the images are.
        columns: The headings of the files and of the labels; empty to find them.
        searches: Whether the images may be in a folder of the tree, too, and are to be looked for.
        all_for_test: Whether all images, or all of its test part, are a test set.

    Raises:
        UsageError: It has no such columns.
        CnnzooError: It is no such table; the message says what was seen.
        OSError: A folder cannot be read.
    """
    table = _read(path)
    if len(columns) == 1:
        raise UsageError(
            "--csv-columns takes the headings of the files and of the labels, as in file,label, or of one-hot labels, "
            "as in file,cat,dog."
        )
    folders = map(ImagesByName.of, _places(path, tree) if searches else [tree])
    wanted = [column_called(table, name) for name in columns]
    files, folder = _find_files(table, wanted[:1] or range(len(table.header)), folders)
    parts = find_parts(table, wanted or {files})
    taken = {files} if parts is None else {files, parts}
    labels = Labels(tuple(wanted[1:])) if wanted else find_labels(table, taken, table.header[files])
    images, passed = _images(table, folder, files, labels, parts)
    split = "" if parts is None else f", and {table.header[parts]!r} for the parts"
    guessed = (
        f"Of {path} the column {table.header[files]!r} is taken for the images (in {folder.path}), and "
        f"{labels.describe(table)}{split}; --csv-columns and --image-root say otherwise."
    )
    unused = describe_unused(table, {*taken, *labels.columns})
    notes = [*([] if columns else [guessed]), *unused, *passed.note(path)]
    return folder.listing(images, labels.source(table), notes, all_for_test=all_for_test)


def _read(path: Path) -> Table:
    """Read a table with headings, one without, or a list of lines such as ``images/1.png 3``."""
    table = read_table(path, "the CSV file of labels", WORDS_OF_HEADINGS)
    lines = [Row(1, table.header), *table.rows]
    if len(table.header) == 1 and all(len(row.cells[0].split()) > 1 for row in lines):
        lines = [Row(row.line, row.cells[0].rsplit(maxsplit=1)) for row in lines]
        labels = {row.cells[1] for row in lines[1:]}  # a heading is none of them
        has_headings = not _names_an_image(lines[0]) and lines[0].cells[1] not in labels
    else:
        has_headings = not _names_an_image(lines[0])
    if has_headings:
        return replace(table, header=lines[0].cells, rows=lines[1:])
    return replace(table, header=[f"column {at + 1}" for at in range(len(lines[0].cells))], rows=lines)


def _names_an_image(row: Row) -> bool:
    return any(PurePosixPath(cell).suffix.lower() in suffixes() for cell in row.cells)


def _places(path: Path, tree: Tree) -> Iterator[Tree]:
    """Yield where the images of a table may lie, the likeliest first: beside it, in a folder named like it, ..."""
    yield tree

    def likeliness(folder: Tree) -> tuple[bool, bool, bool, str]:
        name, stem = folder.name.lower(), path.stem.lower()
        same_part = part_of(folder.name) is not None and part_of(folder.name) == part_of(path.stem)
        return (
            name != stem,
            not (stem.startswith(name) or same_part),
            not name.startswith(("im", "train")),
            name,
        )

    yield from sorted(tree.subfolders(), key=likeliness)


def _find_files(
    table: Table, columns: Sequence[int], folders: Iterable[ImagesByName]
) -> tuple[int, ImagesByName]:
    """Return the column whose cells name images, and the folder in which they do: the first with the most."""
    step = max(1, len(table.rows) // _LOOKED_AT)
    looked_at = [row.cells for row in table.rows[::step]]
    found: list[tuple[int, int, ImagesByName]] = []
    for folder in folders:
        for column in columns:
            num = sum(folder.find(cells[column]) is not None for cells in looked_at if column < len(cells))
            found.append((num, column, folder))
        if any(num == len(looked_at) for num, _, _ in found):  # none can have more
            break
    most, column, best = max(found, key=lambda each: each[0])
    if most * 2 < len(looked_at) or not looked_at:
        first = looked_at[0][column] if looked_at else "nothing"
        raise CnnzooError(
            f"no column of {table.path} ({named(table.header, 8)}) names images in {found[0][2].path} or a folder "
            f"there; the first cell is {first!r}. Say which: --csv-columns FILE,LABEL --image-root FOLDER"
        )
    return column, best


def _images(
    table: Table, folder: ImagesByName, files: int, labels: Labels, parts: int | None
) -> tuple[dict[int, tuple[str, Part | None]], PassedOver]:
    """Return the label and the part of each image, by its place, and what is passed over."""
    passed = PassedOver()
    images: dict[int, tuple[str, Part | None]] = {}
    for row in table.rows:
        cell = row.cells[files] if files < len(row.cells) else ""
        image, label = folder.find(cell), labels.of(table, row)
        if image is None or not label:
            passed.files[f"row without {'an image that is there' if image is None else 'a label'}"] += 1
        elif image in images and composed(images[image][0]) != composed(label):
            raise CnnzooError(
                f"{table.place(row)}: {cell} is {label} here, and {images[image][0]} above. "
                "Give each image one label."
            )
        else:
            passed.files["row that is there already"] += image in images
            images[image] = label, part_in(row, parts)
    passed.files["image that it does not name"] = len(folder.names) - len(images)
    return images, passed
