"""``cnnzoo train --seeds``: a setting with several seeds."""

from functools import partial
from typing import Any

import typer

from cnnzoo.config import TrainConfig
from cnnzoo.errors import UsageError
from cnnzoo.signals import warnings_ignored


def parse_jobs(text: str | None) -> int | str | None:
    """Return ``auto`` or a number of lanes.

    Raises:
        UsageError: It is neither.
    """
    if text is None or text == "auto":
        return text
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise UsageError(f"--jobs must be a number of at least 1, or auto, not {text!r}.")


def train_study(
    settings: dict[str, Any],
    source: str,
    seeds: int,
    jobs: str | None,
    *,
    new: bool,
    quiet: bool,
    trackers: tuple[str, ...],
) -> None:
    """Train, show, and end as the runs did."""
    from cnnzoo.analysis.study import train_seeds
    from cnnzoo.training.lanes import LaneReporter
    from cnnzoo.ui.lanes import LaneScreen, print_study
    from cnnzoo.ui.plots import draw_run
    from cnnzoo.ui.tracking import tracked

    config = TrainConfig.from_dict(settings, source=source)
    lanes = parse_jobs(jobs)
    screen = None if quiet else LaneScreen([f"seed-{config.seed + number}" for number in range(seeds)])
    try:
        result = train_seeds(
            config,
            seeds,
            jobs=lanes,
            new=new,
            listener=screen or LaneReporter(),
            told=partial(tracked, trackers),
        )
    finally:
        if screen:
            screen.close()
    with warnings_ignored():
        for run in result.runs:
            if run.epochs_trained or not (run.run / "history.png").exists():
                draw_run(run.run)
    if quiet:
        typer.echo(result.folder)
    else:
        print_study(result)
    if error := result.error():
        raise error
