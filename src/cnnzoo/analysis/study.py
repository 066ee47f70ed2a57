"""One setting with several seeds: a run for each, side by side where there is room, and their mean."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, stdev

from cnnzoo.config import TrainConfig
from cnnzoo.config_file import read_yaml
from cnnzoo.data.catalog import DEFAULT
from cnnzoo.data.splits import full_name, short_name
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.files import as_typed, replacing
from cnnzoo.machine import cpu_count
from cnnzoo.runs.folder import locked, released
from cnnzoo.runs.settings import differing, in_words
from cnnzoo.training.lanes import Fault, LaneReporter, Task, run_lanes
from cnnzoo.training.reporter import Reporter
from cnnzoo.training.result import InterruptedRunError, RunResult

OF_THE_MACHINE = ("data_dir", "device", "num_workers", "threads", "save_every", "out", "name", "seed")
"""Settings that say where and how fast a run is made, and not what it is."""

EXTENDABLE = ("epochs", "max_steps", "patience")
"""Settings by which the same study may be made longer."""

ORPHAN_SECONDS = 30.0
"""How long a run is waited for that is still being saved, because what had started it was killed."""


@dataclass(frozen=True)
class StudyResult:
    """What the seeds of a study gave.

    Attributes:
        folder: Where their runs are.
        runs: Of those that have ended, by seed.
        faults: Of those that have not, by name.
        stopped: The signal that stopped all of them, if one did.
    """

    folder: Path
    runs: list[RunResult]
    faults: dict[str, Fault]
    stopped: int | None

    @property
    def mean(self) -> float:
        """Of the best validation accuracies."""
        return mean(run.best.val_acc for run in self.runs)

    @property
    def std(self) -> float | None:
        """Their standard deviation (n - 1); None for a single one."""
        return stdev(run.best.val_acc for run in self.runs) if len(self.runs) > 1 else None

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


def train_seeds(
    config: TrainConfig,
    seeds: int,
    *,
    jobs: int | str | None = None,
    new: bool = False,
    listener: LaneReporter | None = None,
) -> StudyResult:
    """Train a setting with several seeds, from the config's own on, each a run ``seed-S`` in the study's folder.

    What was begun before goes on, what has ended stays. ``results.csv`` has a row for each run that has ended.

    Args:
        config: The setting; its name is the study's, by default one that follows from the settings.
        seeds: How many.
        jobs: Runs side by side: a number, ``auto`` for as many as cores and memory have room for, or None for one
            after another. Where it is given, each has its share of the cores as threads, and no watch.
        new: Begin another study, though there is one of these settings.
        listener: Told what happens.

    Raises:
        UsageError: A setting that cannot be right, or that differs from those of runs that are there.
        CnnzooError: The folder cannot be written to, or another process trains there.
    """
    if config.dataset is not None:  # as the runs are going to note it
        config = config.replace(dataset=full_name(config.dataset))
    folder = _folder(config, new=new)
    lanes, threads = share_of_cores(config.threads, seeds, jobs)
    config = config.replace(out=folder, threads=threads)
    wanted = [
        config.replace(seed=seed, name=f"seed-{seed}") for seed in range(config.seed, config.seed + seeds)
    ]
    for each in wanted:
        _check_same(each)
    tasks = [Task(str(each.name), partial(_train, each)) for each in wanted]
    ended: dict[str, RunResult] = {}

    def keep(name: str, outcome: object) -> None:
        if isinstance(outcome, RunResult):
            ended[name] = outcome
            _write_results(folder, list(ended.values()))

    with study_held(folder):
        outcomes, stopped = run_lanes(
            tasks, lanes, listener or LaneReporter(), measured=jobs == "auto", keep=keep
        )
    runs = sorted(ended.values(), key=lambda run: run.config.seed)
    faults = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Fault)}
    return StudyResult(folder, runs, faults, stopped)


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

    What a run finds out by itself (the dataset where none is named, the precision) is no difference.
    """
    before, now = done.to_dict(), asked.to_dict()
    loose = {name for name in ("dataset", "precision") if now[name] in (None, "auto")}
    if now["momentum"] is None and before["momentum"] == 0.9:  # as version 0.1 wrote what was not given
        loose.add("momentum")
    return [*in_words(differing(before, now, {*ignored, *loose})).values()]


def _folder(config: TrainConfig, *, new: bool) -> Path:
    """Return the study's folder: of its name, or of one that follows from the settings."""
    if config.name is not None:
        if new:
            raise UsageError("--new begins another study where none is named. Choose another --name instead.")
        return config.out / config.name
    plain = {
        name: value for name, value in config.to_dict().items() if name not in ("out", "name", "data_dir")
    }
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:6]
    base = f"{config.model.replace('/', '-')}-{short_name(config.dataset or DEFAULT)}-{digest}"
    taken = [config.out / base, *(config.out / f"{base}-{number}" for number in range(2, 1000))]
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


def _train(config: TrainConfig, report: Reporter) -> RunResult:
    """Train a run in its lane, or go on with it."""
    from cnnzoo.training.resume import resume
    from cnnzoo.training.train import train

    run = config.out / str(config.name)
    released(run, ORPHAN_SECONDS)
    if not (run / "last.pt").is_file():
        return train(config, reporter=report)
    settings = ("imports", "device", "num_workers", "save_every", *EXTENDABLE)
    changes = {name: getattr(config, name) for name in settings}
    return resume(
        run, {**changes, **({"data_dir": config.data_dir} if config.data_dir else {})}, reporter=report
    )


def _write_results(folder: Path, runs: Sequence[RunResult]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("train_loss", "train_acc", "val_loss", "val_acc")
    writer.writerow(["seed", "run", "epochs", "best_epoch", *names, "seconds"])
    for run in sorted(runs, key=lambda run: run.config.seed):
        figures = [getattr(run.best, name) for name in names]
        seconds = sum(row.seconds for row in run.history)
        writer.writerow([run.config.seed, run.run.name, len(run.history), run.best.epoch, *figures, seconds])
    with replacing(folder / "results.csv") as file:
        file.write(text.getvalue().encode())
