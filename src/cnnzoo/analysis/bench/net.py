"""How fast a net is here, what a step's time goes into, and how far that is from the machine's limit."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from cnnzoo.analysis.bench.clock import MIN_STEPS, Clock, Timing
from cnnzoo.config import TrainConfig
from cnnzoo.data.loader import Endless, Loader, MicroBatch, MicroBatches
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.data.sources import Dataset, Resident
from cnnzoo.device import deterministic, explain_oom, pick_device, prepare, to_device
from cnnzoo.models.registry import create_model, get_spec
from cnnzoo.precision import Precision, pick_precision, seconds_of
from cnnzoo.training.checks import Work, dry_run
from cnnzoo.training.loop import evaluate, train_one_epoch
from cnnzoo.training.reporter import Reporter
from cnnzoo.training.setup import make_state
from cnnzoo.training.state import TrainState

PHASES = ("data", "forward", "backward", "optimizer")

UPDATE_BYTES = 28
"""Bytes that Adam's update of a parameter moves at least: parameter, gradient and two averages read, and all but
the gradient written, four bytes each (Kingma and Ba 2015, Algorithm 1)."""


@dataclass(frozen=True)
class Peak:
    """What the machine can do, timed on the spot.

    Attributes:
        flops: Floating-point operations per second of a large matrix product.
        bandwidth: Bytes per second of a large copy, read and written.
    """

    flops: float
    bandwidth: float


@dataclass(frozen=True)
class BenchResult:
    """One batch size in one precision.

    Attributes:
        model: Its registered name.
        device: Where it was computed.
        precision: Number format.
        batch_size: Images per step.
        train_images_per_second: Of whole training steps, data included.
        eval_images_per_second: Of evaluation with as many images at once, data included.
        step_ms: A training step, in milliseconds.
        phases_ms: Its parts: data, forward with the loss, and optimizer, each timed by itself; backward is the rest.
            Empty where one of them would be negative, as on a busy machine.
        flop: Operations of a step: two a multiply-add, three passes (forward, and backward to weights and inputs).
        bytes: What a step moves at least: the update's reads and writes, each output written and read in both passes.
        intensity: Operations per byte.
        peak_flops: Operations per second of a matrix product here, in this precision.
        peak_bandwidth: Bytes per second of a copy here.
        share_of_peak: Operations per second of the step, as a share of ``peak_flops``.
        limit_ms: The step if its operations ran at ``peak_flops`` and then its update at ``peak_bandwidth``.
        is_steady: Whether all these times are to be trusted: nothing else kept the machine busy.
    """

    model: str
    device: str
    precision: str
    batch_size: int
    train_images_per_second: float
    eval_images_per_second: float
    step_ms: float
    phases_ms: Mapping[str, float]
    flop: int
    bytes: int
    intensity: float
    peak_flops: float
    peak_bandwidth: float
    share_of_peak: float
    limit_ms: float
    is_steady: bool


def bench(
    name: str,
    *,
    options: Mapping[str, Any] | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | None = None,
    batch_sizes: tuple[int, ...] = (32,),
    precisions: tuple[str, ...] = ("auto",),
    device: str = "auto",
    seconds: float = 2.0,
) -> Iterator[BenchResult]:
    """Time a model, on random images that are in memory as a dataset is.

    Args:
        name: Its registered name.
        options: What to build it with.
        num_classes: Outputs; by default the model's own.
        in_channels: Channels of the images; likewise.
        image_size: Pixels a side; likewise.
        batch_sizes: Images per step.
        precisions: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device: As for training.
        seconds: For how long each of training, its parts, and evaluation is timed, at least four steps; up to three
            times as long where steps are not steady.

    Yields:
        A result for each precision and batch size.

    Raises:
        UsageError: The model, an option or the device is unknown.
        CnnzooError: It cannot be built, or memory is short.
    """
    spec = get_spec(name)
    classes, channels = num_classes or spec.num_classes, in_channels or spec.in_channels
    side = image_size or spec.image_size
    net = build_net(name, options or {}, classes, (channels, side, side), device)
    place, work = net.device, net.work
    num_parameters = sum(p.numel() for p in net.model.parameters() if p.requires_grad)
    for precision in (pick_precision(asked, place, work.mult_adds) for asked in precisions):
        peak = measure_peak(place, precision)
        for batch_size in batch_sizes:
            num_images = batch_size * max(MIN_STEPS, min(64, 2**26 // (batch_size * channels * side**2)))
            with explain_oom(batch_size):
                images = torch.randint(256, (num_images, channels, side, side), dtype=torch.uint8)
                source = Resident(images, torch.randint(classes, (num_images,)))
                dataset = Dataset("random", tuple(map(str, range(classes))), channels, source, Path(), "")
                timed = _Timed(net.state(dataset, precision), batch_size, seconds)
                timings = timed.step(), timed.data(), timed.evaluation(), timed.forward(), timed.update()
            step, data, evaluation, forward, update = (timing.seconds for timing in timings)
            phases = {"data": data, "forward": forward - data, "optimizer": update - data}
            phases["backward"] = step - sum(phases.values())
            are_parts = min(phases.values()) >= 0
            flop = 3 * 2 * work.mult_adds * batch_size
            # Outputs and their gradients, each written and read.
            moved = UPDATE_BYTES * num_parameters + 4 * work.outputs * batch_size * precision.dtype.itemsize
            yield BenchResult(
                model=name,
                device=str(place),
                precision=precision.name,
                batch_size=batch_size,
                train_images_per_second=batch_size / step,
                eval_images_per_second=batch_size / evaluation,
                step_ms=1e3 * step,
                phases_ms={phase: 1e3 * phases[phase] for phase in PHASES if are_parts},
                flop=flop,
                bytes=moved,
                intensity=flop / moved,
                peak_flops=peak.flops,
                peak_bandwidth=peak.bandwidth,
                share_of_peak=flop / step / peak.flops,
                limit_ms=1e3 * (flop / peak.flops + UPDATE_BYTES * num_parameters / peak.bandwidth),
                is_steady=are_parts and all(timing.is_steady for timing in timings),
            )


class TimedNet(NamedTuple):
    """A net that is to be timed.

    Attributes:
        config: Its settings, with a learning rate that hardly changes it.
        model: On ``device``.
        device: Where it computes.
        work: What it does for an image.
    """

    config: TrainConfig
    model: nn.Module
    device: torch.device
    work: Work

    def state(self, dataset: Dataset, precision: Precision) -> TrainState:
        """Return what the loop trains, on such images in such a number format."""
        preprocessing = Preprocessing(self.config.image_size or 0)
        return make_state(self.config, self.model, dataset, preprocessing, self.device, precision)


def build_net(
    name: str, options: Mapping[str, Any], num_classes: int, image: tuple[int, int, int], device: str
) -> TimedNet:
    """Build a net to be timed, and try it.

    Args:
        name: Its registered name.
        options: What to build it with.
        num_classes: Outputs.
        image: Shape ``(C, H, W)`` of what it sees, a square.
        device: As for training.

    Raises:
        UsageError: The model, an option or the device is unknown.
        CnnzooError: It cannot be built, or does not take such images.
    """
    spec, place = get_spec(name), pick_device(device)
    prepare(place)
    torch.manual_seed(0)
    channels, side, _ = image
    config = TrainConfig(
        model=name, model_options=spec.check_options(dict(options)), lr=1e-6, image_size=side
    )
    model = create_model(
        name, num_classes=num_classes, in_channels=channels, image_size=side, **config.model_options
    )
    model = to_device(model, place)
    return TimedNet(config, model, place, dry_run(model, num_classes, image, place, trains=True))


def measure_peak(device: torch.device, precision: Precision) -> Peak:
    """Time products of ever larger matrices, until one takes a while, and a copy; the fastest counts."""
    flops, side, seconds = 0.0, 256, 0.0
    while seconds < 0.02:  # nothing that a processor has to emulate keeps us waiting
        left, right = torch.randn(2, side, side, device=device, dtype=precision.dtype).unbind()
        seconds = min(seconds_of(lambda: left @ right, device) for _ in range(5))  # noqa: B023  (called at once)
        flops, side = max(flops, 2 * side**3 / seconds), 2 * side
    source = torch.zeros(2**26, device=device)
    target = torch.ones_like(source)
    copied = min(seconds_of(lambda: target.copy_(source), device) for _ in range(5))
    return Peak(flops, 2 * source.nbytes / copied)


class _Timed:
    """A model and images, of which each method times another part."""

    def __init__(self, state: TrainState, batch_size: int, seconds: float) -> None:
        self.state, self.seconds = state, seconds
        self.batches = Endless(
            Loader(state.dataset.source, state.preprocessing, batch_size, state.device, seed=0)
        )

    def step(self) -> Timing:
        """Return the seconds of a training step, as the trainer makes it."""
        with deterministic(enabled=False):
            return seconds_of_training(self.state, self.batches, self.seconds)

    def evaluation(self) -> Timing:
        """Return the seconds of a batch of evaluation."""
        return seconds_of_evaluation(self.state, self.batches, self.seconds)

    def data(self) -> Timing:
        """Return the seconds until a batch is ready."""
        return seconds_of_each(self.batches, lambda batch: None, self.state.device, self.seconds)

    def forward(self) -> Timing:
        """Return the seconds of data, forward pass and loss."""
        state = self.state
        state.model.train()

        def forward(batch: MicroBatch) -> None:
            with state.precision.autocast(state.device):
                state.criterion(state.model(batch.images), batch.targets)

        with deterministic(enabled=False):
            return seconds_of_each(self.batches, forward, state.device, self.seconds)

    def update(self) -> Timing:
        """Return the seconds of data and update, with the gradients of a batch."""
        state, batch = self.state, next(iter(self.batches.epoch()))
        with state.precision.autocast(state.device):
            loss = state.criterion(state.model(batch.images), batch.targets)
        loss.backward()
        return seconds_of_each(self.batches, lambda batch: state.optimizer.step(), state.device, self.seconds)


def seconds_of_each(
    batches: MicroBatches, do: Callable[[MicroBatch], None], device: torch.device, seconds: float
) -> Timing:
    """Do something with each batch for so many seconds, at least four times, and return how long a batch took."""
    clock = Clock(device, seconds)
    clock.begin_phase()
    for batch in batches.epoch():
        do(batch)
        if clock.agreed():
            break
    return clock.timing()


def seconds_of_training(state: TrainState, batches: MicroBatches, seconds: float) -> Timing:
    """Train for so many seconds, at least four steps, and return how long a step took.

    Raises:
        NonFiniteLossError: The loss of a step is NaN or infinite.
    """
    clock = Clock(state.device, seconds)
    train_one_epoch(state, state.network, batches, Reporter(), clock)
    return clock.timing()


def seconds_of_evaluation(state: TrainState, batches: Endless, seconds: float) -> Timing:
    """Evaluate for so many seconds, at least four batches, and return how long a batch took.

    Raises:
        NonFiniteLossError: The loss of a batch is NaN or infinite.
    """
    clock = Clock(state.device, seconds)
    evaluate(state.network, batches, state.scoring(), Reporter(), clock)
    return clock.timing()
