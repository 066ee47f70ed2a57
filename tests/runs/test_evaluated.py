"""What is read of eval.json and predictions.csv, and what is refused."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from cnnzoo.runs.evaluated import read_evaluation, read_predictions


def write(folder: Path, rows: list[list[object]]) -> None:
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def test_of_few_classes_each_probability_is_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        [
            ["file", "label", "prediction", "cat", "dog, small"],
            ["a.png", "cat", "cat", 0.75, 0.25],
            ["b.png", "dog, small", "cat", 0.625, 0.375],
        ],
    )
    saved = read_predictions(tmp_path)
    assert (saved.are_files, saved.images, saved.num_correct) == (True, ["a.png", "b.png"], 1)
    assert saved.confusion(["cat", "dog, small"]) == [[1, 0], [1, 0]]
    assert list(saved.probabilities(["cat", "dog, small"])) == [[0.75, 0.25], [0.625, 0.375]]
    with pytest.raises(ValueError, match="no such classes: dog, small and cat"):
        saved.confusion(["cat"])
    with pytest.raises(ValueError, match="of other classes"):
        list(saved.probabilities(["dog, small", "cat"]))


def test_of_many_classes_the_others_share_what_the_five_likeliest_leave(tmp_path: Path) -> None:
    classes = [f"c{number}" for number in range(25)]
    ranks = [f"{name}_{rank}" for rank in range(2, 6) for name in ("prediction", "probability")]
    likeliest = [["c7", 0.5], ["c3", 0.2], ["c0", 0.1], ["c24", 0.05], ["c1", 0.05]]
    write(
        tmp_path,
        [
            ["index", "label", "prediction", "probability", *ranks],
            [0, "c3", *[cell for pair in likeliest for cell in pair]],
        ],
    )
    saved = read_predictions(tmp_path)
    (found,) = saved.probabilities(classes)
    assert [found[7], found[3], found[0], found[24], found[1]] == [0.5, 0.2, 0.1, 0.05, 0.05]
    assert [p for place, p in enumerate(found) if place not in (7, 3, 0, 24, 1)] == [
        pytest.approx(0.1 / 20)
    ] * 20


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not enough values"),
        (b"epoch,val_acc\n1,0.5\n", "its columns are epoch, val_acc"),
        (b"index,label,prediction,a\n0,a\n", "a row has 2 cells"),
        (b"index,label,prediction,a\n0,a,\xff,1.0\n", "can't decode"),
        (b"index,label,prediction,a\n0,a," + b"a" * 200_000, "larger than field limit"),
    ],
)
def test_what_are_no_predictions_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(FileNotFoundError):
        read_predictions(tmp_path)
    (tmp_path / "predictions.csv").write_bytes(content)
    with pytest.raises(ValueError, match=says):
        read_predictions(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "Expecting value"),
        ("[]", "no accuracy in it"),
        ('{"accuracy": "0.5"}', "no accuracy in it"),
        ('{"accuracy": 0.5, "num_images": true}', "num_images is True"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_what_is_no_evaluation_is_refused(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(FileNotFoundError):
        read_evaluation(tmp_path)
    (tmp_path / "eval.json").write_text(content)
    with pytest.raises(ValueError, match=says):
        read_evaluation(tmp_path)


def test_what_eval_json_lacks_is_none(tmp_path: Path) -> None:
    (tmp_path / "eval.json").write_text('{"accuracy": 0.5, "split": "val"}')
    saved = read_evaluation(tmp_path)
    assert (saved.accuracy, saved.split, saved.epoch, saved.num_images) == (0.5, "val", None, None)


def test_it_is_read_without_torch_and_pandas() -> None:
    code = "import sys, cnnzoo.runs.evaluated, cnnzoo.runs.overview; print({'torch', 'pandas'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
