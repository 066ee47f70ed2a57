"""From the rows of a table to those of a log: which training and epoch each is of, and what it measured."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from cnnzoo.plain_csv import Row, Table
from cnnzoo.runs.histories.columns import Columns
from cnnzoo.runs.histories.epochs import LoggedRow, whole_epochs
from cnnzoo.runs.histories.headings import shown_column, split_of
from cnnzoo.runs.histories.measures import Measured, not_a_number
from cnnzoo.runs.histories.numbers import to_number

_LAST_EPOCH = 10**9
_EPOCH_IN_WORDS = re.compile(
    r"[^\d]*(\d{1,10})\s*(?:(?:/|of|out of|von|de|sur|di)\s*\d+)?[^\d]*", re.IGNORECASE
)


class _Measuring(NamedTuple):
    """A row that holds measures, by name, and whether the file's header was written once more just before it."""

    row: Row
    values: dict[str, float]
    resumed: bool


def logged_rows(
    table: Table, columns: Columns, measured: Measured
) -> tuple[dict[str, list[LoggedRow]], bool]:
    """Return the rows that hold a measure, by the training that each is of, and whether all epochs are whole numbers.

    Lightning gives learning rates and tests rows of their own, which hold none.

    Raises:
        CnnzooError: A cell is not the number of an epoch.
    """
    found = list(_measuring(table, columns, measured))
    names = [_curve(table, columns, one.row) for one in found]
    if columns.epoch is None:
        epochs: Sequence[float] = _counted(names, found)
    else:
        epochs = [_epoch(table, one.row, columns.epoch, measured.mark) for one in found]
    is_whole = all(epoch == int(epoch) for epoch in epochs)
    steps = _steps(table, columns, measured, found) if is_whole else [1000 * epoch for epoch in epochs]
    curves: dict[str, list[LoggedRow]] = {}
    for name, one, epoch, step in zip(names, found, epochs, steps, strict=True):
        row = LoggedRow(one.row.line, one.row.cells, int(epoch), step, one.values, one.resumed)
        curves.setdefault(name, []).append(row)
    if not is_whole:
        curves = {name: whole_epochs(rows) for name, rows in curves.items()}
    return curves, is_whole


def _measuring(table: Table, columns: Columns, measured: Measured) -> Iterator[_Measuring]:
    """Yield the rows that hold a measure of the training or the validation, under its full name."""
    phases = [] if columns.phase is None else [split_of(row.cells[columns.phase]) for row in table.rows]
    tests_aside = {"val", "test"} <= set(phases)
    if tests_aside:
        measured.left.append("rows of the test")
    elif "test" in phases:
        measured.notes.append("rows of the test are drawn as validation")
    resumed = False
    for index, row in enumerate(table.rows):
        if row.cells == table.header:  # timm writes its header once more when it resumes
            resumed = True
            continue
        values = {name: column[index] for name, column in measured.values.items() if index in column}
        if not values or (phases and phases[index] == "test" and tests_aside):
            continue
        if phases:
            split = "train" if phases[index] == "train" else "val"
            values = {name if "_" in name else f"{split}_{name}": value for name, value in values.items()}
        yield _Measuring(row, values, resumed)
        resumed = False


def _curve(table: Table, columns: Columns, row: Row) -> str:
    """Return which training a row is of: ``fold 0, seed 3``; empty if there is one alone."""
    named = ((shown_column(table.header[place]), shown_column(row.cells[place])) for place in columns.curves)
    return ", ".join(
        value if heading.casefold() in value.casefold() else f"{heading} {value}" for heading, value in named
    )


def _counted(names: Sequence[str], rows: Sequence[_Measuring]) -> list[int]:
    """Return epochs where the file tells none: the next one begins where something is measured again."""
    epochs: list[int] = []
    counted: dict[str, int] = {}
    seen: dict[str, set[str]] = {}
    for name, row in zip(names, rows, strict=True):
        if seen.setdefault(name, set()) & row.values.keys() or name not in counted:
            counted[name] = counted.get(name, 0) + 1
            seen[name] = set()
        seen[name] |= row.values.keys()
        epochs.append(counted[name])
    return epochs


def _steps(table: Table, columns: Columns, measured: Measured, rows: Sequence[_Measuring]) -> list[float]:
    steps: list[float] = []
    for row in rows:
        step = steps[-1] if steps else 0  # where a row says none, it is that of the row before
        if columns.step is not None:
            with suppress(ValueError, OverflowError):
                step = int(to_number(table.cell(row.row, columns.step), measured.mark)[0])
        steps.append(step)
    return steps


def _epoch(table: Table, row: Row, column: int, mark: str) -> float:
    """Return the number of a row's epoch, written as ``3``, ``3.5``, ``3/10`` or ``Epoch 3``."""
    cell = table.cell(row, column)
    try:
        number = to_number(cell, mark)[0]
    except ValueError:
        if not (words := _EPOCH_IN_WORDS.fullmatch(cell)):
            raise not_a_number(table, row, column) from None
        number = float(words[1])
    if not 0 <= number <= _LAST_EPOCH:
        raise not_a_number(table, row, column, "number of an epoch")
    return number
