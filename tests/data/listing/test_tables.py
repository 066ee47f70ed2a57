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


def test_row_56_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    pictures(tmp_path, [f"{number}.png" for number in NUMBERS])
    rows = [
        (number, "3", LABELS[number], "mf"[int(number) % 3 == 0], "train" if int(number) % 4 else "test")
        for number in NUMBERS
    ]
    path = table(tmp_path / "t.csv", rows, "id,age,label,sex,split")
    assert listed(path).notes[1] == f"Columns of {path} that are not used: age, sex."
    assert "'label' for the labels, and 'split' for the parts" in listed(path).notes[0]
    assert listed(path, "id", "sex").notes == (f"Columns of {path} that are not used: age, label.",)
    assert not [
        note for note in listed(table(tmp_path / "u.csv", list(LABELS.items()))).notes if "used" in note
    ]


# One-hot labels


@pytest.mark.parametrize("cells", [("0", "1"), ("0.0", "1.0"), ("False", "True"), ("", "1")])
def test_one_hot_columns_are_the_classes(tmp_path: Path, cells: tuple[str, str]) -> None:
    pictures(tmp_path, [f"{number}.jpg" for number in NUMBERS])
    classes = ("MEL", "NV", "BCC")
    rows = [(number, "x", *(cells[int(number) % 3 == at] for at in range(3))) for number in NUMBERS]
    path = table(tmp_path / "t.csv", rows, "image,age,MEL,NV,BCC")
    expected = {f"{number}.jpg": classes[int(number) % 3] for number in NUMBERS}
    if cells[0]:
        images = listed(path)
        assert labels_of(images) == expected
        assert "MEL, NV, BCC for one-hot labels" in images.notes[0]
    assert labels_of(listed(path, "image", "MEL", "NV", "BCC")) == expected


def test_an_image_of_two_classes_is_refused_with_its_line(tmp_path: Path) -> None:
    pictures(tmp_path, [f"{number}.jpg" for number in NUMBERS])
    rows = [(number, "1", "0", "0") if int(number) % 2 else (number, "0", "1", "0") for number in NUMBERS]
    path = table(tmp_path / "t.csv", [*rows[:9], ("9", "1", "0", "1"), *rows[10:]], "image,MEL,NV,BCC")
    assert "--csv-columns image,LABEL (or one-hot: image,CLASS,CLASS,...)" in refusal(path)
    assert "t.csv, line 11: it has a 1 for MEL, BCC" in refusal(path, "image", "MEL", "NV", "BCC")
    assert listed(path, "image", "NV").classes == ("0", "1")
    odd = table(tmp_path / "u.csv", [*rows, ("1", "2", "0", "0")], "image,MEL,NV,BCC")
    assert "u.csv, line 42, column 'MEL': '2' is neither 0 nor 1" in refusal(odd, "image", "MEL", "NV", "BCC")


# What a cell may call an image


def test_numbers_find_their_files_without_zeros(tmp_path: Path) -> None:
    pictures(tmp_path / "images", [f"{number:04}.png" for number in range(40)])
    expected = {f"{int(number):04}.png": label for number, label in LABELS.items()}
    for name, write in (("a", str), ("b", "{}.0".format), ("c", "{}.png".format), ("d", "0{}".format)):
        rows = [(write(number), label) for number, label in LABELS.items()]
        assert labels_of(listed(table(tmp_path / f"{name}.csv", rows))) == expected
    pictures(tmp_path / "more", [f"IMG_{number:03}.jpg" for number in range(40)])
    rows = [(f"IMG_{number}", label) for number, label in LABELS.items()]
    assert len(labels_of(listed(table(tmp_path / "e.csv", rows)))) == 40
    pictures(tmp_path / "images", [f"{number}.png" for number in range(40)])
    images = listed(table(tmp_path / "f.csv", list(LABELS.items())))
    assert labels_of(images) == {f"{number}.png": label for number, label in LABELS.items()}  # the very name


@pytest.mark.parametrize("root", ["/home/ann/birds/", "C:\\Users\\ann\\birds\\", "s3://bucket/birds/", "../"])
@pytest.mark.parametrize("below", ["", "data"])
def test_paths_of_another_machine_are_matched_by_their_last_parts(
    tmp_path: Path, root: str, below: str
) -> None:
    names = [f"{kind}/{number}.png" for kind in ("frog", "truck") for number in range(20)]
    pictures(tmp_path / below, names)
    slash = "\\" if "\\" in root else "/"
    rows = [(root + name.replace("/", slash), name.partition("/")[0]) for name in names]
    images = listed(table(tmp_path / "t.csv", rows))
    files = [(file, images.classes[label]) for part in images.listing.parts.values() for file, label in part]
    assert len(files) == 40
    assert all(file.parent.name == label for file, label in files)


# Without headings


def test_lists_of_paths_and_labels_are_read(tmp_path: Path) -> None:
    names = [f"images/{number} a.png" for number in NUMBERS]
    pictures(tmp_path, names)
    lines = [f"{name} {number}" for name, number in zip(names, [int(n) % 3 for n in NUMBERS], strict=True)]
    expected = {f"{number} a.png": str(int(number) % 3) for number in NUMBERS}
    for name, text in {
        "train.txt": lines,
        "tabs.txt": [line.rpartition(" ")[0] + "\t" + line[-1] for line in lines],
        "bare.csv": [line.rpartition(" ")[0] + "," + line[-1] for line in lines],
        "headings.txt": ["path label", *lines],
    }.items():
        (tmp_path / name).write_text("\n".join(text) + "\n")
        assert labels_of(listed(tmp_path / name)) == expected, name
    assert "the column 'column 1' is taken for the images" in listed(tmp_path / "train.txt").notes[0]
    pictures(tmp_path / "voc", [f"{number:06}.jpg" for number in range(40)])
    (tmp_path / "voc" / "ids.txt").write_text("".join(f"{n:06} {2 * (n % 2) - 1}\n" for n in range(40)))
    assert len(labels_of(listed(tmp_path / "voc" / "ids.txt"))) == 40


def test_what_is_no_table_of_labels_is_refused_with_what_was_seen(tmp_path: Path) -> None:
    pictures(tmp_path, [f"{number}.png" for number in NUMBERS])
    rows = list(LABELS.items())
    assert "names images in" in refusal(table(tmp_path / "a.csv", [(f"x{n}", label) for n, label in rows]))
    assert "the first cell is 'x0'" in refusal(tmp_path / "a.csv")
    assert "--csv-columns FILE,LABEL --image-root FOLDER" in refusal(tmp_path / "a.csv")
    assert "one class only (frog)" in refusal(table(tmp_path / "c.csv", [(n, "frog") for n in NUMBERS]))
    twice = table(tmp_path / "d.csv", [*rows, ("0", "truck")])
    assert "d.csv, line 42: 0 is truck here, and frog above" in refusal(twice)
    (tmp_path / "e.csv").write_bytes(b"\x89PNG\r\n\0\0\0\0\0")
    assert "is not a text file" in refusal(tmp_path / "e.csv")
    assert "cannot read" in refusal(tmp_path / "nowhere.csv")
    few = table(tmp_path / "f.csv", [("1", "0", "255")] * 9, "label,pixel0,pixel1")
    assert "label, pixel0, pixel1" in refusal(few)


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
