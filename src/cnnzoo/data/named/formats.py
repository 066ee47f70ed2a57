"""The files of the named datasets: which there are, whether they are what was published, and how to read them."""

import gzip
import hashlib
import math
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnzoo.data.named.catalog import DATASETS, IDX_FILES, DatasetSpec
from cnnzoo.errors import CnnzooError, one_line
from cnnzoo.registries import import_torchvision

if TYPE_CHECKING:
    from numpy.typing import NDArray


MAX_UNPACKED = 1 << 26
"""Bytes of the largest IDX file that is read. The largest of these datasets has 47 million; a bomb has more."""


class DamagedError(CnnzooError):
    """A file is not what its dataset's authors published."""


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


def read_pair(spec: DatasetSpec, split: str, folder: Path) -> Arrays | None:
    """Return a split from its two IDX files; None if ``folder`` does not have both."""
    files = [genuine(spec, folder, name) for name in IDX_FILES[split]]
    if None in files:
        return None
    (images_path, pixels), (labels_path, answers) = (file for file in files if file)
    images, labels = parse_idx(pixels, images_path), parse_idx(answers, labels_path)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DamagedError(f"{images_path} and {labels_path.name} do not belong together.")
    digest = hashlib.sha256(pixels)
    digest.update(answers)
    num_bytes = images_path.stat().st_size + labels_path.stat().st_size
    return Arrays(images[:, None], labels.astype(np.int64), folder, num_bytes, digest.hexdigest())


def genuine(spec: DatasetSpec, folder: Path, name: str) -> tuple[Path, bytes] | None:
    """Return the copy of an IDX file in ``folder``, packed or not, that is the published one, and its contents.

    The contents decide where their checksum is known, since packed files differ with the packer. Else only the packed
    file can be told, by torchvision; of a dataset of which no checksum is known, every file is taken.

    Returns:
        None if there is no such file, or only that of another dataset: the MNIST family shares its file names.

    Raises:
        DamagedError: There are copies, but damaged ones.
    """
    damaged = None
    is_known = name in spec.sha256 or bool(spec.torchvision)
    for path in _idx_paths(folder, name):
        if not _is_file(path) or (is_known and name not in spec.sha256 and path.suffix != ".gz"):
            continue
        try:
            content = unpack(path)
        except DamagedError as error:
            damaged = error
            continue
        actual = hashlib.sha256(content).hexdigest()
        if not is_known or (
            actual == spec.sha256[name]
            if name in spec.sha256
            else md5_of(path) == FORMATS[spec.format].downloads(spec).get(f"{name}.gz")
        ):
            return path, content
        if all(actual != other.sha256.get(name) for other in DATASETS.values()):
            damaged = DamagedError(
                f"{path} is not the file that {spec.title} was published with (its checksum differs)."
            )
    if damaged:
        raise damaged
    return None


def _idx_paths(folder: Path, name: str) -> Iterator[Path]:
    """Yield where an IDX file may lie: by its name, or that of 7-Zip and ``gunzip -N``, or in a folder so called."""
    for base in (name, name.replace("-idx", ".idx")):
        yield from (folder / base, folder / f"{base}.gz", folder / base / base)


def unpack(path: Path) -> bytes:
    """Return what is in a file, unpacked if its name ends in .gz.

    Raises:
        DamagedError: It cannot be read, or unpacks to more than any of these datasets has.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MAX_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DamagedError(f"{path} cannot be read ({one_line(error)}).") from error
    if len(content) > MAX_UNPACKED:
        raise DamagedError(f"{path} has more than {MAX_UNPACKED >> 20} MiB, which no such dataset has.")
    return content


def parse_idx(content: bytes, path: Path) -> "NDArray[np.uint8]":
    """Return the array in an IDX file's unpacked ``content``: magic number, one big-endian int a side, bytes.

    Raises:
        CnnzooError: It is none, or cut short; the message names ``path``.
    """
    ndim = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    body = 4 + 4 * ndim
    if not 1 <= ndim <= 4 or len(content) < body:
        raise DamagedError(f"{path} is not an IDX file of bytes.")
    shape = struct.unpack_from(f">{ndim}I", content, 4)
    if 0 in shape or math.prod(shape) != len(content) - body:
        raise DamagedError(f"{path} is cut short or damaged.")
    # A copy, since torch wants memory that it may write to.
    return np.frombuffer(content, dtype=np.uint8, offset=body).reshape(shape).copy()


def read_cifar(spec: DatasetSpec, split: str, folder: Path) -> Arrays | None:
    """Return a split of CIFAR-10 or CIFAR-100; None if ``folder`` does not have all its batches."""
    if not any(folder.glob("cifar-*/*meta")):  # saves importing torchvision
        return None
    source = torchvision_class(spec)
    inside = folder / source.base_folder
    if not all(_is_file(inside / name) for name in _cifar_files(source)):
        return None
    try:
        # torchvision compares every batch with its published MD5 before it unpickles any.
        data: Any = source(str(folder), train=split == "train", download=False)
    except (RuntimeError, OSError) as error:
        raise DamagedError(
            f"{inside} is not {spec.title} as it was published (a checksum differs)."
        ) from error
    images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
    of_test = {name for name, _ in source.test_list}
    names = [name for name in _cifar_files(source) if (name in of_test) == (split == "test")]
    num_bytes = sum((inside / name).stat().st_size for name in names)
    return _checked(images, data.targets, inside, num_bytes)


def _cifar_files(source: Any) -> list[str]:  # noqa: ANN401  (a class of torchvision)
    """Return the names of the batches and of the file that describes them."""
    return [*(name for name, _ in source.train_list + source.test_list), source.meta["filename"]]


def read_svhn(spec: DatasetSpec, split: str, folder: Path) -> Arrays | None:
    """Return a split of SVHN's cropped digits; None if ``folder`` does not have its file."""
    path = folder / f"{split}_32x32.mat"
    if not _is_file(path):
        return None
    source = torchvision_class(spec)
    if md5_of(path) != source.split_list[split][2]:
        raise DamagedError(
            f"{path} is not the file that {spec.title} was published with (its checksum differs)."
        )
    data: Any = source(str(folder), split=split, download=False)
    return _checked(np.ascontiguousarray(data.data), data.labels, folder, path.stat().st_size)


def _checked(images: "NDArray[np.uint8]", labels: object, location: Path, num_bytes: int) -> Arrays:
    """Return a split with the checksum of its images and labels, each label in one byte."""
    numbers = np.asarray(labels, dtype=np.int64)
    digest = hashlib.sha256(images.data)
    digest.update(numbers.astype(np.uint8).data)
    return Arrays(images, numbers, location, num_bytes, digest.hexdigest())


def md5_of(path: Path) -> str:
    """Return a file's MD5, by which torchvision knows the packed ones, as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that this person may not look into
        return False


def _unpack_cifar(spec: DatasetSpec, packed: Path, folder: Path) -> None:
    """Write the batches in torchvision's archive into ``folder``, and nothing else."""
    source = torchvision_class(spec)
    try:
        with tarfile.open(packed) as archive:
            members = archive.getmembers()
            for member in members:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                    raise CnnzooError(
                        f"{packed} is not safe to unpack: it holds {member.name!r}, a link or a path out of it."
                    )
            wanted = {f"{source.base_folder}/{name}" for name in _cifar_files(source)}
            (folder / source.base_folder).mkdir(exist_ok=True)
            for member in members:
                if member.name in wanted and (content := archive.extractfile(member)):
                    with content, (folder / member.name).open("wb") as out:
                        shutil.copyfileobj(content, out)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise CnnzooError(f"{packed} cannot be unpacked ({one_line(error)}). Remove it.") from error


def read_own(spec: DatasetSpec, split: str) -> Arrays:
    """Return a split of a dataset that was registered with a function that reads it.

    Raises:
        CnnzooError: The function returns something else than images and labels.
    """
    assert spec.read is not None
    images, labels = (np.asarray(values) for values in spec.read(split))
    fits = images.dtype == np.uint8 and images.ndim == 4 and images.shape[1] == spec.channels
    if not fits or labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images):
        raise CnnzooError(
            f"what reads {spec.name} gives images {images.dtype} {images.shape} and labels {labels.dtype} "
            f"{labels.shape}, and should give uint8 (N, {spec.channels}, H, W) and whole numbers (N,)."
        )
    images, labels = np.ascontiguousarray(images), labels.astype(np.int64)
    digest = hashlib.sha256(images.data)
    digest.update(labels.data)
    return Arrays(images, labels, Path(spec.name), images.nbytes + labels.nbytes, digest.hexdigest())


def torchvision_class(spec: DatasetSpec) -> Any:  # noqa: ANN401
    """Return torchvision's class of a dataset, which knows its addresses and checksums."""
    return getattr(import_torchvision().datasets, spec.torchvision)


def _is_published(spec: DatasetSpec, path: Path, md5: str) -> bool:
    del spec
    return path.is_file() and md5_of(path) == md5


def _is_published_idx(spec: DatasetSpec, path: Path, md5: str) -> bool:
    """Whether there is such a file, packed or not, in whichever way it was packed."""
    del md5
    try:
        return genuine(spec, path.parent, path.stem) is not None
    except DamagedError:
        return False


@dataclass(frozen=True)
class Format:
    """The layout of a named dataset's files. One that nobody offers for download needs ``read`` alone.

    Attributes:
        read: Returns a split, ``train`` or ``test``, from a folder; None if that does not have it. It raises
            DamagedError where a file there is not what was published.
        folder: From a spec and the data folder to the folder into which files are put.
        downloads: From a spec to the files to download, each with its MD5.
        addresses: From a spec and one of these files to the addresses that offer it.
        is_published: Whether a file, of a spec, is there and is the one with that MD5.
        unpack: Takes out of a downloaded file, of a spec, what is read, into a folder.
    """

    read: Callable[[DatasetSpec, str, Path], Arrays | None]
    folder: Callable[[DatasetSpec, Path], Path] = lambda spec, data_dir: data_dir / spec.name
    downloads: Callable[[DatasetSpec], Mapping[str, str]] = lambda spec: {}
    addresses: Callable[[DatasetSpec, str], Sequence[str]] = lambda spec, file: ()
    is_published: Callable[[DatasetSpec, Path, str], bool] = _is_published
    unpack: Callable[[DatasetSpec, Path, Path], None] = lambda spec, packed, folder: None


def _idx_folder(spec: DatasetSpec, data_dir: Path) -> Path:
    return data_dir / spec.torchvision / "raw" if spec.torchvision else data_dir / spec.name


def _mirrors(spec: DatasetSpec, file: str) -> list[str]:
    return [f"{mirror.rstrip('/')}/{file}" for mirror in torchvision_class(spec).mirrors]


def _svhn_files(spec: DatasetSpec) -> dict[str, tuple[str, str]]:
    """Return the address and the MD5 of each file."""
    splits = (torchvision_class(spec).split_list[split] for split in ("train", "test"))
    return {file: (address, md5) for address, file, md5 in splits}


FORMATS = {
    "idx": Format(
        read=read_pair,
        folder=_idx_folder,
        downloads=lambda spec: dict(torchvision_class(spec).resources) if spec.torchvision else {},
        addresses=_mirrors,
        is_published=_is_published_idx,
    ),
    "cifar": Format(
        read=read_cifar,
        folder=lambda spec, data_dir: data_dir,
        downloads=lambda spec: {torchvision_class(spec).filename: torchvision_class(spec).tgz_md5},
        addresses=lambda spec, file: [torchvision_class(spec).url],
        unpack=_unpack_cifar,
    ),
    "svhn": Format(
        read=read_svhn,
        folder=lambda spec, data_dir: data_dir,
        downloads=lambda spec: {file: md5 for file, (_, md5) in _svhn_files(spec).items()},
        addresses=lambda spec, file: [_svhn_files(spec)[file][0]],
    ),
}
"""How the files of named datasets are laid out, by the name that a spec has in ``format``."""
