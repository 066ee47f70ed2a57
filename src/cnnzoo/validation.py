"""One value against one type annotation, with an error that a person can act on."""

import math
import os
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
    try:
        checked = _adapter(annotation).validate_python(value)
        if isinstance(checked, float) and not math.isfinite(checked):
            raise ValueError(checked)
        if isinstance(checked, str | Path) and b"\0" in os.fsencode(checked):
            raise ValueError(checked)
    except ValueError as error:  # pydantic's ValidationError is one, and a text that no path can have
        given = "an empty text" if value == "" else shown(value)
        raise UsageError(f"{name} must be {describe(annotation)}, not {given}.") from error
    return checked


@lru_cache(maxsize=256)
def _adapter(annotation: Any) -> "TypeAdapter[Any]":  # noqa: ANN401
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


def _bare(annotation: Any) -> Any:  # noqa: ANN401
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def describe(annotation: Any) -> str:  # noqa: ANN401
    """Say in words what fits ``annotation``: ``a number above 0``, ``one of none, cosine, step``."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [words for extra in args[1:] if (words := _bound(extra))]
        return " ".join([describe(args[0]), " and ".join(bounds)]).strip()
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in args)
    if origin in (Union, UnionType):
        return " or ".join(describe(arg) for arg in args if arg is not type(None))
    if origin is tuple:
        return f"a list, each {describe(args[0])}"
    if origin is dict:
        return "a mapping of names to values"
    kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Any: "any value"}
    return kinds.get(annotation, f"a {getattr(annotation, '__name__', annotation)}".lower())


def _bound(extra: object) -> str:
    words = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}
    found = {word: getattr(extra, sign) for sign, word in words.items() if hasattr(extra, sign)}
    return " and ".join(f"{word} {bound:g}" for word, bound in found.items() if bound != math.inf)
