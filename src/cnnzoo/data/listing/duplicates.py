"""The same image twice: files with the same bytes, by checksums that read no more than they must."""

import hashlib
import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cnnzoo.data.listing.listing import Listing, Samples, shown_name

MAX_FILES = 200_000
"""Files above which images are compared, and noted, only where that is asked for."""

START = 4096
"""Bytes that tell most files apart."""

Digests = Mapping[int, bytes]
"""Checksums of files by their places in a part."""


def find_duplicates(listing: Listing) -> dict[str, NDArray[np.int64]]:
    """Return the training images that the test part has too.

    Sizes are compared first, then the first START bytes, then all of them. A file that cannot be read is like no other.

    Returns:
        ``pairs``, each with one of the test part: indices into the two, ``(N, 2)``; and ``unread``, how many of those
        that were compared could not be read.
    """
    unread = 0
    train, test = listing.parts["train"], listing.parts["test"]
    ones: Digests = dict.fromkeys(np.flatnonzero(np.isin(train.sizes, test.sizes)).tolist(), b"")
    others: Digests = dict.fromkeys(np.flatnonzero(np.isin(test.sizes, train.sizes)).tolist(), b"")
    for num_bytes in (START, -1):
        before = len(ones) + len(others)
        ones, others = _read(train, ones, num_bytes), _read(test, others, num_bytes)
        unread += before - len(ones) - len(others)
        common = {*ones.values()} & {*others.values()}
        ones, others = (
            {index: digest for index, digest in each.items() if digest in common} for each in (ones, others)
        )
    first = {digest: other for other, digest in sorted(others.items(), reverse=True)}
    pairs = [(one, first[digest]) for one, digest in sorted(ones.items())]
    return {"pairs": np.array(pairs, dtype=np.int64).reshape(-1, 2), "unread": np.array(unread)}


def describe_duplicates(pairs: NDArray[np.int64], listing: Listing, *, dropped: bool) -> list[str]:
    """Return a sentence on how many training images the test part has too, and which, or none if none.

    Args:
        pairs: As ``find_duplicates`` returns them.
        listing: The images.
        dropped: Whether those are not trained on.
    """
    if not len(pairs):
        return []
    train, test = (listing.parts[part].files for part in ("train", "test"))
    some = [
        f"{shown_name(train[one], listing.root)} and {shown_name(test[other], listing.root)}"
        for one, other in pairs[:3].tolist()
    ]
    num = len(pairs)
    what = f"{num:,} training images are" if num > 1 else "1 training image is"
    left = "left out" if dropped else "--drop-duplicates leaves the training copies out"
    return [f"{what} in the test part too: {'; '.join(some)}{' ...' if num > 3 else ''} ({left})."]


def _read(samples: Samples, known: Digests, num_bytes: int) -> Digests:
    """Return the checksums of the first bytes of files, or of all for -1; of a short file those are the same."""
    found: dict[int, bytes] = {}
    for (
        index,
        digest,
    ) in known.items():  # not in threads, which get in each other's way where files are in memory
        if num_bytes < 0 and samples.sizes[index] <= START:
            found[index] = digest
        elif read := _digest(samples.files.text(index), num_bytes):
            found[index] = read
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
