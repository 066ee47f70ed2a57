"""From a run's settings to its data."""

from cnnzoo.config import TrainConfig
from cnnzoo.data.catalog import DEFAULT, SAMPLE
from cnnzoo.data.locate import DatasetUnavailableError
from cnnzoo.data.sources import Source
from cnnzoo.data.splits import Dataset, limit, load_dataset, split_validation
from cnnzoo.device import cpu_count
from cnnzoo.distributed.group import Processes, current
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.training.reporter import Reporter

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


def check_same_data(dataset: Dataset, val_source: Source, processes: Processes) -> None:
    """See that all processes have the same images, and one at least to validate on.

    Raises:
        CnnzooError: They have others, or too few.
    """
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
