"""The command line: one file per command. Each parses, calls the library once, and prints.

Nothing here imports torch, pandas or matplotlib at its top, so that ``cnnzoo --help`` answers at once; and in this file
nothing imports Typer at its top, so that Ctrl-C is answered before that.
"""

import signal
import sys

from cnnzoo.interrupts import Interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def main() -> None:
    """Run the command line: faults of the user's side become one line on stderr and an exit code."""
    try:
        with Interrupt(after=signal.SIG_DFL):  # what is left then is to print a line and to end
            code = _run()
    except BaseException as error:
        from cnnzoo.cli.failures import exit_code_of

        answer = exit_code_of(error)
        if answer is None:
            raise
        code = answer
    sys.exit(code)


def _run() -> int:
    """Run the command that was typed; return its exit code."""
    import logging
    import shutil

    from cnnzoo.cli import streams

    streams.make_safe()
    # Whoever imports matplotlib, as captum does: it warns of folders that it makes itself.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from cnnzoo.cli.app import PROGRAM, app

    sys.argv[0] = PROGRAM  # a run records its command
    _register_commands()
    # Typer's own help never gets narrower than 50 columns.
    columns = min(shutil.get_terminal_size().columns, 80)
    with _group():
        code = app(prog_name=PROGRAM, standalone_mode=False, terminal_width=max(columns - 2, 20))
        if code == 130:  # typer's answer to Ctrl-C
            raise KeyboardInterrupt
        sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _register_commands() -> None:
    # Each module adds its command to `app` when it is imported, in the order of `--help`.
    from cnnzoo.cli import (  # noqa: F401, I001
        train, sweep, lr_find, eval, predict, plot, report, explore,
        compare, runs, verify, summary, models, data, bench, reproduce,
    )  # fmt: skip


def _group() -> "AbstractContextManager[object]":
    """Join the others where torchrun or --processes started several to train, and only then import torch."""
    import os
    from contextlib import nullcontext

    if os.environ.get("WORLD_SIZE", "1") == "1" or "train" not in sys.argv or {"-h", "--help"} & {*sys.argv}:
        return nullcontext()
    from cnnzoo.distributed.group import process_group

    return process_group()
