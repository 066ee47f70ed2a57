"""YAML files of plain values: nothing in them runs, and a short file cannot unfold into gigabytes."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from cnnzoo.errors import CnnzooError, one_line

MAX_YAML = 1 << 16
"""Bytes of the largest file of settings that is read: a run's own has a thousand."""


def read_mapping(path: Path, *, as_text: bool = False) -> dict[str, Any]:
    """Read a YAML file of plain values, whatever their names.

    Args:
        path: The file.
        as_text: Whether names and values stay as they are written. YAML makes a truth of ``no`` and a number of
            ``0x1F``, which may be names.

    Raises:
        CnnzooError: The file cannot be read, or is not a YAML mapping of plain values.
    """
    import yaml

    try:
        with path.open("rb") as file:
            content = file.read(MAX_YAML + 1)
        if len(content) > MAX_YAML:
            raise yaml.YAMLError(f"it has more than {MAX_YAML >> 10} KiB")
        text = content.decode()
        values: object = _read_fast(text, as_text)
        if values is None:
            values = _read_carefully(text, as_text)
    except OSError as error:
        raise CnnzooError(f"cannot read {path}: {one_line(error)}. Check the path.") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        encoding = " but UTF-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else ""
        raise CnnzooError(f"{path} is not UTF-8 text{encoding} (line {line}). Save it as UTF-8.") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        why = f"line {mark.line + 1}: {getattr(error, 'problem', '')}" if mark else one_line(error)
        if isinstance(error, RecursionError):
            why = "it is nested too deep"
        raise CnnzooError(f"{path} is not a YAML file of plain settings ({why}). Fix it.") from error
    if not isinstance(values, dict):
        raise CnnzooError(f"{path} holds no settings. Write lines such as `lr: 0.001` into it.")
    return values


def _read_fast(text: str, as_text: bool) -> dict[str, Any] | None:
    """Return what libyaml makes of a text, ten times as fast; None where there is a fault, for the other to tell."""
    import yaml

    # An alias has an asterisk.
    if "*" not in text and (loader := getattr(yaml, "CBaseLoader" if as_text else "CSafeLoader", None)):
        with suppress(yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError):
            values = yaml.load(text, loader)  # builds plain values only
            return values if isinstance(values, dict) else None
    return None


def _read_carefully(text: str, as_text: bool) -> object:
    import yaml

    loader: Any = yaml.BaseLoader if as_text else yaml.SafeLoader

    class PlainLoader(loader):  # type: ignore[misc]
        """A loader without aliases: a short file cannot unfold into gigabytes."""

        def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401
            if self.check_event(yaml.events.AliasEvent):
                mark = self.peek_event().start_mark
                raise yaml.MarkedYAMLError(problem="aliases (*name) are not read", problem_mark=mark)
            return super().compose_node(parent, index)

    return yaml.load(text, PlainLoader)  # both build plain values only
