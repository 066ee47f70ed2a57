"""Parsing that several commands share."""

from collections.abc import Iterable

from cnnzoo.errors import UsageError


def parse_options(texts: Iterable[str]) -> dict[str, str]:
    """Return ``["dropout=0.3"]`` as ``{"dropout": "0.3"}``; of a name given twice the last counts.

    Raises:
        UsageError: A text is not NAME=VALUE.
    """
    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"option {text!r} is not NAME=VALUE. Write it as in -o dropout=0.3.")
        options[name.strip()] = value.strip()
    return options
