"""Data sets of image files: what is in them, and all of a part read."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from cnnzoo.data import Progress, Warn
from cnnzoo.data.decoding.images import PixelRange
from cnnzoo.data.listing import trees
from cnnzoo.data.listing.duplicates import (
    MAX_FILES,
    describe_duplicates,
    describe_labels,
    describe_validation,
    find_duplicates,
)
from cnnzoo.data.listing.index import Index, keep_listing, kept_listing
from cnnzoo.data.listing.kinds import SAMPLE_SIZE, Kinds, KindWatch, find_kinds
from cnnzoo.data.listing.listing import Listing, Part, Skipped
from cnnzoo.data.listing.lists import find_lists, list_lists
from cnnzoo.data.listing.tables import list_table
from cnnzoo.data.listing.walk import walk
from cnnzoo.data.reading import Folder, Reading, decode_all, without_bad_images
from cnnzoo.data.sources import Dataset, Resident, Source
from cnnzoo.errors import CnnzooError, UsageError, named, one_line
from cnnzoo.files import expanded, file_sha256
from cnnzoo.plain_csv import read_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER_PREFIX = "folder:"
CSV_PREFIX = "csv:"


@dataclass(frozen=True)
class ImageFiles:
    """A data set of image files, listed.

    Attributes:
        name: As a person types it.
        listing: Its images.
        reading: How they are read.
        index: Keeps what was found out about them.
    """

    name: str
    listing: Listing
    reading: Reading
    index: Index

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of it, in whole sentences."""
        listing = self.listing
        return (*listing.notes, *listing.alike_classes(), *listing.missing_in_test())

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.listing.classes

    @cached_property
    def _kinds(self) -> Kinds:
        """What the training images say of how they are to be read."""
        skips = self.reading.skip_bad_images
        files = self.listing.parts["train"].files

        def look() -> "dict[str, NDArray[np.float64]]":
            kinds = find_kinds(files, skip_bad_images=skips)
            return {"kinds": np.array([kinds.channels, *(kinds.pixel_range or ())])}

        channels, *values = self.index.recall("kinds-of-whole" if skips else "kinds", look)["kinds"].tolist()
        return Kinds(int(channels), (values[0], values[1]) if values else None)

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB): as they are to be read."""
        return self.reading.channels or self._kinds.channels

    @property
    def pixel_range(self) -> PixelRange | None:
        """What becomes black and white in images of more than 8 bits a pixel."""
        return self._kinds.pixel_range if self.reading.looks else self.reading.pixel_range

    @cached_property
    def _watch(self) -> KindWatch | None:
        """Looks out for images of other kinds, where a few have said how all are to be read."""
        if not self.reading.looks or len(self.listing.parts["train"]) <= SAMPLE_SIZE:
            return None
        channels = 3 if self.reading.channels else self.channels  # what was asked for is no news
        num_images = sum(map(len, self.listing.parts.values()))
        return KindWatch(Kinds(channels, self.pixel_range), self.listing.root, num_images)

    @cached_property
    def _duplicates(self) -> "dict[str, NDArray[np.int64]]":
        """What ``find_duplicates`` finds."""
        known = self.index.recall("duplicates", lambda: find_duplicates(self.listing))
        return {name: known[name].astype(np.int64) for name in ("pairs", "copies")}

    @property
    def duplicates(self) -> "NDArray[np.int64]":
        """Training images that the test part has too: their index, and that of the test image, ``(N, 2)``."""
        return self._duplicates["pairs"]

    @property
    def listing_sha256(self) -> str:
        """Checksum of the paths and sizes of the images to train on.

        Raises:
            CnnzooError: There are none.
        """
        folder = self.part("train")
        return folder.sha256 if folder else ""

    def describe_duplicates(self, train: Source | None = None, val: Source | None = None) -> list[str]:
        """Return sentences on images that are there more than once: in training and test, and under two classes.

        Args:
            train: Those to train on, where they are to be compared with those to validate on.
            val: Those to validate on.
        """
        copies = self._duplicates["copies"]
        told = describe_duplicates(self.duplicates, self.listing, dropped=self.reading.drop_duplicates)
        told += describe_labels(copies, self.listing)
        if train and val and train.files is not None and val.files is not None:
            names = [set(source.files.names()) for source in (train, val) if source.files is not None]
            told += describe_validation(copies, self.listing, *names)
        return told

    def part(self, part: Part) -> Folder | None:
        """Return one part, whose images are not read; None for ``val`` where no images are set aside for it."""
        samples = self.listing.parts.get(part)
        if samples is None:
            return None
        if part == "train" and self.reading.drop_duplicates:
            samples = samples.take(np.setdiff1d(np.arange(len(samples)), self.duplicates[:, 0]))
            if gone := sorted({*range(len(self.classes))} - {*samples.labels.tolist()}):
                names = named([self.classes[label] for label in gone])
                raise CnnzooError(
                    f"--drop-duplicates leaves no training image of {names}: the test part has them all. "
                    "Leave it out, or add images."
                )
        if not samples:
            raise CnnzooError(
                f"{self.listing.root} has no {part} images, since no class has two. Add images, or put some into "
                "test/ and the others into train/."
            )
        records = self.reading.record_images or len(samples) <= MAX_FILES
        digests = np.zeros((len(samples), 32), dtype=np.uint8) if records else None
        listed = self.listing.root, self.classes, samples
        return Folder(*listed, self.channels, self.pixel_range, digests=digests)

    def load(
        self,
        split: Part,
        image_size: int,
        num_workers: int,
        progress: Progress,
        warn: Warn = lambda _: None,
    ) -> Dataset | None:
        """Load a part: read it, or have it streamed where it is too large for memory.

        Args:
            split: Which part.
            image_size: Pixels a side that images are cut to as they are read.
            num_workers: Threads that decode what is streamed.
            progress: Told about the reading.
            warn: Told what is found as images are streamed.

        Returns:
            None for ``val`` where no images are set aside for it.

        Raises:
            CnnzooError: An image cannot be read, and is not to be skipped.
        """
        folder = self.part(split)
        if folder is None:
            return None
        skips = self.reading.skip_bad_images
        labels_before = folder.labels
        sha256 = listing_sha256 = folder.sha256
        found: list[str] = []
        if folder.fits_memory(image_size):
            pixels, folder = decode_all(
                folder, image_size, progress, skip_bad_images=skips, watch=self._watch
            )
            labels = torch.from_numpy(folder.labels)
            source: Source = Resident(torch.from_numpy(pixels), labels, folder.digests, folder.files)
            sha256 = hashlib.sha256(pixels.tobytes() + labels.numpy().tobytes()).hexdigest()
            if self._watch:
                self._watch.tell(found.append)
        else:
            if skips:
                folder = without_bad_images(folder, image_size, progress)
            source = folder.streamed(image_size, num_workers, watch=self._watch, warn=warn)
        if split == "train" and (gone := np.setdiff1d(labels_before, folder.labels)).size:
            names = named([self.classes[label] for label in gone])
            raise CnnzooError(
                f"no image of class {names} in {folder.root} can be read. Mend some, or remove the class."
            )
        skipped = (Skipped(split, len(labels_before), folder.skipped),) if folder.skipped else ()
        return Dataset(
            self.name,
            folder.classes,
            folder.channels,
            source,
            folder.root,
            sha256,
            skipped=skipped,
            notes=(*self.notes, *(each.note() for each in skipped), *found),
            listing_sha256=listing_sha256,
            pixel_range=folder.pixel_range,
        )


def is_files(name: str) -> bool:
    """Whether a data set's name is that of a folder or a table of one's own."""
    return name.startswith((FOLDER_PREFIX, CSV_PREFIX))


def is_same_place(one: str, other: str) -> bool:
    """Whether two names may be of the same images: they are the same, or both of files, which may have been moved."""
    return one == other or (is_files(one) and is_files(other))


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
        if kind == "csv" and not path.is_file():
            read_table(
                path, "the CSV file of labels"
            )  # which says so, before a whole disk is walked for a typo
        tree = walk(path if kind == "folder" else expanded(reading.image_root or path.parent))
        lists = find_lists(tree) if kind == "folder" else None
        texts = lists.files.values() if lists else [path] if kind == "csv" else []
        contents = [file_sha256(text) for text in texts]
        index = Index(tree, name, contents, reading.columns, reading.image_root, all_for_test)

        def list_anew() -> Listing:
            if kind == "csv":
                searches = reading.image_root is None
                return list_table(path, tree, reading.columns, searches=searches, all_for_test=all_for_test)
            if lists and (listed := list_lists(lists, all_for_test=all_for_test)):
                return listed
            listed = trees.list_all(tree) if all_for_test else trees.list_tree(tree)
            unused = (
                (f"{lists} are not used: most of their lines name no image there with a class.",)
                if lists
                else ()
            )
            return replace(listed, notes=(*listed.notes, *unused))

        listing = kept_listing(index.recall("listing", lambda: keep_listing(list_anew())))
        if kind == "folder":  # a table says itself what is used
            listing = replace(listing, notes=(*listing.notes, *tree.note_on_outputs()))
    except OSError as error:
        raise CnnzooError(
            f"the {'table' if kind == 'csv' else 'folder'} {error.filename or path} cannot be read "
            f"({one_line(error)}). Say where it lies: --dataset {kind}:NEW"
        ) from error
    return ImageFiles(name, listing, reading, index)
