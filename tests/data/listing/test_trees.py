"""Folders as people have them: what is a part, what is a class, what is passed over, and what is said of it."""

import dataclasses
import itertools
import os
import shlex
import shutil
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnnzoo.data.decoding.images import decode_image, suffixes
from cnnzoo.data.folders import ImageFiles, list_files
from cnnzoo.data.listing.trees import part_of
from cnnzoo.data.reading import Reading
from cnnzoo.errors import CnnzooError


def picture(path: Path, shade: int = 0, mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), shade % 256).convert(mode).save(path)
    return path


def tree(root: Path, num: int = 20, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    for name in classes:
        for number in range(num):
            picture(root / name / f"{number}.png", number)
    return root


def listed(root: Path) -> ImageFiles:
    return list_files(f"folder:{root}", Reading())


def counts(images: ImageFiles) -> dict[str, dict[str, int]]:
    return {part: dict(images.listing.counts(part)) for part in images.listing.parts}


def refusal(root: Path) -> str:
    with pytest.raises(CnnzooError) as raised:
        listed(root)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 1
    return str(raised.value)


# Parts


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("training_set", "test_set"),
        ("training_set/training_set", "test_set/test_set"),
        ("TrainImages", "TestImages"),
        ("X_train", "X_test"),
        ("train2017", "val2017"),
        ("imagenette-train", "imagenette-valid"),
        ("data_training/archive", "data_testing/archive"),
        ("TRAIN", "DEV"),
        ("trainset", "testset"),
    ],
)
def test_row_55_names_of_parts_are_no_classes_and_wrapper_folders_are_entered(
    tmp_path: Path, train: str, test: str
) -> None:
    tree(tmp_path / train, 5)
    tree(tmp_path / test, 3)
    images = listed(tmp_path)
    assert images.classes == ("cat", "dog")
    assert counts(images) == {"train": {"cat": 5, "dog": 5}, "test": {"cat": 3, "dog": 3}}
    assert images.notes == ()


@pytest.mark.parametrize(
    "name", ["contest", "devices", "valley", "trains", "strain", "value", "testimony", "train-val-test"]
)
def test_row_55_words_that_contain_a_part_are_no_parts(name: str) -> None:
    assert part_of(name) is None


@given(st.sampled_from(["train", "val", "dev", "test"]), st.sampled_from(["", "my", "Birds_", "2020-", "v2 "]),
       st.sampled_from(["", "set", "_images", "-224", " data", "2017"]))  # fmt: skip
def test_row_55_a_part_is_told_by_its_word_whatever_stands_beside_it(
    word: str, before: str, behind: str
) -> None:
    expected = {"dev": "val"}.get(word, word)
    for name in (
        f"{before}{word}{behind}",
        f"{before}{word.capitalize()}{behind}",
        f"{before}{word.upper()}{behind}",
    ):
        assert part_of(name) == expected, name


def test_row_55_with_train_dev_and_test_dev_validates(tmp_path: Path) -> None:
    for part, num in (("train", 6), ("dev", 3), ("test", 2)):
        tree(tmp_path / part, num)
    assert counts(listed(tmp_path)) == {
        "train": {"cat": 6, "dog": 6},
        "val": {"cat": 3, "dog": 3},
        "test": {"cat": 2, "dog": 2},
    }


def test_row_55_a_training_part_alone_is_a_tree_of_classes(tmp_path: Path) -> None:
    tree(tmp_path / "train", 20)
    for number in range(3):
        picture(tmp_path / "test" / f"{number}.png")
    images = listed(tmp_path)
    assert images.classes == ("cat", "dog")
    assert sum(images.listing.counts("train").values()) + sum(images.listing.counts("test").values()) == 40
    assert images.notes[0] == f"Passed over in {tmp_path}: 3 images without a class folder in test/."


def test_row_55_what_macos_packs_beside_it_is_no_class(tmp_path: Path) -> None:
    tree(tmp_path / "train", 5)
    tree(tmp_path / "test", 3)
    picture(tmp_path / "__MACOSX" / "train" / "cat" / "._0.png")
    picture(tmp_path / "train" / "@eaDir" / "0.png")
    assert listed(tmp_path).classes == ("cat", "dog")


def test_row_55_a_folder_around_the_classes_is_entered_and_that_is_said(tmp_path: Path) -> None:
    tree(tmp_path / "archive", 20)
    images = listed(tmp_path)
    assert images.classes == ("cat", "dog")
    assert images.notes == (f"The classes are the folders in archive/, which is all that {tmp_path} holds.",)
    # The same images are the test, whichever of the two is named.
    inside = listed(tmp_path / "archive")
    assert all([*images.listing.parts[part]] == [*inside.listing.parts[part]] for part in ("train", "test"))


@pytest.mark.parametrize("beside", [False, True])
def test_row_55_one_folder_too_high_the_error_says_which_is_meant(tmp_path: Path, beside: bool) -> None:
    tree(tmp_path / "my" / "data" / "train", 4)
    tree(tmp_path / "my" / "data" / "test", 4)
    if beside:
        picture(tmp_path / "my" / "docs" / "figure.png")
        (tmp_path / "my" / "src").mkdir()
    assert refusal(tmp_path / "my").endswith(f"use folder:{tmp_path}/my/data")
    assert refusal(tmp_path).endswith(f"use folder:{tmp_path}/my/data")


def test_row_55_flat_parts_beside_a_table_are_refused_with_the_table(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "train" / f"{number}.png")
        picture(tmp_path / "test" / f"{number}.png")
    assert "test/, train/" in refusal(tmp_path)
    assert "--dataset csv:" in refusal(tmp_path)
    for name in ("sampleSubmission.csv", "trainLabels.csv", "a.csv"):
        (tmp_path / name).write_text("id,label\n0,cat\n")
    assert refusal(tmp_path).endswith(f"--dataset csv:{tmp_path}/trainLabels.csv")
    picture(tmp_path / "pred" / "0.png")  # nor does another flat folder make classes of them
    assert "test/, train/, pred/" in refusal(tmp_path)


def test_row_55_what_is_not_clear_is_refused_with_what_was_seen(tmp_path: Path) -> None:
    two = tmp_path / "two"
    for name in ("trainA", "trainB", "testA"):
        tree(two / name, 3)
    assert "trainA/ and trainB/, and both look like its train part" in refusal(two)
    assert refusal(two).endswith(f"such as: mv {two}/trainB {tmp_path}/two-trainB")
    mixed = tmp_path / "mixed"
    tree(mixed / "train", 3)
    picture(mixed / "bus" / "0.png")
    assert "train/ with class folders, and bus/ with images" in refusal(mixed)
    inside = tmp_path / "inside"
    for name in ("cat", "dog"):
        tree(inside / name, 3, ("train", "test"))
    assert f"{inside}/cat has test/, train/ inside a class folder" in refusal(inside)


# Classes


@pytest.mark.parametrize("around", ["", "the pictures"])
@pytest.mark.parametrize(
    ("copies", "classes"),
    [
        (("color", "grayscale"), ("apple", "corn")),
        (("original", "resized", "segmented"), ("apple", "corn", "pear", "plum")),
        (("a", "b"), ("0", "1", "2")),
    ],
)
def test_row_55_the_same_class_folders_in_several_folders_are_asked_about(
    tmp_path: Path, around: str, copies: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    root = tmp_path / "x" / around
    for copy in copies:
        tree(root / copy, 4, classes)
    for all_for_test in (False, True):
        with pytest.raises(CnnzooError) as raised:
            list_files(f"folder:{tmp_path / 'x'}", Reading(), all_for_test=all_for_test)
        says = str(raised.value)
        assert "with the same folders" in says
        _, *ways = says.partition(". If")[0].split("--dataset ")
        for copy, way in zip(copies, ways, strict=True):
            (name,) = shlex.split(way.removesuffix(" or "))
            assert name == f"folder:{root / copy}"
            assert list_files(name, Reading()).classes == classes


def test_row_55_the_same_few_folders_in_many_classes_are_parts_of_these(tmp_path: Path) -> None:
    for name in ("cat", "dog", "eel"):
        tree(tmp_path / name, 4, ("day", "night"))
    images = listed(tmp_path)
    assert (images.classes, images.notes) == (("cat", "dog", "eel"), ())


def test_row_55_several_folders_with_parts_are_all_named(tmp_path: Path) -> None:
    for copy, part in itertools.product(("a", "b"), ("train", "test")):
        tree(tmp_path / copy / part, 3)
    assert f"a/, b/ have a training part: use folder:{tmp_path}/a or folder:{tmp_path}/b" in refusal(tmp_path)


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("ending", ["_mask", "-mask", " (mask)", "_mask_1", "_Segmentation", "_gt"])
def test_row_56_masks_beside_their_images_are_remarked_on(tmp_path: Path, parts: bool, ending: str) -> None:
    for part in ("train", "test") if parts else ("",):
        tree(tmp_path / part, 10)
        picture(tmp_path / part / "cat" / "face_mask.png")  # of a person: there is no face.png
        if part != "test":
            picture(tmp_path / part / "cat" / f"3{ending}.png", 99)
    (note,) = listed(tmp_path).notes
    where = "train/" if parts else ""
    assert note.startswith(
        f"1 image is named like the mask of another one and used like any other: {where}cat/3{ending}.png."
    )


def apart(name: str) -> str:
    """Return a name with its letters taken apart, as macOS writes it."""
    return unicodedata.normalize("NFD", name)


def test_row_63_parts_have_the_same_classes_however_their_letters_are_composed(tmp_path: Path) -> None:
    tree(tmp_path / "train", 5, ("Äpfel", apart("Öl"), "o"))
    tree(tmp_path / "test", 3, (apart("Äpfel"), "Öl", "o"))
    images = listed(tmp_path)
    assert images.classes == ("o", "Äpfel", "Öl")
    assert counts(images) == {
        "train": dict.fromkeys(images.classes, 5),
        "test": dict.fromkeys(images.classes, 3),
    }
    assert images.notes == ()


def test_row_63_a_tree_is_the_same_wherever_its_names_were_taken_apart(tmp_path: Path) -> None:
    for root, form in ((tmp_path / "here", str), (tmp_path / "there", apart)):
        for number, (label, name) in enumerate(itertools.product(("Äpfel", "Birnen", "Zöpfe"), "aäbözü")):
            picture(root / form(label) / f"{form(name)}.png", number)
    here, there = listed(tmp_path / "here"), listed(tmp_path / "there")
    assert here.classes == there.classes
    for part in ("train", "test"):
        one, other = here.load(part, 8, 0, lambda *_: None), there.load(part, 8, 0, lambda *_: None)
        assert one
        assert other
        assert (one.sha256, one.listing_sha256) == (other.sha256, other.listing_sha256)


def test_row_63_classes_that_differ_in_case_or_blanks_alone_are_remarked_on(tmp_path: Path) -> None:
    tree(tmp_path, 5, ("Cat", "cat", "cat ", "dog", "sea lion", "Sea  Lion", "sealion"))
    (note,) = listed(tmp_path).notes
    assert note == (
        "Classes whose names differ in case or blanks alone: Cat and cat and 'cat ', 'Sea  Lion' and sea lion. "
        "If they are one, rename them."
    )
    tree(tmp_path / "x" / "train", 5)
    tree(tmp_path / "x" / "test", 5, ("cat ", "dog"))
    assert "classes that" in (says := refusal(tmp_path / "x"))
    assert "does not have: 'cat '." in says


def test_row_38_the_test_part_may_lack_classes_that_are_named(tmp_path: Path) -> None:
    tree(tmp_path / "train", 4, ("ant", "bee", "cat", "dog", "eel"))
    tree(tmp_path / "test", 2, ("ant",))
    (tmp_path / "test" / "bee").mkdir()
    images = listed(tmp_path)
    assert counts(images)["test"] == {"ant": 2}
    assert images.notes == (
        "The test part has no images of bee, cat, dog and 1 more: what eval says is not about them.",
    )


def test_row_38_classes_that_only_the_test_part_has_are_refused_three_by_name(tmp_path: Path) -> None:
    tree(tmp_path / "train", 2)
    tree(tmp_path / "test", 1, tuple(f"class{number:03}" for number in range(300)))
    assert "does not have: class000, class001, class002 and 297 more." in refusal(tmp_path)


def test_row_38_empty_class_folders_say_what_was_passed_over_in_them(tmp_path: Path) -> None:
    tree(tmp_path, 4)
    (tmp_path / "eel").mkdir()
    (tmp_path / "eel" / "a.heic").write_bytes(b"no codec")
    assert f"{tmp_path}/eel has no images (passed over in {tmp_path}: 1 .heic)" in refusal(tmp_path)


# Files and links


def test_row_56_what_pillow_reads_is_read_and_the_rest_counted_and_named(tmp_path: Path) -> None:
    assert {".jfif", ".avif", ".jpe", ".jp2", ".tga", ".qoi"} <= suffixes()
    assert not {".eps", ".wmf", ".mpg", ".pdf", ".h5"} & suffixes()
    tree(tmp_path, 10)
    for number in range(30):
        Image.new("RGB", (8, 8)).save(tmp_path / "cat" / f"a{number}.jfif", "JPEG")
        Image.new("RGB", (8, 8)).save(tmp_path / "dog" / f"a{number}.avif")
        (tmp_path / "dog" / f"b{number}.heic").write_bytes(b"no codec")
    (tmp_path / "cat" / "README").write_text("cats")
    picture(tmp_path / "stray.png")
    images = listed(tmp_path)
    assert sum(len(samples) for samples in images.listing.parts.values()) == 80
    assert images.notes == (
        f"Passed over in {tmp_path}: 30 .heic, 1 file without a suffix, "
        f"1 image beside the folders in {tmp_path.name}/.",
    )
    assert decode_image(tmp_path / "dog" / "a0.avif", 3, 4).shape == (3, 4, 4)


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
def test_row_56_links_are_followed_without_end_and_those_to_nothing_counted(tmp_path: Path) -> None:
    tree(tmp_path / "pets", 5)
    tree(tmp_path / "elsewhere", 4, ("x",))
    cats = tmp_path / "pets" / "cat"
    (cats / "more").symlink_to(tmp_path / "elsewhere" / "x")
    (cats / "again").symlink_to(tmp_path / "elsewhere" / "x")  # the same images, once
    (cats / "itself").symlink_to(cats)
    (cats / "above").symlink_to(tmp_path / "pets")
    (cats / "one.png").symlink_to(tmp_path / "elsewhere" / "x" / "0.png")
    (cats / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (cats / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(cats / "pipe.png")
    images = listed(tmp_path / "pets")
    total = Counter(images.listing.counts("train")) + Counter(images.listing.counts("test"))
    assert total == {"cat": 10, "dog": 5}
    assert images.notes[0] == f"Passed over in {tmp_path}/pets: 2 links to nothing, 1 file of a special kind."


# Pixels


def test_twelve_bits_in_sixteen_are_as_bright_as_the_training_images_are(tmp_path: Path) -> None:
    for part, top in (("train", 4095), ("test", 8000)):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            values = np.linspace(0, top, 64).astype(np.uint16).reshape(8, 8)
            Image.fromarray(values).save(tmp_path / part / name / "0.png")
    images = listed(tmp_path)
    assert images.pixel_range == (0.0, 4095.0)
    dataset = images.load("train", 8, 0, lambda *_: None)
    assert dataset is not None
    ((pixels, _),) = dataset.source.batches([torch.arange(1)], torch.device("cpu"))
    assert (int(pixels.min()), int(pixels.max())) == (0, 255)
    test = decode_image(tmp_path / "test" / "cat" / "0.png", 1, 8, images.pixel_range)
    assert (test == 255).sum() > 20  # brighter than anything in training
    # Of all 16 bits, where no training images say otherwise.
    assert decode_image(tmp_path / "train" / "cat" / "0.png", 1, 8).max() == 15


# The same image twice


def test_row_57_images_in_training_and_test_are_found_and_can_be_left_out(tmp_path: Path) -> None:
    tree(tmp_path / "train", 6)
    for number in range(3):
        picture(tmp_path / "test" / "cat" / f"new{number}.png", 100 + number)
        picture(tmp_path / "test" / "dog" / f"new{number}.png", 150 + number)
    before = listed(tmp_path).duplicates
    assert len(before) == 0
    tree(tmp_path / "train", 6)  # cats and dogs of the same shade are the same image
    shutil.copy(tmp_path / "train" / "cat" / "4.png", tmp_path / "test" / "dog" / "copy.png")
    images = listed(tmp_path)
    assert images.describe_duplicates() == [
        "2 training images are in the test part too: train/cat/4.png and test/dog/copy.png; "
        "train/dog/4.png and test/dog/copy.png (--drop-duplicates leaves the training copies out).",
        "6 images are there under two classes: train/cat/0.png and train/dog/0.png; train/cat/1.png and "
        "train/dog/1.png; train/cat/2.png and train/dog/2.png ... (keep each under the class that it is of).",
    ]
    dropped = dataclasses.replace(images, reading=Reading(drop_duplicates=True)).part("train")
    assert dropped is not None
    assert len(dropped.files) == 10
    assert "4.png" not in {file.name for file in dropped.files}


def test_row_57_files_that_only_begin_alike_are_no_duplicates(tmp_path: Path) -> None:
    tree(tmp_path / "train", 2)
    tree(tmp_path / "test", 1, ("dog",))
    start = bytes(5000)
    for part, end in (("train", b"a"), ("test", b"b")):
        (tmp_path / part / "dog" / "long.png").write_bytes(start + end)
    assert [one for one, _ in listed(tmp_path).duplicates if one > 3] == []
    (tmp_path / "test" / "dog" / "long.png").write_bytes(start + b"a")
    train = [file for file, _ in listed(tmp_path).listing.parts["train"]]
    assert "long.png" in {train[one].name for one, _ in listed(tmp_path).duplicates}


def test_row_57_a_class_that_has_only_duplicates_is_named(tmp_path: Path) -> None:
    tree(tmp_path / "train", 3, ("cat",))
    for number in range(3):
        picture(tmp_path / "train" / "dog" / f"{number}.png", 200 + number)
    shutil.copytree(tmp_path / "train" / "dog", tmp_path / "test" / "dog")
    images = list_files(f"folder:{tmp_path}", Reading(drop_duplicates=True))
    with pytest.raises(CnnzooError, match="--drop-duplicates leaves no training image of dog"):
        images.part("train")
