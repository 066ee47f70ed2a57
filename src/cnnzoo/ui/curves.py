"""Pictures of histories: loss and accuracy against epoch."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnzoo.errors import CnnzooError
from cnnzoo.runs.history import History
from cnnzoo.ui.screen import print_warning
from cnnzoo.ui.style import (
    COLORS,
    import_matplotlib,
    picture_names,
    picture_style,
    picture_text,
    save_figure,
    write_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {"loss": ("train_loss", "val_loss"), "accuracy": ("train_acc", "val_acc")}
"""The two panels of a picture of histories, and the columns of each."""

# The circles are the larger ones, so that a square upon a circle leaves it visible.
_TRAIN: Mapping[str, Any] = {"color": "red", "marker": "o", "markersize": 7, "label": "train"}
_VAL: Mapping[str, Any] = {"color": "blue", "marker": "s", "markersize": 5, "label": "validation"}
_BEST: Mapping[str, Any] = {
    "color": "0.3",
    "marker": "o",
    "markersize": 12,
    "markerfacecolor": "none",
    "linestyle": "none",
    "clip_on": False,
    "label": "best epoch",
}
_PALE: Mapping[str, Any] = {"linestyle": "--", "alpha": 0.5, "markerfacecolor": "white"}


_MAX_MARKERS = 25
_LARGEST = 1e100  # beyond it matplotlib's own arithmetic overflows


def plot_histories(histories: Sequence[History], figure: "Figure | None" = None) -> "Figure":
    """Draw loss and accuracy against epoch, side by side; a panel without a column is left out.

    One history has its training in red circles and its validation in blue squares, as in the tutorial.
    Several are laid over each other, one colour each: training dashed and pale, validation solid.
    A ring marks the best epoch. Where a value is NaN or infinite, the line has a gap.

    Args:
        histories: What to draw, at least one.
        figure: What to draw on; a new figure of 12 by 4 inches if it is None.
    """
    import_matplotlib()
    from matplotlib.figure import Figure

    panels = {
        name: columns
        for name, columns in PANELS.items()
        if any(column in history.frame for history in histories for column in columns)
    }
    with picture_style():
        figure = figure or Figure()
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.08)
        figure.set_size_inches(12 if len(panels) == 2 else 7, 4)
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (panel, (train, val)) in zip(grid, panels.items(), strict=True):
            for index, (history, style) in enumerate(
                zip(histories, line_styles(len(histories)), strict=True)
            ):
                draw_column(axes, history, train, style["train"], index)
                draw_column(axes, history, val, style["val"], index)
                _draw_best(axes, history, train, val, style["best"])
            finish_panel(axes, panel, histories)
        if len(histories) == 1:
            _describe_one(figure, histories[0])
        else:
            _describe_several(figure, histories)
    return figure


def line_styles(count: int) -> list[dict[str, Mapping[str, Any]]]:
    """Return the line styles of ``count`` histories: of each those of ``train``, ``val`` and ``best``."""
    import matplotlib

    if count == 1:
        return [{"train": _TRAIN, "val": _VAL, "best": _BEST}]
    colors: Sequence[Any] = COLORS
    if count > len(COLORS):
        colors = [matplotlib.colormaps["viridis"](0.9 * index / (count - 1)) for index in range(count)]
    return [
        {
            "train": {**_TRAIN, **_PALE, "color": color, "markersize": 4},
            "val": {**_VAL, "color": color, "markersize": 4},
            "best": {**_BEST, "color": color},
        }
        for color in colors[:count]
    ]


def draw_column(axes: "Axes", history: History, column: str, style: Mapping[str, Any], index: int) -> None:
    """Draw one column of a history as a line with markers, if it has a value that can be drawn.

    Args:
        axes: The panel.
        history: The run's.
        column: Its name; one that the history lacks is skipped.
        style: The line's style, from ``line_styles``.
        index: The history's place among those of the panel, which sets the markers of several apart.
    """
    import numpy as np

    if column not in history.frame:
        return
    epochs, values = history.frame["epoch"].to_numpy(), history.frame[column].to_numpy()
    shown = np.abs(values) < _LARGEST  # False for NaN
    if not shown.any():
        return
    linked = np.append(shown[1:] & shown[:-1], False)
    alone = shown & ~linked & ~np.roll(linked, 1)
    if not linked.any():
        # Validated in every fifth epoch only, say: one line joins what would be points without any.
        epochs, values, alone = epochs[shown], values[shown], np.zeros(shown.sum(), dtype=bool)
    values = np.where(np.abs(values) < _LARGEST, values, np.nan)

    # Every marker of a hundred epochs would hide the line; those of several runs are set apart.
    step = math.ceil(len(values) / _MAX_MARKERS)
    marked = (np.arange(len(values)) + index) % step == 0
    size = style["markersize"] if step == 1 else min(style["markersize"], 4)
    axes.plot(
        epochs, values, **{**style, "markersize": size, "markevery": list(np.flatnonzero(marked | alone))}
    )


def _draw_best(axes: "Axes", history: History, train: str, val: str, style: Mapping[str, Any]) -> None:
    if history.best is None:
        return
    column = val if history.best.measure.startswith("val") else train
    row = history.frame[history.frame["epoch"] == history.best.epoch]
    if column in row and abs(row[column].iloc[0]) < _LARGEST:
        axes.plot(row["epoch"], row[column], **style)


def finish_panel(axes: "Axes", panel: str, histories: Sequence[History]) -> None:
    """Set the ends, ticks and labels of a panel whose lines are drawn, and say so where there is none.

    Args:
        axes: The panel.
        panel: One of PANELS.
        histories: Those that are drawn.
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    if not axes.lines:
        axes.text(0.5, 0.5, f"no finite {panel}", ha="center", va="center", transform=axes.transAxes)
        axes.set_yticks([])
    first = min(history.frame["epoch"].iloc[0] for history in histories)
    last = max(history.frame["epoch"].iloc[-1] for history in histories)
    margin = max(0.5, 0.03 * (last - first))
    axes.set_xlim(first - min(margin, 0.9), last + margin)  # there is no epoch 0 to put a tick at
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_ylabel(panel)
    if panel == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.25)


def _describe_one(figure: "Figure", history: History) -> None:
    for axes in figure.axes:
        if axes.lines:
            axes.legend()
    between = " · " if len(figure.axes) == 2 else "\n"
    title = figure.suptitle(picture_text(history.title, 60) + between + history.describe_best())
    # Wide signs, such as Chinese ones, may need a smaller size, to which their width is not quite in proportion.
    room = 0.92 * figure.bbox.width / title.get_window_extent().width
    title.set_fontsize(float(title.get_fontsize()) * min(1, room))


def _describe_several(figure: "Figure", histories: Sequence[History]) -> None:
    from matplotlib.lines import Line2D

    styles = line_styles(len(histories))
    figure.axes[0].legend(
        handles=[Line2D([], [], **{**style, "color": "0.3"}) for style in styles[0].values()]
    )

    labels = [
        f"{name} · {history.best.shown} in epoch {history.best.epoch}" if history.best else name
        for name, history in zip(_distinct_names(histories), histories, strict=True)
    ]
    lines = [Line2D([], [], color=style["val"]["color"], linewidth=3) for style in styles]
    place: dict[str, Any] = {"loc": "outside lower center", "fontsize": "small", "frameon": False}
    for columns in range(min(len(labels), 6), 0, -1):
        # matplotlib leaves out a label that begins with an underscore, unless it is set afterwards.
        legend = figure.legend(lines, ["-"] * len(lines), ncols=columns, **place)
        for text, label in zip(legend.get_texts(), labels, strict=True):
            text.set_text(label)
        if columns == 1 or legend.get_window_extent().width < figure.bbox.width:
            break
        legend.remove()
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + legend.get_window_extent().height / figure.dpi)

    titles = {history.title for history in histories}
    shared = f"{picture_text(titles.pop(), 60)}: " if len(titles) == 1 else ""
    figure.suptitle(f"{shared}{len(histories)} runs")


def _distinct_names(histories: Sequence[History]) -> list[str]:
    """Name each run by as little of its path as tells them apart."""
    runs = [history.name_parts for history in histories]
    files = [(history.path.absolute().parent.name, history.path.name) for history in histories]
    shorter = ([parts[-depth:] for parts in runs] for depth in range(1, max(map(len, runs)) + 1))
    apart = next((parts for parts in shorter if len(set(parts)) == len(parts)), files)
    return picture_names(["/".join(parts) for parts in apart], 40)


def draw_run(run: Path) -> None:
    """Draw a run's history beside it; that it cannot be drawn must not look as if training had failed."""
    from cnnzoo.runs.histories.read import read_history

    if (run / "history.csv").is_file():
        try:
            save_figure(plot_histories([read_history(run / "history.csv")]), run / "history.png")
        except CnnzooError as error:
            print_warning(f"no picture of the run: {error}")


def rehearse_drawing() -> None:
    """Draw a history of one epoch, and forget it: a run ends with a picture, whose memory a plan has to count in."""
    import pandas as pd

    frame = pd.DataFrame({"epoch": [1], **{column: [0.5] for panel in PANELS.values() for column in panel}})
    with suppress(CnnzooError):
        write_figure(plot_histories([History(Path("history.csv"), frame)]), BytesIO(), ".png")
