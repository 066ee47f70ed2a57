"""One image file to pixels, as a person would see it."""

import errno
import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnnzoo.errors import CnnzooError, one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile


REFUSED = frozenset(("BUFR", "EPS", "FPX", "GRIB", "HDF5", "IPTC", "MIC", "MPEG", "WMF"))
"""Formats that Pillow opens and cnnzoo does not: it starts another program for them, or reads no pixels of them."""

_USUAL = frozenset(("JPEG", "PNG"))

MAX_PIXELS = 100_000_000
"""An image of more pixels is taken for a decompression bomb."""

MAX_FILE_BYTES = 1 << 30
"""A file of more bytes is no image of so many pixels."""

_ORIENTATION = 0x0112
"""EXIF's number for how a picture is turned (TIFF 6.0, section 8)."""

MIN_LIGHT, MIN_OPACITY = 192, 128
"""Shade from which a figure is lost on white, and opacity from which it counts, both of 255."""

MAX_DARK_SHARE = 1 / 200
"""Share of darker pixels that a figure may have and be lost on white all the same: grains, not ink on paper."""

PixelRange = tuple[float, float]
"""The lowest and the highest value of images of more than 8 bits a pixel: what becomes black and what white."""


class BrokenImageError(CnnzooError):
    """A file is no image, or a damaged one, or one that would unpack to too much.

    Attributes:
        what: That, without what to do about it.
    """

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}. {advice}")
        self.what = what


class NoHandleError(CnnzooError):
    """The system opens no more files: no fault of the image that is named."""


@cache
def formats() -> tuple[str, ...]:
    """Return what a file may hold, whatever it is called: what Pillow reads, and its installed plugins."""
    from PIL import Image

    Image.init()
    with suppress(ImportError):  # HEIC, for those who have installed what reads it
        from pillow_heif import register_heif_opener  # type: ignore[import-not-found]

        register_heif_opener()
    # Each file is tried in this order, hence what most of them are first.
    return tuple(
        sorted((name for name in Image.OPEN if name not in REFUSED), key=lambda name: name not in _USUAL)
    )


@cache
def suffixes() -> frozenset[str]:
    """Return the suffixes that such files have, in small letters."""
    from PIL import Image

    readable = set(formats())
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in readable)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings while images are read: they are of metadata that nobody needs.

    The filters are the whole process's, so this is for the thread that starts others, not for those.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def open_image(file: Path, content: bytes | None = None) -> "ImageFile":
    """Open an image file, of which Pillow reads the header alone.

    Args:
        file: Which one.
        content: Its bytes, where they have been read.

    Raises:
        BrokenImageError: It is none, or would unpack to more than MAX_PIXELS; the message names it.
        NoHandleError: Too many files are open.
    """
    from PIL import Image

    try:
        image = Image.open(file if content is None else io.BytesIO(content), formats=formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _bomb(file) from error
    except Exception as error:
        raise _broken(file, error) from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise _bomb(file)
    return image


def read_content(file: Path) -> bytes:
    """Return the bytes of an image file.

    Raises:
        BrokenImageError: It cannot be read, or is too large to be an image.
        NoHandleError: Too many files are open.
    """
    try:
        with file.open("rb") as opened:
            if os.fstat(opened.fileno()).st_size > MAX_FILE_BYTES:
                raise _bomb(file)
            return opened.read()
    except OSError as error:
        raise _broken(file, error) from error


def _bomb(file: Path) -> BrokenImageError:
    return BrokenImageError(
        f"{file} would unpack to more than {MAX_PIXELS // 1_000_000} million pixels",
        "Remove it or make it smaller, or leave such images out with --skip-bad-images.",
    )


def _broken(file: Path, error: Exception) -> CnnzooError:
    from PIL import UnidentifiedImageError

    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return NoHandleError(
            f"{file} cannot be opened: {one_line(error)}. Raise the limit (ulimit -n), or try fewer --workers."
        )
    why = "no known format" if isinstance(error, UnidentifiedImageError) else one_line(error)
    return BrokenImageError(
        f"{file} cannot be read as an image ({why})",
        "Remove or replace it, or leave such images out with --skip-bad-images.",
    )


def is_deep(image: "Image") -> bool:
    """Whether an image has more than 8 bits a pixel, which Pillow would clip at 255."""
    return image.mode.startswith("I") or image.mode == "F"


def deep_range(file: Path, content: bytes | None = None) -> PixelRange | None:
    """Return the lowest and highest value of an image of more than 8 bits a pixel; None of any other.

    Raises:
        CnnzooError: It cannot be read.
    """
    with open_image(file, content) as image:
        if not is_deep(image):
            return None
        try:
            values = np.asarray(image, dtype=np.float64)
        except Exception as error:
            raise _broken(file, error) from error
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else None


def decode_image(
    file: Path,
    channels: int,
    image_size: int | None,
    pixel_range: PixelRange | None = None,
    *,
    content: bytes | None = None,
) -> "NDArray[np.uint8]":
    """Read one image as a person would see it, cut to a square: uint8 ``(channels, image_size, image_size)``.

    Turned as its EXIF says, transparent parts on white (on black where all that is seen is so light that it would be
    lost on white), the shorter side resized (bilinear) to
    ``image_size``, the middle of the longer one kept; of an animation the first picture.

    Args:
        file: Which one.
        channels: 1 (grey) or 3 (RGB).
        image_size: Pixels a side; None for the whole picture in its own pixels, ``(channels, H, W)``.
        pixel_range: What becomes black and white in images of more than 8 bits a pixel; None for all 16 bits, and for
            each image's own brightest where pixels are floats.
        content: Its bytes, where they have been read.

    Raises:
        BrokenImageError: It is broken; the message names it.
    """
    if content is None:
        content = read_content(file)
    with open_image(file, content) as image:
        try:
            if image_size is None:
                pixels = _whole(image, channels, pixel_range)
            else:
                pixels = _small_square(image, content, channels, image_size, pixel_range)
        except Exception as error:
            raise _broken(file, error) from error
    return pixels.transpose(2, 0, 1)


def _small_square(
    image: "ImageFile", content: bytes, channels: int, image_size: int, pixel_range: PixelRange | None
) -> "NDArray[np.uint8]":
    """Return the square at ``image_size``, from as few pixels as it needs: ``(image_size, image_size, channels)``."""
    from cnnzoo.data.decoding import squares

    if image.format not in squares.JPEG:
        image.load()  # which turns a TIFF
    height, width = image.height, image.width
    factor = squares.shrinkage(min(height, width), image_size)
    pixels = squares.decode_jpeg(image, content, channels, factor) if image.format in squares.JPEG else None
    if pixels is None:
        plain = _plain(image, channels, pixel_range)
        pixels = squares.pixels_of(plain if factor == 1 else plain.reduce(factor))
    square = squares.middle_square(pixels, (height / factor, width / factor), image_size)
    square = squares.turned(
        square, image.getexif().get(_ORIENTATION, 1)
    )  # of a square, it is the same square
    if square.shape[2] < channels:
        square = square.repeat(channels, 2)
    return np.require(square, requirements=["C", "W"])  # torch wants memory that it may write to


def _whole(image: "Image", channels: int, pixel_range: PixelRange | None) -> "NDArray[np.uint8]":
    """Return the whole picture in its own pixels: ``(H, W, channels)``."""
    from PIL import ImageOps

    seen = _plain(ImageOps.exif_transpose(image), channels, pixel_range)
    if seen.mode == "L" and channels == 3:
        seen = seen.convert("RGB")
    return np.array(seen, dtype=np.uint8).reshape(seen.height, seen.width, channels)


def _plain(image: "Image", channels: int, pixel_range: PixelRange | None) -> "Image":
    """Return an image as L or RGB, without transparency, of 8 bits a pixel; L also for RGB where it is grey."""
    from PIL import Image

    if is_deep(image):
        image = Image.fromarray(_to_8_bits(np.asarray(image, dtype=np.float64), image.mode, pixel_range))
    if image.has_transparency_data:
        figure = image.convert("RGBA")
        image = Image.new("RGBA", image.size, _ground_of(figure, channels))
        image.alpha_composite(figure)
    if image.mode == "L" or (image.mode == "RGB" and channels == 3):
        return image
    return image.convert("L" if channels == 1 else "RGB")


def _ground_of(figure: "Image", channels: int) -> str:
    """Return the ground on which a picture of mode RGBA can be seen: white, or black where it is white itself."""
    from PIL import ImageChops

    red, green, blue, opacity = figure.split()
    darkest = figure.convert("L") if channels == 1 else ImageChops.darker(ImageChops.darker(red, green), blue)
    counts = darkest.histogram(opacity.point(lambda value: 255 * (value >= MIN_OPACITY)))
    return "black" if sum(counts[:MIN_LIGHT]) < MAX_DARK_SHARE * sum(counts) else "white"


def _to_8_bits(
    values: "NDArray[np.float64]", mode: str, pixel_range: PixelRange | None
) -> "NDArray[np.uint8]":
    values = np.nan_to_num(values)
    low, high = pixel_range or (0.0, 65535.0 if mode.startswith("I") else max(values.max(), 1.0))
    scaled: NDArray[np.float64] = (values.clip(low, high) - low) * (255 / max(high - low, 1e-9))
    return scaled.astype(np.uint8)


def digest_of(content: bytes) -> "NDArray[np.uint8]":
    """Return the SHA-256 of a file's bytes, uint8 ``(32,)``."""
    return np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint8)
