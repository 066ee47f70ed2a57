"""Which column of a history says what, told by its heading and its cells, whichever tool or person wrote it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cnnzoo.errors import CnnzooError
from cnnzoo.plain_csv import Row, Table
from cnnzoo.runs.histories.headings import (
    Heading,
    is_like_a_measure,
    meanings,
    measure_of,
    shown_column,
    split_of,
)
from cnnzoo.runs.histories.numbers import MISSING


@dataclass(frozen=True)
class Column:
    """A column that holds a measure.

    Attributes:
        index: Its place in a row.
        name: Its heading.
        is_error: Whether it holds 1 - accuracy.
        span: ``EPOCH``, ``PLAIN`` or ``STEP``.
    """

    index: int
    name: str
    is_error: bool
    span: int


@dataclass(frozen=True)
class Columns:
    """The columns that a history is read from.

    Attributes:
        epoch: Where the epoch stands.
        step: Where the step stands.
        phase: Where a row says whether it is of the training or the validation.
        curves: Where a row says of which of several trainings it is: their fold, seed, run or model.
        measures: The columns of ``train_loss``, ``train_acc``, ``val_loss`` and ``val_acc``; and of ``loss``
            and ``acc``, where ``phase`` says whose they are.
        left: Headings of what looks like a measure, holds something, and is not drawn.
        notes: What was assumed, a phrase each.
    """

    epoch: int | None
    step: int | None
    phase: int | None
    curves: tuple[int, ...]
    measures: Mapping[str, Column]
    left: tuple[str, ...]
    notes: tuple[str, ...]


def find_columns(table: Table) -> Columns:
    """Find the columns that hold an epoch's measures, by their headings and by what is filled in."""
    words = [meanings(name) for name in table.header]
    epoch, step = (words.index({role}) if {role} in words else None for role in ("epoch", "step"))
    body = [row for row in table.rows if row.cells != table.header]
    said = {index: heading for index, one in enumerate(words) if one and (heading := measure_of(one))}
    rows = [{i for i, cell in enumerate(row.cells) if cell.lower() not in MISSING} for row in body]
    filled = set().union(*rows)
    measuring = [row for row, cells in zip(body, rows, strict=True) if cells & said.keys()]
    phase = _find_phase(table, words, measuring)
    curves = _find_curves(table, words, measuring, epoch)
    # A history without an epoch yet has its columns, too.
    usable = said.keys() & filled or said.keys()
    found: dict[tuple[str | None, str], int] = {}
    for index in sorted(usable, key=lambda index: (said[index].kind == "error", said[index].span, index)):
        found.setdefault(said[index].place, index)

    tests = {place: index for place, index in found.items() if place[0] == "test"}
    if any(split == "val" for split, _ in found) or not _is_of_epochs(set(tests.values()), rows, said):
        tests = {}
    notes = [f"there is a curve for each value of {shown_column(table.header[index])}" for index in curves]
    notes += [f"{_names(table, tests.values())} drawn as validation"] if tests else []
    found |= {("val", kind): index for (_, kind), index in tests.items()}
    chosen: dict[str, int] = {}
    for kind in ("loss", "acc"):
        train, val, bare = (found.get((split, kind)) for split in ("train", "val", None))
        if bare is not None and train is not None and _num(rows, train) == 1 < _num(rows, bare):
            train = None  # Hugging Face's mean over the whole training, in the last row
        if bare is not None and phase is not None:
            chosen[kind] = bare
        elif (
            bare is not None
            and train is None
            and (kind == "loss" or val is not None or ("train", "loss") not in found)
        ):
            train = bare
        elif bare is not None and val is None:
            # Beside a train_loss, fastai's accuracy and error_rate have no prefix: they are the validation's.
            val = bare
            notes.append(f"{_names(table, [bare])} taken for that of the validation, as fastai writes it")
        chosen |= {f"{split}_{kind}": at for split, at in (("train", train), ("val", val)) if at is not None}

    measures = {
        measure: Column(index, table.header[index], said[index].kind == "error", said[index].span)
        for measure, index in chosen.items()
    }
    # The same over another span, as train_loss_step is beside train_loss_epoch, is drawn already.
    spans = {said[index].place: said[index].span for index in chosen.values()}
    left = (
        shown_column(table.header[index])
        for index in sorted(filled - set(chosen.values()))
        if is_like_a_measure(table.header[index])
        and not (index in said and said[index].span != spans.get(said[index].place, said[index].span))
    )
    return Columns(epoch, step, phase, curves, measures, tuple(dict.fromkeys(left)), tuple(notes))


def _find_phase(table: Table, words: list[set[str] | None], rows: list[Row]) -> int | None:
    """Return the column whose cells say of which split a row is, whatever its heading.

    Where all rows are of one split, the heading has to say that it is such a column.
    """
    for index, meaning in enumerate(words):
        values = _values(rows, index)
        if all(map(split_of, values)):
            num = len({split_of(cell) for cell in values})
            if num > 1 or (num == 1 and meaning in ({"phase"}, set())):
                return index
    return None


def _find_curves(
    table: Table, words: list[set[str] | None], rows: list[Row], epoch: int | None
) -> tuple[int, ...]:
    """Return the columns that part several trainings: those of folds, seeds, runs and models that differ."""
    found = []
    for index in (index for index, meaning in enumerate(words) if meaning == {"curve"}):
        values = _values(rows, index)
        if len(values) > 1 and (empty := next((row for row in rows if row.cells[index] == ""), None)):
            raise CnnzooError(f"{table.place(empty, index)}: it is empty. Write there which one it is.")
        if len(values) > 1 and (epoch is None or not _is_one_to_one(rows, index, epoch)):
            found.append(index)
    return tuple(found)


def _is_one_to_one(rows: list[Row], index: int, epoch: int) -> bool:
    """Whether each epoch has a value of its own there, as where every epoch has another seed."""
    pairs = {(row.cells[index], row.cells[epoch]) for row in rows}
    return len(pairs) == len(_values(rows, index)) == len(_values(rows, epoch))


def _values(rows: list[Row], index: int) -> set[str]:
    return {row.cells[index] for row in rows}


def _num(rows: list[set[int]], index: int) -> int:
    """Return in how many rows a column is filled in."""
    return sum(index in row for row in rows)


def _names(table: Table, indices: Iterable[int]) -> str:
    """Return headings as the subject of a sentence, with its verb."""
    names = [shown_column(table.header[index]) for index in indices]
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _is_of_epochs(columns: set[int], rows: list[set[int]], said: Mapping[int, Heading]) -> bool:
    """Whether tests were made as epochs ended, and not once after the training, in a row of its own."""
    tested = [row for row in rows if row & columns]
    return len(tested) > 1 or any(
        said[i].split in ("train", None) for row in tested for i in row if i in said
    )
