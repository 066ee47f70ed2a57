"""A run's folder while it is trained: what is written there, and by whom."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnzoo.config import TrainConfig, write_yaml
from cnnzoo.runs.checkpoint import Checkpoint, save_checkpoint
from cnnzoo.runs.folder import locked
from cnnzoo.runs.history import HistoryRow, write_history


@dataclass(frozen=True)
class Run:
    """A run's folder, seen from one of the processes that train in it.

    Attributes:
        folder: Where it is.
        writes: Whether this process is the one that writes there.
    """

    folder: Path
    writes: bool = True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let these processes alone train there; the lock is that of the one that writes.

        Raises:
            CnnzooError: Others do.
        """
        with locked(self.folder) if self.writes else nullcontext():
            yield

    def write_config(self, config: TrainConfig, recorded: Mapping[str, Any]) -> None:
        """Write the settings, with notes on what they run on."""
        if self.writes:
            write_yaml(self.folder / "config.yaml", config.replace(name=None), recorded)

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Save all that training needs to go on: the transaction, from which the rest derives."""
        if self.writes:
            save_checkpoint(self.folder / "last.pt", checkpoint)

    def save_best(self, checkpoint: Checkpoint) -> None:
        """Save the weights of the best epoch so far."""
        if self.writes:
            save_checkpoint(self.folder / "best.pt", checkpoint)

    def write_history(self, history: Sequence[HistoryRow]) -> None:
        """Write the history as a table."""
        if self.writes:
            write_history(self.folder / "history.csv", history)
