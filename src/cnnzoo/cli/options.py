"""Options of a network and their parsing, which several commands share."""

from collections.abc import Iterable
from typing import Annotated

import typer

from cnnzoo.errors import UsageError

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
