"""Settings in YAML files: what a run writes down, and what a person writes for one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnzoo.config import TrainConfig, current_names
from cnnzoo.errors import CnnzooError
from cnnzoo.plain_yaml import read_mapping

RECORDED = "recorded"
"""The key under which a run's config.yaml notes what it ran on; reading a config ignores it."""

TARGET = "target"
"""The key under which a recipe names the result that it aims at; ``cnnzoo reproduce`` reads it."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the settings in a YAML file, without what a recipe aims at and what a finished run recorded.

    Raises:
        CnnzooError: The file cannot be read, or is not a YAML mapping of plain values.
    """
    values = read_mapping(path)
    values.pop(RECORDED, None)
    values.pop(TARGET, None)
    return current_names(values)


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
