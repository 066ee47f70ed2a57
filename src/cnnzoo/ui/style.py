"""Style and files of all pictures: matplotlib imported safely, fonts, colours, and how a figure is written or shown."""

import os
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cnnzoo.errors import CnnzooError, UsageError, one_line, showable
from cnnzoo.files import replacing
from cnnzoo.ui.screen import distinct_names, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's colours, which colour-blind eyes can tell apart (https://jfly.uni-koeln.de/color/), without their
yellow, which is hard to see on white."""

BLUE, ORANGE = COLORS[:2]
"""The colours of pictures with one or two."""

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
    with picture_style():
        figure.savefig(file, format=suffix[1:], dpi=dpi, metadata=_METADATA[suffix])


def show(draw: "Callable[[Figure], object]") -> None:
    """Show a picture in a window until that is closed.

    Args:
        draw: Draws it on the window's figure.

    Raises:
        CnnzooError: There is no display, or no window system that matplotlib can use.
    """
    import_matplotlib()
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
    with picture_style():
        plt.show()


def import_matplotlib() -> None:
    """Import matplotlib, whatever backend the environment names and where its own folder cannot be written.

    Call it before any other import of matplotlib.

    Raises:
        CnnzooError: matplotlib has no folder for its list of fonts.
    """
    # A notebook sets MPLBACKEND for all that it starts, and matplotlib cannot be imported where that
    # backend is not installed. A picture in a file needs none.
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib  # noqa: F401
    except OSError as error:  # nor for temporary files
        raise CnnzooError(
            f"matplotlib has no folder to write to: {one_line(error)}. Name one: MPLCONFIGDIR=FOLDER"
        ) from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


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
def picture_style() -> Iterator[None]:
    """Set fonts and text of a picture while it is drawn or written, the same on every machine."""
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


def picture_names(names: Sequence[str], length: int) -> list[str]:
    """Return names fit to be drawn, of at most ``length`` characters, shortened so that they still differ."""
    return distinct_names([_drawable(name) for name in names], length)


def picture_text(text: str, length: int) -> str:
    """Return ``text`` on one line of at most ``length`` characters, fit to be drawn; a longer one loses its middle."""
    return shorten(_drawable(text), length)


def _drawable(text: str) -> str:
    """Return a text on one line and without what cannot be drawn.

    Letters and their accents are one character (NFC), which every font draws well, and what has no shape of its own,
    such as a mark of the writing direction, is left out.
    """
    text = unicodedata.normalize("NFC", showable(text))
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(text.split())
