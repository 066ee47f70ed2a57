"""A built network beside its paper: shapes, parameters and connections, layer by layer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from cnnzoo.analysis.summary.summary import ModelSummary
from cnnzoo.errors import UsageError
from cnnzoo.models.registry import ModelSpec
from cnnzoo.papers import find_publication
from cnnzoo.papers.publication import Publication

Output = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ComparedLayer:
    """One layer in the paper and in the net.

    Attributes:
        name: As in the paper; ``total`` for all of them together.
        paper_output: Shape of its output for an image; empty for the total.
        output: The net's; None where the net has no such layer.
        paper_parameters: Numbers that it learns.
        parameters: The net's.
        paper_connections: Inputs of all its units, biases included; None where the paper gives none.
        connections: The net's; None where the paper gives none, or they are not known.
        source: Where the paper says so.
        agrees: Whether all that the paper gives is so.
    """

    name: str
    paper_output: Output
    output: Output | None
    paper_parameters: int
    parameters: int | None
    paper_connections: int | None
    connections: int | None
    source: str
    agrees: bool


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A whole net beside its paper.

    Attributes:
        reference: The paper.
        layers: One by one, the total last.
        deviations: How the net differs from the paper, in words.
        remarks: What a reader of the paper should know about its figures.
        agrees: Whether every figure of the paper is the net's too.
    """

    reference: str
    layers: tuple[ComparedLayer, ...]
    deviations: tuple[str, ...]
    remarks: tuple[str, ...]
    agrees: bool


def get_publication(spec: ModelSpec) -> Publication:
    """Return what the paper of a model says.

    Raises:
        UsageError: cnnzoo does not have its figures.
    """
    publication = find_publication(spec.name)
    if publication is None:
        raise UsageError(f"the figures of {spec.name}'s paper are not in cnnzoo. Leave --paper out.")
    return publication


def compare_with_paper(
    name: str, model: nn.Module, summary: ModelSummary, publication: Publication, arguments: Mapping[str, Any]
) -> Comparison:
    """Put a model's layers beside those of its paper.

    Args:
        name: By which the model is registered.
        model: Where it has an attribute ``deviations``, that says in words how it differs, too.
        summary: Of the model, for any batch.
        publication: The paper.
        arguments: What the model was built with, defaults included.
    """
    built = {layer.name.rpartition(".")[2]: layer for layer in summary.layers}
    layers = []
    for paper in publication.layers:
        ours = built.get(paper.name)
        output = _without_ones(ours.output_size[1:]) if ours else None
        parameters = ours.parameters if ours else None
        connections = ours.connections if ours and paper.connections is not None else None
        layers.append(
            ComparedLayer(
                name=paper.name,
                paper_output=paper.output,
                output=output,
                paper_parameters=paper.parameters,
                parameters=parameters,
                paper_connections=paper.connections,
                connections=connections,
                source=paper.source,
                agrees=(output, parameters, connections)
                == (paper.output, paper.parameters, paper.connections),
            )
        )
    layers.append(_total(summary, layers))
    return Comparison(
        reference=publication.reference,
        layers=tuple(layers),
        deviations=(*publication.differences(name, arguments), *getattr(model, "deviations", ())),
        remarks=publication.remarks,
        agrees=all(layer.agrees for layer in layers),
    )


def _total(summary: ModelSummary, layers: list[ComparedLayer]) -> ComparedLayer:
    has_connections = all(layer.paper_connections is not None for layer in layers)
    parameters = sum(layer.paper_parameters for layer in layers)
    connections = sum(layer.paper_connections or 0 for layer in layers) if has_connections else None
    ours = sum(layer.connections or 0 for layer in layers) if has_connections else None
    return ComparedLayer(
        name="total",
        paper_output=(),
        output=(),
        paper_parameters=parameters,
        parameters=summary.parameters,
        paper_connections=connections,
        connections=ours,
        source="the sum",
        agrees=(summary.parameters, ours) == (parameters, connections),
    )


def _without_ones(shape: Output) -> Output:
    """Return ``(C,)`` for ``(C, 1, 1)``, which is the same layer."""
    return shape[:1] if math.prod(shape) == shape[0] else shape
