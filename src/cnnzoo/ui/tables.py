"""The tables of networks: as full as the screen is wide, and readable down to 40 columns.

Each table is laid out in several ways, from the fullest to the narrowest, and the first that fits is printed.
Where stdout cannot write ×, · and −, it gets x, * and -.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rich.filesize import decimal

from cnnzoo.registries import TORCHVISION
from cnnzoo.ui.page import Layout, Page

if TYPE_CHECKING:
    from cnnzoo.analysis.bench.data import DataBenchResult
    from cnnzoo.analysis.bench.net import BenchResult
    from cnnzoo.analysis.summary.models import ModelEntry
    from cnnzoo.analysis.summary.paper import ComparedLayer, Comparison
    from cnnzoo.analysis.summary.receptive_field import Sizes
    from cnnzoo.analysis.summary.summary import LayerSummary, ModelSummary

    Timed = TypeVar("Timed", bound=BenchResult | DataBenchResult)

NONE = "–"


def print_summary(summary: ModelSummary, classes: str) -> None:
    """Print a model's layers, its totals and the memory for the batch, and each layer's share.

    Args:
        summary: Of the model.
        classes: How many it tells apart, in words, and why.
    """
    page = Page()
    batch, image = summary.input_size[0], _times(summary.input_size[1:])
    page.line(f"{summary.type}, {image}, batch of {batch:,}, {classes}", "bold")
    page.table(*_layer_layouts(summary.layers))
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


def _layer_layouts(layers: Sequence[LayerSummary]) -> Iterator[Layout]:
    headings = ["Layer", "Type", ">Kernel", ">Stride", ">Pad", ">Output", ">Parameters", ">Mult-adds"]
    full = [
        (
            layer.name,
            layer.type,
            _times(layer.kernel_size),
            _side(layer.stride),
            _side(layer.padding),
            _times(layer.output_size[1:]),
            _count(layer.parameters),
            _count(layer.mult_adds),
        )
        for layer in layers
    ]
    yield headings, full
    short = [(*row[:-1], _short(layer.mult_adds)) for row, layer in zip(full, layers, strict=True)]
    yield headings, short
    yield [*headings[:2], *headings[5:]], [(*row[:2], *row[5:]) for row in short]
    yield (
        ["Layer", ">Output", ">Parameters\nmult-adds"],
        [
            (
                f"{layer.type}\n {_window(layer)}".rstrip(),
                row[5],
                f"{row[6]}\n{row[7]}".removesuffix(f"\n{NONE}"),
            )
            for row, layer in zip(short, layers, strict=True)
        ],
    )


def _share_layouts(layers: Sequence[LayerSummary]) -> Iterator[Layout]:
    columns = [
        [getattr(layer, name) or 0 for layer in layers] for name in ("parameters", "mult_adds", "traffic")
    ]
    shares = [
        [f"{value / max(sum(column), 1):.1%}" if value else NONE for value in column] for column in columns
    ]
    rows = [(layer.name, *row) for layer, row in zip(layers, zip(*shares, strict=True), strict=True)]
    yield ["Share of", ">Parameters", ">Mult-adds", ">Traffic"], rows
    yield (
        ["Share of", ">Param.", ">M-adds", ">Traffic"],
        [(row[0].rpartition(".")[2], *row[1:]) for row in rows],
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


def _teaching_layouts(layers: Sequence[LayerSummary]) -> Iterator[Layout]:
    full = [
        (
            layer.name,
            layer.type,
            _side(layer.receptive_field),
            _side(layer.jump),
            layer.output_arithmetic or "",
            layer.parameter_arithmetic or _count(layer.parameters, none=""),
        )
        for layer in layers
    ]
    headings = ["Layer", "Type", ">r", ">j", "Output side", "Parameters"]
    yield headings, full
    yield [headings[0], *headings[2:]], [(row[0], *row[2:]) for row in full]
    yield (
        ["Layer"],
        [
            ("\n ".join(text for text in (f"{name} {kind}", f"r = {r}, j = {j}", *arithmetic) if text),)
            for name, kind, r, j, *arithmetic in full
        ],
    )


def print_comparison(name: str, comparison: Comparison) -> None:
    """Print a net's figures beside its paper's: a tick where they agree, else both and the difference."""
    page = Page()
    page.line(f"{name} beside its paper", "bold")
    page.line(comparison.reference)
    page.line()
    page.table(*_comparison_layouts(comparison.layers))
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


def _comparison_layouts(layers: Sequence[ComparedLayer]) -> Iterator[Layout]:
    full: list[tuple[str, ...]] = [
        (
            layer.name,
            _compared(_times(layer.paper_output), _times(layer.output)) if layer.paper_output else "",
            _compared_counts(layer.paper_parameters, layer.parameters),
            _compared_counts(layer.paper_connections, layer.connections),
            layer.source,
        )
        for layer in layers
    ]
    headings = ["Layer", ">Output", ">Parameters", ">Connections", "Source"]
    if all(layer.paper_connections is None for layer in layers):
        headings.remove(">Connections")
        full = [(*row[:3], row[4]) for row in full]
    yield headings, full
    yield headings[:-1], [row[:-1] for row in full]
    words = [heading.removeprefix(">").lower() for heading in headings[1:-1]]
    yield (
        ["Layer"],
        [
            (
                "\n ".join(
                    [row[0], *(f"{word} {cell}" for word, cell in zip(words, row[1:-1], strict=True) if cell)]
                ),
            )
            for row in full
        ],
    )


def _compared(paper: str, ours: str) -> str:
    return f"{paper} ✓" if paper == ours else f"{paper} → {ours}"


def _compared_counts(paper: int | None, ours: int | None) -> str:
    if paper is None:
        return ""
    if ours is None or ours == paper:
        return _compared(f"{paper:,}", NONE if ours is None else f"{ours:,}")
    return f"{_compared(f'{paper:,}', f'{ours:,}')} ({ours - paper:+,})".replace("(-", "(−")


def print_bench(results: Sequence[BenchResult]) -> None:
    """Print timings, a column for each precision and batch size; one below the other where they do not fit."""
    first = results[0]
    page = Page()
    page.line(f"{first.model} on {first.device}", "bold")
    page.table(*_bench_layouts(results, _bench_cells))


def print_data_bench(results: Sequence[DataBenchResult]) -> None:
    """Print timings of the way of image files to a net, as ``print_bench`` does, and whether it waits for them."""
    first = results[0]
    page = Page()
    page.line(f"{first.model} on {first.device}, {first.dataset}", "bold")
    page.line(
        f"{first.num_images:,} images of {first.image_width}×{first.image_height}, "
        f"{decimal(round(first.bytes_per_image))} each, to {_times((first.channels, *(first.image_size,) * 2))}; "
        f"--workers {first.num_workers}"
    )
    page.table(*_bench_layouts(results, _data_bench_cells))
    for result in results:
        page.line()
        name = f"{_bench_title(result)}: " if len(results) > 1 else ""
        page.line(name + result.verdict)


def _bench_layouts(results: Sequence[Timed], cells_of: Callable[[Timed], dict[str, str]]) -> Iterator[Layout]:
    cells = [cells_of(result) for result in results]
    titles = [_bench_title(result) for result in results]
    yield (
        ["Precision, batch", *(f">{title}" for title in titles)],
        [(key, *(column[key] for column in cells)) for key in cells[0]],
    )
    yield (
        ["", ">"],
        [
            row
            for title, column in zip(titles, cells, strict=True)
            for row in (("precision, batch", title), *column.items())
        ],
    )


def _bench_title(result: BenchResult | DataBenchResult) -> str:
    return f"{result.precision}, {result.batch_size:,}"


def _data_bench_cells(result: DataBenchResult) -> dict[str, str]:
    return {
        "Reading, images/s": _rate(result.reading),
        "Decoding, images/s": _rate(result.decoding),
        "Transforming, images/s": _rate(result.transforming),
        "All three, images/s": _rate(result.loading),
        "In memory, images/s": _rate(result.stepping),
        "Training, images/s": _rate(result.training),
        "Step, ms": f"{result.step_ms:.4g}",
        "  waits for data": f"{result.wait_ms:.3g}",
    }


def _bench_cells(result: BenchResult) -> dict[str, str]:
    return {
        "Training, images/s": _rate(result.train_images_per_second),
        "Evaluation, images/s": _rate(result.eval_images_per_second),
        "Step, ms": f"{result.step_ms:.4g}",
        **{f"  {phase}": f"{ms:.3g}" for phase, ms in result.phases_ms.items()},
        "Arithmetic, GFLOP": f"{result.flop / 1e9:.4g}",
        "Memory traffic, MB": f"{result.bytes / 1e6:,.4g}",
        "Intensity, FLOP/byte": f"{result.intensity:.3g}",
        "Peak, GFLOP/s": f"{result.peak_flops / 1e9:,.4g}",
        "Peak, GB/s": f"{result.peak_bandwidth / 1e9:,.3g}",
        "Share of peak": f"{result.share_of_peak:.1%}",
        "Limit of a step, ms": f"{result.limit_ms:.3g}",
    }


def _rate(images_per_second: float) -> str:
    return f"{images_per_second:,.0f}" if images_per_second >= 100 else f"{images_per_second:.1f}"


def print_models(entries: Sequence[ModelEntry]) -> None:
    """Print the registered models and the options of each, then the names of torchvision's."""
    page = Page()
    theirs = [entry.name for entry in entries if entry.name.startswith(TORCHVISION)]
    entries = [entry for entry in entries if entry.name not in theirs]
    page.table(*_model_layouts(entries))
    options = [
        (entry.name, name, option["takes"], _default(option))
        for entry in entries
        for name, option in entry.options.items()
    ]
    if options:
        page.line()
        page.line("Options, as in -o NAME=VALUE", "bold")
        narrow = [
            (f"{model}\n {name}", f"{takes}\ndefault {default}") for model, name, takes, default in options
        ]
        page.table(
            (["Model", "Option", "Takes", "Default"], options),
            (["Model\n option", "Takes"], narrow),
        )
    if theirs:
        page.line()
        page.line(f"torchvision's, as in {theirs[0]}", "bold")
        page.line(", ".join(name.removeprefix(TORCHVISION) for name in theirs))


def _model_layouts(entries: Sequence[ModelEntry]) -> Iterator[Layout]:
    full = [
        (
            entry.name,
            f"{entry.paper} {entry.year or ''}".strip(),
            _times(entry.input_size),
            _count(entry.parameters),
            _count(entry.mult_adds),
        )
        for entry in entries
    ]
    headings = ["Model", "Paper", ">Input", ">Parameters", ">Mult-adds"]
    yield headings, full
    short = [(*row[:-1], _short(entry.mult_adds)) for row, entry in zip(full, entries, strict=True)]
    yield headings, short
    yield (
        ["Model\n paper", ">Input", ">Parameters\nmult-adds"],
        [(f"{name}\n {paper}", size, f"{count}\n{work}") for name, paper, size, count, work in short],
    )


def _default(option: Mapping[str, Any]) -> str:
    if option.get("required"):
        return "required"
    default = option["default"]
    return str(default).lower() if default in (None, True, False) else str(default)


def _times(sizes: Sizes | None) -> str:
    return "×".join(map(str, sizes)) if sizes else NONE


def _side(sizes: Sizes | str | None) -> str:
    """Return one number for what is as high as wide, else ``3×5``."""
    if isinstance(sizes, str):
        return sizes
    return str(sizes[0]) if sizes and len(set(sizes)) == 1 else _times(sizes)


def _count(number: int | None, none: str = NONE) -> str:
    return f"{number:,}" if number else none


def _short(number: int | None) -> str:
    """Return a count in three digits: ``448 M``."""
    if not number:
        return NONE
    for unit, name in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {name}" if number < 1000 * unit else f"{number / unit:,.0f} {name}"
    return str(number)


def _window(layer: LayerSummary) -> str:
    """Return kernel, stride and padding in words, the usual ones left out: ``3×3 stride 2``."""
    if layer.kernel_size is None:
        return ""
    stride, padding = _side(layer.stride), _side(layer.padding)
    return (
        _times(layer.kernel_size)
        + (f" stride {stride}" if stride != "1" else "")
        + (f" pad {padding}" if padding != "0" else "")
    )
