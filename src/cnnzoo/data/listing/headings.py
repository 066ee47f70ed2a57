"""Columns of a table of labels: which one has the labels, which the parts, and what the others are called."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cnnzoo.data.listing.listing import Part
from cnnzoo.data.listing.trees import part_of
from cnnzoo.errors import CnnzooError, UsageError, did_you_mean, named
from cnnzoo.files import composed
from cnnzoo.plain_csv import Row, Table

_LABELS = (
    *("label", "labels", "class", "classname", "classlabel", "classes", "category", "target", "y"),
    *("breed", "species", "diagnosis", "emotion", "tag"),
)
"""Headings of labels, without spaces and signs, the likeliest first."""

WORDS_OF_HEADINGS = (
    *("文件", "图片", "标签", "类别", "檔案", "圖片", "標籤", "類別", "ファイル", "画像", "ラベル", "クラス"),
    *("파일", "이미지", "라벨", "레이블", "클래스", "файл", "изображени", "метка", "класс"),
)
"""What headings have in other letters than A to Z: they tell the encoding of a file."""

_PARTS = ("split", "set", "subset", "dataset", "partition", "part", "usage", "phase")
"""Headings of what says whether an image is for training or for the test."""

_NO, _YES = frozenset(("0", "0.0", "false")), frozenset(("1", "1.0", "true"))
"""Cells of one-hot columns, in small letters."""


@dataclass(frozen=True)
class Labels:
    """Where a table has the labels.

    Attributes:
        columns: The column of the labels; or several, each of a class, with a 1 in the rows of that class.
    """

    columns: tuple[int, ...]

    @property
    def is_one_hot(self) -> bool:
        """Whether each column is a class."""
        return len(self.columns) > 1

    def of(self, table: Table, row: Row) -> str:
        """Return the label of a row; empty where it has none.

        Raises:
            CnnzooError: It is of several classes, or a one-hot cell is neither 0 nor 1.
        """
        cells = [row.cells[column] if column < len(row.cells) else "" for column in self.columns]
        if not self.is_one_hot:
            return cells[0]
        classes = []
        for column, cell in zip(self.columns, cells, strict=True):
            if cell.lower() in _YES:
                classes.append(table.header[column])
            elif cell.lower() not in {"", *_NO}:
                raise CnnzooError(
                    f"{table.place(row, column)}: {cell[:40]!r} is neither 0 nor 1. Correct it."
                )
        if len(classes) > 1:
            raise CnnzooError(
                f"{table.place(row)}: it has a 1 for {named(classes)}, and an image is of one class here. "
                "Keep one of them, or take the row out."
            )
        return "".join(classes)

    def source(self, table: Table) -> str:
        """Return what has the labels, for an error."""
        names = [repr(table.header[column]) for column in self.columns]
        return f"the column{'s' * self.is_one_hot} {named(names)} of {table.path}"

    def describe(self, table: Table) -> str:
        """Return the words that say which columns have the labels."""
        names = [table.header[column] for column in self.columns]
        return f"{named(names, 8)} for one-hot labels" if self.is_one_hot else f"{names[0]!r} for the labels"


def column_called(table: Table, name: str) -> int:
    """Return a column by its heading.

    Raises:
        UsageError: There is none; the message names the nearest.
    """
    header = [*map(composed, table.header)]
    if composed(name) not in header:
        hint = did_you_mean(name, header)
        raise UsageError(f"{table.path} has no column {name!r}. {hint}It has {named(header, 8)}.")
    return header.index(composed(name))


def find_labels(table: Table, taken: Collection[int], images: str) -> Labels:
    """Find the labels: by a heading, as one-hot columns, or as the only column with a few values again and again.

    Args:
        table: The table.
        taken: Columns of the images and of the parts.
        images: What to name as the images in ``--csv-columns``, for the error.

    Raises:
        CnnzooError: It is not clear.
    """
    others = [column for column in range(len(table.header)) if column not in taken]
    plain = {_plain(table.header[column]): column for column in reversed(others)}
    for name in _LABELS:
        if name in plain:
            return Labels((plain[name],))
    repeated = [
        column for column in others if 2 <= len(_values(table, column)) <= max(2, len(table.rows) // 2)
    ]
    one_hot = _one_hot(table, others)
    if one_hot and (len(one_hot) > 2 or set(repeated) <= set(one_hot)):
        return Labels(one_hot)
    for candidates in (others, repeated):
        if len(candidates) == 1:
            return Labels((candidates[0],))
    raise CnnzooError(
        f"it is not clear which column of {table.path} has the labels: {named(table.header, 8)}. "
        f"Say which: --csv-columns {images},LABEL (or one-hot: {images},CLASS,CLASS,...)"
    )


def find_parts(table: Table, taken: Collection[int] = ()) -> int | None:
    """Return the column that says in which part an image is, if there is one."""
    for column, heading in enumerate(table.header):
        values = _values(table, column)
        if column not in taken and _plain(heading) in _PARTS and values and all(map(part_of, values)):
            return column
    return None


def part_in(row: Row, column: int | None) -> Part | None:
    """Return the part that a row is in; None where no column says it."""
    return part_of(row.cells[column]) if column is not None and column < len(row.cells) else None


def describe_unused(table: Table, used: Collection[int]) -> list[str]:
    """Return a sentence that names the columns that are not used, if there are any."""
    names = [name or "one without a heading" for at, name in enumerate(table.header) if at not in used]
    return [f"Columns of {table.path} that are not used: {named(names, 8)}."] if names else []


def _one_hot(table: Table, columns: Sequence[int]) -> tuple[int, ...]:
    """Return the columns of 0 and 1, where every row has a single 1 in them."""
    found = tuple(
        column
        for column in columns
        if (cells := {cell.lower() for cell in _values(table, column)}) and cells <= _NO | _YES
    )
    rows = (sum(row.cells[at].lower() in _YES for at in found if at < len(row.cells)) for row in table.rows)
    return found if len(found) > 1 and all(num == 1 for num in rows) else ()


def _values(table: Table, column: int) -> set[str]:
    return {row.cells[column] for row in table.rows if column < len(row.cells)}


def _plain(heading: str) -> str:
    return "".join(letter for letter in heading.lower() if letter.isalnum())
