"""``cnnzoo plot``: histories as a picture."""

import shutil
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from cnnzoo.cli import GroupedCommand, ImportOption, app, import_option
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.runs.folder import newest, resolve_run, seeds_of
from cnnzoo.runs.history import History

HISTORY = "history.csv"


@app.command("plot", cls=GroupedCommand)
def plot(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="HISTORY.csv|RUN",
            help="CSV files, runs' folders or names, or the word last. [the newest history]",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The picture: .png, .svg or .pdf. [beside the history; comparison.png for several]",
            show_default=False,
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Open a window with the picture, too.")] = False,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder that holds the runs.")] = Path(
        "runs"
    ),
    import_: ImportOption = None,
) -> None:
    """Draw loss and accuracy against epoch; several runs are laid over each other.

    Reads the histories of cnnzoo and of its tutorial, and those of Keras, Lightning, fastai, timm and Ultralytics.
    What of a history has to be assumed is said.
    """
    import_option(import_)
    from cnnzoo.ui.plots import plot_histories, save_figure, show_histories

    paths = [path for source in sources or [] for path in _find(source, out)]
    histories = _read(paths or [_newest(out)])
    if output is None:
        output = histories[0].path.with_suffix(".png") if len(histories) == 1 else Path("comparison.png")
    if any(output.absolute() == history.path.absolute() for history in histories):
        raise UsageError(f"{output} is a history itself. Name another file for the picture with --output.")
    for history in histories:
        for note in history.notes:
            _say(f"{history.path}: {note}", err=True)
    save_figure(plot_histories(histories), output)

    if len(histories) == 1:
        _say(f"{output} ({histories[0].describe_best()})")
    else:
        _say(str(output))
        for history in histories:
            _say(f"{history.path} ({history.describe_best()})")
    if show:
        show_histories(histories)


def _read(paths: list[Path]) -> list[History]:
    """Read the histories of all that have one, and say which have none; if no one has, that is an error."""
    from cnnzoo.runs.importers import NoHistoryError, read_history
    from cnnzoo.ui.screen import print_warning

    histories: list[History] = []
    missing: list[NoHistoryError] = []
    for path in paths:
        try:
            histories.append(read_history(path))
        except NoHistoryError as error:
            missing.append(error)
    if not histories:
        raise missing[0]
    for one in missing:
        print_warning(f"not drawn: {one.what}")
    return histories


def _find(source: str, out: Path) -> list[Path]:
    """Return the history that a word means, or those of the runs in a study."""
    path = Path(source)
    with suppress(OSError):  # what is too long for a file's name names none
        if path.exists():
            return _seeds(path) or [path]
    if source == HISTORY:
        path = _newest(out) / HISTORY
        _say(f"There is no {HISTORY} in this folder: this is the newest, {path}", err=True)
        return [path]
    # A CSV file that is not there is no run's name: let the reader say so.
    if path.suffix == ".csv":
        return [path]
    run = resolve_run(source, out)
    return _seeds(run) or [run]


def _seeds(folder: Path) -> list[Path]:
    return [run for run in seeds_of(folder) if (run / HISTORY).is_file()]


def _newest(out: Path) -> Path:
    run = newest(out, HISTORY)
    if run is None:
        raise CnnzooError(f"there is no history in {out} yet. Make one with `cnnzoo train lenet`.")
    return run


def _say(line: str, *, err: bool = False) -> None:
    # Folded between words alone, which rich does not do: a path stays whole, so that it can be copied.
    if (sys.stderr if err else sys.stdout).isatty():
        line = textwrap.fill(
            line, shutil.get_terminal_size().columns, break_long_words=False, break_on_hyphens=False
        )
    print(line, file=sys.stderr if err else sys.stdout)
