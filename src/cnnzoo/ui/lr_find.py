"""The screen and the picture of a learning-rate range test."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from cnnzoo.ui.chart import WIDEST, axis_line, chart
from cnnzoo.ui.screen import out
from cnnzoo.ui.style import BLUE, ORANGE, import_matplotlib, picture_style, picture_text

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from cnnzoo.analysis.lr_find import LRFinderResult


def print_lr_finder(result: "LRFinderResult", picture: "Path | None") -> None:
    """Print the curve of a range test, the suggestion, and how it was drawn."""
    console = out()
    config, lrs = result.config, result.lrs
    say = console.print
    say(
        f"[bold]{escape(config.model)}[/] on {escape(str(config.dataset))}, {config.optimizer}: {len(lrs)} steps of "
        f"{config.batch_size * config.grad_accum_steps:,} images, learning rate {lrs[0]:.3g} to {lrs[-1]:.3g}"
        if lrs
        else f"[bold]{escape(config.model)}[/]: the first loss is NaN or infinite."
    )
    if lrs:
        _print_losses(console, result)
    say(describe_end(result))
    if result.suggestion is None:
        say(f"No suggestion: {why_no_suggestion(result)}")
    else:
        lowest = result.lowest
        say(f"Suggested: [bold]--lr {result.suggestion:.2g}[/]")
        if result.risen is not None:
            say(
                f"That is a tenth of {lrs[result.risen]:.2g}, the first rate at which the loss of a step rose "
                f"({result.losses[result.risen]:.3g}, from {result.losses[0]:.3g})."
            )
        else:
            say(
                f"That is a tenth of {lrs[lowest]:.2g}, the rate at which the smoothed loss was lowest "
                f"({result.smoothed[lowest]:.3g}, from {result.smoothed[0]:.3g})."
            )
        if result.falls_to_the_end:
            say("It was falling still: a larger rate may do as well. Raise --lr-max to see.")
    say(f"The curve: {escape(str(picture))}" if picture else "Nothing was written.")


def describe_end(result: "LRFinderResult") -> str:
    """Say how a range test ended."""
    last = f"{result.lrs[-1]:.2g}" if result.lrs else "the first rate"
    return {
        "steps": "All steps were done.",
        "diverged": f"It ended at {last}, where the smoothed loss was above four times its lowest.",
        "not finite": f"It ended behind {last}, where the loss was NaN or infinite.",
    }[result.end]


def why_no_suggestion(result: "LRFinderResult") -> str:
    """Say why a range test suggests nothing, and what to try."""
    otherwise = "keep the default --lr, or compare some rates with `cnnzoo sweep`"
    if result.obstacle == "too few images":
        return (
            f"there is too little data. Each of the {result.num_images:,} images was shown {result.passes:.0f} times, "
            f"so that the loss fell because they were learnt by heart. Add images; else {otherwise}."
        )
    if result.learnt is not None:
        return (
            f"there is too little data, or it is too easy. At {result.lrs[result.learnt]:.2g} the loss was down to "
            f"{result.losses[result.learnt]:.1g}, from {result.losses[0]:.3g}; with nothing left to learn, larger "
            f"rates look better than they are. Add images; else {otherwise}."
        )
    if result.end == "steps":
        return "the smoothed loss has not fallen by a twentieth. Try more --steps, or a larger --lr-max."
    return "the smoothed loss has not fallen by a twentieth. Try more --steps, another --optimizer or another --init."


def _print_losses(console: Console, result: "LRFinderResult") -> None:
    top = ceiling(result)
    shown = [min(loss, top) for loss in result.smoothed]
    labels = [f"{max(shown):.2f}", f"{min(shown):.2f}"]
    margin = max(map(len, labels))
    width = min(WIDEST, console.width - margin - 2)
    lines = chart(console, shown, width, 6)
    console.print(f"{'':>{margin}} smoothed loss", style="dim")
    for number, line in enumerate(lines):
        label = labels[0] if number == 0 else labels[1] if number == len(lines) - 1 else ""
        console.print(f"{label:>{margin}} {line}", markup=False)
    if result.suggestion is not None and result.suggestion >= result.lrs[0]:
        place = sum(lr <= result.suggestion for lr in result.lrs) * width // len(result.lrs)
        console.print(f"{'':>{margin}} {'':>{min(place, width - 1)}}^ suggested", style="bold")
    console.print(f"{'':>{margin}} {axis_line(width, f'{result.lrs[0]:.2g}', f'{result.lrs[-1]:.2g}')}")


def ceiling(result: "LRFinderResult") -> float:
    """Return the largest loss that is drawn: what lies above is where training fails, and of no interest how far."""
    first, lowest = result.smoothed[0], result.smoothed[result.lowest]
    return first + 0.3 * max(first - lowest, 0.1 * abs(first))


def plot_lr_finder(result: "LRFinderResult") -> "Figure":
    """Draw the loss against the learning rate, each step's pale and the smoothed one solid, with the suggestion."""
    import_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    config = result.config
    with picture_style():
        figure = Figure((7, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.plot(result.lrs, result.losses, color=BLUE, alpha=0.25, label="loss of each step")
        axes.plot(result.lrs, result.smoothed, color=BLUE, label="smoothed")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda lr, _: f"{lr:g}"))  # its own are TeX
        axes.xaxis.set_minor_formatter(NullFormatter())
        lowest = result.lowest
        if result.suggestion is not None:
            axes.plot(
                result.lrs[lowest],
                result.smoothed[lowest],
                "o",
                color=BLUE,
                label=f"lowest, at {result.lrs[lowest]:.2g}",
            )
            axes.axvline(
                result.suggestion, color=ORANGE, linestyle="--", label=f"suggested: {result.suggestion:.2g}"
            )
        low = min(*result.losses, result.smoothed[lowest])
        top = ceiling(result)
        axes.set_ylim(low - 0.08 * (top - low), top)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss")
        axes.grid(alpha=0.25)
        axes.legend(loc="lower left")
        figure.suptitle(
            picture_text(
                f"{config.model} on {config.dataset}, {config.optimizer}: learning-rate range test", 80
            )
        )
    return figure
