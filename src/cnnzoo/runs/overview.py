"""The runs in a folder: what each is, how far and how good. Read from their small files, without torch."""

import fnmatch
import math
import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cnnzoo.config import TrainConfig, field_types
from cnnzoo.config_file import RECORDED, differing, read_yaml
from cnnzoo.errors import CnnzooError, UsageError, one_line, unknown
from cnnzoo.files import natural
from cnnzoo.plain_yaml import read_mapping
from cnnzoo.runs.evaluated import EVALUATION, read_evaluation
from cnnzoo.runs.folder import is_locked, resolve_run, runs_in, runs_of
from cnnzoo.runs.history import MEASURES, best_row, read_rows


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """A run as its folder has it; None where that says nothing.

    Attributes:
        name: Its folder's below that of the runs, such as ``lenet-fashionmnist-1`` or ``STUDY/seed-0``.
        model: Its network.
        dataset: What it was trained on.
        epochs: How many are in its history.
        best_epoch: The one that it calls the best.
        train_loss: Of that epoch.
        train_acc: Likewise, a fraction.
        val_loss: Likewise.
        val_acc: Likewise, a fraction.
        test_acc: As its eval.json has it, if that is of the test images.
        date: When it was begun or last gone on with, ISO 8601, UTC.
        bytes: Of all its files.
        fault: What is wrong with it; empty where nothing is.
        settings: Of its config.yaml.
    """

    name: str
    model: str | None = None
    dataset: str | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    train_loss: float | None = None
    train_acc: float | None = None
    val_loss: float | None = None
    val_acc: float | None = None
    test_acc: float | None = None
    date: str | None = None
    bytes: int = 0
    fault: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, its settings left out."""
        values = asdict(self)
        del values["settings"]
        return values

    def value(self, key: str) -> Any:  # noqa: ANN401
        """Return what it has under a key of the list, or else of its settings."""
        return getattr(self, key) if key in KEYS else self.settings.get(key)


KEYS = tuple(name for name in ListedRun.__dataclass_fields__ if name != "settings")

SHORT = {
    "data": "dataset",
    "best": "val_acc",
    "test": "test_acc",
    "size": "bytes",
    "test_accuracy": "test_acc",
}
"""Other words for keys: those of the table's headings."""

HIGHEST_FIRST = {"epochs", "train_acc", "val_acc", "test_acc", "date", "bytes"}
"""Keys of which the best, the newest and the largest stand first; of others the lowest."""


def list_runs(out: Path) -> list[ListedRun]:
    """Return the runs in a folder, those of studies included, the newest first.

    A run of which a file cannot be read is listed with what is wrong.

    Raises:
        CnnzooError: The folder cannot be read.
    """
    return sort_runs([read_listed(run, str(run.relative_to(out))) for run in runs_in(out)], "date")


def read_listed(run: Path, name: str) -> ListedRun:
    """Return a run as the list has it.

    Args:
        run: Its folder.
        name: What to call it.
    """
    faults: list[str] = []
    values: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    try:
        settings = read_mapping(run / "config.yaml")
    except CnnzooError as error:
        faults.append(_shortly(error, run) if (run / "config.yaml").exists() else "no config.yaml")
    recorded = settings.pop(RECORDED, None)
    if isinstance(recorded, dict) and recorded.get("started") is not None:
        values["date"] = str(recorded["started"])
    for key in ("model", "dataset"):
        if settings.get(key) is not None:
            values[key] = str(settings[key])
    try:
        if rows := read_rows(run / "history.csv"):
            best = best_row(rows, str(settings.get("monitor", "val_acc")))
            values |= {"epochs": len(rows), "best_epoch": best.epoch}
            values |= {measure: _finite(getattr(best, measure)) for measure in MEASURES}
        else:
            values["epochs"] = 0
    except FileNotFoundError:
        values["epochs"] = 0
    except (CnnzooError, OSError, ValueError) as error:
        faults.append(
            _shortly(error, run) if isinstance(error, CnnzooError) else f"history.csv: {one_line(error)}"
        )
    try:
        values["test_acc"] = _test_accuracy(run, values.get("best_epoch"))
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        faults.append(f"{EVALUATION}: {one_line(error)}")
    size, weights = _size(run)
    if not faults and not weights and not is_locked(run):
        faults.append("no weights" if values["epochs"] else "ended before its first save")
    return ListedRun(name=name, bytes=size, fault="; ".join(faults), settings=settings, **values)


def _test_accuracy(run: Path, best_epoch: int | None) -> float | None:
    """Return the accuracy on test images that eval.json has of the best epoch's weights; None where it has another."""
    saved = read_evaluation(run)
    is_of_best = None in (best_epoch, saved.epoch) or saved.epoch == best_epoch
    return saved.accuracy if is_of_best and saved.split == "test" else None


def _size(run: Path) -> tuple[int, bool]:
    """Return the bytes of a run's files, links not followed, and whether weights are among them."""
    total, weights = 0, False
    folders = [str(run)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        weights = weights or entry.name in ("best.pt", "last.pt")
                        with suppress(FileNotFoundError):  # replaced by a save this moment
                            total += entry.stat(follow_symlinks=False).st_size
        except OSError:  # gone, or not for this person to enter
            continue
    return total, weights


def _shortly(error: CnnzooError, run: Path) -> str:
    """Return what a fault says without the folder, which stands beside it, and without the advice."""
    return str(error).replace(f"{run}{os.sep}", "").rpartition(". ")[0]


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


# Which of them, and in what order


def sort_runs(runs: Iterable[ListedRun], key: str, *, reverse: bool = False) -> list[ListedRun]:
    """Return runs by a key: the best, newest or largest first, of names and losses the first and lowest.

    Those that have no such value stand last.

    Args:
        runs: To sort.
        key: Of the list or of the settings.
        reverse: The other way round.

    Raises:
        UsageError: No run has such a key.
    """
    runs = list(runs)
    key = _known(key, runs)
    # Names decide between equals, as people count.
    by_name = sorted(runs, key=lambda run: natural(run.name))
    having = [run for run in by_name if run.value(key) is not None]
    numbers = all(isinstance(run.value(key), int | float) for run in having)
    having.sort(
        key=lambda run: run.value(key) if numbers else natural(str(run.value(key))),
        reverse=(key in HIGHEST_FIRST) != reverse,
    )
    return [*having, *(run for run in by_name if run.value(key) is None)]


_CONDITION = re.compile(r"\s*([\w.]+)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*", re.DOTALL)
_NUMBERS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}


def filter_runs(runs: Iterable[ListedRun], conditions: Sequence[str]) -> list[ListedRun]:
    """Return the runs that fulfil all conditions, such as ``model=lenet``, ``val_acc>0.9`` or ``name=alex*``.

    ``val_acc>90%`` is ``val_acc>0.9``. What a run does not have fulfils ``!=`` alone.

    Raises:
        UsageError: One is no condition, no run has such a key, or a number is to be compared with a word.
    """
    runs = list(runs)
    for condition in conditions:
        match = _CONDITION.fullmatch(condition)
        if match is None:
            raise UsageError(
                f"--filter {condition!r} is no condition. Write it as in model=lenet or 'val_acc>0.9'."
            )
        key, sign, wanted = match.groups()
        key = _known(key, runs)
        values = [run.value(key) for run in runs]
        numbers = [
            value for value in values if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        if sign not in ("=", "==", "!=") and numbers and _number(wanted) is None:
            raise UsageError(f"--filter {condition!r}: {key} is a number, and {wanted!r} is none.")
        runs = [run for run in runs if _fulfils(run.value(key), sign, wanted)]
    return runs


def _fulfils(value: Any, sign: str, wanted: str) -> bool:  # noqa: ANN401
    if value is None:
        return (wanted.lower() in ("", "none")) == (sign != "!=") and sign in ("=", "==", "!=")
    if isinstance(value, bool):
        value = str(value).lower()
    number = _number(wanted)
    if isinstance(value, int | float) and number is not None:
        return _NUMBERS[sign](value, number)
    if isinstance(value, list):
        value = ",".join(map(str, value))
    if sign in ("=", "=="):
        return fnmatch.fnmatchcase(str(value), wanted)
    if sign == "!=":
        return not fnmatch.fnmatchcase(str(value), wanted)
    return _NUMBERS[sign](str(value), wanted)


def _number(text: str) -> float | None:
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return None


def _known(key: str, runs: Sequence[ListedRun]) -> str:
    """Return a key by its own name.

    Raises:
        UsageError: There is none of that name.
    """
    key = SHORT.get(key, key)
    settings = {**field_types(), **{name: None for run in runs for name in run.settings}}
    if key not in KEYS and key not in settings:
        raise unknown("key", key, KEYS, more=(*SHORT, *settings))
    return key


# Two of them


@dataclass(frozen=True)
class RunDifference:
    """What differs between two runs.

    Attributes:
        names: Of the two.
        settings: By name, as each has it.
        results: Likewise, of MEASURES and the like.
    """

    names: tuple[str, str]
    settings: dict[str, tuple[Any, Any]]
    results: dict[str, tuple[Any, Any]]


RESULTS = ("epochs", "best_epoch", *MEASURES, "test_acc")


def diff_runs(one: str, other: str, out: Path) -> RunDifference:
    """Return what differs between two runs: their settings, but for the name and the folder, and their results.

    Args:
        one: Its folder, its name below ``out``, or ``last``.
        other: Likewise.
        out: The folder that holds the runs.

    Raises:
        UsageError: There is no such run, it is a study, or its settings cannot be right.
        CnnzooError: Its config.yaml cannot be read.
    """
    runs, settings = [], []
    for name in (one, other):
        folder = resolve_run(name, out)
        if not (folder / "config.yaml").exists() and (within := runs_of(folder)):
            raise UsageError(f"{folder} holds several runs. Name one of them, such as {within[0]}.")
        config = TrainConfig.from_dict(read_yaml(folder / "config.yaml"), source=f"the settings in {folder}")
        settings.append(config.to_dict())  # with defaults for what an older run does not name
        runs.append(read_listed(folder, name))
    return RunDifference(
        (one, other),
        differing(settings[0], settings[1], ("name", "out")),
        differing(*({key: run.value(key) for key in RESULTS} for run in runs)),
    )
