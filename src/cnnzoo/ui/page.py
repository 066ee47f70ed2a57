"""A page of text and tables on stdout: how wide it is, what it can write, and the fullest layout that fits."""

import os
from collections.abc import Sequence

from rich import box
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from cnnzoo.ui.screen import out

UNBOUNDED = 120
"""Columns where nobody says how many there are, such as in a file."""

_ASCII = str.maketrans(
    {
        "✓": "=",
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
"""Headings, those of columns of numbers with a > in front, and rows of cells."""


class Page:
    """Stdout: how wide it is, and what it can write."""

    def __init__(self) -> None:
        self.console = out()
        if not self.console.is_terminal and "COLUMNS" not in os.environ:
            self.console.width = UNBOUNDED

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line, folded between words where it is too long."""
        self._print(self._text(text, style))

    def table(self, *layouts: Layout) -> None:
        """Print the first layout that fits, else the last."""
        self._print(self.fitting(*layouts))

    def fitting(self, *layouts: Layout) -> Table:
        """Return the table of the first layout that fits, else of the last."""
        unbounded = self.console.options.update(width=10**6)
        for layout in layouts:
            table = self._table(*layout)
            if Measurement.get(self.console, unbounded, table).maximum <= self.console.width:
                break
        return table

    def _table(self, headings: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
        for heading in headings:
            number = heading.startswith(">")
            table.add_column(
                self._text(heading.removeprefix(">")),
                justify="right" if number else "left",
                no_wrap=number,
                overflow="fold",
            )
        for row in rows:
            table.add_row(*map(self._text, row))
        return table

    def _text(self, text: str, style: str = "") -> Text:
        if self.console.options.ascii_only:
            text = text.translate(_ASCII).encode("ascii", "replace").decode()
        return Text(text, style, overflow="fold")

    def _print(self, what: Text | Table) -> None:
        self.console.print(what, soft_wrap=False, crop=False)
