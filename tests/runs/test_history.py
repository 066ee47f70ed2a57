"""Histories: what cnnzoo writes, and what it reads of others."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cnnzoo.errors import CnnzooError
from cnnzoo.files import replacing
from cnnzoo.runs.histories.read import read_history
from cnnzoo.runs.history import History, HistoryRow, read_rows, write_history

HEADER = "epoch,train_loss,train_acc,val_loss,val_acc,lr,seconds,images_per_second"
MEASURES = ["train_loss", "train_acc", "val_loss", "val_acc"]


def row(epoch: int = 1, **values: float) -> HistoryRow:
    usual = {"train_loss": 0.5, "train_acc": 0.8, "val_loss": 0.6, "val_acc": 0.7}
    return HistoryRow(epoch, **(usual | values), lr=1e-3, seconds=7.25, images_per_second=6600.0)


def read(path: Path, text: str | bytes) -> History:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_history(path)


def columns(history: History) -> dict[str, list[float]]:
    return {str(name): list(history.frame[name]) for name in history.frame}


# Writing


def test_a_history_has_one_line_per_epoch_under_one_header(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", [row(1), row(2, val_acc=0.75)])
    assert (tmp_path / "history.csv").read_bytes().decode() == (
        f"{HEADER}\n1,0.5,0.8,0.6,0.7,0.001,7.25,6600.0\n2,0.5,0.8,0.6,0.75,0.001,7.25,6600.0\n"
    )


losses = st.floats(allow_nan=False)
shares = st.floats(min_value=0, max_value=1)


@given(st.lists(st.tuples(losses, shares, losses, shares), min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_every_float_is_read_back_exactly(
    tmp_path: Path, epochs: list[tuple[float, float, float, float]]
) -> None:
    rows = [
        row(number, **dict(zip(MEASURES, values, strict=True))) for number, values in enumerate(epochs, 1)
    ]
    write_history(tmp_path / "history.csv", rows)
    history = read_history(tmp_path / "history.csv")
    assert columns(history) == {
        "epoch": list(range(1, len(rows) + 1)),
        **{name: [getattr(one, name) for one in rows] for name in MEASURES},
    }
    assert read_rows(tmp_path / "history.csv") == rows


def test_what_is_no_history_of_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    with pytest.raises(FileNotFoundError):
        read_rows(path)
    for text, says in (
        ("", "no column epoch"),
        (HEADER.replace(",lr", ""), "no column lr"),
        (f"{HEADER}\n1,0.5,0.8,0.6,high,0.001,7.25,6600.0\n", "val_acc is 'high'"),
        (f"{HEADER}\n1,0.5,0.8\n", "val_loss is None"),
        (f"{HEADER}\n1,{'0' * 200_000},0.8,0.6,0.7,0.001,7.25,6600.0\n", "field larger than field limit"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=says):
            read_rows(path)


def test_only_the_history_is_left_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / ".history.csv.tmp").write_text("what a crash left")
    write_history(tmp_path / "history.csv", [row()])
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_a_full_disk_leaves_the_old_history_whole(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    write_history(path, [row()])
    before = path.read_bytes()
    resource = pytest.importorskip("resource", reason="needs the file size limit of POSIX")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(CnnzooError, match=r"cannot write .*history\.csv: File too large"):
            write_history(path, [row(epoch) for epoch in range(1, 1000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as file:
            file.write(b"half of the ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("history.csv", "old")]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        CnnzooError, match=r"cannot write .*gone.history\.csv: No such file.*Make that folder"
    ):
        write_history(tmp_path / "gone" / "history.csv", [row()])


def test_writing_needs_neither_pandas_nor_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cnnzoo.runs.history import HistoryRow, write_history\n"
        "write_history(Path('history.csv'), [HistoryRow(1, .5, .8, .6, .7, .001, 7.0, 6600.0)])\n"
        "print(*({'pandas', 'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("\n", "")
    assert (tmp_path / "history.csv").exists()


# The formats


def test_the_tutorials_columns_are_read(tmp_path: Path) -> None:
    history = read(
        tmp_path / "process.csv",
        ",epoch,train_loss_all,val_loss_all,train_acc_all,val_acc_all\n"
        "0,0,1.5,1.25,0.5,0.625\n"
        "1,1,0.75,0.5,0.75,0.875\n",
    )
    assert columns(history) == {
        "epoch": [1, 2],
        "train_loss": [1.5, 0.75],
        "train_acc": [0.5, 0.75],
        "val_loss": [1.25, 0.5],
        "val_acc": [0.625, 0.875],
    }


@pytest.mark.parametrize(
    "accuracy",
    ["accuracy", "acc", "sparse_categorical_accuracy", "categorical_accuracy", "binary_accuracy"],
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_keras_csvlogger_is_read(tmp_path: Path, accuracy: str, separator: str) -> None:
    text = f"epoch,{accuracy},loss,val_{accuracy},val_loss\n0,0.5,1.5,0.25,2.0\n1,0.75,1.0,0.5,1.75\n"
    assert columns(read(tmp_path / "training.log", text.replace(",", separator))) == {
        "epoch": [1, 2],
        "train_loss": [1.5, 1.0],
        "train_acc": [0.5, 0.75],
        "val_loss": [2.0, 1.75],
        "val_acc": [0.25, 0.5],
    }


def test_an_epoch_that_keras_did_not_validate_has_no_value(tmp_path: Path) -> None:
    text = "epoch,accuracy,loss,val_accuracy,val_loss\n0,0.5,1.5,NA,NA\n1,0.75,1.0,0.5,1.75\n"
    history = read(tmp_path / "log.csv", text)
    assert math.isnan(history.frame["val_loss"][0])
    assert history.frame["val_loss"][1] == 1.75
    assert history.best_epoch == 2


def test_a_keras_history_saved_by_pandas_is_counted_by_its_rows(tmp_path: Path) -> None:
    history = read(tmp_path / "history.csv", ",loss,accuracy\n0,1.5,0.5\n1,1.0,0.75\n2,0.5,0.875\n")
    assert columns(history) == {
        "epoch": [1, 2, 3],
        "train_loss": [1.5, 1.0, 0.5],
        "train_acc": [0.5, 0.75, 0.875],
    }


def test_lightnings_scattered_rows_become_one_per_epoch(tmp_path: Path) -> None:
    history = read(
        tmp_path / "metrics.csv",
        "epoch,lr-Adam,step,test_acc,train_acc_epoch,train_loss_epoch,train_loss_step,val_acc,val_loss\n"
        ",0.001,0,,,,,,\n"
        "0,,49,,,,2.25,,\n"
        "0,,99,,,,2.125,,\n"
        "0,,99,,,,,0.25,2.0\n"
        "0,,99,,0.5,1.75,,,\n"
        "1,,149,,,,1.5,,\n"
        "1,,199,,,,,0.5,1.25\n"
        "1,,199,,0.625,1.0,,,\n"
        "2,,200,0.55,,,,,\n",
    )
    assert columns(history) == {
        "epoch": [1, 2],
        "train_loss": [1.75, 1.0],
        "train_acc": [0.5, 0.625],
        "val_loss": [2.0, 1.25],
        "val_acc": [0.25, 0.5],
    }


def test_lightnings_steps_are_averaged_where_it_logged_no_epoch(tmp_path: Path) -> None:
    text = "epoch,step,train_loss,val_loss\n0,49,2.0,\n0,99,1.5,\n0,99,,1.75\n1,149,1.25,\n1,199,,1.0\n"
    history = read(tmp_path / "metrics.csv", text)
    assert columns(history) == {"epoch": [1, 2], "train_loss": [1.75, 1.25], "val_loss": [1.75, 1.0]}


def test_timms_top1_is_a_percentage_even_below_one(tmp_path: Path) -> None:
    text = "epoch,train_loss,eval_loss,eval_top1,eval_top5,lr\n0,6.85,6.64,0.875,3.25,0.1\n"
    assert columns(read(tmp_path / "summary.csv", text)) == {
        "epoch": [1],
        "train_loss": [6.85],
        "val_loss": [6.64],
        "val_acc": [0.00875],
    }


def test_timms_second_header_after_a_resume_is_passed_over(tmp_path: Path) -> None:
    header = "epoch,train_loss,eval_loss,eval_top1,eval_top5\n"
    text = f"{header}0,6.0,5.0,25.0,50.0\n1,5.0,4.5,30.0,60.0\n{header}1,5.5,4.0,50.0,75.0\n"
    history = read(tmp_path / "summary.csv", text)
    assert columns(history) == {
        "epoch": [1, 2],
        "train_loss": [6.0, 5.5],
        "val_loss": [5.0, 4.0],
        "val_acc": [0.25, 0.5],
    }


@pytest.mark.parametrize("width", [0, 23])
def test_ultralytics_results_are_read_with_and_without_padding(tmp_path: Path, width: int) -> None:
    header = "epoch,time,train/loss,metrics/accuracy_top1,metrics/accuracy_top5,val/loss,lr/pg0"
    lines = [header, "1,10.5,2.25,0.25,0.875,1.75,0.01", "2,20.5,1.25,0.75,0.96875,1.0,0.01"]
    text = "\n".join(",".join(f"{cell:>{width}}" for cell in line.split(",")) for line in lines)
    assert columns(read(tmp_path / "results.csv", text)) == {
        "epoch": [1, 2],
        "train_loss": [2.25, 1.25],
        "val_loss": [1.75, 1.0],
        "val_acc": [0.25, 0.75],
    }


def test_a_percentage_in_any_column_makes_fractions_of_all(tmp_path: Path) -> None:
    history = read(tmp_path / "a.csv", "epoch,train_acc,val_acc\n1,0.5,1.25\n2,12.5,25\n")
    assert columns(history) == {"epoch": [1, 2], "train_acc": [0.005, 0.125], "val_acc": [0.0125, 0.25]}


@pytest.mark.parametrize(("epochs", "numbered"), [("012", [1, 2, 3]), ("123", [1, 2, 3]), ("678", [6, 7, 8])])
def test_only_epochs_that_start_at_zero_are_moved(tmp_path: Path, epochs: str, numbered: list[int]) -> None:
    history = read(tmp_path / "a.csv", "epoch,loss\n" + "".join(f"{epoch},1.5\n" for epoch in epochs))
    assert list(history.frame["epoch"]) == numbered


def test_epochs_may_come_in_any_order(tmp_path: Path) -> None:
    history = read(tmp_path / "a.csv", "epoch,loss\n3,0.5\n1,1.5\n2,1.0\n")
    assert columns(history) == {"epoch": [1, 2, 3], "train_loss": [1.5, 1.0, 0.5]}


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    history = read(tmp_path / "a.csv", b"\xef\xbb\xbfloss,epoch\r\n1.5,0\r\n\r\n0.5,1\r\n")
    assert columns(history) == {"epoch": [1, 2], "train_loss": [1.5, 0.5]}


def test_a_loss_may_be_nan_or_infinite(tmp_path: Path) -> None:
    history = read(tmp_path / "a.csv", "epoch,train_loss\n1,2.5\n2,inf\n3,nan\n4,1.5\n")
    assert list(history.frame["epoch"]) == [1, 2, 3, 4]
    assert history.best_epoch == 4


# What a history says of itself


@pytest.mark.parametrize(
    ("text", "best"),
    [
        ("epoch,val_loss,val_acc\n1,0.1,0.5\n2,0.2,0.75\n3,0.3,0.75\n", 2),
        ("epoch,train_acc,val_loss\n1,0.9,0.5\n2,0.5,0.25\n3,0.5,0.25\n", 2),
        ("epoch,train_loss,train_acc\n1,0.1,0.5\n2,0.5,0.75\n", 2),
        ("epoch,train_loss\n1,0.5\n2,0.25\n3,0.75\n", 2),
        ("epoch,val_loss,val_acc\n1,0.1,nan\n2,0.05,nan\n", 2),
        ("epoch,train_loss\n1,nan\n", None),
    ],
)
def test_the_best_epoch_is_the_first_by_validation_accuracy_or_the_next_best_measure(
    tmp_path: Path, text: str, best: int | None
) -> None:
    assert read(tmp_path / "a.csv", text).best_epoch == best


def test_the_best_epoch_is_described_in_words(tmp_path: Path) -> None:
    history = read(tmp_path / "a.csv", "epoch,val_acc\n1,0.5\n2,0.87932\n")
    assert history.describe_best() == "best epoch 2: validation accuracy 87.93%"
    history = read(tmp_path / "a.csv", "epoch,train_loss\n1,0.312345\n")
    assert history.describe_best() == "best epoch 1: training loss 0.3123"
    history = read(tmp_path / "a.csv", "epoch,train_loss\n1,nan\n")
    assert history.describe_best() == "no epoch with a finite value"


def test_model_data_and_monitor_come_from_the_config_beside_it(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: lenet\ndataset: fashionmnist\nmonitor: val_loss\n")
    history = read(tmp_path / "history.csv", "epoch,val_loss,val_acc\n1,0.25,0.5\n2,0.5,0.75\n")
    assert history.title == "lenet on fashionmnist"
    assert history.best_epoch == 1


def test_a_folder_of_images_is_called_by_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: lenet\ndataset: folder:/home/someone/pets\n")
    assert read(tmp_path / "history.csv", "epoch,val_acc\n1,0.5\n").title == "lenet on pets"


@pytest.mark.parametrize(
    "config",
    [
        b"{",
        b"\xff\xfe\x00",
        b"- a list",
        b"model:\n  class_path: my.Model\ndataset: [1, 2]\nmonitor: epoch\n",
        b"model: 3\n",
        b"",
    ],
)
def test_a_broken_or_foreign_config_does_not_stop_the_reading(tmp_path: Path, config: bytes) -> None:
    folder = tmp_path / "my-run"
    folder.mkdir()
    (folder / "config.yaml").write_bytes(config)
    history = read(folder / "history.csv", "epoch,val_acc\n1,0.5\n2,0.25\n")
    assert history.title == "my-run"
    assert history.best_epoch == 1


def test_a_run_folder_stands_for_its_history(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", [row()])
    assert read_history(tmp_path).path == tmp_path / "history.csv"


# Bad input


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n\n \n", "is empty"),
        (HEADER.encode() + b"\n", "holds no epoch yet"),
        (b"epoch,loss\n1,\n2,NA\n", "holds no epoch yet"),
        (b"epoch,loss\n1,0.5,7\n", "line 2: it has 3 of the header's 2 fields"),
        (b"epoch,loss,note\n1,0.5,fine\n2,half,bad\n", "line 3, column 'loss': 'half' is not a number"),
        (b"epoch,loss\none,0.5\n", "line 2, column 'epoch': 'one' is not a number"),
        (b"epoch,loss\n-1,0.5\n", "line 2, column 'epoch': '-1' is not a number of an epoch"),
        (b"epoch,loss\nnan,0.5\n", "line 2, column 'epoch': 'nan' is not a number of an epoch"),
        (b"epoch,loss\n1e300,0.5\n", "line 2, column 'epoch': '1e300' is not a number of an epoch"),
        (b"epoch,loss\n,0.5\n", "line 2, column 'epoch': '' is not a number"),
        (b"epoch,acc\n1,250\n", "line 2, column 'acc': 250 is not an accuracy"),
        (b"epoch,acc\n1,-0.5\n", "line 2, column 'acc': -0.5 is not an accuracy"),
        (b"time,price\n1,2\n", "the columns 'time', 'price'. Understood are the columns of cnnzoo"),
        (b",".join(b"c%d" % n for n in range(100)) + b"\n", "'c7', …. Understood"),
        (b"epoch,step\n1,2\n", "is not a history file"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is not a text file"),
        (b"epoch,loss\n1,\xe9t\xe9\n", "is not a UTF-8 text file"),
        (b"epoch,loss\n1," + b"9" * 200_000 + b"\n", "is not a CSV file"),
    ],
)
def test_what_is_no_history_is_refused_in_one_line_that_says_why(
    tmp_path: Path, content: bytes, says: str
) -> None:
    with pytest.raises(CnnzooError) as caught:
        read(tmp_path / "a.csv", content)
    message = str(caught.value)
    assert says in message
    assert str(tmp_path / "a.csv") in message
    assert "\n" not in message
    assert caught.value.exit_code == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CnnzooError, match=r"cannot read .*none\.csv: No such file or directory"):
        read_history(tmp_path / "none.csv")


def test_a_name_too_long_for_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CnnzooError, match="name too long"):
        read_history(tmp_path / ("x" * 300))


def test_a_folder_without_a_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CnnzooError, match=r"holds no history\.csv"):
        read_history(tmp_path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(CnnzooError, match="not a text file"):
        read_history(Path("/dev/zero"))


cells = st.sampled_from(
    ["", "NA", "0", "1", "2", "3.5", "99", "-1", "nan", "inf", "-inf", "1e308", '"', "x", "1,2"]
)
names = st.sampled_from(
    [
        "epoch",
        "step",
        "loss",
        "val_loss",
        "acc",
        "val_acc",
        "train_loss",
        "train_loss_epoch",
        "eval_top1",
        "",
        "epoch ",
    ]
)
tables = st.builds(
    lambda header, rows: "\n".join(map(",".join, [header, *rows])),
    st.lists(names, min_size=1, max_size=5),
    st.lists(st.lists(cells, min_size=1, max_size=5), max_size=6),
)


@given(st.one_of(st.binary(max_size=200), tables.map(str.encode), st.text(max_size=80).map(str.encode)))
@example(b'epoch,loss\n1,"')
@example(b"\x00")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_any_bytes_are_a_sound_history_or_an_error_in_one_line(tmp_path: Path, content: bytes) -> None:
    try:
        history = read(tmp_path / "a.csv", content)
    except CnnzooError as error:
        assert "\n" not in str(error)  # noqa: PT017  (either outcome is right)
        return
    epochs = list(history.frame["epoch"])
    assert epochs == sorted(set(epochs))
    assert epochs[0] >= 1
    for name in set(history.frame) & {"train_acc", "val_acc"}:
        assert all(0 <= value <= 1 for value in history.frame[name].dropna())
    assert history.best_epoch is None or history.best_epoch in epochs
    assert history.describe_best()
