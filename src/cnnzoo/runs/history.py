"""A run's history: one row per epoch, written to and read from ``history.csv``, and which epoch is the best."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from operator import itemgetter
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from cnnzoo.files import replacing

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class HistoryRow:
    """One epoch; the fields are the columns of ``history.csv``, in this order.

    A column that was added later has a default, which an older run's epochs have: a finite number, or None where it
    cannot be known. It is an empty cell then.

    Attributes:
        epoch: Its number, from 1.
        train_loss: Mean loss over the training images.
        train_acc: Share of the training images that were classified right, from 0 to 1.
        val_loss: Mean loss over the validation images.
        val_acc: Share of the validation images that were classified right, from 0 to 1.
        lr: Learning rate.
        seconds: How long the epoch took.
        images_per_second: Over training and validation together.
    """

    epoch: int
    train_loss: float
    train_acc: float
    val_loss: float
    val_acc: float
    lr: float
    seconds: float
    images_per_second: float


COLUMNS = tuple(field.name for field in fields(HistoryRow))
"""The columns of ``history.csv``."""

DEFAULTS: Mapping[str, Any] = {f.name: f.default for f in fields(HistoryRow) if f.default is not MISSING}
"""The columns that an older run may lack, and what its epochs have there."""


def score(row: HistoryRow, monitor: str) -> float:
    """Return how good an epoch is, more being better: its ``val_acc``, or its ``val_loss`` turned round."""
    return -row.val_loss if monitor == "val_loss" else row.val_acc


def best_row(history: Sequence[HistoryRow], monitor: str) -> HistoryRow:
    """Return the best epoch: highest ``val_acc`` or lowest ``val_loss``, the first of equals."""
    return max(history, key=lambda row: score(row, monitor))


def as_csv(rows: Iterable[HistoryRow], columns: Sequence[str] = COLUMNS) -> bytes:
    """Return a history as ``history.csv`` holds it, with all columns or with those of an older file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    # csv writes a float as repr does, which reads back as the very same float.
    writer.writerows([getattr(row, name) for name in columns] for row in rows)
    return text.getvalue().encode()


def write_history(path: Path, rows: Iterable[HistoryRow]) -> None:
    """Write the whole history; ``path`` holds the old one or the new one at every moment.

    A file that holds these rows already is left alone.

    Raises:
        CnnzooError: It cannot be written.
    """
    content = as_csv(rows)
    if path.is_file() and path.read_bytes() == content:
        return
    with replacing(path) as file:
        file.write(content)


def read_rows(path: Path) -> list[HistoryRow]:
    """Return the epochs of a ``history.csv`` as cnnzoo writes it, exactly as they were written.

    Raises:
        OSError: It cannot be read; FileNotFoundError where there is none.
        ValueError: It is no such file.
    """
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        try:
            known = known_columns(table.fieldnames or ())
            return [_row(line, known) for line in table]
        except csv.Error as error:
            raise ValueError(error) from error


def known_columns(heading: Iterable[str]) -> list[str]:
    """Return the columns that a file with this heading has, in the order of COLUMNS.

    Raises:
        ValueError: It lacks one that has no default.
    """
    missing = set(COLUMNS).difference(heading)
    if needed := missing - DEFAULTS.keys():
        raise ValueError(f"no column {min(needed)}")
    return [name for name in COLUMNS if name not in missing]


def _row(line: Mapping[str, str], columns: Iterable[str]) -> HistoryRow:
    numbers: dict[str, Any] = {}
    for name in columns:
        try:
            numbers[name] = _number(_FIELDS[name], line[name])
        except (TypeError, ValueError):
            raise ValueError(f"{name} is {line[name]!r}") from None
    return HistoryRow(**numbers)


_FIELDS = {field.name: field for field in fields(HistoryRow)}


def _number(field: Field[Any], cell: str) -> float | None:
    if cell == "" and field.default is None:
        return None
    return int(cell) if field.type in (int, int | None) else float(cell)


MEASURES = ("train_loss", "train_acc", "val_loss", "val_acc")
"""The losses and accuracies of an epoch, in the order of the columns; the last that a history has decides its best."""

# Names that say nothing about a run: its folder's name does.
_USUAL_NAMES = ("history.csv", "metrics.csv", "results.csv", "summary.csv")


@dataclass(frozen=True, eq=False)
class History:
    """What a training run went through.

    Attributes:
        path: The CSV file that it was read from.
        frame: One row per epoch, in order: ``epoch`` (from 1), then those of ``train_loss``,
            ``train_acc``, ``val_loss`` and ``val_acc`` that the file has. Accuracies are fractions;
            NaN stands where nothing was measured.
        model: The network, if a ``config.yaml`` beside the file names it.
        dataset: The data it was trained on, likewise.
        monitor: Which of the columns says what the best epoch is, if the history has it.
        notes: What was assumed of another tool's file, and what of it is left out, a phrase each.
        curve: Which of the file's trainings it is, such as ``fold 0``; empty if it is the only one.
    """

    path: Path
    frame: "pd.DataFrame"
    model: str | None = None
    dataset: str | None = None
    monitor: str = "val_acc"
    notes: tuple[str, ...] = ()
    curve: str = ""

    @property
    def name_parts(self) -> tuple[str, ...]:
        """The path's parts down to the one that names the run, the file's or its folder's, and then the curve."""
        return (*self._file_parts, self.curve) if self.curve else self._file_parts

    @property
    def name(self) -> str:
        """The path, and the curve if the file has several."""
        return f"{self.path}, {self.curve}" if self.curve else str(self.path)

    @property
    def _file_parts(self) -> tuple[str, ...]:
        path = self.path.absolute()
        return (path.parent if path.name in _USUAL_NAMES else path.with_suffix("")).parts

    @property
    def title(self) -> str:
        """The model and the data, or else the run's name."""
        if self.model is None:
            return self._file_parts[-1]
        return f"{self.model} on {PurePath(self.dataset).name}" if self.dataset else self.model

    @property
    def best(self) -> "Best | None":
        """The first epoch with the highest accuracy or the lowest loss; None if no value is finite."""
        for measure in (self.monitor, *reversed(MEASURES)):
            values = self.frame.get(measure, ())
            finite = [
                (value, epoch)
                for value, epoch in zip(values, self.frame["epoch"], strict=False)
                if math.isfinite(value)
            ]
            if finite:
                better = max if measure.endswith("acc") else min
                value, epoch = better(finite, key=itemgetter(0))
                return Best(measure, int(epoch), float(value))
        return None

    @property
    def best_epoch(self) -> int | None:
        """The number of the best epoch, if there is one."""
        return self.best.epoch if self.best else None

    def describe_best(self) -> str:
        """Say which epoch is the best: ``best epoch 7: validation accuracy 87.93%``."""
        return f"best {self.best}" if self.best else "no epoch with a finite value"


class Best(NamedTuple):
    """The best epoch, by which of ``MEASURES``, and what that was."""

    measure: str
    epoch: int
    value: float

    @property
    def shown(self) -> str:
        """The value as people write it: ``87.93%``, or a loss of ``0.3421``."""
        return f"{self.value:.2%}" if self.measure.endswith("acc") else f"loss {self.value:.4g}"

    def __str__(self) -> str:
        split = "validation" if self.measure.startswith("val") else "training"
        kind = " accuracy" if self.measure.endswith("acc") else ""
        return f"epoch {self.epoch}: {split}{kind} {self.shown}"
