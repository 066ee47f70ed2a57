"""Histories in which a column tells rows apart: curves of their own, or refused by name; never one average."""

from pathlib import Path

import pytest

import cnnzoo
from cnnzoo.errors import CnnzooError
from cnnzoo.runs.histories.read import read_histories
from cnnzoo.runs.history import History
from tests.conftest import Command
from tests.faults.shared import assert_refused


def read(path: Path, text: str) -> list[History]:
    path.write_text(text, encoding="utf-8")
    return read_histories(path)


def rows(*columns: str | list[object], count: int = 3) -> str:
    """A file with ``count`` epochs for each combination of a column's values; accuracies grow with the line."""
    names = ["epoch", *columns[::2], "acc"]
    lines = [[str(epoch)] for epoch in range(1, count + 1)]
    for values in columns[1::2]:
        lines = [[*line, str(value)] for value in values for line in lines]
    return "\n".join(
        [",".join(map(str, names)), *(f"{','.join(line)},0.{n + 10}" for n, line in enumerate(lines)), ""]
    )


# Training and validation


@pytest.mark.parametrize("heading", ["type", "set", "split", "stage", "phase", "Subset", "which one", ""])
@pytest.mark.parametrize(
    ("train", "val"),
    [("train", "val"), ("fit", "validate"), ("Training", "Validation"), ("train", "valid"), ("TRAIN", "dev"),
     ("train", "eval"), ("训练", "验证"), ("訓練", "検証"), ("훈련", "검증"), ("обучение", "валидация")],
)  # fmt: skip
def test_row_66_words_for_training_and_validation_make_two_curves(
    tmp_path: Path, heading: str, train: str, val: str
) -> None:
    text = "".join(f"{epoch},{train},{2 / epoch},0.7\n{epoch},{val},{3 / epoch},0.3\n" for epoch in (1, 2))
    (history,) = read(tmp_path / "a.csv", f"epoch,{heading},loss,acc\n{text}")
    assert list(history.frame["train_acc"]) == [0.7, 0.7]
    assert list(history.frame["val_acc"]) == [0.3, 0.3]
    assert list(history.frame["val_loss"]) == [3, 1.5]
    assert history.notes == ()


def test_row_66_a_test_stands_for_the_validation_and_beside_one_is_left_out(tmp_path: Path) -> None:
    (history,) = read(tmp_path / "a.csv", "epoch,set,acc\n1,train,0.7\n1,test,0.3\n")
    assert list(history.frame["val_acc"]) == [0.3]
    assert history.notes == ("rows of the test are drawn as validation",)
    (history,) = read(tmp_path / "a.csv", "epoch,set,acc\n1,train,0.7\n1,dev,0.4\n1,test,0.3\n")
    assert list(history.frame["val_acc"]) == [0.4]
    assert history.notes == ("not drawn: rows of the test",)


def test_row_66_rows_by_step_stay_averaged_over_their_epoch(tmp_path: Path) -> None:
    text = "epoch,step,stage,loss\n0,1,fit,4\n0,2,fit,2\n0,2,validate,5\n1,3,fit,1\n1,4,fit,0.5\n1,4,validate,2\n"
    (history,) = read(tmp_path / "a.csv", text)
    assert list(history.frame["train_loss"]) == [3, 0.75]
    assert list(history.frame["val_loss"]) == [5, 2]
    assert history.notes == ("train_loss is the mean of an epoch's rows",)


# Several trainings


@pytest.mark.parametrize(
    ("heading", "values", "names"),
    [
        ("fold", [0, 1, 2], ["fold 0", "fold 1", "fold 2"]),
        ("Seed", [42, 1337], ["Seed 42", "Seed 1337"]),
        ("run", ["run-1", "run-2"], ["run-1", "run-2"]),
        ("model", ["lenet", "alexnet"], ["model lenet", "model alexnet"]),
        ("config_id", ["a7", "b9"], ["config_id a7", "config_id b9"]),
        ("Model Name", ["a", "b"], ["Model Name a", "Model Name b"]),
        ("kfold", [1, 2], ["kfold 1", "kfold 2"]),
    ],
)
def test_row_66_a_column_of_trainings_makes_a_curve_of_each(
    tmp_path: Path, heading: str, values: list[object], names: list[str]
) -> None:
    histories = read(tmp_path / "a.csv", rows(heading, values))
    assert [history.curve for history in histories] == names
    assert [list(history.frame["epoch"]) for history in histories] == [[1, 2, 3]] * len(values)
    assert {history.notes for history in histories} == {(f"there is a curve for each value of {heading}",)}
    assert list(histories[1].frame["train_acc"]) == [0.13, 0.14, 0.15]


def test_row_66_trainings_are_parted_by_all_their_columns_and_have_both_curves(tmp_path: Path) -> None:
    histories = read(tmp_path / "a.csv", rows("fold", [1, 2], "seed", [5, 6], "phase", ["train", "val"]))
    assert sorted(history.curve for history in histories) == [
        f"fold {f}, seed {s}" for f in (1, 2) for s in (5, 6)
    ]
    assert all({"train_acc", "val_acc"} <= set(history.frame) for history in histories)


def test_row_66_trainings_without_epochs_are_counted_each_for_itself(tmp_path: Path) -> None:
    histories = read(tmp_path / "a.csv", "fold,loss,val_loss\n1,3,4\n2,3,4\n1,2,3\n2,1,2\n1,1,2\n")
    assert [list(history.frame["epoch"]) for history in histories] == [[1, 2, 3], [1, 2]]


def test_row_66_a_seed_that_stays_or_is_each_epochs_own_parts_nothing(tmp_path: Path) -> None:
    for seeds in ("777", "789"):
        text = "".join(f"{epoch},{seed},0.5\n" for epoch, seed in enumerate(seeds, 1))
        (history,) = read(tmp_path / "a.csv", f"epoch,seed,loss\n{text}")
        assert (len(history.frame), history.curve, history.notes) == (3, "", ())


def test_row_66_an_empty_cell_among_trainings_and_a_table_of_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CnnzooError, match=r"line 3, column 'fold': it is empty\. Write there which one it is"
    ):
        read(tmp_path / "a.csv", "fold,epoch,loss\n0,1,3\n,2,2\n1,1,3\n")
    with pytest.raises(CnnzooError, match="one row for each of 2 trainings: their results, and no history"):
        read(tmp_path / "a.csv", "Name,State,val_acc\na,finished,0.5\nb,crashed,0.6\n")


def test_row_66_epochs_count_from_1_in_all_trainings_alike(tmp_path: Path) -> None:
    histories = read(tmp_path / "a.csv", "run,epoch,loss\na,0,3\na,1,2\nb,1,3\nb,2,2\n")
    assert [list(history.frame["epoch"]) for history in histories] == [[1, 2], [2, 3]]


def test_row_66_one_history_is_not_made_of_several(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(rows("fold", [0, 1]))
    with pytest.raises(
        CnnzooError, match=r"2 histories: fold 0, fold 1\. Read them by cnnzoo\.read_histories"
    ):
        cnnzoo.read_history(tmp_path / "a.csv")
    assert len(cnnzoo.read_histories(tmp_path / "a.csv")) == 2


# What nobody understands


@pytest.mark.parametrize(
    ("text", "heading"),
    [
        (rows("measured on", ["a", "b"]), "measured on"),
        (rows("optimizer", ["sgd", "adam"]), "optimizer"),
        (rows("is_train", [True, False]), "is_train"),
        (rows("split", [0, 1, 2]), "split"),
        (rows("batch size", [32, 64]), "batch size"),
        ("epoch,who,acc\n1,a,0.7\n1,b,0.3\n", "who"),
        ("epoch,step,who,acc\n1,1,a,0.7\n1,2,b,0.3\n2,3,a,0.7\n2,4,b,0.3\n", "who"),
        ("epoch,colour,loss\n0,0,3\n0,1,1\n1,0,1\n1,1,0.5\n", "colour"),
        (rows("A", [1, 2], "B", [1, 2]), "A"),
    ],
)
def test_row_66_another_column_that_tells_rows_of_an_epoch_apart_is_refused_by_name(
    tmp_path: Path, text: str, heading: str
) -> None:
    with pytest.raises(CnnzooError, match=f"the column '{heading}' tells rows of one epoch apart") as caught:
        read(tmp_path / "a.csv", text)
    assert "Call it run for a curve of each of its values" in str(caught.value)
    histories = read(tmp_path / "a.csv", text.replace(heading, "run", 1).replace(",B,", ",fold,"))
    assert len(histories) > 1


def test_row_66_an_id_that_counts_steps_may_be_called_so(tmp_path: Path) -> None:
    (history,) = read(tmp_path / "a.csv", "epoch,step,loss\n0,0,3\n0,1,1\n1,0,1\n1,1,0.5\n")
    assert list(history.frame["train_loss"]) == [2, 0.75]


@pytest.mark.parametrize(
    "text",
    [
        "epoch,time,loss\n0,00:12,3\n0,00:13,1\n1,00:12,1\n1,00:13,0.5\n",
        "epoch,took,loss\n0,12s,3\n0,13s,1\n1,12s,1\n1,13s,0.5\n",
        "epoch,note,loss\n0,began,3\n0,,1\n1,,1\n1,slow,0.5\n",
        "epoch,logged,loss\n0,2026-01-01 10:00,3\n0,2026-01-01 10:01,1\n1,2026-01-01 10:01,1\n1,2026-01-01 10:02,0.5\n",
        "epoch,lr,loss\n0,0.1,3\n0,0.2,1\n1,0.1,1\n1,0.2,0.5\n",
        "Unnamed: 0,epoch,loss\n0,0,3\n1,0,1\n2,1,1\n3,1,0.5\n",
        "epoch,images,loss\n0,64,3\n0,64,1\n1,64,1\n1,64,0.5\n",
    ],
)
def test_row_66_what_only_describes_a_step_tells_nothing_apart(tmp_path: Path, text: str) -> None:
    (history,) = read(tmp_path / "a.csv", text)
    assert list(history.frame["train_loss"]) == [2, 0.75]


def test_row_66_a_second_fit_is_counted_on_whatever_its_learning_rate(tmp_path: Path) -> None:
    text = "epoch,loss,lr\n0,3,0.01\n1,2,0.01\n0,1.5,0.001\n1,1,0.001\n"
    (history,) = read(tmp_path / "a.csv", text)
    assert list(history.frame["epoch"]) == [1, 2, 3, 4]


# W&B's exports


def test_row_66_wandbs_chart_has_a_curve_for_each_run(tmp_path: Path) -> None:
    text = (
        '"Step","lenet-1 - val_loss","lenet-1 - val_loss__MIN","lenet-1 - val_loss__MAX",'
        '"b - 2 - val_loss","b - 2 - val_loss__MIN","b - 2 - val_loss__MAX"\n'
        '"0","2.5","2.5","2.5","3","3","3"\n"1","1.5","1.5","1.5","2","2","2"\n"2","","","","1","1","1"\n'
    )
    one, other = read(tmp_path / "wandb_export.csv", text)
    assert (one.curve, list(one.frame["val_loss"])) == ("run lenet-1", [2.5, 1.5])
    assert (other.curve, list(other.frame["val_loss"])) == ("run b - 2", [3, 2, 1])
    assert "it has steps and no epochs: each row counts as one" in one.notes


def test_row_66_wandbs_chart_of_one_run_is_one_history_over_its_epochs(tmp_path: Path) -> None:
    ends = ("", "__MIN", "__MAX")
    headings = [f"r - {name}{end}" for name in ("epoch", "val/accuracy") for end in ends]
    text = f"trainer/global_step,{','.join(headings)}\n99,0,0,0,0.5,0.5,0.5\n199,1,1,1,0.75,0.75,0.75\n"
    (history,) = read(tmp_path / "a.csv", text)
    assert (history.curve, list(history.frame["epoch"]), history.notes) == ("", [1, 2], ())
    assert list(history.frame["val_acc"]) == [0.5, 0.75]


def test_row_66_wandbs_run_history_pairs_what_was_logged_separately(tmp_path: Path) -> None:
    text = ",_step,_timestamp,train_loss,val_loss\n0,0,1e9,2,\n1,1,1e9,,2.5\n2,2,1e9,1,\n3,3,1e9,,1.5\n"
    (history,) = read(tmp_path / "a.csv", text)
    assert list(history.frame["train_loss"]) == [2, 1]
    assert list(history.frame["val_loss"]) == [2.5, 1.5]


# As a person meets it


def test_row_66_the_curves_of_one_file_are_drawn_in_one_picture(command: Command, tmp_path: Path) -> None:
    (tmp_path / "cv.csv").write_text(rows("fold", [0, 1]))
    done = command("plot", "cv.csv")
    assert done.out.splitlines() == [
        "cv.png",
        "cv.csv, fold 0 (best epoch 3: training accuracy 12.00%)",
        "cv.csv, fold 1 (best epoch 3: training accuracy 15.00%)",
    ]
    assert done.err == "cv.csv: there is a curve for each value of fold\n"
    assert (tmp_path / "cv.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "b.csv").write_text(rows("colour", ["red", "blue"]))
    assert_refused(
        command("plot", "b.csv"), "the column 'colour' tells rows of one epoch apart ('red' in line 2, "
    )
