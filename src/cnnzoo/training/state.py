"""The state of a run between two steps."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import cast

import torch
from torch import nn

from cnnzoo.config import TrainConfig
from cnnzoo.data.loader import Batches, generator
from cnnzoo.data.preprocess import Preprocessing, colour_directions, mean_and_std
from cnnzoo.device import keep_freed_memory, pick_device, pick_precision, placed
from cnnzoo.distributed.group import Processes
from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.models.registry import create_model, get_spec
from cnnzoo.runs.checkpoint import Checkpoint, MeterState, TrainingState
from cnnzoo.runs.history import HistoryRow
from cnnzoo.training.checks import check_single_image, dry_run, has_batch_norm
from cnnzoo.training.losses import criterion_of
from cnnzoo.training.meter import Totals
from cnnzoo.training.optimizers import Optimizer
from cnnzoo.training.reporter import Reporter
from cnnzoo.training.schedule import lr_at
from cnnzoo.training.setup import check_same_data, check_split, evaluation_batch_size, load_training_data


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
        check_split(config.batch_size, processes.world_size)
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
        check_same_data(self.dataset, val_source, processes)
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
        state = saved.training
        assert state is not None  # resume has seen to it
        saved.check_fits(self.model.state_dict())
        self.model.load_state_dict(saved.state_dict)
        self.optimizer.load_state_dict(state.optimizer)
        if self.scaler.state_dict().keys() != state.scaler.keys():
            raise CnnzooError(
                "last.pt holds no scale of the gradients that this precision needs. Train anew."
            )
        self.scaler.load_state_dict(state.scaler)
        if self.processes.rank < len(state.random_states):
            _restore_random_states(state.random_states[self.processes.rank], self.device)
        self.history = list(state.history)
        # What was summed up before is the first one's, so that it is counted once.
        self.totals = Totals(
            state.totals if self.processes.is_first else MeterState(steps=state.totals.steps)
        )
        self.seconds = state.seconds

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
            training=TrainingState(
                optimizer=self.optimizer.state_dict(),
                scaler=self.scaler.state_dict(),
                precision=self.precision.name,
                random_states=self.processes.gather(_random_states(self.device)),
                history=list(self.history),
                totals=self.summed(self.totals).state(),
                seconds=self.seconds,
            )
            if resumable
            else None,
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
                f"last.pt holds no state of the random numbers on {name} as torch has it. Train anew."
            )
        restore(state)
