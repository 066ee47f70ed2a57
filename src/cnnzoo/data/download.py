"""Find a dataset on disk, or download and verify it; read its files."""

import gzip
import hashlib
import math
import os
import queue
import shutil
import struct
import tarfile
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnzoo.data import Progress
from cnnzoo.data.catalog import DATASETS, IDX_FILES, DatasetSpec
from cnnzoo.errors import CnnzooError, one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIMEOUT = 10.0
"""Seconds in which a mirror must send MIN_BYTES, or the rest of the file."""

MIN_BYTES = 1 << 14

MAX_UNPACKED = 1 << 26
"""Bytes of the largest IDX file that is read. The largest of these datasets has 47 million; a bomb has more."""

_CIFAR10 = "cifar-10-batches-py"


class DatasetUnavailableError(CnnzooError):
    """A named dataset is not on this machine and cannot be downloaded."""


class _DamagedError(CnnzooError):
    """A file is not what its dataset's authors published."""


class _MirrorError(Exception):
    """A mirror does not send what it should; the message says why."""


@dataclass(frozen=True)
class Arrays:
    """One split, in memory.

    Attributes:
        images: uint8 ``(N, C, H, W)``.
        labels: int64 ``(N,)``.
        location: The folder that it was read from.
        num_bytes: That its files take there.
        sha256: Of the unpacked images and labels.
    """

    images: "NDArray[np.uint8]"
    labels: "NDArray[np.int64]"
    location: Path
    num_bytes: int
    sha256: str


def default_data_dir() -> Path:
    """Return ``$CNNZOO_DATA``, else the user's cache folder as the platform has it."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("CNNZOO_DATA") or user_cache_path("cnnzoo", appauthor=False))


def load_arrays(spec: DatasetSpec, split: str, data_dir: Path | None, progress: Progress) -> Arrays:
    """Return one split of a named dataset: found on this machine, else downloaded into ``data_dir``.

    Raises:
        DatasetUnavailableError: It is neither here nor to be had; the message names the ways to get it.
        CnnzooError: The sample that ships with cnnzoo is not whole.
    """
    data_dir = _data_dir(data_dir)
    found, damaged = _find(spec, split, data_dir)
    if found is None and spec.torchvision:
        try:
            _fetch(spec, data_dir, progress)
        except CnnzooError as error:
            here = damaged or [f"{spec.title} is not on this machine."]
            raise DatasetUnavailableError(
                " ".join([*here, str(error), _ways_to_get(spec, data_dir)])
            ) from error
        found, damaged = _find(spec, split, data_dir)
    if found is None:
        raise CnnzooError(" ".join([*damaged, f"{spec.title} is not whole. Install cnnzoo again."]))
    return found


def verify(spec: DatasetSpec, data_dir: Path | None) -> tuple[Arrays, Arrays]:
    """Return the training and test images as they are on this machine; nothing is downloaded.

    Raises:
        CnnzooError: They are missing, or no copy of them is what was published.
    """

    def read(split: str) -> Arrays:
        found, damaged = _find(spec, split, _data_dir(data_dir))
        if found is None:
            what = " ".join(damaged) or f"{spec.title} is not on this machine."
            how = f"Get it: cnnzoo data fetch {spec.name}" if spec.torchvision else "Install cnnzoo again."
            raise CnnzooError(f"{what} {how}")
        return found

    return read("train"), read("test")


def locate(spec: DatasetSpec, data_dir: Path | None) -> tuple[Path, int] | None:
    """Return the folder that holds a dataset, whole, and the bytes it takes there; None if there is none."""
    try:
        train, test = verify(spec, data_dir)
    except CnnzooError:
        return None
    return train.location, train.num_bytes + test.num_bytes


# Where things lie


def _data_dir(data_dir: Path | None) -> Path:
    return (data_dir or default_data_dir()).expanduser()  # no shell expands --data-dir=~/data


def _folders(spec: DatasetSpec, data_dir: Path) -> Iterator[Path]:
    """Yield the folders to look into, in order: torchvision's layout, bare files, the system's."""
    if spec.torchvision:
        yield data_dir / spec.torchvision / "raw"
        yield data_dir / spec.name
        yield data_dir / "raw"
        yield data_dir
    yield from spec.folders


def _find(spec: DatasetSpec, split: str, data_dir: Path) -> tuple[Arrays | None, list[str]]:
    """Return the first genuine copy of a split; where there is none, what is wrong with the others."""
    read = _read_cifar10 if spec.name == "cifar10" else _read_pair
    damaged: list[str] = []
    for folder in _folders(spec, data_dir):
        try:
            if found := read(spec, split, folder):
                return found, []
        except _DamagedError as error:
            damaged.append(str(error))
    return None, damaged


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that this person may not look into
        return False


# Reading


def _read_pair(spec: DatasetSpec, split: str, folder: Path) -> Arrays | None:
    """Return a split from its two IDX files; None if ``folder`` does not have both."""
    files = [_genuine(spec, folder, name) for name in IDX_FILES[split]]
    if None in files:
        return None
    (images_path, pixels), (labels_path, answers) = (file for file in files if file)
    images, labels = parse_idx(pixels, images_path), parse_idx(answers, labels_path)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise _DamagedError(f"{images_path} and {labels_path.name} do not belong together.")
    digest = hashlib.sha256(pixels)
    digest.update(answers)
    num_bytes = images_path.stat().st_size + labels_path.stat().st_size
    return Arrays(images[:, None], labels.astype(np.int64), folder, num_bytes, digest.hexdigest())


def _genuine(spec: DatasetSpec, folder: Path, name: str) -> tuple[Path, bytes] | None:
    """Return the copy of an IDX file in ``folder``, packed or not, that is the published one, and its contents.

    The contents decide where their checksum is known, since packed files differ with the packer. Else
    only the packed file can be told.

    Returns:
        None if there is no such file, or only that of another dataset: the MNIST family shares its file names.

    Raises:
        _DamagedError: There are copies, but damaged ones.
    """
    damaged = None
    for path in (folder / name, folder / f"{name}.gz"):
        if not _is_file(path) or not (name in spec.sha256 or path.suffix == ".gz"):
            continue
        try:
            content = _unpack(path)
        except _DamagedError as error:
            damaged = error
            continue
        actual = hashlib.sha256(content).hexdigest()
        if actual == spec.sha256[name] if name in spec.sha256 else _md5(path) == _downloads(spec)[path.name]:
            return path, content
        if all(actual != other.sha256.get(name) for other in DATASETS.values()):
            damaged = _DamagedError(
                f"{path} is not the file that {spec.title} was published with (its checksum differs)."
            )
    if damaged:
        raise damaged
    return None


def _unpack(path: Path) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MAX_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _DamagedError(f"{path} cannot be read ({one_line(error)}).") from error
    if len(content) > MAX_UNPACKED:
        raise _DamagedError(f"{path} has more than {MAX_UNPACKED >> 20} MiB, which no such dataset has.")
    return content


def parse_idx(content: bytes, path: Path) -> "NDArray[np.uint8]":
    """Return the array in an IDX file's unpacked ``content``: magic number, one big-endian int a side, bytes.

    Raises:
        CnnzooError: It is none, or cut short; the message names ``path``.
    """
    ndim = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    body = 4 + 4 * ndim
    if not 1 <= ndim <= 4 or len(content) < body:
        raise _DamagedError(f"{path} is not an IDX file of bytes.")
    shape = struct.unpack_from(f">{ndim}I", content, 4)
    if 0 in shape or math.prod(shape) != len(content) - body:
        raise _DamagedError(f"{path} is cut short or damaged.")
    # A copy, since torch wants memory that it may write to.
    return np.frombuffer(content, dtype=np.uint8, offset=body).reshape(shape).copy()


def _read_cifar10(spec: DatasetSpec, split: str, folder: Path) -> Arrays | None:
    """Return a split of CIFAR-10; None if ``folder`` does not have all its batches."""
    if not _is_file(folder / _CIFAR10 / "batches.meta"):  # saves importing torchvision
        return None
    from torchvision.datasets import CIFAR10

    paths = [folder / _CIFAR10 / name for name in _cifar10_files()]
    if not all(_is_file(path) for path in paths):
        return None
    try:
        # torchvision compares every batch with its published MD5 before it unpickles any.
        data: Any = CIFAR10(str(folder), train=split == "train", download=False)
    except (RuntimeError, OSError) as error:
        raise _DamagedError(
            f"{folder / _CIFAR10} is not {spec.title} as it was published (a checksum differs)."
        ) from error
    images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
    labels = np.asarray(data.targets, dtype=np.int64)
    digest = hashlib.sha256(images.data)
    digest.update(labels.astype(np.uint8).data)
    num_bytes = sum(path.stat().st_size for path in paths if (path.name == "test_batch") == (split == "test"))
    return Arrays(images, labels, folder / _CIFAR10, num_bytes, digest.hexdigest())


def _cifar10_files() -> list[str]:
    from torchvision.datasets import CIFAR10

    return [*(name for name, _ in CIFAR10.train_list + CIFAR10.test_list), CIFAR10.meta["filename"]]


# Downloading


def _downloads(spec: DatasetSpec) -> dict[str, str]:
    """Return each file to download with its MD5, as torchvision publishes them."""
    import torchvision

    source = getattr(torchvision.datasets, spec.torchvision)
    if spec.name == "cifar10":
        return {source.filename: source.tgz_md5}
    return dict(source.resources)


def _addresses(spec: DatasetSpec, file: str) -> list[str]:
    import torchvision

    source = getattr(torchvision.datasets, spec.torchvision)
    if spec.name == "cifar10":
        return [source.url]
    return [f"{mirror.rstrip('/')}/{file}" for mirror in source.mirrors]


def _fetch(spec: DatasetSpec, data_dir: Path, progress: Progress) -> None:
    """Download a dataset into ``data_dir``, in torchvision's layout; files that are there and genuine stay.

    Raises:
        CnnzooError: It cannot be had, or not be written; the message says what was tried.
    """
    folder = data_dir if spec.name == "cifar10" else data_dir / spec.torchvision / "raw"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, md5 in _downloads(spec).items():
            if not _is_here(spec, folder / file, md5):
                _download(spec, folder / file, md5, progress)
            if spec.name == "cifar10":
                _unpack_cifar10(folder / file, folder)
    except OSError as error:
        raise CnnzooError(
            f"{folder} cannot be written ({one_line(error)}). Choose another with --data-dir."
        ) from error


def _is_here(spec: DatasetSpec, target: Path, md5: str) -> bool:
    if target.suffixes == [".tar", ".gz"]:
        return target.is_file() and _md5(target) == md5
    try:
        return _genuine(spec, target.parent, target.stem) is not None
    except _DamagedError:
        return False


def _download(spec: DatasetSpec, target: Path, md5: str, progress: Progress) -> None:
    """Download a file from the first mirror that has it; a damaged download is tried once more."""
    tried: list[str] = []
    part = target.with_name(f"{target.name}.part")
    try:
        for address in _addresses(spec, target.name):
            for _ in range(2):
                digest, done = hashlib.md5(usedforsecurity=False), 0
                try:
                    with part.open("wb") as out:
                        for chunk, total in _receive(address, 2_000_000 * spec.megabytes):
                            out.write(chunk)
                            digest.update(chunk)
                            done += len(chunk)
                            progress(f"Downloading {target.name}", done, total)
                except _MirrorError as error:
                    tried.append(f"{address}: {error}")
                    break
                if digest.hexdigest() == md5:
                    part.replace(target)
                    return
                tried.append(f"{address}: wrong checksum")
    finally:
        part.unlink(missing_ok=True)
    raise CnnzooError(f"The download failed ({'; '.join(tried)}).")


def _receive(address: str, max_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Yield a download in chunks, each with the size of the whole file (0: unknown).

    A thread does the reading, because a socket's own time-out bounds neither the search for the
    server's name nor an answer that trickles in byte by byte.

    Raises:
        _MirrorError: The mirror refuses, is silent, too slow, or sends too little or far too much.
    """
    arrived: queue.SimpleQueue[tuple[bytes, int] | Exception] = queue.SimpleQueue()
    given_up = threading.Event()

    def read() -> None:
        import urllib.error
        import urllib.request

        try:
            request = urllib.request.Request(address, headers={"User-Agent": "cnnzoo"})
            with urllib.request.urlopen(request, timeout=2 * TIMEOUT) as answer:
                total = int(answer.headers.get("Content-Length") or 0)
                chunk = b"start"
                while chunk and not given_up.is_set():
                    chunk = answer.read1(1 << 16)  # what has arrived, instead of waiting for all of it
                    arrived.put((chunk, total))
        except urllib.error.HTTPError as error:
            error.close()
            arrived.put(error)
        except Exception as error:
            arrived.put(error)

    threading.Thread(target=read, daemon=True).start()
    try:
        done, due, deadline = 0, MIN_BYTES, time.monotonic() + TIMEOUT
        while True:
            try:
                item = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise _MirrorError(f"silent or too slow for {TIMEOUT:g} s") from None
            if isinstance(item, Exception):
                reason = getattr(item, "reason", None)  # what an URLError wraps
                raise _MirrorError(one_line(reason if isinstance(reason, Exception) else item))
            chunk, total = item
            done += len(chunk)
            if done > max_bytes:
                raise _MirrorError(f"sends more than {max_bytes:,} bytes")
            if not chunk:
                if done < total:
                    raise _MirrorError(f"ended after {done:,} of {total:,} bytes")
                return
            if done >= due:
                due, deadline = done + MIN_BYTES, time.monotonic() + TIMEOUT
            yield chunk, total
    finally:
        given_up.set()


def _unpack_cifar10(packed: Path, folder: Path) -> None:
    """Write the batches in torchvision's archive into ``folder``, and nothing else."""
    try:
        with tarfile.open(packed) as archive:
            members = archive.getmembers()
            for member in members:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                    raise CnnzooError(
                        f"{packed} is not safe to unpack: it holds {member.name!r}, a link or a path out of it."
                    )
            wanted = {f"{_CIFAR10}/{name}" for name in _cifar10_files()}
            (folder / _CIFAR10).mkdir(exist_ok=True)
            for member in members:
                if member.name in wanted and (content := archive.extractfile(member)):
                    with content, (folder / member.name).open("wb") as out:
                        shutil.copyfileobj(content, out)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise CnnzooError(f"{packed} cannot be unpacked ({one_line(error)}). Remove it.") from error


def _ways_to_get(spec: DatasetSpec, data_dir: Path) -> str:
    """Return three ways to get a dataset, on one line."""
    folder = data_dir if spec.name == "cifar10" else data_dir / spec.torchvision / "raw"
    ways = [
        *spec.by_hand,
        f"put the files that torchvision.datasets.{spec.torchvision} downloads into {folder}",
        "point --data-dir at a folder that has them",
        f"where there is a network: cnnzoo data fetch {spec.name}",
    ]
    return "Ways to get it: " + "; ".join(f"({number}) {way}" for number, way in enumerate(ways[:3], 1)) + "."


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
