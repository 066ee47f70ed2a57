"""The same image twice: files with the same bytes, by checksums that read no more than they must."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnnzoo.data.listing import Listing

MOST_FILES = 200_000
"""Files above which images are compared, and noted, only where that is asked for."""

START = 4096
"""Bytes that tell most files apart."""


def digest_of(content: bytes) -> NDArray[np.uint8]:
    """Return the SHA-256 of a file's bytes, uint8 ``(32,)``."""
    return np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint8)


def find_duplicates(listing: Listing) -> list[tuple[int, int]]:
    """Return the training images whose bytes a test image has too, each with one: indices into the two parts.

    Sizes are compared first, then the first START bytes, then all of them. A file that cannot be read is like no other.
    """
    train, test = ([file for file, _ in listing.parts[part]] for part in ("train", "test"))
    alike: list[tuple[Iterable[int], Iterable[int]]] = [(range(len(train)), range(len(test)))]
    for key in (_size, _start, _whole):
        narrowed: list[tuple[Iterable[int], Iterable[int]]] = []
        for ones, others in alike:
            of_train, of_test = _by_key(train, ones, key), _by_key(test, others, key)
            narrowed += [(of_train[found], of_test[found]) for found in of_train.keys() & of_test.keys()]
        alike = narrowed
    return sorted((one, min(others)) for ones, others in alike for one in ones)


def _by_key(
    files: list[Path], indices: Iterable[int], key: Callable[[Path], object]
) -> defaultdict[object, list[int]]:
    found: defaultdict[object, list[int]] = defaultdict(list)
    for index in indices:
        try:
            found[key(files[index])].append(index)
        except OSError:
            continue  # whoever decodes it says so
    return found


def _size(file: Path) -> int:
    return file.stat().st_size


def _start(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.sha256(opened.read(START)).digest()


def _whole(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
