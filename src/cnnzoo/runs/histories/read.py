"""Histories as files have them: read cnnzoo's own and those of other tools, by their columns."""

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cnnzoo.config_file import read_yaml
from cnnzoo.errors import CnnzooError, named, one_line
from cnnzoo.plain_csv import read_table
from cnnzoo.runs.histories.apart import check_apart
from cnnzoo.runs.histories.columns import Columns, find_columns
from cnnzoo.runs.histories.epochs import Epochs, gather_epochs
from cnnzoo.runs.histories.headings import FOREIGN_WORDS, PLAIN, STEP
from cnnzoo.runs.histories.measures import read_measures
from cnnzoo.runs.histories.rows import logged_rows
from cnnzoo.runs.histories.wide import by_run
from cnnzoo.runs.history import MEASURES, History, HistoryRow

if TYPE_CHECKING:
    import pandas as pd

_TOOLS = "cnnzoo, the tutorial, Keras, Lightning, fastai, timm, Ultralytics, Hugging Face, W&B"


class NoHistoryError(CnnzooError):
    """There is no history, yet or at all, where one may be: a run that ended before its first epoch did."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}. {advice}")
        self.what = what


def read_history(path: Path) -> History:
    """Read the one history of a CSV file, or of the run folder that holds it.

    As ``read_histories`` does, which says more.

    Raises:
        NoHistoryError: The folder holds none, or the file has no epoch yet.
        CnnzooError: There is no such file, it is not a history file, or it holds several histories.
    """
    histories = read_histories(path)
    if len(histories) > 1:
        raise CnnzooError(
            f"{path} holds {len(histories)} histories: {named([one.curve for one in histories])}. "
            "Read them by cnnzoo.read_histories."
        )
    return histories[0]


def read_histories(path: Path) -> list[History]:
    """Read all histories of a CSV file, or of the run folder that holds it: several where it tells trainings apart.

    The headings decide how: cnnzoo's own, those of the tutorial, Keras, Lightning, fastai, timm, Ultralytics, Hugging
    Face and W&B's exports, and what people write, such as ``Train Loss`` or ``val-acc``. A column whose cells say
    ``train`` and ``val`` parts the curves of a history; one of folds, seeds, runs, models or configurations parts
    histories; another one that tells rows of an epoch apart is refused. What had to be assumed is in a history's
    ``notes``. Several rows of one epoch become one, epochs that begin again are counted on, epochs that count from 0
    count from 1, percent become fractions.

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
    table = read_table(path, "the CSV file of a history", FOREIGN_WORDS)
    if table.is_cut_off:
        note = f"line {table.rows[-1].line} was cut off, and is left out"
        table = replace(table, rows=table.rows[:-1], notes=(*table.notes, note))
    table = by_run(table)
    columns = find_columns(table)
    if not columns.measures:
        shown = ", ".join(repr(name[:40]) for name in table.header[:8])
        raise CnnzooError(
            f"{path} is not a history file: it has the columns {shown}{', …' if len(table.header) > 8 else ''}. "
            f"Understood are the columns of {_TOOLS}; the simplest are epoch, train_loss, train_acc, "
            "val_loss, val_acc."
        )
    measured = read_measures(table, columns)
    curves, is_whole = logged_rows(table, columns, measured)
    if not curves:
        raise NoHistoryError(f"{path} holds no epoch yet", "Plot it once the first epoch is over.")
    if columns.epoch is None and columns.curves and all(len(rows) == 1 for rows in curves.values()):
        raise CnnzooError(
            f"{path} has one row for each of {len(curves)} trainings: their results, and no history. Name a file "
            "with a row for each epoch."
        )
    check_apart(table, columns, curves)
    gathered = {
        curve: gather_epochs(
            rows, stepped=columns.step is not None or not is_whole, averaged=_averaged(columns)
        )
        for curve, rows in curves.items()
    }
    counts_from_0 = is_whole and any(0 in epochs for epochs, _ in gathered.values())
    left = ", ".join([*columns.left, *measured.left])
    about = (*table.notes, *columns.notes, *measured.notes)
    if columns.epoch is None and columns.step is not None:
        about = (*about, "it has steps and no epochs: each row counts as one")
    if not is_whole:
        about = (*about, "epochs are fractions: a row is of the epoch within which it was written")
    last = (f"not drawn: {left}",) if left else ()
    settings = _settings_beside(path)
    return [
        History(
            path, _frame(epochs, int(counts_from_0)), **settings, notes=(*about, *assumed, *last), curve=curve
        )
        for curve, (epochs, assumed) in gathered.items()
    ]


def _frame(epochs: Epochs, moved: int) -> "pd.DataFrame":
    import pandas as pd

    frame = pd.DataFrame.from_dict(epochs, orient="index", dtype=float)
    frame = frame[[field.name for field in fields(HistoryRow) if field.name in frame]]
    frame.insert(0, "epoch", frame.index + moved)
    return frame.reset_index(drop=True)


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
