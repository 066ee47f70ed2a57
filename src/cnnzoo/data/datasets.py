"""A dataset's splits: open one, load a part of it, keep some for validation, limit it."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cnnzoo.data import Progress, Warn
from cnnzoo.data.folders import (
    CSV_PREFIX,
    FOLDER_PREFIX,
    ImageFiles,
    is_files,
    list_files,
)
from cnnzoo.data.listing.listing import Part
from cnnzoo.data.loader import generator
from cnnzoo.data.named.catalog import DATASETS, DatasetSpec, get_dataset_spec
from cnnzoo.data.named.locate import load_arrays
from cnnzoo.data.pixel_tables import PixelTable, read_pixel_table
from cnnzoo.data.preprocess import in_channels
from cnnzoo.data.reading import READING, Reading
from cnnzoo.data.sources import Dataset, Resident, Source
from cnnzoo.errors import CnnzooError
from cnnzoo.files import expanded


def full_name(name: str) -> str:
    """Return a dataset's name as settings hold it: a path of an existing folder or table becomes ``folder:PATH``.

    A registered name is that, whatever lies in the current folder.
    """
    if name in DATASETS or is_files(name):
        return name
    path = expanded(Path(name))
    if path.is_dir():
        return f"{FOLDER_PREFIX}{name}"
    return f"{CSV_PREFIX}{name}" if path.is_file() else name


def short_name(name: str) -> str:
    """Return what a dataset is called in the name of a file: ``my-images`` for ``folder:data/my images``."""
    path = Path(name.removeprefix(FOLDER_PREFIX).removeprefix(CSV_PREFIX)).absolute()
    plain = f"{path.parent.name}-{path.stem}" if name.startswith(CSV_PREFIX) else path.name
    return re.sub(r"[^\w.]+", "-", plain).strip("-.")


@dataclass(frozen=True)
class NamedImages:
    """A registered dataset.

    Attributes:
        spec: What is known of it.
        channels: 1 (grey) or 3 (RGB): as its images are wanted.
        data_dir: Where it lies.
    """

    spec: DatasetSpec
    channels: int
    data_dir: Path | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.spec.classes

    def load(
        self, split: Part, image_size: int, num_workers: int, progress: Progress, warn: Warn = lambda _: None
    ) -> Dataset | None:
        """Load one split, in its own size, into memory; None for ``val``, for which no images are set aside.

        Raises:
            CnnzooError: It cannot be had, or has a fault; the message says what to do.
        """
        if split == "val":
            return None
        spec = self.spec
        arrays = load_arrays(spec, split, self.data_dir, progress)
        labels = torch.from_numpy(arrays.labels)
        if len(labels) == 0 or int(labels.min()) < 0 or int(labels.max()) >= len(spec.classes):
            mend = f"Put the files of {spec.name} back there: cnnzoo data fetch {spec.name}."
            raise CnnzooError(
                f"{arrays.location} has no labels, or some outside 0 to {len(spec.classes) - 1}. "
                f"{mend if spec.read is None else 'Mend what reads it.'}"
            )
        source = Resident(in_channels(torch.from_numpy(arrays.images), self.channels), labels)
        return Dataset(spec.name, spec.classes, self.channels, source, arrays.location, arrays.sha256)


Images = NamedImages | ImageFiles | PixelTable
"""A dataset that was found, of which a part can be loaded."""


def open_images(name: str, reading: Reading, data_dir: Path | None = None) -> Images:
    """Find a dataset, of which no image is read yet, but for a table of pixels.

    Args:
        name: A registered dataset, ``folder:PATH`` or ``csv:FILE``.
        reading: How images in files are read.
        data_dir: Where named datasets lie.

    Raises:
        CnnzooError: There is no such dataset, or the folder has a fault.
    """
    name = full_name(name)
    if is_files(name):
        return open_files(name, reading)
    spec = get_dataset_spec(name)
    return NamedImages(spec, reading.channels or spec.channels, data_dir)


def open_files(name: str, reading: Reading, *, all_for_test: bool = False) -> ImageFiles | PixelTable:
    """Find a folder or a table of one's own; a table of pixels is read.

    Args:
        name: ``folder:PATH`` or ``csv:FILE``.
        reading: How.
        all_for_test: Whether all images, or all of its test part, are a test set.

    Raises:
        CnnzooError: It cannot be read, or has a fault; the message says what to do.
    """
    path = expanded(Path(name.partition(":")[2]))
    if name.startswith(CSV_PREFIX) and reading.image_root is None and path.is_file():
        table = read_pixel_table(name, path, reading, all_for_test=all_for_test)
        if table is not None:
            return table
    return list_files(name, reading, all_for_test=all_for_test)


def load_dataset(
    name: str,
    split: Part,
    *,
    image_size: int,
    reading: Reading = READING,
    data_dir: Path | None = None,
    num_workers: int = 0,
    progress: Progress = lambda *_: None,
) -> Dataset | None:
    """Load one split of a dataset.

    Args:
        name: A registered dataset, ``folder:PATH`` or ``csv:FILE``.
        split: ``train``, ``test``, or ``val`` for images that the dataset itself sets aside.
        image_size: Pixels a side that image files are cut to as they are read.
        reading: How image files are read.
        data_dir: Where named datasets lie.
        num_workers: Threads that decode image files, where they are too many for memory.
        progress: Told about downloads and reading.

    Returns:
        None for ``val`` where the dataset sets no images aside for it.

    Raises:
        CnnzooError: It cannot be had, or has a fault; the message says what to do.
    """
    return open_images(name, reading, data_dir).load(split, image_size, num_workers, progress)


def describe_dataset(name: str) -> tuple[int, int]:
    """Return the channels and the number of classes of a dataset, without its images.

    Raises:
        CnnzooError: There is no such dataset, or the folder has a fault.
    """
    images = open_images(name, READING)
    return images.channels, len(images.classes)


def split_validation(
    source: Source, share: float, seed: int, *, stratified: bool = False
) -> tuple[Source, Source]:
    """Split the training images at random into those to train on and those to validate on.

    Args:
        source: All of them.
        share: Of those to validate on.
        seed: Decides which.
        stratified: Whether that is the share of each class, and one image at least of a class that has two.

    Raises:
        CnnzooError: There are too few images for it.
    """
    num = len(source.labels)
    order = torch.randperm(num, generator=generator("split", seed))
    num_train = round((1 - share) * num)
    if stratified and num:
        to_train = _stratified(source.labels[order], share)
        train, val = order[to_train], order[~to_train]
    else:
        train, val = order[:num_train], order[num_train:]
    if not (len(train) and len(val)) or (not stratified and not 1 <= num_train < num):
        mend = (
            "Add images: no class has two to train on."
            if stratified
            else "Change --val-split, or add images."
        )
        raise CnnzooError(
            f"a validation share of {share:g} cannot be kept of {num} image{'' if num == 1 else 's'}. {mend}"
        )
    return source.subset(train), source.subset(val)


def _stratified(labels: Tensor, share: float) -> Tensor:
    """Return which images of labels ``(N,)``, in their order, are to be trained on: bool ``(N,)``, class by class."""
    to_train = torch.ones(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        most = len(members) - 1  # one at least is trained on
        to_train[members[len(members) - min(most, max(1, round(share * len(members)))) :]] = False
    return to_train


def limit(source: Source, num_images: int | None, seed: int) -> Source:
    """Return ``num_images`` of a source, drawn at random; all of them for None."""
    if num_images is None:
        return source
    order = torch.randperm(len(source.labels), generator=generator("limit", seed))
    return source.subset(order[:num_images])
