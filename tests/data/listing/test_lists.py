"""Lists of images: ``train.txt`` and ``test.txt`` beside a folder of images say which image is in which part."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from cnnzoo.data.folders import ImageFiles, list_files
from cnnzoo.data.reading import Reading
from cnnzoo.errors import CnnzooError
from tests.conftest import Command
from tests.data.listing.test_index import kept_in

CLASSES = ("apple pie", "soup", "cake")


def pictures(folder: Path, name: str = "{c}/{n}.png") -> Path:
    for label, of in enumerate(CLASSES):
        for number in range(10):
            path = folder / name.format(c=of, n=number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 70 * label + number).save(path)
    return folder


def write(path: Path, line: str, numbers: Sequence[int], classes: Sequence[str] = CLASSES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [line.format(c=of, n=n, k=CLASSES.index(of)) for of in classes for n in numbers]
    path.write_text("\n".join(lines) + "\n")


def listed(root: Path, *, all_for_test: bool = False) -> ImageFiles:
    return list_files(f"folder:{root}", Reading(), all_for_test=all_for_test)


def counts(images: ImageFiles) -> dict[str, dict[str, int]]:
    return {part: dict(images.listing.counts(part)) for part in images.listing.parts}


def each(num: int) -> dict[str, int]:
    return dict.fromkeys(CLASSES, num)


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("", "{c}/{n}.png"),
        ("meta", "{c}/{n}"),
        ("", "images/{c}/{n}.png"),
        ("", "./images/{c}/{n}.png {k}"),
        ("splits", "{c}/{n}.png,{k}"),
        ("", "/home/somebody/data/images/{c}/{n}.png"),
        ("lists", r"images\{c}\{n}.png"),
    ],
)
def test_row_55_lists_beside_images_say_which_part_each_is_in(tmp_path: Path, where: str, line: str) -> None:
    pictures(tmp_path / "food" / "images")
    write(tmp_path / "food" / where / "train.txt", line, range(7))
    write(tmp_path / "food" / where / "test.txt", line, range(7, 10))
    for root in (tmp_path / "food", tmp_path):  # one folder around it all
        images = listed(root)
        assert images.classes == tuple(sorted(CLASSES))
        assert counts(images) == {"train": each(7), "test": each(3)}
        (note,) = images.notes
        assert "train.txt and " in note
        assert {file.stem for file, _ in images.listing.parts["test"]} == {"7", "8", "9"}
        assert counts(listed(root, all_for_test=True)) == {"test": each(3)}


def test_row_55_where_no_folder_tells_a_class_the_line_does(tmp_path: Path) -> None:
    pictures(tmp_path / "images", "{c}_{n}.png")
    for part, numbers in (("trainval", range(6)), ("test", range(6, 10))):
        write(tmp_path / "annotations" / f"{part}.txt", "{c}_{n} {k} 1 2", numbers)
    images = listed(tmp_path)
    assert images.classes == ("0", "1", "2")
    assert {part: sum(nums.values()) for part, nums in counts(images).items()} == {"train": 18, "test": 12}


def test_row_55_three_lists_are_three_parts_and_val_alone_is_the_test(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    write(tmp_path / "train.txt", "{c}/{n}", range(6))
    write(tmp_path / "val.txt", "{c}/{n}", range(6, 8))
    assert counts(listed(tmp_path)) == {"train": each(6), "test": each(2)}
    write(tmp_path / "test.txt", "{c}/{n}", range(8, 10))
    assert counts(listed(tmp_path)) == {"train": each(6), "val": each(2), "test": each(2)}


def test_row_56_what_lists_leave_out_or_name_in_vain_is_counted_and_none_is_trained_on_and_tested(
    tmp_path: Path,
) -> None:
    pictures(tmp_path / "images")
    write(tmp_path / "train.txt", "{c}/{n}", (*range(7), 77))
    write(tmp_path / "test.txt", "{c}/{n}", (6, 7))
    images = listed(tmp_path)
    assert counts(images) == {"train": each(6), "test": each(2)}
    assert images.notes[1] == (
        f"Passed over in {tmp_path}: 6 images that they do not name, 3 lines with an image of another line, "
        "3 lines without an image that is there."
    )


def test_row_56_lists_of_something_else_are_not_used_and_that_is_said(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    for part in ("train", "test"):
        (tmp_path / f"{part}.txt").write_text("loss 0.3\nloss 0.2\n")
    images = listed(tmp_path)
    assert sum(map(len, images.listing.parts.values())) == 30
    assert f"train.txt and test.txt in {tmp_path} are not used" in images.notes[-1]


def test_row_55_folders_that_are_parts_go_before_lists(tmp_path: Path) -> None:
    for part in ("train", "test"):
        pictures(tmp_path / part)
        write(tmp_path / f"{part}.txt", "{c}/{n}", range(2))
    assert counts(listed(tmp_path)) == {"train": each(10), "test": each(10)}
    assert listed(tmp_path).notes == ()


def test_row_38_a_class_that_only_the_test_list_has_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    write(tmp_path / "train.txt", "{c}/{n}", range(7), CLASSES[:2])
    write(tmp_path / "test.txt", "{c}/{n}", range(7, 10))
    with pytest.raises(CnnzooError, match=r"train.txt and test.txt in .* has no training images of cake\."):
        listed(tmp_path)


def test_a_list_that_changes_is_read_again_where_the_listing_is_kept(tmp_path: Path) -> None:
    pictures(tmp_path / "pets" / "images")
    write(tmp_path / "pets" / "train.txt", "{c}/{n}", range(7))
    write(tmp_path / "pets" / "test.txt", "{c}/{n}", range(7, 10))
    with kept_in(tmp_path / "cache"):
        assert counts(listed(tmp_path / "pets"))["train"] == each(7)
        write(tmp_path / "pets" / "train.txt", "{c}/{n}", range(6))
        assert counts(listed(tmp_path / "pets"))["train"] == each(6)


def test_row_55_a_run_is_trained_and_tested_by_its_lists(command: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "food" / "images")
    write(tmp_path / "food" / "train.txt", "{c}/{n}", range(7))
    write(tmp_path / "food" / "test.txt", "{c}/{n}", range(7, 10))
    done = command("train", "lenet", "-d", "food", "--epochs", "1", "--name", "r")
    assert done.code == 0, done
    assert done.err == "Warning: The parts are those that train.txt and test.txt in food name.\n"
    assert "18 to train on, 3 to validate" in done.out
    tested = command("eval", "r")
    assert "9 test images of folder:food" in tested.out
    assert tested.err == ""
