"""Data sets of one table: a row for each image, with its label and its pixels, as Kaggle's digits come."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from cnnzoo.data import Progress, Warn
from cnnzoo.data.decoding.images import suffixes
from cnnzoo.data.listing.headings import (
    WORDS_OF_HEADINGS,
    Labels,
    column_called,
    describe_unused,
    find_labels,
    find_parts,
    part_in,
)
from cnnzoo.data.listing.listing import Part, PassedOver, choose_tested
from cnnzoo.data.listing.names import in_order
from cnnzoo.data.preprocess import in_channels
from cnnzoo.data.reading import Reading
from cnnzoo.data.sources import Dataset, Resident
from cnnzoo.errors import CnnzooError, named
from cnnzoo.files import composed
from cnnzoo.plain_csv import Row, Table, read_numbers, read_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEAD = 20
"""Rows by which a table of pixels is known."""

_MIN_PIXELS = 16
"""Numbers of a row that are taken for pixels at least."""

_MIN_SHARE = 0.9
"""Share of cells that are numbers where columns are of pixels; what the others are, an error says."""


class _Pixels(NamedTuple):
    """Where a table has its pixels.

    Attributes:
        head: Its first rows, with headings.
        columns: Those of the pixels; a single one where its cells have all of them, with spaces between.
        has_headings: Whether the first row is no image.
    """

    head: Table
    columns: tuple[int, ...]
    has_headings: bool


@dataclass(frozen=True)
class PixelTable:
    """A table of pixels.

    Attributes:
        name: As a person types it.
        path: The file.
        classes: Names of the classes.
        parts: The images of each part, uint8 ``(N, C, S, S)``, and their labels ``(N,)``.
        wanted_channels: 1 (grey) or 3 (RGB): as images are wanted; None for what they are.
        notes: What a person should know of it, in whole sentences.
    """

    name: str
    path: Path
    classes: tuple[str, ...]
    parts: "dict[Part, tuple[NDArray[np.uint8], NDArray[np.int64]]]"
    wanted_channels: int | None
    notes: tuple[str, ...]

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB): as they are to be read."""
        return self.wanted_channels or next(iter(self.parts.values()))[0].shape[1]

    @cached_property
    def listing_sha256(self) -> str:
        """Checksum of the images and labels to train on; empty where all are for the test."""
        return _sha256(*self.parts["train"]) if "train" in self.parts else ""

    def load(
        self, split: Part, image_size: int, num_workers: int, progress: Progress, warn: Warn = lambda _: None
    ) -> Dataset | None:
        """Return one part, in its own size; None for ``val`` where no images are set aside for it."""
        if split not in self.parts:
            return None
        images, labels = self.parts[split]
        digests = np.stack(
            [np.frombuffer(hashlib.sha256(each.tobytes()).digest(), np.uint8) for each in images]
        )
        pixels = in_channels(torch.from_numpy(images), self.channels)
        return Dataset(
            self.name,
            self.classes,
            self.channels,
            Resident(pixels, torch.from_numpy(labels), digests),
            self.path,
            _sha256(images, labels),
            notes=self.notes,
            listing_sha256=self.listing_sha256,
        )


def read_pixel_table(
    name: str, path: Path, reading: Reading, *, all_for_test: bool = False
) -> PixelTable | None:
    """Read a table of pixels; None for any other table.

    Pixels are columns whose headings differ by their numbers alone (``pixel0``, ``1x1``), all columns but one where
    there are no headings, or one column of texts such as ``70 80 82``. They make a square of one channel, or of three:
    pixel by pixel or channel by channel, whichever has neighbours that are more alike. From 0 to 1 or from 0 to 255.

    A column such as ``split`` says which part an image is in; without one, about a fifth is kept for the test, each by
    its pixels.

    Args:
        name: As a person types it.
        path: The file.
        reading: Of which the channels count, and the columns: any one of the pixels, and that of the labels.
        all_for_test: Whether all images, or all of its test part, are a test set.

    Raises:
        CnnzooError: The file cannot be read, or has a fault; the message says which.
    """
    if (found := _find_pixels(path)) is None:
        return None
    wanted = [column_called(found.head, heading) for heading in reading.columns]
    if wanted and wanted[0] not in found.columns:
        return None
    table, numbers = _read(found)
    parts = find_parts(table, {*found.columns, *wanted})
    taken = {*found.columns} | ({parts} if parts is not None else set())
    first = table.header[found.columns[0]]
    if len(taken) == len(table.header):
        raise CnnzooError(
            f"{path} has pixels in all of its columns, and no labels. Name a table that has both."
        )
    labels = Labels(tuple(wanted[1:])) if wanted[1:] else find_labels(table, taken, first)
    passed = PassedOver()
    told = [composed(labels.of(table, row)) for row in table.rows]
    kept = [index for index, label in enumerate(told) if label]
    passed.files["row without a label"] += len(told) - len(kept)
    classes = in_order({told[index] for index in kept})
    if len(classes) < 2 and not all_for_test:
        what = f"one class only ({classes[0]})" if classes else "no labels"
        raise CnnzooError(f"{path} has {what}. It needs two classes or more.")
    images, how = _as_images(path, numbers[kept])
    by_name = {label: number for number, label in enumerate(classes)}
    truths = np.array([by_name[told[index]] for index in kept], dtype=np.int64)
    split: list[Part | None] = [part_in(table.rows[index], parts) for index in kept]
    by_part = _parts(images, truths, split, all_for_test=all_for_test)
    if not all_for_test and (gone := sorted({*range(len(classes))} - {*by_part["train"][1].tolist()})):
        raise CnnzooError(
            f"{path} has no training images of {named([classes[label] for label in gone])}. "
            "Add some, or take these out."
        )
    columns = f"column {first!r} is" if len(found.columns) == 1 else f"columns from {first!r} on are"
    said = "" if parts is None else f", and {table.header[parts]!r} for the parts"
    notes = [
        f"Of {path} the {columns} taken for the pixels ({how}), and {labels.describe(table)}{said}.",
        *describe_unused(table, {*taken, *labels.columns}),
        *passed.note(path),
    ]
    return PixelTable(name, path, tuple(classes), by_part, reading.channels, tuple(notes))


def _find_pixels(path: Path) -> _Pixels | None:
    """Look for pixels in the first rows of a table."""
    head = read_table(path, "the CSV file of labels", WORDS_OF_HEADINGS, max_rows=_HEAD)
    width = len(head.header)
    if any(PurePosixPath(cell).suffix.lower() in suffixes() for row in head.rows for cell in row.cells):
        return None  # whose numbers are one-hot labels, say
    for column in range(width):
        cells = [row.cells[column].split() for row in head.rows if column < len(row.cells)]
        if cells and all(len(cell) >= _MIN_PIXELS and all(map(_is_number, cell)) for cell in cells):
            return _Pixels(head, (column,), True)
    is_named = _are_headings(head.header)
    if not is_named:
        head = replace(
            head,
            header=[f"column {at + 1}" for at in range(width)],
            rows=[Row(1, head.header), *head.rows],
        )
    kinds = [re.sub(r"\d+", "#", heading.lower()) for heading in head.header]
    kind, num = Counter(kinds).most_common(1)[0]
    if num < _MIN_PIXELS or "#" not in kind:
        return None
    columns = [column for column in range(width) if kinds[column] == kind]
    rows = [row.cells for row in head.rows if len(row.cells) == width]
    if num == width and (kind == "#" or not is_named):
        # The label has no heading of its own: it is the first or the last, and most pixels there are always black.
        first, last = ({row[at] for row in rows} for at in (0, -1))
        columns.pop(-1 if not all(map(_is_number, last)) or len(first) < 2 <= len(last) else 0)
    pixels = [[float(row[at]) for at in columns if _is_number(row[at])] for row in rows]
    if sum(map(len, pixels)) < _MIN_SHARE * len(rows) * len(columns) or not rows:
        return None
    if all(sum(value != 0 for value in row) == 1 for row in pixels):
        return None  # one-hot labels
    return _Pixels(head, tuple(columns), is_named)


def _read(found: _Pixels) -> "tuple[Table, NDArray[np.float32]]":
    """Read the whole of a table: its rows without the pixels, and these, float32 ``(N, P)``."""
    head, columns, has_headings = found
    if len(columns) > 1:
        numbers, rows = read_numbers(head, columns, WORDS_OF_HEADINGS, has_headings=has_headings)
        return replace(head, rows=rows), numbers
    table = read_table(head.path, "the CSV file of labels", WORDS_OF_HEADINGS)
    texts = [row.cells[columns[0]].split() if columns[0] < len(row.cells) else [] for row in table.rows]
    num = len(texts[0])
    for row, text in zip(table.rows, texts, strict=True):
        if len(text) != num or not all(map(_is_number, text)):
            raise CnnzooError(
                f"{table.place(row, columns[0])}: it has not {num} numbers, as the first row has. Correct it."
            )
    return table, np.array([np.array(text, dtype=np.float32) for text in texts])


def _as_images(path: Path, numbers: "NDArray[np.float32]") -> "tuple[NDArray[np.uint8], str]":
    """Return numbers ``(N, P)`` as images, uint8 ``(N, C, S, S)``, and how they were understood."""
    num = numbers.shape[1]
    channels = next((c for c in (1, 3) if num % c == 0 and math.isqrt(num // c) ** 2 == num // c), 0)
    if not channels:
        raise CnnzooError(
            f"{path} has {num:,} columns of pixels, which make no square of one channel or three. "
            "Save the images as files, and name them in the table."
        )
    low, high = (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 0.0)
    if not (low >= 0 and high <= 255):
        raise CnnzooError(
            f"{path} has pixels from {low:g} to {high:g}, and they must be from 0 to 255, or from 0 to 1. "
            "Scale them."
        )
    side = math.isqrt(num // channels)
    images = np.rint(numbers * 255 if high <= 1 else numbers).astype(np.uint8)
    how = f"{side}×{side}"
    if channels == 3:
        by_pixel, by_channel = (
            images.reshape(-1, side, side, 3).transpose(0, 3, 1, 2),
            images.reshape(-1, 3, side, side),
        )
        is_by_pixel = _roughness(by_pixel) <= _roughness(by_channel)
        images = np.ascontiguousarray(by_pixel if is_by_pixel else by_channel)
        how += " in colour, " + ("pixel by pixel" if is_by_pixel else "channel by channel")
    return images.reshape(-1, channels, side, side), how


def _roughness(images: "NDArray[np.uint8]") -> float:
    """Return by how much neighbours differ in the first of some images ``(N, C, H, W)``."""
    return float(np.abs(np.diff(images[:1000].astype(np.float32), axis=3)).mean())


def _parts(
    images: "NDArray[np.uint8]",
    labels: "NDArray[np.int64]",
    split: Sequence[Part | None],
    *,
    all_for_test: bool,
) -> "dict[Part, tuple[NDArray[np.uint8], NDArray[np.int64]]]":
    """Return the images and labels of each part, as tables of files are split."""
    names: tuple[Part, ...] = ("train", "val", "test")
    places = {part: [at for at, of in enumerate(split) if (of or "train") == part] for part in names}
    chosen = {part: found for part, found in places.items() if found}
    if all_for_test:
        chosen = {"test": places["test"] or places["val"] or list(range(len(split)))}
    elif len(chosen) < 2 or "train" not in chosen:
        tested = choose_tested((hashlib.sha256(image).digest().hex().encode() for image in images), labels)
        chosen = {"train": np.flatnonzero(~tested).tolist(), "test": np.flatnonzero(tested).tolist()}
    elif "test" not in chosen:
        chosen["test"] = chosen.pop("val")
    return {part: (images[found], labels[found]) for part, found in chosen.items()}


def _sha256(images: "NDArray[np.uint8]", labels: "NDArray[np.int64]") -> str:
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _are_headings(cells: Sequence[str]) -> bool:
    """Whether a first row is no image: its numbers are all different, and count up where there is nothing else."""
    numbers = [cell for cell in cells if _is_number(cell)]
    if len(numbers) < len(cells):
        return len({*numbers}) == len(numbers)
    start = int(cells[0]) if cells[0].isdecimal() else 0
    return list(cells) == [str(start + at) for at in range(len(cells))]
