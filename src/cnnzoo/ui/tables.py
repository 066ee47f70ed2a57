"""The tables of networks: as full as the screen is wide, and readable down to 40 columns.

Each table is laid out in several ways, from the fullest to the narrowest, and the first that fits is printed.
Where stdout cannot write ×, · and −, it gets x, * and -.
"""

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


def format_short_count(number: int | None) -> str:
    """Return a count in three digits: ``448 M``."""
    if not number:
        return NONE
    for unit, name in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {name}" if number < 1000 * unit else f"{number / unit:,.0f} {name}"
    return str(number)
