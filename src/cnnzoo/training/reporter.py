"""Whom a training tells what it does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnzoo.runs.history import HistoryRow


@dataclass(frozen=True, kw_only=True)
class RunDescription:
    """What is about to be trained, on what and where, for the header of a run.

    Attributes:
        model: Its registered name.
        num_parameters: Numbers that it has.
        num_trained: Those of them that training changes.
        in_channels: Of its images.
        image_size: Pixels a side.
        dataset: The one that is really used.
        data_location: The folder that it came from.
        num_classes: That images are told apart into.
        classes: The first few of their names.
        class_weights: What the loss weighs them by; empty where all count the same.
        sampler: How training images are drawn.
        num_train: Images to train on.
        num_val: Images to validate on.
        num_steps: Steps of an epoch.
        batch_size: Images per batch, over all processes.
        epochs: In total, the one in which ``max_steps`` ends the run included.
        max_steps: Steps after which it ends, if that comes before the end of all epochs; else 0.
        device: Where it computes.
        device_name: What that is.
        precision: Number format of the forward and backward pass.
        precision_reason: Why that one.
        optimizer: Its name.
        optimizer_note: What a person should know who uses it.
        world_size: Processes that train it together.
        backend: What carries their messages.
        threads: What a run that goes on has had, where that has changed, such as ``2,1@1:340``; else empty.
        epochs_done: Finished before.
        steps_done: Of the next epoch, likewise.
    """

    model: str
    num_parameters: int
    num_trained: int
    in_channels: int
    image_size: int
    dataset: str
    data_location: str
    num_classes: int
    classes: str
    class_weights: str
    sampler: str
    num_train: int
    num_val: int
    num_steps: int
    batch_size: int
    epochs: int
    max_steps: int
    device: str
    device_name: str
    precision: str
    precision_reason: str
    optimizer: str
    optimizer_note: str
    world_size: int
    backend: str
    threads: str
    epochs_done: int
    steps_done: int


class Reporter:
    """Whom the trainer tells what it does; this one listens to nothing.

    The screen is one; a notebook or a test may be another. They are told plain numbers and words, with which nothing
    can be done to the training. What they raise ends it.
    """

    def progress(self, what: str, done: int, total: int) -> None:
        """Something before the first epoch takes its time: a download, the reading of images."""

    def warn(self, message: str) -> None:
        """Something that the person must not overlook."""

    def start(self, description: RunDescription, run: Path) -> None:
        """The first epoch is about to begin, in the folder ``run``."""

    def step(
        self,
        epoch: int,
        phase: str,
        step: int,
        num_steps: int,
        loss: float,
        accuracy: float,
        images_per_second: float,
    ) -> None:
        """A step was done.

        Args:
            epoch: Of the run, from 1.
            phase: ``train`` or ``val``; in an evaluation the split.
            step: Which one, from 1.
            num_steps: How many the phase has.
            loss: Mean over the images of the epoch, as last read from the device: twice a second.
            accuracy: Share of them told right, likewise.
            images_per_second: Of this process, in this phase.
        """

    def epoch(self, row: HistoryRow, is_best: bool) -> None:
        """An epoch was done and saved."""


class Reporters(Reporter):
    """Several, each told everything, in their order.

    Args:
        reporters: Whom to tell. What one of them raises ends the run, as it does where there is one.
    """

    def __init__(self, *reporters: Reporter) -> None:
        self.reporters = reporters

    def progress(self, *what: Any) -> None:  # noqa: ANN401
        """Tell all of them."""
        self._tell(lambda each: each.progress(*what))

    def warn(self, message: str) -> None:
        """Tell all of them."""
        self._tell(lambda each: each.warn(message))

    def start(self, description: RunDescription, run: Path) -> None:
        """Tell all of them."""
        self._tell(lambda each: each.start(description, run))

    def step(self, *figures: Any) -> None:  # noqa: ANN401
        """Tell all of them."""
        for each in self.reporters:
            each.step(*figures)

    def epoch(self, row: HistoryRow, is_best: bool) -> None:
        """Tell all of them."""
        self._tell(lambda each: each.epoch(row, is_best))

    def _tell(self, tell: Callable[[Reporter], None]) -> None:
        for each in self.reporters:
            tell(each)
