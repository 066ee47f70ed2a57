"""How image files are read, one part of a data set of files, and all of its images read once."""

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from cnnzoo.data import Progress, Warn
from cnnzoo.data.decoding.images import (
    NoHandleError,
    PixelRange,
    decode_image,
    digest_of,
    quiet,
    read_content,
)
from cnnzoo.data.listing.kinds import KindWatch
from cnnzoo.data.listing.listing import Files, Samples, shown_name
from cnnzoo.data.sources import Streamed
from cnnzoo.errors import CnnzooError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_RESIDENT_BYTES = 1 << 30
"""Images of a folder that fit into this, cut to the net's size, stay in memory; larger sets are streamed."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How image files are read; what a run has found out for itself, its checkpoint carries.

    Attributes:
        channels: 1 (grey) or 3 (RGB); None for what the training images are.
        pixel_range: Of images of more than 8 bits a pixel; None for that of the training images, where ``looks``.
        looks: Whether the training images say what is not given; else images of 16 bits have all of them.
        columns: Of a table: the one of the files and that of the labels; empty to guess.
        image_root: Where a table's images lie; None to look for them.
        skip_bad_images: Leave out images that cannot be read, instead of refusing them all.
        drop_duplicates: Leave out training images that the test part has too.
        record_images: Whether to take the checksum of each image that is read, of more than MAX_FILES too.
    """

    channels: int | None = None
    pixel_range: PixelRange | None = None
    looks: bool = True
    columns: tuple[str, ...] = ()
    image_root: Path | None = None
    skip_bad_images: bool = False
    drop_duplicates: bool = False
    record_images: bool = False


READING = Reading()
"""As images are read that nothing else is known of."""


@dataclass(frozen=True)
class Folder:
    """One part of a data set of image files.

    Attributes:
        root: What the person named.
        classes: Names of the classes; a label is an index into them.
        samples: The images.
        channels: 1 (grey) or 3 (RGB).
        pixel_range: Of images of more than 8 bits a pixel.
        skipped: Names of broken images that were left out, below ``root``.
        digests: The SHA-256 of each file's bytes, uint8 ``(N, 32)``; None where nobody keeps them.
    """

    root: Path
    classes: tuple[str, ...]
    samples: Samples
    channels: int
    pixel_range: PixelRange | None = None
    skipped: tuple[str, ...] = ()
    digests: "NDArray[np.uint8] | None" = None

    @property
    def files(self) -> Files:
        """Where each image is."""
        return self.samples.files

    @property
    def labels(self) -> "NDArray[np.int64]":
        """Of each image."""
        return self.samples.labels

    @property
    def sha256(self) -> str:
        """Checksum of the images' paths and sizes: reading every byte of a large folder would take hours."""
        return self.samples.sha256()

    def fits_memory(self, image_size: int) -> bool:
        """Return whether its images, cut to squares of ``image_size``, are kept in memory."""
        return len(self.files) * self.channels * image_size**2 <= MAX_RESIDENT_BYTES

    def streamed(
        self,
        image_size: int,
        num_workers: int,
        *,
        watch: KindWatch | None = None,
        warn: Warn = lambda _: None,
    ) -> Streamed:
        """Return its images as they are read from their files, batch by batch.

        Args:
            image_size: Pixels a side that images are cut to as they are read.
            num_workers: Threads that decode them.
            watch: Told the kind of each image that is read.
            warn: Told what it has found.
        """
        return Streamed(
            self.files,
            torch.from_numpy(self.labels),
            self.channels,
            image_size,
            num_workers,
            self.pixel_range,
            self.digests,
            watch=watch,
            warn=warn,
        )

    def keep(self, indices: Sequence[int]) -> "Folder":
        """Return the folder with the images at ``indices`` only.

        Raises:
            CnnzooError: There are none.
        """
        if len(indices) == len(self.samples):
            return self
        places = np.array(indices, dtype=np.int64)
        samples = self.samples.take(places)
        gone = np.setdiff1d(np.arange(len(self.samples)), places)
        if not indices:
            raise CnnzooError(f"no image in {self.root} can be read.")
        return dataclasses.replace(
            self,
            samples=samples,
            skipped=tuple(shown_name(self.files[index], self.root) for index in gone.tolist()),
            digests=None if self.digests is None else self.digests[places],
        )


def decode_all(
    folder: Folder,
    image_size: int,
    progress: Progress,
    *,
    skip_bad_images: bool = False,
    watch: KindWatch | None = None,
) -> "tuple[NDArray[np.uint8], Folder]":
    """Read every image of a folder: uint8 ``(N, C, image_size, image_size)``, and the folder of those images.

    Raises:
        CnnzooError: Some are broken, and are not to be skipped: the message names the first. Or all are.
    """
    images = np.empty((len(folder.files), folder.channels, image_size, image_size), dtype=np.uint8)
    kept: list[int] = []
    broken: list[CnnzooError] = []
    for index, image in enumerate(_decode_each(folder, image_size, progress, watch)):
        if isinstance(image, CnnzooError):
            broken.append(image)
        else:
            images[len(kept)] = image
            kept.append(index)
    if broken and not skip_bad_images:
        first, *others = broken
        if others:
            first.args = (f"{first} {len(others)} more cannot be read either.",)
        raise first
    return images[: len(kept)], folder.keep(kept)


def without_bad_images(folder: Folder, image_size: int, progress: Progress) -> Folder:
    """Read every image once, and return the folder of those that can be read.

    Raises:
        CnnzooError: None can be read.
    """
    images = _decode_each(folder, image_size, progress, None)
    return folder.keep([index for index, image in enumerate(images) if not isinstance(image, CnnzooError)])


def _decode_each(
    folder: Folder, image_size: int, progress: Progress, watch: KindWatch | None
) -> "Iterator[NDArray[np.uint8] | CnnzooError]":
    """Yield the images in their order, or what is wrong with one; and keep their checksums."""

    def attempt(index: int) -> "NDArray[np.uint8] | CnnzooError":
        file = folder.files[index]
        try:
            content = read_content(file)
            if folder.digests is not None:
                folder.digests[index] = digest_of(content)
            if watch:
                watch.look(file, content)
            pixels = decode_image(file, folder.channels, image_size, folder.pixel_range, content=content)
            return np.ascontiguousarray(pixels)  # here, not where one thread collects them
        except NoHandleError:
            raise
        except CnnzooError as error:
            return error

    with quiet(), ThreadPoolExecutor() as pool:  # PIL decodes without holding Python's lock
        for done, image in enumerate(pool.map(attempt, range(len(folder.files))), 1):
            progress("Reading images", done, len(folder.files))
            yield image
