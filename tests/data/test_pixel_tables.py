"""Tables of pixels: a row for each image, as programs and people write them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cnnzoo.data.datasets import load_dataset
from cnnzoo.data.listing.listing import Part
from cnnzoo.data.reading import Reading
from cnnzoo.data.sources import Dataset, Resident
from tests.conftest import Command
from tests.faults.shared import assert_refused

NUM, SIDE = 60, 8
LABELS = np.arange(NUM) % 3
NAMES = np.array(["T-shirt", "猫", "dog"])[LABELS]


def drawn(channels: int = 1) -> NDArray[np.uint8]:
    """Draw smooth images ``(N, S, S, C)`` with black corners, all of them different."""
    number, row, column, channel = np.indices((NUM, SIDE, SIDE, channels))
    shades = 20 * row + 5 * column + number + 40 * channel
    shades[:, [0, 0, -1, -1], [0, -1, 0, -1]] = 0
    found: NDArray[np.uint8] = shades.astype(np.uint8)
    return found


GREY = drawn().reshape(NUM, -1)


def frame(pixels: NDArray[Any] = GREY, heading: str = "pixel{}", **columns: object) -> pd.DataFrame:
    """Return a table: columns before ``pixels`` as they are given, then those of the pixels."""
    numbers = pd.DataFrame(pixels, columns=[heading.format(at) for at in range(pixels.shape[1])])
    return pd.concat([pd.DataFrame(columns, index=range(NUM)), numbers], axis=1)


def text_of(table: pd.DataFrame, **options: Any) -> str:
    text = io.StringIO()
    table.to_csv(text, **{"index": False, **options})
    return text.getvalue()


def part(path: Path, which: Part = "train", **reading: Any) -> Dataset:
    dataset = load_dataset(f"csv:{path}", which, image_size=SIDE, reading=Reading(**reading))
    assert dataset is not None
    return dataset


def rows_of(path: Path, **reading: Any) -> dict[bytes, str]:
    """Return the label of each image, of whichever part, by its bytes, channels last."""
    found = {}
    parts: tuple[Part, ...] = ("train", "test")
    for which in parts:
        dataset = part(path, which, **reading)
        assert isinstance(dataset.source, Resident)
        images = dataset.source.images.permute(0, 2, 3, 1).numpy()
        for image, label in zip(images, dataset.source.labels.tolist(), strict=True):
            found[image.tobytes()] = dataset.classes[label]
    return found


def expected(labels: NDArray[Any] = LABELS, channels: int = 1) -> dict[bytes, str]:
    return {image.tobytes(): str(label) for image, label in zip(drawn(channels), labels, strict=True)}


AS_TEXT = [" ".join(map(str, row)) for row in GREY]
TABLES = {
    "kaggle": text_of(frame(label=LABELS)),
    "label last": text_of(frame().assign(label=LABELS)),
    "rows and columns": text_of(frame(label=LABELS).rename(columns=lambda name: name.replace("pixel", "1x"))),
    "scikit-learn": text_of(frame(heading="pixel_0_{}").assign(target=LABELS)),
    "numbered by pandas": text_of(frame(heading="{}").assign(label=LABELS), index=True),
    "all numbered": text_of(pd.DataFrame(np.c_[LABELS, GREY])),
    "without headings": text_of(frame(label=LABELS), header=False),
    "without headings, label last": text_of(frame().assign(label=LABELS), header=False),
    "semicolons": text_of(frame(label=LABELS), sep=";"),
    "from 0 to 1": text_of(frame(np.round(GREY / 255, 4), label=LABELS)),
    "decimals": text_of(frame(GREY.astype(float), label=LABELS)),
    "in one cell": text_of(pd.DataFrame({"emotion": LABELS, "pixels": AS_TEXT})),
    "one-hot": text_of(pd.concat([pd.get_dummies(LABELS, dtype=int), frame()], axis=1)),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_of_pixels_is_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "t.csv").write_text(TABLES[kind])
    assert rows_of(tmp_path / "t.csv") == expected()
    assert "for the pixels (8×8), and " in part(tmp_path / "t.csv").notes[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("header", [True, False])
def test_labels_are_texts_as_well(tmp_path: Path, encoding: str, header: bool) -> None:
    text = text_of(frame(label=NAMES), header=header)
    (tmp_path / "t.csv").write_text(text, encoding=encoding)
    assert rows_of(tmp_path / "t.csv") == expected(NAMES)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 3, 1, 2)])
def test_colours_come_pixel_by_pixel_or_channel_by_channel(tmp_path: Path, order: tuple[int, ...]) -> None:
    pixels = drawn(3).transpose(order).reshape(NUM, -1)
    (tmp_path / "t.csv").write_text(text_of(frame(pixels).assign(label=LABELS)))
    assert rows_of(tmp_path / "t.csv") == expected(channels=3)
    how = "pixel by pixel" if order[1] == 1 else "channel by channel"
    assert f"(8×8 in colour, {how})" in part(tmp_path / "t.csv").notes[0]
    assert part(tmp_path / "t.csv", channels=1).channels == 1


def test_a_column_of_parts_counts_and_others_are_named(tmp_path: Path) -> None:
    usage = np.where(np.arange(NUM) < 42, "Training", "PublicTest")
    (tmp_path / "t.csv").write_text(text_of(frame(who="ann", label=LABELS, Usage=usage, at=7)))
    assert [len(part(tmp_path / "t.csv", which).source.labels) for which in ("train", "test")] == [42, 18]
    assert part(tmp_path / "t.csv").notes[1] == f"Columns of {tmp_path / 't.csv'} that are not used: who, at."
    assert rows_of(tmp_path / "t.csv", columns=("pixel0", "label")) == expected()


def test_an_image_keeps_its_part_when_rows_are_added(tmp_path: Path) -> None:
    whole = frame(label=LABELS)
    (tmp_path / "few.csv").write_text(text_of(whole[:45]))
    (tmp_path / "many.csv").write_text(text_of(whole[::-1]))
    few, many = (
        {image.tobytes() for image in part(tmp_path / name).source.images.numpy()}  # type: ignore[attr-defined]
        for name in ("few.csv", "many.csv")
    )
    assert few < many


def test_a_table_of_names_and_one_hot_numbers_is_none_of_pixels(tmp_path: Path) -> None:
    from tests.data.listing.test_tables import pictures

    pictures(tmp_path / "images", [f"{number}.png" for number in range(200)])
    for suffix in ("", ".png"):
        hot = pd.DataFrame(
            np.eye(25, dtype=int)[np.arange(200) % 25], columns=[f"class{at}" for at in range(25)]
        )
        hot.insert(0, "id", [f"{number}{suffix}" for number in range(200)])
        (tmp_path / "t.csv").write_text(text_of(hot))
        assert len(part(tmp_path / "t.csv").classes) == 25


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("x", "line 2, column 'pixel5': 'x' is no number. Correct it."),
        ("", "line 2, column 'pixel5': '' is no number. Correct it."),
        ("-1", "t.csv has pixels from -1 to "),
        ("256", "to 256, and they must be from 0 to 255, or from 0 to 1. Scale them."),
    ],
)
def test_row_39_what_is_no_pixel_is_refused_with_its_place(
    command: Command, tmp_path: Path, cell: str, says: str
) -> None:
    table = frame(label=LABELS)
    table["pixel5"] = [cell, *map(str, GREY[1:, 5])]
    (tmp_path / "t.csv").write_text(text_of(table))
    assert_refused(command("train", "lenet", "--dataset", "t.csv", "--epochs", "1"), says)


def test_row_47_tables_that_hold_no_square_or_no_labels_or_broken_rows_are_refused(
    command: Command, tmp_path: Path
) -> None:
    for text, says in (
        (text_of(frame(GREY[:, :50], label=LABELS)), "t.csv has 50 columns of pixels, which make no square"),
        (
            text_of(frame()),
            "t.csv has pixels in all of its columns, and no labels. Name a table that has both.",
        ),
        (text_of(frame(label=7)), "t.csv has one class only (7). It needs two classes or more."),
        (text_of(frame(label=LABELS)) + "1,2,3\n4\n", "t.csv, line 62: it has 3 of the header's 65 fields"),
        (
            text_of(pd.DataFrame({"emotion": LABELS, "pixels": [*AS_TEXT[:-1], "1 2"]})),
            "t.csv, line 61, column 'pixels': it has not 64 numbers, as the first row has.",
        ),
    ):
        (tmp_path / "t.csv").write_text(text)
        assert_refused(command("train", "lenet", "--dataset", "t.csv", "--epochs", "1"), says)


def test_a_run_on_a_table_of_pixels_is_tested_verified_and_asked(command: Command, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TABLES["kaggle"])
    (tmp_path / "more.csv").write_text(
        text_of(pd.concat([frame(label=LABELS), frame(255 - GREY, label=LABELS)]))
    )
    trained = command("train", "lenet", "--dataset", "t.csv", "--epochs", "1", "--name", "r")
    assert trained.code == 0
    assert "Of t.csv the columns from 'pixel0' on are taken for the pixels (8×8)" in trained.err
    tested = command("eval", "r")
    assert (tested.code, tested.err) == (0, "")
    assert "hold." in command("verify", "r").out
    assert "images that the run was trained on" in command("eval", "r", "--dataset", "more.csv").out
    (tmp_path / "t.csv").write_text(text_of(frame(GREY + 1, label=LABELS)))
    assert "are not those that it was trained on" in command("verify", "r").out
