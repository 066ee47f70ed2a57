"""A tree of files as it lies on the disk, walked once: names, sizes and times, through links too."""

import hashlib
import os
import stat
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cnnzoo.data.decoding.images import suffixes
from cnnzoo.data.listing.listing import PassedOver

_HIDDEN = (".", "__MACOSX", "@eaDir")
"""How names begin that are passed over: hidden ones, and what macOS and Synology put into archives and shares."""

_Identity = tuple[int, int]
"""Device and number of a real folder, whatever links lead to it."""


@dataclass(slots=True)
class _Contents:
    """What is in one real folder, but for what is hidden.

    Attributes:
        folders: Name and identity of each, links to folders among them, in the system's order.
        images: Names of files that are images by their suffix, likewise, with NUL between.
        sizes: Of these, bytes.
        times: Of these, two each: when they were last written, and when anything of them last changed.
        others: How many files of each suffix or kind are no images.
        num_hidden: Images with a hidden name.
        error: Why it could not be looked into.
    """

    folders: list[tuple[str, _Identity]] = field(default_factory=list)
    images: str = ""
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    times: "array[float]" = field(default_factory=lambda: array("d"))
    others: Counter[str] = field(default_factory=Counter)
    num_hidden: int = 0
    error: OSError | None = None

    @property
    def names(self) -> list[str]:
        return self.images.split("\0") if self.images else []


@dataclass(frozen=True)
class Tree:
    """A folder of a tree that has been walked.

    Attributes:
        path: Where it is.
    """

    path: Path
    _identity: _Identity
    _walked: dict[_Identity, _Contents] = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        """The folder's own."""
        return self.path.name

    @property
    def num_files(self) -> int:
        """Images in all that was walked."""
        return sum(len(contents.sizes) for contents in self._walked.values())

    @property
    def newest(self) -> float:
        """When the last of them was changed, in seconds since 1970; 0 where there is none."""
        return max((max(contents.times) for contents in self._walked.values() if contents.times), default=0.0)

    def fingerprint(self) -> bytes:
        """Return a checksum that changes with any image's name, size or time, and with what else is told of a tree."""
        digest = hashlib.sha256()
        places = {identity: place for place, identity in enumerate(self._walked)}
        for contents in self._walked.values():
            folders = [(name, places[identity]) for name, identity in contents.folders]
            told = [folders, sorted(contents.others.items()), contents.num_hidden, repr(contents.error)]
            for part in (repr(told).encode(), contents.images.encode(errors="surrogateescape")):
                digest.update(b"%d " % len(part) + part)
            digest.update(contents.sizes)
            digest.update(contents.times)
        return digest.digest()

    def subfolders(self) -> list["Tree"]:
        """Return the folders in it, sorted by name, but hidden ones and those that systems leave behind."""
        folders = sorted(self._look(self._identity).folders)
        return [Tree(self.path / name, identity, self._walked) for name, identity in folders]

    def num_images(self) -> int:
        """Return how many images lie in the folder itself, those with a hidden name among them."""
        contents = self._look(self._identity)
        return len(contents.sizes) + contents.num_hidden

    def has_images(self) -> bool:
        """Whether there is an image anywhere below."""
        seen: set[_Identity] = set()
        waiting = [self._identity]
        while waiting:
            if (identity := waiting.pop()) in seen:
                continue
            seen.add(identity)
            contents = self._look(identity)
            if contents.images:
                return True
            waiting += [inner for _, inner in contents.folders]
        return False

    def images_below(self, passed: PassedOver, above: Iterable["Tree"] = ()) -> tuple[list[str], list[int]]:
        """Return the names of images below, sorted, and their bytes; through links too, each real folder once.

        Args:
            passed: Told what is passed over: files that are no images by their suffix, and links that lead nowhere.
            above: Folders above it, into which a link is not followed.
        """
        seen = {tree._identity for tree in above}
        waiting = [("", self._identity)]
        found: list[tuple[str, int]] = []
        while waiting:
            before, identity = waiting.pop()
            if identity in seen:
                continue
            seen.add(identity)
            contents = self._look(identity)
            passed.files.update(contents.others)
            found += zip([before + name for name in contents.names], contents.sizes, strict=True)
            waiting += [(f"{before}{name}/", inner) for name, inner in contents.folders]
        found.sort()
        return [name for name, _ in found], [size for _, size in found]

    def _look(self, identity: _Identity) -> _Contents:
        contents = self._walked[identity]
        if contents.error:
            raise contents.error
        return contents


def walk(root: Path) -> Tree:
    """Walk a tree: one look at each real folder and one at each file.

    Raises:
        OSError: There is no such folder. Of one below, and of what is no folder, that is raised by who looks into it.
    """
    readable = frozenset(suffix.removeprefix(".") for suffix in suffixes())
    top = _identity(root)
    walked: dict[_Identity, _Contents] = {}
    waiting = [(os.fspath(root), top)]
    while waiting:
        path, identity = waiting.pop()
        if identity in walked:
            continue
        walked[identity] = contents = _contents(path, readable)
        waiting += [(os.path.join(path, name), inner) for name, inner in contents.folders]  # noqa: PTH118
    return Tree(root, top, walked)


def images_below(folder: Path, passed: PassedOver) -> list[Path]:
    """Return the image files below a folder, sorted, through links too, each real folder once.

    Names that begin with a dot are left out.

    Args:
        folder: Where to look.
        passed: Told what is passed over.
    """
    names, _ = walk(folder).images_below(passed)
    return [folder / name for name in names]


def _contents(path: str, readable: frozenset[str]) -> _Contents:
    """Look into one folder."""
    found = _Contents()
    names: list[str] = []
    sizes: list[int] = []
    times: list[float] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                stem, _, suffix = name.rpartition(".")
                is_image = suffix.lower() in readable and bool(stem)
                if name.startswith(_HIDDEN):
                    found.num_hidden += is_image and Path(path, name).is_file()
                    continue
                try:
                    status = entry.stat()
                except OSError as error:
                    if entry.is_symlink():
                        found.others["link to nothing"] += 1
                    elif not isinstance(error, FileNotFoundError):  # removed meanwhile
                        raise
                    continue
                if stat.S_ISREG(status.st_mode):
                    if is_image:
                        names.append(name)
                        sizes.append(status.st_size)
                        times += status.st_mtime, status.st_ctime
                    else:
                        found.others[Path(name).suffix.lower() or "file without a suffix"] += 1
                elif stat.S_ISDIR(status.st_mode):
                    found.folders.append((name, _identity(Path(path, name))))
                else:
                    kind = "link to nothing" if entry.is_symlink() else "file of a special kind"
                    found.others[kind] += 1
    except OSError as error:
        return _Contents(error=error)
    found.images = "\0".join(names)
    found.sizes, found.times = array("q", sizes), array("d", times)
    return found


def _identity(folder: Path) -> _Identity:
    status = folder.stat()  # what scandir knows of it lacks these two on Windows
    return status.st_dev, status.st_ino
