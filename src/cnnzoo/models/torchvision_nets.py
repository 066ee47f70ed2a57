"""torchvision's classifiers, all that the installed torchvision lists, as ``torchvision/NAME``.

Each is torchvision's own, for any number of classes and channels, without auxiliary classifiers. What the registry has
to know of them is in a table, so that torchvision, whose import takes a second, is imported only where one is built.
"""

import json
import warnings
from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from typing import Any

from torch import Tensor, nn

from cnnzoo.models.registry import register_late, register_model
from cnnzoo.registries import TORCHVISION, import_torchvision, version_of

TORCHVISION_TABLE = "torchvision.json"
"""File name of the table beside this module; ``python scripts/make_model_table.py`` makes it."""

_SIZE_KEYWORDS = {"vit": "image_size", "maxvit": "input_size"}
"""What a family calls the size that its nets are built for; the others take images of any size."""


def build(name: str, num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Build torchvision's net ``name``: ``(N, C, image_size, image_size)`` to logits ``(N, num_classes)``."""
    torchvision = import_torchvision()
    size = {"image_size": image_size, "input_size": (image_size, image_size)}
    keyword = _SIZE_KEYWORDS.get(name.split("_", maxsplit=1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # on how some future release will draw first weights
        model: nn.Module = torchvision.models.get_model(
            name, weights=None, num_classes=num_classes, **({keyword: size[keyword]} if keyword else {})
        )
    if getattr(model, "aux_logits", False):  # in training such a net returns more than logits
        model.aux_logits = False  # type: ignore[assignment]
        for child in [child for child, _ in model.named_children() if child.lower().startswith("aux")]:
            setattr(model, child, None)
    if in_channels != 3:
        _set_in_channels(model, in_channels)
    return model


def _set_in_channels(model: nn.Module, in_channels: int) -> None:
    """Put a convolution for other channels in the place of the first."""
    path, old = next((path, m) for path, m in model.named_modules() if isinstance(m, nn.Conv2d))
    parent, _, attribute = path.rpartition(".")
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        kernel_size=old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    setattr(model.get_submodule(parent), attribute, new)


def _pretrained(name: str) -> Mapping[str, Tensor]:
    torchvision = import_torchvision()
    # By way of a net: the names in some of the files are older than those of its layers.
    state: Mapping[str, Tensor] = torchvision.models.get_model(
        name, weights="DEFAULT", progress=False
    ).state_dict()
    return state


def read_torchvision() -> dict[str, Any]:
    """Return the table as the installed torchvision has it: its version, and what its makers say of each net."""
    models = import_torchvision().models
    return {
        "version": _version(),
        "models": {name: _says(name) for name in models.list_models(module=models)},
    }


def _says(name: str) -> dict[str, int]:
    weights = import_torchvision().models.get_model_weights(name).DEFAULT
    return {
        "image_size": weights.transforms.keywords["crop_size"],
        "num_classes": len(weights.meta["categories"]),
        "num_parameters": weights.meta["num_params"],
    }


def _version() -> str:
    return version_of("torchvision").partition("+")[0]  # builds for other devices have the same nets


def _register_all() -> None:
    table = json.loads(files(__package__).joinpath(TORCHVISION_TABLE).read_text(encoding="utf-8"))
    if table["version"] != _version():
        table = read_torchvision()
    for name, says in table["models"].items():
        register_model(
            f"{TORCHVISION}{name}",
            paper="torchvision",
            year=None,
            pretrained=partial(_pretrained, name),
            **says,
        )(partial(build, name))


register_late(TORCHVISION, _register_all)
