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
    from cnnzoo.analysis.summary.receptive_field import Sizes

NONE = "–"

Timed = TypeVar("Timed", bound="BenchResult | DataBenchResult")


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
