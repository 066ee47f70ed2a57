"""The layers of a network, what each does in a few words, and which takes its input from which."""

import operator
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

_JOINS: dict[Any, str] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), "+"),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul", "mul_"), "×"),
    **dict.fromkeys((torch.cat, torch.concat), "joined"),
}
"""What joins branches, and how that is written."""


@dataclass(frozen=True)
class LayerInput:
    """Where the numbers that a layer takes come from.

    Attributes:
        layers: Indices in ``features(model, image)``, in which the image itself is 0; several where branches join.
        join: ``+``, ``×`` or ``joined`` where it is known what joins them; empty for one layer alone.
        is_plain: Whether the layer takes just these numbers, joined so: nothing else has been done to them between.
    """

    layers: tuple[int, ...]
    join: str = ""
    is_plain: bool = True


def wiring(model: nn.Module, names: Sequence[str]) -> list[LayerInput] | None:
    """Return for each layer which ones it takes its numbers from, found by following the model's code (torch.fx).

    Args:
        model: Any one.
        names: Of the layers in the order in which they run, as ``features`` returns them, without the image.

    Returns:
        For each of the names, and behind them for the answer itself; None where the code cannot be followed, as where
        it asks for the values of tensors, or where it runs other layers than these.
    """
    called = {name: module for name, module in model.named_modules() if name}
    tracer = _Tracer({called[name] for name in names if name in called})
    try:
        with warnings.catch_warnings(
            action="ignore"
        ):  # of what cannot be followed; the comparison below tells that
            graph = tracer.trace(model)
    except Exception:  # a model is anybody's code: it may fail in any way
        return None
    layers = [node for node in graph.nodes if node.op == "call_module"]
    if [node.target for node in layers] != list(names):
        return None
    numbers = {node: index for index, node in enumerate(layers, 1)}
    (answer,) = (node for node in graph.nodes if node.op == "output")
    return [_source(node, numbers) for node in (*layers, answer)]


class _Tracer(fx.Tracer):
    def __init__(self, layers: set[nn.Module]) -> None:
        super().__init__()
        self.layers = layers

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        del module_qualified_name
        return m in self.layers


def _source(node: fx.Node, numbers: dict[fx.Node, int]) -> LayerInput:
    """Walk back from a node to the layers, or the image, that its inputs are from."""
    layers: list[int] = []
    joins: list[str] = []
    is_plain = True
    waiting = list(node.all_input_nodes)
    while waiting:
        before = waiting.pop(0)
        if before in numbers or before.op == "placeholder":
            if (number := numbers.get(before, 0)) not in layers:
                layers.append(number)
            continue
        waiting = [*before.all_input_nodes, *waiting]
        known = _JOINS.get(before.target) if before.op != "get_attr" else None
        if len(before.all_input_nodes) > 1 and known:
            joins.append(known)
        else:
            is_plain = False
    join = joins[0] if len(set(joins)) == 1 else ""
    return LayerInput(tuple(layers), join if len(layers) > 1 else "", is_plain and len(joins) <= 1)


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
    source: LayerInput
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
