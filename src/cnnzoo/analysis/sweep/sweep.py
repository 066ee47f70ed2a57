"""A study: runs of several settings, with several seeds each, side by side where there is room, and their means."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from cnnzoo.analysis.sweep.lanes import Fault, LaneReporter, Task, run_lanes
from cnnzoo.analysis.sweep.variations import Combination, combinations_of, dimensions_of
from cnnzoo.config import TrainConfig, field_types
from cnnzoo.config_file import differing, in_words, read_yaml
from cnnzoo.data.datasets import short_name
from cnnzoo.data.named.catalog import DEFAULT_DATASET
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.files import as_typed, expanded, replacing
from cnnzoo.machine import cpu_count
from cnnzoo.precision import decided_once
from cnnzoo.runs.folder import locked, released
from cnnzoo.runs.history import MEASURES
from cnnzoo.training.reporter import Reporter
from cnnzoo.training.result import InterruptedRunError, RunResult
from cnnzoo.validation import check

OF_THE_MACHINE = ("data_dir", "device", "num_workers", "threads", "save_every", "out", "name", "seed")
"""Settings that say where and how fast a run is made, and not what it is."""

EXTENDABLE = ("epochs", "max_steps", "patience")
"""Settings by which the same study may be made longer."""

ORPHAN_SECONDS = 30.0
"""How long a run is waited for that is still being saved, because what had started it was killed."""


@dataclass(frozen=True)
class SettingResult:
    """What one setting of a study gave.

    Attributes:
        label: What is varied, each with its value, ``{"lr": "0.01"}``; empty where nothing is.
        runs: Those that have ended, by seed.
        num_seeds: How many there are to be.
    """

    label: Mapping[str, str]
    runs: list[RunResult]
    num_seeds: int

    @property
    def accuracies(self) -> list[float]:
        """The best validation accuracy of each run, as fractions."""
        return [run.best.val_acc for run in self.runs]

    @property
    def mean(self) -> float | None:
        """Of the accuracies; None where no run has ended."""
        return mean(self.accuracies) if self.runs else None

    @property
    def std(self) -> float | None:
        """Their standard deviation (n - 1); None for fewer than two."""
        return stdev(self.accuracies) if len(self.runs) > 1 else None


@dataclass(frozen=True)
class StudyResult:
    """What a study gave, so far.

    Attributes:
        folder: Where its runs are.
        settings: What each of its settings gave, in their order.
        faults: How those ended that did not end well, by name.
        stopped: The signal that stopped all of them, if one did.
    """

    folder: Path
    settings: list[SettingResult]
    faults: Mapping[str, Fault]
    stopped: int | None

    @property
    def runs(self) -> list[RunResult]:
        """Of those that have ended, by setting and seed."""
        return [run for setting in self.settings for run in setting.runs]

    def error(self) -> CnnzooError | None:
        """Return what the command ends with where not all runs have ended well."""
        return error_of(self.folder, self.faults, self.stopped, again="The same command goes on.")


def error_of(
    folder: Path, faults: Mapping[str, Fault], stopped: int | None, *, again: str
) -> CnnzooError | None:
    """Return what a command ends with of whose runs not all have ended well; None where they have.

    Args:
        folder: Where the runs are.
        faults: How those ended that did not end well, by name.
        stopped: The signal that stopped all of them, if one did.
        again: A sentence that says how to go on with all of them.
    """
    if stopped:
        return InterruptedRunError(
            f"the runs in {folder} are stopped, and saved. {again}", folder, 128 + stopped
        )
    if not faults:
        return None
    (name, fault), *others = faults.items()
    if fault.exit_code == 2:
        return UsageError(fault.text)
    what = "its traceback is above" if fault.kind == "bug" else fault.text.rstrip(".")
    also = f"; nor did {', '.join(other for other, _ in others)}" if others else ""
    alone = f"`cnnzoo train --resume {as_typed(folder / name)}` goes on with it alone"
    return CnnzooError(f"{folder / name} did not end: {what}{also}. {again} {alone}.")


def sweep(
    config: TrainConfig | Mapping[str, Any],
    vary: Mapping[str, Any] | None = None,
    *,
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    seeds: int | None = None,
    jobs: int | str | None = None,
    new: bool = False,
    listener: LaneReporter | None = None,
    grown: Callable[[StudyResult], None] = lambda _: None,
    source: str = "the settings",
    told: Callable[[Reporter], AbstractContextManager[Reporter]] = nullcontext,
) -> StudyResult:
    """Train every combination of settings with every seed, each an ordinary run in the study's folder.

    What was begun before goes on, what has ended stays. ``results.csv`` has a row for each run that has ended. A run is
    called by what is varied, ``lr=0.01-dropout=0.5-seed-0``, or ``seed-0`` where nothing is.

    Args:
        config: What the settings share; its name is the study's, by default one that follows from the settings.
        vary: The values of each setting that is varied, by its name in TrainConfig; ``option.NAME`` is one of the
            model's options, ``optimizer_option.NAME`` and ``lr_scale.NAME`` likewise.
        variants: Named groups of settings, of which each is taken with each combination.
        seeds: How many, from the config's own on; one by default, or those that ``vary`` has for ``seed``.
        jobs: Runs side by side: a number, ``auto`` for as many as cores and memory have room for, or None for one
            after another. Where it is given, each has its share of the cores as threads, and no watch.
        new: Begin another study, though there is one of these settings.
        listener: Told what happens.
        grown: Told what the study has so far, each time that a run has ended.
        source: Where the settings come from, for an error.
        told: Makes of a run's reporter, in the run's own process, one that tells others too; can be pickled.

    Raises:
        UsageError: A setting that cannot be right, or that differs from those of runs that are there.
        CnnzooError: The folder cannot be written to, or another process trains there.
    """
    plain = config.to_dict() if isinstance(config, TrainConfig) else dict(config)
    dimensions = dimensions_of(vary or {})
    varied = [dimension for dimension in dimensions if dimension.field != "seed"]
    given = [dimension.values for dimension in dimensions if dimension.field == "seed"]
    if given:
        plain["seed"] = given[0][0]
    combinations = combinations_of(plain, varied, variants or {}, source)
    numbers = _seeds(combinations[0].asked.seed, seeds, given)
    folder = _folder(combinations, new=new)
    num_runs = len(combinations) * len(numbers)
    fixed = [each.config.threads for each in combinations if isinstance(each.config.threads, int)]
    lanes, _ = share_of_cores(max(fixed, default="auto"), num_runs, jobs)
    members = {}
    for each, seed in product(combinations, numbers):
        name = each.run_name(seed)
        _, threads = share_of_cores(each.config.threads, num_runs, None if jobs is None else lanes)
        members[name] = each.config.replace(out=folder, name=name, seed=seed, threads=threads)
    for member in members.values():
        _check_same(member)
    # Seed by seed, so that the settings can be compared before all is done.
    order = sorted(members, key=lambda name: members[name].seed)
    ended: dict[str, RunResult] = {}

    def so_far(faults: Mapping[str, Fault], stopped: int | None = None) -> StudyResult:
        settings = []
        for each in combinations:
            runs = [ended[name] for seed in numbers if (name := each.run_name(seed)) in ended]
            settings.append(SettingResult(each.label, runs, len(numbers)))
        return StudyResult(folder, settings, faults, stopped)

    def keep(name: str, outcome: object) -> None:
        if isinstance(outcome, RunResult):
            ended[name] = outcome
            result = so_far({})
            _write_results(result)
            grown(result)

    tasks = [Task(name, partial(_train, members[name], told)) for name in order]
    with study_held(folder):
        outcomes, stopped = run_lanes(
            tasks, lanes, listener or LaneReporter(), measured=jobs == "auto", keep=keep
        )
    return so_far({name: end for name, end in outcomes.items() if isinstance(end, Fault)}, stopped)


def _seeds(first: int, number: int | None, given: Sequence[Sequence[object]]) -> list[int]:
    """Return the seeds of a study: those that are given, or so many from the first on.

    Raises:
        UsageError: They are given in two ways, or one twice.
    """
    if not given:
        if number is not None and number < 1:
            raise UsageError(f"a study needs a seed, not {number}. Give 1 or more.")
        return list(range(first, first + (number or 1)))
    if number is not None:
        raise UsageError("seed is varied, and --seeds given besides. Leave one of the two out.")
    numbers = [check("seed", field_types()["seed"], value) for value in given[0]]
    if (twice := next((seed for seed in numbers if numbers.count(seed) > 1), None)) is not None:
        raise UsageError(f"two runs would be the same: seed={twice}. Leave one out.")
    return numbers


def share_of_cores(threads: int | str, tasks: int, jobs: int | str | None) -> tuple[int, int | str]:
    """Return how many tasks are done side by side, and with how many threads each.

    Args:
        threads: That a run is to have, or ``auto``.
        tasks: How many there are.
        jobs: That are asked for: a number, ``auto``, or None for one after another, with the threads as they are.
    """
    if jobs is None:
        return 1, threads
    cores = cpu_count()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if jobs == "auto":
        each = threads if isinstance(threads, int) else 1
        jobs = max(1, cores // each)
    lanes = max(1, min(int(jobs), tasks))
    if threads != "auto":
        return lanes, threads
    fair = max(1, cores // lanes)
    return lanes, min(fair, int(limit)) if limit.isdecimal() and int(limit) else fair


def differences(done: TrainConfig, asked: TrainConfig, ignored: Collection[str]) -> list[str]:
    """Return in words what differs between the settings of a run and those that are asked for now.

    What a run finds out by itself, the dataset where none is named, is no difference.
    """
    before, now = done.to_dict(), asked.to_dict()
    loose = {"dataset"} if now["dataset"] is None else set()
    return [*in_words(differing(before, now, {*ignored, *loose})).values()]


def _folder(combinations: Sequence[Combination], *, new: bool) -> Path:
    """Return the study's folder: of its name, or of one that follows from the settings."""
    configs = [each.asked for each in combinations]
    config = configs[0]
    out = expanded(config.out)
    if config.name is not None:
        if new:
            raise UsageError("--new begins another study where none is named. Choose another --name instead.")
        if not config.name.strip("./\\ "):
            raise UsageError(f"--name {config.name!r} names no folder of its own. Choose another.")
        if (out / config.name / "last.pt").is_file():
            raise UsageError(f"{out / config.name} is a single run, and no study. Choose another --name.")
        return out / config.name
    plain = [
        {name: value for name, value in each.to_dict().items() if name not in ("out", "name", "data_dir")}
        for each in configs
    ]
    asked = plain if len(plain) > 1 else plain[0]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:6]
    models = {each.model.replace("/", "-") for each in configs}
    datasets = {short_name(each.dataset or DEFAULT_DATASET) for each in configs}
    model, dataset = models.pop(), datasets.pop()
    base = f"{'models' if models else model}-{'datasets' if datasets else dataset}-{digest}"
    taken = [out / base, *(out / f"{base}-{number}" for number in range(2, 1000))]
    free = next(folder for folder in taken if not folder.exists())
    there = taken[: taken.index(free)]
    return free if new or not there else there[-1]


def _check_same(config: TrainConfig) -> None:
    """Refuse a run that was made by other settings."""
    run = config.out / str(config.name)
    if not (run / "last.pt").is_file():
        return
    with suppress(OSError):
        differ = differences(
            TrainConfig.from_dict(read_yaml(run / "config.yaml")), config, (*OF_THE_MACHINE, *EXTENDABLE)
        )
        if differ:
            raise UsageError(
                f"{run} was made by other settings; these differ: {', '.join(differ)}. Choose another --name."
            )


@contextmanager
def study_held(folder: Path) -> Iterator[None]:
    """Keep other commands from training in a study's folder.

    Raises:
        CnnzooError: One does, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CnnzooError(f"cannot write into {folder}: {error.strerror}. Choose another --out.") from error
    with locked(folder):
        yield


def _train(
    config: TrainConfig, told: Callable[[Reporter], AbstractContextManager[Reporter]], reporter: Reporter
) -> RunResult:
    """Train a run in its lane, or go on with it."""
    from cnnzoo.training.resume import resume
    from cnnzoo.training.train import train

    run = config.out / str(config.name)
    released(run, ORPHAN_SECONDS)
    settings = ("imports", "device", "num_workers", "save_every", *EXTENDABLE)
    changes = {name: getattr(config, name) for name in settings}
    with told(reporter) as report, decided_once(config.out):
        if not (run / "last.pt").is_file():
            return train(config, reporter=report)
        return resume(
            run, {**changes, **({"data_dir": config.data_dir} if config.data_dir else {})}, reporter=report
        )


def _write_results(result: StudyResult) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    own = ("seed", "run", "epochs", "best_epoch", *MEASURES, "seconds")
    columns = [f"setting.{name}" if name in own else name for name in result.settings[0].label]
    heading = [*own[:2], *columns, *own[2:]]
    writer.writerow(heading)
    written = {run.run.name for run in result.runs}
    for setting in result.settings:
        for run in setting.runs:
            figures = [getattr(run.best, name) for name in MEASURES]
            seconds = sum(row.seconds for row in run.history)
            ended = [len(run.history), run.best.epoch, *figures, seconds]
            writer.writerow([run.config.seed, run.run.name, *setting.label.values(), *ended])
    for row in _rows_before(result.folder / "results.csv", heading):
        if row[1] not in written and (result.folder / row[1] / "last.pt").is_file():
            writer.writerow(row)
    with replacing(result.folder / "results.csv") as file:
        file.write(text.getvalue().encode(errors="surrogateescape"))


def _rows_before(path: Path, heading: list[str]) -> list[list[str]]:
    """Return the rows of runs that results.csv has already, if it has the same columns."""
    with (
        suppress(OSError, ValueError, csv.Error),
        path.open(newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        first, *rows = csv.reader(file)
        return [row for row in rows if len(row) == len(heading)] if first == heading else []
    return []
