"""The picture of a study: what each of its settings gave, a line each, so that a hundred can be read."""

from typing import TYPE_CHECKING

from cnnzoo.analysis.sweep.variations import described
from cnnzoo.ui.style import (
    _COLORS,
    _import_matplotlib,
    _shorten,
    _style,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cnnzoo.analysis.sweep.study import StudyResult

_ROW = 0.26
"""Inches of a line."""

_TALLEST = 60.0
"""Inches of a picture; of more lines than fit, they are set closer."""


def plot_study(result: "StudyResult") -> "Figure":
    """Draw the best validation accuracy of each run, a line for each setting, with mean and standard deviation.

    Settings stand in their order, from top to bottom; a rule parts those of which the first varied setting differs.

    Args:
        result: With one run at least that has ended.
    """
    _import_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    settings = result.settings
    several = any(len(setting.runs) > 1 for setting in settings)
    # Of several that are varied, the first one's values have a colour each, and a rule between them.
    firsts = [next(iter(each.label.values())) if len(each.label) > 1 else "" for each in settings]
    colors = {first: _COLORS[number % len(_COLORS)] for number, first in enumerate(dict.fromkeys(firsts))}
    with _style():
        figure = Figure(layout="constrained")
        figure.set_size_inches(9, min(_TALLEST, 1.8 + _ROW * len(settings)))
        axes = figure.subplots()
        for place, setting in enumerate(settings):
            if place and firsts[place] != firsts[place - 1]:
                axes.axhline(place - 0.5, color="0.8", linewidth=0.8)
            axes.plot(
                setting.accuracies,
                [place] * len(setting.runs),
                "o",
                color=colors[firsts[place]],
                alpha=0.5 if several else 1,
                markersize=5,
                markeredgewidth=0,
            )
            if setting.std is not None and setting.mean is not None:
                axes.errorbar(
                    [setting.mean],
                    [place],
                    xerr=[setting.std],
                    fmt="|",
                    color="black",
                    markersize=11,
                    elinewidth=1,
                    capsize=2,
                )
        axes.set_yticks(
            range(len(settings)), [_shorten(described(each.label, short=True), 60) for each in settings]
        )
        axes.set_ylim(len(settings) - 0.5, -0.5)
        axes.xaxis.set_major_locator(MaxNLocator(8))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="x", alpha=0.25)
        what = "best validation accuracy of each run"
        axes.set_xlabel(f"{what}\nblack: mean ± standard deviation over the seeds" if several else what)
        done, wanted = len(result.runs), sum(setting.num_seeds for setting in settings)
        title = f"{_shorten(result.folder.name, 50)} · {done} runs"
        figure.suptitle(title if done == wanted else f"{title} of {wanted}")
    return figure
