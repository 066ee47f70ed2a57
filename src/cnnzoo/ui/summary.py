"""Tables of a network: layers, shares, how the numbers come about, and the paper beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.filesize import decimal

from cnnzoo.ui.page import Layout, Page, bare_heading
from cnnzoo.ui.tables import NONE, format_count, format_side, format_sizes

if TYPE_CHECKING:
    from cnnzoo.analysis.summary.paper import ComparedLayer, Comparison
    from cnnzoo.analysis.summary.summary import LayerSummary, ModelSummary


def print_summary(summary: ModelSummary, classes: str) -> None:
    """Print a model's layers, its totals and the memory for the batch, and each layer's share.

    Args:
        summary: Of the model.
        classes: How many it tells apart, in words, and why.
    """
    page = Page()
    batch, image = summary.input_size[0], format_sizes(summary.input_size[1:])
    page.line(f"{summary.type}, {image}, batch of {batch:,}, {classes}", "bold")
    if page.table(*_layer_layouts(summary.layers)):
        page.line("k: kernel, s: stride, p: padding.")
    page.line()
    memory = summary.memory
    totals = [
        ("Parameters", f"{summary.parameters:,}"),
        ("  trainable", f"{summary.trainable:,}"),
        ("Mult-adds", f"{summary.mult_adds:,}"),
        ("Memory, estimated", decimal(memory.total)),
        ("  images", decimal(memory.input)),
        ("  forward and backward", decimal(memory.forward_backward)),
        ("  parameters", decimal(memory.parameters)),
    ]
    page.table((["Total", ">"], totals))
    page.line()
    page.table(*_share_layouts(summary.layers))
    page.line("Traffic: bytes that a forward pass reads and writes, of input, parameters and output.")


def _layer_layouts(layers: Sequence[LayerSummary]) -> tuple[Layout, Layout]:
    rows = [
        (
            layer.name,
            layer.type,
            format_sizes(layer.kernel_size),
            format_side(layer.stride),
            format_side(layer.padding),
            format_sizes(layer.output_size[1:]),
            format_count(layer.parameters),
            format_count(layer.mult_adds),
        )
        for layer in layers
    ]
    wide = ["~Layer", "Type", ">k", ">s", ">p", ">Output", ">Parameters", ">Mult-adds"]
    narrow = ["~Layer\n type\n kernel", ">Output\nparameters\nmult-adds"]
    stacked = [
        (_stack(layer.name, layer.type, _window(layer)), "\n".join(cell for cell in row[5:] if cell != NONE))
        for layer, row in zip(layers, rows, strict=True)
    ]
    return (wide, rows), (narrow, stacked)


def _share_layouts(layers: Sequence[LayerSummary]) -> tuple[Layout, Layout]:
    columns = [
        [getattr(layer, name) or 0 for layer in layers] for name in ("parameters", "mult_adds", "traffic")
    ]
    shares = [
        [f"{value / max(sum(column), 1):.1%}" if value else NONE for value in column] for column in columns
    ]
    rows = [(layer.name, *row) for layer, row in zip(layers, zip(*shares, strict=True), strict=True)]
    short = [(row[0].rpartition(".")[2], *row[1:]) for row in rows]
    return (
        (["~Share of", ">Parameters", ">Mult-adds", ">Traffic"], rows),
        (["~Share of", ">Param.", ">M-adds", ">Traffic"], short),
    )


def print_teaching(summary: ModelSummary) -> None:
    """Print how each layer's receptive field, output side and parameters come about."""
    page = Page()
    page.line("How the numbers come about", "bold")
    page.table(*_teaching_layouts(summary.layers))
    page.line()
    page.line("r: receptive field, the pixels of the image a side that one output sees, padding included.")
    page.line("j: jump, the pixels of the image from one output to its neighbour.")
    page.line("Images have r = j = 1. A kernel k makes r + (k−1)·j of r, a stride s makes j·s of j.")
    page.line("Output side: (n + 2·p − k)/s + 1, rounded down, of a side n with padding p.")
    if any(layer.receptive_field is None for layer in summary.layers):
        page.line(f"{NONE}: not known, behind branches that join and steps that are no layers.")


def _teaching_layouts(layers: Sequence[LayerSummary]) -> tuple[Layout, Layout]:
    wide, narrow = [], []
    for layer in layers:
        r, j = format_side(layer.receptive_field), format_side(layer.jump)
        arithmetic = [
            layer.output_arithmetic or "",
            layer.parameter_arithmetic or format_count(layer.parameters, none=""),
        ]
        wide.append((layer.name, layer.type, r, j, *arithmetic))
        narrow.append((_stack(f"{layer.name} {layer.type}", f"r = {r}, j = {j}", *arithmetic),))
    return (["Layer", "Type", ">r", ">j", "Output side", "Parameters"], wide), (["~Layer"], narrow)


def print_paper(name: str, comparison: Comparison) -> None:
    """Print a net's figures beside its paper's: a tick where they agree, else both and the difference."""
    page = Page()
    page.line(f"{name} beside its paper", "bold")
    page.line(comparison.reference)
    page.line()
    page.table(*_paper_layouts(comparison.layers))
    page.line()
    if comparison.agrees:
        page.line("All of the paper's figures are the net's too.")
    else:
        page.line("✓: the paper's figure is the net's too. →: from the paper's to the net's.")
    for title, lines in (
        ("Where the net differs", comparison.deviations),
        ("On the paper's figures", comparison.remarks),
    ):
        if lines:
            page.line(f"{title}:")
            for line in lines:
                page.line(f"- {line}")


def _paper_layouts(layers: Sequence[ComparedLayer]) -> tuple[Layout, Layout]:
    rows: list[tuple[str, ...]] = [
        (
            layer.name,
            _compared(format_sizes(layer.paper_output), format_sizes(layer.output))
            if layer.paper_output
            else "",
            _compared_counts(layer.paper_parameters, layer.parameters),
            _compared_counts(layer.paper_connections, layer.connections),
            layer.source,
        )
        for layer in layers
    ]
    headings = ["Layer", ">~Output", ">~Parameters", ">~Connections", "~Source"]
    if all(layer.paper_connections is None for layer in layers):
        headings.remove(">~Connections")
        rows = [(*row[:3], row[4]) for row in rows]
    words = [bare_heading(heading).lower() for heading in headings[1:-1]]
    stacked = [
        (
            _stack(
                row[0],
                *(f"{word} {cell}" for word, cell in zip(words, row[1:-1], strict=True) if cell),
                row[-1],
            ),
        )
        for row in rows
    ]
    return (headings, rows), (["~Layer"], stacked)


def _compared(paper: str, ours: str) -> str:
    return f"{paper} ✓" if paper == ours else f"{paper} → {ours}"


def _compared_counts(paper: int | None, ours: int | None) -> str:
    if paper is None:
        return ""
    if ours is None or ours == paper:
        return _compared(f"{paper:,}", NONE if ours is None else f"{ours:,}")
    return f"{_compared(f'{paper:,}', f'{ours:,}')} ({ours - paper:+,})".replace("(-", "(−")


def _window(layer: LayerSummary) -> str:
    """Return kernel, stride and padding in words, the usual ones left out: ``3×3 stride 2``."""
    if layer.kernel_size is None:
        return ""
    stride, padding = format_side(layer.stride), format_side(layer.padding)
    return (
        format_sizes(layer.kernel_size)
        + (f" stride {stride}" if stride != "1" else "")
        + (f" pad {padding}" if padding != "0" else "")
    )


def _stack(first: str, *others: str) -> str:
    """Return the lines of a cell, those after the first indented and empty ones left out."""
    return "\n ".join(filter(None, (first, *others)))
