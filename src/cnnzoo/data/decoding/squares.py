"""The square in the middle of a picture at the size that a net takes, from no more pixels than that needs.

``decode_image`` goes by these functions, step by step.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

if TYPE_CHECKING:
    from numpy.typing import NDArray

JPEG = frozenset(("JPEG", "MPO"))
"""What Pillow calls files whose first picture is a JPEG."""

FITS = 1 / 16
"""By how many pixels at most a square may be beside the middle, of the larger pixels: the picture's or its own."""

MAX_SPARE = 16
"""Rows or columns at most that are made, and left out again, for a square to be in the middle."""


@cache
def _simplejpeg() -> Any:  # noqa: ANN401  (a module without annotations, or None)
    """Return the package that decodes JPEG fastest; None where it is missing, and Pillow gives the same pixels."""
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg


def shrinkage(shorter_side: int, size: int) -> int:
    """Return by what a picture may be made smaller, cheaply, before it is resized: 1, 2, 4 or 8.

    It keeps twice the pixels a side that are wanted at least: of fewer, what is resized differs visibly.
    """
    return next(factor for factor in (8, 4, 2, 1) if factor == 1 or shorter_side >= 2 * size * factor)


def decode_jpeg(image: Image.Image, content: bytes, channels: int, factor: int) -> "NDArray[np.uint8] | None":
    """Return a JPEG's pixels, uint8 ``(H, W, C)``, decoded at 1 / ``factor`` of its size, rounded up.

    Grey is what the file has beside its colours, which are not decoded then. Both decoders are libjpeg-turbo with the
    same settings, so that the pixels do not depend on which is installed.

    Args:
        image: As Pillow has opened it, without its pixels.
        content: The file's bytes.
        channels: 1 (grey) or 3 (RGB), where the picture is not grey.
        factor: 1, 2, 4 or 8: what libjpeg scales by without a loss of speed or likeness.

    Returns:
        None for CMYK, and whatever is no plain JPEG of 8 bits: Pillow converts those.

    Raises:
        OSError: It is damaged.
    """
    if image.mode not in ("L", "RGB"):
        return None
    mode = "L" if channels == 1 else image.mode
    height, width = -(-image.height // factor), -(-image.width // factor)
    if (fast := _simplejpeg()) is not None:
        try:
            pixels: NDArray[np.uint8] = fast.decode_jpeg(
                content, "GRAY" if mode == "L" else "RGB", min_height=height, min_width=width, strict=True
            )
        except ValueError:  # whatever libjpeg only warns of, Pillow judges, and says what it is
            pass
        else:
            if pixels.shape[:2] == (height, width):
                return pixels
    image.draft(mode, (image.width // factor, image.height // factor))
    return pixels_of(image)


def pixels_of(image: Image.Image) -> "NDArray[np.uint8]":
    """Return the pixels of an image of mode L or RGB, uint8 ``(H, W, C)``."""
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


class _Cut(NamedTuple):
    """Where to cut a picture along one side.

    Attributes:
        start: The first pixel.
        end: Behind the last one.
        spare: Pixels at the beginning of what is resized that are none of the square's.
    """

    start: int
    end: int
    spare: int


def middle_square(pixels: "NDArray[np.uint8]", extent: tuple[float, float], size: int) -> "NDArray[np.uint8]":
    """Return the largest square in the middle of pixels ``(H, W, C)``, resized (bilinear) to ``(size, size, C)``.

    On processors with AVX2 torch makes uint8 smaller four times as fast as Pillow (without it, half as fast), to the
    same values but for one level here and there; but it begins with a whole pixel. Where the middle is at half of one,
    as in 500×375, some columns more are made, so many that the square comes to lie where it should; Pillow does what
    cannot be met so, and what is made larger.

    Args:
        pixels: Of the picture.
        extent: Its height and width in those pixels, of which the last ones may be parts.
        size: Pixels a side.
    """
    side = min(extent)
    offsets = [(length - side) / 2 for length in extent]
    cuts = [
        _cut(offset, num, side / size, size) for offset, num in zip(offsets, pixels.shape[:2], strict=True)
    ]
    rows, columns = cuts
    if (
        rows is None or columns is None or side < size
    ):  # Pillow lets pixels beside the square shine in, where it grows
        top, left = offsets
        bottom, right = (
            min(offset + side, num) for offset, num in zip(offsets, pixels.shape[:2], strict=True)
        )
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return pixels_of(
            image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
        )
    wanted = pixels[rows.start : rows.end, columns.start : columns.end]
    if side == size:
        return wanted
    wanted = np.require(wanted, requirements=["C", "W"])  # torch wants memory that it may write to
    factor = (
        size / side * (1 + 1e-9)
    )  # whose product with a whole number of pixels is not rounded down to one less
    resized = F.interpolate(
        torch.from_numpy(wanted)[None].permute(0, 3, 1, 2),  # channels last: other kernels take longer
        scale_factor=(factor, factor),
        mode="bilinear",
        antialias=True,
    )
    square = resized[0, :, rows.spare : rows.spare + size, columns.spare : columns.spare + size]
    return square.permute(1, 2, 0).numpy()


def _cut(offset: float, num: int, scale: float, size: int) -> _Cut | None:
    """Return where to cut ``num`` pixels so that a square begins at ``offset``; None where it comes to lie beside it.

    Args:
        offset: Where the square begins, in pixels.
        num: Pixels that there are.
        scale: How many of them become one.
        size: Pixels that are wanted.
    """
    for spare in range(MAX_SPARE):
        start = round(offset - spare * scale)
        if start < 0:
            return None
        if abs(start + spare * scale - offset) <= FITS * max(1, scale):
            end = start + (spare + size) * scale
            return _Cut(start, min(num, -int(-end // 1)), spare)
    return None


def turned(square: "NDArray[np.uint8]", orientation: int) -> "NDArray[np.uint8]":
    """Return a square ``(S, S, C)`` as its EXIF orientation, 1 to 8, has it seen."""
    if orientation in (5, 6, 7, 8):
        square = square.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        square = square[::-1]
    if orientation in (2, 3, 6, 7):
        square = square[:, ::-1]
    return square
