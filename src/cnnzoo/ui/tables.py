"""Cells that several tables have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnnzoo.analysis.summary.receptive_field import Sizes

NONE = "–"
"""The cell of a table where there is nothing to show."""


def format_sizes(sizes: Sizes | None) -> str:
    """Return sizes as ``3×32×32``."""
    return "×".join(map(str, sizes)) if sizes else NONE


def format_side(sizes: Sizes | str | None) -> str:
    """Return one number for what is as high as wide, else ``3×5``."""
    if isinstance(sizes, str):
        return sizes
    return str(sizes[0]) if sizes and len(set(sizes)) == 1 else format_sizes(sizes)


def format_count(number: int | None, none: str = NONE) -> str:
    """Return a count in full: ``448,000,000``; ``none`` for 0 and None."""
    return f"{number:,}" if number else none
