"""Settings in YAML files: what a run writes down, and what a person writes for one."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cnnzoo.config import TrainConfig
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.plain_yaml import read_mapping

RECORDED = "recorded"
"""The key under which a run's config.yaml notes what it ran on; reading a config ignores it."""

TARGET = "target"
"""The key under which a recipe names the result that it aims at; ``cnnzoo reproduce`` reads it."""


VARY, VARIANTS = "vary", "variants"
"""The keys under which a sweep names what it varies; ``cnnzoo sweep`` reads them."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the settings in a YAML file, without what a recipe aims at and what a finished run recorded.

    Raises:
        CnnzooError: The file cannot be read, is not a YAML mapping of plain values, or is that of a sweep.
    """
    values, *several = read_sweep(path)
    if any(several):
        raise UsageError(f"{path} holds the settings of several runs. Train them with `cnnzoo sweep {path}`.")
    return values


def read_sweep(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Read a YAML file of settings that may name what is varied.

    Returns:
        The settings, the values of each that is varied, and the settings of each variant.

    Raises:
        CnnzooError: The file cannot be read, or is not a YAML mapping of plain values.
    """
    values = read_mapping(path)
    values.pop(RECORDED, None)
    values.pop(TARGET, None)
    vary, variants = (values.pop(key, None) or {} for key in (VARY, VARIANTS))
    for key, found in ((VARY, vary), (VARIANTS, variants)):
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise UsageError(f"{key} in {path} is no list of names. Write each in a line below it: NAME: ...")
    return values, vary, variants


def read_recorded(run: Path) -> dict[str, Any]:
    """Return what a run's config.yaml has recorded; nothing where there is none that can be read."""
    try:
        recorded = read_mapping(run / "config.yaml").get(RECORDED)
    except CnnzooError:
        return {}
    return recorded if isinstance(recorded, dict) else {}


def as_yaml(config: TrainConfig, recorded: Mapping[str, Any]) -> bytes:
    """Return a config that ``cnnzoo train --config`` can run again, with notes on what it ran on."""
    import yaml

    values = {**config.to_dict(), RECORDED: dict(recorded)}
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    try:
        return text.encode()
    except UnicodeEncodeError:  # a file name of bytes that are no UTF-8
        return yaml.safe_dump(values, sort_keys=False).encode()


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
