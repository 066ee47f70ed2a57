"""Pictures of learning rates: over a run that is planned, and against the loss in a range test."""

from typing import TYPE_CHECKING

from cnnzoo.ui.plan import describe_schedule
from cnnzoo.ui.style import _import_matplotlib, _shorten, _style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cnnzoo.analysis.plan import Plan

_BLUE, _ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito's, as in plots.py


def plot_schedule(plan: "Plan") -> "Figure":
    """Draw the learning rate against epochs."""
    _import_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    config = plan.config
    with _style():
        figure = Figure((7, 4), layout="constrained")
        axes = figure.subplots()
        done, rates = zip(*plan.schedule, strict=True)
        # A rate holds for a step: a fall is a step down, and not a slope.
        axes.step([*done, plan.epochs], [*rates, rates[-1]], where="mid", color=_BLUE)
        axes.set_xlim(0, plan.epochs)
        axes.set_ylim(0, 1.08 * max(rates))
        axes.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 2, 5, 10]))
        axes.set_xlabel("epochs done")
        axes.set_ylabel("learning rate")
        axes.grid(alpha=0.25)
        title = f"{config.model} on {plan.description.dataset} · {plan.num_steps:,} steps"
        figure.suptitle(_shorten(title, 80))
        axes.set_title(_shorten(describe_schedule(config), 110), fontsize="small")
    return figure
