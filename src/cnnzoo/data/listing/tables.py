"""Tables of labels: CSV files that say of which class each image is."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cnnzoo.data.decoding.images import suffixes
from cnnzoo.data.listing.listing import Listing, Part, PassedOver
from cnnzoo.data.listing.names import ImagesByName
from cnnzoo.data.listing.trees import part_of
from cnnzoo.data.listing.walk import Tree
from cnnzoo.errors import CnnzooError, UsageError, did_you_mean, named
from cnnzoo.files import composed
from cnnzoo.plain_csv import Table, read_table

_LABELS = (
    *("label", "labels", "class", "classname", "classlabel", "classes", "category", "target", "y"),
    *("breed", "species", "diagnosis", "emotion", "tag"),
)
"""Headings of labels, without spaces and signs, the likeliest first."""

_FOREIGN_WORDS = (
    *("文件", "图片", "标签", "类别", "檔案", "圖片", "標籤", "類別", "ファイル", "画像", "ラベル", "クラス"),
    *("파일", "이미지", "라벨", "레이블", "클래스", "файл", "изображени", "метка", "класс"),
)
"""What headings have in other letters than A to Z: they tell the encoding of a file."""

_PARTS = ("split", "set", "subset", "dataset", "partition", "part", "usage", "phase")
"""Headings of what says whether an image is for training or for the test."""

_LOOKED_AT = 200
"""Rows by which the column of the files is found."""


def list_table(
    path: Path, tree: Tree, columns: Sequence[str] = (), *, searches: bool = True, all_for_test: bool = False
) -> Listing:
    """List the images that a CSV file names.

    They lie beside it, in a folder named like it, or in another one there; a cell is a path, a name, or a name without
    its suffix. A column such as ``split`` says which part an image is in; without one, about a fifth is kept for the
    test, each by its name.

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
    table = read_table(path, "the CSV file of labels", _FOREIGN_WORDS)
    if any(Path(cell).suffix.lower() in suffixes() for cell in table.header):
        raise CnnzooError(
            f"{path} begins with an image and not with headings. Write a first line such as file,label."
        )
    if len(columns) not in (0, 2):
        raise UsageError(
            "--csv-columns takes two headings, of the files and of the labels, as in file,label."
        )
    folders = map(ImagesByName.of, _places(path, tree) if searches else [tree])
    wanted = [_column(table, name) for name in columns]
    files, folder = _find_files(table, wanted[:1] or range(len(table.header)), folders)
    labels = wanted[1] if wanted else _find_labels(table, files)
    parts = _find_parts(table, {files, labels})
    images, passed = _images(table, folder, files, labels, parts)
    notes = [
        f"Of {path} the column {table.header[files]!r} is taken for the images (in {folder.path}), and "
        f"{table.header[labels]!r} for the labels; --csv-columns and --image-root say otherwise."
    ]
    notes = [*([] if columns else notes), *passed.note(path)]
    source = f"the column {table.header[labels]!r} of {path}"
    return folder.listing(images, source, notes, all_for_test=all_for_test)


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


def _column(table: Table, name: str) -> int:
    header = [*map(composed, table.header)]
    if composed(name) not in header:
        hint = did_you_mean(name, header)
        raise UsageError(f"{table.path} has no column {name!r}. {hint}It has {named(header, 8)}.")
    return header.index(composed(name))


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
    table: Table, folder: ImagesByName, files: int, labels: int, parts: int | None
) -> tuple[dict[int, tuple[str, Part | None]], PassedOver]:
    """Return the label and the part of each image, by its place, and what is passed over."""
    passed = PassedOver()
    images: dict[int, tuple[str, Part | None]] = {}
    for row in table.rows:
        cells = [*row.cells, *[""] * (len(table.header) - len(row.cells))]
        image = folder.find(cells[files])
        if image is None or not cells[labels]:
            passed.files[f"row without {'an image that is there' if image is None else 'a label'}"] += 1
        elif image in images and composed(images[image][0]) != composed(cells[labels]):
            raise CnnzooError(
                f"{table.place(row)}: {cells[files]} is {cells[labels]} here, and {images[image][0]} above. "
                "Give each image one label."
            )
        else:
            passed.files["row that is there already"] += image in images
            images[image] = cells[labels], part_of(cells[parts]) if parts is not None else None
    passed.files["image that it does not name"] = len(folder.names) - len(images)
    return images, passed


def _values(table: Table, column: int) -> set[str]:
    return {row.cells[column] for row in table.rows if column < len(row.cells)}


def _plain(heading: str) -> str:
    return "".join(letter for letter in heading.lower() if letter.isalnum())
