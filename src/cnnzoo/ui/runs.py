"""What a person sees of the runs in a folder, and of the difference between two."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from cnnzoo.runs.overview import KEYS, ListedRun
from cnnzoo.ui.page import Layout, Page
from cnnzoo.ui.tables import NONE

if TYPE_CHECKING:
    from cnnzoo.runs.overview import RunDifference

_HEADINGS = ("Run", "Model", "Data", "Epochs", "Best", "Test", "Date", "Size")


def print_runs(runs: Sequence[ListedRun]) -> None:
    """Print the runs as a table, and below it what is wrong with some."""
    page = Page()
    page.table(*_layouts(runs))
    if faulty := [run for run in runs if run.fault]:
        page.line()
        for run in faulty:
            page.line(f"{run.name}: {run.fault}")


def _layouts(runs: Sequence[ListedRun]) -> tuple[Layout, Layout]:
    rows = [_cells(run) for run in runs]
    stacked = [
        (
            f"{name}\n{'' if _is_named(run) else f' {model} on {data}{chr(10)}'} best {best}, test {test}\n"
            f" epochs {epochs}, {size}\n {date}",
        )
        for run, (name, model, data, epochs, best, test, date, size) in zip(runs, rows, strict=True)
    ]
    headings = ["~Run", "~Model", "~Data", ">Epochs", ">Best", ">Test", ">~Date", ">~Size"]
    if all(map(_is_named, runs)):
        del headings[1:3]
        rows = [(row[0], *row[3:]) for row in rows]
    return (headings, rows), (["~Run"], stacked)


def _is_named(run: ListedRun) -> bool:
    """Whether a run's name says its net and its data, as that of most does."""
    return f"{run.model}-{run.dataset}" in run.name


def _cells(run: ListedRun) -> tuple[str, ...]:
    asked = run.settings.get("epochs")
    epochs = (
        NONE if run.epochs is None else f"{run.epochs}/{asked}" if isinstance(asked, int) else f"{run.epochs}"
    )
    return (
        run.name,
        run.model or NONE,
        run.dataset or NONE,
        epochs,
        _percent(run.val_acc),
        _percent(run.test_acc),
        _local(run.date),
        decimal(run.bytes),
    )


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{share:.2%}"


def _local(date: str | None) -> str:
    """Return a moment as clocks here showed it."""
    if date is None:
        return NONE
    try:
        return datetime.fromisoformat(date).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # what is no date is shown as it is
        return date[:16]


def runs_as_csv(runs: Sequence[ListedRun]) -> str:
    """Return the runs as CSV, a column for each key, empty where there is nothing."""
    text = io.StringIO()
    writer = csv.DictWriter(text, KEYS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(run.to_dict() for run in runs)
    return text.getvalue()


def runs_as_markdown(runs: Sequence[ListedRun]) -> str:
    """Return the runs as a table of Markdown, with what the table on the screen says; faults beside the names."""
    rows = [(f"{run.name} ({run.fault})" if run.fault else run.name, *_cells(run)[1:]) for run in runs]
    lines = [_HEADINGS, ("---",) * 3 + ("---:",) * 5, *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def print_difference(difference: RunDifference) -> None:
    """Print what differs between two runs: a table of settings, and one of results."""
    page = Page()
    one, other = difference.names
    for title, values in (("Setting", difference.settings), ("Result", difference.results)):
        if values:
            rows = [(name, *(_shown(name, value) for value in pair)) for name, pair in values.items()]
            page.table(
                ([title, f"~{one}", f"~{other}"], rows),
                (
                    [f"~{title}\n {one}\n {other}"],
                    [(f"{name}\n {first}\n {second}",) for name, first, second in rows],
                ),
            )
        else:
            page.line(f"{title}s: no difference.")
        if title == "Setting":
            page.line()


def _shown(name: str, value: Any) -> str:  # noqa: ANN401
    match value:
        case None:
            text = "none"
        case bool():
            text = "yes" if value else "no"
        case float():
            text = f"{value:.2%}" if name.endswith("_acc") else f"{value:.4g}"
        case Mapping():
            text = ", ".join(f"{key}={each}" for key, each in value.items()) or "none"
        case list():
            text = ",".join(map(str, value)) or "none"
        case _:
            text = str(value)
    return text
