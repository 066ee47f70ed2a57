"""Trees of class folders: what counts as an image, how a tree is split, and what a person would see in a picture."""

import io
import shutil
import struct
import time
import zlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from cnnzoo.config import TrainConfig
from cnnzoo.data.datasets import load_dataset, split_validation
from cnnzoo.data.decoding.images import decode_image
from cnnzoo.data.folders import list_files
from cnnzoo.data.listing.listing import Part
from cnnzoo.data.reading import Folder, Reading
from cnnzoo.data.sources import Dataset, Resident, Streamed
from cnnzoo.errors import CnnzooError, UsageError
from tests.helpers import Reporter, load_training_data, patch_internal

PARTS: tuple[Part, ...] = ("train", "test")

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def save(path: Path, color: tuple[int, int, int] | int = RED, size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(color, int) else "RGB", size, color).save(path)
    return path


def tree(root: Path, num: int = 5, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    for name in classes:
        for number in range(num):
            save(root / name / f"{number}.png")
    return root


def load(root: Path, split: Part = "train", image_size: int = 8, *, skip_bad_images: bool = False) -> Dataset:
    reading = Reading(skip_bad_images=skip_bad_images)
    dataset = load_dataset(f"folder:{root}", split, image_size=image_size, reading=reading)
    assert dataset is not None
    return dataset


def open_folder(root: Path, split: Part) -> Folder | None:
    return list_files(f"folder:{root}", Reading()).part(split)


def listed(root: Path, split: Part) -> Folder:
    folder = open_folder(root, split)
    assert folder is not None
    return folder


def names(root: Path, split: Part) -> set[str]:
    return {file.relative_to(root).as_posix() for file in listed(root, split).files}


# The tree


@pytest.mark.parametrize("other", ["test", "val"])
def test_beside_train_either_test_or_val_is_the_test_set(tmp_path: Path, other: str) -> None:
    tree(tmp_path / "train", 3)
    tree(tmp_path / other, 2)
    train, test = listed(tmp_path, "train"), listed(tmp_path, "test")
    assert train.classes == test.classes == ("cat", "dog")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert {file.parents[1].name for file in train.files} == {"train"}
    assert {file.parents[1].name for file in test.files} == {other}
    assert open_folder(tmp_path, "val") is None


def test_with_all_three_val_is_for_validation_and_training_uses_it(tmp_path: Path) -> None:
    tree(tmp_path / "train", 3)
    tree(tmp_path / "val", 2)
    tree(tmp_path / "test", 1)
    assert {file.parents[1].name for file in listed(tmp_path, "val").files} == {"val"}
    assert {file.parents[1].name for file in listed(tmp_path, "test").files} == {"test"}
    config = TrainConfig(model="lenet", dataset=f"folder:{tmp_path}", val_split=0.5)
    _, dataset, train, val = load_training_data(config, 8, Reporter())
    assert dataset.location == tmp_path
    assert (len(train.labels), len(val.labels)) == (6, 4)  # nothing is split off where the tree says what is


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("training", "testing"), ("TRAIN", "Valid")])
def test_other_spellings_of_train_and_test_are_no_classes(tmp_path: Path, train: str, test: str) -> None:
    tree(tmp_path / train, 3)
    tree(tmp_path / test, 2)
    assert listed(tmp_path, "train").classes == ("cat", "dog")
    assert len(listed(tmp_path, "test").files) == 4


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    tree(tmp_path, classes=("bus", "car", "train"))
    assert listed(tmp_path, "train").classes == ("bus", "car", "train")


def test_a_single_tree_keeps_about_a_fifth_of_its_images_for_the_test(tmp_path: Path) -> None:
    tree(tmp_path, 300, ("cat", "dog"))
    train, test = listed(tmp_path, "train"), listed(tmp_path, "test")
    assert 90 < len(test.files) < 150
    assert not names(tmp_path, "train") & names(tmp_path, "test")
    assert len(names(tmp_path, "train") | names(tmp_path, "test")) == 600
    assert all(
        file.parent.name == train.classes[label]
        for file, label in zip(train.files, train.labels, strict=True)
    )
    assert open_folder(tmp_path, "val") is None


def test_an_image_stays_in_its_part_whatever_is_added_or_taken_away(tmp_path: Path) -> None:
    tree(tmp_path, 30)
    train, test = names(tmp_path, "train"), names(tmp_path, "test")
    tree(tmp_path, 60, ("ant", "cat", "dog"))
    assert train < names(tmp_path, "train")
    assert test < names(tmp_path, "test")
    for name in sorted(train)[::3] + sorted(test)[::2]:
        (tmp_path / name).unlink()
    assert names(tmp_path, "train") & test == set()
    assert names(tmp_path, "test") & train == set()


def test_the_split_of_a_tree_moves_with_it_and_other_classes_have_no_part_in_it(tmp_path: Path) -> None:
    tree(tmp_path / "here", 20)
    expected = names(tmp_path / "here", "test")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    tree(tmp_path / "there", 7, ("ape",))
    assert {name for name in names(tmp_path / "there", "test") if "ape" not in name} == expected
    firsts = {f"{name}/{number}.png" for name in ("cat", "dog") for number in range(4)}
    assert expected != firsts  # files are often named in the order of their making


def test_the_seed_moves_the_validation_images_and_never_the_test_images(tmp_path: Path) -> None:
    tree(tmp_path, 20)
    for number, file in enumerate(sorted(tmp_path.rglob("*.png"))):
        save(file, number)
    source, test = load(tmp_path).source, load(tmp_path, "test").source
    assert isinstance(source, Resident)
    assert isinstance(test, Resident)
    kept = [split_validation(source, 0.25, seed)[1] for seed in (0, 0, 1)]
    pictures = [{int(image[0, 0, 0]) for image in val.images} for val in kept if isinstance(val, Resident)]
    assert pictures[0] == pictures[1] != pictures[2]
    assert not {int(image[0, 0, 0]) for image in test.images} & (pictures[0] | pictures[2])


def test_row_42_a_class_of_one_image_has_none_to_test_or_none_to_train_on(tmp_path: Path) -> None:
    tree(tmp_path, 40)
    for file in sorted((tmp_path / "dog").iterdir()):
        if f"dog/{file.name}" in names(tmp_path, "test"):
            kept = file.rename(tmp_path / file.name)
    for file in sorted((tmp_path / "dog").iterdir())[1:]:
        file.unlink()
    (note,) = list_files(f"folder:{tmp_path}", Reading()).notes[1:]
    assert note == "The test part has no images of dog: what eval says is not about them."
    for file in (tmp_path / "dog").iterdir():
        file.unlink()
    kept.rename(tmp_path / "dog" / kept.name)
    with pytest.raises(CnnzooError, match=r"has too few images of dog: .* none is left to train on"):
        open_folder(tmp_path, "train")


def test_row_42_a_class_of_two_images_or_more_has_one_in_each_part_whatever_their_names(
    tmp_path: Path,
) -> None:
    for label in range(60):
        for number in range(2 + label % 3):
            save(tmp_path / f"class{label:02}" / f"{number}.png")
    listing = list_files(f"folder:{tmp_path}", Reading()).listing
    for part in PARTS:
        assert {*listing.counts(part)} == {*listing.classes}
    rows = [f"{file.relative_to(tmp_path)},{file.parent.name}" for file in sorted(tmp_path.rglob("*.png"))]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["file,label", *rows]))
    table_listing = list_files(f"csv:{table}", Reading()).listing
    for part in PARTS:
        assert {*table_listing.parts[part].files} == {*listing.parts[part].files}


def test_row_42_only_the_one_image_that_was_taken_over_changes_sides(tmp_path: Path) -> None:
    def sides() -> dict[tuple[str, str], set[str]]:
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for part in PARTS:
            for name in names(tmp_path, part):
                found[part, name.partition("/")[0]].add(name)
        return found

    tree(tmp_path, 2)
    before, moved = sides(), 0
    for number in range(2, 30):
        tree(tmp_path, number + 1)
        after = sides()
        for label in ("cat", "dog"):
            for one, other in (PARTS, PARTS[::-1]):
                gone = before[one, label] & after[other, label]
                assert gone in (set(), before[one, label])
                assert len(gone) <= 1
                moved += len(gone)
        before = after
    assert moved > 0


@pytest.mark.parametrize("num", [1, 2])
def test_row_42_too_few_images_to_split_validation_from_are_refused(num: int) -> None:
    source = Resident(torch.zeros(num, 1, 8, 8, dtype=torch.uint8), torch.zeros(num, dtype=torch.int64))
    with pytest.raises(CnnzooError, match="cannot be kept of"):
        split_validation(source, 0.2, 0)


def test_row_38_a_tree_that_lacks_something_is_refused_in_one_line_that_names_it(tmp_path: Path) -> None:
    def refusal(root: Path) -> str:
        with pytest.raises(CnnzooError) as raised:
            open_folder(root, "train")
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert str(tmp_path / "nowhere") in refusal(tmp_path / "nowhere")
    (tmp_path / "file.txt").write_text("no folder")
    assert "file.txt" in refusal(tmp_path / "file.txt")
    (tmp_path / "nothing").mkdir()
    assert "no class folders" in refusal(tmp_path / "nothing")
    assert "one class only (cat)" in refusal(tree(tmp_path / "one", classes=("cat",)))
    (tree(tmp_path / "empty") / "bird").mkdir()
    assert str(tmp_path / "empty" / "bird") in refusal(tmp_path / "empty")
    tree(tmp_path / "alone" / "train")
    (tmp_path / "alone" / "train").rename(tmp_path / "alone" / "test")
    assert "test/ only" in refusal(tmp_path / "alone")
    tree(tmp_path / "differ" / "train")
    tree(tmp_path / "differ" / "test", classes=("cat", "Dog"))
    assert "test has classes that" in refusal(tmp_path / "differ")
    assert "train does not have: Dog." in refusal(tmp_path / "differ")


def test_a_folder_without_its_path_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="folder:my_images"):
        load_dataset("folder:", "train", image_size=8)


def test_hidden_files_and_files_that_are_no_images_are_passed_over(tmp_path: Path) -> None:
    tree(tmp_path / "train")
    tree(tmp_path / "test")
    before = names(tmp_path, "train")
    cats = tmp_path / "train" / "cat"
    (cats / "._0.png").write_bytes(b"what macOS leaves on other disks")
    (cats / "Thumbs.db").write_bytes(b"what Windows leaves")
    (cats / "notes.txt").write_text("a cat")
    (cats / "gone.png").symlink_to(tmp_path / "nowhere.png")
    save(cats / ".ipynb_checkpoints" / "0-checkpoint.png")
    save(tmp_path / "train" / ".hidden" / "0.png")
    (cats / "folder.png").mkdir()
    assert names(tmp_path, "train") == before
    save(cats / "kittens" / "0.JPG")
    assert names(tmp_path, "train") == before | {"train/cat/kittens/0.JPG"}


def test_row_48_class_folders_may_be_links_and_names_may_have_spaces_and_any_script(
    tmp_path: Path,
) -> None:
    tree(tmp_path / "elsewhere", 4, ("x",))
    root = tree(tmp_path / "我的 图片", 4, ("小 猫", "-dog", "Übung"))
    (root / "linked").symlink_to(tmp_path / "elsewhere" / "x", target_is_directory=True)
    train = load(root)
    assert train.classes == ("-dog", "linked", "Übung", "小 猫")
    test = load(root, "test")
    assert Counter(train.source.labels.tolist() + test.source.labels.tolist()) == {0: 4, 1: 4, 2: 4, 3: 4}


def test_a_name_that_is_no_utf8_is_read(tmp_path: Path) -> None:
    tree(tmp_path)
    try:
        save(tmp_path / "cat" / "caf\udce9.png")
    except (OSError, UnicodeError):
        pytest.skip("this file system has no such names")
    assert len(load(tmp_path).source.labels) + len(load(tmp_path, "test").source.labels) == 11


def test_the_checksum_of_a_folder_tells_other_images_and_not_another_place(tmp_path: Path) -> None:
    tree(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert load(tmp_path / "a").sha256 == load(tmp_path / "b").sha256
    save(tmp_path / "b" / "cat" / "5.png")
    assert any(load(tmp_path / "a", part).sha256 != load(tmp_path / "b", part).sha256 for part in PARTS)
    assert load(tmp_path / "a").sha256 != load(tmp_path / "a", "test").sha256


# The pictures


def decoded(
    image: Image.Image, path: Path, channels: int = 3, size: int = 8, **options: Any
) -> NDArray[np.int_]:
    image.save(path, **options)
    return decode_image(path, channels, size).astype(int)


def assert_color(pixels: NDArray[np.int_], color: tuple[int, int, int] | int, within: int = 0) -> None:
    expected = np.reshape(color, (-1, 1, 1))
    assert np.abs(pixels - expected).max() <= within, pixels[:, 0, 0]


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "tiff", "ppm"])
def test_row_41_colour_is_read_in_the_channels_that_the_net_wants(tmp_path: Path, suffix: str) -> None:
    picture = Image.new("RGB", (20, 20), (200, 100, 50))
    assert_color(decoded(picture, tmp_path / f"a.{suffix}"), (200, 100, 50), within=3)
    grey = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert_color(decoded(picture, tmp_path / f"b.{suffix}", channels=1), grey, within=3)


def test_grey_is_the_same_in_every_channel(tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert decoded(Image.fromarray(pixels), tmp_path / "a.png").tolist() == [pixels.tolist()] * 3
    assert decoded(Image.fromarray(pixels), tmp_path / "a.png", channels=1).tolist() == [pixels.tolist()]


def test_row_41_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert_color(decoded(clear, tmp_path / "a.png"), WHITE)
    assert_color(decoded(clear, tmp_path / "a.png", channels=1), 255)
    assert_color(decoded(Image.new("RGBA", (8, 8), (255, 0, 0, 255)), tmp_path / "b.png"), RED)
    assert_color(decoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), tmp_path / "c.png"), (127,) * 3, within=1)
    assert_color(decoded(Image.new("LA", (8, 8), (0, 0)), tmp_path / "d.png", channels=1), 255)


@pytest.mark.parametrize("transparency", [0, b"\0\xff"])
def test_row_41_a_palette_is_looked_up_and_its_transparent_colour_is_white(
    tmp_path: Path, transparency: int | bytes
) -> None:
    indices = np.zeros((8, 8), dtype=np.uint8)
    indices[:, 4:] = 1
    picture = Image.fromarray(indices)
    picture.putpalette([*RED, *BLUE])
    opaque = decoded(picture, tmp_path / "a.png")
    assert_color(opaque[:, :, :4], RED)
    assert_color(opaque[:, :, 4:], BLUE)
    see_through = decoded(picture, tmp_path / "b.png", transparency=transparency)
    assert_color(see_through[:, :, :4], WHITE)
    assert_color(see_through[:, :, 4:], BLUE)


def test_a_transparent_colour_of_a_picture_without_a_palette_is_white_too(tmp_path: Path) -> None:
    assert_color(decoded(Image.new("RGB", (8, 8), RED), tmp_path / "a.png", transparency=RED), WHITE)
    assert_color(decoded(Image.new("L", (8, 8), 7), tmp_path / "b.png", channels=1, transparency=7), 255)


def test_row_41_one_bit_is_black_and_white(tmp_path: Path) -> None:
    bits = np.zeros((8, 8), dtype=bool)
    bits[:, 4:] = True
    pixels = decoded(Image.fromarray(bits), tmp_path / "a.png", channels=1)
    assert pixels[0].tolist() == [[0] * 4 + [255] * 4] * 8


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_row_41_sixteen_bits_keep_their_shades_instead_of_turning_white(tmp_path: Path, suffix: str) -> None:
    values = (np.arange(64, dtype=np.uint16) * 1040).reshape(8, 8)
    pixels = decoded(Image.fromarray(values), tmp_path / f"a.{suffix}", channels=1)
    assert np.abs(pixels[0] - values / 257).max() <= 1
    assert listed_channels(tmp_path, suffix) == 1


def listed_channels(folder: Path, suffix: str) -> int:
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (folder / name).mkdir(parents=True)
        shutil.copy(folder / f"a.{suffix}", folder / name)
    return listed(folder, "train").channels


def test_floating_point_pixels_are_scaled_and_holes_are_black(tmp_path: Path) -> None:
    values = np.full((8, 8), 0.5, dtype=np.float32)
    assert_color(decoded(Image.fromarray(values), tmp_path / "a.tiff", channels=1), 127, within=1)
    values[0, 0] = np.nan
    assert decoded(Image.fromarray(values), tmp_path / "b.tiff", channels=1)[0, 0, 0] == 0


def test_row_41_cmyk_is_read_as_colour(tmp_path: Path) -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert_color(decoded(cyan, tmp_path / "a.jpg"), (0, 255, 255), within=6)
    assert listed_channels(tmp_path, "jpg") == 3


@pytest.mark.parametrize("turn", range(1, 9))
def test_row_41_a_photograph_is_turned_as_the_camera_says(tmp_path: Path, turn: int) -> None:
    seen = Image.new("RGB", (16, 16), WHITE)
    seen.paste(RED, (0, 0, 8, 8))
    seen.paste(BLUE, (8, 0, 16, 8))
    undo: dict[int, list[Image.Transpose]] = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = seen
    for step in undo[turn]:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = turn
    pixels = decoded(stored, tmp_path / "a.jpg", size=16, exif=exif, quality=95)
    assert_color(pixels[:, 2:6, 2:6], RED, within=12)
    assert_color(pixels[:, 2:6, 10:14], BLUE, within=12)
    assert_color(pixels[:, 10:14, 2:14], WHITE, within=12)


def test_garbled_camera_data_does_not_make_a_picture_broken(tmp_path: Path) -> None:
    tree(tmp_path)
    for file in sorted(tmp_path.rglob("*.png")):
        garbled = b"Exif\0\0II*\0\x08\0\0\0\xff\xff"
        Image.new("RGB", (8, 8), GREEN).save(file.with_suffix(".jpg"), exif=garbled)
        file.unlink()
    source = load(tmp_path).source  # and warns of nothing: warnings are errors here
    assert isinstance(source, Resident)
    assert_color(source.images[0].numpy().astype(int), GREEN, within=6)


def test_the_first_picture_of_an_animation_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, BLUE)]
    assert_color(
        decoded(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:]), RED, within=2
    )


@pytest.mark.parametrize("upright", [False, True])
def test_a_picture_that_is_no_square_keeps_its_middle(tmp_path: Path, upright: bool) -> None:
    picture = Image.new("RGB", (48, 16), RED)
    picture.paste(GREEN, (16, 0, 32, 16))
    picture.paste(BLUE, (32, 0, 48, 16))
    if upright:
        picture = picture.transpose(Image.Transpose.ROTATE_90)
    for size in (8, 16, 40):
        pixels = decoded(picture, tmp_path / "a.png", size=size)
        assert_color(
            pixels[:, 1:-1, 1:-1], GREEN, within=16
        )  # at its edge the neighbours shine in, as in PIL
    expected = transforms.Compose([transforms.Resize(8), transforms.CenterCrop(8)])(picture)
    np.testing.assert_allclose(
        decoded(picture, tmp_path / "a.png")[:, 1:-1, 1:-1],
        np.asarray(expected).transpose(2, 0, 1)[:, 1:-1, 1:-1],
        atol=1,
    )


def test_a_folder_is_grey_only_if_every_training_picture_is(tmp_path: Path) -> None:
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        for number in range(3):
            save(tmp_path / name / f"{number}.png", 100)
    assert load(tmp_path).channels == load(tmp_path, "test").channels == 1
    save(tmp_path / "test" / "dog" / "1.png", RED)
    assert load(tmp_path).channels == load(tmp_path, "test").channels == 1
    save(tmp_path / "train" / "dog" / "2.png", RED)
    assert load(tmp_path).channels == load(tmp_path, "test").channels == 3


# Broken pictures


def png(width: int, height: int, pixels: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


def encoded(kind: str) -> bytes:
    numbers = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(numbers).save(stream, kind)
    return stream.getvalue()


BROKEN = {
    "empty.png": b"",
    "text.jpg": b"<html>404 Not Found</html>",
    "cut.jpg": encoded("JPEG")[:1500],
    "cut.png": encoded("PNG")[:3000],
    "cut.gif": encoded("GIF")[:800],
    "cut.bmp": encoded("BMP")[:3000],
    "cut.webp": encoded("WEBP")[:800],
    "cut.tiff": encoded("TIFF")[:3000],
    "header.jpg": encoded("JPEG")[:40],
    "flipped.png": encoded("PNG").replace(b"IDAT", b"IDAT\xff", 1),
    "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_row_36_a_broken_picture_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    tree(tmp_path / "train")
    tree(tmp_path / "test")
    bad = tmp_path / "train" / "cat" / name
    bad.write_bytes(BROKEN[name])
    with pytest.raises(CnnzooError) as raised:
        load(tmp_path)
    assert str(raised.value).startswith(f"{bad} cannot be read as an image (")
    assert "--skip-bad-images" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_grey_broken_picture_is_named_too(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(3):
            save(tmp_path / name / f"{number}.png", 7)
            (tmp_path / name / f"bad{number}.png").write_bytes(b"")
    with pytest.raises(CnnzooError, match=r"bad\d.png cannot be read as an image"):
        load(tmp_path)


def test_of_several_broken_pictures_one_is_named_and_the_others_are_counted(tmp_path: Path) -> None:
    tree(tmp_path / "train")
    tree(tmp_path / "test")
    for number in (1, 3, 4):
        (tmp_path / "train" / "dog" / f"{number}.png").write_bytes(BROKEN["cut.png"])
    with pytest.raises(CnnzooError, match=r"dog.1\.png cannot .* 2 more cannot be read either"):
        load(tmp_path)


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (10_001, 10_000), (2**31 - 1, 2**31 - 1)])
@pytest.mark.parametrize("reader", ["folder", "picture"])
def test_row_37_a_decompression_bomb_is_refused_by_its_header(
    tmp_path: Path, width: int, height: int, reader: str
) -> None:
    tree(tmp_path / "train")
    tree(tmp_path / "test")
    bomb = tmp_path / "train" / "cat" / "a.png"
    bomb.write_bytes(png(width, height, bytes(1000)))
    started = time.monotonic()
    with pytest.raises(CnnzooError, match="would unpack to more than 100 million pixels") as raised:
        load(tmp_path) if reader == "folder" else decode_image(bomb, 3, 8)
    assert time.monotonic() - started < 2
    assert str(bomb) in str(raised.value)


def test_a_picture_that_vanishes_is_named(tmp_path: Path) -> None:
    with pytest.raises(CnnzooError, match=r"a\.png cannot be read as an image \(No such file"):
        decode_image(tmp_path / "a.png", 3, 8)


@pytest.mark.parametrize("streamed", [False, True])
def test_row_36_bad_images_are_skipped_where_that_is_asked_for_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    if streamed:
        patch_internal(monkeypatch, "MAX_RESIDENT_BYTES", 0)
    tree(tmp_path / "test", 2)
    for name, shade in (("cat", 50), ("dog", 200)):
        for number in range(4):
            save(tmp_path / "train" / name / f"{number}.png", shade)
    for number, content in enumerate(BROKEN.values()):
        (tmp_path / "train" / "cat" / f"bad{number}.png").write_bytes(content)
    (tmp_path / "train" / "dog" / "bomb.png").write_bytes(png(50_000, 50_000, b""))

    dataset = load(tmp_path, skip_bad_images=True)
    assert isinstance(dataset.source, Streamed if streamed else Resident)
    (skipped,) = dataset.skipped
    assert (skipped.part, skipped.num_images) == ("train", 8 + len(BROKEN) + 1)
    bad = [f"train/cat/bad{number}.png" for number in range(len(BROKEN))]
    assert sorted(skipped.names) == sorted([*bad, "train/dog/bomb.png"])
    assert dataset.channels == 1
    assert dataset.source.labels.tolist() == [0] * 4 + [1] * 4
    ((images, _),) = dataset.source.batches([torch.arange(8)], torch.device("cpu"))
    assert images[:, 0, 0, 0].tolist() == [50] * 4 + [200] * 4
    assert load(tmp_path, "test", skip_bad_images=True).skipped == ()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_class_of_bad_images_only_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    if streamed:
        patch_internal(monkeypatch, "MAX_RESIDENT_BYTES", 0)
    tree(tmp_path / "train")
    tree(tmp_path / "test")
    for file in (tmp_path / "train" / "dog").iterdir():
        file.write_bytes(b"")
    with pytest.raises(CnnzooError, match="no image of class dog"):
        load(tmp_path, skip_bad_images=True)


def test_skipping_changes_nothing_of_a_whole_folder(tmp_path: Path) -> None:
    tree(tmp_path)
    strict, lenient = load(tmp_path), load(tmp_path, skip_bad_images=True)
    assert strict.skipped == lenient.skipped == ()
    assert strict.sha256 == lenient.sha256
