"""Runs by their settings: which differ in nothing but the seed, in what the others differ, and what to call them."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnzoo.analysis.sweep.sweep import OF_THE_MACHINE
from cnnzoo.config import TrainConfig
from cnnzoo.config_file import read_recorded, read_yaml
from cnnzoo.data.datasets import short_name
from cnnzoo.data.folders import is_files
from cnnzoo.errors import CnnzooError, one_line
from cnnzoo.files import as_typed, natural
from cnnzoo.models.registry import get_spec, is_registered
from cnnzoo.runs.histories.read import read_history
from cnnzoo.runs.history import History, read_rows
from cnnzoo.runs.sources import IMPORTED_FOLDER
from cnnzoo.training.schedule import limit_reached

WITHOUT_EFFECT = (*OF_THE_MACHINE, "keep_epochs", "record_images", "check_duplicates")
"""Settings that make no other net; the seed is among them."""

BASE = "base"
"""What the setting is called that has the usual value of everything."""

IMAGES = "training images"
SOURCE = "imported source"
"""What else may differ between runs of the same settings, by its checksum."""

DECIDE_IMAGES = ("dataset", "model", "image_size", "resize")
"""Settings by which training images have another checksum though nobody has changed them."""

ABSENT = "–"
"""Stands where a net has no such option."""


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """A run as its folder has it.

    Attributes:
        folder: Where it is.
        config: Its settings.
        settings: What makes its net what it is, the seed aside: settings by name, the model's options with defaults,
            and checksums of the training images and of imported source where they are known.
        precision: The number format that it was trained in, also where its settings leave that to ``auto``.
        history: What it went through.
        is_over: Whether it has reached one of its limits.
        is_named: Whether a person named it by itself, and not a study that it is in.
    """

    folder: Path
    config: TrainConfig
    settings: dict[str, Any]
    precision: str
    history: History
    is_over: bool
    is_named: bool

    @property
    def seed(self) -> int:
        """The seed that it was trained with."""
        return self.config.seed

    @property
    def epochs(self) -> int:
        """How many it has trained."""
        return len(self.history.frame)


def runs_below(folder: Path, depth: int = 2) -> list[Path]:
    """Return the runs in a folder: those of a study or of a folder of studies, or the run that it is itself."""
    try:
        inside = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        found = [
            run
            for path in sorted(inside, key=lambda path: natural(path.name))
            for run in (runs_below(path, depth - 1) if depth else [])
        ]
    except OSError as error:
        raise CnnzooError(f"cannot read {folder}: {one_line(error)}. Name another folder of runs.") from error
    return found or ([folder] if (folder / "config.yaml").is_file() else [])


def read_run(folder: Path, *, is_named: bool) -> RecordedRun:
    """Read a run's settings and history.

    Args:
        folder: Where it is.
        is_named: Whether a person named it by itself.

    Raises:
        CnnzooError: It has no weights or no history yet, or a file of it cannot be read.
    """
    config = TrainConfig.from_dict(read_yaml(folder / "config.yaml"), source=f"the settings in {folder}")
    history = read_history(folder)
    if not (folder / "best.pt").is_file():
        raise CnnzooError(
            f"{folder} has no best.pt. Go on with it: `cnnzoo train --resume {as_typed(folder)}`."
        )
    try:
        rows = read_rows(folder / "history.csv")
    except (OSError, ValueError) as error:
        raise CnnzooError(
            f"{folder / 'history.csv'} is no history as cnnzoo writes it: {one_line(error)}. "
            f"Write it again from last.pt: `cnnzoo train --resume {as_typed(folder)}`."
        ) from error
    recorded = read_recorded(folder)
    steps = recorded.get("steps_per_epoch")
    steps = steps if type(steps) is int and steps > 0 else None
    is_over = limit_reached(rows, config, steps) is not None
    precision = str(recorded.get("precision", config.precision))
    settings = _settings_of(config, recorded)
    return RecordedRun(folder, config, settings, precision, history, is_over, is_named)


def _settings_of(config: TrainConfig, recorded: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in config.to_dict().items() if name not in WITHOUT_EFFECT}
    own = {**_default_options(config.model), **plain.pop("model_options")}
    factors = {f"lr_scale {part}": factor for part, factor in plain.pop("lr_scale").items()}
    options = (*own.items(), *plain.pop("optimizer_options").items(), *factors.items())
    named = {name if name not in plain else f"option {name}": value for name, value in options}
    plain = {"model": plain["model"], **named, **plain}
    if isinstance(digest := recorded.get("data_sha256"), str):
        plain[IMAGES] = digest[:8]
    if sources := recorded.get(IMPORTED_FOLDER):
        plain[SOURCE] = hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()[:8]
    return plain


def _default_options(model: str) -> dict[str, Any]:
    if not is_registered(model):  # one of a person's own, whose module is not imported
        return {}
    return {name: p.default for name, p in get_spec(model).options.items() if p.default is not p.empty}


def group_by_settings(runs: Iterable[RecordedRun]) -> list[list[RecordedRun]]:
    """Return the runs by their settings: each group's runs differ in nothing but the seed.

    A seed that a group has already begins another group of the same settings.
    """
    groups: dict[tuple[str, int], list[RecordedRun]] = {}
    times: Counter[tuple[str, int]] = Counter()
    for run in runs:
        key = json.dumps(run.settings, sort_keys=True, default=str)
        group = key, times[key, run.seed]
        times[key, run.seed] += 1
        groups.setdefault(group, []).append(run)
    return list(groups.values())


def what_differs(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return of each setting what is not the same in all of them, as a person writes it.

    Of options of several models those that are not the default alone.
    """
    if len({each["model"] for each in settings}) > 1:
        settings = [_without_defaults(each) for each in settings]
    names = list(dict.fromkeys(name for each in settings for name in each))
    written = [{name: _written(name, each.get(name, ABSENT)) for name in names} for each in settings]
    differing = [name for name in names if len({each[name] for each in written}) > 1]
    if IMAGES in differing:  # of another data set, or in another size, they cannot be the same
        sources = [tuple(each[name] for name in DECIDE_IMAGES) for each in written]
        if len(set(sources)) == len({(*s, each[IMAGES]) for s, each in zip(sources, written, strict=True)}):
            differing.remove(IMAGES)
    return [{name: each[name] for name in differing} for each in written]


def names_of(differing: Sequence[Mapping[str, str]]) -> list[str]:
    """Return what to call settings by what differs: ``lr=0.01``.

    Of three or more, a value that more than half of them have is left out; the one that has all of those is ``base``.
    """
    num = len(differing)
    usual = {
        name: value
        for name in (differing[0] if num > 2 else ())
        for value, times in Counter(each[name] for each in differing).most_common(1)
        if 2 * times > num
    }
    return [
        " ".join(f"{name}={value}" for name, value in each.items() if value not in (usual.get(name), ABSENT))
        or BASE
        for each in differing
    ]


def _without_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    defaults = _default_options(settings["model"])
    return {
        name: value
        for name, value in settings.items()
        if not (name.removeprefix("option ") in defaults and value == defaults[name.removeprefix("option ")])
    }


def _written(name: str, value: object) -> str:
    if name == "dataset" and isinstance(value, str) and is_files(value):
        return short_name(value)
    if isinstance(value, list | tuple):
        return "+".join(map(str, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
