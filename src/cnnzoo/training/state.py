"""The state of a run between two steps, and how it becomes a checkpoint and comes back from one."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from cnnzoo.config import TrainConfig
from cnnzoo.data.loader import Loader
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.data.sources import Dataset
from cnnzoo.device import describe_device
from cnnzoo.distributed.group import Group
from cnnzoo.errors import CnnzooError, UsageError, named
from cnnzoo.precision import Precision
from cnnzoo.runs.checkpoint import Checkpoint, MeterState, TrainingState
from cnnzoo.runs.history import HistoryRow, best_row
from cnnzoo.runs.net_state import tensors_of, unlisted_buffers
from cnnzoo.runs.serialization import weights_sha256
from cnnzoo.training.losses import NO_GUESS, Criterion, Guess, criterion_of
from cnnzoo.training.meter import Evaluation, Meter
from cnnzoo.training.optimizers import NOTES, OptimizerLike
from cnnzoo.training.remarks import remark_on_epoch
from cnnzoo.training.reporter import RunDescription
from cnnzoo.training.result import RunResult
from cnnzoo.training.schedule import Limit, epochs_in_all, limit_reached, lr_at
from cnnzoo.training.threads import Switch, Threads, switches_as_text
from cnnzoo.training.transfer import keep_frozen

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Scoring:
    """How a net is judged on labelled images, and what the pass over them is called.

    Attributes:
        device: Where it computes.
        precision: Of the forward pass.
        criterion: Its loss.
        epoch: That it is from.
        phase: ``val``, or the split.
    """

    device: torch.device
    precision: Precision
    criterion: Criterion
    epoch: int
    phase: str

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the forward pass runs."""
        return self.precision.autocast(self.device)


@dataclass(kw_only=True)
class TrainState:
    """A run between two steps: what is being trained, and how far it is.

    Attributes:
        config: The settings, with the dataset that is really used.
        group: The processes that train it together.
        device: Where it computes.
        precision: Of the forward and backward pass.
        dataset: The training images, before validation was split off.
        preprocessing: What makes them what the net sees.
        steps_per_epoch: Steps of a whole epoch.
        model: On ``device``.
        network: What is called: the model, or its compiled form.
        frozen: Names of its layers of batch normalisation that are not trained.
        criterion: Its loss.
        optimizer: Of the model's parameters.
        scaler: Of fp16 gradients; does nothing otherwise.
        history: A row for each finished epoch.
        threads: That it computes with.
        guess: What a net comes to that has learnt nothing.
        ending: The row of the epoch in which ``max_steps`` has ended the run; a larger limit withdraws it.
        weights_sha256: Of the weights after each epoch that was the best so far or is kept, by its number.
        notes_images: Whether it is still to be noted which images it is trained on.
        lr_at_step: Learning rate of a step of the epoch, from 0; None for the schedule of the settings.
        last_epoch: The epoch after which training ends, on the schedule of all epochs; None for the last one.
        meter: Sums over the steps of the epoch that is not finished.
        seconds: Spent in that epoch before the clock was last started.
    """

    config: TrainConfig
    group: Group
    device: torch.device
    precision: Precision
    dataset: Dataset
    preprocessing: Preprocessing
    steps_per_epoch: int
    model: nn.Module
    network: nn.Module
    criterion: Criterion
    optimizer: OptimizerLike
    scaler: torch.amp.GradScaler
    threads: Threads
    guess: Guess = NO_GUESS
    frozen: frozenset[str] = frozenset()
    history: list[HistoryRow] = field(default_factory=list)
    ending: HistoryRow | None = None
    weights_sha256: dict[str, str] = field(default_factory=dict)
    notes_images: bool = True
    lr_at_step: Callable[[int], float] | None = None
    last_epoch: int | None = None
    meter: Meter = field(default_factory=Meter)
    seconds: float = 0.0
    _started: float | None = None

    @property
    def epoch(self) -> int:
        """The one that is not finished, from 1."""
        return len(self.history) + 1

    @property
    def rows(self) -> list[HistoryRow]:
        """The history, with the row of the epoch in which ``max_steps`` has ended the run."""
        return [*self.history, self.ending] if self.ending else self.history

    @property
    def last_step(self) -> int:
        """The step with which the epoch that is not finished ends, its own last one or that of ``max_steps``."""
        if self.config.max_steps is None:
            return self.steps_per_epoch
        return min(self.steps_per_epoch, self.config.max_steps - self._steps_before)

    @property
    def _steps_before(self) -> int:
        return len(self.history) * self.steps_per_epoch

    @property
    def limit(self) -> Limit | None:
        """Which limit has ended the run, if one has."""
        if self.last_epoch is not None and len(self.history) >= self.last_epoch:
            return "last_epoch"
        return "max_steps" if self.ending else limit_reached(self.history, self.config, self.steps_per_epoch)

    def lr(self) -> float:
        """Return the learning rate of the next step; in a schedule the middle of the step counts."""
        if self.lr_at_step:
            return self.lr_at_step(self.meter.steps)
        epochs_done = len(self.history) + (self.meter.steps + 0.5) / self.steps_per_epoch
        return lr_at(self.config, epochs_done, self.history, steps_per_epoch=self.steps_per_epoch)

    def set_training(self, model: nn.Module) -> None:
        """Switch a model, the one here or what wraps it, to training; frozen layers stay as in evaluation."""
        model.train()
        keep_frozen(self.model, self.frozen)

    def start_clock(self) -> None:
        """Begin or go on with the epoch's time."""
        self._started = time.perf_counter()

    def stop_clock(self) -> None:
        """Leave the epoch: what it took so far is kept."""
        self.seconds, self._started = self.elapsed(), None

    def elapsed(self) -> float:
        """Return the seconds spent in the epoch that is not finished."""
        return self.seconds + (0.0 if self._started is None else time.perf_counter() - self._started)

    def scoring(self) -> Scoring:
        """Return how the epoch is validated: by the loss itself, without label smoothing and class weights."""
        criterion = criterion_of(self.model, loss=self.config.loss)
        return Scoring(self.device, self.precision, criterion, self.epoch, "val")

    def end_epoch(self, val: Evaluation) -> tuple[HistoryRow, bool, str | None]:
        """Finish an epoch: put all processes' sums into the history, and begin anew with the meter and the clock.

        Where ``max_steps`` ends it early, its row is set apart, and it can be taken up again.

        Args:
            val: Its validation, of this process's images.

        Returns:
            The epoch's row, whether it is the best so far, and what a person should be warned of.

        Raises:
            NonFiniteLossError: A loss is NaN or infinite.
        """
        trained, validated = self._summed(self.meter), self._summed(val.meter)
        seconds = self.elapsed()
        row = HistoryRow(
            epoch=self.epoch,
            train_loss=trained.loss,
            train_acc=trained.accuracy,
            val_loss=validated.loss,
            val_acc=validated.accuracy,
            lr=self.optimizer.lr,
            seconds=seconds,
            images_per_second=(trained.images + validated.images) / seconds,
        )
        steps_before = self._steps_before
        if trained.steps < self.steps_per_epoch:
            self.stop_clock()
            self.ending = row
        else:
            self.history.append(row)
            self.meter, self.seconds, self._started = Meter(), 0.0, None
        is_best = best_row(self.rows, self.config.monitor) is row
        self.weights_sha256.pop(str(row.epoch), None)  # of a part of it, which is withdrawn
        if self.group.is_first and (is_best or self.config.keep_epochs):
            self.weights_sha256[str(row.epoch)] = weights_sha256(tensors_of(self.model.state_dict()))
        previous = self.rows[-2] if len(self.rows) > 1 else None
        remark = remark_on_epoch(
            row, previous, steps_before, trained.steps, len(self.dataset.classes), self.guess
        )
        return row, is_best, remark

    def images_trained_on(self, loader: Loader) -> "NDArray[np.uint8] | None":
        """Return the checksums of the images' files, uint8 ``(N, 32)``, once all are known. All processes have to ask.

        They come about as files are read, each process's own, and are complete after an epoch; where the run ends
        before, the rest is read. None before, and where nobody keeps them.
        """
        source = loader.source
        if not self.notes_images or source.digests is None:
            return None
        known: NDArray[np.uint8] = np.maximum.reduce(self.group.all_gather(source.digests))
        unread = np.flatnonzero(~known.any(axis=1))
        if len(unread) and self.limit is None:
            return None
        self.notes_images = False
        known[unread] = source.read_digests(unread)
        return known

    def result(self, folder: Path, epochs_trained: int) -> RunResult:
        """Return what the run that has ended gave, in its folder."""
        assert self.limit
        best = best_row(self.rows, self.config.monitor)
        return RunResult(folder, self.config, self.rows, best, epochs_trained, self.limit)

    def _summed(self, meter: Meter) -> Meter:
        """Return the sums over what all processes saw. All of them have to ask."""
        return Meter.sum(self.group.all_gather(meter.state()))

    def checkpoint(self, *, resumable: bool) -> Checkpoint:
        """Return the state as ``last.pt`` (resumable) or ``best.pt`` holds it; for the former all processes ask."""
        return Checkpoint(
            model=self.config.model,
            model_options=self.config.model_options,
            num_classes=len(self.dataset.classes),
            in_channels=self.dataset.channels,
            image_size=self.preprocessing.image_size,
            mean=self.preprocessing.mean,
            std=self.preprocessing.std,
            resize=self.preprocessing.resize,
            pad=self.preprocessing.pad,
            pixel_range=self.dataset.pixel_range or (),
            listing_sha256=self.dataset.listing_sha256,
            dataset=self.dataset.name,
            data_sha256=self.dataset.sha256,
            classes=self.dataset.classes,
            config=self.config.to_dict(),
            epoch=len(self.rows),
            metrics=asdict(self.rows[-1]) if self.rows else {},
            state_dict=self.model.state_dict(),
            precision=self.precision.name,
            buffers=unlisted_buffers(self.model),
            weights_sha256=dict(self.weights_sha256) if resumable else None,
            training=self.state_dict() if resumable else None,
        )

    def state_dict(self) -> TrainingState:
        """Return what ``load_state_dict`` goes on from, beside the weights. All processes have to ask."""
        return TrainingState(
            optimizer=self.optimizer.state_dict(),
            scaler=self.scaler.state_dict(),
            random_states=self.group.all_gather(_random_states(self.device)),
            history=list(self.history),
            ending=self.ending,
            totals=self._summed(self.meter).state(),
            seconds=self.elapsed(),
            threads=[(*switch,) for switch in self.threads.record],
        )

    def load_state_dict(self, state: TrainingState) -> None:
        """Take over how far another run of the same net was; one that ``max_steps`` had ended goes on in its epoch.

        Raises:
            UsageError: It has done more steps than it is to do.
            CnnzooError: It was of another net or optimizer.
        """
        self.optimizer.load_state_dict(state.optimizer)
        if self.scaler.state_dict().keys() != state.scaler.keys():
            raise CnnzooError(
                "last.pt holds no scale of the gradients that this precision needs. Start a new run."
            )
        self.scaler.load_state_dict(state.scaler)
        if self.group.rank < len(state.random_states):
            _restore_random_states(state.random_states[self.group.rank], self.device)
        self.history = list(state.history)
        # What was summed up before is the first one's, so that it is counted once.
        self.meter = Meter(state.totals if self.group.is_first else MeterState(steps=state.totals.steps))
        self.seconds = state.seconds
        self.threads.restore([Switch(*switch) for switch in state.threads], self.epoch, self.meter.steps)
        done = self._steps_before + self.meter.steps
        if self.config.max_steps is not None and self.config.max_steps < done:
            raise UsageError(
                f"--max-steps {self.config.max_steps} is less than the {done:,} steps that the run has done. "
                "Make it larger, or leave it out."
            )

    def restore(self, saved: Checkpoint) -> None:
        """Go back to the state of a ``last.pt``.

        Raises:
            CnnzooError: It is of other images, or of another net.
        """
        if saved.data_sha256 != self.dataset.sha256:
            raise CnnzooError(
                f"the images in {self.dataset.location} are not those that the run was trained on. "
                "Put those back, or start a new run."
            )
        assert saved.training is not None  # resume has seen to it
        saved.check_fits(self.model.state_dict())
        saved.give_state(self.model)
        self.weights_sha256 = dict(saved.weights_sha256 or {})
        self.load_state_dict(saved.training)

    def describe(self, train: Loader, val: Loader) -> RunDescription:
        """Return what a person should know before the first step, in plain numbers and words."""
        epochs = epochs_in_all(self.config, self.steps_per_epoch)
        return RunDescription(
            model=self.config.model,
            num_parameters=sum(p.numel() for p in self.model.parameters()),
            num_trained=sum(p.numel() for p in self.model.parameters() if p.requires_grad),
            in_channels=self.dataset.channels,
            image_size=self.preprocessing.image_size,
            dataset=self.dataset.name,
            data_location=str(self.dataset.location),
            num_classes=len(self.dataset.classes),
            classes=named(self.dataset.classes),
            class_weights=self.config.class_weights or "",
            sampler=self.config.sampler,
            num_train=train.num_images,
            num_val=val.num_images,
            num_steps=train.num_steps,
            batch_size=self.config.batch_size,
            epochs=math.ceil(epochs),
            max_steps=(self.config.max_steps or 0) if epochs < self.config.epochs else 0,
            device=str(self.device),
            device_name=describe_device(self.device),
            precision=self.precision.name,
            precision_reason=self.precision.reason,
            optimizer=self.config.optimizer,
            optimizer_note=NOTES.get(self.config.optimizer, ""),
            world_size=self.group.world_size,
            backend=self.group.backend,
            threads=switches_as_text(self.threads.record) if len(self.threads.record) > 1 else "",
            epochs_done=len(self.history),
            steps_done=self.meter.steps,
        )


def _random_states(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state(device)
    return states


def _restore_random_states(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Give torch's generators the states that ``_random_states`` returned; of an accelerator only where it is here."""
    generators = [("cpu", torch.get_rng_state(), torch.set_rng_state)]
    if device.type in states and device.type != "cpu":
        module = torch.get_device_module(device)
        generators.append(
            (device.type, module.get_rng_state(device), partial(module.set_rng_state, device=device))
        )
    for name, now, restore in generators:
        state = states.get(name)
        if state is None or (state.dtype, state.shape) != (now.dtype, now.shape):
            raise CnnzooError(
                f"last.pt holds no state of the random numbers on {name} as torch has it. Start a new run."
            )
        restore(state)
