"""What experiment trackers are told of a run: TensorBoard, MLflow, Weights & Biases, through their own libraries."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from secrets import token_hex
from typing import Any

from cnnzoo.config_file import read_recorded, read_yaml
from cnnzoo.runs.history import HistoryRow, read_rows
from cnnzoo.training.reporter import Reporter, RunDescription


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
        done = read_rows(run / "history.csv")[: description.epochs_done] if description.epochs_done else []
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
        from cnnzoo.ui.curves import draw_run

        picture, table = self.run / "history.png", self.run / "history.csv"
        if table.is_file() and (not picture.is_file() or picture.stat().st_mtime < table.stat().st_mtime):
            draw_run(self.run)
        return picture if picture.is_file() else None


def figures(row: HistoryRow) -> dict[str, float]:
    """Return an epoch's figures by the names of their columns in ``history.csv``."""
    return {name: value for name, value in asdict(row).items() if name != "epoch" and value is not None}


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
