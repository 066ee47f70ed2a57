"""Whom a training tells what it does."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cnnzoo.runs.history import HistoryRow
from cnnzoo.training.meter import Totals

if TYPE_CHECKING:
    from cnnzoo.training.state import Training


class Reporter(Protocol):
    """Whom the trainer tells what it does. The screen is one; a notebook or a test may be another."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Something before the first epoch takes its time: a download, the reading of images."""

    def warn(self, message: str) -> None:
        """Something that the person must not overlook."""

    def start(self, run: Path, training: "Training") -> None:
        """The first epoch is about to begin."""

    def step(self, epoch: int, phase: str, steps: int, totals: Totals) -> None:
        """A step of ``phase`` (train or val) was done, of ``steps`` in all."""

    def epoch(self, row: HistoryRow, is_best: bool) -> None:
        """An epoch was done and saved."""


class Silent:
    """A reporter that says nothing."""

    def progress(self, what: str, done: int, total: int) -> None: ...  # noqa: D102
    def warn(self, message: str) -> None: ...  # noqa: D102
    def start(self, run: Path, training: "Training") -> None: ...  # noqa: D102
    def step(self, epoch: int, phase: str, steps: int, totals: Totals) -> None: ...  # noqa: D102
    def epoch(self, row: HistoryRow, is_best: bool) -> None: ...  # noqa: D102
