"""Rows 32 to 42 as a person meets them: one line, exit 1, and nothing left behind. The readers' own tests go deeper."""

import io
import json
import re
import struct
import tarfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnzoo.data.named.catalog import SAMPLE
from tests.conftest import Command
from tests.data.named.test_locate import (
    Mirror,
    cifar10,
    cifar10_archive,
    cifar10_files,
    fashion,
    link,
    mirror,
    put,
    register,
)
from tests.faults.shared import assert_refused
from tests.helpers import contents, rows

__all__ = ["cifar10", "fashion", "mirror"]


def picture(path: Path, shade: int = 0, size: tuple[int, int] = (16, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 255 - shade, 9)).save(path)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A tree of ten cats and ten dogs."""
    for label in ("cat", "dog"):
        for number in range(10):
            picture(tmp_path / "pets" / label / f"{number}.png", 20 * number + (label == "dog"))
    return tmp_path / "pets"


TRAIN_PETS = ("train", "lenet", "--dataset", "folder:pets", "--epochs", "1", "--name", "r")


def refuse(
    command: Command, tmp_path: Path, *parts: str, args: tuple[str, ...] = TRAIN_PETS, code: int = 1
) -> None:
    """The command is refused in one line with ``parts``, and the folder stays as it is, without a run."""
    before = contents(tmp_path)
    refused = command(*args)
    assert_refused(refused, *parts, code=code)
    assert refused.out == ""
    assert contents(tmp_path) == before
    assert not (tmp_path / "runs").exists()


# Datasets of others


def test_row_32_a_mirror_that_refuses_ends_soon_with_the_ways_to_get_the_data(
    command: Command, tmp_path: Path, mirror: Mirror
) -> None:
    mirror.offered.clear()
    started = time.monotonic()
    named = ("train", "lenet", "--dataset", "fashionmnist", "--data-dir", "data")
    assert_refused(command(*named), "Fashion-MNIST is not on this machine.", "404", "(1) ", "(2) ", "(3) ")
    assert time.monotonic() - started < 30
    assert contents(tmp_path) == {}
    assert not (tmp_path / "runs").exists()


def test_row_33_a_download_with_a_wrong_checksum_is_tried_twice_and_removed(
    command: Command, tmp_path: Path, mirror: Mirror
) -> None:
    name = "train-labels-idx1-ubyte.gz"
    whole = mirror.offered[name]
    assert isinstance(whole, bytes)
    mirror.offered[name] = whole[:-1] + bytes([whole[-1] ^ 1])
    refused = command("data", "fetch", "fashionmnist", "--data-dir", "data")
    assert_refused(refused, name, "wrong checksum")
    assert mirror.asked.count(name) == 2
    assert not [path for path in contents(tmp_path) if name in path]
    mirror.offered[name] = whole
    assert command("data", "fetch", "fashionmnist", "--data-dir", "data").code == 0


def test_row_34_half_a_file_of_a_download_that_was_killed_is_never_trained_on(
    command: Command, tmp_path: Path, mirror: Mirror, fashion: dict[str, bytes]
) -> None:
    folder = tmp_path / "data" / "FashionMNIST" / "raw"
    put(folder, fashion, packed=True)
    damaged = folder / "train-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    (folder / "t10k-images-idx3-ubyte.gz").rename(folder / "t10k-images-idx3-ubyte.gz.part")
    done = command("data", "fetch", "fashionmnist", "--data-dir", "data")
    assert done.code == 0
    assert sorted(mirror.asked) == ["t10k-images-idx3-ubyte.gz", "train-images-idx3-ubyte.gz"]
    assert not list(folder.glob("*.part"))
    assert command("data", "verify", "fashionmnist", "--data-dir", "data").code == 0


@pytest.mark.parametrize(
    "member",
    [
        (tarfile.TarInfo("../outside"), b"!"),
        (tarfile.TarInfo("/tmp/outside-of-cnnzoo"), b"!"),
        (link("cifar-10-batches-py/data_batch_1", "../../outside", tarfile.SYMTYPE), b""),
    ],
    ids=["upwards", "absolute", "link"],
)
def test_row_35_an_archive_that_reaches_out_of_its_folder_is_refused(
    command: Command, tmp_path: Path, cifar10: object, member: tuple[tarfile.TarInfo, bytes]
) -> None:
    assert callable(cifar10)
    cifar10(cifar10_archive(cifar10_files(), member))
    refused = command("train", "lenet", "--dataset", "cifar10", "--data-dir", "data/deep")
    assert_refused(refused, "is not safe to unpack: it holds ", "a link or a path out of it")
    assert not list(tmp_path.rglob("outside*"))
    assert not Path("/tmp/outside-of-cnnzoo").exists()
    assert not (tmp_path / "runs").exists()


# Folders of one's own


def png(width: int, height: int, pixels: bytes) -> bytes:
    """A PNG whose header says what one likes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


def cut(kind: str) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


BROKEN = {"cut.png": cut("PNG"), "cut.jpg": cut("JPEG"), "empty.png": b"", "text.jpeg": b"no picture\n"}


@pytest.mark.parametrize("name", BROKEN)
def test_row_36_a_broken_image_is_named_and_can_be_left_out(
    command: Command, tmp_path: Path, name: str
) -> None:
    for tree in ("train", "test"):
        for label in ("cat", "dog"):
            for number in range(5):
                shade = 30 * number + len(tree) + 15 * (label == "cat")
                picture(tmp_path / "split" / tree / label / f"{number}.png", shade)
    (tmp_path / "split" / "train" / "cat" / name).write_bytes(BROKEN[name])
    split = ("train", "lenet", "--dataset", "folder:split", "--epochs", "1", "--name", "r")
    refuse(
        command,
        tmp_path,
        f"split/train/cat/{name} cannot be read as an image",
        "--skip-bad-images",
        args=split,
    )

    done = command(*split, "--skip-bad-images")
    assert done.code == 0
    assert done.err == (
        f"Warning: 1 of 11 training images cannot be read and is left out: train/cat/{name}.\n"
    )
    assert len(rows(tmp_path / "runs" / "r")) == 1


@pytest.mark.parametrize("own", [True, False])
def test_row_36_eval_counts_and_names_test_images_that_cannot_be_read(
    command: Command, tmp_path: Path, own: bool
) -> None:
    for tree in ("train", "test"):
        for label in ("cat", "dog"):
            for number in range(12):
                picture(tmp_path / "split" / tree / label / f"{number:02}.png", 20 * number + len(tree))
    train = (
        "train",
        "lenet",
        "--dataset",
        "folder:split",
        "--epochs",
        "1",
        "--name",
        "r",
        "--skip-bad-images",
    )
    assert command(*train).code == 0
    for number in range(12):
        (tmp_path / "split" / "test" / "cat" / f"{number:02}.png").write_bytes(b"")
    if not own:
        (tmp_path / "split" / "test").rename(tmp_path / "other")
    done = command("eval", "r", "--format", "json", *(() if own else ("--dataset", "other")))
    assert done.code == 0, done
    first = [f"{'test/' if own else ''}cat/{number:02}.png" for number in range(10)]
    assert f"12 of 24 test images cannot be read and are left out: {', '.join(first)} and 2 more." in done.err
    found = json.loads(done.out)
    assert (found["num_images"], found["num_unreadable"], found["unreadable"]) == (12, 12, first)
    assert found["num_left_out"] == 0
    assert "no images of cat" in command("eval", "r", *(() if own else ("--dataset", "other"))).out


def test_row_36_validation_images_that_cannot_be_read_are_counted_apart(
    command: Command, tmp_path: Path
) -> None:
    for tree, num in (("train", 6), ("val", 4), ("test", 2)):
        for label in ("cat", "dog"):
            for number in range(num):
                shade = 20 * number + len(tree) + 10 * (label == "cat")
                picture(tmp_path / "split" / tree / label / f"{number}.png", shade)
    for file in ("train/dog/1.png", "val/cat/2.png", "val/cat/3.png"):
        (tmp_path / "split" / file).write_bytes(b"")
    done = command("train", "lenet", "-d", "split", "--epochs", "1", "--name", "r", "--skip-bad-images")
    assert done.err == (
        "Warning: 1 of 12 training images cannot be read and is left out: train/dog/1.png. "
        "2 of 8 validation images cannot be read and are left out: val/cat/2.png, val/cat/3.png.\n"
    )
    found = json.loads(command("eval", "r", "--split", "val", "--format", "json").out)
    assert (found["num_images"], found["num_unreadable"]) == (6, 2)


def test_row_37_a_decompression_bomb_is_named_and_not_unpacked(
    command: Command, tmp_path: Path, pets: Path
) -> None:
    for picture_file in (pets / "cat").iterdir():  # whichever are kept for the test
        picture_file.write_bytes(png(60_000, 60_000, bytes(1000)))
    refuse(
        command,
        tmp_path,
        "pets/cat/",
        ".png would unpack to more than 100 million pixels.",
        "--skip-bad-images",
    )


def test_row_38_an_empty_class_is_named(command: Command, tmp_path: Path, pets: Path) -> None:
    (pets / "eel").mkdir()
    refuse(command, tmp_path, "the class folder pets/eel has no images. Put some into it, or remove it.")


def test_row_38_train_and_test_with_different_classes_are_named(
    command: Command, tmp_path: Path, pets: Path
) -> None:
    (tmp_path / "split").mkdir()
    pets.rename(tmp_path / "split" / "train")
    for label in ("cat", "dgo"):
        picture(tmp_path / "split" / "test" / label / "0.png")
    args = ("train", "lenet", "--dataset", "folder:split")
    refuse(
        command,
        tmp_path,
        "split/test has classes that split/train does not have: dgo. Give the training part",
        args=args,
    )


def test_row_39_a_label_that_is_no_class_is_refused_before_training(
    command: Command, tmp_path: Path, fashion: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "train-labels-idx1-ubyte"
    wrong = {**fashion, name: fashion[name][:-1] + b"\x0a"}
    put(tmp_path / "data", register(monkeypatch, "fashionmnist", wrong))
    args = ("train", "lenet", "--dataset", "fashionmnist", "--data-dir", "data")
    refuse(
        command,
        tmp_path,
        "data has no labels, or some outside 0 to 9. Put the files of fashionmnist back there: ",
        args=args,
    )


@pytest.mark.parametrize(("model", "size", "least"), [("lenet", 11, 12), ("alexnet", 66, 67)])
def test_row_40_an_image_smaller_than_the_net_allows_names_the_minimum(
    command: Command, tmp_path: Path, pets: Path, model: str, size: int, least: int
) -> None:
    args = ("train", model, "--dataset", "folder:pets", "--image-size", str(size))
    refuse(command, tmp_path, f"images of {size}", "too small", f"at least {least}", args=args)
    least_is_enough = command("summary", model, "--image-size", str(least))
    assert (least_is_enough.code, least_is_enough.err) == (0, "")


def test_row_41_pictures_of_every_kind_train_together(command: Command, tmp_path: Path) -> None:
    for seed, label in enumerate(("cat", "dog")):
        noise = np.random.default_rng(seed).integers(0, 256, (20, 30, 4), dtype=np.uint8)
        color = Image.fromarray(noise[..., :3])
        kinds = {
            "grey.png": color.convert("L"),
            "rgba.png": Image.fromarray(noise),
            "palette.gif": color.convert("P"),
            "one bit.png": color.convert("1"),
            "sixteen bits.png": Image.fromarray(noise[..., 0].astype(np.uint16) * 257),
            "cmyk.jpg": color.convert("CMYK"),
            "turned.jpg": color,
        }
        color.getexif()[0x0112] = 6  # turned by a quarter
        (tmp_path / "pets" / label).mkdir(parents=True)
        for name, image in kinds.items():
            image.save(tmp_path / "pets" / label / name, exif=color.getexif())
    done = command(*TRAIN_PETS)
    assert (done.code, done.err) == (0, "")
    assert "3x28x28" in done.out


def test_row_42_too_few_images_for_a_test_set_are_refused(command: Command, tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        picture(tmp_path / "pets" / label / "only.png")
    refuse(
        command,
        tmp_path,
        "pets has too few images of dog: which are kept for the test depends on their names",
    )


def test_row_42_too_few_images_for_the_validation_split_are_refused(command: Command, tmp_path: Path) -> None:
    for label, shade in (("cat", 1), ("dog", 2)):
        for part in ("train", "test"):
            picture(tmp_path / "pets" / part / label / "only.png", shade + 100 * (part == "test"))
    refuse(
        command,
        tmp_path,
        "a validation share of 0.2 cannot be kept of 2 images. Add images: no class has two",
    )


@pytest.mark.parametrize("share", ["0.01", "0.99"])
def test_row_42_any_share_leaves_an_image_of_each_class_to_train_and_to_validate_on(
    command: Command, pets: Path, share: str
) -> None:
    done = command(*TRAIN_PETS, "--val-split", share)
    assert (done.code, done.err) == (0, "")
    sides = re.search(r"(\d+) to train on, (\d+) to validate", done.out)
    assert sides
    assert min(map(int, sides.groups())) == 2


def test_row_42_the_sample_is_too_small_for_a_millionth(command: Command, tmp_path: Path) -> None:
    args = ("train", "lenet", "--dataset", SAMPLE, "--val-split", "1e-6")
    refuse(command, tmp_path, "a validation share of 1e-06 cannot be kept of 6000 images", args=args)
