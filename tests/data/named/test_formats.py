"""Formats of named datasets: CIFAR-100, SVHN, and files that torchvision does not know."""

import hashlib
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torchvision

from cnnzoo.data.named import catalog
from cnnzoo.data.named.catalog import DATASETS, DatasetSpec
from cnnzoo.data.named.formats import FORMATS, Arrays, Format
from cnnzoo.data.named.locate import DatasetUnavailableError, load_arrays, locate, verify_dataset
from cnnzoo.errors import CnnzooError
from tests.conftest import Command


def load(spec: DatasetSpec, split: str, folder: Path) -> Arrays:
    return load_arrays(spec, split, folder, lambda *_: None)


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_cifar100_is_read_by_its_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(0)
    pixels = {name: numbers.integers(0, 256, (3, 3072), dtype=np.uint8) for name in ("train", "test")}
    files = {
        name: pickle.dumps({"data": rows, "fine_labels": [0, 99, 42], "coarse_labels": [1, 2, 3]}, protocol=2)
        for name, rows in pixels.items()
    }
    files["meta"] = pickle.dumps({"fine_label_names": ["apple"]}, protocol=2)
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    source = torchvision.datasets.CIFAR100
    monkeypatch.setattr(source, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(source, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": sums["meta"]})
    write(tmp_path / "cifar-100-python", files)
    spec = DATASETS["cifar100"]
    for split in ("train", "test"):
        found = load(spec, split, tmp_path)
        assert found.images.tobytes() == pixels[split].tobytes()
        assert found.labels.tolist() == [0, 99, 42]
    assert (len(spec.classes), spec.classes[0], spec.classes[99]) == (100, "apple", "worm")
    assert locate(spec, tmp_path) == (tmp_path / "cifar-100-python", sum(map(len, files.values())))
    write(tmp_path / "cifar-100-python", {"test": files["test"][:-1] + b"!"})
    with pytest.raises(CnnzooError, match="checksum"):
        verify_dataset(spec, tmp_path)


def test_svhn_is_read_from_its_mat_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    numbers = np.random.default_rng(0)
    images = {split: numbers.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8) for split in ("train", "test")}
    source = torchvision.datasets.SVHN
    known = dict(source.split_list)
    for split, pixels in images.items():
        path = tmp_path / f"{split}_32x32.mat"
        # As its authors have it: (H, W, C, N), and a 10 for the digit 0.
        savemat(path, {"X": pixels.transpose(2, 3, 1, 0), "y": np.array([[10], [1], [9], [5]], np.uint8)})
        known[split] = [known[split][0], path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(source, "split_list", known)
    for split, pixels in images.items():
        found = load(DATASETS["svhn"], split, tmp_path)
        assert found.images.tobytes() == pixels.tobytes()
        assert found.labels.tolist() == [0, 1, 9, 5]
    with (tmp_path / "test_32x32.mat").open("ab") as file:
        file.write(b"!")
    with pytest.raises(CnnzooError, match="checksum"):
        verify_dataset(DATASETS["svhn"], tmp_path)


@pytest.mark.parametrize("name", [name for name, spec in DATASETS.items() if spec.torchvision])
def test_every_file_of_torchvisions_has_an_address_and_a_checksum(name: str) -> None:
    spec = DATASETS[name]
    layout = FORMATS[spec.format]
    downloads = layout.downloads(spec)
    assert downloads
    for file, md5 in downloads.items():
        assert len(md5) == 32
        assert all(address.endswith(file) for address in layout.addresses(spec, file))
        assert list(layout.addresses(spec, file))


# What torchvision does not know


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


SPEC = DatasetSpec(
    "blobs", "Blobs", ("dark", "light"), channels=1, image_size=28, num_train=40, num_test=20, megabytes=0
)


@pytest.fixture
def blobs(monkeypatch: pytest.MonkeyPatch) -> DatasetSpec:
    """A spec alone, in torchvision's place."""
    monkeypatch.setitem(catalog.DATASETS, SPEC.name, SPEC)
    return SPEC


def blob_files() -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for part, num in (("train", 40), ("t10k", 20)):
        labels = (np.arange(num) % 2).astype(np.uint8)
        images = (labels[:, None, None] * 200 + np.zeros((num, 28, 28))).astype(np.uint8)
        files |= {f"{part}-images-idx3-ubyte": idx(images), f"{part}-labels-idx1-ubyte": idx(labels)}
    return files


@pytest.mark.parametrize("place", ["blobs", "."])
def test_a_dataset_that_torchvision_does_not_know_is_looked_for_in_the_data_folder(
    command: Command, tmp_path: Path, blobs: DatasetSpec, place: str
) -> None:
    write(tmp_path / "data" / place, blob_files())
    line = ("--dataset", "blobs", "--data-dir", "data", "--epochs", "1", "--name", "r")
    trained = command("train", "lenet", *line)
    assert (trained.code, trained.err) == (0, "")
    assert "32 to train on, 8 to validate" in trained.out
    assert "20 test images of blobs" in command("eval", "r").out
    listing = command("data", "--data-dir", "data").out
    assert str(Path("data") / place) in next(
        line for line in listing.splitlines() if line.startswith("blobs")
    )


def test_where_it_is_not_there_one_line_says_where_to_put_it(
    command: Command, tmp_path: Path, blobs: DatasetSpec
) -> None:
    refused = command("train", "lenet", "--dataset", "blobs", "--data-dir", "data")
    assert refused.code == 1
    assert refused.err == (
        "Error: Blobs is not on this machine. Put its files into data/blobs, or point --data-dir at a folder that has "
        "them.\n"
    )
    fetched = command("data", "fetch", "blobs", "--data-dir", "data")
    assert (fetched.code, fetched.err) == (1, refused.err)


def test_a_format_needs_nothing_but_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(spec: DatasetSpec, split: str, folder: Path) -> Arrays | None:
        path = folder / f"{spec.name}.npz"
        if not path.is_file():
            return None
        with np.load(path) as arrays:
            images, labels = arrays[f"{split}_x"], arrays[f"{split}_y"]
        return Arrays(images, labels, folder, path.stat().st_size, hashlib.sha256(images.data).hexdigest())

    monkeypatch.setitem(FORMATS, "npz", Format(read))
    spec = DatasetSpec(
        "digits", "Digits", ("0", "1"), 1, 16, num_train=2, num_test=1, megabytes=0, format="npz"
    )
    with pytest.raises(DatasetUnavailableError, match="Put its files into"):
        load(spec, "train", tmp_path)
    (tmp_path / "digits").mkdir()
    np.savez(
        tmp_path / "digits" / "digits.npz",
        train_x=np.zeros((2, 1, 16, 16), np.uint8),
        train_y=np.array([0, 1]),
        test_x=np.ones((1, 1, 16, 16), np.uint8),
        test_y=np.array([1]),
    )
    assert load(spec, "train", tmp_path).labels.tolist() == [0, 1]
    assert load(spec, "test", tmp_path).images.max() == 1
