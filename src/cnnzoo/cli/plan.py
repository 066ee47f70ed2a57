"""``cnnzoo train --dry-run``: what the run is going to be."""

from pathlib import Path
from typing import Annotated

import typer

from cnnzoo.config import TrainConfig
from cnnzoo.errors import UsageError

DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Write nothing: resolve all settings, try a few steps, and print what the run is going to be, with the "
        "time and memory to expect.",
        rich_help_panel="Run",
    ),
]
PlotScheduleOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Of --dry-run: draw the learning rate over the run there: .png, .svg or .pdf.",
        rich_help_panel="Run",
        show_default=False,
    ),
]


def check_dry_run(
    plot_schedule: Path | None, *, dry_run: bool, several: bool, resumes: bool, quiet: bool
) -> None:
    """Refuse what is no part of a dry run.

    Raises:
        UsageError: It is there.
    """
    if plot_schedule is not None and not dry_run:
        raise UsageError("--plot-schedule draws what a run is going to do. Add --dry-run.")
    if dry_run and resumes:
        raise UsageError(
            "--dry-run is of a run that has not begun; the history.csv of one that has says what an epoch takes. "
            "Leave --resume out."
        )
    if dry_run and several:
        raise UsageError("--dry-run is of one process. Leave --processes out.")
    if dry_run and quiet:
        raise UsageError("--dry-run does nothing but print. Leave --quiet out.")


def show_plan(config: TrainConfig, seeds: int | None, plot_schedule: Path | None) -> None:
    """Print the plan of a run, or of one of several, and draw its learning rate if that is asked for."""
    from cnnzoo.analysis.plan import make_plan
    from cnnzoo.ui.curves import rehearse_drawing
    from cnnzoo.ui.plan import plot_schedule as draw
    from cnnzoo.ui.plan import print_plan
    from cnnzoo.ui.screen import Screen
    from cnnzoo.ui.style import picture_suffix, save_figure

    if plot_schedule is not None:
        picture_suffix(plot_schedule)  # before the work
    if seeds is not None:
        config = config.replace(name=None)  # a study that is there goes on
    rehearse_drawing()
    screen = Screen()
    try:
        plan = make_plan(config, reporter=screen)
    finally:
        screen.close()
    if plot_schedule is not None:
        save_figure(draw(plan), plot_schedule)
    print_plan(plan, seeds, plot_schedule)
