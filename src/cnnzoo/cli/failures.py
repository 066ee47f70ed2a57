"""What a person reads of an error that ends a command, and the exit code."""

import sys

import typer

from cnnzoo.cli import streams
from cnnzoo.cli.app import PROGRAM, is_first
from cnnzoo.errors import AlreadyToldError, CnnzooError, meant_setting, one_line


def exit_code_of(error: BaseException) -> int | None:
    """Print what a person is to read of the error that has ended a command, in one line on stderr.

    Returns:
        The exit code; None for a bug, whose traceback is to be shown, and for an end without an error.
    """
    match error:
        case typer.TyperException():
            return _print(_usage_line(error), error.exit_code)
        case AlreadyToldError():
            return error.exit_code
        case CnnzooError():
            return _print(str(error), error.exit_code)
        case KeyboardInterrupt() | typer.Abort():
            return _print("stopped.", 130) if is_first() else 130  # of several processes one says it
    return _lost_output(error)


def _lost_output(error: BaseException) -> int | None:
    """Return the exit code where the output's reader is gone or its disk full; None where that was not the error."""
    # Typer and rich end with 1 where the reader (`| head`) has seen enough.
    has_ended = isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
    # An error of a file that has a name should have been answered where it happened.
    is_lost = isinstance(error, OSError) and error.filename is None and streams.output_is_broken()
    if not (has_ended or is_lost):
        return None
    streams.discard(sys.stdout)
    if has_ended or isinstance(error, BrokenPipeError):
        return 0
    return _print(f"cannot write to standard output: {one_line(error)}. Send it elsewhere.", 1)


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


def _print(message: str, code: int) -> int:
    from cnnzoo.ui.screen import print_error

    try:
        print_error(message)
    except (OSError, SystemExit):  # the latter is rich's answer to a reader that is gone
        streams.discard(sys.stderr)
    return code
