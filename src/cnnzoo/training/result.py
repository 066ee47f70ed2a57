"""What a run gives, or how it ended before its end."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cnnzoo.config import Setting, TrainConfig, field_types
from cnnzoo.errors import CnnzooError
from cnnzoo.runs.history import HistoryRow
from cnnzoo.training.schedule import Limit


@dataclass(frozen=True)
class RunResult:
    """What a run gave.

    Attributes:
        run: Its folder.
        config: Its settings, with the dataset that was really used.
        history: A row for each epoch.
        best: The best of them.
        epochs_trained: How many were trained this time; 0 if the run was complete already.
        limit: What ended it.
    """

    run: Path
    config: TrainConfig
    history: list[HistoryRow]
    best: HistoryRow
    epochs_trained: int
    limit: Limit


class InterruptedRunError(CnnzooError):
    """A run was asked to stop, and has saved where it is."""

    agreed = True  # in all processes at the same step

    def __init__(self, message: str, run: Path, exit_code: int) -> None:
        super().__init__(message)
        self.run = run
        self.exit_code = exit_code

    @classmethod
    def at(cls, place: str, run: Path, config: TrainConfig, signal: int | None) -> "InterruptedRunError":
        """Build the error that says where a run was stopped by a signal, and how to go on with it."""
        command = resume_command(run, config)
        return cls(f"stopped in {place}, and saved. Go on with: {command}", run, 128 + (signal or 0))


def as_typed_setting(name: str, value: object) -> list[str]:
    """Return a setting as the words by which a person types it on the command line."""
    if name == "model":
        return [str(value)]
    setting = next(extra for extra in field_types()[name].__metadata__ if isinstance(extra, Setting))
    flag = setting.flags[-1] if setting.flags else f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, Mapping):
        return [word for key, each in value.items() for word in (flag, f"{key}={each}")]
    if isinstance(value, list | tuple):
        return [word for each in value for word in (flag, str(each))]
    return [flag, str(value)]


def resume_command(run: Path, config: TrainConfig) -> str:
    """Return what a person types to go on with a run."""
    return shlex.join(
        ["cnnzoo", "train", "--resume", str(run), *(f"--import={module}" for module in config.imports)]
    )
