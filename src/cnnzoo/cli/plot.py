"""``cnnzoo plot``: pictures of histories and of nets."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from cnnzoo.cli.app import GroupedCommand, ImportOption, app, import_option
from cnnzoo.cli.options import FoundDataDirOption
from cnnzoo.cli.pictures import (
    Request,
    draw_activations,
    draw_batch,
    draw_calibration,
    draw_confusion,
    draw_errors,
    draw_features,
    draw_filters,
    say,
)
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.runs.folder import newest, resolve_run, runs_of
from cnnzoo.runs.history import History

HISTORY = "history.csv"


def draw_curves(asked: Request) -> None:
    """Draw loss and accuracy against epoch; several runs are laid over each other."""
    from cnnzoo.ui.curves import plot_histories
    from cnnzoo.ui.style import save_figure, show

    paths = [path for source in asked.words for path in _find(source, asked.out)]
    histories = _read(paths or [_newest(asked.out)])
    output = asked.output
    if output is None:
        paths = list(dict.fromkeys(history.path for history in histories))
        output = paths[0].with_suffix(".png") if len(paths) == 1 else Path("comparison.png")
    if any(output.absolute() == history.path.absolute() for history in histories):
        raise UsageError(f"{output} is a history itself. Name another file for the picture with --output.")
    for path, note in dict.fromkeys((history.path, note) for history in histories for note in history.notes):
        say(f"{path}: {note}", err=True)
    save_figure(plot_histories(histories), output)

    if len(histories) == 1:
        say(f"{output} ({histories[0].describe_best()})")
    else:
        say(str(output))
        for history in histories:
            say(f"{history.name} ({history.describe_best()})")
    if asked.show:
        show(lambda figure: plot_histories(histories, figure))


KINDS: dict[str, Callable[[Request], None]] = {
    "curves": draw_curves,
    "confusion": draw_confusion,
    "errors": draw_errors,
    "calibration": draw_calibration,
    "filters": draw_filters,
    "features": draw_features,
    "activations": draw_activations,
    "batch": draw_batch,
}
"""Kinds of pictures by name. `--help` has the first line of each function's docstring."""


def describe_kind(kind: str) -> str:
    """Return what a kind of picture shows, in a line without ``Draw`` and the final stop."""
    first = (KINDS[kind].__doc__ or "").partition("\n")[0]
    return first.removeprefix("Draw ").rstrip(".")


HELP = "\n\n".join(
    (
        "Draw a run: its curves, or what its network has learnt and sees.",
        *(f"{kind}: {describe_kind(kind)}." for kind in KINDS),
        "curves reads the histories of cnnzoo and of its tutorial, and those of Keras, Lightning, fastai, timm, "
        "Ultralytics, Hugging Face and W&B. A column of folds, seeds, runs or models makes several curves. It prints "
        "what it had to assume.",
        "batch takes the options of `cnnzoo train`, as in `cnnzoo plot batch lenet --augment flip` (a model's options "
        "with --option).",
        "A run that is called like a kind is given by its path.",
    )
)


class PlotCommand(GroupedCommand):
    """The command; a batch takes the options of `cnnzoo train`, too, which are that command's to check."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Let options pass that are none of this command's where a batch is asked for."""
        ctx.ignore_unknown_options = "batch" in args
        return super().parse_args(ctx, args)


@app.command("plot", cls=PlotCommand, help=HELP)
def plot(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND] HISTORY.csv|RUN",
            help=f"The kind of picture: {', '.join(KINDS)} [curves]. Then CSV files, runs' folders or names, or "
            "the word last; for other kinds than curves one run or .pt file. [the newest]",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The picture: .png, .svg or .pdf. [beside the history or the net; comparison.png for several]",
            show_default=False,
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="N|FILE", help="Of features: a test image of the run, from 0, or an image file. [0]"
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "-d",
            "--dataset",
            metavar="NAME",
            help="Where the run's images lie now, or others to evaluate on.",
        ),
    ] = None,
    data_dir: FoundDataDirOption = None,
    show: Annotated[bool, typer.Option("--show", help="Open a window with the picture, too.")] = False,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder that holds the runs.")] = Path(
        "runs"
    ),
    import_: ImportOption = None,
) -> None:
    """Draw a picture of one of KINDS."""
    words = words or []
    import_option(import_)
    kind = KINDS[words[0]] if words and words[0] in KINDS else None
    if image is not None and kind is not draw_features:
        raise UsageError("--image is for `cnnzoo plot features`. Leave it out.")
    if (dataset is not None or data_dir is not None) and kind in (None, draw_curves, draw_filters):
        raise UsageError("--dataset and --data-dir are for pictures made of images. Leave them out.")
    asked = Request(words[1:] if kind else words, output, show, out, image, dataset, data_dir)
    (kind or draw_curves)(asked)


def _read(paths: list[Path]) -> list[History]:
    """Read the histories of all that have one, and say which have none; if no one has, that is an error."""
    from cnnzoo.runs.histories.read import NoHistoryError, read_histories
    from cnnzoo.ui.screen import print_warning

    histories: list[History] = []
    missing: list[NoHistoryError] = []
    for path in paths:
        try:
            histories += read_histories(path)
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
        if path.exists() and not path.is_dir():
            return [path]
    if source == HISTORY:
        path = _newest(out) / HISTORY
        say(f"There is no {HISTORY} in this folder: this is the newest, {path}", err=True)
        return [path]
    # A CSV file that is not there is no run's name: let the reader say so.
    if path.suffix == ".csv":
        return [path]
    try:
        run = resolve_run(source, out)
    except UsageError:
        if not path.is_dir():
            raise
        return [path]  # of several that are named, those without a history are told and left out
    return _seeds(run) or [run]


def _seeds(folder: Path) -> list[Path]:
    return [run for run in runs_of(folder) if (run / HISTORY).is_file()]


def _newest(out: Path) -> Path:
    run = newest(out, HISTORY)
    if run is None:
        raise CnnzooError(f"there is no history in {out} yet. Make one with `cnnzoo train lenet`.")
    return run
