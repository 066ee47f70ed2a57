"""Columns that nobody understands and that tell rows of one epoch apart: such rows are refused, never averaged."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from cnnzoo.errors import CnnzooError
from cnnzoo.plain_csv import Table
from cnnzoo.runs.histories.columns import Columns
from cnnzoo.runs.histories.epochs import LoggedRow
from cnnzoo.runs.histories.headings import is_like_a_measure, meanings, shown_column
from cnnzoo.runs.histories.numbers import MISSING, is_number

# Columns that differ from row to row and tell nothing apart, by their headings and by their cells.
_TELLS_NOTHING = re.compile(
    r"|index|idx|row|line|#|no|unnamed.*"
    r"|.*(time|date|stamp|second|duration|elapsed|\beta\b|learning.?rate|mem|speed|per.sec|throughput|norm).*"
    r"|(.*[\W_])?lrs?([\W_].*)?"
).fullmatch
_IS_TIME = re.compile(r".*\d:\d\d.*|\d{4}[-/.]\d\d?[-/.]\d\d?.*").fullmatch
_HAS_UNIT = re.compile(
    r"[-+]?\d[\d.,]*\s*(ms|s|secs?|seconds?|min|mins|minutes?|h|hours?|[kmgt]i?b|\w+/s)", re.IGNORECASE
).fullmatch


def check_apart(table: Table, columns: Columns, curves: Mapping[str, Sequence[LoggedRow]]) -> None:
    """See that no column tells rows apart that would be made one epoch.

    Words do if two rows have the same measure of the same epoch; numbers do if they part all rows of the same step,
    too. Both come again in other epochs: what does not is a moment or a remark.

    Raises:
        CnnzooError: One does; it is named, and what to call it.
    """
    same_epoch = list(_doubled(curves, by_step=False))
    same_step = list(_doubled(curves, by_step=columns.step is not None))
    if not same_epoch:
        return
    rows = [row for curve in curves.values() for row in curve]
    places = [place for place in range(len(table.header)) if _may_tell(table, columns, place)]
    words, numbers = [], []
    for place in places:
        values = {cell for row in rows if (cell := row.cells[place]).lower() not in MISSING}
        if len(values) < 2:
            continue
        if all(map(is_number, values)):
            numbers += [place] if _comes_again(rows, place, values) else []
        elif _comes_again(rows, place, values) or len({row.epoch for row in rows}) == 1:
            words.append(place)
    for place in words:
        cells = {row.cells[place] for row in rows}
        if not any(map(_IS_TIME, cells)) and not any(map(_HAS_UNIT, cells)):
            _refuse(table, place, same_epoch, "")
    if numbers and all(
        len({tuple(row.cells[place] for place in numbers) for row in group}) == len(group)
        for group in same_step
    ):
        for place in numbers:
            _refuse(table, place, same_step, ", or step if it counts the steps of an epoch")


def _doubled(curves: Mapping[str, Sequence[LoggedRow]], *, by_step: bool) -> Iterator[list[LoggedRow]]:
    """Yield the rows of a curve that have one measure of one epoch, or of one step of it, where there are several."""
    groups: dict[tuple[object, ...], list[LoggedRow]] = defaultdict(list)
    for curve, rows in curves.items():
        for row in rows:
            for name in row.values:
                groups[curve, row.epoch, row.step if by_step else 0, name].append(row)
    return (group for group in groups.values() if len(group) > 1)


def _may_tell(table: Table, columns: Columns, place: int) -> bool:
    """Whether nothing is known of a column."""
    name = table.header[place].casefold()
    known = {columns.epoch, columns.phase, *columns.curves, *(one.index for one in columns.measures.values())}
    is_count = (meanings(name) or set()) & {"epoch", "step"}
    return not (place in known or is_count or is_like_a_measure(name) or _TELLS_NOTHING(name))


def _comes_again(rows: Sequence[LoggedRow], place: int, values: set[str]) -> bool:
    """Whether most values are there in several epochs."""
    epochs = defaultdict(set)
    for row in rows:
        epochs[row.cells[place]].add(row.epoch)
    return 2 * sum(len(epochs[value]) > 1 for value in values) > len(values)


def _refuse(table: Table, place: int, groups: Sequence[Sequence[LoggedRow]], otherwise: str) -> None:
    """Refuse the column if two rows of one of the groups differ in it.

    Raises:
        CnnzooError: They do.
    """
    for group in groups:
        filled = {cell: row.line for row in group if (cell := row.cells[place]).lower() not in MISSING}
        if len(filled) > 1:
            (one, line), (other, below) = list(filled.items())[:2]
            raise CnnzooError(
                f"{table.path}: the column {shown_column(table.header[place])!r} tells rows of one epoch apart "
                f"({one[:20]!r} in line {line}, {other[:20]!r} in line {below}). Call it run for a curve of each of "
                f"its values{otherwise}, or leave one value's rows alone in the file."
            )
