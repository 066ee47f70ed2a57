"""What experiment trackers are told of a run: TensorBoard, MLflow, Weights & Biases, through their own libraries.

The run's folder stays the source of truth. A tracker is told each finished epoch once it is saved, in a thread of its
own, so that a server that does not answer keeps no step waiting; one that fails is warned of once, and told nothing
more. ``trackers.json`` in the folder names those that a run has and what the run is called there, so that it goes on in
the same record; what a tracker lacks, because the run was killed between a save and the telling, it is told then.
"""

import json
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from secrets import token_hex
from typing import Any

from cnnzoo.config_file import read_recorded, read_yaml
from cnnzoo.errors import CnnzooError, one_line, unknown
from cnnzoo.files import replacing
from cnnzoo.runs.history import HistoryRow, read_rows
from cnnzoo.training.reporter import Reporter, Reporters, RunDescription

FILE = "trackers.json"
"""The file in a run's folder."""

LAST_SECONDS = 30.0
"""How long a run that has ended waits for a tracker that has not taken all of it yet."""


class Tracker(Reporter, ABC):
    """A tracker that is told a run's settings, its epochs and its picture.

    Args:
        known: What an earlier session of the run has kept of it.
        keep: Keeps something for later ones.
    """

    title: str
    module: str

    def __init__(self, known: Mapping[str, Any], keep: Callable[[dict[str, Any]], None]) -> None:
        self.known, self.keep = known, keep
        self.run = Path()

    def start(self, description: RunDescription, run: Path) -> None:
        """Begin the record or go on with it, and tell it those epochs that are done and that it lacks."""
        self.run = run
        done = [row for row in read_rows(run / "history.csv") if row.epoch <= description.epochs_done]
        told = self.open(done)
        for row in done:
            if row.epoch not in told:
                self.log(row)

    def epoch(self, row: HistoryRow, is_best: bool) -> None:
        """Tell it an epoch."""
        self.log(row)

    @abstractmethod
    def open(self, done: Sequence[HistoryRow]) -> set[int]:
        """Begin the record, or go on with it; return those of the epochs that are done that it has."""

    @abstractmethod
    def log(self, row: HistoryRow) -> None:
        """Tell it an epoch."""

    @abstractmethod
    def close(self) -> None:
        """Tell it the picture, if there is one, and that no more is to come for now."""

    @property
    def settings(self) -> dict[str, Any]:
        """The run's settings, as ``config.yaml`` has them."""
        return read_yaml(self.run / "config.yaml")

    @property
    def picture(self) -> Path | None:
        """The run's curves, drawn if they were not yet."""
        from cnnzoo.ui.plots import draw_run

        picture, table = self.run / "history.png", self.run / "history.csv"
        if table.is_file() and (not picture.is_file() or picture.stat().st_mtime < table.stat().st_mtime):
            draw_run(self.run)
        return picture if picture.is_file() else None


def figures(row: HistoryRow) -> dict[str, float]:
    """Return an epoch's figures by the names of their columns in ``history.csv``."""
    return {name: value for name, value in asdict(row).items() if name != "epoch"}


class TensorBoard(Tracker):
    """Event files in the run's folder ``tensorboard``; ``tensorboard --logdir runs`` shows all runs."""

    title, module = "TensorBoard", "torch.utils.tensorboard"

    def open(self, done: Sequence[HistoryRow]) -> set[int]:
        """Begin an event file that takes the place of all before it, as their readers have it by ``purge_step``."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(self.run / "tensorboard"), purge_step=1)
        self.keep({})
        self.ends_at = time.time() - sum(row.seconds for row in done)
        lines = (self.run / "config.yaml").read_text(encoding="utf-8").splitlines()
        self.writer.add_text("config", "\n".join(f"    {line}" for line in lines), 0)
        return set()

    def log(self, row: HistoryRow) -> None:
        """Tell it an epoch, at the time at which it ended, as far as its seconds tell."""
        self.ends_at = min(self.ends_at + row.seconds, time.time())
        for name, value in figures(row).items():
            self.writer.add_scalar(name, value, row.epoch, walltime=self.ends_at)
        self.writer.flush()

    def close(self) -> None:
        """Tell it the picture, and close the file."""
        if picture := self.picture:
            import numpy as np
            from PIL import Image

            with Image.open(picture) as image:
                pixels = np.asarray(image.convert("RGB"))
            last = read_rows(self.run / "history.csv")[-1].epoch
            self.writer.add_image("history", pixels, last, dataformats="HWC")
        self.writer.close()


class MLflow(Tracker):
    """A run in MLflow, where ``$MLFLOW_TRACKING_URI`` says, in the experiment cnnzoo or ``$MLFLOW_EXPERIMENT_NAME``."""

    title, module = "MLflow", "mlflow"

    def open(self, done: Sequence[HistoryRow]) -> set[int]:
        """Begin a run there, or go on with the one that an earlier session began."""
        import logging

        # A server that is gone is given up soon; MLflow's own patience is minutes, for each call.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self.client = client = MlflowClient()
        if known := self.known.get("id"):
            with suppress(MlflowException):  # it was begun elsewhere, or deleted there
                if client.get_run(known).info.lifecycle_stage == "active":
                    self.id = known
                    client.update_run(self.id, status="RUNNING")
                    return {each.step for each in client.get_metric_history(self.id, "seconds")}
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "cnnzoo")
        experiment = client.get_experiment_by_name(name)
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
        self.id = client.create_run(experiment_id, run_name=self.run.name).info.run_id
        self.keep({"id": self.id})
        from mlflow.entities import Param, RunTag

        params = [Param(name, str(value)[:500]) for name, value in self.settings.items()]
        tags = [RunTag(f"cnnzoo.{name}", str(value)) for name, value in read_recorded(self.run).items()]
        client.log_batch(self.id, params=params, tags=tags)
        return set()

    def log(self, row: HistoryRow) -> None:
        """Tell it an epoch."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self.client.log_batch(
            self.id, metrics=[Metric(name, value, now, row.epoch) for name, value in figures(row).items()]
        )

    def close(self) -> None:
        """Tell it the picture and the settings' file, and that the run has ended."""
        for path in (self.picture, self.run / "config.yaml"):
            if path:
                self.client.log_artifact(self.id, str(path))
        self.client.set_terminated(self.id)


class WandB(Tracker):
    """A run in Weights & Biases: online where somebody has logged in, else in files for ``wandb sync``.

    ``$WANDB_MODE``, ``$WANDB_PROJECT`` and ``$WANDB_DIR`` say otherwise.
    """

    title, module = "Weights & Biases", "wandb"

    def open(self, done: Sequence[HistoryRow]) -> set[int]:
        """Begin a run there, or go on with the one that an earlier session began; nobody is asked anything."""
        import wandb

        self.id = str(self.known.get("id") or token_hex(4))
        mode: Any = os.environ.get("WANDB_MODE") or ("online" if _has_wandb_key() else "offline")
        self.record: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "cnnzoo"),
            dir=os.environ.get("WANDB_DIR", str(self.run)),
            id=self.id,
            name=self.run.name,
            resume="allow" if mode == "online" else None,
            config={**self.settings, "recorded": read_recorded(self.run)},
            mode=mode,
            settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True),
        )
        last = int(self.known.get("epoch", 0)) if mode == "offline" else self.record.step - 1
        self.keep({"id": self.id, "epoch": last})
        return {row.epoch for row in done if row.epoch <= last}

    def log(self, row: HistoryRow) -> None:
        """Tell it an epoch."""
        self.record.log({"epoch": row.epoch, **figures(row)}, step=row.epoch)
        self.keep({"id": self.id, "epoch": row.epoch})

    def close(self) -> None:
        """Tell it the picture, and that no more is to come."""
        import wandb

        if picture := self.picture:
            self.record.summary["history"] = wandb.Image(str(picture))
        self.record.finish()


def _has_wandb_key() -> bool:
    """Whether a person has logged in to Weights & Biases on this machine."""
    import netrc
    from urllib.parse import urlparse

    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    with suppress(OSError, netrc.NetrcParseError):
        return host is not None and netrc.netrc().authenticators(host) is not None
    return False


TRACKERS: Mapping[str, type[Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}
"""What ``--log`` takes."""

OFF = "off"


class Aside(Reporter):
    """Tells another reporter in a thread of its own; where that fails, a person is warned, once.

    Args:
        title: What it is called in a warning.
        reporter: Whom to tell.
        warn: Warns a person; called from the thread that reports, not from the one here.
    """

    def __init__(self, title: str, reporter: Tracker, warn: Callable[[str], None]) -> None:
        self.title, self.reporter, self.warn_person = title, reporter, warn
        self.waiting: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = SimpleQueue()
        self.fault: BaseException | None = None
        self.is_warned = False
        self.thread = threading.Thread(target=self._work, name=title, daemon=True)

    def _work(self) -> None:
        while task := self.waiting.get():
            do, arguments = task
            if self.fault is None:
                try:
                    do(*arguments)
                except BaseException as error:  # whatever a library raises, SystemExit included
                    self.fault = error

    def start(self, description: RunDescription, run: Path) -> None:
        """Begin."""
        self.thread.start()
        self.waiting.put((self.reporter.start, (description, run)))

    def step(self, *figures: Any) -> None:  # noqa: ANN401  (as Reporter.step has them)
        """Look whether it has failed."""
        self._look()

    def epoch(self, row: HistoryRow, is_best: bool) -> None:
        """Tell of an epoch."""
        self.waiting.put((self.reporter.epoch, (row, is_best)))
        self._look()

    def close(self) -> None:
        """Wait until all is told, but not for ever."""
        if self.thread.ident is None:  # no run has begun
            return
        self.waiting.put((self.reporter.close, ()))
        self.waiting.put(None)
        self.thread.join(LAST_SECONDS)
        self._look()
        if self.thread.is_alive() and not self.is_warned:
            self._warn(f"it has not taken all of it within {LAST_SECONDS:.0f} s")

    def _look(self) -> None:
        if self.fault is not None and not self.is_warned:
            self._warn(one_line(self.fault)[:200])

    def _warn(self, why: str) -> None:
        self.is_warned = True
        self.warn_person(
            f"{self.title} is told nothing more: {why}. The run goes on, and its folder has all; what "
            f"{self.title} lacks it is told when the run is resumed."
        )


def tracker_names(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the trackers that a person names, each once: ``["mlflow,wandb"]``; see that they are installed.

    Raises:
        UsageError: There is no such tracker.
        CnnzooError: One is not installed; the message says how it is.
    """
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    for name in names:
        if name not in (*TRACKERS, OFF):
            raise unknown("tracker", name, (*TRACKERS, OFF))
        if name != OFF:
            _import(name)
    return tuple(dict.fromkeys(names))


def _import(name: str) -> None:
    """Import a tracker's library: now, and not while the run trains."""
    # Of what these libraries do of their own accord: they tell their makers that they are used.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import_module(TRACKERS[name].module)
    except ImportError as error:
        raise CnnzooError(
            f"--log {name} needs {TRACKERS[name].title}, which cannot be imported ({one_line(error)}). "
            f"Install it: pip install 'cnnzoo[{name}]'"
        ) from error


def trackers_of(run: Path) -> dict[str, dict[str, Any]]:
    """Return the trackers that a run has, by name, and what is kept of each."""
    try:
        values = json.loads((run / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = values if isinstance(values, dict) else {}
    return {name: kept for name, kept in found.items() if name in TRACKERS and isinstance(kept, dict)}


class _Trackers(Reporter):
    """The trackers of a run: those that are asked for, else those that it has had; begun when its folder is known."""

    def __init__(self, names: tuple[str, ...], warn: Callable[[str], None]) -> None:
        self.names, self.warn_person = names, warn
        self.told: list[Aside] = []
        self.kept: dict[str, dict[str, Any]] = {}

    def start(self, description: RunDescription, run: Path) -> None:
        self.kept = trackers_of(run)
        for name in self.names or tuple(self.kept):
            if name != OFF:
                self._begin(name, run)
        for each in self.told:
            each.start(description, run)

    def _begin(self, name: str, run: Path) -> None:
        def keep(values: dict[str, Any]) -> None:
            with lock:
                self.kept[name] = values
                with replacing(run / FILE) as file:
                    file.write(json.dumps(self.kept, indent=1, sort_keys=True).encode() + b"\n")

        lock = self.lock
        try:
            _import(name)
        except CnnzooError as error:  # of a run that is resumed elsewhere
            self.warn_person(str(error))
            return
        tracker = TRACKERS[name](self.kept.get(name, {}), keep)
        self.told.append(Aside(tracker.title, tracker, self.warn_person))

    lock = threading.Lock()

    def step(self, *figures: Any) -> None:  # noqa: ANN401
        for each in self.told:
            each.step()

    def epoch(self, row: HistoryRow, is_best: bool) -> None:
        for each in self.told:
            each.epoch(row, is_best)

    def close(self) -> None:
        for each in self.told:
            each.close()


@contextmanager
def tracked(names: tuple[str, ...], reporter: Reporter) -> Iterator[Reporter]:
    """Tell trackers, too, what a reporter is told of a run; their records are closed at the end of the block.

    Args:
        names: As ``tracker_names`` gives them; none for those that the run has had.
        reporter: The other one, which warns where a tracker fails.
    """
    trackers = _Trackers(names, reporter.warn)
    try:
        yield Reporters(reporter, trackers)
    finally:
        trackers.close()
