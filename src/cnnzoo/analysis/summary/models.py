"""The list of networks, from a table where nothing but cnnzoo's own and torchvision's can be in it.

To build the nets takes torch, whose import takes seconds. So what cnnzoo's own come to is in a file of the package,
which a test holds equal to what is registered, and torchvision's names are kept by its version.
"""

import json
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import entry_points, version
from importlib.resources import files
from inspect import Parameter
from pathlib import Path
from typing import Any

from cnnzoo.errors import CnnzooError
from cnnzoo.files import replacing
from cnnzoo.registries import MODEL_ENTRY_POINTS, TORCHVISION
from cnnzoo.validation import describe_type

MODEL_TABLE = "models.json"
"""The file beside this one; ``python scripts/make_model_table.py`` makes it."""


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A registered model, as ``cnnzoo train`` would make it for Fashion-MNIST; torchvision's as their makers have.

    Attributes:
        name: What a person types.
        paper: Who published it, short.
        year: When; None where that is not known.
        input_size: Of its images ``(C, H, W)``.
        num_classes: Its outputs.
        parameters: Numbers that it learns; None if it could not be built.
        mult_adds: Multiply-adds for one image, likewise.
        options: Its own, by name: what each takes, in words, and its default.
        fault: Why it could not be built.
    """

    name: str
    paper: str
    year: int | None
    input_size: tuple[int, int, int]
    num_classes: int
    parameters: int | None = None
    mult_adds: int | None = None
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    fault: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without the fault."""
        values = asdict(self)
        del values["fault"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelEntry":
        """Build it from what ``to_dict`` gives."""
        channels, height, width = values["input_size"]
        return cls(**{**values, "input_size": (channels, height, width)})


def list_entries(cache: Path) -> list[ModelEntry]:
    """Describe every model: from the table and torchvision's kept names where that is all there can be.

    Args:
        cache: The folder for torchvision's names; where it cannot be written, they are asked for each time.
    """
    if "cnnzoo.models.registry" in sys.modules or entry_points(group=MODEL_ENTRY_POINTS):
        return describe_models()
    text = files("cnnzoo.analysis.summary").joinpath(MODEL_TABLE).read_text(encoding="utf-8")
    return [*map(ModelEntry.from_dict, json.loads(text)), *_torchvisions(cache)]


def _torchvisions(cache: Path) -> list[ModelEntry]:
    path = cache / f"torchvision-{version('torchvision')}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # there is none yet, or it is damaged
        return [ModelEntry.from_dict(values) for values in json.loads(path.read_text(encoding="utf-8"))]
    entries = [entry for entry in describe_models() if entry.name.startswith(TORCHVISION)]
    with suppress(OSError, CnnzooError):
        cache.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(json.dumps([entry.to_dict() for entry in entries]).encode())
    return entries


def describe_models() -> list[ModelEntry]:
    """Describe every registered model, without giving any of them memory.

    One whose makers say its parameters is not built: torchvision has 80, which would take a minute.
    """
    from cnnzoo.models.registry import get_spec, list_models

    return [_describe(get_spec(name)) for name in list_models()]


def _option(option: Parameter) -> dict[str, Any]:
    takes = describe_type(option.annotation)
    if option.default is option.empty:
        return {"takes": takes, "default": None, "required": True}
    return {"takes": takes, "default": option.default}


def _describe(spec: Any) -> ModelEntry:  # noqa: ANN401  (a ModelSpec, whose module imports torch)
    from cnnzoo.analysis.summary.summary import summarize
    from cnnzoo.data.datasets import describe_dataset
    from cnnzoo.data.named.catalog import DEFAULT_DATASET
    from cnnzoo.models.registry import create_skeleton

    is_theirs = spec.num_parameters is not None
    channels, classes = (
        (spec.in_channels, spec.num_classes) if is_theirs else describe_dataset(DEFAULT_DATASET)
    )
    size = (channels, spec.image_size, spec.image_size)
    parameters, mult_adds, fault = spec.num_parameters, None, None
    if not is_theirs:
        try:
            net = create_skeleton(spec.name, num_classes=classes, in_channels=channels)
            summary = summarize(net, (1, *size))
            parameters, mult_adds = summary.parameters, summary.mult_adds
        except CnnzooError as error:  # one model that does not work must not hide the others
            fault = str(error)
    return ModelEntry(
        name=spec.name,
        paper=spec.paper,
        year=spec.year,
        input_size=size,
        num_classes=classes,
        parameters=parameters,
        mult_adds=mult_adds,
        options={name: _option(option) for name, option in spec.options.items()},
        fault=fault,
    )
