"""A page of text and tables on stdout: its width, the characters that it can write, and the layout that fits."""

import os
import re
from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from cnnzoo.ui.screen import out

UNBOUNDED = 120
"""Columns where nobody says how many there are, such as in a file."""

_ASCII = str.maketrans(
    {
        "✓": "=",
        "✗": "!",
        "→": "->",
        "±": "+-",
        "×": "x",
        "·": "*",
        "−": "-",
        "–": "-",
        "⌊": "floor(",
        "⌋": ")",
        "⌈": "ceil(",
        "⌉": ")",
    }
)

Layout = tuple[Sequence[str], Sequence[tuple[str, ...]]]
"""Headings and rows of cells.

A heading begins with > above numbers, which stand at the right, with ~ above text that may be folded, and with >~ if
both hold. Text is folded between words, after a slash, and before a letter that follows a dot or a hyphen."""

_MARKS = re.compile(r"^>?~?")
_FOLDS = re.compile(r"(?<=[ /])(?! )|(?<=\.)(?=[A-Za-z_])|(?<=\w\w-)(?=[A-Za-z])")

_MIN_FOLDED = 8
"""Minimum width of a folded column of text, in columns of the terminal."""


def bare_heading(heading: str) -> str:
    """Return a layout's heading without its marks, on one line."""
    return " ".join(_MARKS.sub("", heading).split())


class Page:
    """Stdout: how wide it is, and what it can write."""

    def __init__(self) -> None:
        self.console = out()
        if not self.console.is_terminal and "COLUMNS" not in os.environ:
            self.console.width = UNBOUNDED

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line, folded between words where it is too long."""
        self._print(self._text(text, style))

    def table(self, wide: Layout, narrow: Layout | None = None) -> bool:
        """Print a table in its wide layout if that fits, else in the narrow one.

        The wide one is for 80 columns and more. The narrow one can be read on 40 columns.

        Returns:
            Whether the wide layout fits.
        """
        table = self._table(*wide)
        fits = self.fits(table)
        self._print(table if fits or narrow is None else self._table(*narrow))
        return fits

    def fitting(self, wide: Layout, narrow: Layout) -> Table:
        """Return the table that ``table`` would print."""
        table = self._table(*wide)
        return table if self.fits(table) else self._table(*narrow)

    def fits(self, table: Table) -> bool:
        """Whether a table is no wider than the page."""
        return self._excess(table) <= 0

    def _table(self, headings: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Table:
        """Return a table whose foldable columns are folded as far as the page's width demands and they allow."""
        lines = [
            [self._written(cell) for cell in line]
            for line in ([_MARKS.sub("", heading) for heading in headings], *rows)
        ]
        columns = list(zip(*lines, strict=True))
        widths = [max(map(_width, column)) for column in columns]
        table = _laid_out(headings, lines)
        least = {
            index: max(
                *map(_min_width, columns[index]),
                0 if heading.startswith(">") else min(widths[index], _MIN_FOLDED),
            )
            for index, heading in enumerate(headings)
            if "~" in heading[:2]
        }
        natural = list(widths)
        for _ in range(self._excess(table)):
            if not (foldable := [index for index in least if widths[index] > least[index]]):
                break
            widths[max(foldable, key=widths.__getitem__)] -= 1
        if widths == natural:
            return table
        return _laid_out(
            headings,
            [[_fold(cell, width) for cell, width in zip(line, widths, strict=True)] for line in lines],
        )

    def _excess(self, table: Table) -> int:
        """Return by how many columns a table is wider than the page."""
        unbounded = self.console.options.update(width=10**6)
        return Measurement.get(self.console, unbounded, table).maximum - self.console.width

    def _written(self, text: str) -> str:
        if self.console.options.ascii_only:
            return text.translate(_ASCII).encode("ascii", "replace").decode()
        return text

    def _text(self, text: str, style: str = "") -> Text:
        return Text(self._written(text), style, overflow="fold")

    def _print(self, what: Text | Table) -> None:
        self.console.print(what, soft_wrap=False, crop=False)


def _laid_out(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    """Return a table of ``lines``, the headings' first."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for heading, shown in zip(headings, lines[0], strict=True):
        number = heading.startswith(">")
        table.add_column(Text(shown), justify="right" if number else "left", no_wrap=number, overflow="fold")
    for line in lines[1:]:
        table.add_row(*(Text(cell, overflow="fold") for cell in line))
    return table


def _width(cell: str) -> int:
    return max(map(cell_len, cell.split("\n")))


def _min_width(cell: str) -> int:
    """Return the width of a cell that is folded wherever it may be."""
    return _width(_fold(cell, 0))


def _fold(cell: str, width: int) -> str:
    """Return a cell with its lines folded to ``width`` columns; what follows a fold is indented by one more."""
    folded = []
    for line in cell.split("\n"):
        text = line.lstrip(" ")
        indent = line[: len(line) - len(text)]
        current = indent
        for part in _FOLDS.split(text):
            if current.strip() and cell_len((current + part).rstrip()) > width:
                folded.append(current.rstrip())
                current = f"{indent} "
            current += part
        folded.append(current.rstrip())
    return "\n".join(folded)
