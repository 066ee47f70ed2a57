"""A history's columns as numbers: decimal marks, percent, and what is missing."""

import math
from dataclasses import dataclass, field

from cnnzoo.errors import CnnzooError
from cnnzoo.plain_csv import Row, Table
from cnnzoo.runs.histories.columns import Column, Columns
from cnnzoo.runs.histories.headings import shown_column
from cnnzoo.runs.histories.numbers import MISSING, decimal_mark, is_ambiguous, to_number

_ALWAYS_PERCENT = "eval_top1"  # timm's: 0.87 in its first epoch is 0.87 %, not 87 %

# Keras may write an accuracy of 1.0000001, and one summed up in 16 bits 1.004; in percent, one is soon above this.
_OVERSHOOT = 1.01


@dataclass
class Measured:
    """The measures of a table.

    Attributes:
        values: Of each measure the value by the index of its row, accuracies as fractions; nothing where
            the cell says that there is none.
        mark: What stands before decimals in columns that do not prove another.
        left: Headings of columns that turned out to be no measure of a classifier.
        notes: What was assumed, a phrase each.
    """

    mark: str
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_measures(table: Table, columns: Columns) -> Measured:
    """Read the columns that hold measures.

    Raises:
        CnnzooError: A cell is not a number, or not an accuracy, or a row ends before it.
    """
    cells = {
        name: {
            index: cell
            for index, row in enumerate(table.rows)
            if row.cells != table.header and (cell := table.cell(row, column.index)).lower() not in MISSING
        }
        for name, column in columns.measures.items()
    }
    every = [cell for column in cells.values() for cell in column.values()]
    usual = "," if table.delimiter != "," and any("," in cell for cell in every) else "."
    measured = Measured(decimal_mark(every) or usual)
    in_percent: set[str] = set()
    for name, column in columns.measures.items():
        proven = decimal_mark(cells[name].values())
        measured.values[name] = values = {}
        for index, cell in cells[name].items():
            try:
                values[index], has_sign = to_number(cell, proven or measured.mark)
            except ValueError:
                raise not_a_number(table, table.rows[index], column.index) from None
            if has_sign or "%" in column.name or column.name.lower() == _ALWAYS_PERCENT:
                in_percent.add(name)
        # What most programs write, 1.234, says nothing; of 1,234 it is said how it is read.
        odd = (cell for cell in cells[name].values() if is_ambiguous(cell))
        if proven is None and (
            cell := next((cell for cell in odd if measured.mark not in cell or "," in cell), "")
        ):
            number = to_number(cell, measured.mark)[0]
            measured.notes.append(f"{shown_column(column.name)}: {cell} is read as {number:g}")
    _drop_blank_nans(measured, table, columns)
    for name in [name for name in columns.measures if name.endswith("acc")]:
        _check(name, measured, table, columns.measures[name])
    _make_fractions(measured, in_percent, columns)
    return measured


def not_a_number(table: Table, row: Row, column: int, number: str = "number") -> CnnzooError:
    """Return the error for a cell that should hold a number."""
    cell = table.cell(row, column)
    if table.is_guessed and not cell.isascii():  # what stands in it, nobody knows
        return CnnzooError(f"{table.path} is not a UTF-8 text file. Name the CSV file of a history.")
    return CnnzooError(f"{table.place(row, column)}: {cell[:40]!r} is not a {number}. Fix that line.")


def _drop_blank_nans(measured: Measured, table: Table, columns: Columns) -> None:
    """Drop NaNs that stand for empty cells: there is no empty one, and every row of the epochs' several has one."""
    rows = set().union(*measured.values.values())
    epochs = (
        {table.cell(table.rows[row], columns.epoch) for row in rows} if columns.epoch is not None else rows
    )
    numbers = [{i for i, value in v.items() if not math.isnan(value)} for v in measured.values.values()]
    if (
        len(epochs) < len(rows)
        and any(numbers)
        and all(len(column) == len(rows) for column in measured.values.values())
        and not set.intersection(*numbers)
    ):
        measured.values = {
            name: {i: value for i, value in column.items() if not math.isnan(value)}
            for name, column in measured.values.items()
        }


def _check(name: str, measured: Measured, table: Table, column: Column) -> None:
    """Refuse what is no accuracy; an error of millimetres, say, is only left out."""
    values = measured.values[name]
    wrong = next((index for index, value in values.items() if value < 0 or value > 100 * _OVERSHOOT), None)
    if wrong is None:
        if column.is_error:
            measured.notes.append(f"{shown_column(column.name)} is drawn as accuracy, 1 - error")
    elif column.is_error:
        measured.left.append(shown_column(column.name))
        del measured.values[name]
    else:
        raise CnnzooError(
            f"{table.place(table.rows[wrong], column.index)}: {values[wrong]:g} is not an accuracy. "
            "Write a fraction or a percentage."
        )


def _make_fractions(measured: Measured, in_percent: set[str], columns: Columns) -> None:
    """Make fractions of percentages, accuracies of errors, and 1 of what is slightly above."""
    tops = {
        name: max((value for value in values.values() if not math.isnan(value)), default=0)
        for name, values in measured.values.items()
        if name.endswith("acc")
    }
    accuracies = [name for name in tops if not columns.measures[name].is_error]
    in_percent = in_percent & tops.keys() | {name for name, top in tops.items() if top > _OVERSHOOT}
    # Beside percentages, what stays below 1 is a fraction if it is nearer to them as one: 0.95 beside 93, not 0.5
    # beside 1.25.
    largest = max((tops[name] for name in accuracies if name in in_percent), default=0)
    small = {name for name in accuracies if name not in in_percent and largest}
    in_percent |= {name for name in small if tops[name] > largest / 10}
    for name, top in tops.items():
        shown, whole = shown_column(columns.measures[name].name), 100 if name in in_percent else 1
        shares = {index: min(value / whole, 1.0) for index, value in measured.values[name].items()}
        is_error = columns.measures[name].is_error
        measured.values[name] = {i: 1 - share for i, share in shares.items()} if is_error else shares
        if name in small - in_percent and top:
            measured.notes.append(f"{shown} is in fractions, beside others in percent")
        if top / whole > 1.001:
            measured.notes.append(f"{shown} goes up to {top / whole:g}, which is taken for 1")
