"""What a person sees of an evaluation: figures, what is taken for what, and the confusion matrix as a heat table."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.style import Style
from rich.table import Table
from rich.text import Text

from cnnzoo.errors import named
from cnnzoo.ui.page import Page
from cnnzoo.ui.screen import distinct_names, out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cnnzoo.analysis.eval.evaluation import EvaluationResult

CELL = 6
"""Columns that a cell of the heat table takes at most, and letters of a class's name above it."""


def print_evaluation(result: "EvaluationResult") -> None:
    """Print an evaluation: the figures over all images, the confusions, then a row for each class, and the matrix."""
    console = out()
    say = console.print
    say(f"{escape(result.checkpoint)}: {escape(result.model)}, epoch {result.epoch}")
    say(
        f"{result.num_images:,} {result.split} images of {escape(result.dataset)}, "
        f"{result.images_per_second:,.0f} images/s on {result.device}, {result.precision}"
    )
    low, high = result.accuracy_low, result.accuracy_high
    say(f"accuracy [bold]{result.accuracy:.2%}[/] (95% interval {low:.2%} to {high:.2%})")
    if len(result.classes) > result.top_k:
        say(f"top-{result.top_k} accuracy {result.top_k_accuracy:.2%}")
    say(f"loss {result.loss:.4f}, calibration error {result.calibration_error:.2%}")
    if result.num_left_out:
        num = result.num_left_out
        say(f"left out {num:,} images that the run was trained on (--include-trained takes them)")
    if absent := [row.name for row in result.classes if not row.count]:
        say(f"no images of {escape(named(absent))}")
    if result.class_weights:
        say(f"unweighted, though training weighed classes ({escape(result.class_weights)})")
    if result.ten_crop:
        say("averaged over ten squares of each image")
    table = _by_class(result)
    say(table if Page().fits(table) else _by_class(result, narrow=True))
    if confusions := result.confusions():
        say("Most often taken for another:")
    for confusion in confusions:
        share = f"{confusion.share:.0%}" if confusion.share >= 0.01 else "less than 1%"
        say(
            f"  {escape(confusion.label)} taken for {escape(confusion.prediction)}: {share} of "
            f"{escape(_plural(confusion.label))}"
        )
    _print_heat(console, result)


def _by_class(result: "EvaluationResult", *, narrow: bool = False) -> Table:
    """Return the table of the classes; the narrow one has their numbers of images below their names."""
    table = Table(box=None, pad_edge=False)
    table.add_column("class", overflow="fold")
    for heading in ("precision", "recall", "F1", *(() if narrow else ("images",))):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in (row for row in result.classes if row.count):
        shares = _percent(row.precision, row.recall, row.f1)
        if narrow:
            table.add_row(f"{escape(row.name)}\n {row.count:,} images", *shares)
        else:
            table.add_row(escape(row.name), *shares, f"{row.count:,}")
    for name, mean in {"mean": result.macro, "mean by images": result.weighted}.items():
        cells = _percent(mean.precision, mean.recall, mean.f1)
        table.add_row(name, *cells, *(() if narrow else ("",)), style="italic")
    return table


def _percent(*shares: float) -> list[str]:
    return [f"{share:.2%}" for share in shares]


def _plural(name: str) -> str:
    """Return ``Shirts`` for ``Shirt``; names that are no English words stay."""
    if not name.isascii() or not name[-1:].isalnum():
        return name
    return f"{name}es" if name.endswith(("s", "x", "ch", "sh")) else f"{name}s"


def _print_heat(console: Console, result: "EvaluationResult") -> None:
    """Print the confusion matrix, the darker the larger a share of a class's images, where there is room for it."""
    names = [row.name for row in result.classes]
    first = max(len(name) for name in names)
    headings = distinct_names(names, CELL, "..." if console.options.ascii_only else "…")
    width = max(len(str(max(map(max, result.confusion)))), *map(len, headings))
    if not console.is_terminal or first + len(names) * (width + 2) > console.width:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("is \\ taken for", no_wrap=True)
    for name in headings:
        table.add_column(Text(name), justify="right", no_wrap=True, min_width=width)
    for name, counts in zip(names, result.confusion, strict=True):
        total = max(sum(counts), 1)
        table.add_row(
            Text(name), *(Text(str(count) if count else "·", _shade(count / total)) for count in counts)
        )
    console.print(table)


def _shade(share: float) -> Style:
    """Return the colours of a cell: from none to blue (viridis is no good behind letters)."""
    if share < 0.005:
        return Style(dim=True)
    level = int(235 - 175 * share**0.5)
    return Style(color="white" if share > 0.2 else "black", bgcolor=f"rgb({level},{level + 15},{255})")


def print_evaluations(results: "Sequence[EvaluationResult]") -> None:
    """Print the accuracies of several checkpoints, and their mean."""
    from statistics import mean, stdev

    console = out()
    table = Table(box=None, pad_edge=False)
    table.add_column("checkpoint", overflow="fold")
    for heading in ("accuracy", "loss"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        table.add_row(escape(result.checkpoint), f"{result.accuracy:.2%}", f"{result.loss:.4f}")
    console.print(table)
    accuracies = [result.accuracy for result in results]
    console.print(
        f"{results[0].num_images:,} {results[0].split} images of {escape(results[0].dataset)}: mean accuracy "
        f"[bold]{mean(accuracies):.2%}[/], standard deviation {stdev(accuracies):.2%}"
    )
