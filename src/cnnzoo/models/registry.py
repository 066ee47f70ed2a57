"""The registry of models: what a name builds, and what the model says of itself."""

import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module, invalidate_caches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cnnzoo.config import Count
from cnnzoo.errors import CnnzooError, UsageError, one_line, unknown
from cnnzoo.files import expanded
from cnnzoo.models.lazy import give_sizes
from cnnzoo.registries import MODEL_ENTRY_POINTS, TORCHVISION
from cnnzoo.validation import check

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])

ChannelStats = tuple[float, ...]
"""A mean or a standard deviation for each channel, of pixels in [0, 1]."""

Normalization = Callable[[ChannelStats, ChannelStats], tuple[ChannelStats, ChannelStats]]
"""From the training pixels' mean and deviation to what is subtracted from pixels and what they are divided by."""

_STRUCTURE = ("num_classes", "in_channels", "image_size")


@dataclass(frozen=True)
class ModelSpec:
    """What a model says of itself.

    Attributes:
        name: What a person types.
        build: Called with ``num_classes``, ``in_channels``, ``image_size`` (if it takes one) and options.
        paper: Who published it, short: ``LeCun et al.``
        year: When; None where that is not known.
        image_size: Pixels a side of the images that it was made for.
        in_channels: Channels that it was made for, where no dataset says otherwise.
        num_classes: Classes that it was made for, where no dataset says otherwise.
        normalization: From the training pixels' mean and standard deviation to what the paper has subtracted from
            pixels and divided them by; None for those two themselves.
        pad: Whether smaller images are laid into the middle of a black one, as the paper has it, and not enlarged;
            those of folders are cut to the net's size as they are read.
        pretrained: Fetches weights that its makers have trained.
        num_parameters: For its own classes and channels, where its makers say so.
    """

    name: str
    build: Callable[..., nn.Module]
    paper: str
    year: int | None
    image_size: int
    in_channels: int
    num_classes: int
    normalization: Normalization | None = None
    pad: bool = False
    pretrained: Callable[[], Mapping[str, Tensor]] | None = None
    num_parameters: int | None = None

    @property
    def takes_image_size(self) -> bool:
        """Whether the net can be built for images of another size."""
        return "image_size" in inspect.signature(self.build).parameters

    @property
    def takes_in_channels(self) -> bool:
        """Whether the net can be built for grey and for colour images; else images are made what it takes."""
        parameters = inspect.signature(self.build).parameters
        return "in_channels" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())

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

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the builder is called with, defaults included, where ``given`` is."""
        parameters = inspect.signature(self.build).parameters
        defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
        return {"image_size": self.image_size, **defaults, **given}


_specs: dict[str, ModelSpec] = {}
_late: dict[str, Callable[[], None]] = {}
_broken: dict[str, str] = {}


def register_model(
    name: str,
    *,
    image_size: int,
    paper: str = "",
    year: int | None = None,
    in_channels: int = 3,
    num_classes: int = 10,
    normalization: Normalization | None = None,
    pad: bool = False,
    pretrained: Callable[[], Mapping[str, Tensor]] | None = None,
    num_parameters: int | None = None,
) -> Callable[[Builder], Builder]:
    """Register the decorated class or function as the builder of model ``name``.

    It is called with keywords only: ``num_classes``, ``in_channels``, ``image_size`` where it has such a
    parameter, and the model's options, whose annotations say which values fit. A net with a loss of its own has
    a method ``criterion(logits, labels)``; one whose paper is known may have an attribute ``deviations``: in words,
    how it differs from it. The arguments are the attributes of ModelSpec.

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
        _specs[name] = ModelSpec(
            name=name,
            build=build,
            paper=paper,
            year=year,
            image_size=image_size,
            in_channels=in_channels,
            num_classes=num_classes,
            normalization=normalization,
            pad=pad,
            pretrained=pretrained,
            num_parameters=num_parameters,
        )
        return build

    return register


def register_late(prefix: str, register_all: Callable[[], None]) -> None:
    """Have models whose names begin with ``prefix`` registered once one is asked for: their import takes time."""
    _late[prefix] = cache(register_all)


@cache
def _load_entry_points() -> None:
    """Register cnnzoo's own models, then those of installed packages (entry-point group cnnzoo.models)."""
    import_module("cnnzoo.models")
    for point in entry_points(group=MODEL_ENTRY_POINTS):
        try:
            point.load()
        except Exception as error:  # somebody else's package must not take the other models away
            _broken[point.value] = one_line(error)


def import_models(modules: tuple[str, ...]) -> None:
    """Import modules that register models, found as Python finds them or in the current folder, or by their path.

    Raises:
        CnnzooError: A module does not exist or fails on import, or another one has its name.
    """
    _load_entry_points()
    invalidate_caches()
    here = str(Path.cwd())
    if modules and here not in sys.path:
        sys.path.insert(0, here)  # a console script does not look in the current folder by itself
    for module in modules:
        try:
            name, file = module_of(module)
            if file:
                above = str(file.parents[name.count(".") + (file.stem == "__init__")])
                sys.path.insert(0, above)  # before all others, for what it imports from beside it
            found = import_module(name).__file__
        except CnnzooError:
            raise
        except Exception as error:
            raise CnnzooError(
                f"cannot import {module!r}: {one_line(error)}. "
                "Give a module's name as Python has it, such as my_package.my_models, or the path of its file."
            ) from error
        if file and not (found and file.samefile(found)):
            raise CnnzooError(
                f"cannot import {module!r}: another module has the name {name!r} already, "
                f"{found or 'built into Python'}. Import one of the two, or rename the file."
            )


def module_of(module: str) -> tuple[str, Path | None]:
    """Return a module's name, and its file where it is given by that: ``nets/mine.py`` is ``mine``, of that file.

    Of a file in a package the name begins with the package's, so that its relative imports find what is beside it.

    Raises:
        CnnzooError: There is no such file.
    """
    path = Path(module)
    if path.suffix != ".py" and len(path.parts) < 2:
        return module, None
    path = expanded(path).absolute()
    file = path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        raise CnnzooError(f"cannot import {module!r}: there is no such file. Check the path.")
    names = [] if file.stem == "__init__" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return ".".join(names), file


def list_models() -> list[str]:
    """Return the names of all models, sorted: cnnzoo's, those of other packages, and torchvision's."""
    _load_entry_points()
    for register_all in _late.values():
        register_all()
    return sorted(_specs, key=lambda name: (name.startswith(TORCHVISION), name))


def broken_packages() -> dict[str, str]:
    """Return the installed packages whose models could not be imported, and why."""
    _load_entry_points()
    return dict(_broken)


def is_registered(name: str) -> bool:
    """Whether there is a model of that name."""
    _load_entry_points()
    for prefix, register_all in _late.items():
        if name.startswith(prefix):
            register_all()
    return name in _specs


def get_spec(name: str) -> ModelSpec:
    """Return what model ``name`` says of itself.

    Raises:
        UsageError: There is no such model; the message names the nearest.
    """
    if not is_registered(name):
        names = list_models()
        if f"{TORCHVISION}{name}" in names:
            raise UsageError(f"unknown model {name!r}. Did you mean {TORCHVISION + name!r}?")
        theirs = [known for known in names if known.startswith(TORCHVISION)]
        error = unknown("model", name, [*(set(names) - set(theirs)), f"{TORCHVISION}NAME"], more=theirs)
        broken = "".join(f" The installed {value} failed to import: {why}." for value, why in _broken.items())
        raise UsageError(f"{error}{broken}")
    return _specs[name]


def create_skeleton(name: str, **arguments: Any) -> nn.Module:  # noqa: ANN401
    """Build a model as ``create_model`` does, without memory for its weights if that can be.

    A net may need real numbers to be built, as some of torchvision's do; then it has fresh weights.
    """
    try:
        with torch.device("meta"):
            return create_model(name, **arguments)
    except (UsageError, TypeError):  # the latter's traceback comes from the builder itself, below
        return create_model(name, **arguments)


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | None = None,
    **options: Any,  # noqa: ANN401
) -> nn.Module:
    """Build a model with fresh weights, in its lazy layers too.

    Args:
        name: A registered model.
        num_classes: Outputs of the net; by default what the model was made for.
        in_channels: Channels of its images ``(N, C, H, W)``; likewise.
        image_size: Pixels a side; likewise.
        **options: The model's own, as values or as text (``dropout="0.3"``).

    Raises:
        UsageError: No such model or option, or a value that does not fit; or a lazy layer that gets no size.
    """
    spec = get_spec(name)
    arguments = spec.check_options(options)
    structure = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    for key, value in structure.items():
        arguments[key] = getattr(spec, key) if value is None else check(key, Count, value)
    size, channels = arguments["image_size"], arguments["in_channels"]
    if not spec.takes_image_size and arguments.pop("image_size") != spec.image_size:
        raise UsageError(
            f"{name} takes images of {spec.image_size}x{spec.image_size} only. Leave the size out."
        )
    if not spec.takes_in_channels and arguments.pop("in_channels") != spec.in_channels:
        raise UsageError(
            f"{name} takes images of {spec.in_channels} channel(s) only. Leave the channels out."
        )
    try:
        inspect.signature(spec.build).bind(**arguments)
    except TypeError as error:  # an option that has no default is not given, say
        raise UsageError(f"cannot build {name}: {one_line(error)}.") from error
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Lazy modules", UserWarning)  # that torch may change them yet
            model = spec.build(**arguments)
        give_sizes(model, (2, channels, size, size))
    except (
        ValueError,
        RuntimeError,
        AssertionError,
    ) as error:  # of a value, that the builder or torch refuses
        raise UsageError(f"cannot build {name}: {one_line(error)}.") from error
    except TypeError as error:
        if "Overflow" not in str(
            error
        ):  # which torch says of a number beyond its own; else it is somebody's bug
            raise
        raise UsageError(f"cannot build {name}: {one_line(error)}.") from error
    return model
