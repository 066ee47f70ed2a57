"""Drawn figures, made what the nets of MNIST and its like have seen: light on dark, of one size, in the middle."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIELD, BOX = 28, 20
"""Pixels a side of MNIST's images, and of the box into which their figures were scaled (LeCun et al. 1998, III.A)."""

MAX_NOISE, MAX_FAINTNESS = 32, 8
"""Grey levels by which pixels, and the means of parts, differ at least where something is on a picture."""


def is_dark_on_light(pixels: "NDArray[np.uint8]") -> bool:
    """Whether a picture ``(C, H, W)`` has a border nearer to its lightest than to its darkest, as ink on paper has.

    Of the border the median counts, so that a figure may touch it. Of Fashion-MNIST's 60,000 training images, which are
    light on dark, 2 are taken for the other.
    """
    shades = pixels.mean(0)
    return bool(np.median(_border(shades)) > (shades.min() + shades.max()) / 2)


def is_blank(pixels: "NDArray[np.uint8]") -> bool:
    """Whether there is nothing on a picture ``(C, H, W)`` but one colour, and the noise of a camera or scanner.

    Nothing then stands out, neither a pixel nor, as faint as it may be, a part as large as a pixel of MNIST's.
    """
    import torch
    from torch.nn import functional as F

    if np.ptp(pixels, axis=(1, 2)).max() >= MAX_NOISE:
        return False
    parts = F.adaptive_avg_pool2d(torch.from_numpy(np.ascontiguousarray(pixels)).float(), FIELD)
    return float((parts.amax((1, 2)) - parts.amin((1, 2))).max()) < MAX_FAINTNESS


def crop_to_ink(pixels: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    """Cut out a figure that is light on dark, as large and as far in the middle as MNIST's makers have it.

    They scaled each figure, its proportions kept, into a box of 20×20 pixels, and laid that into a field of 28×28 so
    that the centre of mass of its pixels is in the field's middle (LeCun et al. 1998, section III.A). Here the field
    is cut from the picture in the picture's own resolution, and the net's input is made of it as of any square.

    What is no lighter than nearly all of the border's darker half of shades, which a figure that touches the border
    is not of, is paper and becomes black, and the lightest ink becomes white, as theirs was before it was scaled.
    What is at least half as light as that belongs to the figure.

    Args:
        pixels: ``(C, H, W)``.

    Returns:
        ``(C, S, S)``, black where the field goes beyond the picture; a picture on which there is nothing as it was.
    """
    shades = pixels.mean(0)
    border = _border(shades)
    paper = border[border <= (shades.min() + shades.max()) / 2]
    ink = (shades - (np.quantile(paper, 0.95) if len(paper) else shades.min())).clip(0)
    if not ink.any():
        return pixels
    ink /= ink.max()
    figure = np.where(ink >= 0.5, ink, 0)
    rows, columns = figure.nonzero()
    side = max(1, round((max(np.ptp(rows), np.ptp(columns)) + 1) * FIELD / BOX))
    top, left = (round(_centre_of_mass(figure.sum(axis)) - side / 2) for axis in (1, 0))
    part = np.rint(255 * ink[max(top, 0) : top + side, max(left, 0) : left + side])
    field = np.zeros((side, side), dtype=np.uint8)
    field[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]] = part
    return np.repeat(field[None], len(pixels), axis=0)


def _centre_of_mass(masses: "NDArray[np.float64]") -> float:
    """Return where the centre of masses ``(N,)`` is, each in the middle of its pixel, from 0 to N."""
    return float(masses @ (np.arange(len(masses)) + 0.5) / masses.sum())


def _border(shades: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Return the pixels of the outermost ring of ``(H, W)``, one MNIST pixel wide."""
    width = max(1, round(min(shades.shape) / FIELD))
    inside = np.zeros(shades.shape, dtype=bool)
    inside[width:-width, width:-width] = True
    return shades[~inside]
