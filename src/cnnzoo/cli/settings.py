"""The settings of a run as options of a command: TrainConfig's fields, with their help, groups and defaults."""

import inspect
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer

from cnnzoo.cli.app import EARLY_IMPORTS
from cnnzoo.cli.options import parse_options
from cnnzoo.config import Count, Setting, TrainConfig, field_types
from cnnzoo.config_file import read_yaml
from cnnzoo.errors import CnnzooError
from cnnzoo.validation import choices

EXAMPLES = {
    "model_options": "-o dropout=0.3",
    "optimizer_options": "--optimizer-option eps=1e-6",
    "lr_scale": "--lr-scale features=0.1",
}
"""Settings that are given as NAME=VALUE, each with one as it is typed."""

JobsOption = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="How many of them side by side; auto: as many as cores and memory have room for [1].",
        rich_help_panel="Run",
    ),
]
LogOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Tell a tracker too: tensorboard, mlflow or wandb, as --log mlflow,wandb; a resumed run goes on with "
        "its own, unless off.",
        rich_help_panel="Output",
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", help="Print the run's folder and nothing else.", rich_help_panel="Run")
]


def with_settings(command: Any, without: Collection[str] = ()) -> Any:  # noqa: ANN401
    """Give the command an option for each setting, but for those ``without``, in place of ``**flags``."""
    own = [
        p
        for p in inspect.signature(command).parameters.values()
        if p.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    settings = [
        _option(name, annotation)
        for name, annotation in field_types().items()
        if name != "model" and name not in without
    ]
    command.__signature__ = inspect.Signature([*own, *settings])
    command.__annotations__ = {p.name: p.annotation for p in command.__signature__.parameters.values()}
    return command


def given_settings(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that were given on the command line."""
    imports = [*EARLY_IMPORTS, *(asked["imports"] or ())] or None
    given = {name: value for name, value in {**asked, "imports": imports}.items() if value is not None}
    for name in given.keys() & EXAMPLES.keys():
        given[name] = parse_options(given[name], EXAMPLES[name])
    return given


def read_settings(file: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings in ``file``, if one was named, with those from the command line over them."""
    return over(read_yaml(file) if file else {}, given)


def over(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return settings with those from the command line over them, of the model's options name by name."""
    if "model_options" in given and isinstance(base.get("model_options"), dict):
        given = {**given, "model_options": {**base["model_options"], **given["model_options"]}}
    given = {**base, **given}
    if isinstance(weights := given.get("weights"), str):
        given = {**given, "weights": run_or_file(weights, Path(str(given.get("out", "runs"))))}
    return given


def run_or_file(weights: str, out: Path) -> str:
    """Return the folder of the run that ``weights`` names, where it names one and is no path; else ``weights``."""
    from cnnzoo.runs.folder import resolve_run

    with suppress(CnnzooError, OSError):  # whoever reads the file tells what is wrong with it
        if weights != "default" and not Path(weights).is_file():
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
        flags = setting.flags or (flag,)
        options["metavar"] = _metavar(name, bare)
        if isinstance(default, str | int | float | Path):
            options["help"] += f" [{default}]"
        if words := _choices(bare):
            options["autocompletion"] = lambda: list(words)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind, typer.Option(*flags, **options)],
    )


def _choices(bare: Any) -> list[str]:  # noqa: ANN401
    return [str(choice) for choice in choices(bare)]


def _metavar(name: str, bare: Any) -> str:  # noqa: ANN401
    if words := _choices(bare):
        shown = "|".join(words)
        return shown if len(shown) < 30 else "NAME"  # so that it fits 40 columns; the help has them
    if get_origin(bare) in (Union, UnionType):
        bare = get_args(bare)[0]
    bare = get_args(bare)[0] if get_origin(bare) is Annotated else bare
    kinds: dict[Any, str] = {
        int: "N",
        float: "X",
        Path: "PATH",
        tuple[str, ...]: "MODULE" if name == "imports" else "NAMES",
        tuple[Count, ...]: "N,N",
    }
    return kinds.get(bare, "NAME=VALUE" if get_origin(bare) is dict else "NAME")
