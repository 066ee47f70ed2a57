"""Pictures of histories, and the command that draws them."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import matplotlib.image
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cnnzoo import cli
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.runs.histories.read import read_history
from cnnzoo.runs.history import History, HistoryRow, write_history
from cnnzoo.ui.curves import plot_histories
from cnnzoo.ui.style import save_figure

Outcome = tuple[int, str, str]


def make_run(folder: Path, epochs: int = 3, *, top: float = 0.9, config: str = "") -> Path:
    """Write the history of a run whose accuracy rises to ``top``."""
    folder.mkdir(parents=True, exist_ok=True)
    rises = [1 - math.exp(-3 * epoch / epochs) for epoch in range(1, epochs + 1)]
    rows = [
        HistoryRow(epoch, 2.3 - 2 * rise, top * rise + 0.02, 2.4 - 1.9 * rise, top * rise, 1e-3, 7.0, 6600.0)
        for epoch, rise in enumerate(rises, 1)
    ]
    write_history(folder / "history.csv", rows)
    if config:
        (folder / "config.yaml").write_text(config, encoding="utf-8")
    return folder


def history_of(folder: Path, epochs: int = 3, *, top: float = 0.9, config: str = "") -> History:
    return read_history(make_run(folder, epochs, top=top, config=config))


def from_text(path: Path, text: str) -> History:
    path.write_text(text)
    return read_history(path)


def drawn(figure: Figure) -> Figure:
    """Lay the figure out, as saving it does."""
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    return figure


def title(figure: Figure) -> str:
    return figure.get_suptitle()


def curves(axes: Axes) -> list[Line2D]:
    return [line for line in axes.lines if line.get_label() != "best epoch"]


def points(line: Line2D) -> list[tuple[float, float]]:
    return list(
        zip(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist(), strict=True)
    )


def markers(line: Line2D) -> list[int]:
    every = line.get_markevery()
    assert isinstance(every, list)
    return [int(index) for index in every]


def legend_labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def ticks(axes: Axes) -> list[float]:
    low, high = axes.get_xlim()
    return [float(tick) for tick in axes.get_xticks() if low <= tick <= high]


# One history


def test_loss_and_accuracy_stand_beside_each_other_in_twelve_by_four_inches(tmp_path: Path) -> None:
    figure = plot_histories([history_of(tmp_path, 10)])
    assert tuple(figure.get_size_inches()) == (12, 4)
    left, right = figure.axes
    assert (left.get_xlabel(), left.get_ylabel()) == ("epoch", "loss")
    assert (right.get_xlabel(), right.get_ylabel()) == ("epoch", "accuracy")
    assert left.get_position().x1 < right.get_position().x0


@pytest.mark.parametrize("panel", [0, 1])
def test_training_is_red_circles_and_validation_blue_squares_on_lines(tmp_path: Path, panel: int) -> None:
    axes = plot_histories([history_of(tmp_path, 10)]).axes[panel]
    looks = [
        (to_hex(line.get_color()), line.get_marker(), line.get_linestyle(), line.get_label())
        for line in curves(axes)
    ]
    assert looks == [("#ff0000", "o", "-", "train"), ("#0000ff", "s", "-", "validation")]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["train", "validation", "best epoch"]


def test_the_curves_are_the_historys_numbers(tmp_path: Path) -> None:
    history = history_of(tmp_path, 10)
    loss, accuracy = plot_histories([history]).axes
    for axes, columns in ((loss, ("train_loss", "val_loss")), (accuracy, ("train_acc", "val_acc"))):
        for line, column in zip(curves(axes), columns, strict=True):
            epochs, values = history.frame["epoch"], history.frame[column]
            assert points(line) == list(zip(epochs, values, strict=True))


def test_the_title_names_model_data_and_best_epoch(tmp_path: Path) -> None:
    config = "model: lenet\ndataset: fashionmnist\n"
    history = from_text(
        make_run(tmp_path, config=config) / "history.csv", "epoch,val_acc\n1,0.5\n2,0.87932\n"
    )
    assert title(plot_histories([history])) == (
        "lenet on fashionmnist\nbest epoch 2: validation accuracy 87.93%"
    )


def test_the_best_epoch_has_a_ring_in_both_panels(tmp_path: Path) -> None:
    text = "epoch,val_loss,val_acc\n1,0.5,0.5\n2,0.75,0.875\n3,0.25,0.75\n"
    rings = [
        [points(line) for line in axes.lines if line.get_label() == "best epoch"]
        for axes in plot_histories([from_text(tmp_path / "a.csv", text)]).axes
    ]
    assert rings == [[[(2, 0.75)]], [[(2, 0.875)]]]


@pytest.mark.parametrize("epochs", [1, 100])
def test_red_and_blue_are_seen_in_both_panels_of_the_picture(tmp_path: Path, epochs: int) -> None:
    save_figure(plot_histories([history_of(tmp_path, epochs)]), tmp_path / "a.png")
    picture = matplotlib.image.imread(tmp_path / "a.png")
    assert picture.shape == (600, 1800, 4)
    # The curves' part of each panel, without what the legend shows in red and blue.
    for axes in np.split(picture, 2, axis=1):
        red, green, blue = (axes[..., channel] for channel in range(3))
        legend = 110  # pixels: one circle and one line of the legend
        assert ((red > 0.9) & (green < 0.1) & (blue < 0.1)).sum() > 2 * legend
        assert ((blue > 0.9) & (green < 0.1) & (red < 0.1)).sum() > 2 * legend


@pytest.mark.parametrize("epochs", [1, 2, 10, 37, 100, 1000])
def test_epoch_ticks_are_whole_numbers_from_one(tmp_path: Path, epochs: int) -> None:
    for axes in plot_histories([history_of(tmp_path, epochs)]).axes:
        shown = ticks(axes)
        assert shown
        assert all(tick == int(tick) and 1 <= tick <= epochs for tick in shown)
        assert len(shown) <= 13
        if epochs <= 10:
            assert shown == list(range(1, epochs + 1))


def test_accuracy_is_in_percent(tmp_path: Path) -> None:
    figure = drawn(plot_histories([history_of(tmp_path, 10)]))
    assert all(label.get_text().endswith("%") for label in figure.axes[1].get_yticklabels())


def test_a_hundred_epochs_do_not_hide_their_line_behind_markers(tmp_path: Path) -> None:
    for axes in plot_histories([history_of(tmp_path, 100)]).axes:
        for line in curves(axes):
            assert 10 <= len(markers(line)) <= 25
            assert len(points(line)) == 100


def test_a_square_upon_a_circle_leaves_it_visible(tmp_path: Path) -> None:
    text = "epoch,train_loss,val_loss\n1,0.5,0.5\n"
    train, val = curves(plot_histories([from_text(tmp_path / "a.csv", text)]).axes[0])
    assert train.get_markersize() > val.get_markersize() * 1.3


# Values that are not there


def test_a_line_has_a_gap_where_its_loss_is_nan_or_infinite(tmp_path: Path) -> None:
    text = "epoch,train_loss\n1,2.5\n2,2.0\n3,nan\n4,1.5\n5,inf\n6,1.25\n7,1.0\n"
    (line,) = curves(plot_histories([from_text(tmp_path / "a.csv", text)]).axes[0])
    assert [math.isnan(value) for _, value in points(line)] == [False, False, True, False, True, False, False]
    assert 3 in markers(line)  # without its marker, the epoch between two gaps could not be seen


def test_a_point_between_two_gaps_of_a_long_run_keeps_its_marker(tmp_path: Path) -> None:
    losses = ["1.5"] * 100
    losses[40] = losses[42] = "nan"
    text = "epoch,loss\n" + "".join(f"{epoch},{loss}\n" for epoch, loss in enumerate(losses, 1))
    (line,) = curves(plot_histories([from_text(tmp_path / "a.csv", text)]).axes[0])
    assert 41 in markers(line)


def test_a_line_joins_the_epochs_of_a_run_that_was_validated_now_and_then(tmp_path: Path) -> None:
    text = "epoch,loss,val_loss\n0,2.0,NA\n1,1.5,1.75\n2,1.25,NA\n3,1.0,1.5\n4,0.75,NA\n"
    _, val = curves(plot_histories([from_text(tmp_path / "a.csv", text)]).axes[0])
    assert points(val) == [(2, 1.75), (4, 1.5)]


def test_a_loss_near_the_largest_float_can_be_drawn(tmp_path: Path) -> None:
    text = "epoch,train_loss,val_loss\n1,1.5,1.7e308\n2,1.0,-1.7e308\n3,0.5,1.0\n"
    save_figure(plot_histories([from_text(tmp_path / "a.csv", text)]), tmp_path / "a.png")


def test_a_panel_without_columns_is_left_out(tmp_path: Path) -> None:
    figure = plot_histories([from_text(tmp_path / "a.csv", "epoch,loss\n1,2.0\n2,1.0\n")])
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss"]


def test_a_loss_that_was_never_finite_is_said_to_be_so(tmp_path: Path) -> None:
    figure = plot_histories([from_text(tmp_path / "a.csv", "epoch,loss,acc\n1,nan,0.5\n2,inf,0.5\n")])
    assert [text.get_text() for text in figure.axes[0].texts] == ["no finite loss"]
    assert [len(curves(axes)) for axes in figure.axes] == [0, 1]


# Several histories


def several(tmp_path: Path, count: int, epochs: int = 5, name: str = "lenet-fashionmnist-") -> list[History]:
    config = "model: lenet\ndataset: fashionmnist\n"
    return [
        history_of(tmp_path / f"{name}{number}", epochs, top=0.9 - 0.01 * number, config=config)
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", [2, 5, 7, 12])
def test_every_run_has_a_colour_and_a_name_of_its_own(tmp_path: Path, count: int) -> None:
    figure = plot_histories(several(tmp_path, count))
    for axes in figure.axes:
        colors = [to_hex(line.get_color()) for line in curves(axes)]
        assert colors[::2] == colors[1::2]  # a run's training and its validation
        assert len(set(colors)) == count
    labels = legend_labels(figure)
    assert [label.split(" · ")[0] for label in labels] == [
        f"lenet-fashionmnist-{n + 1}" for n in range(count)
    ]
    assert labels[0] == "lenet-fashionmnist-1 · 84.57% in epoch 5"
    assert title(figure) == f"lenet on fashionmnist: {count} runs"


def test_training_is_dashed_circles_and_validation_solid_squares(tmp_path: Path) -> None:
    for axes in plot_histories(several(tmp_path, 2)).axes:
        looks = [(line.get_linestyle(), line.get_marker()) for line in curves(axes)]
        assert looks == [("--", "o"), ("-", "s")] * 2


@pytest.mark.parametrize(
    ("count", "name"),
    [(2, "run-"), (12, "run-"), (5, "a-really-long-name-of-an-experiment-that-goes-on-and-on-")],
)
def test_the_legend_covers_no_panel_and_is_not_cut(tmp_path: Path, count: int, name: str) -> None:
    figure = drawn(plot_histories(several(tmp_path, count, name=name)))
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.y0 >= 0
    assert legend.x1 <= figure.bbox.x1
    for axes in figure.axes:
        panel = axes.get_tightbbox()
        assert panel is not None
        assert legend.y1 <= panel.y0
        assert axes.get_window_extent().height > 2.5 * figure.dpi


def test_long_names_lose_their_middle_and_stay_distinct(tmp_path: Path) -> None:
    beginning, end = "b" * 60, "e" * 60
    histories = [history_of(tmp_path / f"{beginning}{number}{end}") for number in (1, 2)]
    names = [label.split(" · ")[0] for label in legend_labels(plot_histories(histories))]
    assert len(set(names)) == 2
    for name in names:
        assert name.startswith("bbbb")
        assert "…eeee" in name
        assert len(name) <= 44


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    histories = [history_of(tmp_path / person / "run-1") for person in ("ada", "grace")]
    assert [label.split(" · ")[0] for label in legend_labels(plot_histories(histories))] == [
        "ada/run-1",
        "grace/run-1",
    ]


def test_files_of_one_folder_are_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    histories = [
        from_text(folder / "summary.csv", "epoch,train_loss,eval_loss,eval_top1\n0,2.0,2.0,50\n"),
        from_text(folder / "results.csv", "epoch,train/loss,val/loss,metrics/accuracy_top1\n1,2.0,2.0,0.5\n"),
    ]
    assert [label.split(" · ")[0] for label in legend_labels(plot_histories(histories))] == [
        "here/summary.csv",
        "here/results.csv",
    ]


def test_the_same_history_twice_is_numbered(tmp_path: Path) -> None:
    history = history_of(tmp_path / "run")
    names = [label.split(" · ")[0] for label in legend_labels(plot_histories([history, history]))]
    assert [name.rpartition(" ")[2] for name in names] == ["(1)", "(2)"]


def test_a_history_without_accuracy_is_compared_with_one_that_has_it(tmp_path: Path) -> None:
    histories = [
        from_text(tmp_path / "loss.csv", "epoch,loss\n1,2.0\n2,1.0\n"),
        history_of(tmp_path / "run"),
    ]
    figure = plot_histories(histories)
    assert [len(curves(axes)) for axes in figure.axes] == [3, 2]
    assert legend_labels(figure)[0] == "loss · loss 1 in epoch 2"


# Names that matplotlib would trip over (a warning is an error in these tests)


def test_any_name_can_be_drawn(tmp_path: Path) -> None:
    names = ["中文名字", "cost $\\frac{$", "_hidden", "tab\there\nline", "emoji 🦓", "%d {0}"]
    figure = plot_histories([history_of(tmp_path / name) for name in names])
    save_figure(figure, tmp_path / "several.png")
    assert [label.split(" · ")[0] for label in legend_labels(figure)] == [
        " ".join(name.split()) for name in names
    ]
    alone = plot_histories([history_of(tmp_path / "".join(names))])
    save_figure(alone, tmp_path / "alone.png")
    assert title(alone).startswith(" ".join("".join(names).split()))


@pytest.mark.parametrize("sign", ["m", "中", "i"])
@pytest.mark.filterwarnings("ignore:Glyph")  # which it is to be quiet about is tested where it saves
def test_a_long_title_fits_the_picture(tmp_path: Path, sign: str) -> None:
    config = f"model: {sign * 200}\ndataset: folder:/{sign * 200}\n"
    for text in ("epoch,val_loss\n1,0.5\n", "epoch,val_loss,val_acc\n1,0.5,0.5\n"):
        history = from_text(make_run(tmp_path, config=config) / "history.csv", text)
        figure = drawn(plot_histories([history]))
        suptitle = next(text for text in figure.texts if text.get_text() == title(figure))
        assert suptitle.get_window_extent().x0 >= 0


values = st.floats(allow_nan=True, allow_infinity=True)
shares = st.floats(min_value=0, max_value=1)


@given(
    rows=st.lists(st.tuples(values, shares, values, shares), min_size=1, max_size=40),
    name=st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), max_size=30),
    copies=st.integers(1, 2),
)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=5,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # drawing is too slow to shrink by
)
def test_any_history_can_be_drawn(
    tmp_path: Path, rows: list[tuple[float, float, float, float]], name: str, copies: int
) -> None:
    write_history(
        tmp_path / "history.csv",
        [HistoryRow(epoch, a, b, c, d, 1e-3, 7.0, 6600.0) for epoch, (a, b, c, d) in enumerate(rows, 1)],
    )
    read = read_history(tmp_path / "history.csv")
    history = History(read.path, read.frame, model=name, dataset=name)
    save_figure(plot_histories([history] * copies), tmp_path / "a.pdf")


# Saving


@pytest.mark.parametrize(
    ("name", "begins"),
    [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")],
)
def test_the_suffix_chooses_the_format_and_the_bytes_are_the_same_each_time(
    tmp_path: Path, name: str, begins: bytes
) -> None:
    pictures = []
    for _ in range(2):
        save_figure(plot_histories([history_of(tmp_path)]), tmp_path / name)
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0].startswith(begins)
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("name", ["a.gif", "a", "a.csv", ".png"])
def test_another_suffix_is_refused_with_the_three_that_there_are(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"ends in \.png, \.svg or \.pdf"):
        save_figure(plot_histories([history_of(tmp_path)]), tmp_path / name)


def test_a_picture_that_cannot_be_written_leaves_the_old_one_whole(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="needs the file size limit of POSIX")
    path = tmp_path / "a.png"
    path.write_bytes(b"the old picture")
    figure = plot_histories([history_of(tmp_path)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(CnnzooError, match=r"cannot write .*a\.png: File too large"):
            save_figure(figure, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"the old picture"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "history.csv"]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    figure = plot_histories([history_of(tmp_path)])
    with pytest.raises(CnnzooError, match=r"cannot write .*gone.a\.png.*Make that folder first"):
        save_figure(figure, tmp_path / "gone" / "a.png")


# The command


@pytest.fixture
def plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run `cnnzoo plot` in tmp_path, within this process: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["cnnzoo", "plot", *args])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        printed = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, printed.out, printed.err

    return run


def age(folder: Path, seconds: int) -> None:
    os.utime(folder / "history.csv", ns=(0, (2_000_000_000 - seconds) * 10**9))


def test_without_arguments_the_newest_history_is_drawn_beside_itself(
    tmp_path: Path, plot: Callable[..., Outcome]
) -> None:
    for name, seconds in (("lenet-1", 20), ("lenet-2", 10), ("lenet-3", 30)):
        age(make_run(tmp_path / "runs" / name), seconds)
    assert plot() == (0, "runs/lenet-2/history.png (best epoch 3: validation accuracy 85.52%)\n", "")
    assert [path.parent.name for path in tmp_path.glob("runs/*/history.png")] == ["lenet-2"]


def test_of_runs_of_one_moment_the_higher_number_is_the_newest(
    tmp_path: Path, plot: Callable[..., Outcome]
) -> None:
    for name in ("lenet-9", "lenet-10", "lenet-8"):
        age(make_run(tmp_path / "runs" / name), 0)
    assert plot()[1].startswith("runs/lenet-10/history.png ")


def test_a_bare_history_csv_is_the_newest_runs_and_that_is_said(
    tmp_path: Path, plot: Callable[..., Outcome]
) -> None:
    make_run(tmp_path / "runs" / "lenet-1")
    code, out, err = plot("history.csv")
    assert (code, out.split(" ")[0]) == (0, "runs/lenet-1/history.png")
    assert err == "There is no history.csv in this folder: this is the newest, runs/lenet-1/history.csv\n"


def test_a_history_csv_in_this_folder_comes_first(tmp_path: Path, plot: Callable[..., Outcome]) -> None:
    make_run(tmp_path / "runs" / "lenet-1")
    make_run(tmp_path)
    assert plot("history.csv") == (0, "history.png (best epoch 3: validation accuracy 85.52%)\n", "")


@pytest.mark.parametrize("source", ["runs/lenet-1", "lenet-1", "last"])
def test_a_run_is_named_by_its_file_its_folder_its_name_or_as_the_last(
    tmp_path: Path, plot: Callable[..., Outcome], source: str
) -> None:
    make_run(tmp_path / "runs" / "lenet-1")
    assert plot(source)[:2] == (
        0,
        "runs/lenet-1/history.png (best epoch 3: validation accuracy 85.52%)\n",
    )


def test_runs_may_lie_in_another_folder(tmp_path: Path, plot: Callable[..., Outcome]) -> None:
    make_run(tmp_path / "elsewhere" / "lenet-1")
    assert plot("--out", "elsewhere")[1].startswith("elsewhere/lenet-1/history.png ")


def test_a_foreign_file_gives_its_name_to_the_picture(tmp_path: Path, plot: Callable[..., Outcome]) -> None:
    (tmp_path / "training.log").write_text("epoch,acc,loss\n0,0.5,1.5\n1,0.75,1.0\n")
    assert plot("training.log") == (0, "training.png (best epoch 2: training accuracy 75.00%)\n", "")


def test_several_are_compared_in_this_folder(tmp_path: Path, plot: Callable[..., Outcome]) -> None:
    make_run(tmp_path / "runs" / "lenet-1")
    make_run(tmp_path / "runs" / "lenet-2", top=0.8)
    code, out, _ = plot("lenet-1", "runs/lenet-2")
    assert code == 0
    assert out.splitlines() == [
        "comparison.png",
        "runs/lenet-1/history.csv (best epoch 3: validation accuracy 85.52%)",
        "runs/lenet-2/history.csv (best epoch 3: validation accuracy 76.02%)",
    ]
    assert (tmp_path / "comparison.png").exists()


def test_runs_without_a_history_are_named_and_the_others_drawn(
    tmp_path: Path, plot: Callable[..., Outcome]
) -> None:
    (tmp_path / "runs" / "a-1").mkdir(parents=True)
    for name in ("a-2", "a-4"):
        make_run(tmp_path / "runs" / name)
    (make_run(tmp_path / "runs" / "a-3") / "history.csv").write_text("epoch,val_acc\n")
    code, out, err = plot(*(f"runs/a-{number}" for number in (1, 2, 3, 4)))
    assert code == 0
    assert [line.split(" ")[0] for line in out.splitlines()] == [
        "comparison.png",
        "runs/a-2/history.csv",
        "runs/a-4/history.csv",
    ]
    assert err.splitlines() == [
        "Warning: not drawn: runs/a-1 holds no history.csv",
        "Warning: not drawn: runs/a-3/history.csv holds no epoch yet",
    ]


def test_if_no_run_has_a_history_that_is_an_error(tmp_path: Path, plot: Callable[..., Outcome]) -> None:
    for name in ("a-1", "a-2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    code, out, err = plot("runs/a-1", "runs/a-2")
    assert (code, out) == (1, "")
    assert err == "Error: runs/a-1 holds no history.csv. Name a folder that `cnnzoo train` made.\n"


def test_what_was_assumed_of_one_of_several_is_said_with_its_name(
    tmp_path: Path, plot: Callable[..., Outcome]
) -> None:
    make_run(tmp_path / "runs" / "a-1")
    (tmp_path / "keras.csv").write_text("epoch,loss,f1\n0,2,0.5\n0,1,0.6\n")
    code, _, err = plot("runs/a-1", "keras.csv")
    assert code == 0
    assert err.splitlines() == [
        "keras.csv: the epochs begin again in line 3: counted on, as 2 sessions of one training",
        "keras.csv: not drawn: f1",
    ]


@pytest.mark.parametrize("option", ["-o", "--output"])
def test_the_picture_goes_where_output_says(
    tmp_path: Path, plot: Callable[..., Outcome], option: str
) -> None:
    make_run(tmp_path)
    assert plot("history.csv", option, "curves.svg")[1].startswith("curves.svg ")
    assert (tmp_path / "curves.svg").read_bytes().startswith(b"<?xml")
    assert not (tmp_path / "history.png").exists()


def test_a_history_is_never_overwritten_by_its_picture(tmp_path: Path, plot: Callable[..., Outcome]) -> None:
    (tmp_path / "odd.png").write_text("epoch,loss\n1,0.5\n")
    code, out, err = plot("odd.png")
    assert (code, out) == (2, "")
    assert "odd.png is a history itself" in err
    assert (tmp_path / "odd.png").read_text() == "epoch,loss\n1,0.5\n"


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        ([], 1, "there is no history in runs yet. Make one with `cnnzoo train lenet`"),
        (["history.csv"], 1, "there is no history in runs yet"),
        (["last"], 1, "there is no run 'last', and none in runs"),
        (["none.csv"], 1, "cannot read none.csv: No such file or directory"),
        (["table.csv"], 1, "table.csv is not a history file: it has the columns 'a', 'b'"),
        (["folder"], 1, "folder holds no history.csv"),
        (["x" * 300], 1, "there is no run 'xxx"),
        (["good.csv", "-o", "a.gif"], 2, "Name a file that ends in .png, .svg or .pdf"),
        (["good.csv", "-o", "good.csv/a.png"], 1, "cannot write good.csv/a.png: Not a directory"),
        (["good.csv", "table.csv"], 1, "table.csv is not a history file"),
        (["--nosuch"], 2, "No such option"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(
    tmp_path: Path, plot: Callable[..., Outcome], args: list[str], code: int, says: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "good.csv").write_text("epoch,loss\n1,0.5\n")
    before = sorted(tmp_path.rglob("*"))
    exit_code, out, err = plot(*args)
    assert (exit_code, out) == (code, "")
    assert err.startswith("Error: ")
    assert says in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_that_no_run_has_is_answered_with_the_nearest(
    tmp_path: Path, plot: Callable[..., Outcome]
) -> None:
    make_run(tmp_path / "runs" / "lenet-fashionmnist-1")
    code, _, err = plot("lenet-fashionmnst-1")
    assert code == 2
    assert "Did you mean 'lenet-fashionmnist-1'?" in err


@pytest.fixture
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_display")
def test_without_a_display_show_still_writes_the_picture(
    tmp_path: Path, plot: Callable[..., Outcome]
) -> None:
    make_run(tmp_path)
    code, out, err = plot("history.csv", "--show")
    assert (code, out.split(" ")[0]) == (1, "history.png")
    assert err == "Error: cannot show a window: there is no display. Open the picture itself.\n"
    assert (tmp_path / "history.png").exists()


def test_a_window_system_that_is_not_there_is_named(
    tmp_path: Path, plot: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    code, out, err = plot("history.csv", "--show")
    assert (code, out.split(" ")[0]) == (1, "history.png")
    assert err.startswith("Error: cannot show a window: ")
    assert "nonsense" in err


WINDOW = """
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg

class FigureManager(FigureManagerBase):
    @classmethod
    def pyplot_show(cls, *, block=None):
        import matplotlib.pyplot as plt
        print("a window:", plt.gcf().get_suptitle(), [axes.get_ylabel() for axes in plt.gcf().axes])

class FigureCanvas(FigureCanvasAgg):
    required_interactive_framework = "headless"
    manager_class = FigureManager
"""


@pytest.mark.usefixtures("no_display")
def test_show_opens_a_window_with_the_picture(
    tmp_path: Path, cnnzoo: Callable[..., CompletedProcess[str]]
) -> None:
    make_run(tmp_path, config="model: lenet\ndataset: mnist\n")
    (tmp_path / "toy_windows.py").write_text(WINDOW)
    env = {"MPLBACKEND": "module://toy_windows", "PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "error"}
    done = cnnzoo("plot", "history.csv", "--show", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == (
        "a window: lenet on mnist · best epoch 3: validation accuracy 85.52% ['loss', 'accuracy']"
    )


def test_plotting_needs_neither_torch_nor_the_backend_that_a_notebook_names(tmp_path: Path) -> None:
    make_run(tmp_path)
    code = (
        "import sys; from cnnzoo.cli import main; sys.argv = ['cnnzoo', 'plot', 'history.csv']\n"
        "try: main()\n"
        "finally: print({'torch', 'torchvision'} & set(sys.modules) or 'without torch')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "not_installed"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "without torch"
