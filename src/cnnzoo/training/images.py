"""The images of a run: what its settings name, split, and told of before the first step."""

from dataclasses import replace

from cnnzoo.config import TrainConfig
from cnnzoo.data.datasets import Images, full_name, limit, open_files, open_images, split_validation
from cnnzoo.data.folders import ImageFiles
from cnnzoo.data.listing.duplicates import MAX_FILES
from cnnzoo.data.listing.listing import Part
from cnnzoo.data.named.catalog import DEFAULT_DATASET, SAMPLE
from cnnzoo.data.named.locate import DatasetUnavailableError
from cnnzoo.data.pixel_tables import PixelTable
from cnnzoo.data.reading import Reading
from cnnzoo.data.sources import Dataset, Source
from cnnzoo.distributed.group import current
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.files import composed
from cnnzoo.machine import cpu_count
from cnnzoo.models.registry import get_spec
from cnnzoo.runs.checkpoint import Checkpoint
from cnnzoo.training.reporter import Reporter


def load_training_data(
    config: TrainConfig, image_size: int, reporter: Reporter
) -> tuple[TrainConfig, Dataset, Source, Source]:
    """Load the training images and split off those for validation, as ``config`` says.

    Args:
        config: The run's settings.
        image_size: Pixels a side that image files are cut to as they are read.
        reporter: Told of progress, and of what a person should know of the images.

    Returns:
        The config with the dataset that is really used, that dataset, the images to train on, and to validate on.

    Raises:
        CnnzooError: The dataset cannot be had, or has a fault. Where neither it nor ``data_dir`` is named, the sample
            takes its place.
    """
    if config.dataset is None:
        try:
            return load_training_data(config.replace(dataset=DEFAULT_DATASET), image_size, reporter)
        except DatasetUnavailableError as error:
            if config.data_dir is not None:  # who says where it lies does not mean the sample
                raise
            reporter.warn(
                f"Training on the sample that ships with cnnzoo, 7,000 images instead of 70,000. {error} "
                "Results on the sample are not comparable with those on the full set."
            )
            return load_training_data(config.replace(dataset=SAMPLE), image_size, reporter)
    config = config.replace(dataset=full_name(config.dataset))
    reading = replace(reading_of(config), channels=wanted_channels(config))
    images = open_images(str(config.dataset), reading, config.data_dir)
    dataset = load_split(images, "train", config, image_size, reporter)
    assert dataset is not None  # only validation images may be missing
    if own_val := load_split(images, "val", config, image_size, reporter):
        train_source, val_source = dataset.source, own_val.source
        notes = tuple(dict.fromkeys((*dataset.notes, *own_val.notes)))
        dataset = replace(dataset, notes=notes, skipped=(*dataset.skipped, *own_val.skipped))
    else:
        train_source, val_source = split_validation(
            dataset.source, config.val_split, config.seed, stratified=dataset.is_stratified
        )
    train_source = limit(train_source, config.limit_train, config.seed)
    val_source = limit(val_source, config.limit_val, config.seed)
    if isinstance(images, ImageFiles) and _looks_for_duplicates(images, config):
        told = images.describe_duplicates(train_source, val_source)
        dataset = replace(dataset, notes=(*dataset.notes, *told))
    return config, dataset, train_source, val_source


def wanted_channels(config: TrainConfig) -> int | None:
    """Return in how many channels a run's images are to be read; None for what they are.

    Raises:
        UsageError: The net cannot take so many.
    """
    spec = get_spec(config.model)
    if spec.takes_in_channels:
        return config.channels
    if config.channels not in (None, spec.in_channels):
        kind = "grey" if spec.in_channels == 1 else "colour"
        raise UsageError(
            f"{config.model} takes {kind} images only, into which all others are made. Leave --channels out."
        )
    return spec.in_channels


def reading_of(config: TrainConfig) -> Reading:
    """Return how a run's settings have files of images read."""
    return Reading(
        columns=config.csv_columns,
        image_root=config.image_root,
        skip_bad_images=config.skip_bad_images,
        drop_duplicates=config.drop_duplicates,
        record_images=config.record_images,
    )


def reading_again(config: TrainConfig, saved: Checkpoint) -> Reading:
    """Return how a run's files of images were read, as its checkpoint has it: nothing has to be found out any more."""
    return replace(
        reading_of(config),
        channels=saved.in_channels,
        pixel_range=saved.deep_range,
        looks=False,
    )


def own_files(saved: Checkpoint, name: str, reading: Reading) -> ImageFiles | PixelTable:
    """Return a run's own folder or table of images, wherever it lies now, by what it holds.

    Raises:
        CnnzooError: There is none of that name, it has a fault, or it holds other images.
    """
    images = open_files(name, reading)
    is_own = images.listing_sha256 and images.listing_sha256 == saved.listing_sha256
    if not is_own or images.classes != tuple(map(composed, saved.classes)):
        where = images.path if isinstance(images, PixelTable) else images.listing.root
        raise CnnzooError(
            f"the images in {where} are not those that the run was trained on, by their names and sizes. "
            f"Say where those lie: --dataset {name.partition(':')[0]}:NEW"
        )
    return images


def _looks_for_duplicates(images: ImageFiles, config: TrainConfig) -> bool:
    few = sum(map(len, images.listing.parts.values())) <= MAX_FILES
    return current().is_first and (few or config.check_duplicates)


def load_split(
    images: Images, split: Part, config: TrainConfig, image_size: int, reporter: Reporter
) -> Dataset | None:
    """Load a split of a dataset; None where it has no such images.

    Raises:
        CnnzooError: The dataset cannot be had, or has a fault.
    """
    threads = config.num_workers
    if threads is None:
        threads = max(1, cpu_count() // current().local_world_size)
    return images.load(split, image_size, threads, reporter.progress, reporter.warn)


def evaluation_batch_size(batch_size: int, image_size: int) -> int:
    """Return how many images to evaluate at once: more than in training, for there are no gradients to keep.

    1,024 at 28×28 and 162 at 227×227; never fewer than ``batch_size``. Large nets have large fully connected layers,
    whose weights are fetched, and brought into the products' order, once a batch.
    """
    return max(batch_size, min(1024, 2**23 // image_size**2))
