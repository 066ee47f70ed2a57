"""What a user can mend. Everything else is a bug of cnnzoo and keeps its traceback."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from reprlib import Repr


class CnnzooError(Exception):
    """A fault outside cnnzoo: one line that says what happened and what to do next (exit code 1)."""

    exit_code = 1


class UsageError(CnnzooError):
    """A command, setting or name that cannot be right, whatever the machine (exit code 2)."""

    exit_code = 2


class AlreadyToldError(CnnzooError):
    """This process ends for a reason that another process of the same training tells."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("another process of this training says why it ended")
        self.exit_code = exit_code


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlevel = 2


def shown(value: object) -> str:
    """Return a value as Python writes it, cut short where it is long or deep."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"


def named(names: Sequence[str], most: int = 3) -> str:
    """Return the first few of some names, and how many more there are: ``ant, bee, cat and 297 more``."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return a question that names the nearest of ``choices``, with a space behind it; nothing where none is near."""
    near = get_close_matches(name[:60], choices, n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}? " if near else ""


def unknown(
    kind: str, name: str, choices: Iterable[str], *, more: Iterable[str] = (), listed: str = ""
) -> UsageError:
    """Build the error for a name that does not exist: the nearest match first, then all there are.

    Args:
        kind: What was named, such as ``"model"``.
        name: What was typed.
        choices: What could have been typed.
        more: What could have been typed too, and is too much to list.
        listed: Where all of them are listed, where that is too long for a line.
    """
    known = sorted(choices)
    hint = did_you_mean(name, [*known, *more])
    there_are = f"{listed} lists them" if listed else f"There are: {', '.join(known) or 'none'}"
    return UsageError(f"unknown {kind} {shown(name)}. {hint}{there_are}.")


def one_line(error: BaseException) -> str:
    """Return what an exception says, on one line and without its final stop."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).partition("\nException raised from")[0]  # torch may add the frames of its C++
    return " ".join(text.split()).rstrip(".!") or type(error).__name__
