"""A layer of a net, and what it does in a few words."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from cnnzoo.analysis.explore.graph import Source


@dataclass(frozen=True)
class Layer:
    """A layer, in one use of it.

    Attributes:
        name: Where it is in the model.
        type: Its class.
        about: What it does, in a few words: ``6 kernels of 1×5×5``.
        shape: Of what it puts out for one image.
        source: Where its numbers come from.
        hands_on: Whether it changes no number.
    """

    name: str
    type: str
    about: str
    shape: tuple[int, ...]
    source: Source
    hands_on: bool = False

    @property
    def is_maps(self) -> bool:
        """Whether it puts out maps of more than one pixel."""
        return len(self.shape) == 3 and self.shape[1] * self.shape[2] > 1


def about(module: nn.Module) -> str:
    """Say what a layer is, in a few words."""

    def sides(value: Any) -> str:  # noqa: ANN401
        return "×".join(map(str, (value, value) if isinstance(value, int) else value))

    def plain(value: Any) -> object:  # noqa: ANN401
        same = isinstance(value, tuple) and len(set(value)) == 1
        return value[0] if same else value if isinstance(value, int | str) else sides(value)

    if isinstance(module, nn.Conv2d):
        said = f"{module.out_channels} kernels of {module.in_channels // module.groups}×{sides(module.kernel_size)}"
        extras = {"stride": (module.stride, 1), "padding": (module.padding, 0), "groups": (module.groups, 1)}
        return said + "".join(f", {k} {plain(v)}" for k, (v, usual) in extras.items() if plain(v) != usual)
    if isinstance(module, nn.Linear):
        return f"{module.out_features:,} sums of {module.in_features:,} inputs"
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        kind = "largest" if isinstance(module, nn.MaxPool2d) else "mean"
        return f"{kind} of {sides(module.kernel_size)}, stride {plain(module.stride)}"
    return ""
