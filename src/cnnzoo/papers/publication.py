"""How a file of this folder says what its paper says of a network, layer by layer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PublishedLayer:
    """One layer, as its paper describes it.

    Attributes:
        name: As in the paper; the layer of that name in our net is compared with it.
        output: Shape of what an image becomes in it: ``(C, H, W)`` or ``(C,)``.
        parameters: Numbers that it learns; where the paper gives kernels only, what follows from them.
        connections: Inputs of all its units together, biases included; None where the paper gives none.
        source: Where the paper says so.
    """

    name: str
    output: tuple[int, ...]
    parameters: int
    connections: int | None = None
    source: str


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A network as published.

    Attributes:
        models: Registered names of the nets that are after it.
        reference: Authors, title, where and when.
        layers: In their order.
        remarks: What a reader of the paper should know about its figures.
        differences: From the name of a net that is after it, and the arguments that it was built with, to how it
            differs from the paper, in words.
    """

    models: tuple[str, ...]
    reference: str
    layers: tuple[PublishedLayer, ...]
    remarks: tuple[str, ...] = ()
    differences: Callable[[str, Mapping[str, Any]], list[str]] = lambda model, arguments: []
