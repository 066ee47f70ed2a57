"""What differs between the settings of two runs."""

from collections.abc import Collection, Mapping
from typing import Any


def differing(
    one: Mapping[str, Any], other: Mapping[str, Any], ignored: Collection[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, by name, each as it is in the one and in the other.

    Args:
        one: Plain values by name, as ``TrainConfig.to_dict`` returns them.
        other: Likewise.
        ignored: Names of settings that may differ.
    """
    return {
        name: (one.get(name), other.get(name))
        for name in {**one, **other}
        if name not in ignored and one.get(name) != other.get(name)
    }


def in_words(differ: Mapping[str, tuple[Any, Any]]) -> dict[str, str]:
    """Return differences as words, by name: ``lr (was 0.1, now 0.01)``."""
    return {name: f"{name} (was {was!r}, now {now!r})" for name, (was, now) in differ.items()}
