"""Data sets of image files: what is in them, and all of a part read."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from cnnzoo.data import Progress, trees, trees_v1
from cnnzoo.data.duplicates import MOST_FILES, digest_of, find_duplicates
from cnnzoo.data.images import (
    NoHandleError,
    PixelRange,
    decode_image,
    deep_range,
    is_deep,
    open_image,
    quiet,
    read_content,
)
from cnnzoo.data.listing import RULES, Listing, Part, relative_name
from cnnzoo.data.sources import Dataset, Resident, Source, Streamed
from cnnzoo.data.tables import list_table
from cnnzoo.errors import CnnzooError, UsageError, named, one_line
from cnnzoo.files import expanded

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER = "folder:"
CSV = "csv:"

MAX_RESIDENT_BYTES = 1 << 30
"""Images of a folder that fit into this, cut to the net's size, stay in memory; larger sets are streamed."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How image files are read; what a run has found out for itself, its checkpoint carries.

    Attributes:
        rules: Version of the rules by which a tree is listed and split.
        channels: 1 (grey) or 3 (RGB); None for what the training images are.
        pixel_range: Of images of more than 8 bits a pixel; None for that of the training images, where ``looks``.
        looks: Whether the training images say what is not given; else images of 16 bits have all of them.
        columns: Of a table: the one of the files and that of the labels; empty to guess.
        image_root: Where a table's images lie; None to look for them.
        skip_bad_images: Leave out images that cannot be read, instead of refusing them all.
        drop_duplicates: Leave out training images that the test part has too.
        record_images: Whether to take the checksum of each image that is read, of more than MOST_FILES too.
    """

    rules: int = RULES
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
        files: The images.
        labels: One per file.
        channels: 1 (grey) or 3 (RGB).
        pixel_range: Of images of more than 8 bits a pixel.
        num_skipped: Broken images that were left out.
        digests: The SHA-256 of each file's bytes, uint8 ``(N, 32)``; None where nobody keeps them.
        rules: Version of the rules by which they are decoded.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[int, ...]
    channels: int
    pixel_range: PixelRange | None = None
    num_skipped: int = 0
    digests: "NDArray[np.uint8] | None" = None
    rules: int = RULES

    @property
    def sha256(self) -> str:
        """Checksum of the images' paths and sizes: reading every byte of a large folder would take hours."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(relative_name(file, self.root) + b" %d\n" % file.stat().st_size)
        return digest.hexdigest()

    def keep(self, indices: Sequence[int]) -> "Folder":
        """Return the folder with the images at ``indices`` only.

        Raises:
            CnnzooError: A class has none of them.
        """
        labels = tuple(self.labels[index] for index in indices)
        for label in sorted(set(self.labels) - set(labels)):
            raise CnnzooError(f"no image of class {self.classes[label]} in {self.root} can be read.")
        return dataclasses.replace(
            self,
            files=tuple(self.files[index] for index in indices),
            labels=labels,
            num_skipped=len(self.files) - len(indices),
            digests=None if self.digests is None else self.digests[list(indices)],
        )


@dataclass(frozen=True)
class ImageFiles:
    """A data set of image files, listed.

    Attributes:
        name: As a person types it.
        listing: Its images.
        reading: How they are read.
    """

    name: str
    listing: Listing
    reading: Reading

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of it, in whole sentences."""
        return (*self.listing.notes, *_missing_in_test(self.listing))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.listing.classes

    @cached_property
    def _kinds(self) -> tuple[int, PixelRange | None]:
        """Channels, and the range of deep pixels, of the training images, by their headers."""
        return _kinds([file for file, _ in self.listing.parts["train"]], self.reading)

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB): as they are to be read."""
        return self.reading.channels or self._kinds[0]

    @property
    def pixel_range(self) -> PixelRange | None:
        """What becomes black and white in images of more than 8 bits a pixel."""
        return self._kinds[1] if self.reading.looks else self.reading.pixel_range

    @cached_property
    def duplicates(self) -> list[tuple[int, int]]:
        """Training images that the test part has too: their index, and that of the test image."""
        return find_duplicates(self.listing)

    def describe_duplicates(self) -> list[str]:
        """Return a sentence on how many training images the test part has too, and which, or none if none."""
        if not self.duplicates:
            return []
        train, test = self.listing.parts["train"], self.listing.parts["test"]
        pairs = [
            f"{shown_name(train[one][0], self.listing.root)} and {shown_name(test[other][0], self.listing.root)}"
            for one, other in self.duplicates
        ]
        num = len(pairs)
        what = f"{num:,} training images are" if num > 1 else "1 training image is"
        left = (
            "left out" if self.reading.drop_duplicates else "--drop-duplicates leaves the training copies out"
        )
        return [f"{what} in the test part too: {'; '.join(pairs[:3])}{' ...' if num > 3 else ''} ({left})."]

    def part(self, part: Part) -> Folder | None:
        """Return one part, whose images are not read; None for ``val`` where no images are set aside for it."""
        samples = self.listing.parts.get(part)
        if samples is None:
            return None
        if part == "train" and self.reading.drop_duplicates:
            left_out = {index for index, _ in self.duplicates}
            samples = [sample for index, sample in enumerate(samples) if index not in left_out]
            if gone := sorted({*range(len(self.classes))} - {label for _, label in samples}):
                names = named([self.classes[label] for label in gone])
                raise CnnzooError(
                    f"--drop-duplicates leaves no training image of {names}: the test part has them all. "
                    "Leave it out, or add images."
                )
        if not samples:
            raise CnnzooError(
                f"{self.listing.root} has no {part} images: which are kept for it depends on their names. Add images, "
                "or put some into test/ and the others into train/."
            )
        files, labels = zip(*samples, strict=True)
        records = self.reading.record_images or len(files) <= MOST_FILES
        digests = np.zeros((len(files), 32), dtype=np.uint8) if records else None
        listed = self.listing.root, self.classes, files, labels
        return Folder(*listed, self.channels, self.pixel_range, digests=digests, rules=self.reading.rules)

    def load(self, split: Part, image_size: int, num_workers: int, progress: Progress) -> Dataset | None:
        """Load a part: read it, or have it streamed where it is too large for memory.

        Args:
            split: Which part.
            image_size: Pixels a side that images are cut to as they are read.
            num_workers: Threads that decode what is streamed.
            progress: Told about the reading.

        Returns:
            None for ``val`` where no images are set aside for it.

        Raises:
            CnnzooError: An image cannot be read, and is not to be skipped.
        """
        folder = self.part(split)
        if folder is None:
            return None
        skips = self.reading.skip_bad_images
        sha256 = listing_sha256 = folder.sha256
        if len(folder.files) * folder.channels * image_size**2 <= MAX_RESIDENT_BYTES:
            pixels, folder = decode_all(folder, image_size, progress, skip_bad_images=skips)
            labels = torch.tensor(folder.labels)
            source: Source = Resident(torch.from_numpy(pixels), labels, folder.digests, folder.files)
            sha256 = hashlib.sha256(pixels.tobytes() + labels.numpy().tobytes()).hexdigest()
        else:
            if skips:
                folder = without_bad_images(folder, image_size, progress)
            source = Streamed(
                folder.files,
                torch.tensor(folder.labels),
                folder.channels,
                image_size,
                num_workers,
                folder.pixel_range,
                folder.digests,
                folder.rules,
            )
        return Dataset(
            self.name,
            folder.classes,
            folder.channels,
            source,
            folder.root,
            sha256,
            num_skipped=folder.num_skipped,
            notes=(*self.notes, *_skipped(folder)),
            rules=self.reading.rules,
            listing_sha256=listing_sha256,
            pixel_range=folder.pixel_range,
        )


def is_files(name: str) -> bool:
    """Whether a data set's name is that of a folder or a table of one's own."""
    return name.startswith((FOLDER, CSV))


def list_files(name: str, reading: Reading, *, all_for_test: bool = False) -> ImageFiles:
    """List a folder or a table of one's own.

    Args:
        name: ``folder:PATH`` or ``csv:FILE``.
        reading: How.
        all_for_test: Whether all images, or all of its test part, are a test set.

    Raises:
        UsageError: It lacks its path.
        CnnzooError: It cannot be read, or has a fault; the message says what to do.
    """
    kind, _, text = name.partition(":")
    if not text:
        example = "folder:my_images" if kind == "folder" else "csv:labels.csv"
        raise UsageError(f"{kind}: lacks its path. Write it as in --dataset {example}.")
    path = expanded(Path(text))
    try:
        if kind == "csv":
            listing = list_table(path, reading.columns, reading.image_root, all_for_test=all_for_test)
        elif all_for_test:
            listing = trees.list_all(path)
        else:
            listing = (trees if reading.rules >= 2 else trees_v1).list_tree(path)
    except OSError as error:
        raise CnnzooError(
            f"the {'table' if kind == 'csv' else 'folder'} {error.filename or path} cannot be read "
            f"({one_line(error)}). Say where it lies: --dataset {kind}:NEW"
        ) from error
    return ImageFiles(name, listing, reading)


def _missing_in_test(listing: Listing) -> list[str]:
    counts = listing.counts("test")
    missing = [name for name in listing.classes if name not in counts]
    if not missing or "train" not in listing.parts:
        return []
    return [f"The test part has no images of {named(missing)}: what eval says is not about them."]


def _skipped(folder: Folder) -> list[str]:
    num = folder.num_skipped
    images = f"{num} images that cannot be read are" if num > 1 else "1 image that cannot be read is"
    return [f"{images} left out of {folder.root}."] if num else []


def shown_name(file: Path, root: Path) -> str:
    """Return a file's name below ``root`` as it can be printed."""
    return relative_name(file, root).decode(errors="backslashreplace")


def _kinds(files: Sequence[Path], reading: Reading) -> tuple[int, PixelRange | None]:
    """Return 1 if every image is grey by its header, else 3; and what values deep ones have."""
    from PIL import Image

    def look(file: Path) -> tuple[bool, PixelRange | None]:
        try:
            with open_image(file) as image:
                grey, deep = Image.getmodebase(image.mode) == "L", is_deep(image)
            return grey, deep_range(file) if deep and reading.rules >= 2 else None
        except CnnzooError as error:
            if reading.skip_bad_images and not isinstance(error, NoHandleError):
                return True, None
            raise

    with quiet(), ThreadPoolExecutor() as pool:
        kinds = list(pool.map(look, files))
    ranges = [found for _, found in kinds if found]
    whole = (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None
    return 1 if all(grey for grey, _ in kinds) else 3, whole


def decode_all(
    folder: Folder, image_size: int, progress: Progress, *, skip_bad_images: bool = False
) -> "tuple[NDArray[np.uint8], Folder]":
    """Read every image of a folder: uint8 ``(N, C, image_size, image_size)``, and the folder of those images.

    Raises:
        CnnzooError: Some are broken, and are not to be skipped: the message names the first. Or a class has
            no others.
    """
    images = np.empty((len(folder.files), folder.channels, image_size, image_size), dtype=np.uint8)
    kept: list[int] = []
    broken: list[CnnzooError] = []
    for index, image in enumerate(_decode_each(folder, image_size, progress)):
        if isinstance(image, CnnzooError):
            broken.append(image)
        else:
            images[len(kept)] = image
            kept.append(index)
    if broken and not skip_bad_images:
        more = f" {len(broken) - 1} more cannot be read either." if len(broken) > 1 else ""
        raise CnnzooError(f"{broken[0]}{more}") from broken[0]
    return images[: len(kept)], folder.keep(kept)


def without_bad_images(folder: Folder, image_size: int, progress: Progress) -> Folder:
    """Read every image once, and return the folder of those that can be read.

    Raises:
        CnnzooError: A class has none.
    """
    images = _decode_each(folder, image_size, progress)
    return folder.keep([index for index, image in enumerate(images) if not isinstance(image, CnnzooError)])


def _decode_each(
    folder: Folder, image_size: int, progress: Progress
) -> "Iterator[NDArray[np.uint8] | CnnzooError]":
    """Yield the images in their order, or what is wrong with one; and keep their checksums."""

    def attempt(index: int) -> "NDArray[np.uint8] | CnnzooError":
        file = folder.files[index]
        try:
            content = read_content(file)
            if folder.digests is not None:
                folder.digests[index] = digest_of(content)
            pixels = decode_image(
                file, folder.channels, image_size, folder.pixel_range, rules=folder.rules, content=content
            )
            return np.ascontiguousarray(pixels)  # here, not where one thread collects them
        except NoHandleError:
            raise
        except CnnzooError as error:
            return error

    with quiet(), ThreadPoolExecutor() as pool:  # PIL decodes without holding Python's lock
        for done, image in enumerate(pool.map(attempt, range(len(folder.files))), 1):
            progress("Reading images", done, len(folder.files))
            yield image
