"""The table of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnnzoo.registries import TORCHVISION
from cnnzoo.ui.page import Layout, Page
from cnnzoo.ui.tables import format_count, format_sizes

if TYPE_CHECKING:
    from cnnzoo.analysis.summary.models import ModelEntry


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
        narrow = [(f"{model}\n {name}", f"{takes}\n{default}") for model, name, takes, default in options]
        page.table(
            (["Model", "Option", "~Takes", "Default"], options),
            (["Model\n option", "~Takes\ndefault"], narrow),
        )
    if theirs:
        page.line()
        page.line(f"torchvision's, as in {theirs[0]}", "bold")
        page.line(", ".join(name.removeprefix(TORCHVISION) for name in theirs))


def _model_layouts(entries: Sequence[ModelEntry]) -> tuple[Layout, Layout]:
    rows = [
        (
            entry.name,
            f"{entry.paper} {entry.year or ''}".strip(),
            format_sizes(entry.input_size),
            format_count(entry.parameters),
            format_count(entry.mult_adds),
        )
        for entry in entries
    ]
    stacked = [
        (f"{name}\n {paper}", f"{size}\n{parameters}\n{mult_adds}")
        for name, paper, size, parameters, mult_adds in rows
    ]
    return (
        (["Model", "~Paper", ">Input", ">Parameters", ">Mult-adds"], rows),
        (["Model\n paper\n", ">Input\nparameters\nmult-adds"], stacked),
    )


def _default(option: Mapping[str, Any]) -> str:
    if option.get("required"):
        return "required"
    default = option["default"]
    return str(default).lower() if default in (None, True, False) else str(default)
