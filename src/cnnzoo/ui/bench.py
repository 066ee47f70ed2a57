"""Tables of timings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from rich.filesize import decimal

from cnnzoo.analysis.bench.net import PHASES
from cnnzoo.ui.page import Layout, Page
from cnnzoo.ui.tables import format_sizes

if TYPE_CHECKING:
    from cnnzoo.analysis.bench.data import DataBenchResult
    from cnnzoo.analysis.bench.net import BenchResult

MACHINE_IS_BUSY = "The machine is busy: these times are not to be trusted."
"""Said of times that something else had a part in."""

Timed = TypeVar("Timed", bound="BenchResult | DataBenchResult")


def print_bench(results: Sequence[BenchResult]) -> None:
    """Print timings, a column for each precision and batch size; one below the other where they do not fit."""
    first = results[0]
    page = Page()
    page.line(f"{first.model} on {first.device}", "bold")
    page.table(*_bench_layouts(results, _bench_cells))
    _warn_of_busy(page, results)


def print_data_bench(results: Sequence[DataBenchResult]) -> None:
    """Print timings of the way of image files to a net, as ``print_bench`` does, and whether it waits for them."""
    first = results[0]
    page = Page()
    page.line(f"{first.model} on {first.device}, {first.dataset}", "bold")
    page.line(
        f"{first.num_images:,} images of {first.image_width}×{first.image_height}, "
        f"{decimal(round(first.bytes_per_image))} each, to {format_sizes((first.channels, *(first.image_size,) * 2))}; "
        f"--workers {first.num_workers}"
    )
    page.table(*_bench_layouts(results, _data_bench_cells))
    for result in results:
        page.line()
        name = f"{_bench_title(result)}: " if len(results) > 1 else ""
        page.line(name + result.verdict)
    _warn_of_busy(page, results)


def _warn_of_busy(page: Page, results: Sequence[BenchResult | DataBenchResult]) -> None:
    """Say so where other programs had a part in a timing."""
    if not all(result.is_steady for result in results):
        page.line()
        page.line(f"{MACHINE_IS_BUSY} End other programs, and time again.", "bold")


def _bench_layouts(
    results: Sequence[Timed], cells_of: Callable[[Timed], dict[str, str]]
) -> tuple[Layout, Layout]:
    cells = [cells_of(result) for result in results]
    titles = [_bench_title(result) for result in results]
    beside = [(key, *(column[key] for column in cells)) for key in cells[0]]
    below = [
        row
        for title, column in zip(titles, cells, strict=True)
        for row in (("precision, batch", title), *column.items())
    ]
    return (["Precision, batch", *(f">{title}" for title in titles)], beside), (["", ">"], below)


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
        **{f"  {phase}": _phase(result, phase) for phase in PHASES},
        "Arithmetic, GFLOP": f"{result.flop / 1e9:.4g}",
        "Memory traffic, MB": f"{result.bytes / 1e6:,.4g}",
        "Intensity, FLOP/byte": f"{result.intensity:.3g}",
        "Peak, GFLOP/s": f"{result.peak_flops / 1e9:,.4g}",
        "Peak, GB/s": f"{result.peak_bandwidth / 1e9:,.3g}",
        "Share of peak": f"{result.share_of_peak:.1%}",
        "Limit of a step, ms": f"{result.limit_ms:.3g}",
    }


def _phase(result: BenchResult, phase: str) -> str:
    return f"{result.phases_ms[phase]:.3g}" if result.phases_ms else "?"


def _rate(images_per_second: float) -> str:
    return f"{images_per_second:,.0f}" if images_per_second >= 100 else f"{images_per_second:.1f}"
