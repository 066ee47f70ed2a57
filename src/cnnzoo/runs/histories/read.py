"""Histories as files have them: read cnnzoo's own and those of other tools, by their columns."""

import re
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from cnnzoo.config_file import read_yaml
from cnnzoo.errors import CnnzooError, one_line
from cnnzoo.plain_csv import Row, Table, read_table
from cnnzoo.runs.histories.columns import PLAIN, STEP, Columns, find_columns, split_of
from cnnzoo.runs.histories.epochs import LoggedRow, gather_epochs
from cnnzoo.runs.histories.measures import Measured, not_a_number, read_measures
from cnnzoo.runs.histories.numbers import to_number
from cnnzoo.runs.history import MEASURES, History, HistoryRow

_TOOLS = "cnnzoo, the tutorial, Keras, Lightning, fastai, timm, Ultralytics"
_LAST_EPOCH = 10**9
_EPOCH_IN_WORDS = re.compile(
    r"[^\d]*(\d{1,10})\s*(?:(?:/|of|out of|von|de|sur|di)\s*\d+)?[^\d]*", re.IGNORECASE
)


class NoHistoryError(CnnzooError):
    """There is no history, yet or at all, where one may be: a run that ended before its first epoch did."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}. {advice}")
        self.what = what


def read_history(path: Path) -> History:
    """Read a history from a CSV file, or from the run folder that holds it.

    The headings decide how: cnnzoo's own, those of the tutorial, Keras, Lightning, fastai, timm and
    Ultralytics, and what people write, such as ``Train Loss`` or ``val-acc``. What had to be assumed is in
    the history's ``notes``. Several rows of one epoch become one, epochs that begin again are counted on,
    epochs that count from 0 count from 1, percent become fractions.

    Raises:
        NoHistoryError: The folder holds none, or the file has no epoch yet.
        CnnzooError: There is no such file, or it is not a history file.
    """
    try:
        if path.is_dir():
            path = path / "history.csv"
            if not path.is_file():
                raise NoHistoryError(
                    f"{path.parent} holds no history.csv", "Name a folder that `cnnzoo train` made."
                )
    except OSError as error:
        raise CnnzooError(f"cannot read {path}: {one_line(error)}. Check the path.") from error
    table = read_table(path, "the CSV file of a history")
    columns = find_columns(table)
    if not columns.measures:
        shown = ", ".join(repr(name[:40]) for name in table.header[:8])
        raise CnnzooError(
            f"{path} is not a history file: it has the columns {shown}{', …' if len(table.header) > 8 else ''}. "
            f"Understood are the columns of {_TOOLS}; the simplest are epoch, train_loss, train_acc, "
            "val_loss, val_acc."
        )
    measured = read_measures(table, columns)
    rows = _logged_rows(table, columns, measured)
    if not rows:
        raise NoHistoryError(f"{path} holds no epoch yet", "Plot it once the first epoch is over.")
    epochs, assumed = gather_epochs(rows, stepped=columns.step is not None, averaged=_averaged(columns))

    import pandas as pd

    frame = pd.DataFrame.from_dict(epochs, orient="index", dtype=float)
    frame = frame[[field.name for field in fields(HistoryRow) if field.name in frame]]
    frame.insert(0, "epoch", frame.index + (1 if frame.index[0] == 0 else 0))
    left = ", ".join([*columns.left, *measured.left])
    notes = (
        *table.notes,
        *columns.notes,
        *measured.notes,
        *assumed,
        *([f"not drawn: {left}"] if left else ()),
    )
    return History(path, frame.reset_index(drop=True), **_settings_beside(path), notes=notes)


def _averaged(columns: Columns) -> set[str]:
    """Return the measures of which an epoch may have a value a step: those of training, if nothing else is said."""
    split = {
        name if "_" in name else f"{phase}_{name}": column.span
        for name, column in columns.measures.items()
        for phase in ("train", "val")
    }
    return {
        name for name, span in split.items() if span == STEP or (span == PLAIN and name.startswith("train"))
    }


def _logged_rows(table: Table, columns: Columns, measured: Measured) -> list[LoggedRow]:
    """Return the rows that hold a measure; Lightning gives learning rates and tests rows of their own."""
    rows: list[LoggedRow] = []
    step, resumed = 0, False
    phases = [] if columns.phase is None else [split_of(row.cells[columns.phase]) for row in table.rows]
    tests_aside = {"val", "test"} <= set(phases)
    if tests_aside:
        measured.left.append("rows of the test")
    for index, row in enumerate(table.rows):
        if row.cells == table.header:  # timm writes its header once more when it resumes
            resumed = True
            continue
        values = {name: column[index] for name, column in measured.values.items() if index in column}
        if not values:
            continue
        if phases:
            if phases[index] == "test" and tests_aside:
                continue
            split = "train" if phases[index] == "train" else "val"
            values = {name if "_" in name else f"{split}_{name}": value for name, value in values.items()}
        if columns.step is not None:
            with suppress(ValueError, OverflowError):  # where it says none, it is that of the row before
                step = int(to_number(table.cell(row, columns.step), measured.mark)[0])
        epoch = len(rows) + 1 if columns.epoch is None else _epoch(table, row, columns.epoch, measured.mark)
        rows.append(LoggedRow(row.line, epoch, step, values, resumed))
        resumed = False
    return rows


def _epoch(table: Table, row: Row, column: int, mark: str) -> int:
    """Return the number of a row's epoch, written as ``3``, ``3.0``, ``3/10`` or ``Epoch 3``."""
    cell = table.cell(row, column)
    try:
        number = to_number(cell, mark)[0]
    except ValueError:
        if not (words := _EPOCH_IN_WORDS.fullmatch(cell)):
            raise not_a_number(table, row, column) from None
        number = float(words[1])
    if not (0 <= number <= _LAST_EPOCH and number == int(number)):
        raise not_a_number(table, row, column, "whole number")
    return int(number)


def _settings_beside(path: Path) -> dict[str, str]:
    """Return model, dataset and monitor from the run's config.yaml; a picture can do without them."""
    try:
        values = read_yaml(path.with_name("config.yaml"))
    except CnnzooError:
        return {}
    settings = {name: values.get(name) for name in ("model", "dataset", "monitor")}
    return {
        name: value
        for name, value in settings.items()
        if isinstance(value, str) and (name != "monitor" or value in MEASURES)
    }
