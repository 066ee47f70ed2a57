"""The same image twice: files with the same bytes, by checksums that read no more than they must."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cnnzoo.data.listing.listing import Listing, Part, shown_name

MAX_FILES = 200_000
"""Files above which images are compared, and noted, only where that is asked for."""

START = 4096
"""Bytes that tell most files apart."""

COMPARED: tuple[Part, ...] = ("train", "val", "test")
"""Parts in which images are looked for, in this order."""

Digests = Mapping[tuple[int, int], bytes]
"""Checksums of files by their part, as an index into COMPARED, and their index in it."""


def find_duplicates(listing: Listing) -> dict[str, NDArray[np.int64]]:
    """Return the images that are in a data set more than once.

    Sizes are compared first, then the first START bytes, then all of them. An empty file, or one that cannot be read,
    is like no other.

    Returns:
        ``pairs``, training images that the test part has too, each with one of the test part: indices into the two,
        ``(N, 2)``; ``copies``, all images that are there more than once: the part, as an index into COMPARED, the index
        into that, and a number that copies of an image have in common, ``(M, 3)``; and ``unread``, how many of those
        that were compared could not be read.
    """
    places = [
        (COMPARED.index(part), index)
        for part in COMPARED
        if part in listing.parts
        for index in range(len(listing.parts[part]))
    ]
    sizes = np.concatenate([listing.parts[part].sizes for part in COMPARED if part in listing.parts])
    _, which, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    digests: Digests = dict.fromkeys(
        [places[at] for at in np.flatnonzero((counts[which] > 1) & (sizes > 0)).tolist()], b""
    )
    unread = 0
    for num_bytes in (START, -1):
        before = len(digests)
        digests = _read(listing, digests, num_bytes)
        unread += before - len(digests)
        times = Counter(digests.values())
        digests = {place: digest for place, digest in digests.items() if times[digest] > 1}
    numbers = {digest: number for number, digest in enumerate(dict.fromkeys(digests.values()))}
    train, test = COMPARED.index("train"), COMPARED.index("test")
    first = {digest: index for (part, index), digest in [*digests.items()][::-1] if part == test}
    pairs = [
        (index, first[digest])
        for (part, index), digest in digests.items()
        if part == train and digest in first
    ]
    copies = [(*place, numbers[digest]) for place, digest in digests.items()]
    return {
        "pairs": np.array(pairs, dtype=np.int64).reshape(-1, 2),
        "copies": np.array(copies, dtype=np.int64).reshape(-1, 3),
        "unread": np.array(unread),
    }


def describe_duplicates(pairs: NDArray[np.int64], listing: Listing, *, dropped: bool) -> list[str]:
    """Return a sentence on how many training images the test part has too, and which, or none if none.

    Args:
        pairs: As ``find_duplicates`` returns them.
        listing: The images.
        dropped: Whether those are not trained on.
    """
    if not len(pairs):
        return []
    some = [[_name(listing, "train", one), _name(listing, "test", other)] for one, other in pairs.tolist()]
    num = len(pairs)
    what = f"{num:,} training images are" if num > 1 else "1 training image is"
    left = "left out" if dropped else "--drop-duplicates leaves the training copies out"
    return [f"{what} in the test part too: {_shown(some)} ({left})."]


def describe_labels(copies: NDArray[np.int64], listing: Listing) -> list[str]:
    """Return a sentence on how many images are there under several classes, and which, or none if none.

    Args:
        copies: As ``find_duplicates`` returns them.
        listing: The images.
    """
    found = []
    for group in _groups(copies):
        by_label = {int(listing.parts[part].labels[index]): (part, index) for part, index in group}
        if len(by_label) > 1:
            found.append([_name(listing, *place) for place in by_label.values()][:2])
    if not found:
        return []
    what = f"{len(found):,} images are" if len(found) > 1 else "1 image is"
    return [f"{what} there under two classes: {_shown(found)} (keep each under the class that it is of)."]


def describe_validation(
    copies: NDArray[np.int64], listing: Listing, trained: Collection[bytes], validated: Collection[bytes]
) -> list[str]:
    """Return a sentence on how many validation images have a copy among those trained on, or none if none.

    Args:
        copies: As ``find_duplicates`` returns them.
        listing: The images.
        trained: Names of the files to train on.
        validated: Names of the files to validate on.
    """
    num, found = 0, []
    for group in _groups(copies):
        names = [(listing.parts[part].files.name(index), part, index) for part, index in group]
        ones = [(part, index) for name, part, index in names if name in trained]
        others = [(part, index) for name, part, index in names if name in validated]
        if ones and others:
            num += len(others)
            found.append([_name(listing, *ones[0]), _name(listing, *others[0])])
    if not found:
        return []
    what = f"{num:,} validation images have" if num > 1 else "1 validation image has"
    return [
        f"{what} a copy among the images to train on, which makes validation look better: {_shown(found)} "
        "(keep one copy of each)."
    ]


def _groups(copies: NDArray[np.int64]) -> Collection[list[tuple[Part, int]]]:
    """Return the places of each image that is there more than once."""
    groups: dict[int, list[tuple[Part, int]]] = defaultdict(list)
    for part, index, number in copies.tolist():
        groups[number].append((COMPARED[part], index))
    return groups.values()


def _name(listing: Listing, part: Part, index: int) -> str:
    return shown_name(listing.parts[part].files[index], listing.root)


def _shown(pairs: Sequence[Sequence[str]]) -> str:
    return "; ".join(" and ".join(pair) for pair in pairs[:3]) + (" ..." if len(pairs) > 3 else "")


def _read(listing: Listing, known: Digests, num_bytes: int) -> Digests:
    """Return the checksums of the first bytes of files, or of all for -1; of a short file those are the same."""
    found: dict[tuple[int, int], bytes] = {}
    # Not in threads, which get in each other's way where files are in memory.
    for (part, index), digest in known.items():
        samples = listing.parts[COMPARED[part]]
        if num_bytes < 0 and samples.sizes[index] <= START:
            found[part, index] = digest
        elif read := _digest(samples.files.text(index), num_bytes):
            found[part, index] = read
    return found


def _digest(file: str, num_bytes: int) -> bytes | None:
    try:
        # Without what a file object takes besides.
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            if num_bytes > 0:
                return hashlib.sha256(os.read(handle, num_bytes)).digest()
            with open(handle, "rb", closefd=False) as opened:
                return hashlib.file_digest(opened, "sha256").digest()
        finally:
            os.close(handle)
    except OSError:  # whoever decodes it says so
        return None
