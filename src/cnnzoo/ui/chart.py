"""A curve drawn with letters, for a terminal."""

from collections.abc import Sequence
from statistics import mean

from rich.console import Console

WIDEST = 60
"""Columns of a curve at most."""

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_ASCII = " .:#"


def chart(console: Console, values: Sequence[float], width: int, height: int) -> list[str]:
    """Return a curve as lines of letters, the highest first: a column for each few values, filled from below.

    Args:
        console: What it is for: it may have no letters but ASCII's.
        values: Finite, at least one, at even distances.
        width: Columns.
        height: Lines.
    """
    signs = _ASCII if console.options.ascii_only else _EIGHTHS
    parts, num = len(signs) - 1, len(values)
    columns = [
        mean(values[num * column // width : max(num * (column + 1) // width, num * column // width + 1)])
        for column in range(width)
    ]
    low, high = min(columns), max(columns)
    # The lowest is to be seen, too.
    filled = [
        1 + round((value - low) / ((high - low) or 1) * (height * parts - 1))
        if high > low
        else height * parts
        for value in columns
    ]
    return [
        "".join(signs[min(max(level - parts * line, 0), parts)] for level in filled).rstrip()
        for line in reversed(range(height))
    ]


def axis_line(width: int, left: str, right: str) -> str:
    """Return the line below a curve: a label at each end."""
    return f"{left}{right:>{max(width - len(left), len(right) + 1)}}"
