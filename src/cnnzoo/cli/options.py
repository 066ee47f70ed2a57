"""What several commands share: options of a network and their parsing, and the checkpoint that is meant."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from cnnzoo.errors import CnnzooError, UsageError

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A name that `cnnzoo models` lists.")]
ModelOption = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--option",
        metavar="NAME=VALUE",
        help="An option of the model, such as dropout=0.3. May be repeated.",
    ),
]
DatasetOption = Annotated[
    str,
    typer.Option(
        "-d",
        "--dataset",
        metavar="NAME",
        help="The net that `cnnzoo train` would train on it: its channels and classes.",
    ),
]
NumClassesOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Outputs of the net [the dataset's classes].")
]
InChannelsOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Channels of its images [the dataset's].")
]
OwnDatasetOption = Annotated[
    str | None,
    typer.Option(
        "-d", "--dataset", metavar="NAME", help="Where the run's folder or table of images lies now."
    ),
]
FoundDataDirOption = Annotated[
    Path | None, typer.Option(help="Where datasets lie [where the run found them].")
]
CsvColumnsOption = Annotated[
    str, typer.Option(metavar="FILE,LABEL", help="The headings of csv:FILE that count [found].")
]
ImageRootOption = Annotated[Path | None, typer.Option(help="Where the images of csv:FILE lie [beside it].")]
ImageSizeOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Pixels a side of its images [the model's own].")
]


def parse_options(texts: Iterable[str], example: str = "-o dropout=0.3") -> dict[str, str]:
    """Return ``["dropout=0.3"]`` as ``{"dropout": "0.3"}``; of a name given twice the last counts.

    Args:
        texts: As they were typed.
        example: How one is typed, for the error.

    Raises:
        UsageError: A text is not NAME=VALUE.
    """
    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"option {text!r} is not NAME=VALUE. Write it as in {example}.")
        options[name.strip()] = value.strip()
    return options


def find_checkpoint(target: str | None, out: Path) -> Path:
    """Return the checkpoint that a word means.

    Args:
        target: A ``.pt`` file, or a run, whose best.pt counts; None for the newest run that has one.
        out: The folder that holds the runs.

    Raises:
        CnnzooError: There is none.
        UsageError: No run is called so; the nearest name is told.
    """
    from cnnzoo.files import as_typed
    from cnnzoo.runs.folder import newest, resolve_run, runs_of

    if target is None:
        run = newest(out, "best.pt")
        if run is None:
            raise CnnzooError(f"there is no trained run in {out}. Make one with `cnnzoo train lenet`.")
        return run / "best.pt"
    if Path(target).is_file() or target.endswith(".pt"):
        return Path(target)
    run = resolve_run(target, out)
    if not (run / "best.pt").is_file():
        if seeds := runs_of(run):
            raise CnnzooError(f"{run} holds several runs. Name one of them, such as {as_typed(seeds[0])}.")
        raise CnnzooError(
            f"{run} has no best.pt. Name its last.pt, or go on with `cnnzoo train --resume {as_typed(run)}`."
        )
    return run / "best.pt"


def parse_columns(text: str) -> tuple[str, ...]:
    """Return the headings of ``--csv-columns``; none to find them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
