"""The images that a run is tested on: its own test part, or another data set, without what it was trained on."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cnnzoo.config import TrainConfig
from cnnzoo.data.datasets import Images, full_name, open_files, open_images, short_name
from cnnzoo.data.folders import is_files
from cnnzoo.data.listing.listing import shown_name
from cnnzoo.data.sources import Dataset, Resident, Source, Streamed
from cnnzoo.errors import CnnzooError, named
from cnnzoo.files import composed
from cnnzoo.runs.checkpoint import Checkpoint
from cnnzoo.runs.run import read_trained
from cnnzoo.training.images import load_split, load_training_data, own_files, reading_again
from cnnzoo.training.reporter import Reporter


@dataclass(frozen=True)
class HeldOut:
    """Images to be told apart.

    Attributes:
        dataset: Where they are from.
        source: The images, and labels as the net has them.
        name: What they are called where they are not the run's own test part: ``val``, or the other data set's name.
        num_left_out: Images that are not among them, because the run was trained on them.
    """

    dataset: Dataset
    source: Source
    name: str = ""
    num_left_out: int = 0

    @property
    def file_names(self) -> list[str] | None:
        """Names of the images' files below the data set's folder; None where they have none."""
        files = self.source.files
        return None if files is None else [shown_name(file, self.dataset.location) for file in files]


def validation_images(
    saved: Checkpoint, checkpoint: Path, config: TrainConfig, reporter: Reporter
) -> HeldOut:
    """Load the very images that validated a run.

    Raises:
        CnnzooError: Its images have changed since.
    """
    size = saved.preprocessing.full_size
    _, images, _, source = load_training_data(config, size, reporter)
    if images.sha256 != saved.data_sha256:
        raise CnnzooError(
            f"the images in {images.location} are not those that {checkpoint} was trained on. "
            "Its validation images cannot be told from the others."
        )
    return HeldOut(images, source, "val")


def held_out_images(
    saved: Checkpoint,
    checkpoint: Path,
    config: TrainConfig,
    other: str | None,
    reporter: Reporter,
    *,
    include_trained: bool = False,
) -> HeldOut:
    """Load a run's own test images, or those of another data set, as its net takes them.

    Of a folder or a table that is not the run's, all images are a test, or all of its test part; which it is says the
    listing's checksum, not the path. Images that the run was trained on are left out.

    Args:
        saved: The run's checkpoint.
        checkpoint: Where it is from.
        config: The run's settings, with the data set in question.
        other: That data set, if the person named one.
        reporter: Told of progress, and of what is not known.
        include_trained: Whether to keep images that the run was trained on.

    Raises:
        CnnzooError: There are none, or they have classes that the net does not know.
    """
    name = full_name(config.dataset or saved.dataset)
    reading = reading_again(config, saved)
    images: Images | None = None
    if not is_files(name) or (other is None and name == saved.dataset):
        images = open_images(name, reading, config.data_dir)
    elif other is None:
        images = own_files(saved, name, reading)
    else:
        with suppress(CnnzooError):  # it is read as a test set, and that says what is wrong
            images = own_files(saved, name, reading)
    is_own = images is not None
    if images is None:
        images = open_files(
            name, replace(reading, drop_duplicates=False, record_images=True), all_for_test=True
        )
    dataset = load_split(images, "test", config, saved.preprocessing.full_size, reporter)
    assert dataset is not None  # only validation images may be missing
    source = _as_net_counts(dataset, saved, checkpoint)
    # Of the run's own images all but this was told when it was trained.
    if notes := [each.note() for each in dataset.skipped] if is_own else dataset.notes:
        reporter.warn(" ".join(notes))
    called = "" if is_own and (is_files(name) or name == saved.dataset) else short_name(name)
    if is_own or include_trained:
        return HeldOut(dataset, source, called)
    trained = read_trained(checkpoint.parent)
    if trained is None:
        reporter.warn(f"It is not known which of the images in {dataset.location} the run was trained on.")
        return HeldOut(dataset, source, called)
    digests = source.read_digests(np.arange(len(source.labels)))
    fresh = [index for index, digest in enumerate(digests) if digest.tobytes() not in trained]
    if not fresh:
        raise CnnzooError(
            f"the run was trained on all {len(source.labels):,} images in {dataset.location}. Choose others, or "
            "evaluate on those with --include-trained."
        )
    left_out = len(source.labels) - len(fresh)
    return HeldOut(dataset, source.subset(torch.tensor(fresh)) if left_out else source, called, left_out)


def _as_net_counts(dataset: Dataset, saved: Checkpoint, checkpoint: Path) -> Source:
    """Return the images with the labels of the net's classes, by their names."""
    known = _names_of(saved.classes)
    if unknown := [name for name in _names_of(dataset.classes) if name not in known]:
        raise CnnzooError(
            f"{dataset.name} has the classes {named(dataset.classes)}, of which {checkpoint} does not know "
            f"{named(unknown)}; it was trained for {named(saved.classes)}. Choose another --dataset."
        )
    if _names_of(dataset.classes) == known:
        return dataset.source
    places = torch.tensor([known.index(name) for name in _names_of(dataset.classes)])
    source = dataset.source
    assert isinstance(source, Resident | Streamed)
    return replace(source, labels=places[source.labels])


def _names_of(classes: Sequence[str]) -> tuple[str, ...]:
    """Return names as they are compared; a checkpoint may have those of a registered dataset."""
    return tuple(map(composed, classes))
