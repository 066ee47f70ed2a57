"""The command line: one file per command. Each parses, calls the library once, and prints.

Nothing here imports torch, pandas or matplotlib at its top, so that ``cnnzoo --help`` answers at once.
"""

import os
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cnnzoo.cli import streams
from cnnzoo.errors import AlreadyToldError, CnnzooError, meant_setting, one_line
from cnnzoo.signals import interrupts_remembered

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


def _version(asked: bool) -> None:
    if asked:
        import platform

        import torch

        from cnnzoo.device import describe_device, pick_device
        from cnnzoo.version import __version__

        device = pick_device("auto")
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
        if not _is_first():
            raise AlreadyToldError(2)
        ctx.fail(f"{ctx.invoked_subcommand} is not what torchrun is for: only train is. Leave torchrun out")
    import_option(import_)
    EARLY_IMPORTS[:] = import_ or ()
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def _register_commands() -> None:
    # Each module adds its command to `app` when it is imported, in the order of `--help`.
    from cnnzoo.cli import (  # noqa: F401, I001
        train, sweep, lr_find, eval, predict, plot, report, explore,
        compare, runs, verify, summary, models, data, bench, reproduce,
    )  # fmt: skip


def main() -> None:
    """Run the command line: faults of the user's side become one line on stderr and an exit code."""
    streams.make_safe()
    sys.argv[0] = PROGRAM  # a run records its command
    try:
        with interrupts_remembered():
            _register_commands()
            # Typer's own help never gets narrower than 50 columns.
            columns = min(shutil.get_terminal_size().columns, 80)
            with _group():
                code = app(prog_name=PROGRAM, standalone_mode=False, terminal_width=max(columns - 2, 20))
                if code == 130:  # typer's answer to Ctrl-C
                    raise KeyboardInterrupt
                sys.stdout.flush()
    except typer.TyperException as error:
        _fail(_usage_line(error), error.exit_code)
    except AlreadyToldError as error:
        sys.exit(error.exit_code)
    except CnnzooError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        if not _is_first():  # of several processes one says it
            sys.exit(130)
        _fail("stopped.", 130)
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        streams.discard(sys.stdout)  # typer and rich end with 1 where the reader (`| head`) has seen enough
        sys.exit(0)
    except OSError as error:
        if (
            error.filename is not None or not streams.output_is_broken()
        ):  # cnnzoo should have answered it itself
            raise
        streams.discard(sys.stdout)
        if isinstance(error, BrokenPipeError):
            sys.exit(0)
        _fail(f"cannot write to standard output: {one_line(error)}. Send it elsewhere.", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _group() -> AbstractContextManager[object]:
    """Join the others where torchrun or --processes started several to train, and only then import torch."""
    if os.environ.get("WORLD_SIZE", "1") == "1" or "train" not in sys.argv or {"-h", "--help"} & {*sys.argv}:
        return nullcontext()
    from cnnzoo.distributed.group import process_group

    return process_group()


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _usage_line(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else PROGRAM
    message = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
    flag = getattr(error, "option_name", None)
    if context and flag and (meant := meant_setting(flag)):
        instead = _instead(context, meant)
        message = f"No such option: {flag}. {instead}" if instead else message
    return f"{message}{'' if message.endswith('?') else '.'} See `{command} --help`."


def _instead(context: typer.Context, meant: str) -> str:
    """Return what a person is to type for the setting that was meant, if the command has it."""
    for parameter in context.command.params:
        if parameter.name == meant and parameter.param_type_name == "argument":
            return f"Name the {meant} without a flag, as in `{context.command_path} {parameter.metavar}`"
        if parameter.name == meant:
            return f"Did you mean {next(flag for flag in parameter.opts if flag.startswith('--'))}?"
    return ""


def _fail(message: str, code: int) -> None:
    from cnnzoo.ui.screen import print_error

    try:
        print_error(message)
    except (OSError, SystemExit):  # the latter is rich's answer to a reader that is gone
        streams.discard(sys.stderr)
    sys.exit(code)
