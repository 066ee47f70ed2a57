"""One trainer for every model and device: epochs, the best one, the last one, resume and signals."""

import math
import platform
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import nn

from cnnzoo import __version__
from cnnzoo.config import TrainConfig, write_yaml
from cnnzoo.data.catalog import DEFAULT, SAMPLE
from cnnzoo.data.loader import Batches, generator
from cnnzoo.data.locate import DatasetUnavailableError
from cnnzoo.data.preprocess import Preprocessing, colour_directions, mean_and_std
from cnnzoo.data.sources import Source
from cnnzoo.data.splits import FOLDER, Dataset, limit, load_dataset, split_validation
from cnnzoo.device import (
    cpu_count,
    describe_device,
    deterministic,
    keep_freed_memory,
    named_out_of_memory,
    pick_device,
    pick_precision,
    placed,
)
from cnnzoo.distributed.group import Processes, current, joined
from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.models.registry import create_model, get_spec, import_models
from cnnzoo.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cnnzoo.runs.folder import create_run, locked
from cnnzoo.runs.history import HistoryRow, best_row, write_history
from cnnzoo.signals import Interrupt, interrupts_remembered
from cnnzoo.training.loop import (
    NonFiniteLossError,
    OnStep,
    Totals,
    check_single_image,
    criterion_of,
    dry_run,
    evaluate,
    has_batch_norm,
    train_one_epoch,
)
from cnnzoo.training.optimizers import Optimizer
from cnnzoo.training.pretrained import begin_with
from cnnzoo.training.schedule import lr_at

CHANGEABLE = {"epochs", "device", "workers", "data_dir", "out", "patience"}
"""Settings that a resume may change: none has a part in what an epoch computes."""


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


class Training:
    """A run between two steps: what is being trained, on what, and how far it is.

    Attributes:
        config: The settings, with the dataset that is really used.
        processes: Those that train it together.
        device: Where it computes.
        precision: Of the forward and backward pass.
        dataset: The training images, before validation was split off.
        train_batches: What it learns from.
        val_batches: What it is judged by.
        model: On ``device``.
        network: What is called: the model, or its compiled form.
        criterion: Its loss.
        optimizer: Of the model's parameters.
        scaler: Of fp16 gradients.
        history: A row for each finished epoch.
        totals: Sums over the steps of the epoch that is not finished.
        seconds: Spent in that epoch.
    """

    def __init__(self, config: TrainConfig, reporter: Reporter, processes: Processes) -> None:
        self.processes = processes
        _check_split(config.batch_size, processes.world_size)
        spec = get_spec(config.model)
        image_size = config.image_size or spec.image_size
        if config.resize is not None and config.resize < image_size:
            raise UsageError(
                f"--resize {config.resize} leaves less than the {image_size} pixels a side that the net takes. "
                "Make it larger, or leave it out."
            )
        self.device = pick_device(processes.device_name(config.device))
        keep_freed_memory(self.device)
        with processes.first_on_machine():
            self.config, self.dataset, train_source, val_source = load_training_data(
                config, config.resize or image_size, reporter
            )
        _check_same_data(self.dataset, val_source, processes)
        mean, std = mean_and_std(self.dataset.source) if config.normalize else ((), ())
        if config.normalize and spec.normalization:
            mean, std = spec.normalization(mean, std)
        self.preprocessing = Preprocessing(image_size, mean, std, config.resize, spec.pad)
        self.train_batches = Batches(
            train_source,
            self.preprocessing,
            config.batch_size,
            self.device,
            seed=config.seed,
            augment=config.augment,
            colours=colour_directions(self.dataset.source) if "colour" in config.augment else None,
            rank=processes.rank,
            world_size=processes.world_size,
            accumulate=config.accumulate,
        )
        val_share = (
            evaluation_batch_size(config.batch_size, self.preprocessing.full_size) // processes.world_size
        )
        self.val_batches = Batches(
            val_source,
            self.preprocessing,
            val_share * processes.world_size,
            self.device,
            rank=processes.rank,
            world_size=processes.world_size,
        )
        torch.manual_seed(config.seed)
        model = create_model(
            config.model,
            num_classes=len(self.dataset.classes),
            in_channels=self.dataset.channels,
            image_size=image_size,
            **config.model_options,
        )
        self.model = placed(model, self.device)
        image = self.dataset.channels, image_size, image_size
        work = dry_run(self.model, len(self.dataset.classes), image, self.device)
        if self.train_batches.fewest_images == 1 and (processes.world_size == 1 or self.device.type == "cpu"):
            check_single_image(self.model, image, self.device)
        if processes.world_size > 1 and self.device.type == "cpu" and has_batch_norm(self.model):
            reporter.warn(
                "this net normalises over a batch, and on the CPU each process does so over its own images alone: "
                "the result differs from that of one process."
            )
        self.precision = processes.from_first(
            lambda: pick_precision(config.precision, self.device, work.mult_adds)
        )
        self.criterion = criterion_of(self.model, config.label_smoothing)
        self.network = self._compiled(reporter) if config.compile else self.model
        self.optimizer = Optimizer(
            self.model.parameters(),
            config.optimizer,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision.name == "fp16")
        self.history: list[HistoryRow] = []
        self.totals = Totals()
        self.seconds = 0.0
        if not processes.is_first:  # dropout must not leave out the same units for all shares of a batch
            torch.manual_seed(generator(f"process {processes.rank}", config.seed).initial_seed())

    def _compiled(self, reporter: Reporter) -> nn.Module:
        """Return the model compiled, or as it is, with a warning, where that cannot be."""
        network = cast("nn.Module", torch.compile(self.model))
        images = next(iter(self.val_batches.epoch()))[0]
        try:
            with torch.inference_mode(), self.precision.autocast(self.device):
                network.eval()(images)
        except Exception as error:  # whatever a compiler may find wrong
            reporter.warn(f"Training without --compile, which fails here: {one_line(error)}")
            return self.model
        return network

    def restore(self, saved: Checkpoint) -> None:
        """Go back to the state of a ``last.pt``."""
        if saved.data_sha256 != self.dataset.sha256:
            raise CnnzooError(
                f"the images in {self.dataset.location} are not those that the run was trained on. "
                "Put those back, or train anew."
            )
        with _reading_training_state():
            self.model.load_state_dict(saved.state_dict)
            self.optimizer.load_state_dict(saved.training["optimizer"])
            self.scaler.load_state_dict(saved.training["scaler"])
            if self.processes.rank < len(saved.training["random_states"]):
                _restore_random_states(saved.training["random_states"][self.processes.rank], self.device)
            self.history = [HistoryRow(**row) for row in saved.training["history"]]
            # What was summed up before is the first one's, so that it is counted once.
            totals = saved.training["totals"]
            self.totals = Totals(totals if self.processes.is_first else {"steps": totals["steps"]})
            self.seconds = float(saved.training["seconds"])

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
            dataset=self.dataset.name,
            data_sha256=self.dataset.sha256,
            classes=self.dataset.classes,
            config=self.config.to_dict(),
            epoch=len(self.history),
            metrics=asdict(self.history[-1]) if self.history else {},
            state_dict=self.model.state_dict(),
            training={
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "precision": self.precision.name,
                "random_states": self.processes.gather(_random_states(self.device)),
                "history": [asdict(row) for row in self.history],
                "totals": self.summed(self.totals).state(),
                "seconds": self.seconds,
            }
            if resumable
            else {},
        )

    @property
    def num_images(self) -> int:
        """Images an epoch, those to validate on included."""
        return self.train_batches.num_images + self.val_batches.num_images

    def summed(self, totals: Totals) -> Totals:
        """Return the sums over what all processes saw. All of them have to ask."""
        return Totals.sum(self.processes.gather(totals.state()))

    def lr_at_step(self, epoch: int) -> Callable[[int], float]:
        """Return the learning rate as a function of the step in ``epoch``, both from 1: the step's middle counts."""
        steps = self.train_batches.num_steps
        return lambda step: lr_at(self.config, epoch - 1 + (step - 0.5) / steps, self.history)


def train(config: TrainConfig, *, reporter: Reporter | None = None) -> RunResult:
    """Train a model as ``config`` says, into a new run folder.

    Where torchrun has started several processes, they train it together; the first one writes and reports.

    Args:
        config: The whole run.
        reporter: Told what happens; nobody by default.

    Raises:
        UsageError: A setting that cannot be right.
        CnnzooError: Anything else that a person can mend.
        InterruptedRunError: Ctrl-C or SIGTERM; the run is saved and can be resumed.
    """
    with interrupts_remembered(), joined() as processes:
        reporter = reporter if reporter and processes.is_first else Silent()
        import_models(config.imports)
        config = config.replace(model_options=get_spec(config.model).check_options(config.model_options))
        with named_out_of_memory(config.batch_size):
            training = Training(config, reporter, processes)
        if config.weights is not None and processes.is_first:
            whole = begin_with(training.model, get_spec(config.model), config.weights)
            if not whole:
                reporter.warn("The last layer begins anew: the weights are for other classes.")
        run = processes.from_first(lambda: create_run(config.out, _run_prefix(training.config), config.name))
        with _held(run, processes):
            return fit(training, run, reporter)


def resume(
    run: Path, changes: Mapping[str, Any] | None = None, *, reporter: Reporter | None = None
) -> RunResult:
    """Go on with a run that was interrupted, or give a complete one more epochs.

    What a crash left undone in the folder is mended first: everything follows from ``last.pt``.

    Args:
        run: Its folder.
        changes: Settings to change, of which only CHANGEABLE may differ from the run's own.
        reporter: Told what happens; nobody by default.

    Raises:
        UsageError: A setting that cannot be right, or that would make the rest differ from the beginning.
        CnnzooError: Anything else that a person can mend; what was saved before stays whole.
        InterruptedRunError: Ctrl-C or SIGTERM; the run is saved and can be resumed.
    """
    with interrupts_remembered(), joined() as processes:
        reporter = reporter if reporter and processes.is_first else Silent()
        if processes.is_first and not (run / "last.pt").is_file():
            raise CnnzooError(f"{run} has no last.pt to go on from. Train anew: cnnzoo train MODEL")
        with _held(run, processes):
            saved = processes.from_first(lambda: load_checkpoint(run / "last.pt"))
            config = _resumed_config(saved, changes or {}, run)
            with _reading_training_state():
                history = [HistoryRow(**row) for row in saved.training["history"]]
            if processes.is_first:
                _mend(run, saved, history, config, reporter)
            if _is_complete(history, config):
                return RunResult(run, config, history, best_row(history, config.monitor), epochs_trained=0)
            if config.precision == "auto":  # the one it began with, even where this device would take another
                config = config.replace(precision=saved.training["precision"])
            with named_out_of_memory(config.batch_size):
                training = Training(config, reporter, processes)
            training.restore(saved)
            return fit(training, run, reporter)


def fit(training: Training, run: Path, reporter: Reporter) -> RunResult:
    """Train epoch by epoch until all are done or patience is out, saving each into ``run``.

    Raises:
        CnnzooError: The loss is NaN or infinite, or a file cannot be written; what was saved stays whole.
        InterruptedRunError: Ctrl-C or SIGTERM; the state after the last step is saved.
    """
    config, history, processes = training.config, training.history, training.processes
    first = len(history) + 1
    network = processes.synchronized(training.network, training.device)
    if processes.is_first:
        write_yaml(run / "config.yaml", config.replace(name=None), _what_it_ran_on(training))
    reporter.start(run, training)
    with (
        _stop_signals(processes) as stop,
        named_out_of_memory(config.batch_size),
        deterministic(config.deterministic),
    ):
        for epoch in range(first, config.epochs + 1):
            if _is_complete(history, config):
                break
            started = time.perf_counter() - training.seconds
            done = training.totals.steps * config.accumulate

            try:
                train_one_epoch(
                    network,
                    training.train_batches.epoch(epoch, start=done),
                    training.optimizer,
                    training.totals,
                    device=training.device,
                    precision=training.precision,
                    scaler=training.scaler,
                    lr_at_step=training.lr_at_step(epoch),
                    criterion=training.criterion,
                    grad_clip=config.grad_clip,
                    on_step=_after_step(
                        "train",
                        epoch,
                        training.train_batches.num_steps,
                        reporter,
                        stop,
                        processes.agreement(),
                    ),
                    parts=training.train_batches.parts(done),
                )
                train_loss, train_acc = training.summed(training.totals).read()
                processes.share_buffers(training.model)
                val = evaluate(
                    training.network,
                    training.val_batches.epoch(),
                    device=training.device,
                    precision=training.precision,
                    criterion=criterion_of(training.model),
                    on_step=_after_step(
                        "val", epoch, training.val_batches.num_steps, reporter, stop, processes.agreement()
                    ),
                    parts=training.val_batches.parts(),
                )
                val_loss, val_acc = training.summed(val.totals).read()
            except NonFiniteLossError as error:
                raise _diverged(epoch, error, training, run) from error
            except _StopRequested as request:
                training.seconds = time.perf_counter() - started
                _save(run / "last.pt", training, resumable=True)
                raise _interrupted(epoch, request, training, run) from None

            seconds = time.perf_counter() - started
            history.append(
                HistoryRow(
                    epoch=epoch,
                    train_loss=train_loss,
                    train_acc=train_acc,
                    val_loss=val_loss,
                    val_acc=val_acc,
                    lr=training.optimizer.lr,
                    seconds=seconds,
                    images_per_second=training.num_images / seconds,
                )
            )
            training.totals, training.seconds = Totals(), 0.0
            is_best = best_row(history, config.monitor).epoch == epoch
            _save(run / "last.pt", training, resumable=True)
            if is_best:
                _save(run / "best.pt", training, resumable=False)
            if processes.is_first:
                write_history(run / "history.csv", history)
            reporter.epoch(history[-1], is_best)
            if _is_stuck(history[-1], training.train_batches.num_steps, len(training.dataset.classes)):
                reporter.warn(
                    f"the loss is still that of guessing among {len(training.dataset.classes)} classes. Training goes "
                    "on; if it stays there, change --lr, -o activation=relu or --optimizer."
                )

    return RunResult(
        run, config, history, best_row(history, config.monitor), epochs_trained=len(history) + 1 - first
    )


def _after_step(
    phase: str,
    epoch: int,
    steps: int,
    reporter: Reporter,
    stop: "_Stop",
    agreed: Callable[[int | None], int | None],
) -> OnStep:
    def after_step(totals: Totals) -> None:
        reporter.step(epoch, phase, steps, totals)
        number = agreed(stop.number)
        if number is not None:
            totals.read()  # a loss that is NaN must not be saved as if it were a state to go on from
            raise _StopRequested(number)

    return after_step


def _save(path: Path, training: Training, *, resumable: bool) -> None:
    checkpoint = training.checkpoint(resumable=resumable)  # every process has a part in it
    if training.processes.is_first:
        save_checkpoint(path, checkpoint)


# Several processes


def _check_split(batch_size: int, world_size: int) -> None:
    rest = batch_size % world_size
    if rest:
        near = [size for size in (batch_size - rest, batch_size - rest + world_size) if size]
        raise UsageError(
            f"--batch-size {batch_size} cannot be split evenly over {world_size} processes. "
            f"The nearest that can: {' or '.join(map(str, near))}; or start as many processes as divide it."
        )


def _check_same_data(dataset: Dataset, val_source: Source, processes: Processes) -> None:
    if len(set(processes.gather(dataset.sha256))) > 1:
        raise CnnzooError(
            f"the processes have different images; this one has {dataset.name} in {dataset.location}. "
            "Put the same data on every machine, or name it with --dataset and --data-dir."
        )
    if (num := len(val_source.labels)) < processes.world_size:
        raise UsageError(
            f"{processes.world_size} processes cannot share {num} validation image(s). "
            "Start fewer, or validate on more."
        )


@contextmanager
def _held(run: Path, processes: Processes) -> Iterator[None]:
    """Let these processes alone train in ``run``; the lock is the first one's."""
    with locked(run) if processes.is_first else nullcontext():
        yield


# Data


def load_training_data(
    config: TrainConfig, image_size: int, reporter: Reporter
) -> tuple[TrainConfig, Dataset, Source, Source]:
    """Load the training images and split off those for validation, as ``config`` says.

    Returns:
        The config with the dataset that is really used, that dataset, the images to train on, and to validate on.

    Raises:
        CnnzooError: The dataset cannot be had, or has a fault.
    """
    if config.dataset is None:
        try:
            return load_training_data(config.replace(dataset=DEFAULT), image_size, reporter)
        except DatasetUnavailableError as error:
            reporter.warn(
                f"Training on the sample that ships with cnnzoo, 7,000 images instead of 70,000. {error} "
                "Results on the sample are not comparable with those on the full set."
            )
            return load_training_data(config.replace(dataset=SAMPLE), image_size, reporter)
    dataset = load_split(config, "train", image_size, reporter)
    assert dataset is not None  # only validation images may be missing
    if own_val := load_split(config, "val", image_size, reporter):
        train_source, val_source = dataset.source, own_val.source
    else:
        train_source, val_source = split_validation(dataset.source, config.val_split, config.seed)
    train_source = limit(train_source, config.limit_train, config.seed)
    return config, dataset, train_source, limit(val_source, config.limit_val, config.seed)


def load_split(config: TrainConfig, split: str, image_size: int, reporter: Reporter) -> Dataset | None:
    """Load a split of the dataset that ``config`` names; None where it has no such images.

    Raises:
        CnnzooError: The dataset cannot be had, or has a fault.
    """
    dataset = load_dataset(
        config.dataset or DEFAULT,
        split,
        image_size=image_size,
        data_dir=config.data_dir,
        workers=max(1, cpu_count() // current().local_world_size)
        if config.workers is None
        else config.workers,
        skip_bad_images=config.skip_bad_images,
        progress=reporter.progress,
    )
    if dataset and dataset.num_skipped:
        num = dataset.num_skipped
        images = f"{num} images that cannot be read are" if num > 1 else "1 image that cannot be read is"
        reporter.warn(f"{images} left out of {dataset.location}.")
    return dataset


def evaluation_batch_size(batch_size: int, image_size: int) -> int:
    """Return how many images to evaluate at once: more than in training, for there are no gradients to keep.

    1,024 at 28×28 and 81 at 227×227, about the same memory; never fewer than ``batch_size``.
    """
    return max(batch_size, min(1024, 2**22 // image_size**2))


# What the history says


def _is_complete(history: Sequence[HistoryRow], config: TrainConfig) -> bool:
    """Whether all epochs are done, or as many as patience allows have passed without a better one."""
    if not history:
        return False
    waited = len(history) - best_row(history, config.monitor).epoch
    return len(history) >= config.epochs or (config.patience is not None and waited >= config.patience)


def _is_stuck(row: HistoryRow, steps: int, num_classes: int) -> bool:
    """Whether the epoch of a run's 200th step has taught nothing: the loss of equal odds is ln(classes)."""
    due = steps * (row.epoch - 1) < 200 <= steps * row.epoch
    return due and abs(row.train_loss - math.log(num_classes)) < 0.02 and row.train_acc < 1.5 / num_classes


# Resume


def _resumed_config(saved: Checkpoint, changes: Mapping[str, Any], run: Path) -> TrainConfig:
    """Return the saved settings with those changes that leave what an epoch computes as it is."""
    if not saved.training:
        raise CnnzooError(f"{run / 'last.pt'} holds no optimizer state. Train anew: cnnzoo train MODEL")
    before = saved.settings(run / "last.pt")
    import_models(tuple(changes.get("imports", ())))
    saved.check_model_is_known()
    # The modules that registered the model are noted, not imported: what is in a file must not run by itself.
    after = TrainConfig.from_dict({**saved.config, **changes, "imports": before.imports})
    after = after.replace(model_options=get_spec(before.model).check_options(after.model_options))
    now = after.to_dict()
    differ = [
        f"{name} (was {was!r}, now {now[name]!r})"
        for name, was in before.to_dict().items()
        if name not in CHANGEABLE and now[name] != was and not _is_moved_folder(name, was, now[name])
    ]
    if differ:
        raise UsageError(
            f"a resumed run keeps its settings; these differ: {', '.join(differ)}. Leave them out."
        )
    return after


def _is_moved_folder(name: str, was: object, now: object) -> bool:
    """Whether a setting names an image folder under another path: its checksum says if it is the same."""
    return name == "dataset" and all(str(value).startswith(FOLDER) for value in (was, now))


def _mend(
    run: Path, saved: Checkpoint, history: Sequence[HistoryRow], config: TrainConfig, reporter: Reporter
) -> None:
    """Bring what derives from ``last.pt`` up to it, where a crash came between the two."""
    for stale in run.glob(".*.tmp"):
        stale.unlink(missing_ok=True)
    if not history:
        return
    write_history(run / "history.csv", history)
    best, epoch = run / "best.pt", best_row(history, config.monitor).epoch
    try:
        is_whole = load_checkpoint(best).epoch == epoch
    except CnnzooError:  # there is none, or it is damaged
        is_whole = False
    if is_whole:
        return
    if epoch == saved.epoch and not saved.training["totals"]["steps"]:
        save_checkpoint(best, replace(saved, training={}))
    else:
        reporter.warn(
            f"{best} is gone or damaged, and the weights of epoch {epoch} cannot be made again from last.pt. "
            "The next better epoch will be saved there."
        )


@contextmanager
def _reading_training_state() -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CnnzooError(
            f"the training state in last.pt is none that cnnzoo wrote ({one_line(error)}). Train anew."
        ) from error


def _random_states(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state(device)
    return states


def _restore_random_states(states: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type in states and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[device.type], device)


# Run folders


def _run_prefix(config: TrainConfig) -> str:
    """Return ``lenet-fashionmnist``, or ``lenet-my-images`` for a folder of that name."""
    path = str(config.dataset).removeprefix(FOLDER)
    return "-".join(
        re.sub(r"[^\w.]+", "-", part).strip("-.") for part in (config.model, Path(path).name) if part
    )


def _what_it_ran_on(training: Training) -> dict[str, Any]:
    return {
        "command": shlex.join([Path(sys.argv[0]).name.replace("__main__.py", "cnnzoo"), *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "cnnzoo": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(training.device),
        "device_name": describe_device(training.device),
        "processes": training.processes.world_size,
        "precision": training.precision.name,
        "data_location": str(training.dataset.location),
        "data_sha256": training.dataset.sha256,
    }


# Ends before the end


class InterruptedRunError(CnnzooError):
    """A run was asked to stop, and has saved where it is."""

    agreed = True  # in all processes at the same step

    def __init__(self, message: str, run: Path, exit_code: int) -> None:
        super().__init__(message)
        self.run = run
        self.exit_code = exit_code


class _StopRequested(Exception):  # noqa: N818  (a request is no error)
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


class _Stop:
    """The first signal that asked this process to stop, if one did."""

    number: int | None = None


@contextmanager
def _stop_signals(processes: Processes) -> Iterator[_Stop]:
    """Let Ctrl-C and SIGTERM end the run at the next step; a second one ends it at once.

    Of several processes none does that by itself: what started them sends its signals more than once, and kills.
    """
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _: object) -> None:
        stop.number = number
        if processes.world_size == 1:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    for number in before:
        signal.signal(number, ask)
    try:
        if isinstance(interrupt := before[signal.SIGINT], Interrupt) and interrupt.seen:
            raise KeyboardInterrupt
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def resume_command(run: Path, config: TrainConfig) -> str:
    """Return what a person types to go on with a run."""
    return shlex.join(
        ["cnnzoo", "train", "--resume", str(run), *(f"--import={module}" for module in config.imports)]
    )


def _interrupted(epoch: int, request: _StopRequested, training: Training, run: Path) -> InterruptedRunError:
    step = f"step {training.totals.steps} of {training.train_batches.num_steps}"
    return InterruptedRunError(
        f"stopped in epoch {epoch} after {step}, and saved. "
        f"Go on with: {resume_command(run, training.config)}",
        run,
        128 + request.signal,
    )


def _diverged(epoch: int, error: NonFiniteLossError, training: Training, run: Path) -> CnnzooError:
    saved = f" Epoch {len(training.history)} is saved in {run}." if training.history else ""
    return CnnzooError(
        f"the loss is NaN or infinite at epoch {epoch}, {error}, lr {training.optimizer.lr:g}. "
        f"Train anew: lower --lr, or try --grad-clip 1 or --warmup-epochs 1.{saved}"
    )
