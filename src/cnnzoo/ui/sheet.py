"""A sheet on which small pictures and words stand where they are put."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnzoo.ui.style import picture_style, picture_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from numpy.typing import NDArray

    Pixels = NDArray[np.float64]
    """RGB from 0 to 1, ``(H, W, 3)``."""

MARGIN = 0.2
"""Inches at the left and right of a sheet."""

TOP = 0.65
"""Inches that its title takes."""


class Sheet:
    """A figure on which things stand where they are put, in inches from its upper left corner."""

    def __init__(self, figure: "Figure | None", width: float, height: float, title: str) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure = figure or Figure()
        if figure is None:
            FigureCanvasAgg(self.figure)  # else each text is measured on a new bitmap of the whole sheet
        self.figure.set_size_inches(width, height)
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        self.axes.set_axis_off()
        self.axes.set_autoscale_on(False)
        self.text(
            width / 2, 0.32, picture_text(title, 120), room=width - 2 * MARGIN, ha="center", fontsize=11
        )

    def picture(self, pixels: "Pixels", x: float, y: float, width: float, height: float) -> None:
        """Draw pixels with their upper left corner at a place; a large one stays square where a window is not."""
        self.axes.imshow(pixels, extent=(x, x + width, y + height, y), aspect="equal", vmin=0, vmax=1)

    def text(self, x: float, y: float, text: str, *, room: float, **look: Any) -> None:  # noqa: ANN401
        """Write a line that is made smaller until it fits into ``room`` inches."""
        made: Text = self.axes.text(x, y, text, va="center", **look)
        width = made.get_window_extent().width / self.figure.dpi
        if width > room:
            made.set_fontsize(max(float(made.get_fontsize()) * room / width, 4))


def columns_for(num: int) -> int:
    """Return how many of ``num`` pictures stand beside each other: about half more than below each other.

    A number that divides them, if there is one that is not far off: 96 are 12 by 8, as in the paper.
    """
    best = math.sqrt(1.5 * num)
    divisors = [n for n in range(math.ceil(best * 0.75), math.floor(best * 1.7) + 1) if num % n == 0]
    return min(divisors, key=lambda n: abs(n - best), default=math.ceil(best))


def mosaic(pictures: "NDArray[np.float64]", across: int) -> "Pixels":
    """Return pictures ``(N, H, W, 1 or 3)`` beside and below each other, with white between them."""
    num, rows, columns, channels = pictures.shape
    if channels == 1:
        pictures = pictures.repeat(3, axis=-1)
    scale = max(
        1, round(48 / max(rows, columns))
    )  # so that the white is narrow beside kernels of 3 pixels, too
    pictures = pictures.repeat(scale, axis=1).repeat(scale, axis=2)
    gap = max(1, round(scale * max(rows, columns) / 13)) if num > 1 else 0
    down, (height, width) = math.ceil(num / across), pictures.shape[1:3]
    sheet = np.ones((down * (height + gap) - gap, across * (width + gap) - gap, 3))
    for index, picture in enumerate(pictures):
        y, x = index // across * (height + gap), index % across * (width + gap)
        sheet[y : y + height, x : x + width] = picture
    return sheet


def unknown_signs(figure: "Figure") -> str:
    """Return the signs in a figure's texts that no font on this machine can draw: it has boxes instead."""
    import matplotlib
    from matplotlib.font_manager import findfont, get_font
    from matplotlib.text import Text

    texts = "".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))
    with picture_style():
        fonts = [get_font(findfont(family)) for family in matplotlib.rcParams["font.family"]]
    signs = dict.fromkeys(sign for sign in texts if sign.isprintable() and not sign.isspace())
    return "".join(sign for sign in signs if not any(font.get_char_index(ord(sign)) for font in fonts))
