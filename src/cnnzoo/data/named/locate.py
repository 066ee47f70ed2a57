"""Find a named dataset on this machine, else have it downloaded."""

import os
from collections.abc import Iterator
from pathlib import Path

from cnnzoo.data import Progress
from cnnzoo.data.named.catalog import DatasetSpec
from cnnzoo.data.named.download import fetch
from cnnzoo.data.named.formats import FORMATS, Arrays, DamagedError, read_own
from cnnzoo.errors import CnnzooError
from cnnzoo.files import cache_folder, expanded


class DatasetUnavailableError(CnnzooError):
    """A named dataset is not on this machine and cannot be downloaded."""


def default_data_dir() -> Path:
    """Return ``$CNNZOO_DATA``, else the user's cache folder as the platform has it."""
    return Path(os.environ.get("CNNZOO_DATA") or cache_folder())


def load_arrays(spec: DatasetSpec, split: str, data_dir: Path | None, progress: Progress) -> Arrays:
    """Return one split of a named dataset: found on this machine, else downloaded into ``data_dir``.

    Raises:
        DatasetUnavailableError: It is neither here nor to be had; the message names the ways to get it.
        CnnzooError: The sample that ships with cnnzoo is not whole.
    """
    if spec.read is not None:
        return read_own(spec, split)
    data_dir = _data_dir(data_dir)
    found, damaged = _find(spec, split, data_dir)
    if found is None and spec.torchvision:
        try:
            fetch(spec, data_dir, progress)
        except CnnzooError as error:
            here = damaged or [f"{spec.title} is not on this machine."]
            raise DatasetUnavailableError(
                " ".join([*here, str(error), _ways_to_get(spec, data_dir)])
            ) from error
        found, damaged = _find(spec, split, data_dir)
    if found is None:
        raise _missing(spec, data_dir, damaged)
    return found


def verify_dataset(spec: DatasetSpec, data_dir: Path | None) -> tuple[Arrays, Arrays]:
    """Return the training and test images as they are on this machine; nothing is downloaded.

    Raises:
        DatasetUnavailableError: They are missing.
        CnnzooError: No copy of them is what was published.
    """

    def read(split: str) -> Arrays:
        if spec.read is not None:
            return read_own(spec, split)
        found, damaged = _find(spec, split, _data_dir(data_dir))
        if found is None:
            raise _missing(spec, _data_dir(data_dir), damaged)
        return found

    return read("train"), read("test")


def locate(spec: DatasetSpec, data_dir: Path | None) -> tuple[Path, int] | None:
    """Return the folder that holds a dataset, whole, and the bytes it takes there; None if there is none."""
    try:
        train, test = verify_dataset(spec, data_dir)
    except CnnzooError:
        return None
    return train.location, train.num_bytes + test.num_bytes


# Where things lie


def _data_dir(data_dir: Path | None) -> Path:
    return expanded(data_dir or default_data_dir())  # no shell expands --data-dir=~/data


def _folders(spec: DatasetSpec, data_dir: Path) -> Iterator[Path]:
    """Yield the folders to look into, in order: torchvision's layout, bare files, the system's.

    What torchvision does not know is looked for first where it lies without anybody having to fetch it.
    """
    if spec.torchvision:
        yield data_dir / spec.torchvision / "raw"
        yield data_dir / spec.name
        yield data_dir / "raw"
        yield data_dir
        yield from spec.folders
    else:
        yield from spec.folders
        yield data_dir / spec.name
        yield data_dir


def _find(spec: DatasetSpec, split: str, data_dir: Path) -> tuple[Arrays | None, list[str]]:
    """Return the first genuine copy of a split; where there is none, what is wrong with the others."""
    read = FORMATS[spec.format].read
    damaged: list[str] = []
    for folder in _folders(spec, data_dir):
        try:
            if found := read(spec, split, folder):
                return found, []
        except DamagedError as error:
            damaged.append(str(error))
    return None, damaged


def _missing(spec: DatasetSpec, data_dir: Path, damaged: list[str]) -> CnnzooError:
    """Return the error for a dataset of which no genuine copy was found."""
    what = " ".join(damaged) or f"{spec.title} is not on this machine."
    if spec.torchvision:
        how = f"Get it: cnnzoo data fetch {spec.name}"
    elif spec.folders:  # it ships with cnnzoo
        how = "Install cnnzoo again."
    else:
        folder = FORMATS[spec.format].folder(spec, data_dir)
        how = f"Put its files into {folder}, or point --data-dir at a folder that has them."
    return (CnnzooError if damaged else DatasetUnavailableError)(f"{what} {how}")


def _ways_to_get(spec: DatasetSpec, data_dir: Path) -> str:
    """Return three ways to get a dataset, on one line."""
    folder = FORMATS[spec.format].folder(spec, data_dir)
    ways = [
        *spec.by_hand,
        f"put the files that torchvision.datasets.{spec.torchvision} downloads into {folder}",
        "point --data-dir at a folder that has them",
        f"where there is a network: cnnzoo data fetch {spec.name}",
    ]
    return "Ways to get it: " + "; ".join(f"({number}) {way}" for number, way in enumerate(ways[:3], 1)) + "."
