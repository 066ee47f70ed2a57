"""``cnnzoo train``: its options are TrainConfig's fields, with their help, groups and defaults."""

import inspect
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from cnnzoo.cli import EARLY_IMPORTS, FORMER_FLAGS, GroupedCommand, app
from cnnzoo.cli.options import parse_options
from cnnzoo.config import Count, Setting, TrainConfig, field_types
from cnnzoo.config_file import read_yaml
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.signals import warnings_ignored

EXAMPLES = {
    "model_options": "-o dropout=0.3",
    "optimizer_options": "--optimizer-option eps=1e-6",
    "lr_scale": "--lr-scale features=0.1",
}
"""Settings that are given as NAME=VALUE, each with one as it is typed."""


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
    jobs: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="How many of them side by side; auto: as many as cores and memory have room for [1].",
            rich_help_panel="Run",
        ),
    ] = None,
    new: Annotated[
        bool,
        typer.Option("--new", help="Begin these seeds anew, in another folder.", rich_help_panel="Run"),
    ] = False,
    log: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Tell a tracker too: tensorboard, mlflow or wandb, as --log mlflow,wandb; a resumed run goes on with "
            "its own, unless off.",
            rich_help_panel="Output",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print the run's folder and nothing else.", rich_help_panel="Run")
    ] = False,
    **flags: Any,  # noqa: ANN401
) -> None:
    """Train a network; a run folder keeps its weights and history."""
    _check_seeds(seeds, is_study=jobs is not None or new, is_run=resume is not None or processes is not None)
    _in_processes(processes or 1)

    from cnnzoo.ui.tracking import tracked, tracker_names

    trackers = tracker_names(log or ())
    given = _given({"model": model, **flags})
    source = f"the settings in {config}" if config else "the settings"
    if seeds is not None:
        from cnnzoo.cli.studies import train_study

        train_study(_settings(config, given), source, seeds, jobs, new=new, quiet=quiet, trackers=trackers)
        return

    from cnnzoo.distributed.group import current
    from cnnzoo.training.result import InterruptedRunError
    from cnnzoo.training.resume import resume as resume_run
    from cnnzoo.training.train import train
    from cnnzoo.ui.plots import draw_run
    from cnnzoo.ui.screen import QuietScreen, Screen, print_result

    is_first = current().is_first
    screen = QuietScreen() if quiet else Screen()
    try:
        run = None
        if resume is not None:
            run, given = current().broadcast(lambda: _run_to_resume(resume, config, given))
        with tracked(trackers, screen) as reporter:
            if run is not None:
                result = resume_run(run, given, reporter=reporter)
            else:
                settings = TrainConfig.from_dict(_settings(config, given), source=source)
                result = train(settings, reporter=reporter)
    except InterruptedRunError as interruption:
        if is_first:
            with warnings_ignored():
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
    for name in ("resume", "processes", "seeds", "jobs", "new", "log", "quiet"):
        if values.pop(name):
            raise UsageError(f"--{name} is for a training. Leave it out.")
    file = values.pop("config")
    source = f"the settings in {file}" if file else "the settings"
    return TrainConfig.from_dict(_settings(file, _given(values)), source=source)


def _given(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that were given on the command line."""
    imports = [*EARLY_IMPORTS, *(asked["imports"] or ())] or None
    given = {name: value for name, value in {**asked, "imports": imports}.items() if value is not None}
    for name in given.keys() & EXAMPLES.keys():
        given[name] = parse_options(given[name], EXAMPLES[name])
    return given


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
        settings = _settings(file, given)
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


def _settings(file: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings in ``file``, if one was named, with those from the command line over them."""
    if file is not None:
        base = read_yaml(file)
        if "model_options" in given and isinstance(base.get("model_options"), dict):
            given = {**given, "model_options": {**base["model_options"], **given["model_options"]}}
        given = {**base, **given}
    if isinstance(weights := given.get("weights"), str):
        given = {**given, "weights": _run_or_file(weights, Path(str(given.get("out", "runs"))))}
    return given


def _run_or_file(weights: str, out: Path) -> str:
    """Return the folder of the run that ``weights`` names, where it names one and is no path; else ``weights``."""
    from cnnzoo.runs.folder import resolve_run

    with suppress(CnnzooError, OSError):  # whoever reads the file tells what is wrong with it
        if weights != "default" and not Path(weights).exists():
            return str(resolve_run(weights, out))
    return weights


def _option(name: str, annotation: Any) -> inspect.Parameter:  # noqa: ANN401
    """Return a setting as an option of the command; its value stays text, TrainConfig checks it."""
    bare, setting = (
        get_args(annotation)[0],
        next(m for m in annotation.__metadata__ if isinstance(m, Setting)),
    )
    default = TrainConfig.__dataclass_fields__[name].default
    flag = f"--{name.replace('_', '-')}"
    options: dict[str, Any] = {"help": setting.help, "rich_help_panel": setting.group}
    flags: tuple[str, ...]
    if bare is bool:
        kind: Any = bool | None
        flags = (f"{flag}/--no-{flag[2:]}",) if default else (flag,)
    else:
        repeatable = get_origin(bare) is dict or name == "imports"
        kind = list[str] | None if repeatable else str | None
        FORMER_FLAGS.update(setting.former_flags)
        flags = (*(setting.flags or (flag,)), *setting.former_flags)
        options["metavar"] = _metavar(name, bare)
        if isinstance(default, str | int | float | Path):
            options["help"] += f" [{default}]"
        choices = _choices(bare)
        if choices:
            options["autocompletion"] = lambda: list(choices)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind, typer.Option(*flags, **options)],
    )


def _choices(bare: Any) -> tuple[str, ...]:  # noqa: ANN401
    return get_args(bare) if get_origin(bare) is Literal else ()


def _metavar(name: str, bare: Any) -> str:  # noqa: ANN401
    if choices := _choices(bare):
        shown = "|".join(choices)
        return shown if len(shown) < 30 else "NAME"  # so that it fits 40 columns; the help has them
    if get_origin(bare) in (Union, UnionType):
        bare = get_args(bare)[0]
    bare = get_args(bare)[0] if get_origin(bare) is Annotated else bare
    words: dict[Any, str] = {
        int: "N",
        float: "X",
        Path: "PATH",
        tuple[str, ...]: "MODULE" if name == "imports" else "NAMES",
        tuple[Count, ...]: "N,N",
    }
    return words.get(bare, "NAME=VALUE" if get_origin(bare) is dict else "NAME")


def _with_settings(command: Any) -> Any:  # noqa: ANN401
    """Give the command an option for each setting in place of ``**flags``."""
    own = [
        p
        for p in inspect.signature(command).parameters.values()
        if p.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    settings = [_option(name, annotation) for name, annotation in field_types().items() if name != "model"]
    command.__signature__ = inspect.Signature([*own, *settings])
    command.__annotations__ = {p.name: p.annotation for p in command.__signature__.parameters.values()}
    return command


app.command("train", cls=GroupedCommand)(_with_settings(_train))
