"""What a person sees: tables, progress, warnings. The only module beside cli/ that knows rich."""

import sys

from rich.console import Console


def out() -> Console:
    """Return the console of stdout: plain text where it is no terminal."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def err() -> Console:
    """Return the console of stderr."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_error(message: str) -> None:
    """Print ``Error: message`` on stderr, on one line."""
    console = err()
    console.print("[bold red]Error:[/] ", end="")
    console.print(" ".join(message.split()), markup=False)
