"""Tables of labels: which column is which, where the images lie, and what is passed over."""

import unicodedata
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnzoo.data.folders import ImageFiles, list_files
from cnnzoo.data.reading import Reading
from cnnzoo.errors import CnnzooError


def pictures(folder: Path, names: list[str]) -> None:
    for shade, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), shade % 256).save(path)


def table(path: Path, rows: Sequence[tuple[str, ...]], heading: str = "id,label") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([heading, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def listed(path: Path, *columns: str, root: Path | None = None) -> ImageFiles:
    return list_files(f"csv:{path}", Reading(columns=columns, image_root=root))


def labels_of(images: ImageFiles) -> dict[str, str]:
    return {
        file.name: images.classes[label] for part in images.listing.parts.values() for file, label in part
    }


def refusal(path: Path, *columns: str) -> str:
    with pytest.raises(CnnzooError) as raised:
        listed(path, *columns)
    assert "\n" not in str(raised.value)
    return str(raised.value)


NUMBERS = [str(number) for number in range(40)]
LABELS = {number: ("frog", "truck")[int(number) % 2] for number in NUMBERS}


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("trainLabels.csv", "train"),  # Kaggle's CIFAR-10, as in d2l's chapter
        ("train.csv", "train"),
        ("labels.csv", "images"),
        ("labels.csv", "."),
        ("trainLabels.csv", "deep/er"),
    ],
)
def test_ids_find_their_files_beside_the_table_or_in_a_folder_there(
    tmp_path: Path, name: str, folder: str
) -> None:
    pictures(tmp_path / folder, [f"{number}.png" for number in NUMBERS])
    if folder == "train":  # the same names, without labels
        pictures(tmp_path / "test", [f"{number}.png" for number in [*NUMBERS, "40", "41"]])
    path = table(tmp_path / name, list(LABELS.items()))
    images = listed(path)
    assert images.classes == ("frog", "truck")
    assert labels_of(images) == {f"{number}.png": label for number, label in LABELS.items()}
    assert "the column 'id' is taken for the images" in images.notes[0]
    assert "'label' for the labels; --csv-columns and --image-root say otherwise" in images.notes[0]
    assert all(
        file.is_relative_to(tmp_path / folder) for part in images.listing.parts.values() for file, _ in part
    )
    assert "is taken for" not in str(listed(path, "id", "label").notes)  # nothing was guessed


def test_paths_with_and_without_folders_and_with_backslashes_are_understood(tmp_path: Path) -> None:
    pictures(tmp_path / "images", ["a b.png", "sub/c.jpg", "d.JPG", "e.png"])
    path = table(
        tmp_path / "t.csv",
        [("images/a b.png", "1"), ("images\\sub\\c.jpg", "10"), ("d.JPG", "9"), ("./images/e", "1")],
        "Image Path,Class Name",
    )
    images = listed(path)
    assert images.classes == ("1", "9", "10")  # by number
    assert labels_of(images) == {"a b.png": "1", "c.jpg": "10", "d.JPG": "9", "e.png": "1"}


def test_labels_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    pictures(tmp_path, [f"{number}.png" for number in range(12)])
    for labels, order in (
        (("10.0", "2.0", "-1"), ("-1", "2.0", "10.0")),
        (("1e1", "2", "9"), ("2", "9", "1e1")),
        (("10", "9", "nan"), ("10", "9", "nan")),
        (("10.0", "2.0", "a"), ("10.0", "2.0", "a")),
    ):
        rows = [(f"{number}.png", labels[number % 3], ("train", "test")[number % 2]) for number in range(12)]
        assert listed(table(tmp_path / f"{labels}.csv", rows, "file,label,split")).classes == order


def test_the_label_column_is_found_by_its_heading_or_by_its_values(tmp_path: Path) -> None:
    pictures(tmp_path, [f"{number}.png" for number in NUMBERS])
    rows = [(f"{number}.png", f"photo {number}", LABELS[number]) for number in NUMBERS]
    assert listed(table(tmp_path / "a.csv", rows, "file,caption,breed")).classes == ("frog", "truck")
    assert listed(table(tmp_path / "b.csv", rows, "file,caption,kind")).classes == ("frog", "truck")
    two = [(row[0], row[2], row[2]) for row in rows]
    assert "it is not clear which column of" in refusal(table(tmp_path / "c.csv", two, "file,one,other"))
    assert "--csv-columns file,LABEL" in refusal(tmp_path / "c.csv")
    assert listed(tmp_path / "c.csv", "file", "other").classes == ("frog", "truck")
    assert "has no column 'othr'. Did you mean 'other'?" in refusal(tmp_path / "c.csv", "file", "othr")


def test_a_column_of_parts_decides_what_is_the_test(tmp_path: Path) -> None:
    pictures(tmp_path, [f"{number}.png" for number in NUMBERS])
    parts = ["Training"] * 20 + ["Validation"] * 12 + ["PublicTest"] * 8
    rows = [(f"{n}.png", LABELS[n], part) for n, part in zip(NUMBERS, parts, strict=True)]
    images = listed(table(tmp_path / "t.csv", rows, "file,label,Usage"))
    assert {part: len(samples) for part, samples in images.listing.parts.items()} == {
        "train": 20,
        "val": 12,
        "test": 8,
    }
    only = [(file, label, "train" if number % 3 else "dev") for number, (file, label, _) in enumerate(rows)]
    images = listed(table(tmp_path / "u.csv", only, "file,label,split"))
    assert {part: len(samples) for part, samples in images.listing.parts.items()} == {"train": 26, "test": 14}


def test_without_such_a_column_an_image_keeps_its_part_when_rows_are_added(tmp_path: Path) -> None:
    pictures(tmp_path, [f"{number}.png" for number in range(200)])
    rows = [(str(number), ("frog", "truck")[number % 2]) for number in range(200)]
    few, many = listed(table(tmp_path / "t.csv", rows[:100])), listed(table(tmp_path / "u.csv", rows))
    for part in ("train", "test"):
        assert {*few.listing.parts[part]} < {*many.listing.parts[part]}


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_row_63_cells_headings_and_labels_are_compared_by_their_composed_letters(
    tmp_path: Path, forms: tuple[Literal["NFC", "NFD"], Literal["NFC", "NFD"]]
) -> None:
    on_disk, in_table = (partial(unicodedata.normalize, form) for form in forms)
    pictures(tmp_path, [on_disk(f"Mädchen {number}.png") for number in range(20)])
    rows = [
        (
            in_table(f"Mädchen {number}"),
            "b" if number % 2 else (on_disk("é") if number % 4 else in_table("é")),
        )
        for number in range(20)
    ]
    path = table(tmp_path / "t.csv", rows, in_table("Bild,Größe"))
    images = listed(path, "Bild", on_disk("Größe"))
    assert images.classes == ("b", "é")
    assert sum(map(len, images.listing.parts.values())) == 20
    assert images.notes == ()


def test_row_56_rows_and_images_that_are_not_used_are_counted(tmp_path: Path) -> None:
    pictures(tmp_path, [f"{number}.png" for number in range(30)])
    rows = [(str(number), ("frog", "truck")[number % 2]) for number in range(20)]
    path = table(tmp_path / "t.csv", [*rows, ("77", "frog"), ("20", ""), ("1", "truck")])
    assert listed(path, "id", "label").notes == (
        f"Passed over in {path}: 10 images that it does not name, 1 row that is there already, "
        "1 row without an image that is there, 1 row without a label.",
    )


def test_what_is_no_table_of_labels_is_refused_with_what_was_seen(tmp_path: Path) -> None:
    pictures(tmp_path, [f"{number}.png" for number in NUMBERS])
    rows = list(LABELS.items())
    assert "names images in" in refusal(table(tmp_path / "a.csv", [(f"x{n}", label) for n, label in rows]))
    assert "the first cell is 'x0'" in refusal(tmp_path / "a.csv")
    assert "--csv-columns FILE,LABEL --image-root FOLDER" in refusal(tmp_path / "a.csv")
    assert "begins with an image and not with headings" in refusal(
        table(tmp_path / "b.csv", rows, "0.png,frog")
    )
    assert "one class only (frog)" in refusal(table(tmp_path / "c.csv", [(n, "frog") for n in NUMBERS]))
    twice = table(tmp_path / "d.csv", [*rows, ("0", "truck")])
    assert "d.csv, line 42: 0 is truck here, and frog above" in refusal(twice)
    (tmp_path / "e.csv").write_bytes(b"\x89PNG\r\n\0\0\0\0\0")
    assert "is not a text file" in refusal(tmp_path / "e.csv")
    assert "cannot read" in refusal(tmp_path / "nowhere.csv")
    pixels = table(tmp_path / "f.csv", [("1", "0", "255")] * 9, "label,pixel0,pixel1")
    assert "label, pixel0, pixel1" in refusal(pixels)


@given(
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    labels=st.tuples(st.sampled_from(["Löwe", "猫", "x y"]), st.sampled_from(["chien", "0"])),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_says_the_same_however_a_spreadsheet_writes_it(
    tmp_path: Path, encoding: str, delimiter: str, end: str, labels: tuple[str, str]
) -> None:
    pictures(tmp_path, [f"{number}.png" for number in range(20)])
    rows = [("file", "label"), *((f"{number}.png", labels[number % 2]) for number in range(20))]
    path = tmp_path / "t.csv"
    path.write_bytes((end.join(delimiter.join(row) for row in rows) + end).encode(encoding))
    assert labels_of(listed(path)) == {f"{number}.png": labels[number % 2] for number in range(20)}
