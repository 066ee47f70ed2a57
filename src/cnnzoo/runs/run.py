"""A run's folder while it is trained: what is written there, and by whom."""

import hashlib
import io
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnzoo.config import TrainConfig
from cnnzoo.config_file import as_yaml, read_recorded, read_yaml
from cnnzoo.data.folders import is_files
from cnnzoo.errors import CnnzooError
from cnnzoo.files import replacing
from cnnzoo.runs.checkpoint import Checkpoint, epoch_of, save_checkpoint
from cnnzoo.runs.folder import locked
from cnnzoo.runs.history import HistoryRow, write_history
from cnnzoo.runs.manifest import note_files, write_files
from cnnzoo.runs.sources import keep_sources

if TYPE_CHECKING:
    from numpy.typing import NDArray


TRAINED = "trained.npy"
"""The file: uint8 ``(N, 32)``, the SHA-256 of each image file's bytes, sorted."""

TRAINED_SHA256 = "trained_sha256"
"""The key under which config.yaml notes the file's own checksum."""


@dataclass(frozen=True)
class Run:
    """A run's folder, seen from one of the processes that train in it.

    Attributes:
        folder: Where it is.
        writes: Whether this process is the one that writes there.
    """

    folder: Path
    writes: bool = True
    _saved: set[str] = field(default_factory=set, repr=False, compare=False)

    @contextmanager
    def held(self, warn: Callable[[str], None], *, is_new: bool = True) -> Iterator[None]:
        """Let these processes alone train there; the lock is that of the one that writes.

        Args:
            warn: Told what the folder's file system lacks.
            is_new: Whether the run has just been made.

        Raises:
            CnnzooError: Others do, or it cannot be written to.
        """
        if not self.writes:
            yield
            return
        otherwise = () if is_new else ("Make it writable, or copy the run and resume the copy.",)
        with locked(self.folder, *otherwise) as lacks:
            if lacks:
                warn(f"The file system of {self.folder.parent} {'; it '.join(lacks)}. The run goes on.")
            yield

    def write_config(self, config: TrainConfig, recorded: Mapping[str, Any]) -> None:
        """Write the settings, with notes on what they run on; what was recorded before of the images stays."""
        if self.writes:
            kept = {key: value for key, value in read_recorded(self.folder).items() if key == TRAINED_SHA256}
            write_files(
                self.folder, {"config.yaml": as_yaml(config.replace(name=None), {**kept, **recorded})}
            )

    @property
    def knows_trained(self) -> bool:
        """Whether it is noted which images the run is trained on."""
        return read_trained(self.folder) is not None

    def write_trained(self, config: TrainConfig, digests: "NDArray[np.uint8]") -> None:
        """Note which images the run is trained on: the checksums of their files, uint8 ``(N, 32)``."""
        if self.writes:
            content = as_npy(digests)
            recorded = {
                **read_recorded(self.folder),
                TRAINED_SHA256: hashlib.sha256(content).hexdigest(),
            }
            yaml = as_yaml(config.replace(name=None), recorded)
            write_files(self.folder, {TRAINED: content, "config.yaml": yaml})

    def keep_sources(self, imports: Sequence[str]) -> None:
        """Keep the source of the modules that a new run imports."""
        if self.writes:
            keep_sources(self.folder, imports)

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Save all that training needs to go on: the transaction, from which the rest derives."""
        if self.writes:
            self._save(self.folder / "last.pt", checkpoint)

    def save_epoch(self, checkpoint: Checkpoint) -> None:
        """Save the weights after an epoch, beside those of the others."""
        if self.writes:
            self._save(self.folder / f"epoch-{checkpoint.epoch}.pt", checkpoint)

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
            self._saved.add(self.former_best.name)
        self._save(self.best, checkpoint)

    def write_history(self, history: Sequence[HistoryRow]) -> None:
        """Write the history as a table."""
        if self.writes:
            write_history(self.folder / "history.csv", history)
            self._saved.add("history.csv")

    def note_saved(self, *others: str) -> None:
        """Note in the manifest what was saved since this was last called, and other files as they are."""
        if self.writes:
            note_files(self.folder, {*self._saved, *others})
            self._saved.clear()

    def _save(self, path: Path, checkpoint: Checkpoint) -> None:
        save_checkpoint(path, checkpoint)
        self._saved.add(path.name)


def located(config: TrainConfig, folder: Path) -> TrainConfig:
    """Return a run's settings with its images where a resume was last told that they lie, as config.yaml has it.

    Args:
        config: The settings of a checkpoint, which may be older.
        folder: The run's.
    """
    try:
        told = TrainConfig.from_dict(read_yaml(folder / "config.yaml"))
    except CnnzooError:
        return config
    if told.dataset == config.dataset:
        return config.replace(data_dir=told.data_dir, image_root=told.image_root)
    if is_files(str(told.dataset)) and is_files(str(config.dataset)):
        return config.replace(dataset=told.dataset, data_dir=told.data_dir, image_root=told.image_root)
    return config


def as_npy(digests: "NDArray[np.uint8]") -> bytes:
    """Return the checksums of the images that a run is trained on as the file holds them."""
    stream = io.BytesIO()
    np.save(stream, np.unique(digests, axis=0), allow_pickle=False)
    return stream.getvalue()


def read_trained(folder: Path) -> set[bytes] | None:
    """Return the checksums of the images that a run was trained on; None where that is not known."""
    try:
        content = (folder / TRAINED).read_bytes()
        if read_recorded(folder).get(TRAINED_SHA256) != hashlib.sha256(content).hexdigest():
            return None
        digests = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError):
        return None
    if digests.dtype != np.uint8 or digests.shape[1:] != (32,):
        return None
    return {row.tobytes() for row in digests}
