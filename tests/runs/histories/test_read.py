"""Histories of other tools, of spreadsheets and of people: drawn as a person would, and each assumption said."""

import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnzoo.errors import CnnzooError
from cnnzoo.runs.histories.read import read_history
from cnnzoo.runs.history import History
from tests.conftest import Command
from tests.faults.shared import assert_refused

NAN = math.nan


def read(path: Path, text: str | bytes) -> History:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_history(path)


def assert_reads(history: History, *notes: str, **columns: list[float]) -> None:
    """The history has exactly these columns, and says exactly this; None and NaN are no value."""
    found = {str(name): list(history.frame[name]) for name in history.frame if name != "epoch"}
    first = next(iter(columns.values()))
    assert found.keys() == columns.keys() - {"epoch"}
    assert list(history.frame["epoch"]) == columns.get("epoch", list(range(1, len(first) + 1)))
    for name, values in found.items():
        assert values == pytest.approx(columns[name], nan_ok=True, rel=1e-12), name
    assert history.notes == notes


# fastai and other names of the validation


FASTAI = "accuracy is taken for that of the validation, as fastai writes it"


def test_fastais_accuracy_is_the_validations(tmp_path: Path) -> None:
    text = "epoch,train_loss,valid_loss,accuracy,time\n0,1.5,1.25,0.5,00:12\n1,1.0,0.75,0.75,00:11\n"
    history = read(tmp_path / "history.csv", text)
    assert_reads(history, FASTAI, train_loss=[1.5, 1.0], val_loss=[1.25, 0.75], val_acc=[0.5, 0.75])
    assert history.describe_best() == "best epoch 2: validation accuracy 75.00%"


def test_fastais_error_rate_is_drawn_as_accuracy(tmp_path: Path) -> None:
    history = read(tmp_path / "a.csv", "epoch,train_loss,valid_loss,error_rate\n0,1.5,1.25,0.25\n")
    assert_reads(
        history,
        "error_rate is taken for that of the validation, as fastai writes it",
        "error_rate is drawn as accuracy, 1 - error",
        train_loss=[1.5],
        val_loss=[1.25],
        val_acc=[0.75],
    )


def test_an_error_in_percent_is_a_share_too_and_one_of_millimetres_is_not_drawn(tmp_path: Path) -> None:
    history = read(tmp_path / "a.csv", "epoch,loss,val_error\n1,2,12.5\n2,1,0.5\n")
    assert_reads(
        history, "val_error is drawn as accuracy, 1 - error", train_loss=[2, 1], val_acc=[0.875, 0.995]
    )
    history = read(tmp_path / "a.csv", "epoch,loss,val_error\n1,2,250\n2,1,90\n")
    assert_reads(history, "not drawn: val_error", train_loss=[2, 1])


@pytest.mark.parametrize(
    ("header", "measures", "notes"),
    [
        ("train_loss,train_acc,valid_loss,valid_acc", "train_loss train_acc val_loss val_acc", ()),
        ("loss,accuracy,val_loss,val_accuracy", "train_loss train_acc val_loss val_acc", ()),
        ("train_loss,train_acc,test_loss,test_acc", "train_loss train_acc val_loss val_acc",
         ("test_loss and test_acc are drawn as validation",)),
        ("train_loss,val_loss,train_acc,accuracy", "train_loss val_loss train_acc val_acc", (FASTAI,)),
        ("train_loss,val_loss,test_loss,val_acc", "train_loss val_loss - val_acc", ("not drawn: test_loss",)),
        ("train_loss,val_acc,accuracy,train_acc", "train_loss val_acc - train_acc", ("not drawn: accuracy",)),
        ("loss,acc,roc_auc,macro F1", "train_loss train_acc - -", ("not drawn: roc_auc, macro F1",)),
        ("train_loss,accuracy,error_rate,lr", "train_loss val_acc - -", (FASTAI, "not drawn: error_rate")),
        ("train_loss_step,train_loss_epoch,val_loss,lr", "- train_loss val_loss -", ()),
    ],
)  # fmt: skip
def test_each_column_is_drawn_for_what_it_is_or_named(
    tmp_path: Path, header: str, measures: str, notes: tuple[str, ...]
) -> None:
    values = [0.125, 0.25, 0.375, 0.5]
    rows = "".join(f"{epoch},{','.join(map(str, values))}\n" for epoch in (1, 2))
    drawn = {name: [value] * 2 for name, value in zip(measures.split(), values, strict=True) if name != "-"}
    assert_reads(read(tmp_path / "a.csv", f"epoch,{header}\n{rows}"), *notes, **drawn)


def test_an_empty_column_is_not_missed(tmp_path: Path) -> None:
    text = "epoch,loss,f1\n1,0.5,\n2,0.25,-\n"
    assert_reads(read(tmp_path / "a.csv", text), train_loss=[0.5, 0.25])


# Percent


@pytest.mark.parametrize("top", ["1.0000001", "1.00000012", "1.0"])
def test_a_tiny_overshoot_makes_no_percent_of_the_others(tmp_path: Path, top: str) -> None:
    history = read(tmp_path / "a.csv", f"epoch,accuracy,val_accuracy\n0,0.95,0.5\n1,{top},0.75\n")
    assert_reads(history, train_acc=[0.95, 1], val_acc=[0.5, 0.75])


@pytest.mark.parametrize(
    ("rows", "read_as", "notes"),
    [
        ("1,0.5,51\n2,0.9,95\n", [[0.5, 0.9], [0.51, 0.95]],
         ("train_acc is in fractions, beside others in percent",)),
        ("1,0.5,1.25\n", [[0.005], [0.0125]], ()),
        ("1,0.5,1.004\n", [[0.5], [1]], ("val_acc goes up to 1.004, which is taken for 1",)),
        ("1,50,100.00001\n", [[0.5], [1]], ()),
        ("1,95 %,0.5%\n", [[0.95], [0.005]], ()),
    ],
)  # fmt: skip
def test_percent_are_told_by_what_is_clearly_above_one_or_by_their_sign(
    tmp_path: Path, rows: str, read_as: list[list[float]], notes: tuple[str, ...]
) -> None:
    history = read(tmp_path / "a.csv", f"epoch,train_acc,val_acc\n{rows}")
    assert_reads(history, *notes, train_acc=read_as[0], val_acc=read_as[1])


def test_a_heading_may_say_percent(tmp_path: Path) -> None:
    assert_reads(read(tmp_path / "a.csv", "epoch,Val Acc (%)\n1,0.5\n2,0.75\n"), val_acc=[0.005, 0.0075])


# Lightning


MEAN = "train_loss is the mean of an epoch's rows"
FIT = "0,49,2.0,,\n0,99,1.5,,\n0,99,,1.75,0.5\n1,149,1.25,,\n1,199,0.75,,\n1,199,,1.0,0.75\n"


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ("", "", ""),
        ("", "2,200,,0.5,0.9\n", "line 8"),
        ("", "2,199,,0.5,0.9\n", "line 8"),
        ("", "1,199,,0.5,0.9\n", "line 8"),
        ("", "1,200,,0.5,0.9\n", "line 8"),
        ("", "0,0,,0.5,0.9\n", "line 8"),
        ("0,0,,2.5,0.9\n", "", "line 2"),
        ("0,0,,2.5,0.9\n", "2,200,,0.5,0.9\n2,200,,0.5,0.9\n", "lines 2, 9, 10"),
    ],
)
def test_lightnings_validations_outside_of_the_fit_are_no_epochs(
    tmp_path: Path, before: str, after: str, lines: str
) -> None:
    text = f"epoch,step,train_loss,val_loss,val_acc\n{before}{FIT}{after}"
    left = (
        (f"the validation in {lines} belongs to no epoch of the training, and is left out",) if lines else ()
    )
    assert_reads(
        read(tmp_path / "metrics.csv", text),
        MEAN,
        *left,
        train_loss=[1.75, 1.0],
        val_loss=[1.75, 1.0],
        val_acc=[0.5, 0.75],
    )


@pytest.mark.parametrize("more", ["2,200", "1,199", "0,0"])
def test_a_log_of_validations_alone_has_no_phantom_epoch_either(tmp_path: Path, more: str) -> None:
    text = f"epoch,step,val_loss,val_acc\n0,99,2.0,\n0,99,,0.5\n1,199,1.0,0.75\n{more},0.5,0.9\n"
    left = "the validation in line 5 belongs to no epoch of the training, and is left out"
    assert_reads(read(tmp_path / "metrics.csv", text), left, val_loss=[2.0, 1.0], val_acc=[0.5, 0.75])


def test_a_batch_size_is_no_step(tmp_path: Path) -> None:
    assert_reads(read(tmp_path / "a.csv", "epoch,batch,val_loss\n1,64,2\n2,64,1\n"), val_loss=[2, 1])


def test_validations_of_epochs_too_short_for_lightning_to_log_their_training_stay(tmp_path: Path) -> None:
    # 30 steps an epoch, of which every 50th is logged.
    text = "epoch,step,train_loss,val_loss\n0,29,,2.0\n1,49,1.5,\n1,59,,1.75\n2,89,,1.5\n3,99,1.0,\n3,119,,1.25\n"
    history = read(tmp_path / "metrics.csv", text)
    assert_reads(history, train_loss=[NAN, 1.5, NAN, 1.0], val_loss=[2.0, 1.75, 1.5, 1.25])


def test_of_several_validations_within_an_epoch_the_last_counts(tmp_path: Path) -> None:
    text = "epoch,step,train_loss,val_loss\n0,49,2.0,\n0,49,,1.75\n0,99,1.0,\n0,99,,1.5\n"
    assert_reads(read(tmp_path / "metrics.csv", text), MEAN, train_loss=[1.5], val_loss=[1.5])


def test_measures_logged_in_rows_of_their_own_are_one_validation(tmp_path: Path) -> None:
    text = "epoch,step,train_loss,val_loss,val_acc\n0,99,2.0,,\n0,99,,1.5,\n0,99,,,0.5\n"
    assert_reads(read(tmp_path / "metrics.csv", text), train_loss=[2.0], val_loss=[1.5], val_acc=[0.5])


@pytest.mark.parametrize("column", ["train_loss", "train_loss_step"])
def test_a_training_loss_by_steps_is_averaged_over_its_epoch(tmp_path: Path, column: str) -> None:
    text = f"epoch,step,{column},val_loss\n0,9,4.0,\n0,19,3.0,\n0,29,2.0,\n1,39,1.0,\n1,39,,1.25\n"
    assert_reads(read(tmp_path / "metrics.csv", text), MEAN, train_loss=[3.0, 1.0], val_loss=[NAN, 1.25])


def test_a_test_after_the_fit_is_no_validation(tmp_path: Path) -> None:
    text = "epoch,step,train_loss,test_acc\n0,49,2.0,\n1,99,1.0,\n2,100,,0.75\n"
    assert_reads(read(tmp_path / "metrics.csv", text), "not drawn: test_acc", train_loss=[2.0, 1.0])


def test_a_loss_that_diverged_within_an_epoch_stays_nan_and_pandas_empty_cells_do_not(tmp_path: Path) -> None:
    header = "epoch,step,train_loss,val_loss\n"
    history = read(tmp_path / "a.csv", f"{header}0,9,1.0,\n0,19,nan,\n0,19,,1.5\n1,29,0.5,\n1,29,,1.0\n")
    assert_reads(history, MEAN, train_loss=[NAN, 0.5], val_loss=[1.5, 1.0])
    history = read(tmp_path / "a.csv", f"{header}0,9,1.0,NaN\n0,19,0.5,NaN\n0,19,NaN,1.5\n1,29,0.5,NaN\n")
    assert_reads(history, MEAN, train_loss=[0.75, 0.5], val_loss=[1.5, NAN])


def test_validations_after_the_training_are_none_of_an_epoch_without_steps_either(tmp_path: Path) -> None:
    text = "epoch,train_loss,val_loss\n0,2.0,\n0,,1.75\n1,1.0,\n1,,1.25\n2,,0.5\n"
    left = "the validation in line 6 belongs to no epoch of the training, and is left out"
    assert_reads(read(tmp_path / "a.csv", text), left, train_loss=[2.0, 1.0], val_loss=[1.75, 1.25])


# Sessions


def again(lines: str, sessions: int) -> str:
    return f"the epochs begin again in {lines}: counted on, as {sessions} sessions of one training"


@pytest.mark.parametrize(
    ("epochs", "lines", "sessions", "numbers"),
    [
        ("012012", "line 5", 2, [1, 2, 3, 4, 5, 6]),
        ("123123", "line 5", 2, [1, 2, 3, 4, 5, 6]),
        ("12301", "line 5", 2, [1, 2, 3, 4, 5]),
        ("000", "lines 3, 4", 3, [1, 2, 3]),
        ("0000000", "lines 3, 4, 5, 6, 7, …", 7, [1, 2, 3, 4, 5, 6, 7]),
        ("0012", "line 3", 2, [1, 2, 3, 4]),
        ("12334", "line 5", 2, [1, 2, 3, 4, 5]),
        ("567567", "line 5", 2, [5, 6, 7, 8, 9, 10]),
    ],
)
def test_epochs_that_begin_again_are_counted_on(
    tmp_path: Path, epochs: str, lines: str, sessions: int, numbers: list[float]
) -> None:
    losses = [2 / (at + 1) for at in range(len(epochs))]
    rows = [f"{epoch},{loss},{1.5 * loss}\n" for epoch, loss in zip(epochs, losses, strict=True)]
    history = read(tmp_path / "a.csv", "epoch,loss,val_loss\n" + "".join(rows))
    assert_reads(
        history, again(lines, sessions), epoch=numbers, train_loss=losses, val_loss=[1.5 * x for x in losses]
    )


def test_a_file_that_was_appended_to_another_is_a_second_session(tmp_path: Path) -> None:
    text = "epoch,loss\n1,3\n2,2\nepoch,loss\n1,1.5\n2,1\n"
    assert_reads(read(tmp_path / "a.csv", text), again("line 5", 2), train_loss=[3, 2, 1.5, 1])


def test_a_resumed_run_takes_the_place_of_all_that_it_trains_again(tmp_path: Path) -> None:
    header = "epoch,train_loss,eval_loss,eval_top1\n"
    text = f"{header}0,6.0,5.0,25.0\n1,5.0,4.5,30.0\n2,4.0,4.0,35.0\n{header}1,5.5,4.0,50.0\n"
    told = "from line 6 on, a resumed run takes the place of what it trained again"
    history = read(tmp_path / "summary.csv", text)
    assert_reads(history, told, train_loss=[6.0, 5.5], val_loss=[5.0, 4.0], val_acc=[0.25, 0.5])


def test_lightnings_fits_one_after_another_are_counted_on(tmp_path: Path) -> None:
    first = "0,99,,1.75\n0,99,2.0,\n1,199,,1.5\n1,199,1.0,\n"
    text = f"epoch,step,train_loss,val_loss\n{first}0,0,,1.5\n0,99,,1.25\n0,99,0.9,\n1,199,,0.5\n1,199,0.8,\n"
    assert_reads(
        read(tmp_path / "metrics.csv", text),
        again("line 6", 2),
        "the validation in line 6 belongs to no epoch of the training, and is left out",
        train_loss=[2.0, 1.0, 0.9, 0.8],
        val_loss=[1.75, 1.5, 1.25, 0.5],
    )


@pytest.mark.parametrize("steps", ["9 9 9", "9 19 29"])
def test_fits_of_an_epoch_each_are_told_from_steps_by_their_validation(tmp_path: Path, steps: str) -> None:
    rows = "".join(f"0,{step},{loss},{loss}\n" for step, loss in zip(steps.split(), (3, 2, 1), strict=True))
    history = read(tmp_path / "a.csv", f"epoch,step,train_loss,val_loss\n{rows}")
    assert_reads(history, again("lines 3, 4", 3), train_loss=[3, 2, 1], val_loss=[3, 2, 1])


@pytest.mark.parametrize(
    "text",
    [
        "epoch,train_loss,val_loss\n0,2,\n0,,2.5\n1,1,\n1,,1.5\n",
        "epoch,train_loss,val_loss\n0,2,\n1,1,\n0,,2.5\n1,,1.5\n",
        "epoch,train_loss,val_loss\n1,1,1.5\n0,2,2.5\n",
        "epoch,phase,loss\n0,train,2\n0,val,2.5\n1,train,1\n1,val,1.5\n",
        "epoch;Split;Loss\n0;Training;2\n1;Training;1\n0;Validation;2,5\n1;Validation;1,5\n",
    ],
)
def test_rows_of_one_epoch_that_say_different_things_are_one_epoch(tmp_path: Path, text: str) -> None:
    assert_reads(read(tmp_path / "a.csv", text), train_loss=[2, 1], val_loss=[2.5, 1.5])


def test_rows_of_a_test_beside_validations_are_not_drawn(tmp_path: Path) -> None:
    header = "epoch,phase,loss\n"
    text = f"{header}0,train,2\n0,val,2.5\n{header}1,train,1\n1,val,1.5\n1,test,9\n"
    history = read(tmp_path / "a.csv", text)
    assert_reads(history, "not drawn: rows of the test", train_loss=[2, 1], val_loss=[2.5, 1.5])
    history = read(tmp_path / "a.csv", text.replace("val", "test").replace("1,test,9\n", ""))
    drawn = "rows of the test are drawn as validation"
    assert_reads(history, drawn, train_loss=[2, 1], val_loss=[2.5, 1.5])


@pytest.mark.parametrize("batch", [False, True])
def test_rows_of_every_batch_are_averaged(tmp_path: Path, batch: bool) -> None:
    rows = [(0, 0, 3), (0, 1, 1), (1, 0, 1), (1, 1, 0.5), (2, 0, 0.25)]
    text = "".join(f"{e},{b},{loss}\n" if batch else f"{e},{loss}\n" for e, b, loss in rows)
    history = read(tmp_path / "a.csv", f"epoch,batch,loss\n{text}" if batch else f"epoch,loss\n{text}")
    assert_reads(history, MEAN, train_loss=[2, 0.75, 0.25])


# Epochs in fractions, lines that were cut off, comments


FRACTIONS = "epochs are fractions: a row is of the epoch within which it was written"


def test_row_58_hugging_faces_fractions_of_epochs_are_their_epochs(tmp_path: Path) -> None:
    text = (
        "loss,grad_norm,learning_rate,epoch,step,eval_loss,eval_accuracy,train_loss\n"
        "4,1,5e-5,0.5,50,,,\n2,1,5e-5,1.0,100,,,\n,,,1.0,100,2.5,0.5,\n"
        "1,1,5e-5,1.5,150,,,\n0.5,1,5e-5,2.0,200,,,\n,,,2.0,200,1.5,0.75,\n,,,2.0,200,,,1.9\n"
    )
    assert_reads(
        read(tmp_path / "trainer.csv", text),
        FRACTIONS,
        MEAN,
        "not drawn: train_loss",
        train_loss=[3, 0.75],
        val_loss=[2.5, 1.5],
        val_acc=[0.5, 0.75],
    )


@pytest.mark.parametrize(
    ("rows", "train", "val"),
    [
        ("0,4,\n0.5,2,\n1,1,\n1,,9\n1.5,0.5,\n", [3, 0.75], [9, NAN]),  # epoch + batch / batches
        ("0,4,\n0.5,2,\n1,3,\n1,,9\n2,1,\n2,,8\n", [3, 1], [9, 8]),  # its first fraction rounded to 0
        ("0.33,4,\n0.67,2,\n1.0,3,\n1.0,,9\n", [3], [9]),
    ],
)
def test_row_58_fractions_count_from_where_they_begin(
    tmp_path: Path, rows: str, train: list[float], val: list[float]
) -> None:
    history = read(tmp_path / "a.csv", f"epoch,loss,val_loss\n{rows}")
    assert_reads(history, FRACTIONS, MEAN, train_loss=train, val_loss=val)


def test_row_58_a_validation_before_the_first_fraction_is_no_epochs(tmp_path: Path) -> None:
    left = "the validation in line 2 belongs to no epoch of the training, and is left out"
    history = read(tmp_path / "a.csv", "epoch,loss,val_loss\n0,,9\n0.5,4,\n1,2,\n1,,1\n")
    assert_reads(history, FRACTIONS, MEAN, left, train_loss=[3], val_loss=[1])


WHOLE = "epoch,loss,val_acc\n1,0.91234,0.51234\n2,0.81234,0.61234\n3,0.71234,0.71234\n"


@pytest.mark.parametrize("cut", range(3, 16))
def test_row_58_a_last_line_that_was_cut_off_is_left_out_and_named(tmp_path: Path, cut: int) -> None:
    history = read(tmp_path / "a.csv", WHOLE[:-cut])
    note = "line 4 was cut off, and is left out"
    assert_reads(history, note, train_loss=[0.91234, 0.81234], val_acc=[0.51234, 0.61234])


def test_row_58_a_line_without_an_end_is_whole_where_nothing_is_missing(tmp_path: Path) -> None:
    assert len(read(tmp_path / "a.csv", WHOLE[:-1]).frame) == 3
    assert len(read(tmp_path / "a.csv", "epoch,acc\n1,0.75\n2,0.9").frame) == 2


@pytest.mark.parametrize(
    "comment", ["# by hand", "# lr 0.1, seed 3", "#a,b,c,d,e", "% x, y", "// x", "A log, lenet"]
)
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_row_58_comments_above_the_headings_are_passed_over(
    tmp_path: Path, comment: str, times: int, delimiter: str
) -> None:
    text = "epoch,loss,val_loss\n1,2,3\n2,1,2\n".replace(",", delimiter)
    note = f"what stands above the headings in line {times + 1} is passed over"
    history = read(tmp_path / "a.csv", f"{comment}\n" * times + text)
    assert_reads(history, note, train_loss=[2, 1], val_loss=[3, 2])


def test_row_58_headings_may_be_the_comment_as_numpy_writes_them(tmp_path: Path) -> None:
    assert_reads(read(tmp_path / "a.csv", "# epoch,loss\n1,2\n2,1\n"), train_loss=[2, 1])


# Headings and spreadsheets


@pytest.mark.parametrize(
    ("heading", "measure"),
    [
        *((name, "train_loss") for name in ("Train Loss", "Training loss", "TRAIN-LOSS", "trainLoss", "trainloss",
          "Loss/train", "loss (train)", "train.loss", "avg train loss", "epoch_train_loss", "loss", "Training_Loss",
          "train\xa0loss", "训练损失", "Trainingsverlust")),
        *((name, "val_loss") for name in ("Val Loss", "valid_loss", "Validation Loss", "eval/loss", "dev_loss",
          "ValLoss", "验证损失", "Validation\nloss")),
        *((name, "train_acc") for name in ("Train Accuracy", "train_acc1", "Training Acc.", "acc", "Accuracy")),
        *((name, "val_acc") for name in ("Val Accuracy", "validation_accuracy", "val-acc", "VAL_ACC", "valAcc",
          "val_top1", "valid accuracy", "Accuracy (validation)", "val_sparse_categorical_accuracy",
          "验证准确率", "eval_top-1")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("epoch", ["epoch", "Epoch", " EPOCHS ", "Epoch #", "轮次"])
def test_headings_are_read_as_people_write_them(
    tmp_path: Path, heading: str, measure: str, epoch: str
) -> None:
    text = f'{epoch},"{heading}",learning rate,note\n2,0.5,0.1,x\n3,0.25,0.1,\n'
    assert_reads(read(tmp_path / "a.csv", text), epoch=[2, 3], **{measure: [0.5, 0.25]})


@pytest.mark.parametrize(
    "first", ["1/3", "Epoch 1", "Epoch 1/3", "[1/3]", "1 of 3", "1.0", "1.", "ep01", "第1轮"]
)
def test_an_epoch_may_be_written_with_words(tmp_path: Path, first: str) -> None:
    text = "Epoch,loss\n" + "".join(f"{first.replace('1', str(n))},{n}\n" for n in (1, 2, 3))
    assert_reads(read(tmp_path / "a.csv", text), train_loss=[1, 2, 3])


@pytest.mark.parametrize(
    "missing",
    [
        "",
        " ",
        "-",
        "--",
        "—",
        "N/A",
        "n.a.",
        "NA",
        "#N/A",
        "#DIV/0!",
        "null",
        "NULL",
        "None",
        "NaN",
        "nan",
        "-nan(ind)",
    ],
)
def test_a_cell_may_say_that_nothing_was_measured(tmp_path: Path, missing: str) -> None:
    text = f"epoch,loss,val_loss\n1,2,{missing}\n2,1,1.5\n3,0.5,{missing}\n"
    assert_reads(read(tmp_path / "a.csv", text), train_loss=[2, 1, 0.5], val_loss=[NAN, 1.5, NAN])


@pytest.mark.parametrize(
    ("written", "number"),
    [("0,95", 0.95), ("1.234,5", 1234.5), ("1 234,5", 1234.5), ("1\u202f234,5", 1234.5), ("1'234.5", 1234.5),
     ("1,234.5", 1234.5), ("1,5E-05", 1.5e-5), ("−1,5", -1.5), ('="0.95"', 0.95), ("1.#INF", math.inf), ("∞", math.inf),
     ("1,234,567", 1234567), (".5", 0.5), ("1e-3", 1e-3)],
)  # fmt: skip
def test_a_number_is_read_as_its_country_writes_it(tmp_path: Path, written: str, number: float) -> None:
    quoted = '"{}"'.format(written.replace('"', '""'))
    assert_reads(read(tmp_path / "a.csv", f"epoch,loss\n1,{quoted}\n"), train_loss=[number])


@pytest.mark.parametrize(
    ("text", "number", "note"),
    [
        ('epoch,loss\n1,"1,234"\n', 1234, ["loss: 1,234 is read as 1234"]),
        ("epoch;loss\n1;1,234\n", 1.234, ["loss: 1,234 is read as 1.234"]),
        ("epoch;loss;val\n1;1,234;0,5\n", 1.234, ["loss: 1,234 is read as 1.234"]),
        ("epoch;loss\n1;1.234\n", 1.234, []),
    ],
)
def test_what_may_be_decimals_or_thousands_is_said(
    tmp_path: Path, text: str, number: float, note: list[str]
) -> None:
    assert_reads(read(tmp_path / "a.csv", text), *note, train_loss=[number])


def test_no_number_of_words_and_spaces_is_made_up(tmp_path: Path) -> None:
    for cell in ("0.5 0.6", "1,2,3.4", "half", "12,34.5"):
        with pytest.raises(CnnzooError, match=r"line 2, column 'loss': .* is not a number\. Fix that line"):
            read(tmp_path / "a.csv", f'epoch,loss\n1,"{cell}"\n')


def written(number: float, mark: str, *, grouped: bool, percent: str) -> str:
    text = f"{number * 100 if percent else number:,.4f}"
    if not grouped:
        text = text.replace(",", "")
    return (text.translate({44: ".", 46: ","}) if mark == "," else text) + percent


@given(
    losses=st.lists(st.integers(1, 20_000_000).map(lambda n: n / 10_000), min_size=1, max_size=6),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]),
    delimiter=st.sampled_from(",;\t|"),
    mark=st.sampled_from(".,"),
    grouped=st.booleans(),
    percent=st.sampled_from(["", "%", " %", "\xa0%"]),
    end=st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    trailing=st.sampled_from(["", "{0}", "{0}{0}"]),
    sep=st.booleans(),
    index=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
def test_a_history_survives_any_spreadsheet(
    tmp_path: Path,
    losses: list[float],
    encoding: str,
    delimiter: str,
    mark: str,
    grouped: bool,
    percent: str,
    end: str,
    trailing: str,
    sep: bool,
    index: bool,
) -> None:
    accs = [0.5 + number / 100_000_000 for number in range(len(losses))]
    rows = [["", "Epoch", "Train Loss", "Val Accuracy", "Bemerkung"]]
    for at, (loss, acc) in enumerate(zip(losses, accs, strict=True)):
        cells = [
            written(loss, mark, grouped=grouped, percent=""),
            written(acc, mark, grouped=grouped, percent=percent),
        ]
        rows.append([str(at), f"{at + 1}/9", *cells, "größer"])
    tail = trailing.format(delimiter)
    lines = [delimiter.join(f'"{cell}"' for cell in row[not index :]) + tail for row in rows]
    text = end.join([f"sep={delimiter}"] * sep + lines) + end
    history = read(tmp_path / "a.csv", text.encode(encoding))
    assert list(history.frame["train_loss"]) == losses
    assert list(history.frame["val_acc"]) == pytest.approx(accs, abs=1e-4)
    assert len(history.notes) == (encoding in ("utf-16-le", "utf-16-be"))


@pytest.mark.parametrize(
    ("text", "encoding", "note"),
    [
        ("轮次,训练损失,验证准确率\n1,2.5,0.5\n", "gbk", "it is not UTF-8, and read as GB18030"),
        (
            "Epoch;Train Loss;Val Acc;Größe\n1;2,5;0,5;3\n",
            "cp1252",
            "it is not UTF-8, and read as Windows-1252",
        ),
        ("Époque;Train Loss;Val Acc\n1;2,5;0,5\n", "latin-1", "it is not UTF-8, and read as Windows-1252"),
        ("エポック,訓練損失,検証精度\n1,2.5,0.5\n", "cp932", "it is not UTF-8, and read as Shift-JIS"),
        ("epoch,train_loss,検証精度\n1,2.5,0.5\n", "cp932", "it is not UTF-8, and read as Shift-JIS"),
        ("輪次,訓練損失,驗證準確率\n1,2.5,0.5\n", "cp950", "it is not UTF-8, and read as Big5"),
        ("에포크,훈련 손실,검증 정확도\n1,2.5,0.5\n", "cp949", "it is not UTF-8, and read as CP949"),
        (
            "Эпоха;Потери (обучение);Точность на валидации\n1;2,5;0,5\n",
            "cp1251",
            "it is not UTF-8, and read as Windows-1251",
        ),
    ],
)
def test_headings_of_older_encodings_are_read_and_that_is_said(
    tmp_path: Path, text: str, encoding: str, note: str
) -> None:
    assert_reads(read(tmp_path / "a.csv", text.encode(encoding)), note, train_loss=[2.5], val_acc=[0.5])


def test_a_history_of_our_own_has_no_notes(tmp_path: Path) -> None:
    text = "epoch,train_loss,train_acc,val_loss,val_acc,lr,seconds,images_per_second\n"
    history = read(tmp_path / "history.csv", f"{text}1,0.5,1.0,0.6,1.0,0.001,7.25,6600.0\n")
    assert_reads(history, train_loss=[0.5], train_acc=[1.0], val_loss=[0.6], val_acc=[1.0])


# As a person meets it


@pytest.mark.parametrize(
    ("content", "best", "told"),
    [
        (b"epoch,train_loss,valid_loss,accuracy,f1\n0,2,2,0.5,0.4\n1,1,1,0.75,0.6\n",
         "epoch 2: validation accuracy 75.00%", [FASTAI, "not drawn: f1"]),
        (f"epoch,step,train_loss,val_loss,val_acc\n{FIT}2,200,,0.5,0.9\n".encode(),
         "epoch 2: validation accuracy 75.00%",
         [MEAN, "the validation in line 8 belongs to no epoch of the training, and is left out"]),
        (b"epoch,loss,val_loss\n0,3,3\n1,2,2\n0,1.5,1\n1,1,1.5\n", "epoch 3: validation loss 1", [again("line 4", 2)]),
        ("Epoch\tTrain Loss\tVal Accuracy\r\n1\t0,5\t95,5 %\r\n".encode("utf-16"),
         "epoch 1: validation accuracy 95.50%", []),
        ("轮次,验证准确率\n1,0.5\n".encode("gbk"), "epoch 1: validation accuracy 50.00%",
         ["it is not UTF-8, and read as GB18030"]),
    ],
    ids=["fastai", "Lightning", "two fits", "Excel", "GBK"],
)  # fmt: skip
def test_row_58_a_foreign_history_is_drawn_and_each_assumption_is_said(
    command: Command, tmp_path: Path, content: bytes, best: str, told: list[str]
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    done = command("plot", "a.csv")
    assert (done.code, done.out) == (0, f"a.png (best {best})\n")
    assert done.err.splitlines() == [f"a.csv: {note}" for note in told]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_row_58_what_cannot_be_understood_is_refused_in_one_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("Время;Значение\n1;2\n".encode("utf-16"))
    assert_refused(command("plot", "a.csv"), "is not a history file: it has the columns 'Время', 'Значение'")
