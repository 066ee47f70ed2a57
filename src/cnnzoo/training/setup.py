"""From a run's settings to its state and its images."""

from typing import NamedTuple, cast

import torch
from torch import nn

from cnnzoo.config import TrainConfig
from cnnzoo.data.augment import make_augmentations
from cnnzoo.data.loader import Loader, generator
from cnnzoo.data.preprocess import Preprocessing, mean_and_std
from cnnzoo.data.sources import Dataset, Source, Streamed
from cnnzoo.device import (
    pick_device,
    prepare,
    to_device,
)
from cnnzoo.distributed.group import ALONE, Group
from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.models.registry import create_model, get_spec
from cnnzoo.precision import LARGE_NET, Precision, pick_precision
from cnnzoo.training.checks import check_single_image, dry_run, has_batch_norm
from cnnzoo.training.images import evaluation_batch_size, load_training_data
from cnnzoo.training.initialization import initialize
from cnnzoo.training.losses import (
    NO_GUESS,
    Criterion,
    Guess,
    criterion_of,
    loss_of,
)
from cnnzoo.training.optimizers import make_optimizer
from cnnzoo.training.remarks import remark_on_balance
from cnnzoo.training.reporter import Reporter
from cnnzoo.training.settings import check_beginning, check_resize
from cnnzoo.training.state import TrainState
from cnnzoo.training.threads import StreamedWatch, Switch, Threads, Watch
from cnnzoo.training.transfer import freeze


class Loaders(NamedTuple):
    """What a run learns from, and what it is judged by."""

    train: Loader
    val: Loader


def set_up(
    config: TrainConfig, report: Reporter, group: Group, *, precision: Precision | None = None
) -> tuple[TrainState, Loaders]:
    """Make what ``fit`` needs of a run's settings: images, net and optimizer, with fresh weights.

    Args:
        config: The settings.
        report: Told of what a person should know before the first step.
        group: The processes that train together.
        precision: That a run which goes on began with; by default the one of the settings.

    Raises:
        UsageError: A setting that cannot be right.
        CnnzooError: The dataset, the device or the net cannot be had.
    """
    check_split(config.batch_size, group.world_size)
    check_beginning(config)
    device = pick_device(group.device_name(config.device))
    prepare(device, deterministic=config.deterministic)
    config, dataset, preprocessing, loaders = load_data(config, report, group, device)
    train, val = loaders
    plan = config.thread_plan
    is_resident = not isinstance(train.source, Streamed)
    is_watched = group.world_size == 1 and device.type == "cpu"
    threads = Threads(
        [Switch(*switch) for switch in plan] if plan else None,
        watched_by=(Watch if is_resident else StreamedWatch) if is_watched else None,
        say=report.warn,
    )
    mixed = any(augmentation.mixes for augmentation in train.augmentations)
    if mixed and not is_resident:
        report.warn(
            "images are mixed with others of a folder too large for memory: each is decoded twice an epoch."
        )

    image_size = preprocessing.image_size
    image = dataset.channels, image_size, image_size
    torch.manual_seed(config.seed)
    model = create_model(
        config.model,
        num_classes=len(dataset.classes),
        in_channels=dataset.channels,
        image_size=image_size,
        **config.model_options,
    )
    initialize(model, config.init)
    frozen = freeze(model, config.freeze)
    model = to_device(model, device)
    work = dry_run(model, len(dataset.classes), image, device, trains=True)
    if group.world_size == 1 or device.type == "cpu":
        check_single_image(model, image, train)
    if group.world_size > 1 and device.type == "cpu" and has_batch_norm(model):
        report.warn(
            "this net normalises over a batch, and on the CPU each process does so over its own images alone: "
            "the result differs from that of one process."
        )
    if precision is None:
        precision = group.broadcast(lambda: pick_precision(config.precision, device, work.mult_adds))
    criterion, guess = loss_of(
        config, model, train.source.labels, dataset.classes, mixed=mixed, device=device
    )
    if remark := remark_on_balance(config, train.source.labels):
        report.warn(remark)
    network: nn.Module = model
    if config.compile:
        one_pass = config.grad_accum_steps == 1 and group.world_size == 1
        mode = pick_compile_mode(device, work.mult_adds, one_pass=one_pass)
        network = _compiled(model, mode, val, precision, report)
    if not group.is_first:  # dropout must not leave out the same units for all shares of a batch
        torch.manual_seed(generator(f"process {group.rank}", config.seed).initial_seed())
    return make_state(
        config,
        model,
        dataset,
        preprocessing,
        device,
        precision,
        group=group,
        steps_per_epoch=train.num_steps,
        network=network,
        frozen=frozen,
        criterion=criterion,
        guess=guess,
        threads=threads,
    ), loaders


def make_state(
    config: TrainConfig,
    model: nn.Module,
    dataset: Dataset,
    preprocessing: Preprocessing,
    device: torch.device,
    precision: Precision,
    *,
    group: Group = ALONE,
    steps_per_epoch: int = 1,
    network: nn.Module | None = None,
    frozen: frozenset[str] = frozenset(),
    criterion: Criterion | None = None,
    guess: Guess = NO_GUESS,
    threads: Threads | None = None,
) -> TrainState:
    """Return the state of a run before its first step, with the optimizer of its settings.

    The arguments are the attributes of ``TrainState``. By default the model itself is called, its loss is
    ``criterion_of``'s, and the number of threads stays as it is.

    Raises:
        UsageError: The optimizer does not take one of its settings.
        CnnzooError: There is nothing to train.
    """
    return TrainState(
        config=config,
        group=group,
        device=device,
        precision=precision,
        dataset=dataset,
        preprocessing=preprocessing,
        steps_per_epoch=steps_per_epoch,
        model=model,
        network=network or model,
        frozen=frozen,
        criterion=criterion or criterion_of(model, loss=config.loss),
        optimizer=make_optimizer(model, config),
        scaler=torch.amp.GradScaler(device.type, enabled=precision.name == "fp16"),
        threads=threads or Threads(None),
        guess=guess,
    )


class Data(NamedTuple):
    """The images of a run.

    Attributes:
        config: The settings, with the dataset that is really used.
        dataset: Its training part, before images are kept from it for validation.
        preprocessing: What makes images what the net sees.
        loaders: Their batches.
    """

    config: TrainConfig
    dataset: Dataset
    preprocessing: Preprocessing
    loaders: Loaders


def load_data(config: TrainConfig, report: Reporter, group: Group, device: torch.device) -> Data:
    """Load a run's images, and make batches of them as its net sees them.

    Args:
        config: The settings.
        report: Told of what a person should know.
        group: The processes that train together.
        device: Where batches are wanted.

    Raises:
        UsageError: A setting that cannot be right.
        CnnzooError: The dataset cannot be had.
    """
    spec = get_spec(config.model)
    image_size = check_resize(config)
    augmentations = make_augmentations(config.augment)
    with group.first_on_machine():
        config, dataset, train_source, val_source = load_training_data(
            config, config.resize or image_size, report
        )
    check_same_data(dataset, val_source, group)
    mean, std = mean_and_std(dataset.source) if config.normalize else ((), ())
    if config.normalize and spec.normalization:
        mean, std = spec.normalization(mean, std)
    preprocessing = Preprocessing(image_size, mean, std, config.resize, spec.pad)
    for augmentation in augmentations:
        augmentation.prepare(dataset.source)
    train = Loader(
        train_source,
        preprocessing,
        config.batch_size,
        device,
        seed=config.seed,
        augmentations=augmentations,
        balanced=config.sampler == "balanced",
        num_classes=len(dataset.classes),
        rank=group.rank,
        world_size=group.world_size,
        grad_accum_steps=config.grad_accum_steps,
    )
    val_share = evaluation_batch_size(config.batch_size, preprocessing.full_size) // group.world_size
    val = Loader(
        val_source,
        preprocessing,
        val_share * group.world_size,
        device,
        rank=group.rank,
        world_size=group.world_size,
    )
    return Data(config, dataset, preprocessing, Loaders(train, val))


def pick_compile_mode(device: torch.device, mult_adds: int, *, one_pass: bool) -> str:
    """Return how torch.compile is to translate a net: ``reduce-overhead`` is with CUDA graphs.

    A small net's kernels take less time than their launches, and a graph launches all of them at once. But it writes
    each gradient to the same place again: what several backward passes add up is lost (pytorch/pytorch#169545).

    Args:
        device: Where it computes.
        mult_adds: Of the net, an image.
        one_pass: Whether each step has one backward pass, in one process.
    """
    return "reduce-overhead" if device.type == "cuda" and mult_adds < LARGE_NET and one_pass else "default"


def _compiled(
    model: nn.Module, mode: str, loader: Loader, precision: Precision, report: Reporter
) -> nn.Module:
    """Return the model compiled, or as it is, with a warning, where that cannot be."""
    network = cast("nn.Module", torch.compile(model, mode=mode))
    if mode == "reduce-overhead":  # the next run of a CUDA graph overwrites what this one has put out
        network.register_forward_hook(lambda _, __, logits: logits.clone())
    images = next(iter(loader.epoch())).images
    try:
        with torch.inference_mode(), precision.autocast(images.device):
            network.eval()(images)
    except Exception as error:  # whatever a compiler may find wrong
        report.warn(f"Training without --compile, which fails here: {one_line(error)}")
        return model
    return network


# Several processes


def check_split(batch_size: int, world_size: int) -> None:
    """See that the processes can share a batch evenly.

    Raises:
        UsageError: They cannot; the message names the nearest sizes.
    """
    rest = batch_size % world_size
    if rest:
        near = [size for size in (batch_size - rest, batch_size - rest + world_size) if size]
        raise UsageError(
            f"--batch-size {batch_size} cannot be split evenly over {world_size} processes. "
            f"The nearest that can: {' or '.join(map(str, near))}; or start as many processes as divide it."
        )


def check_same_data(dataset: Dataset, val_source: Source, group: Group) -> None:
    """See that all processes have the same images, and one at least to validate on.

    Raises:
        CnnzooError: They have others, or too few.
    """
    if len(set(group.all_gather(dataset.sha256))) > 1:
        raise CnnzooError(
            f"the processes have different images; this one has {dataset.name} in {dataset.location}. "
            "Put the same data on every machine, or name it with --dataset and --data-dir."
        )
    if (num := len(val_source.labels)) < group.world_size:
        raise UsageError(
            f"{group.world_size} processes cannot share {num} validation image(s). "
            "Start fewer, or validate on more."
        )
