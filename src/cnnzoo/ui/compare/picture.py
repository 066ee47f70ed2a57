"""The picture of a comparison: curves over each other, with bands over seeds, and each seed's test accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cnnzoo.runs.history import History
from cnnzoo.ui.curves import (
    PANELS,
    draw_column,
    finish_panel,
    line_styles,
)
from cnnzoo.ui.style import import_matplotlib, picture_style, picture_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cnnzoo.analysis.compare.result import ComparedSetting, ComparisonResult

NAME = 32
"""Letters of a setting's name beside its row, at most."""


@dataclass(frozen=True)
class Curves:
    """What the seeds of a setting went through.

    Attributes:
        mean: Over the seeds, of the epochs that all of them have.
        spread: Standard deviation of each column and epoch; None of a single seed.
    """

    mean: History
    spread: "pd.DataFrame | None"


def plot_comparison(result: "ComparisonResult", figure: "Figure | None" = None) -> "Figure":
    """Draw loss and accuracy against epoch, a colour for each setting, and below it the test accuracy of each seed.

    A line is the mean over seeds, a band one standard deviation to each side; validation is solid, training dashed and
    pale. Below, a dot is a run, a bar the mean, and a line its 95% interval.

    Args:
        result: What to draw.
        figure: What to draw on; a new one if it is None.
    """
    import_matplotlib()
    from matplotlib.figure import Figure

    settings = result.settings
    height = 0.9 + 0.32 * len(settings)
    curves = [_curves(setting) for setting in settings]
    # A single history's red and blue are for training and validation; here a colour is a setting.
    styles = line_styles(max(len(settings), 2))[: len(settings)]
    with picture_style():
        figure = figure or Figure()
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.08)
        figure.set_size_inches(12, 4.4 + height)
        grid = figure.add_gridspec(2, 2, height_ratios=(4, height))
        for place, (panel, columns) in enumerate(PANELS.items()):
            axes = figure.add_subplot(grid[0, place])
            _draw_curves(axes, curves, styles, columns)
            finish_panel(axes, panel, [each.mean for each in curves])
            if place == 0:
                _explain(axes, styles[0], has_bands=any(each.spread is not None for each in curves))
        _draw_accuracies(figure.add_subplot(grid[1, :]), settings, styles)
        figure.suptitle(_title(result))
    return figure


def _curves(setting: "ComparedSetting") -> Curves:
    import pandas as pd

    histories = [run.recorded.history for run in setting.runs]
    frames = [history.frame.set_index("epoch") for history in histories]
    num = min(map(len, frames))
    stacked = pd.concat([frame.iloc[:num] for frame in frames]).groupby(level="epoch")
    mean = replace(histories[0], frame=stacked.mean().reset_index())
    return Curves(mean, stacked.std().reset_index() if len(frames) > 1 else None)


def _draw_curves(
    axes: "Axes",
    curves: Sequence[Curves],
    styles: Sequence[Mapping[str, Mapping[str, Any]]],
    columns: tuple[str, str],
) -> None:
    train, val = columns
    for index, (each, style) in enumerate(zip(curves, styles, strict=True)):
        draw_column(axes, each.mean, train, style["train"], index)
        draw_column(axes, each.mean, val, style["val"], index)
        if each.spread is not None and val in each.spread:
            middle, spread = each.mean.frame[val], each.spread[val]
            color = style["val"]["color"]
            axes.fill_between(
                each.mean.frame["epoch"],
                middle - spread,
                middle + spread,
                color=color,
                alpha=0.2,
                linewidth=0,
            )


def _explain(axes: "Axes", style: Mapping[str, Mapping[str, Any]], *, has_bands: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], **{**style[phase], "color": "0.3"}) for phase in ("train", "val")]
    if has_bands:
        handles.append(Patch(color="0.3", alpha=0.2, linewidth=0, label="± one standard deviation"))
    axes.legend(handles=handles)


def _draw_accuracies(
    axes: "Axes", settings: "Sequence[ComparedSetting]", styles: Sequence[Mapping[str, Mapping[str, Any]]]
) -> None:
    from matplotlib.ticker import PercentFormatter

    for place, (setting, style) in enumerate(zip(settings, styles, strict=True)):
        color = style["val"]["color"]
        if setting.interval is not None:
            axes.plot(setting.interval, [place, place], color=color, linewidth=2, alpha=0.5)
        axes.plot(setting.accuracies, [place] * len(setting.runs), "o", color=color, alpha=0.6, markersize=6)
        if len(setting.runs) > 1:
            axes.plot([setting.mean], [place], "|", color="black", markersize=14, markeredgewidth=1.5)
    axes.set_yticks(range(len(settings)), [picture_text(setting.name, NAME) for setting in settings])
    axes.set_ylim(len(settings) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="x", alpha=0.25)
    several = any(len(setting.runs) > 1 for setting in settings)
    each = "dots: seeds, bars: means, lines: 95% intervals" if several else "lines: 95% intervals"
    axes.set_xlabel(f"test accuracy ({each})")


def _title(result: "ComparisonResult") -> str:
    num = sum(len(setting.runs) for setting in result.settings)
    settings = f"{len(result.settings)} settings, " if len(result.settings) > 1 else ""
    models = {run.recorded.config.model for setting in result.settings for run in setting.runs}
    what = picture_text(models.pop(), 40) if len(models) == 1 else f"{len(models)} models"
    return f"{what} on {picture_text(result.dataset, 40)}: {settings}{num} runs"
