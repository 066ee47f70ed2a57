"""Pictures of a net: its filters, what its layers make of an image and of a batch, and the batch itself."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from cnnzoo.analysis.features import Distribution, LayerActivity, first_convolution, percent
from cnnzoo.analysis.fields import Box
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.errors import named
from cnnzoo.ui.sheet import MARGIN, TOP, Sheet, columns_for, mosaic
from cnnzoo.ui.style import BLUE, ORANGE, import_matplotlib, picture_names, picture_style, picture_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MAX_MAPS = 12
"""Maximum number of maps drawn of a layer."""

_LINE = 0.15
"""Height of a line beside a layer, in inches."""

MAX_LAYERS = 120
"""Maximum number of layers drawn, so that a picture of a very deep net has no more pixels than matplotlib can draw."""

MAX_IMAGES = 32
"""Maximum number of images drawn of a batch."""

_DECADES = 12
"""Of gradients, below the largest."""

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plot_filters(model: nn.Module, *, title: str = "", figure: "Figure | None" = None) -> "Figure":
    """Draw the kernels of a net's first convolution as a grid, as in Krizhevsky et al. 2012, Fig. 3.

    In colour where they have three channels, else grey, a kernel for each channel. All have one scale, in which 0 is
    the middle grey.

    Args:
        model: Its weights are drawn.
        title: What it is called.
        figure: What to draw on; a new one if it is None.

    Raises:
        CnnzooError: The net has no convolution.
    """
    name, kernels = first_convolution(model)
    import_matplotlib()
    num, channels, rows, columns = kernels.shape
    largest = kernels.abs().max().item()
    grey = (kernels / (2 * largest or 1) + 0.5).double().numpy()
    pictures = grey.transpose(0, 2, 3, 1) if channels == 3 else grey.reshape(-1, rows, columns, 1)
    across = columns_for(len(pictures))
    down = math.ceil(len(pictures) / across)
    width = min(1.1 * across, 10.0)
    side = width / across
    height = down * side * rows / columns
    sheet_width = max(width + 2 * MARGIN, 6.4)
    several = f" of {channels} channels" if channels not in (1, 3) else ""
    with picture_style():
        sheet = Sheet(figure, sheet_width, height + 1.0 + MARGIN, _named(title, f"filters of {name}"))
        ends = f"{_short(-largest)} (black) to {_short(largest)} (white)"
        about = f"{num} kernels{several}, {rows}×{columns} pixels, from {ends}"
        sheet.text(sheet_width / 2, 0.62, about, room=sheet_width - 2 * MARGIN, ha="center", fontsize=9)
        sheet.picture(mosaic(pictures, across), (sheet_width - width) / 2, 0.9, width, height)
    return sheet.figure


def plot_features(
    layers: Sequence[tuple[str, Tensor]],
    *,
    classes: Sequence[str] = (),
    preprocessing: Preprocessing | None = None,
    fields: Sequence[Box | None] = (),
    title: str = "",
    figure: "Figure | None" = None,
) -> "Figure":
    """Draw what each layer makes of an image: maps as pictures, vectors as strips.

    All maps of a layer have one scale, of viridis; its ends are written beside them. A layer whose numbers are those
    of the one before is left out, and that is said.

    Args:
        layers: As ``cnnzoo.features`` returns them, the image first.
        classes: Names of the classes, written below the last layer where there is room.
        preprocessing: What the image was made with, to show it as it was; without it, it is scaled as a layer is.
        fields: What a unit of each layer sees of the image, as ``receptive_fields`` returns it, written beside the
            layer.
        title: What it is called.
        figure: What to draw on; a new one if it is None.
    """
    import_matplotlib()
    is_same = [False] + [torch.equal(a[1].flatten(), b[1].flatten()) for a, b in pairwise(layers)]
    given = [*fields, *[None] * (len(layers) - len(fields))]
    shown = [layer for layer, same in zip(layers, is_same, strict=True) if not same]
    seen_by = [field for field, same in zip(given, is_same, strict=True) if not same]
    left_out = [name for (name, _), same in zip(layers, is_same, strict=True) if same]
    num_more = max(len(shown) - MAX_LAYERS, 0)
    if num_more:
        shown, classes = shown[:MAX_LAYERS], ()
    label, tile, gap = 2.3, 0.78, 0.06
    strip = MAX_MAPS * (tile + gap) - gap
    names = [name for name, _ in shown]
    labels = []
    for index, (name, output) in enumerate(shown):
        use = names[: index + 1].count(name)
        labels.append([picture_text(name, 40) + (f" (use {use})" if use > 1 else ""), *_about(output)])
        if index and (field := seen_by[index]):
            labels[-1].append(_sees(field, layers[0][1]))
    heights = [
        max(_height(output, tile, strip), _LINE * len(lines)) + 0.14
        for (_, output), lines in zip(shown, labels, strict=True)
    ]
    width = label + strip + 1.1
    bottom = 0.45 if left_out or num_more or classes else MARGIN
    with picture_style():
        sheet = Sheet(figure, width, TOP + sum(heights) + bottom, _named(title, "layer by layer"))
        top = TOP
        for index, ((_, output), lines, height) in enumerate(zip(shown, labels, heights, strict=True)):
            middle = top + (height - 0.14) / 2
            for number, line in enumerate(lines):
                place = middle + _LINE * (number - (len(lines) - 1) / 2)
                look = {"fontsize": 9 if number == 0 else 7, "color": "black" if number == 0 else "0.35"}
                sheet.text(label - 0.12, place, line, room=label - MARGIN, ha="right", **look)
            pictures = _scaled(output)
            if index == 0 and output.ndim == 3 and len(output) in (1, 3):
                pixels = (preprocessing.restored(output) if preprocessing else _to_unit(output)).double()
                pictures = pixels.permute(1, 2, 0)[None].numpy()
            if _is_maps(output):
                few = pictures[:MAX_MAPS]
                wide = min(len(few), MAX_MAPS) * (tile + gap) - gap
                sheet.picture(mosaic(few, len(few)), label, top, wide, height - 0.14)
                if len(pictures) > len(few):
                    more = f"+ {len(pictures) - len(few):,} more"
                    sheet.text(label + wide + 0.1, middle, more, room=0.95, fontsize=8, color="0.35")
            else:
                sheet.picture(pictures[0], label, top, strip, height - 0.14)
            top += height
        _name_cells(sheet, shown[-1][1], classes, label, top, strip)
        if left_out or num_more:
            without = picture_text(named(left_out, 8), 160)
            said = f"not drawn, since they change no number: {without}" if without else ""
            if num_more:
                said = f"not drawn: {num_more:,} layers behind these"
            sheet.text(label, top + bottom - 0.18, said, room=strip, fontsize=7, color="0.35")
    return sheet.figure


def plot_activations(
    layers: Sequence[LayerActivity], *, title: str = "", figure: "Figure | None" = None
) -> "Figure":
    """Draw the distributions of activations and gradients, a row for each layer, with what is dead or saturated.

    Activations from the layer's lowest to its highest, which are written at the ends, without those that are exactly
    0, of which the share is told; gradients by their magnitude, all layers on one scale, so that it is seen where they
    vanish or explode (compare Glorot and Bengio 2010, Fig. 6 and 7). Each row is as high as its own mode.

    Args:
        layers: As ``cnnzoo.activations`` returns them.
        title: What it is called.
        figure: What to draw on; a new one if it is None.
    """
    import_matplotlib()
    from matplotlib.figure import Figure

    with picture_style():
        figure = figure or Figure()
        figure.set_size_inches(12, 1.4 + 0.42 * max(len(layers), 3))
        figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
        left, right, words = figure.subplots(1, 3, sharey=True, width_ratios=(4, 4, 1.9))
        highest = [
            layer.gradients.high for layer in layers if layer.gradients and layer.gradients.counts.any()
        ]
        lowest = [layer.gradients.low for layer in layers if layer.gradients and layer.gradients.counts.any()]
        end = math.ceil(max(highest, default=0))
        start = max(math.floor(min(lowest, default=-1)), end - _DECADES)
        uses = [layer.name for layer in layers]
        for row, layer in enumerate(layers):
            found = layer.activations
            _ridge(left, row, found, 0, 1, BLUE)
            if found.low < 0 < found.high:
                zero = -found.low / (found.high - found.low)
                left.plot([zero, zero], [row + 0.42, row - 0.42], color="0.2", linewidth=0.8)
            ends: dict[str, Any] = {"fontsize": 7, "color": "0.35", "va": "center"}
            if found.counts.any():
                left.text(-0.02, row, _short(found.low), ha="right", **ends)
                left.text(1.02, row, _short(found.high), ha="left", **ends)
            if layer.gradients:
                _ridge(right, row, layer.gradients, layer.gradients.low, layer.gradients.high, ORANGE)
            else:
                right.text((start + end) / 2, row, "no gradient", ha="center", **ends)
            zeros = f"{percent(found.zeros)} exactly 0" if found.zeros else ""
            said = "\n".join(line for line in (layer.remark, zeros) if line)
            words.text(0, row, said, fontsize=8, va="center")
        labels = [
            f"{picture_text(name, 40)}{f' (use {use})' if (use := uses[: row + 1].count(name)) > 1 else ''}"
            f"\n{layers[row].type}"
            for row, name in enumerate(uses)
        ]
        left.set_yticks(range(len(layers)), labels, fontsize=8)
        left.set_ylim(max(len(layers), 1) - 0.5, -0.5)
        left.set_xlim(-0.2, 1.14)
        left.set_xticks([])
        left.set_xlabel("activation: lowest to highest, a line at 0", fontsize=9)
        right.set_xlim(start, end)
        step = max(1, (end - start) // 6)
        ticks = range(start, end + 1, step)
        right.set_xticks(ticks, [f"10{str(tick).translate(_SUPERSCRIPTS)}" for tick in ticks], fontsize=8)
        right.set_xlabel("|gradient| of the batch's mean loss", fontsize=9)
        right.grid(axis="x", alpha=0.25)
        words.set_axis_off()
        for axes in (left, right):
            axes.tick_params(axis="y", length=0)
            axes.spines[["left", "right", "top"]].set_visible(False)
        right.tick_params(axis="y", labelleft=False)
        figure.suptitle(_named(title, "activations and gradients"), fontsize=11)
    return figure


def plot_batch(
    images: Tensor,
    targets: Tensor,
    classes: Sequence[str] = (),
    *,
    preprocessing: Preprocessing | None = None,
    title: str = "",
    figure: "Figure | None" = None,
) -> "Figure":
    """Draw a batch as its net sees it, with the labels under the images; of many images the first 32.

    Args:
        images: Float32 ``(N, C, H, W)``, grey or RGB.
        targets: Labels ``(N,)``, or of mixed images probabilities ``(N, num_classes)``: the two largest are written.
        classes: Names of the classes; without them labels are numbers.
        preprocessing: What the images were made with, undone for the picture; without it, pixels from 0 to 1.
        title: What it is called.
        figure: What to draw on; a new one if it is None.
    """
    import_matplotlib()
    few = images[:MAX_IMAGES].detach().cpu().float()
    pixels = preprocessing.restored(few) if preprocessing else few.clamp(0, 1)
    if pixels.shape[1] not in (1, 3):
        pixels = pixels.mean(1, keepdim=True)
    pictures = pixels.double().permute(0, 2, 3, 1).numpy()
    across, side, gap = min(8, max(len(few), 1)), 1.2, 0.14
    mixed = targets.ndim == 2
    below = 0.42 if mixed else 0.26
    names = picture_names(classes, 24)
    down = math.ceil(len(few) / across)
    width = max(across * (side + gap) - gap + 2 * MARGIN, 6.4)
    left = (width - across * (side + gap) + gap) / 2
    with picture_style():
        sheet = Sheet(figure, width, TOP + down * (side + below) + MARGIN, title or "a training batch")
        for index, picture in enumerate(pictures):
            x = left + index % across * (side + gap)
            y = TOP + index // across * (side + below)
            sheet.picture(mosaic(picture[None], 1), x, y, side, side)
            for number, line in enumerate(_label(targets[index], names)):
                place = y + side + 0.11 + 0.15 * number
                sheet.text(x + side / 2, place, line, room=side + gap - 0.04, ha="center", fontsize=8)
    return sheet.figure


def _short(number: float) -> str:
    return f"{number:.2g}".replace("-", "−")


def _named(title: str, what: str) -> str:
    return f"{picture_text(title, 80)}: {what}" if title else what


def _is_maps(output: Tensor) -> bool:
    """Whether a layer's output is drawn as pictures; maps of one pixel each are a vector."""
    return output.ndim >= 3 and output.shape[-1] * output.shape[-2] > 1


def _height(output: Tensor, tile: float, strip: float) -> float:
    """Return how high a layer's row is, in inches."""
    if _is_maps(output):
        rows, columns = output.shape[-2:]
        return min(max(tile * rows / columns, 0.45), 2 * tile)
    if output.ndim == 2:
        return min(max(strip * output.shape[0] / output.shape[1], 0.3), 1.6)
    return 0.42


def _to_unit(values: Tensor) -> Tensor:
    """Return numbers from 0 for the lowest to 1 for the highest."""
    values = values.nan_to_num()
    low, high = values.min(), values.max()
    return (values - low) / (high - low if high > low else 1)


def _scaled(output: Tensor) -> "NDArray[np.float64]":
    """Return a layer's output in the colours of viridis, ``(maps, H, W, 3)``; a vector is one row of pixels."""
    import matplotlib

    pictures = _to_unit(output.double())
    if _is_maps(output):
        pictures = pictures.reshape(-1, *output.shape[-2:])
    elif output.ndim == 2:
        pictures = pictures[None]
    else:
        pictures = pictures.reshape(1, 1, -1)
    colours: NDArray[np.float64] = matplotlib.colormaps["viridis"](pictures.numpy())[..., :3]
    return colours


def _about(output: Tensor) -> list[str]:
    """Say what a layer puts out."""
    finite = output[output.isfinite()]
    ends = (
        f"{_short(finite.min().item())} to {_short(finite.max().item())}"
        if len(finite)
        else "no finite number"
    )
    if _is_maps(output):
        num = math.prod(output.shape[:-2])
        rows, columns = output.shape[-2:]
        return [f"{num:,} {'map' if num == 1 else 'maps'} of {rows}×{columns}", ends]
    shape = "×".join(f"{n:,}" for n in output.shape) if output.ndim == 2 else f"{output.numel():,}"
    return [f"{shape} numbers", ends]


def _sees(field: Box, image: Tensor) -> str:
    if (field.height, field.width) == image.shape[-2:]:
        return "sees the whole image"
    return f"sees {field.height}×{field.width} pixels"


def _name_cells(
    sheet: Sheet, output: Tensor, classes: Sequence[str], left: float, top: float, width: float
) -> None:
    """Write the classes' names below the cells of the last strip, where each has room for its own."""
    if output.numel() == len(classes) <= MAX_MAPS:
        cell = width / len(classes)
        for index, name in enumerate(picture_names(classes, 24)):
            place = left + (index + 0.5) * cell
            sheet.text(place, top, name, room=cell - 0.05, ha="center", fontsize=7)


def _ridge(axes: "Axes", row: int, found: Distribution, start: float, end: float, colour: str) -> None:
    """Draw a histogram between two places on the x-axis, on the line of a row."""
    counts = found.counts.double().numpy()
    if not counts.any():
        return
    edges = np.linspace(start, end if end > start else start + 1e-3, len(counts) + 1)
    heights = row + 0.42 - 0.8 * counts / counts.max()
    axes.stairs(heights, edges, baseline=row + 0.42, fill=True, color=colour)


def _label(target: Tensor, names: Sequence[str]) -> list[str]:
    """Return what is written under an image: its class, or the two that it is mixed of."""

    def name(label: int) -> str:
        return names[label] if names else str(label)

    if target.ndim == 0:
        return [name(int(target))]
    shares, labels = target.topk(min(2, len(target)))
    pairs = zip(shares.tolist(), labels.tolist(), strict=True)
    return [f"{name(label)} {percent(share)}" for share, label in pairs if share > 0]
