"""What ``cnnzoo train --seeds`` and ``cnnzoo sweep`` share: a study trained and shown."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import typer

from cnnzoo.cli.streams import output_optional
from cnnzoo.errors import UsageError
from cnnzoo.signals import ignore_warnings


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


@output_optional()
def train_study(
    settings: Mapping[str, Any],
    vary: Mapping[str, object] | None = None,
    variants: Mapping[str, Any] | None = None,
    *,
    source: str,
    seeds: int | None,
    jobs: str | None,
    new: bool,
    quiet: bool,
    trackers: tuple[str, ...],
) -> None:
    """Train, show, and end as the runs did."""
    from cnnzoo.analysis.sweep.lanes import LaneReporter
    from cnnzoo.analysis.sweep.sweep import StudyResult, sweep
    from cnnzoo.ui.curves import draw_run
    from cnnzoo.ui.lanes import LaneScreen
    from cnnzoo.ui.sweep import StudyPicture, print_study, study_table
    from cnnzoo.ui.tracking import tracked

    lanes = parse_jobs(jobs)
    screen = None if quiet else LaneScreen()
    picture = StudyPicture()

    def grown(result: StudyResult) -> None:
        picture.grown(result)
        if screen and len(result.settings) > 1:
            screen.show(study_table(result))

    try:
        result = sweep(
            settings,
            vary,
            variants=variants,
            seeds=seeds,
            jobs=lanes,
            new=new,
            listener=screen or LaneReporter(),
            grown=grown,
            source=source,
            told=partial(tracked, trackers),
        )
    finally:
        if screen:
            screen.close()
    ignore_warnings()
    picture.draw(result)
    for run in result.runs:
        if run.epochs_trained or not (run.run / "history.png").exists():
            draw_run(run.run)
    if quiet:
        typer.echo(result.folder)
    else:
        print_study(result)
    if error := result.error():
        raise error
