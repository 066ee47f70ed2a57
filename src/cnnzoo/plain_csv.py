"""CSV files as spreadsheets, loggers and people write them: bytes to cells, and what was assumed on the way."""

import codecs
import csv
import io
import re
import string
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cnnzoo.errors import CnnzooError, one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_BYTES = 1 << 30
_HEAD = 1 << 16
_CHUNK = 1 << 20  # what is asked for is allocated, however little a file has
_SAMPLE = 100  # lines within which the headings are looked for
_FIGURE = re.compile(r"[-+\d.,e%\s]+", re.IGNORECASE).fullmatch

_FULL_OF_CELLS = re.compile(r'"[^";,\t]*[;,\t][^"]*"').fullmatch

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)

# What Excel writes where it does not write Unicode, by the language of the machine.
_OLDER = {
    "gb18030": "GB18030",
    "cp932": "Shift-JIS",
    "cp950": "Big5",
    "cp949": "CP949",
    "cp1251": "Windows-1251",
    "cp1252": "Windows-1252",
}

# What a line above the headings begins with that only explains.
_COMMENT = re.compile(r"""[\s"']*(#|%|//)""").match

_HALF = "\ufffd"
"""What stands for a letter of which only the first bytes are there."""

# Of as many of two kinds in a heading, the first: a comma is what stands within headings and numbers, too.
_DELIMITERS = ";\t|,"

# Around a cell, none of these says anything: no-break spaces, marks of byte and writing order, DOS's end of file.
_BLANKS = string.whitespace + "\xa0\u2007\u202f\u2009\u3000\ufeff\u200b\u200e\u200f\x1a"


class Row(NamedTuple):
    """One row: the line of the file that it ends on, and its cells without the blanks around them."""

    line: int
    cells: list[str]


@dataclass(frozen=True)
class Table:
    """What a CSV file holds.

    Attributes:
        path: The file.
        header: The headings, without the blanks around them and the empty ones at the end.
        rows: What stands below, without empty rows, a cell for each heading. Only the last row may have
            less, if no other has: that may be one that was cut off.
        delimiter: What stands between two cells.
        is_guessed: Whether nothing in the file says its encoding, so that letters may be others.
        is_cut_off: Whether the last row was cut off while it was written: it has less cells than all others, a quote
            or a letter without its end, or no line end and a last number shorter than all others by two digits.
        notes: What had to be assumed, a phrase each.
    """

    path: Path
    header: list[str]
    rows: list[Row]
    delimiter: str
    is_guessed: bool = False
    is_cut_off: bool = False
    notes: tuple[str, ...] = ()

    def place(self, row: Row, column: int | None = None) -> str:
        """Say where a row or a cell is, for an error: ``a.csv, line 3, column 'loss'``."""
        of = "" if column is None else f", column {self.header[column][:40]!r}"
        return f"{self.path}, line {row.line}{of}"

    def cell(self, row: Row, column: int) -> str:
        """Return a row's cell.

        Raises:
            CnnzooError: The row ends before it.
        """
        if column >= len(row.cells):
            raise _ragged(self, row)
        return row.cells[column]


def read_table(
    path: Path, wanted: str = "a CSV file", words: Collection[str] = (), *, max_rows: int | None = None
) -> Table:
    """Read a CSV file, whatever its encoding, delimiter and line ends.

    Text is UTF-8, UTF-16 or UTF-32, or else one of what Excel writes: GB18030, Shift-JIS, Big5, CP949, Windows-1251
    and Windows-1252, told apart by the words that its first lines have. The delimiter is what a first line such as
    ``sep=;`` says, or what the headings have most of. The first row is the header; comments and titles above it
    are passed over.

    Args:
        path: The file.
        wanted: What it should be, for the errors, such as ``the CSV file of a history``.
        words: What its headings may have in other letters than A to Z, by which an older encoding is told.
        max_rows: Rows below the header that are read at most; None for all.

    Raises:
        CnnzooError: The file cannot be read, has more than a GiB, is not text, or is empty; or one of its
            rows has more cells than the header.
    """
    text, encoding_notes = _text_of(path, wanted, words)
    notes = [*encoding_notes]
    above, titles, delimiter = _layout(text)
    if titles:
        notes.append(f"what stands above the headings in line {above + 1} is passed over")
    try:
        rows = list(islice(_rows(text, above, delimiter), None if max_rows is None else max_rows + 1))
    except csv.Error as error:
        raise CnnzooError(f"{path} is not a CSV file: {one_line(error)}. Name {wanted}.") from error
    if not rows:
        raise CnnzooError(f"{path} is empty. Name {wanted}.")
    table = Table(path, rows[0].cells, rows[1:], delimiter, is_guessed=bool(encoding_notes))
    if long := next((row for row in table.rows if len(row.cells) > len(table.header)), None):
        raise _ragged(table, long)
    short = [row for row in table.rows if len(row.cells) < len(table.header)]
    if len(short) > 1 or (short and short[0] is not rows[-1]):
        # Excel leaves out empty cells at the ends of rows; a single row at the file's end may be one cut off.
        notes.append(f"rows with fewer fields than headings, such as line {short[0].line}, end in empty ones")
        for row in short:
            row.cells.extend([""] * (len(table.header) - len(row.cells)))
    is_cut_off = max_rows is None and bool(rows[1:]) and _is_cut_off(table, text)
    return replace(table, is_cut_off=is_cut_off, notes=tuple(notes))


def _is_cut_off(table: Table, text: str) -> bool:
    *rows, last = table.rows
    if len(last.cells) < len(table.header) or text.count('"') % 2 or text.endswith(_HALF):
        return True
    others = [row.cells[-1] for row in rows if row.cells != table.header]
    are_numbers = bool(others) and all(_FIGURE(cell) for cell in others)
    is_ended = text.rstrip(" \t\x1a").endswith(("\n", "\r"))
    return not is_ended and are_numbers and len(last.cells[-1]) + 2 <= min(map(len, others))


def read_numbers(
    table: Table, columns: Sequence[int], words: Collection[str] = (), *, has_headings: bool = True
) -> "tuple[NDArray[np.float32], list[Row]]":
    """Read the whole of a table of which only the head was read, in a few of its columns' own memory.

    As texts, the pixels of 60,000 images would take gigabytes.

    Args:
        table: Its head, as ``read_table`` gives it.
        columns: Those of numbers.
        words: As it was read with.
        has_headings: Whether the file's first row is that of the headings.

    Returns:
        The numbers, float32 ``(N, len(columns))``; and the rows' cells, those of numbers left empty.

    Raises:
        CnnzooError: A cell of those columns is no number, or a row has too few cells or too many.
    """
    import pandas as pd

    text, _ = _text_of(table.path, "a CSV file", words)
    above, _, delimiter = _layout(text)
    above += has_headings
    width, numeric = len(table.header), set(columns)
    types = {column: "float32" if column in numeric else str for column in range(width)}
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            sep=delimiter,
            header=None,
            names=range(width),
            index_col=False,
            skiprows=above,
            dtype=types,
            keep_default_na=False,
            skipinitialspace=True,
        )
    except (ValueError, OverflowError) as error:
        raise _no_number(table, text, above, numeric) or CnnzooError(
            f"{table.path} is no table of numbers ({one_line(error)}). Correct it."
        ) from error
    texts = [column for column in range(width) if column not in numeric]
    cells = [frame[column].tolist() for column in texts]
    rows = []
    for number, given in enumerate(zip(*cells, strict=True) if cells else [()] * len(frame)):
        row = [""] * width
        for column, cell in zip(texts, given, strict=True):
            row[column] = str(cell).strip(_BLANKS)
        rows.append(Row(above + 1 + number, row))
    return frame[list(columns)].to_numpy("float32"), rows


def _no_number(table: Table, text: str, above: int, numeric: Collection[int]) -> CnnzooError | None:
    """Return the error for the first cell that is no number, or row that is too long or too short."""
    for row in _rows(text, above, table.delimiter):
        if len(row.cells) != len(table.header):
            return _ragged(table, row)
        for column in numeric:
            try:
                float(row.cells[column])
            except ValueError:
                return CnnzooError(
                    f"{table.place(row, column)}: {row.cells[column][:40]!r} is no number. Correct it."
                )
    return None


def _text_of(path: Path, wanted: str, words: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """Return a file's text, and what was assumed of its encoding."""
    try:
        content = _read(path)
    except OSError as error:
        raise CnnzooError(f"cannot read {path}: {one_line(error)}. Check the path.") from error
    if (decoded := _decode(content, words)) is None:
        raise CnnzooError(f"{path} is not a text file. Name {wanted}.")
    return _unwrap(decoded[0]), decoded[1]


def _rows(text: str, above: int, delimiter: str) -> Iterator[Row]:
    """Yield the rows that have text, but for those ``above`` lines; the first is the header."""
    lines = io.StringIO(text, newline="")  # which ends lines at \n, \r\n and old Mac's \r
    for _ in range(above):
        lines.readline()
    reader = csv.reader(lines, delimiter=delimiter)
    width = 0
    for raw in reader:
        cells = [cell.strip(_BLANKS) for cell in raw]
        while len(cells) > width and not cells[-1]:
            cells.pop()
        if any(cells):
            width = width or len(cells)
            yield Row(above + reader.line_num, cells)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if _encoding(head) is None:  # before the rest is read: /dev/zero has no end
            return head
        content = bytearray(head)
        while len(content) <= _MAX_BYTES and (more := file.read(_CHUNK)):
            content += more
    if len(content) > _MAX_BYTES:
        raise CnnzooError(f"{path} has more than {_MAX_BYTES >> 30} GiB. Split it.")
    return bytes(content)


def _decode(content: bytes, words: Collection[str]) -> tuple[str, tuple[str, ...]] | None:
    """Return the text, and what was assumed of its encoding; None if it is no text."""
    encoding = _encoding(content[:_HEAD])
    notes: tuple[str, ...] = ()
    if encoding == "utf-8" and _text(content, "utf-8") is None:
        encoding = _older_encoding(content, words)
        notes = (f"it is not UTF-8, and read as {_OLDER[encoding]}",)
    elif encoding in ("utf-16-le", "utf-16-be"):
        notes = ("it has no byte order mark, and is read as UTF-16",)
    if encoding is None or (text := _text(content, encoding)) is None or "\0" in text:
        return None
    return text.lstrip("\ufeff"), notes


def _encoding(head: bytes) -> str | None:
    """Return how a file that begins so is encoded, UTF-8 if nothing speaks against it; None if it is no text."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    even, odd = head[::2].count(0), head[1::2].count(0)
    if not even and not odd:
        return "utf-8"
    # Without a mark, UTF-16 is told by digits and commas: one of their two bytes is 0.
    if max(even, odd) * 4 >= len(head) and not (even and odd):
        return "utf-16-be" if even else "utf-16-le"
    return None


def _text(content: bytes, encoding: str) -> str | None:
    """Return a file's text, None if it is not in that encoding; in place of a last letter that was cut off a mark."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        text = decoder.decode(content)
    except UnicodeDecodeError:
        return None
    if not decoder.getstate()[0]:
        return text
    return f"{text}{_HALF}" if "\n" in text else None


def _older_encoding(content: bytes, words: Collection[str]) -> str:
    """Return what text that is not UTF-8 is in: the encoding in which its first lines have the most of the words.

    Without any of them it is Chinese or of Western Europe: a Chinese word has several signs of two bytes from 0xA1
    on each; a Western one has single letters with an accent. The machine's language is not asked: a file says the
    same on every machine.
    """
    head = content[:_HEAD].rpartition(b"\n")[0] or content[:_HEAD]
    found = {
        encoding: sum(len(word) for word in words if word in text)
        for encoding in _OLDER
        if (text := head.decode(encoding, errors="replace").lower()) and _text(content, encoding) is not None
    }
    likeliest = max(found, key=lambda encoding: found[encoding], default="")
    if likeliest and found[likeliest]:
        return likeliest
    runs = [len(run) for run in re.findall(rb"[\xa1-\xfe]+", content)]
    chinese = any(length >= 4 for length in runs) and all(length % 2 == 0 for length in runs)
    return "gb18030" if chinese and _text(content, "gb18030") is not None else "cp1252"


def _unwrap(text: str) -> str:
    """Take the quotes off lines that are one cell each: what a spreadsheet makes of a file it did not split."""
    lines = re.findall(r"[^\r\n]+", text[:_HEAD])[:2]
    if not all(_FULL_OF_CELLS(line.replace('""', "")) for line in lines):
        return text
    return re.sub(r'(?<![^\r\n])"|"(?![^\r\n])', "", text.replace('""', "\0")).replace("\0", '"')


def _layout(text: str) -> tuple[int, int, str]:
    """Return how many lines and how many titles stand above the header, and the delimiter."""
    sample = io.StringIO(text, newline="")
    lines = [(number, line) for number in range(_SAMPLE) if (line := sample.readline()).strip(_BLANKS)]
    if not lines:
        return 0, 0, ","
    above, line = lines[0]
    if named := re.fullmatch(r'"?sep=([^\w"])"?[;,\t]*', line.strip("\r\n"), re.IGNORECASE):
        return above + 1, 0, named[1]
    if (clear := _clear_header([text for _, text in lines])) is not None:
        return lines[clear][0], clear, _fields(lines[clear][1])[1]
    for titles, (number, headings) in enumerate(lines):
        fields, delimiter = _fields(headings)
        if len(fields) > 1 and not _has_figure(fields):
            return number, titles, delimiter
        if not line.split(delimiter)[0].strip(_BLANKS):
            break  # the column that pandas gives no name: what stands beside it is a heading, not a title
    return above, 0, _fields(line)[1]


def _clear_header(lines: Sequence[str]) -> int | None:
    """Return which line is the header for sure: cells without a figure, a row with one below, and only titles above.

    A title has less cells, or is marked as a comment. The header itself may be, too, as NumPy writes it.
    """
    fields = [_fields(line)[0] for line in lines]
    for place, (headings, row) in enumerate(pairwise(fields)):
        if len(headings) > 1 and not _has_figure(headings) and _has_figure(row):
            titles = zip(lines[:place], fields[:place], strict=True)
            # A line with half of a quoted heading is no title.
            are_titles = all(
                line.count('"') % 2 == 0 and (_COMMENT(line) or len(cells) < len(headings))
                for line, cells in titles
            )
            return place if are_titles else None
    return None


def _has_figure(fields: Sequence[str]) -> bool:
    return any(re.search(r"\d", field) and _FIGURE(field) for field in fields)


def _fields(line: str) -> tuple[list[str], str]:
    """Return the cells of a line that are not empty, and what is between them, by what it has most of."""
    bare = re.sub(r'"[^"]*"', '""', line)
    delimiter = max(_DELIMITERS, key=bare.count)
    return [field for field in bare.split(delimiter) if field.strip(_BLANKS)], delimiter


def _ragged(table: Table, row: Row) -> CnnzooError:
    fields = f"it has {len(row.cells)} of the header's {len(table.header)} fields"
    return CnnzooError(f"{table.place(row)}: {fields}. Fix that line.")
