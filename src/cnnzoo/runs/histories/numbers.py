"""Numbers as people and spreadsheets write them: decimal commas, thousands, percent, and cells without a number."""

import re
from collections.abc import Iterable

MISSING = frozenset(
    (
        *("", "na", "n/a", "n.a.", "#n/a", "#na", "<na>", "null", "(null)", "nil", "none", "missing"),
        *("?", ".", "-", "--", "–", "—", "#div/0!", "#value!", "#num!", "#name?", "#ref!", "#null!"),
    )
)
"""What stands in a cell where nothing was measured, in lower case."""

_NAN = re.compile(r"[+-]?(nan(\(\w*\))?|1[.,]#(qnan|snan|ind)\d*)")
_INFINITE = re.compile(r"([+-]?)(∞|1[.,]#inf\d*)")
_GROUPS = re.compile(r"(?<=\d)[\s'’](?=\d{3}(?!\d))")  # 1 234 567 in French, 1'234'567 in Swiss
_IS_PLAIN = re.compile(r"[-+\d.,]*(e[-+]?\d+)?").fullmatch
_AMBIGUOUS = re.compile(r"%?[+-]?[1-9]\d{0,2}[.,]\d{3}%?")
_DIGITS = re.compile(r"%?[+-]?([\d.,]+)(e[+-]?\d+)?%?")


def decimal_mark(cells: Iterable[str]) -> str | None:
    """Return what stands before decimals, "." or ",", if the cells prove one of the two and not the other.

    ``0,95`` proves the comma, ``1,234.5`` the point; ``1,234`` may be either.
    """
    proven = {_proven_mark(_plain(cell)) for cell in cells} - {None}
    return proven.pop() if len(proven) == 1 else None


def is_ambiguous(cell: str) -> bool:
    """Whether a cell's one mark may be that of decimals or of thousands: ``1,234`` and ``12.345``."""
    return _AMBIGUOUS.fullmatch(_plain(cell)) is not None


def to_number(cell: str, mark: str) -> tuple[float, bool]:
    """Return the number in a cell, and whether it is written with a percent sign (95.0 for ``95 %``).

    Args:
        cell: What the cell holds.
        mark: What stands before decimals; the other of "." and "," is that of thousands, or of decimals
            too where it can be nothing else.

    Raises:
        ValueError: It is not a number.
    """
    text = _plain(cell)
    if _NAN.fullmatch(text):
        return float("nan"), False
    if infinite := _INFINITE.fullmatch(text):
        return float(f"{infinite[1]}inf"), False
    thousands = "," if mark == "." else "."
    if thousands in text and _proven_mark(text) == thousands:
        mark, thousands = thousands, mark
    grouped = re.escape(thousands)
    if thousands in text and not re.match(
        rf"[+-]?\d{{1,3}}({grouped}\d{{2,3}})*{grouped}\d{{3}}(?!\d)", text
    ):
        raise ValueError(f"{thousands!r} parts no thousands")
    text = text.replace(thousands, "").replace(mark, ".")
    return float(text.strip("%")), "%" in text


def is_number(cell: str) -> bool:
    """Whether a cell holds a number, in any country's writing."""
    try:
        to_number(cell, ".")
    except ValueError:
        return False
    return True


def _plain(cell: str) -> str:
    """Return a cell in lower case, with one kind of minus and of percent, and without marks that are no part of it."""
    if _IS_PLAIN(cell):  # as nearly all are, of logs of a million steps
        return cell
    text = cell.strip().lower().replace("−", "-").replace("％", "%")
    text = re.sub(r'^="?|^\'|"$', "", text)  # ="0.95" and '0.95: what spreadsheets keep as text
    return _GROUPS.sub("", re.sub(r"\s*%\s*", "%", text))


def _proven_mark(text: str) -> str | None:
    """Return the mark of decimals that a plain number proves."""
    found = _DIGITS.fullmatch(text)
    if found is None or not (marks := "".join(sign for sign in found[1] if sign in ".,")):
        return None
    last, other = marks[-1], "." if marks[-1] == "," else ","
    if len(marks) > 1:  # 1,234.5 and 1.234.567
        return other if marks == last * len(marks) else last
    return None if _AMBIGUOUS.fullmatch(text) else last
