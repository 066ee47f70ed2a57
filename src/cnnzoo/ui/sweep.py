"""What a person sees of a study: a table and a picture, which grow as its runs end."""

import time
from typing import TYPE_CHECKING

from rich.markup import escape

from cnnzoo.analysis.sweep.variations import described, short_names
from cnnzoo.errors import CnnzooError
from cnnzoo.files import as_typed
from cnnzoo.ui.page import Layout, Page
from cnnzoo.ui.screen import out, print_warning
from cnnzoo.ui.style import COLORS, import_matplotlib, picture_style, picture_text, save_figure
from cnnzoo.ui.tables import NONE

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    from cnnzoo.analysis.sweep.sweep import SettingResult, StudyResult

_ROW = 0.26
"""Inches of a line."""

_TALLEST = 60.0
"""Inches of a picture; of more lines than fit, they are set closer."""

_FIGURES = (">Runs", ">Val acc", ">Std", ">Val loss")

PICTURE = "results.png"

SHARE = 0.05
"""Of the time that the runs take, so much at most is spent on their picture."""


class StudyPicture:
    """A study's picture, drawn anew now and then as runs end."""

    def __init__(self) -> None:
        self.due_at = 0.0
        self.is_told = False

    def grown(self, result: "StudyResult") -> None:
        """Draw what there is, if the last time was long enough ago."""
        if time.monotonic() >= self.due_at:
            self.draw(result)

    def draw(self, result: "StudyResult") -> None:
        """Draw what there is of several settings; that it cannot be drawn must not look as if training had failed."""
        if not result.runs or len(result.settings) < 2:
            return
        begun = time.monotonic()
        try:
            save_figure(plot_study(result), result.folder / PICTURE)
        except CnnzooError as error:
            if not self.is_told:
                self.is_told = True
                print_warning(f"no picture of the study: {error}")
        ended = time.monotonic()
        self.due_at = ended + (ended - begun) / SHARE


def study_table(result: "StudyResult") -> "Table":
    """Return the table of a study's settings, as wide as the screen has room for."""
    return Page().fitting(*_layouts(result))


def print_study(result: "StudyResult") -> None:
    """Print what each setting of a study gave, where its runs are, and what to type next."""
    say = out().print
    if result.runs and len(result.settings) > 1:
        page = Page()
        over = "" if result.settings[0].num_seeds == 1 else ": mean and standard deviation over the seeds"
        page.line(f"Best val acc of each run{over}", "bold")
        page.table(*_layouts(result))
        page.line()
    elif result.runs:
        (setting,) = result.settings
        spread = "" if setting.std is None else f", standard deviation {setting.std:.2%}"
        seeds = f"{len(setting.runs)} seed{'s' if len(setting.runs) > 1 else ''}"
        say(f"Mean of the best val acc over {seeds}: [bold]{setting.mean:.2%}[/]{spread}")
    files = f"results.csv and {PICTURE}" if len(result.settings) > 1 else "results.csv"
    say(f"Runs in {escape(str(result.folder))}, their results in {files}")
    if result.runs and not result.faults:
        typed = escape(as_typed(result.folder))
        say("Next:")
        say(f"  cnnzoo eval {typed}")
        say(f"  cnnzoo plot {typed}")


def _layouts(result: "StudyResult") -> tuple[Layout, Layout]:
    keys = list(result.settings[0].label)
    has_seeds = result.settings[0].num_seeds > 1
    wide, narrow = [], []
    for setting in result.settings:
        values = tuple(setting.label.values())
        runs, accuracy, std, loss = _figures(setting)
        wide.append((*values, runs, accuracy, std, loss) if has_seeds else (*values, accuracy, loss))
        named = ", ".join(values)
        narrow.append(
            (f"{named}\n {runs}", f"{accuracy}\n{std}\n{loss}")
            if has_seeds
            else (named, f"{accuracy}\n{loss}")
        )
    short = ", ".join(short_names(keys).values())
    return (
        (
            [*(f"~{key}" for key in keys), *_FIGURES]
            if has_seeds
            else [*(f"~{key}" for key in keys), *_FIGURES[1::2]],
            wide,
        ),
        (
            [f"~{short}\n runs", ">Val acc\nstd\nval loss"]
            if has_seeds
            else [f"~{short}", ">Val acc\nval loss"],
            narrow,
        ),
    )


def _figures(setting: "SettingResult") -> tuple[str, ...]:
    num, wanted = len(setting.runs), setting.num_seeds
    loss = sum(run.best.val_loss for run in setting.runs) / num if num else None
    return (
        f"{num}" if num == wanted else f"{num}/{wanted}",
        NONE if setting.mean is None else f"{setting.mean:.2%}",
        NONE if setting.std is None else f"{setting.std:.2%}",
        NONE if loss is None else f"{loss:.4f}",
    )


def plot_study(result: "StudyResult") -> "Figure":
    """Draw the best validation accuracy of each run, a line for each setting, with mean and standard deviation.

    Settings stand in their order, from top to bottom; a rule parts those of which the first varied setting differs.

    Args:
        result: With one run at least that has ended.
    """
    import_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    settings = result.settings
    several = any(len(setting.runs) > 1 for setting in settings)
    # Of several that are varied, the first one's values have a colour each, and a rule between them.
    firsts = [next(iter(each.label.values())) if len(each.label) > 1 else "" for each in settings]
    colors = {first: COLORS[number % len(COLORS)] for number, first in enumerate(dict.fromkeys(firsts))}
    with picture_style():
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
            range(len(settings)), [picture_text(described(each.label, short=True), 60) for each in settings]
        )
        axes.set_ylim(len(settings) - 0.5, -0.5)
        axes.xaxis.set_major_locator(MaxNLocator(8))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="x", alpha=0.25)
        what = "best validation accuracy of each run"
        axes.set_xlabel(f"{what}\nblack: mean ± standard deviation over the seeds" if several else what)
        done, wanted = len(result.runs), sum(setting.num_seeds for setting in settings)
        title = f"{picture_text(result.folder.name, 50)} · {done} runs"
        figure.suptitle(title if done == wanted else f"{title} of {wanted}")
    return figure
