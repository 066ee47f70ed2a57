"""A dataset's splits: load one, keep some of it for validation, limit it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from cnnzoo.data import Progress
from cnnzoo.data.catalog import get_dataset_spec
from cnnzoo.data.folders import decode_all, open_folder, without_bad_images
from cnnzoo.data.loader import generator
from cnnzoo.data.locate import load_arrays
from cnnzoo.data.sources import Resident, Source, Streamed
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.files import expanded

FOLDER = "folder:"

MAX_RESIDENT_BYTES = 1 << 30
"""Images of a folder that fit into this, cut to the net's size, stay in memory; larger sets are streamed."""


@dataclass(frozen=True)
class Dataset:
    """One split of a dataset.

    Attributes:
        name: As a person types it.
        classes: Their names, in the order of the labels.
        channels: Of its images.
        source: The images and labels.
        location: The folder that they came from.
        sha256: Of the images and labels; of the paths and sizes where images are streamed from files.
        num_skipped: Broken images that were left out.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    source: Source
    location: Path
    sha256: str
    num_skipped: int = 0


def load_dataset(
    name: str,
    split: str,
    *,
    image_size: int,
    data_dir: Path | None = None,
    num_workers: int = 0,
    skip_bad_images: bool = False,
    progress: Progress = lambda *_: None,
) -> Dataset | None:
    """Load one split of a dataset.

    Args:
        name: A registered dataset, or ``folder:PATH``.
        split: ``train``, ``test``, or ``val`` for images that the dataset itself sets aside.
        image_size: Pixels a side that image files are cut to as they are read.
        data_dir: Where named datasets lie.
        num_workers: Processes that decode image files, where they are too many for memory.
        skip_bad_images: Leave out image files that cannot be read, instead of refusing the folder.
        progress: Told about downloads and reading.

    Returns:
        None for ``val`` where the dataset sets no images aside for it.

    Raises:
        CnnzooError: It cannot be had, or has a fault; the message says what to do.
    """
    if not name.startswith(FOLDER):
        spec = get_dataset_spec(name)
        if split == "val":
            return None
        arrays = load_arrays(spec, split, data_dir, progress)
        labels = torch.from_numpy(arrays.labels)
        if len(labels) == 0 or int(labels.min()) < 0 or int(labels.max()) >= len(spec.classes):
            mend = f"Put the files of {name} back there: cnnzoo data fetch {name}."
            raise CnnzooError(
                f"{arrays.location} has no labels, or some outside 0 to {len(spec.classes) - 1}. "
                f"{mend if spec.read is None else 'Mend what reads it.'}"
            )
        source: Source = Resident(torch.from_numpy(arrays.images), labels)
        return Dataset(name, spec.classes, spec.channels, source, arrays.location, arrays.sha256)

    root = name.removeprefix(FOLDER)
    if not root:
        raise UsageError("folder: lacks its path. Write it as in --dataset folder:my_images.")
    folder = open_folder(expanded(Path(root)), split, skip_bad_images=skip_bad_images)
    if folder is None:
        return None
    if len(folder.files) * folder.channels * image_size**2 <= MAX_RESIDENT_BYTES:
        images, folder = decode_all(folder, image_size, progress, skip_bad_images=skip_bad_images)
        labels = torch.tensor(folder.labels)
        source = Resident(torch.from_numpy(images), labels)
        sha256 = hashlib.sha256(images.tobytes() + labels.numpy().tobytes()).hexdigest()
    else:
        sha256 = folder.sha256
        if skip_bad_images:
            folder = without_bad_images(folder, image_size, progress)
        source = Streamed(folder.files, torch.tensor(folder.labels), folder.channels, image_size, num_workers)
    return Dataset(name, folder.classes, folder.channels, source, folder.root, sha256, folder.num_skipped)


def describe_dataset(name: str) -> tuple[int, int]:
    """Return the channels and the number of classes of a dataset, without its images.

    Raises:
        CnnzooError: There is no such dataset, or the folder has a fault.
    """
    if not name.startswith(FOLDER):
        spec = get_dataset_spec(name)
        return spec.channels, len(spec.classes)
    folder = open_folder(expanded(Path(name.removeprefix(FOLDER))), "train")
    assert folder is not None  # only validation images may be missing
    return folder.channels, len(folder.classes)


def split_validation(source: Source, share: float, seed: int) -> tuple[Source, Source]:
    """Split the training images at random into those to train on and those to validate on.

    Raises:
        CnnzooError: There are too few images for it.
    """
    num = len(source.labels)
    num_train = round((1 - share) * num)
    if not 1 <= num_train < num:
        raise CnnzooError(
            f"a validation share of {share:g} cannot be kept of {num} image{'' if num == 1 else 's'}. "
            "Change --val-split, or add images."
        )
    order = torch.randperm(num, generator=generator("split", seed))
    return source.subset(order[:num_train]), source.subset(order[num_train:])


def limit(source: Source, num_images: int | None, seed: int) -> Source:
    """Return ``num_images`` of a source, drawn at random; all of them for None."""
    if num_images is None:
        return source
    order = torch.randperm(len(source.labels), generator=generator("limit", seed))
    return source.subset(order[:num_images])
