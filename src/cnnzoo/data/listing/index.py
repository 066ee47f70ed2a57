"""What was found out about a large tree of images, kept in the cache folder until the tree changes."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnnzoo.data.decoding.images import suffixes
from cnnzoo.data.listing.listing import Files, Listing, Part, Samples
from cnnzoo.data.listing.walk import Tree
from cnnzoo.errors import CnnzooError
from cnnzoo.files import cache_folder, replacing
from cnnzoo.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

INDEX_FORMAT = 3
"""Version of what is in the files."""

FEWEST_FILES = 1000
"""Images below which a tree is read anew as fast."""

MAX_BYTES = 1 << 30
"""What the indexes of all trees take together; those that were not used for the longest are removed."""

_TICK = 0.02
"""Seconds that a file system's clock may stand still: two changes of a file in one tick have the same time."""

IndexArrays = Mapping[str, "NDArray[np.generic]"]


class Index:
    """What is known of a tree as it is now.

    A file that is broken, of another version or of the tree as it was before is as good as none, and where nothing can
    be written nothing is kept.

    Args:
        tree: The tree. Of one of few files nothing is kept.
        *options: What else decides what is found out: its kind, the columns of a table and its content.
    """

    def __init__(self, tree: Tree, *options: object) -> None:
        self._folder: Path | None = None
        if tree.num_files < FEWEST_FILES:
            return
        key = repr([os.fspath(tree.path), os.path.abspath(tree.path), *options])  # noqa: PTH100
        state = repr([INDEX_FORMAT, __version__, sorted(suffixes()), tree.fingerprint(), key])
        self._folder = cache_folder() / "trees"
        self._name = _sha256(key).hex()[:32]
        self._state = np.frombuffer(_sha256(state), dtype=np.uint8)
        self._newest = tree.newest

    def recall(self, what: str, find_out: Callable[[], IndexArrays]) -> IndexArrays:
        """Return what is known, or find it out and keep it.

        Args:
            what: A word for it.
            find_out: Called where it is not known. What it gives is not kept where it has ``unread`` files.
        """
        if self._folder is None:
            return find_out()
        file = self._folder / f"{self._name}-{what}.npz"
        if (known := _read(file, self._state)) is not None:
            return known
        # What is read in the same tick of the clock in which a file was written could be written over unseen.
        time.sleep(min(max(0.0, self._newest + _TICK - time.time()), _TICK))
        found = find_out()
        if np.any(found.get("unread", 0)):  # which may be read the next time
            return found
        with suppress(OSError, CnnzooError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(file) as opened:
                np.savez(opened, state=self._state, **found)  # type: ignore[arg-type]
            _make_room(self._folder)
        return found


def keep_listing(listing: Listing) -> IndexArrays:
    """Return a listing as arrays."""
    told = {"root": os.fspath(listing.root), "classes": listing.classes, "notes": listing.notes}
    arrays: dict[str, NDArray[np.generic]] = {"told": _as_bytes(json.dumps(told).encode())}
    for part, samples in listing.parts.items():
        names = list(samples.files.names())
        arrays[f"{part}_names"] = _as_bytes(b"".join(names))
        arrays[f"{part}_lengths"] = np.array([len(name) for name in names], dtype=np.int64)
        arrays[f"{part}_labels"] = samples.labels
        arrays[f"{part}_sizes"] = samples.sizes
    return arrays


def kept_listing(arrays: IndexArrays) -> Listing:
    """Return the listing that ``keep_listing`` has made arrays of."""
    told = json.loads(arrays["told"].tobytes())
    root = Path(told["root"])
    parts: dict[Part, Samples] = {}
    for part in ("train", "val", "test"):
        if f"{part}_names" in arrays:
            ends = np.cumsum(arrays[f"{part}_lengths"], dtype=np.int64)
            files = Files(root, arrays[f"{part}_names"].tobytes(), ends)
            labels, sizes = (arrays[f"{part}_{what}"].astype(np.int64) for what in ("labels", "sizes"))
            parts[part] = Samples(files, labels, sizes)
    return Listing(root, tuple(told["classes"]), parts, tuple(told["notes"]))


def _read(file: Path, state: "NDArray[np.uint8]") -> IndexArrays | None:
    """Return what a file holds, if it is whole and of this state."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            if not np.array_equal(arrays["state"], state):
                return None
            known = {name: arrays[name] for name in arrays.files}
        with suppress(OSError):  # where the cache is somebody else's
            os.utime(file)  # it was used
    except Exception:  # whatever a damaged file may bring about
        return None
    return known


def _make_room(folder: Path) -> None:
    """Remove the indexes that were not used for the longest, until the others fit into MAX_BYTES."""
    found = sorted(((file.stat(), file) for file in folder.glob("*")), key=lambda each: -each[0].st_mtime)
    room = MAX_BYTES
    for status, file in found:
        room -= status.st_size
        if room < 0:
            file.unlink(missing_ok=True)


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()


def _as_bytes(content: bytes) -> "NDArray[np.uint8]":
    return np.frombuffer(content, dtype=np.uint8)
