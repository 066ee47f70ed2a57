"""A run's folder while it is trained: what is written there, and by whom."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnzoo.config import TrainConfig
from cnnzoo.config_file import read_recorded, write_yaml
from cnnzoo.files import replacing
from cnnzoo.runs.checkpoint import Checkpoint, epoch_of, save_checkpoint
from cnnzoo.runs.folder import locked
from cnnzoo.runs.history import HistoryRow, write_history
from cnnzoo.runs.imported import keep_sources
from cnnzoo.runs.trained import TRAINED_SHA256, read_trained, write_trained

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
    def held(self, *, is_new: bool = True) -> Iterator[None]:
        """Let these processes alone train there; the lock is that of the one that writes.

        Raises:
            CnnzooError: Others do, or it cannot be written to.
        """
        otherwise = () if is_new else ("Make it writable, or copy the run and resume the copy.",)
        with locked(self.folder, *otherwise) if self.writes else nullcontext():
            yield

    def write_config(self, config: TrainConfig, recorded: Mapping[str, Any]) -> None:
        """Write the settings, with notes on what they run on; what was recorded before of the images stays."""
        if self.writes:
            kept = {key: value for key, value in read_recorded(self.folder).items() if key == TRAINED_SHA256}
            write_yaml(self.folder / "config.yaml", config.replace(name=None), {**kept, **recorded})

    @property
    def knows_trained(self) -> bool:
        """Whether it is noted which images the run is trained on."""
        return read_trained(self.folder) is not None

    def write_trained(self, config: TrainConfig, digests: "NDArray[np.uint8]") -> None:
        """Note which images the run is trained on: the checksums of their files, uint8 ``(N, 32)``."""
        if self.writes:
            self.write_config(
                config, {**read_recorded(self.folder), TRAINED_SHA256: write_trained(self.folder, digests)}
            )

    def keep_sources(self, imports: Sequence[str]) -> None:
        """Keep the source of the modules that a new run imports."""
        if self.writes:
            keep_sources(self.folder, imports)

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Save all that training needs to go on: the transaction, from which the rest derives."""
        if self.writes:
            save_checkpoint(self.folder / "last.pt", checkpoint)

    def save_epoch(self, checkpoint: Checkpoint) -> None:
        """Save the weights after an epoch, beside those of the others."""
        if self.writes:
            save_checkpoint(self.folder / f"epoch-{checkpoint.epoch}.pt", checkpoint)

    @property
    def best(self) -> Path:
        """The weights of the best epoch."""
        return self.folder / "best.pt"

    @property
    def former_best(self) -> Path:
        """Those of the best whole epoch, where the one in which ``max_steps`` has ended the run is better."""
        return self.folder / "former-best.pt"

    def save_best(self, checkpoint: Checkpoint, *, keep_former: bool = False) -> None:
        """Save the weights of the best epoch so far.

        Args:
            checkpoint: What to save.
            keep_former: Whether those that were the best are kept, since these may be withdrawn.
        """
        if not self.writes:
            return
        if keep_former and epoch_of(self.best) not in (None, checkpoint.epoch):
            with self.best.open("rb") as best, replacing(self.former_best) as former:
                shutil.copyfileobj(best, former)
        save_checkpoint(self.best, checkpoint)

    def write_history(self, history: Sequence[HistoryRow]) -> None:
        """Write the history as a table."""
        if self.writes:
            write_history(self.folder / "history.csv", history)
