"""One value against one type annotation or notation, with an error that a person can act on."""

import math
import os
import re
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from cnnzoo.errors import UsageError, shown

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def check(name: str, annotation: Any, value: object) -> Any:  # noqa: ANN401
    """Return ``value`` as ``annotation`` has it: ``"1e-3"`` becomes 0.001 for a float.

    Args:
        name: What to call the value in an error.
        annotation: A type, with any bounds in ``Annotated``.
        value: What was given, as text (command line, YAML) or already typed.

    Raises:
        UsageError: The value does not fit; the message names the range or the choices.
    """
    if isinstance(value, str) and get_origin(_bare(annotation)) is tuple:
        value = [part.strip() for part in value.split(",") if part.strip() and part.strip() != "none"]
    if isinstance(value, str):  # the number that it spells, where that is a choice
        value = next((choice for choice in choices(annotation) if str(choice) == value), value)
    try:
        checked = _adapter(annotation).validate_python(value)
        if isinstance(value, bool) and checked is not value:  # Python's True is a 1
            raise ValueError(value)
        if isinstance(checked, float) and not math.isfinite(checked):
            raise ValueError(checked)
        if isinstance(checked, str | Path) and b"\0" in os.fsencode(checked):
            raise ValueError(checked)
    except ValueError as error:  # pydantic's ValidationError is one, and a text that no path can have
        given = "an empty text" if value == "" else shown(value)
        raise UsageError(f"{name} must be {describe_type(annotation)}, not {given}.") from error
    return checked


@lru_cache(maxsize=256)
def _adapter(annotation: Any) -> "TypeAdapter[Any]":  # noqa: ANN401
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


def _bare(annotation: Any) -> Any:  # noqa: ANN401
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def choices(annotation: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Return the values of which one fits, where an annotation names them; else none."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    inner = get_args(annotation) if get_origin(annotation) in (Annotated, Union, UnionType) else ()
    return next((found for one in inner if (found := choices(one))), ())


def describe_type(annotation: Any) -> str:  # noqa: ANN401
    """Say in words what fits ``annotation``: ``a number above 0``, ``one of none, cosine, step``."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [words for extra in args[1:] if (words := _bound(extra))]
        return " ".join([describe_type(args[0]), " and ".join(bounds)]).strip()
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in args)
    if origin in (Union, UnionType):
        return " or ".join(describe_type(arg) for arg in args if arg is not type(None))
    if origin is tuple:
        return f"a list, each {describe_type(args[0])}"
    if origin is dict:
        return "a mapping of names to values"
    kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Any: "any value"}
    return kinds.get(annotation, f"a {getattr(annotation, '__name__', annotation)}".lower())


def _bound(extra: object) -> str:
    words = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}
    found = {word: getattr(extra, sign) for sign, word in words.items() if hasattr(extra, sign)}
    return " and ".join(f"{word} {bound:g}" for word, bound in found.items() if bound != math.inf)


def as_seconds(name: str, text: str) -> float:
    """Return a time such as ``90s``, ``10m`` or ``2h`` in seconds; infinity for ``off``.

    Raises:
        UsageError: It is no such time.
    """
    if text == "off":
        return math.inf
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)([smh])", text.strip())
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if not seconds:
        raise UsageError(f"{name} must be a time above 0 such as 90s, 10m or 2h, or off, not {shown(text)}.")
    return seconds


def as_thread_plan(threads: int | str) -> list[tuple[int, int, int]] | None:
    """Return ``2,1@1:340`` as ``[(1, 0, 2), (1, 340, 1)]``: epoch, step, threads from there on; None for ``auto``.

    Raises:
        UsageError: It is no such record, no number and not ``auto``.
    """
    text = str(threads)
    if text == "auto":
        return None
    if re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3}@[1-9]\d*:\d+)*", text):
        first, *others = text.split(",")
        switches = [tuple(map(int, re.split("[@:]", other))) for other in others]
        plan = [(1, 0, int(first)), *((epoch, step, number) for number, epoch, step in switches)]
        if plan == sorted(plan):
            return plan
    raise UsageError(
        "threads must be auto, a number of at least 1, or a record as a run's config.yaml has it, such as "
        f"2,1@1:340, not {shown(threads)}."
    )
