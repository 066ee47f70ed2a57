"""The tables of networks: as full as the screen is wide, and readable down to 40 columns.

Each table is laid out in several ways, from the fullest to the narrowest, and the first that fits is printed.
Where stdout cannot write ×, · and −, it gets x, * and -.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnnzoo.registries import TORCHVISION
from cnnzoo.ui.page import Layout, Page

if TYPE_CHECKING:
    from cnnzoo.analysis.summary.models import ModelEntry
    from cnnzoo.analysis.summary.receptive_field import Sizes

NONE = "–"


def print_models(entries: Sequence[ModelEntry]) -> None:
    """Print the registered models and the options of each, then the names of torchvision's."""
    page = Page()
    theirs = [entry.name for entry in entries if entry.name.startswith(TORCHVISION)]
    entries = [entry for entry in entries if entry.name not in theirs]
    page.table(*_model_layouts(entries))
    options = [
        (entry.name, name, option["takes"], _default(option))
        for entry in entries
        for name, option in entry.options.items()
    ]
    if options:
        page.line()
        page.line("Options, as in -o NAME=VALUE", "bold")
        narrow = [
            (f"{model}\n {name}", f"{takes}\ndefault {default}") for model, name, takes, default in options
        ]
        page.table(
            (["Model", "Option", "Takes", "Default"], options),
            (["Model\n option", "Takes"], narrow),
        )
    if theirs:
        page.line()
        page.line(f"torchvision's, as in {theirs[0]}", "bold")
        page.line(", ".join(name.removeprefix(TORCHVISION) for name in theirs))


def _model_layouts(entries: Sequence[ModelEntry]) -> Iterator[Layout]:
    full = [
        (
            entry.name,
            f"{entry.paper} {entry.year or ''}".strip(),
            _times(entry.input_size),
            _count(entry.parameters),
            _count(entry.mult_adds),
        )
        for entry in entries
    ]
    headings = ["Model", "Paper", ">Input", ">Parameters", ">Mult-adds"]
    yield headings, full
    short = [(*row[:-1], _short(entry.mult_adds)) for row, entry in zip(full, entries, strict=True)]
    yield headings, short
    yield (
        ["Model\n paper", ">Input", ">Parameters\nmult-adds"],
        [(f"{name}\n {paper}", size, f"{count}\n{work}") for name, paper, size, count, work in short],
    )


def _default(option: Mapping[str, Any]) -> str:
    if option.get("required"):
        return "required"
    default = option["default"]
    return str(default).lower() if default in (None, True, False) else str(default)


def _times(sizes: Sizes | None) -> str:
    return "×".join(map(str, sizes)) if sizes else NONE


def _side(sizes: Sizes | str | None) -> str:
    """Return one number for what is as high as wide, else ``3×5``."""
    if isinstance(sizes, str):
        return sizes
    return str(sizes[0]) if sizes and len(set(sizes)) == 1 else _times(sizes)


def _count(number: int | None, none: str = NONE) -> str:
    return f"{number:,}" if number else none


def _short(number: int | None) -> str:
    """Return a count in three digits: ``448 M``."""
    if not number:
        return NONE
    for unit, name in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {name}" if number < 1000 * unit else f"{number / unit:,.0f} {name}"
    return str(number)
