"""A tree of files as it lies on the disk, walked once: names, sizes and times, through links too."""

import hashlib
import os
import stat
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

from cnnzoo.data.decoding.images import suffixes
from cnnzoo.data.listing.listing import PassedOver
from cnnzoo.data.listing.outputs import OF_A_RUN, OF_A_STUDY, OWN_FILES, RUNS, is_explanation
from cnnzoo.errors import named
from cnnzoo.files import composed

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
        num_explanations: Pictures that cnnzoo itself has written of how a net saw another one.
        is_run: Whether its files are those of a run of cnnzoo.
        is_study: Whether it has a file that a study of cnnzoo has beside its runs.
        error: Why it could not be looked into.
    """

    folders: list[tuple[str, _Identity]] = field(default_factory=list)
    images: str = ""
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    times: "array[float]" = field(default_factory=lambda: array("d"))
    others: Counter[str] = field(default_factory=Counter)
    num_hidden: int = 0
    num_explanations: int = 0
    is_run: bool = False
    is_study: bool = False
    error: OSError | None = None

    @property
    def names(self) -> list[str]:
        return self.images.split("\0") if self.images else []


@dataclass(frozen=True)
class Tree:
    """A folder of a tree that has been walked.

    What cnnzoo itself has written below it, runs and explanations, is not in it.

    Attributes:
        path: Where it is.
        own_outputs: What was left out because cnnzoo has written it, such as ``runs/``; of the walked folder alone.
    """

    path: Path
    _identity: _Identity
    _walked: Mapping[_Identity, _Contents] = field(compare=False, repr=False)
    own_outputs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder's own; of the current folder ``.``."""
        return self.path.name or str(self.path)

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

    def note_on_outputs(self) -> list[str]:
        """Return the sentence on what was left out because cnnzoo has written it; none where there is nothing."""
        if not self.own_outputs:
            return []
        return [f"What cnnzoo itself has written in {self.path} is not used: {named(self.own_outputs, 5)}."]

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
        found.sort(key=lambda each: composed(each[0]))  # the same on every system
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
        contents = _contents(path, readable)
        if contents.is_run and identity != top:
            contents = _Contents(is_run=True)
        walked[identity] = contents
        waiting += [(os.path.join(path, name), inner) for name, inner in contents.folders]  # noqa: PTH118
    kept, own_outputs = _without_outputs(walked, top)
    return Tree(root, top, kept, own_outputs)


def _without_outputs(
    walked: dict[_Identity, _Contents], top: _Identity
) -> tuple[dict[_Identity, _Contents], tuple[str, ...]]:
    """Return what was walked without what cnnzoo has written, and the names of that below the top folder.

    These are runs, studies with their runs, a folder ``runs`` with runs, whatever else lies there, and folders that
    hold nothing but such folders, explanations, or what a study begins with.
    """
    above: dict[_Identity, list[_Identity]] = defaultdict(list)
    called_runs: set[_Identity] = set()
    for identity, contents in walked.items():
        for name, inner in contents.folders:
            above[inner].append(identity)
            if name == RUNS:
                called_runs.add(inner)

    def those(are: Callable[[_Contents], object]) -> set[_Identity]:
        return {identity for identity, contents in walked.items() if are(contents)} - {top}

    studies = those(lambda contents: contents.is_study)
    outputs = those(lambda contents: contents.is_run)
    for holders in (studies, called_runs - {top}):
        outputs |= holders & {folder for output in outputs for folder in above[output]}
    own = outputs | studies | called_runs | those(lambda contents: contents.num_explanations)
    others = those(lambda contents: contents.images or contents.error) - outputs
    dropped = outputs | (_with_those_above(own, above) - _with_those_above(others, above, outputs) - {top})
    kept: set[_Identity] = set()
    left_out: list[str] = []
    waiting = [("", top)]
    while waiting:
        before, identity = waiting.pop()
        if identity in kept:
            continue
        kept.add(identity)
        contents = walked[identity]
        inside = [(f"{before}{name}/", inner) for name, inner in contents.folders]
        left_out += [name for name, inner in inside if inner in dropped]
        waiting += [(name, inner) for name, inner in inside if inner not in dropped]
        contents.folders = [(name, inner) for name, inner in contents.folders if inner not in dropped]
    left_out.sort()
    if num := sum(walked[identity].num_explanations for identity in kept):
        left_out.append(f"{num:,} explanation{'s' if num > 1 else ''}")
    return {identity: walked[identity] for identity in walked if identity in kept}, tuple(left_out)


def _with_those_above(
    folders: set[_Identity], above: Mapping[_Identity, list[_Identity]], but: Set[_Identity] = frozenset()
) -> set[_Identity]:
    """Return folders with all in which they lie, as far as no way leads through ``but``."""
    found: set[_Identity] = set()
    waiting = [*folders]
    while waiting:
        if (folder := waiting.pop()) not in found and folder not in but:
            found.add(folder)
            waiting += above[folder]
    return found


def _contents(path: str, readable: frozenset[str]) -> _Contents:
    """Look into one folder."""
    found = _Contents()
    names: list[str] = []
    own: set[str] = set()
    sizes: list[int] = []
    times: list[float] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                stem, _, suffix = name.rpartition(".")
                is_image = suffix.lower() in readable and bool(stem)
                own |= OWN_FILES & {name}
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
                    if is_explanation(name):
                        found.num_explanations += 1
                    elif is_image:
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
    found.is_run, found.is_study = len(own & OF_A_RUN) > 1, bool(own & OF_A_STUDY)
    return found


def _identity(folder: Path) -> _Identity:
    status = folder.stat()  # what scandir knows of it lacks these two on Windows
    return status.st_dev, status.st_ino
