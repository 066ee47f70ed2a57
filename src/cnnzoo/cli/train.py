"""``cnnzoo train``: its options are TrainConfig's fields, with their help, groups and defaults."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cnnzoo.cli.app import GroupedCommand, app
from cnnzoo.cli.plan import DryRunOption, PlotScheduleOption, check_dry_run, show_plan
from cnnzoo.cli.settings import (
    JobsOption,
    LogOption,
    QuietOption,
    given_settings,
    read_settings,
    with_settings,
)
from cnnzoo.cli.streams import output_optional
from cnnzoo.config import TrainConfig
from cnnzoo.errors import UsageError
from cnnzoo.signals import ignore_warnings


def _train(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="The network; `cnnzoo models` lists them.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file of settings; flags win over it.", rich_help_panel="Run")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Go on with a run: its folder, its name, or `last`. With more --epochs it is extended. "
            "`auto`: the run of that --name if there is one, else a new one.",
            rich_help_panel="Run",
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Train in so many processes on this machine [1].",
            rich_help_panel="Machine",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="So many runs with seeds from --seed on, in one folder; the same command again goes on.",
            rich_help_panel="Run",
        ),
    ] = None,
    jobs: JobsOption = None,
    new: Annotated[
        bool,
        typer.Option("--new", help="Begin these seeds anew, in another folder.", rich_help_panel="Run"),
    ] = False,
    log: LogOption = None,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
    plot_schedule: PlotScheduleOption = None,
    **flags: Any,  # noqa: ANN401
) -> None:
    """Train a network; a run folder keeps its weights and history."""
    _check_seeds(seeds, is_study=jobs is not None or new, is_run=resume is not None or processes is not None)
    check_dry_run(
        plot_schedule, dry_run=dry_run, resumes=resume is not None, several=(processes or 1) > 1, quiet=quiet
    )
    _in_processes(processes or 1)

    from cnnzoo.ui.tracking import tracker_names

    trackers = tracker_names(log or ())
    given = given_settings({"model": model, **flags})
    source = f"the settings in {config}" if config else "the settings"
    if dry_run:
        show_plan(TrainConfig.from_dict(read_settings(config, given), source=source), seeds, plot_schedule)
        return
    if seeds is not None:
        from cnnzoo.cli.studies import train_study

        train_study(
            read_settings(config, given),
            source=source,
            seeds=seeds,
            jobs=jobs,
            new=new,
            quiet=quiet,
            trackers=trackers,
        )
        return

    _train_run(resume, config, given, source=source, quiet=quiet, trackers=trackers)


@output_optional()
def _train_run(
    resume: str | None,
    file: Path | None,
    given: dict[str, Any],
    *,
    source: str,
    quiet: bool,
    trackers: tuple[str, ...],
) -> None:
    """Train one run, new or resumed, and show it."""
    from cnnzoo.distributed.group import current
    from cnnzoo.training.result import InterruptedRunError
    from cnnzoo.training.resume import resume as resume_run
    from cnnzoo.training.train import train
    from cnnzoo.ui.curves import draw_run
    from cnnzoo.ui.screen import QuietScreen, Screen
    from cnnzoo.ui.tracking import tracked
    from cnnzoo.ui.train import print_result

    is_first = current().is_first
    screen = QuietScreen() if quiet else Screen()
    try:
        run = None
        if resume is not None:
            run, given = current().broadcast(lambda: _run_to_resume(resume, file, given))
        with tracked(trackers, screen) as reporter:
            if run is not None:
                result = resume_run(run, given, reporter=reporter)
            else:
                settings = TrainConfig.from_dict(read_settings(file, given), source=source)
                result = train(settings, reporter=reporter)
    except InterruptedRunError as interruption:
        ignore_warnings()
        if is_first:
            draw_run(interruption.run)
        raise
    finally:
        screen.close()
    if not is_first:
        return
    if result.epochs_trained:
        draw_run(result.run)
    if quiet:
        typer.echo(result.run)
    else:
        print_result(result)


def config_of(arguments: list[str]) -> TrainConfig:
    """Return the settings that ``cnnzoo train ARGUMENTS`` would begin a run with, read by its own parser.

    Raises:
        UsageError: A setting that cannot be right, or an option that is none of a new run's settings.
    """
    parser = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    values = parser.make_context("cnnzoo train", arguments).params
    for name in ("resume", "processes", "seeds", "jobs", "new", "log", "quiet", "dry_run", "plot_schedule"):
        if values.pop(name):
            raise UsageError(f"--{name.replace('_', '-')} is for a training. Leave it out.")
    file = values.pop("config")
    source = f"the settings in {file}" if file else "the settings"
    return TrainConfig.from_dict(read_settings(file, given_settings(values)), source=source)


def _check_seeds(seeds: int | None, *, is_study: bool, is_run: bool) -> None:
    """Refuse options of several runs where there is one, and of one where there are several."""
    if seeds is None and is_study:
        raise UsageError("--jobs and --new are for several runs. Say how many with --seeds.")
    if seeds is not None and is_run:
        raise UsageError(
            "--seeds makes runs of one process each, and goes on with them by itself. Leave --resume and "
            "--processes out."
        )


def _in_processes(num: int) -> None:
    """Start this very command in ``num`` processes, unless this is one of them, and end with their exit code."""
    already = os.environ.get("WORLD_SIZE", "1")
    if num > 1 and already == "1":
        from cnnzoo.distributed.launch import launch

        sys.exit(launch(num, sys.argv[1:]))
    if num > 1 and already != str(num):
        raise UsageError(f"there are {already} processes already, by $WORLD_SIZE. Leave --processes out.")


def _run_to_resume(
    resume: str, file: Path | None, given: dict[str, Any]
) -> tuple[Path | None, dict[str, Any]]:
    """Return the run that ``--resume`` means, None where one is to begin, and the settings to change in it."""
    from cnnzoo.runs.folder import resolve_run

    if resume == "auto":
        settings = read_settings(file, given)
        config = TrainConfig.from_dict(settings)
        if not config.name:
            raise UsageError("`--resume auto` looks for a run by its name. Give it one with --name.")
        run = config.out / config.name
        if not (run / "last.pt").is_file():
            return None, given
        return run, {key: value for key, value in settings.items() if key not in ("name", "out")}
    if file is not None:
        raise UsageError("a resumed run keeps its own settings. Leave --config out.")
    out = Path(given.get("out", "runs"))
    return resolve_run(resume, out), {key: value for key, value in given.items() if key != "out"}


app.command("train", cls=GroupedCommand)(with_settings(_train))
