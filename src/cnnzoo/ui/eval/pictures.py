"""Pictures of an evaluation: what is taken for what, the most confident mistakes, and how sure the net may be."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cnnzoo.ui.style import BLUE, ORANGE, import_matplotlib, picture_names, picture_style, picture_text

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from cnnzoo.analysis.eval.evaluation import EvaluationResult, Predictions

MAX_WRITTEN_CLASSES = 20
"""Maximum number of classes whose confusion matrix is written out: on a picture each cell has its number, and on a
report's page screen readers get a full sentence per cell."""

MAX_NAMED_CLASSES = 120
"""Maximum number of classes with their names beside the matrix."""

GALLERY_SIZE = 24
"""Maximum number of mistakes in a gallery."""


def plot_confusion(result: "EvaluationResult", figure: "Figure | None" = None) -> "Figure":
    """Draw the confusion matrix: the darker a cell, the larger its share of the row's class; few classes with counts.

    Args:
        result: What to draw.
        figure: What to draw on; a new one if it is None.
    """
    import_matplotlib()
    import numpy as np
    from matplotlib.figure import Figure

    counts = np.array(result.confusion)
    names = picture_names([row.name for row in result.classes], 24)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    num = len(names)
    side = 4 + 0.6 * num if num <= MAX_WRITTEN_CLASSES else min(7 + 0.1 * num, 20)
    with picture_style():
        figure = figure or Figure()
        figure.set_layout_engine("constrained")
        figure.set_size_inches(side + 1, side)
        axes = figure.subplots()
        picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        size = 8 if num <= MAX_WRITTEN_CLASSES else min(8.0, 40 * side / num)
        if num <= MAX_WRITTEN_CLASSES:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    share = shares[row, column]
                    text = f"{count:,}\n{share:.0%}" if share >= 0.005 else f"{count:,}"
                    color = "white" if share > 0.55 else "black"
                    axes.text(column, row, text, ha="center", va="center", fontsize=size, color=color)
        if num <= MAX_NAMED_CLASSES:
            axes.set_xticks(range(num), names, rotation=90 if num > 4 else 0, fontsize=size)
            axes.set_yticks(range(num), names, fontsize=size)
        axes.set_xlabel("taken for")
        axes.set_ylabel("is")
        bar = figure.colorbar(picture, ax=axes, shrink=0.7, format="{x:.0%}")
        bar.set_label("share of the class's images")
        worst = "".join(
            f"\nmost often: {picture_text(one.label, 24)} taken for {picture_text(one.prediction, 24)}, {one.count:,}"
            for one in result.confusions(1)
        )
        axes.set_title(f"{_title(result)}: {result.accuracy:.2%} right{worst}", fontsize=10)
    return figure


def plot_errors(
    result: "EvaluationResult", figure: "Figure | None" = None, *, most: int = GALLERY_SIZE
) -> "Figure":
    """Draw the mistakes of which the net was surest, each with its label, its prediction and that one's probability.

    Args:
        result: What to draw.
        figure: What to draw on; a new one if it is None.
        most: How many.
    """
    import_matplotlib()
    from matplotlib.figure import Figure

    predictions = result.predictions
    mistakes = surest_mistakes(predictions, most)
    with picture_style():
        figure = figure or Figure()
        columns = min(6, max(1, math.ceil(math.sqrt(len(mistakes) * 1.5))))
        rows = max(1, math.ceil(len(mistakes) / columns))
        figure.set_layout_engine("constrained")
        figure.set_size_inches(max(2.0 * columns, 4), 2.35 * rows + 0.6)
        figure.suptitle(picture_text(f"{_title(result)}: the surest mistakes", 80), fontsize=10)
        if not mistakes:
            figure.text(0.5, 0.5, "no mistake", ha="center", va="center")
            return figure
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        images = read_pixels(predictions, [index for index, _, _ in mistakes])
        names = picture_names(predictions.classes, 18)
        for axes, (index, guess, probability), pixels in zip(grid, mistakes, images, strict=False):
            _show_image(axes, pixels)
            label = int(predictions.labels[index])
            axes.set_title(f"{names[label]}\ntaken for {names[guess]}\n{probability:.1%}", fontsize=7)
        for axes in grid:
            axes.set_axis_off()
    return figure


def surest_mistakes(predictions: "Predictions", most: int) -> list[tuple[int, int, float]]:
    """Return index, prediction and its probability of the mistakes of which the net was surest, the surest first."""
    probabilities, guesses = predictions.probabilities.max(1)
    wrong = (guesses != predictions.labels).nonzero().flatten()
    order = wrong[probabilities[wrong].argsort(descending=True, stable=True)][:most]
    return [(int(index), int(guesses[index]), float(probabilities[index])) for index in order]


def plot_calibration(result: "EvaluationResult", figure: "Figure | None" = None) -> "Figure":
    """Draw how often the net is right at each probability that it gives, as a reliability diagram.

    Guo et al. 2017, On Calibration of Modern Neural Networks, Fig. 1.

    Args:
        result: What to draw.
        figure: What to draw on; a new one if it is None.
    """
    import_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    from cnnzoo.analysis.eval.scores import BINS, calibration_bins

    bins = calibration_bins(result.predictions.probabilities, result.predictions.labels)
    total = sum(num for _, _, num in bins)
    with picture_style():
        figure = figure or Figure()
        figure.set_layout_engine("constrained")
        figure.set_size_inches(5.5, 6.5)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.plot([0, 1], [0, 1], color="0.5", linestyle="--", label="as sure as it is right")
        places = [min(int(sure * BINS), BINS - 1) / BINS for sure, _, _ in bins]
        width = 1 / BINS
        upper.bar(
            places,
            [right for _, right, _ in bins],
            width,
            align="edge",
            color=BLUE,
            edgecolor="white",
            label="right",
        )
        upper.plot(
            [sure for sure, _, _ in bins],
            [right for _, right, _ in bins],
            "o",
            color=ORANGE,
            label="mean probability",
        )
        upper.set_ylabel("share right")
        upper.set_ylim(0, 1)
        upper.legend(loc="upper left")
        lower.bar(
            places, [num / total for _, _, num in bins], width, align="edge", color="0.5", edgecolor="white"
        )
        lower.set_ylabel("share of images")
        lower.set_xlabel("probability of the likeliest class")
        for axes in (upper, lower):
            axes.xaxis.set_major_formatter(PercentFormatter(1))
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.grid(alpha=0.25)
        upper.set_xlim(0, 1)
        upper.set_title(f"{_title(result)}\ncalibration error {result.calibration_error:.2%}", fontsize=9)
    return figure


def _title(result: "EvaluationResult") -> str:
    return picture_text(
        f"{result.model} on {result.num_images:,} {result.split} images of {result.dataset}", 70
    )


def read_pixels(predictions: "Predictions", indices: Sequence[int]) -> "Iterator[NDArray[np.uint8]]":
    """Yield the images at ``indices`` as they were read: uint8 ``(H, W)`` or ``(H, W, 3)``."""
    import torch

    chunks = [torch.tensor([index]) for index in indices]
    for images, _ in predictions.images.source.batches(chunks, torch.device("cpu")):
        yield images[0].permute(1, 2, 0).squeeze(-1).numpy()


def _show_image(axes: "Axes", pixels: object) -> None:
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)  # type: ignore[arg-type]
