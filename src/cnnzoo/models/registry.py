"""The registry of models: what a name builds, and what the model says of itself."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, TypeVar

from torch import nn

from cnnzoo.config import Count
from cnnzoo.errors import CnnzooError, UsageError, one_line, unknown
from cnnzoo.validation import check

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])

ENTRY_POINT_GROUP = "cnnzoo.models"

_STRUCTURE = ("num_classes", "in_channels", "image_size")


@dataclass(frozen=True)
class ModelSpec:
    """What a model says of itself.

    Attributes:
        name: What a person types.
        build: Called with ``num_classes``, ``in_channels``, ``image_size`` (if it takes one) and options.
        paper: Who published it, short: ``LeCun et al.``
        year: When.
        image_size: Pixels a side of the images that it was made for.
        in_channels: Channels that it was made for, where no dataset says otherwise.
        num_classes: Classes that it was made for, where no dataset says otherwise.
    """

    name: str
    build: Callable[..., nn.Module]
    paper: str
    year: int
    image_size: int
    in_channels: int
    num_classes: int

    @property
    def takes_image_size(self) -> bool:
        """Whether the net can be built for images of another size."""
        return "image_size" in inspect.signature(self.build).parameters

    @property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        try:
            return inspect.signature(self.build, eval_str=True).parameters
        except NameError:  # an annotation that exists for type checkers only
            plain = inspect.signature(self.build).parameters
            return {name: p.replace(annotation=p.empty) for name, p in plain.items()}

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The builder's own keywords, by name; one without a type takes values like its default."""
        options = {}
        for name, p in self._parameters.items():
            if name in _STRUCTURE or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                continue
            guess = Any if p.default is p.empty or p.default is None else type(p.default)
            options[name] = p.replace(annotation=guess) if p.annotation is p.empty else p
        return options

    def check_options(self, options: Mapping[str, object]) -> dict[str, Any]:
        """Return options as the builder takes them: ``{"dropout": "0.3"}`` becomes ``{"dropout": 0.3}``.

        Raises:
            UsageError: An option that the model does not have, or a value that does not fit it.
        """
        known = self.options
        for option in options:
            if option not in known:
                raise unknown(f"option of {self.name}:", option, known)
        return {o: check(f"{self.name}'s {o}", known[o].annotation, value) for o, value in options.items()}


_specs: dict[str, ModelSpec] = {}
_broken: dict[str, str] = {}


def register_model(
    name: str, *, paper: str, year: int, image_size: int, in_channels: int = 3, num_classes: int = 10
) -> Callable[[Builder], Builder]:
    """Register the decorated class or function as the builder of model ``name``.

    It is called with keywords only: ``num_classes``, ``in_channels``, ``image_size`` where it has such a
    parameter, and the model's options, whose annotations say which values fit.

    Raises:
        CnnzooError: The name is taken.
    """

    def register(build: Builder) -> Builder:
        known = _specs.get(name)
        if known is not None:
            raise CnnzooError(
                f"model name {name!r} is taken by {known.build.__module__}. "
                "Register yours under another name."
            )
        _specs[name] = ModelSpec(name, build, paper, year, image_size, in_channels, num_classes)
        return build

    return register


@cache
def _load_entry_points() -> None:
    """Register cnnzoo's own models, then those of installed packages (entry-point group cnnzoo.models)."""
    import_module("cnnzoo.models")
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            point.load()
        except Exception as error:  # somebody else's package must not take the other models away
            _broken[point.value] = one_line(error)


def import_models(modules: tuple[str, ...]) -> None:
    """Import modules that register models, found as Python finds them or in the current folder.

    Raises:
        CnnzooError: A module does not exist or fails on import.
    """
    import sys
    from pathlib import Path

    _load_entry_points()
    here = str(Path.cwd())
    if modules and here not in sys.path:
        sys.path.insert(0, here)  # a console script does not look in the current folder by itself
    for module in modules:
        try:
            import_module(module)
        except CnnzooError:
            raise
        except Exception as error:
            raise CnnzooError(
                f"cannot import {module!r}: {one_line(error)}. "
                "Give a module's name as Python has it, such as my_package.my_models."
            ) from error


def list_models() -> list[str]:
    """Return the names of all registered models, sorted."""
    _load_entry_points()
    return sorted(_specs)


def broken_packages() -> dict[str, str]:
    """Return the installed packages whose models could not be imported, and why."""
    _load_entry_points()
    return dict(_broken)


def get_spec(name: str) -> ModelSpec:
    """Return what model ``name`` says of itself.

    Raises:
        UsageError: There is no such model; the message names the nearest.
    """
    if name not in list_models():
        error = unknown("model", name, _specs)
        broken = "".join(f" The installed {value} failed to import: {why}." for value, why in _broken.items())
        raise UsageError(f"{error}{broken}")
    return _specs[name]


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | None = None,
    **options: Any,  # noqa: ANN401
) -> nn.Module:
    """Build a model with fresh weights.

    Args:
        name: A registered model.
        num_classes: Outputs of the net; by default what the model was made for.
        in_channels: Channels of its images ``(N, C, H, W)``; likewise.
        image_size: Pixels a side; likewise.
        **options: The model's own, as values or as text (``dropout="0.3"``).

    Raises:
        UsageError: No such model or option, or a value that does not fit.
    """
    spec = get_spec(name)
    arguments = spec.check_options(options)
    structure = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    for key, value in structure.items():
        arguments[key] = getattr(spec, key) if value is None else check(key, Count, value)
    if not spec.takes_image_size and arguments.pop("image_size") != spec.image_size:
        raise UsageError(
            f"{name} takes images of {spec.image_size}x{spec.image_size} only. Leave the size out."
        )
    try:
        return spec.build(**arguments)
    except (ValueError, TypeError, RuntimeError) as error:  # refused by the builder, or by torch's layers
        raise UsageError(f"cannot build {name}: {one_line(error)}.") from error


def feature_size(features: nn.Sequential, image_size: int) -> int:
    """Return the pixels a side that ``features`` makes of images with ``image_size`` pixels a side.

    Raises:
        CnnzooError: Nothing is left of such an image; the message names the smallest that works.
    """

    def after(size: int) -> int:
        for layer in features:
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
                kernel, stride, padding, dilation = (
                    value if isinstance(value, int) else int(value[0])
                    for value in (
                        layer.kernel_size,
                        layer.stride,
                        layer.padding,
                        getattr(layer, "dilation", 1),
                    )
                )
                size = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
                if size < 1:
                    return 0
        return size

    if (side := after(image_size)) < 1:
        smallest = image_size + 1
        while after(smallest) < 1:
            smallest += 1
        raise CnnzooError(
            f"images of {image_size}x{image_size} are too small for this net, which needs at least "
            f"{smallest}x{smallest}. Change --image-size."
        )
    return side
