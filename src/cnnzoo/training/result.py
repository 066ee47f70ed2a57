"""What a run gives, or how it ended before its end."""

import shlex
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnnzoo.config import TrainConfig
from cnnzoo.errors import CnnzooError
from cnnzoo.runs.history import HistoryRow
from cnnzoo.training.meter import NonFiniteLossError

if TYPE_CHECKING:
    from cnnzoo.training.state import Training


@dataclass(frozen=True)
class RunResult:
    """What a run gave.

    Attributes:
        run: Its folder.
        config: Its settings, with the dataset that was really used.
        history: A row for each epoch.
        best: The best of them.
        epochs_trained: How many were trained this time; 0 if the run was complete already.
    """

    run: Path
    config: TrainConfig
    history: list[HistoryRow]
    best: HistoryRow
    epochs_trained: int


# Ends before the end


class InterruptedRunError(CnnzooError):
    """A run was asked to stop, and has saved where it is."""

    agreed = True  # in all processes at the same step

    def __init__(self, message: str, run: Path, exit_code: int) -> None:
        super().__init__(message)
        self.run = run
        self.exit_code = exit_code


def resume_command(run: Path, config: TrainConfig) -> str:
    """Return what a person types to go on with a run."""
    return shlex.join(
        ["cnnzoo", "train", "--resume", str(run), *(f"--import={module}" for module in config.imports)]
    )


class StopRequested(Exception):  # noqa: N818  (a request is no error)
    """All processes have agreed to stop at this step."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


def interrupted(epoch: int, request: StopRequested, training: "Training", run: Path) -> InterruptedRunError:
    """Return the error that says where a run was stopped, and how to go on with it."""
    step = f"step {training.totals.steps} of {training.train_batches.num_steps}"
    return InterruptedRunError(
        f"stopped in epoch {epoch} after {step}, and saved. "
        f"Go on with: {resume_command(run, training.config)}",
        run,
        128 + request.signal,
    )


def diverged(epoch: int, error: NonFiniteLossError, training: "Training", run: Path) -> CnnzooError:
    """Return the error that says where the loss was no number any more, and what to try."""
    saved = f" Epoch {len(training.history)} is saved in {run}." if training.history else ""
    return CnnzooError(
        f"the loss is NaN or infinite at epoch {epoch}, {error}, lr {training.optimizer.lr:g}. "
        f"Train anew: lower --lr, or try --grad-clip 1 or --warmup-epochs 1.{saved}"
    )
