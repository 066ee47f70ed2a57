"""Histories as files have them: read cnnzoo's own and those of other tools, by their columns."""

import csv
import io
from collections.abc import Iterator
from dataclasses import fields
from itertools import chain
from pathlib import Path

from cnnzoo.config_file import read_yaml
from cnnzoo.errors import CnnzooError, one_line
from cnnzoo.runs.history import MEASURES, History, HistoryRow

_KERAS_ACC = (
    "accuracy",
    "acc",
    "sparse_categorical_accuracy",
    "categorical_accuracy",
    "binary_accuracy",
)

# Of each tool: which of its columns holds what; of several, the first that is there. Lightning writes the
# names that its user chose, so those are its documentation's, with the _epoch that it appends by itself.
_FORMATS: dict[str, dict[str, tuple[str, ...]]] = {
    "cnnzoo": {name: (name,) for name in MEASURES},
    "the tutorial": {name: (f"{name}_all",) for name in MEASURES},
    "Keras": {
        "val_acc": tuple(f"val_{name}" for name in _KERAS_ACC),
        "val_loss": ("val_loss",),
        "train_acc": _KERAS_ACC,
        "train_loss": ("loss",),
    },
    "Lightning": {
        "val_acc": ("val_acc_epoch", "val_acc", "val_accuracy_epoch", "val_accuracy"),
        "val_loss": ("val_loss_epoch", "val_loss"),
        "train_acc": ("train_acc_epoch", "train_acc", "train_accuracy_epoch", "train_accuracy"),
        "train_loss": ("train_loss_epoch", "train_loss"),
    },
    "timm": {"val_acc": ("eval_top1",), "val_loss": ("eval_loss",), "train_loss": ("train_loss",)},
    "Ultralytics": {
        "val_acc": ("metrics/accuracy_top1",),
        "val_loss": ("val/loss",),
        "train_loss": ("train/loss",),
    },
}

_ALWAYS_PERCENT = "eval_top1"  # timm's: 0.87 in its first epoch is 0.87 %, not 87 %
_MISSING = ("", "NA")  # Lightning's and pandas' empty cell; Keras' epoch without a validation
_LAST_EPOCH = 10**9


def read_history(path: Path) -> History:
    """Read a history from a CSV file, or from the run folder that holds it.

    The columns decide how: cnnzoo's own, the tutorial's, Keras' CSVLogger, Lightning's ``metrics.csv``,
    timm's ``summary.csv`` or Ultralytics' ``results.csv``. Several rows of one epoch become one with the
    last value of each column, epochs that count from 0 count from 1, percent become fractions.

    Raises:
        CnnzooError: There is no such file, or it is not a history file.
    """
    try:
        if path.is_dir():
            path = path / "history.csv"
            if not path.is_file():
                raise CnnzooError(
                    f"{path.parent} holds no history.csv. Name a folder that `cnnzoo train` made."
                )
        with path.open("rb") as file:
            if b"\0" in file.peek():  # before a line of it is read: /dev/zero has no line's end
                raise CnnzooError(f"{path} is not a text file. Name the CSV file of a history.")
            with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as lines:
                epochs = _read_epochs(lines, path)
    except OSError as error:
        raise CnnzooError(f"cannot read {path}: {one_line(error)}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise CnnzooError(f"{path} is not a UTF-8 text file. Name the CSV file of a history.") from error
    except csv.Error as error:
        raise CnnzooError(
            f"{path} is not a CSV file: {one_line(error)}. Name the CSV file of a history."
        ) from error

    import pandas as pd

    frame = pd.DataFrame.from_dict(epochs, orient="index", dtype=float).sort_index()
    frame = frame[[field.name for field in fields(HistoryRow) if field.name in frame]]
    frame.insert(0, "epoch", frame.index + (1 if frame.index[0] == 0 else 0))
    return History(path, frame.reset_index(drop=True), **_settings_beside(path))


def _read_epochs(lines: Iterator[str], path: Path) -> dict[int, dict[str, float]]:
    """Read the measures of every epoch, accuracies as fractions, epochs numbered as in the file."""
    first = next(lines, "")
    reader = csv.reader(chain([first], lines), delimiter=max(",;\t", key=first.count))
    header = next((row for row in reader if _has_text(row)), [])
    if not header:
        raise CnnzooError(f"{path} is empty. Name the CSV file of a history.")
    columns = _find_columns(header, path)

    epochs: dict[int, dict[str, float]] = {}
    percent = any(header[index].strip().lower() == _ALWAYS_PERCENT for index in columns.values())
    for row in reader:
        if not _has_text(row) or row == header:  # timm writes its header once more when it resumes
            continue
        line = f"{path}, line {reader.line_num}"
        if len(row) != len(header):
            raise CnnzooError(
                f"{line}: it has {len(row)} of the header's {len(header)} fields. Fix that line."
            )
        cells = {name: row[index].strip() for name, index in columns.items()}
        values = {
            name: _number(cell, f"{line}, column {header[columns[name]].strip()!r}")
            for name, cell in cells.items()
            if cell not in _MISSING and name != "epoch"
        }
        if not values:  # Lightning gives learning rates, and each test after the training, rows of their own
            continue
        for name, value in values.items():
            if name.endswith("acc") and (value < 0 or value > 100):
                raise CnnzooError(
                    f"{line}, column {header[columns[name]].strip()!r}: {value:g} is not an accuracy. "
                    "Write a fraction or a percentage."
                )
            percent |= name.endswith("acc") and value > 1
        epoch = _whole(cells["epoch"], line) if "epoch" in cells else len(epochs) + 1
        epochs.setdefault(epoch, {}).update(values)

    if not epochs:
        raise CnnzooError(f"{path} holds no epoch yet. Plot it once the first epoch is over.")
    if percent:
        for values in epochs.values():
            values |= {name: value / 100 for name, value in values.items() if name.endswith("acc")}
    return epochs


def _has_text(row: list[str]) -> bool:
    return any(cell.strip() for cell in row)


def _find_columns(header: list[str], path: Path) -> dict[str, int]:
    """Return where in a row the epoch and each measure stand, as the best fitting format has it."""
    places = {name.strip().lower(): index for index, name in reversed(list(enumerate(header)))}
    fitting = [
        {
            measure: places[found]
            for measure, names in columns.items()
            if (found := next((name for name in names if name in places), None)) is not None
        }
        for columns in _FORMATS.values()
    ]
    columns = max(fitting, key=len)
    if not columns:
        shown = ", ".join(repr(name.strip()[:40]) for name in header[:8]) + (", …" if len(header) > 8 else "")
        raise CnnzooError(
            f"{path} is not a history file: it has the columns {shown}. Understood are the columns of "
            f"{', '.join(_FORMATS)}; the simplest are epoch, train_loss, train_acc, val_loss, val_acc."
        )
    return columns | ({"epoch": places["epoch"]} if "epoch" in places else {})


def _number(cell: str, place: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise CnnzooError(f"{place}: {cell[:40]!r} is not a number. Fix that line.") from None


def _whole(cell: str, line: str) -> int:
    number = _number(cell, f"{line}, column 'epoch'")
    if not (0 <= number <= _LAST_EPOCH and number == int(number)):
        raise CnnzooError(f"{line}, column 'epoch': {cell!r} is not a whole number. Fix that line.")
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
