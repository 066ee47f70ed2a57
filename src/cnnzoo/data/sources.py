"""Find a dataset on disk, or download and verify it; read its files."""

import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnzoo.data.datasets import DATASETS, IDX_FILES, DatasetSpec
from cnnzoo.errors import CnnzooError, one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

Progress = Callable[[str, int, int], None]
"""Called with what is going on, how much is done and how much there is (bytes or images)."""

TIMEOUT = 10.0
"""Seconds that a mirror may stay silent."""


class DatasetUnavailableError(CnnzooError):
    """A named dataset is not on this machine and cannot be downloaded."""


class _DamagedError(CnnzooError):
    """A file is not what its dataset's authors published."""


@dataclass(frozen=True)
class Arrays:
    """One split, in memory.

    Attributes:
        images: uint8 ``(N, C, H, W)``.
        labels: int64 ``(N,)``.
        location: The folder that it was read from.
        sha256: Of the unpacked images and labels.
    """

    images: "NDArray[np.uint8]"
    labels: "NDArray[np.int64]"
    location: Path
    sha256: str


def default_data_dir() -> Path:
    """Return ``$CNNZOO_DATA``, else the user's cache folder as the platform has it."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("CNNZOO_DATA") or user_cache_path("cnnzoo", appauthor=False))


def load_arrays(spec: DatasetSpec, split: str, data_dir: Path | None, progress: Progress) -> Arrays:
    """Return one split of a named dataset: found on this machine, else downloaded into ``data_dir``.

    Raises:
        DatasetUnavailableError: It is neither here nor to be had; the message names the ways to get it.
        CnnzooError: It is here but damaged, and cannot be downloaded again.
    """
    data_dir = data_dir or default_data_dir()
    found, damaged = _find(spec, split, data_dir)
    if found is None and spec.torchvision:
        try:
            fetch(spec, data_dir, progress)
        except CnnzooError as error:
            raise DatasetUnavailableError(" ".join([*damaged, str(error)])) from error
        found, damaged = _find(spec, split, data_dir)
    if found is None:
        raise CnnzooError(
            " ".join(damaged) or f"{spec.title} is missing from the package. Install cnnzoo again."
        )
    return found


def verify(spec: DatasetSpec, data_dir: Path | None) -> list[Arrays]:
    """Return both splits as they are on this machine, every file checked; nothing is downloaded.

    Raises:
        CnnzooError: A file is missing or damaged.
    """
    splits = []
    for split in IDX_FILES:
        found, damaged = _find(spec, split, data_dir or default_data_dir())
        if found is None:
            raise CnnzooError(
                " ".join(damaged)
                or f"{spec.name} is not on this machine. Get it: cnnzoo data fetch {spec.name}"
            )
        splits.append(found)
    return splits


def locate(spec: DatasetSpec, data_dir: Path | None) -> tuple[Path, int] | None:
    """Return the folder that holds the whole dataset and the bytes it takes there; None if there is none."""
    for folder in _folders(spec, data_dir or default_data_dir()):
        paths = [p for split in IDX_FILES for p in _files(spec, split, folder)]
        if len(paths) == _files_of(spec):
            return folder, sum(path.stat().st_size for path in paths)
    return None


# Where things lie


def _folders(spec: DatasetSpec, data_dir: Path) -> Iterator[Path]:
    """Yield the folders to look into, in order: torchvision's layout, bare files, the system's."""
    if spec.torchvision:
        yield data_dir / spec.torchvision / "raw"
        yield data_dir / spec.name
        yield data_dir / "raw"
        yield data_dir
    yield from spec.folders


def _files_of(spec: DatasetSpec) -> int:
    return 7 if spec.name == "cifar10" else 4


def _files(spec: DatasetSpec, split: str, folder: Path) -> list[Path]:
    """Return the files of a split that are in ``folder``, packed or not."""
    if spec.name == "cifar10":
        import torchvision

        batches = (
            torchvision.datasets.CIFAR10.train_list
            if split == "train"
            else torchvision.datasets.CIFAR10.test_list
        )
        names = [name for name, _ in batches] + (["batches.meta"] if split == "test" else [])
        base = folder / torchvision.datasets.CIFAR10.base_folder
        return [base / name for name in names if (base / name).is_file()]
    choices = [(folder / name, folder / f"{name}.gz") for name in IDX_FILES[split]]
    return [next(p for p in pair if p.is_file()) for pair in choices if any(p.is_file() for p in pair)]


def _find(spec: DatasetSpec, split: str, data_dir: Path) -> tuple[Arrays | None, list[str]]:
    """Return the first whole copy of a split, and what is wrong with the copies before it."""
    damaged: list[str] = []
    for folder in _folders(spec, data_dir):
        try:
            if spec.name == "cifar10":
                if len(_files(spec, split, folder)) == (5 if split == "train" else 2):
                    return _read_cifar10(split, folder), damaged
            elif len(paths := _files(spec, split, folder)) == 2:
                return _read_pair(spec, split, paths), damaged
        except _DamagedError as error:
            damaged.append(str(error))
    return None, damaged


# Reading


def _read_pair(spec: DatasetSpec, split: str, paths: list[Path]) -> Arrays:
    contents = [_unpack(path) for path in paths]
    for path, content, name in zip(paths, contents, IDX_FILES[split], strict=True):
        _check(spec, name, path, content)
    images, labels = (parse_idx(content, path) for content, path in zip(contents, paths, strict=True))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise _DamagedError(f"{paths[0]} and {paths[1].name} do not belong together. Remove both.")
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return Arrays(images[:, None], labels.astype(np.int64), paths[0].parent, digest.hexdigest())


def _check(spec: DatasetSpec, name: str, path: Path, content: bytes) -> None:
    """Refuse a file that is not the published one: by its contents where their sum is known, else packed."""
    actual = hashlib.sha256(content).hexdigest()
    if name in spec.sha256:
        genuine = actual == spec.sha256[name]
    elif spec.torchvision and path.suffix == ".gz":
        genuine = (
            hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == _downloads(spec)[path.name]
        )
    else:
        genuine = all(actual != other.sha256.get(name) for other in DATASETS.values())
    if not genuine:
        raise _DamagedError(
            f"{path} is not the published file of {spec.title} (its checksum differs). Remove it and fetch it again."
        )


def _unpack(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise _DamagedError(
            f"{path} cannot be read ({one_line(error)}). Remove it and fetch it again."
        ) from error


def read_idx(path: Path) -> "NDArray[np.uint8]":
    """Read an IDX file of bytes, packed (``.gz``) or not.

    Raises:
        CnnzooError: It is none, or cut short.
    """
    return parse_idx(_unpack(path), path)


def parse_idx(content: bytes, path: Path) -> "NDArray[np.uint8]":
    """Return the array in an IDX file's unpacked ``content``: magic number, one big-endian int a side, bytes.

    Raises:
        CnnzooError: It is none, or cut short; the message names ``path``.
    """
    ndim = content[3] if len(content) >= 4 else 0
    body = 4 + 4 * ndim
    shape = np.frombuffer(content[4:body], dtype=">u4").astype(object)  # Python's integers do not overflow
    if content[:3] != b"\0\0\x08" or not 1 <= ndim <= 4 or len(shape) != ndim:
        raise _DamagedError(f"{path} is not an IDX file of bytes. Remove it and fetch it again.")
    if int(np.prod(shape)) != len(content) - body:
        raise _DamagedError(f"{path} is cut short or damaged. Remove it and fetch it again.")
    # A copy, since torch wants memory that it may write to.
    return np.frombuffer(content, dtype=np.uint8, offset=body).reshape(shape.astype(int)).copy()


def _read_cifar10(split: str, folder: Path) -> Arrays:
    from torchvision.datasets import CIFAR10

    try:
        # torchvision compares every batch with its published MD5 before it unpickles any.
        data: Any = CIFAR10(str(folder), train=split == "train", download=False)
    except RuntimeError as error:
        raise _DamagedError(
            f"{folder / CIFAR10.base_folder} is not the published CIFAR-10 (a checksum differs). "
            "Remove it and fetch it again."
        ) from error
    images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
    labels = np.asarray(data.targets, dtype=np.int64)
    digest = hashlib.sha256(images.tobytes() + labels.astype(np.uint8).tobytes())
    return Arrays(images, labels, folder, digest.hexdigest())


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
    return (
        [source.url]
        if spec.name == "cifar10"
        else [f"{mirror.rstrip('/')}/{file}" for mirror in source.mirrors]
    )


def fetch(spec: DatasetSpec, data_dir: Path, progress: Progress) -> Path:
    """Download a dataset into ``data_dir``, in torchvision's layout; files that are there and whole stay.

    Raises:
        CnnzooError: It cannot be had; the message names what was tried and the ways to get it by hand.
    """
    folder = data_dir if spec.name == "cifar10" else data_dir / spec.torchvision / "raw"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, md5 in _downloads(spec).items():
            target = folder / file
            if not (target.is_file() and _md5(target) == md5):
                _download(spec, file, md5, target, progress)
            if target.name.endswith(".tar.gz"):
                with tarfile.open(target) as archive:
                    archive.extractall(folder, filter="data")  # refuses `../`, absolute paths and links out
    except (OSError, tarfile.TarError) as error:
        raise CnnzooError(
            f"cannot write {folder} ({one_line(error)}). Choose another with --data-dir."
        ) from error
    return folder


def _download(spec: DatasetSpec, file: str, md5: str, target: Path, progress: Progress) -> None:
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    tried = []
    part = target.with_name(f"{file}.part")
    for address in _addresses(spec, file):
        for _ in range(2):  # a damaged download is tried once more
            try:
                request = urllib.request.Request(address, headers={"User-Agent": "cnnzoo"})
                with urllib.request.urlopen(request, timeout=TIMEOUT) as answer, part.open("wb") as out:
                    total = int(answer.headers.get("Content-Length") or 0)
                    done = 0
                    while chunk := answer.read(1 << 16):
                        out.write(chunk)
                        done += len(chunk)
                        progress(f"Downloading {file}", done, total)
            except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
                part.unlink(missing_ok=True)
                if isinstance(error, OSError) and error.filename == str(part):
                    raise
                why = getattr(error, "reason", error)
                tried.append(f"{address}: {one_line(why) if isinstance(why, BaseException) else why}")
                break
            if _md5(part) == md5:
                part.replace(target)
                return
            part.unlink()
            tried.append(f"{address}: wrong checksum")
    raise CnnzooError(
        f"{spec.title} is not on this machine and could not be downloaded ({'; '.join(tried)}). "
        f"{ways_to_get(spec, target.parent)}"
    )


def ways_to_get(spec: DatasetSpec, folder: Path) -> str:
    """Return the three ways to get a dataset, on one line."""
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
