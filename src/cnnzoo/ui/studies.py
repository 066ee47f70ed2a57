"""What a person sees of a study: a table and a picture, which grow as its runs end."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.markup import escape

from cnnzoo.analysis.variations import short_names
from cnnzoo.errors import CnnzooError
from cnnzoo.files import as_typed
from cnnzoo.ui.page import Layout, Page
from cnnzoo.ui.screen import out, print_warning
from cnnzoo.ui.tables import NONE

if TYPE_CHECKING:
    from rich.table import Table

    from cnnzoo.analysis.study import SettingResult, StudyResult

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
        from cnnzoo.ui.plots import save_figure
        from cnnzoo.ui.study_pictures import plot_study

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
        page.line("Best val acc of each run: mean and standard deviation over the seeds", "bold")
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


def _layouts(result: "StudyResult") -> Iterator[Layout]:
    columns = list(result.settings[0].label)
    rows = [(tuple(setting.label.values()), _figures(setting)) for setting in result.settings]
    yield [*columns, ">Runs", ">Val acc", ">Std", ">Val loss"], [(*label, *row) for label, row in rows]
    yield [*columns, ">Runs", ">Val acc", ">Std"], [(*label, *row[:3]) for label, row in rows]
    short = list(short_names(columns).values())
    yield [*short, ">Runs", ">Val acc", ">Std"], [(*label, *row[:3]) for label, row in rows]
    stacked = [f"{row[1]}\n{row[2]}".removesuffix(f"\n{NONE}") for _, row in rows]
    yield [*short, ">Val acc\nstd"], [(*label, both) for (label, _), both in zip(rows, stacked, strict=True)]
    joined = [", ".join(label) for label, _ in rows]
    yield [", ".join(short), ">Val acc\nstd"], list(zip(joined, stacked, strict=True))


def _figures(setting: "SettingResult") -> tuple[str, str, str, str]:
    num, wanted = len(setting.runs), setting.num_seeds
    loss = sum(run.best.val_loss for run in setting.runs) / num if num else None
    return (
        f"{num}" if num == wanted else f"{num}/{wanted}",
        NONE if setting.mean is None else f"{setting.mean:.2%}",
        NONE if setting.std is None else f"{setting.std:.2%}",
        NONE if loss is None else f"{loss:.4f}",
    )
