"""Pictures of histories: loss and accuracy against epoch."""

import atexit
import logging
import math
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.files import replacing
from cnnzoo.runs.history import History
from cnnzoo.ui.screen import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = {"loss": ("train_loss", "val_loss"), "accuracy": ("train_acc", "val_acc")}

# The circles are the larger ones, so that a square upon a circle leaves it visible.
_TRAIN: Mapping[str, Any] = {"color": "red", "marker": "o", "markersize": 7, "label": "train"}
_VAL: Mapping[str, Any] = {"color": "blue", "marker": "s", "markersize": 5, "label": "validation"}
_BEST: Mapping[str, Any] = {
    "color": "0.3",
    "marker": "o",
    "markersize": 12,
    "markerfacecolor": "none",
    "linestyle": "none",
    "clip_on": False,
    "label": "best epoch",
}
_PALE: Mapping[str, Any] = {"linestyle": "--", "alpha": 0.5, "markerfacecolor": "white"}

# Okabe and Ito's colours, which colour-blind eyes can tell apart (https://jfly.uni-koeln.de/color/),
# but for their yellow, which is hard to see on white.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")

# What can draw Chinese, Japanese and Korean on common systems; matplotlib's own DejaVu Sans cannot.
_CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
)

# No date and no version in the file, so that the same history gives the same bytes.
_METADATA: Mapping[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}

_MAX_MARKERS = 25
_LARGEST = 1e100  # beyond it matplotlib's own arithmetic overflows


def plot_histories(histories: Sequence[History], figure: "Figure | None" = None) -> "Figure":
    """Draw loss and accuracy against epoch, side by side; a panel without a column is left out.

    One history has its training in red circles and its validation in blue squares, as in the tutorial.
    Several are laid over each other, one colour each: training dashed and pale, validation solid.
    A ring marks the best epoch. Where a value is NaN or infinite, the line has a gap.

    Args:
        histories: What to draw, at least one.
        figure: What to draw on; a new figure of 12 by 4 inches if it is None.
    """
    _import_matplotlib()
    from matplotlib.figure import Figure

    panels = {
        name: columns
        for name, columns in _PANELS.items()
        if any(column in history.frame for history in histories for column in columns)
    }
    with _style():
        figure = figure or Figure()
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.08)
        figure.set_size_inches(12 if len(panels) == 2 else 7, 4)
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (panel, (train, val)) in zip(grid, panels.items(), strict=True):
            for index, (history, looks) in enumerate(zip(histories, _looks(len(histories)), strict=True)):
                _draw(axes, history, train, looks["train"], index)
                _draw(axes, history, val, looks["val"], index)
                _draw_best(axes, history, train, val, looks["best"])
            _finish(axes, panel, histories)
        if len(histories) == 1:
            _describe_one(figure, histories[0])
        else:
            _describe_several(figure, histories)
    return figure


def picture_suffix(path: Path) -> str:
    """Return what a picture's name ends in.

    Raises:
        UsageError: It is none of .png, .svg and .pdf.
    """
    suffix = path.suffix.lower()
    if suffix not in _METADATA:
        raise UsageError(f"cannot draw {path}. Name a file that ends in .png, .svg or .pdf.")
    return suffix


def save_figure(figure: "Figure", path: Path, *, command: str = "cnnzoo plot") -> None:
    """Write a picture; one that was there before is replaced once the new one is whole.

    Args:
        figure: The picture.
        path: Where it goes.
        command: What a person has typed, for the advice where it cannot be written.

    Raises:
        UsageError: The file's name does not end in .png, .svg or .pdf.
        CnnzooError: It cannot be written.
    """
    suffix = picture_suffix(path)
    with replacing(path, otherwise=f"draw it elsewhere with `{command} -o FILE`") as file:
        write_figure(figure, file, suffix)


def write_figure(figure: "Figure", file: BinaryIO, suffix: str, *, dpi: int = 150) -> None:
    """Write a picture into an open file: the same figure gives the same bytes.

    Args:
        figure: What to write.
        file: Where to.
        suffix: One of .png, .svg and .pdf.
        dpi: Pixels per inch, of .png and of what is pixels in the others.
    """
    with _style():
        figure.savefig(file, format=suffix[1:], dpi=dpi, metadata=_METADATA[suffix])


def show(draw: "Callable[[Figure], object]") -> None:
    """Show a picture in a window until that is closed.

    Args:
        draw: Draws it on the window's figure.

    Raises:
        CnnzooError: There is no display, or no window system that matplotlib can use.
    """
    _import_matplotlib()
    import matplotlib.pyplot as plt

    try:
        if backend := os.environ.get("MPLBACKEND"):
            plt.switch_backend(backend)
        figure = plt.figure()
    except (ImportError, RuntimeError, ValueError) as error:
        raise CnnzooError(f"cannot show a window: {one_line(error)}. Open the picture itself.") from error
    if figure.canvas.required_interactive_framework is None:
        raise CnnzooError("cannot show a window: there is no display. Open the picture itself.")
    draw(figure)
    with _style():
        plt.show()


def _import_matplotlib() -> None:
    _give_matplotlib_a_folder()
    # A notebook sets MPLBACKEND for all that it starts, and matplotlib cannot be imported where that
    # backend is not installed. A picture in a file needs none.
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib  # noqa: F401
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


@cache
def _give_matplotlib_a_folder() -> None:
    """Have matplotlib keep its list of fonts in a folder that goes with this process, where its own cannot be written.

    It would do the same, after two warnings that a person can do nothing about.

    Raises:
        CnnzooError: There is no place for temporary files either.
    """
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # "this may take a moment"
    if "MPLCONFIGDIR" in os.environ or "matplotlib" in sys.modules:
        return
    from platformdirs import user_cache_path, user_config_path

    try:
        if sys.platform.startswith(("linux", "freebsd")):
            folders = [user_config_path("matplotlib"), user_cache_path("matplotlib")]
        else:
            folders = [Path.home() / ".matplotlib"]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        if all(os.access(folder, os.W_OK) for folder in folders):
            return
    except (OSError, RuntimeError):  # the latter where nobody knows a home folder
        pass
    try:
        temporary = tempfile.mkdtemp(prefix="matplotlib-")
    except OSError as error:
        raise CnnzooError(
            f"matplotlib has no folder to write to: {one_line(error)}. Name one: MPLCONFIGDIR=FOLDER"
        ) from error
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    os.environ["MPLCONFIGDIR"] = temporary


@cache
def _fonts() -> frozenset[str]:
    """Return the names of the fonts on this machine, those that came after matplotlib's own list of them, too."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    listed = {font.fname for font in fontManager.ttflist}
    for path in findSystemFonts():
        if path not in listed:
            with suppress(OSError, RuntimeError):  # what is no font after all
                fontManager.addfont(path)
    return frozenset(font.name for font in fontManager.ttflist)


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    installed = _fonts()
    style = matplotlib.rc_context(
        {
            "font.family": ["DejaVu Sans", *(name for name in _CJK_FONTS if name in installed)],
            "text.parse_math": False,  # a dollar in a folder's name is a dollar
            "text.usetex": False,
            "svg.hashsalt": "cnnzoo",  # element ids that are the same every time
        }
    )
    with style, warnings.catch_warnings():
        # A sign that no font here has becomes a box, and a warning would not change that.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def _looks(count: int) -> list[dict[str, Mapping[str, Any]]]:
    """Return how each of ``count`` histories is drawn."""
    import matplotlib

    if count == 1:
        return [{"train": _TRAIN, "val": _VAL, "best": _BEST}]
    colors: Sequence[Any] = _COLORS
    if count > len(_COLORS):
        colors = [matplotlib.colormaps["viridis"](0.9 * index / (count - 1)) for index in range(count)]
    return [
        {
            "train": {**_TRAIN, **_PALE, "color": color, "markersize": 4},
            "val": {**_VAL, "color": color, "markersize": 4},
            "best": {**_BEST, "color": color},
        }
        for color in colors[:count]
    ]


def _draw(axes: "Axes", history: History, column: str, look: Mapping[str, Any], index: int) -> None:
    """Draw one column as a line with markers, if it has a value that can be drawn."""
    import numpy as np

    if column not in history.frame:
        return
    epochs, values = history.frame["epoch"].to_numpy(), history.frame[column].to_numpy()
    shown = np.abs(values) < _LARGEST  # False for NaN
    if not shown.any():
        return
    linked = np.append(shown[1:] & shown[:-1], False)
    alone = shown & ~linked & ~np.roll(linked, 1)
    if not linked.any():
        # Validated in every fifth epoch only, say: one line joins what would be points without any.
        epochs, values, alone = epochs[shown], values[shown], np.zeros(shown.sum(), dtype=bool)
    values = np.where(np.abs(values) < _LARGEST, values, np.nan)

    # Every marker of a hundred epochs would hide the line; those of several runs are set apart.
    step = math.ceil(len(values) / _MAX_MARKERS)
    marked = (np.arange(len(values)) + index) % step == 0
    size = look["markersize"] if step == 1 else min(look["markersize"], 4)
    axes.plot(
        epochs, values, **{**look, "markersize": size, "markevery": list(np.flatnonzero(marked | alone))}
    )


def _draw_best(axes: "Axes", history: History, train: str, val: str, look: Mapping[str, Any]) -> None:
    if history.best is None:
        return
    column = val if history.best.measure.startswith("val") else train
    row = history.frame[history.frame["epoch"] == history.best.epoch]
    if column in row and abs(row[column].iloc[0]) < _LARGEST:
        axes.plot(row["epoch"], row[column], **look)


def _finish(axes: "Axes", panel: str, histories: Sequence[History]) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    if not axes.lines:
        axes.text(0.5, 0.5, f"no finite {panel}", ha="center", va="center", transform=axes.transAxes)
        axes.set_yticks([])
    first = min(history.frame["epoch"].iloc[0] for history in histories)
    last = max(history.frame["epoch"].iloc[-1] for history in histories)
    margin = max(0.5, 0.03 * (last - first))
    axes.set_xlim(first - min(margin, 0.9), last + margin)  # there is no epoch 0 to put a tick at
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_ylabel(panel)
    if panel == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.25)


def _describe_one(figure: "Figure", history: History) -> None:
    for axes in figure.axes:
        if axes.lines:
            axes.legend()
    between = " · " if len(figure.axes) == 2 else "\n"
    title = figure.suptitle(_shorten(history.title, 60) + between + history.describe_best())
    # Wide signs, such as Chinese ones, may need a smaller size, to which their width is not quite in proportion.
    room = 0.92 * figure.bbox.width / title.get_window_extent().width
    title.set_fontsize(float(title.get_fontsize()) * min(1, room))


def _describe_several(figure: "Figure", histories: Sequence[History]) -> None:
    from matplotlib.lines import Line2D

    looks = _looks(len(histories))
    figure.axes[0].legend(handles=[Line2D([], [], **{**look, "color": "0.3"}) for look in looks[0].values()])

    labels = [
        f"{name} · {history.best.shown} in epoch {history.best.epoch}" if history.best else name
        for name, history in zip(_distinct_names(histories), histories, strict=True)
    ]
    lines = [Line2D([], [], color=look["val"]["color"], linewidth=3) for look in looks]
    place: dict[str, Any] = {"loc": "outside lower center", "fontsize": "small", "frameon": False}
    for columns in range(min(len(labels), 6), 0, -1):
        # matplotlib leaves out a label that begins with an underscore, unless it is set afterwards.
        legend = figure.legend(lines, ["-"] * len(lines), ncols=columns, **place)
        for text, label in zip(legend.get_texts(), labels, strict=True):
            text.set_text(label)
        if columns == 1 or legend.get_window_extent().width < figure.bbox.width:
            break
        legend.remove()
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + legend.get_window_extent().height / figure.dpi)

    titles = {history.title for history in histories}
    shared = f"{_shorten(titles.pop(), 60)}: " if len(titles) == 1 else ""
    figure.suptitle(f"{shared}{len(histories)} runs")


def _distinct_names(histories: Sequence[History]) -> list[str]:
    """Name each run by as little of its path as tells them apart."""
    runs = [history.name_parts for history in histories]
    files = [(history.path.absolute().parent.name, history.path.name) for history in histories]
    shorter = ([parts[-depth:] for parts in runs] for depth in range(1, max(map(len, runs)) + 1))
    apart = next((parts for parts in shorter if len(set(parts)) == len(parts)), files)
    names = [_shorten("/".join(parts), 40) for parts in apart]
    # The same file twice, or what told two apart was cut out of them: number them.
    return [
        name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]


def _shorten(text: str, length: int) -> str:
    """Return ``text`` on one line, fit to be drawn; too long a one loses its middle."""
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    text = " ".join(text.split())
    return shorten(text, length)


def draw_run(run: Path) -> None:
    """Draw a run's history beside it; that it cannot be drawn must not look as if training had failed."""
    from cnnzoo.runs.histories.read import read_history
    from cnnzoo.ui.screen import print_warning

    if (run / "history.csv").is_file():
        try:
            save_figure(plot_histories([read_history(run / "history.csv")]), run / "history.png")
        except CnnzooError as error:
            print_warning(f"no picture of the run: {error}")
