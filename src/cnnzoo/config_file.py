"""Settings in YAML files: what a run writes down, and what a person writes for one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnzoo.config import TrainConfig, current_names
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.files import replacing
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
    return current_names(values), vary, variants


def read_recorded(run: Path) -> dict[str, Any]:
    """Return what a run's config.yaml has recorded; nothing where there is none that can be read."""
    try:
        recorded = read_mapping(run / "config.yaml").get(RECORDED)
    except CnnzooError:
        return {}
    return recorded if isinstance(recorded, dict) else {}


def write_yaml(path: Path, config: TrainConfig, recorded: Mapping[str, Any]) -> None:
    """Write a config that ``cnnzoo train --config`` can run again, with notes on what it ran on.

    Raises:
        CnnzooError: It cannot be written.
    """
    import yaml

    values = {**config.to_dict(), RECORDED: dict(recorded)}
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    try:
        content = text.encode()
    except UnicodeEncodeError:  # a file name of bytes that are no UTF-8
        content = yaml.safe_dump(values, sort_keys=False).encode()
    with replacing(path) as file:
        file.write(content)
