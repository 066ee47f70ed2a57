"""The program of which each command is a part, and what they share with its first line: ``--import``, ``--version``."""

import os
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cnnzoo.errors import AlreadyToldError

PROGRAM = "cnnzoo"
"""Name of the program in help, in messages and in what a run records, however it was started."""


class GroupedCommand(TyperCommand):
    """A command whose ``--help`` lists its options by group, in plain text, and in 40 columns too.

    Typer's rich help looks much the same, but importing what it needs takes 0.14 s of a 0.25 s answer.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write one section per ``rich_help_panel``, in the order of the options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or kind, []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                # Beside its option where there is room for both, else below it.
                formatter.write_dl(records, col_max=30 if formatter.width > 60 else 4)


app = typer.Typer(
    name=PROGRAM,
    help="Train, evaluate and plot the classic convolutional networks.",
    epilog="Start with: cnnzoo train lenet",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ImportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="MODULE",
        help="A Python module, or the path of its file, to import first: it registers models of your own.",
    ),
]

EARLY_IMPORTS: list[str] = []
"""Modules of an ``--import`` that stands before the command: a run notes them as if they stood behind it."""


def import_option(modules: list[str] | None) -> None:
    """Import the modules of ``--import``, if there are any."""
    if modules:
        from cnnzoo.models.registry import import_models

        import_models(tuple(modules))


def is_first() -> bool:
    """Whether this is the first of several processes that train together, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _version(asked: bool) -> None:
    if asked:
        import platform

        import torch

        from cnnzoo.device import describe_device, pick_device, prepare
        from cnnzoo.version import __version__

        device = pick_device("auto")
        prepare(device)
        typer.echo(f"cnnzoo {__version__}")
        typer.echo(f"torch {torch.__version__}")
        typer.echo(f"Python {platform.python_version()}")
        typer.echo(f"device {device} ({describe_device(device)})")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _start(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_version, help="Name cnnzoo, torch, Python and the device."
        ),
    ] = False,
    import_: ImportOption = None,
) -> None:
    if "TORCHELASTIC_RUN_ID" in os.environ and ctx.invoked_subcommand not in (None, "train"):
        if not is_first():
            raise AlreadyToldError(2)
        ctx.fail(f"{ctx.invoked_subcommand} is not what torchrun is for: only train is. Leave torchrun out")
    import_option(import_)
    EARLY_IMPORTS[:] = import_ or ()
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
