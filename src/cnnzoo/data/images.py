"""One image file to pixels, as a person would see it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnnzoo.errors import CnnzooError, one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile


FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What a file may hold, whatever it is called. Pillow knows more, such as EPS, for which it starts Ghostscript."""

MAX_PIXELS = 100_000_000
"""An image of more pixels is taken for a decompression bomb."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings while images are read: they are of metadata that nobody needs.

    The filters are the whole process's, so this is for the thread that starts others, not for those.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def open_image(file: Path) -> "ImageFile":
    """Open an image file, of which Pillow reads the header alone.

    Raises:
        CnnzooError: It is none, or would unpack to more than MAX_PIXELS; the message names it.
    """
    from PIL import Image

    try:
        image = Image.open(file, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _bomb(file) from error
    except Exception as error:
        raise _broken(file, error) from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise _bomb(file)
    return image


def _bomb(file: Path) -> CnnzooError:
    return CnnzooError(
        f"{file} would unpack to more than {MAX_PIXELS // 1_000_000} million pixels. "
        "Remove it or make it smaller, or leave such images out with --skip-bad-images."
    )


def _broken(file: Path, error: Exception) -> CnnzooError:
    from PIL import UnidentifiedImageError

    why = "no known format" if isinstance(error, UnidentifiedImageError) else one_line(error)
    return CnnzooError(
        f"{file} cannot be read as an image ({why}). "
        "Remove or replace it, or leave such images out with --skip-bad-images."
    )


def decode_image(file: Path, channels: int, image_size: int) -> "NDArray[np.uint8]":
    """Read one image as a person would see it, cut to a square: uint8 ``(channels, image_size, image_size)``.

    Turned as its EXIF says, transparent parts on white, the shorter side resized (bilinear) to
    ``image_size``, the middle of the longer one kept; of an animation the first picture.

    Raises:
        CnnzooError: It is broken; the message names it.
    """
    from PIL import Image, ImageOps

    with open_image(file) as image:
        try:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I") or upright.mode == "F":  # 16 bits and more: PIL would clip at 255
                values = np.nan_to_num(np.asarray(upright, dtype=np.float64))
                top = 65535 if upright.mode.startswith("I") else max(values.max(), 1.0)
                upright = Image.fromarray((values.clip(0, top) * (255 / top)).astype(np.uint8))
            if upright.has_transparency_data:
                seen_through = upright.convert("RGBA")
                upright = Image.new("RGBA", upright.size, "white")
                upright.alpha_composite(seen_through)
            square = ImageOps.fit(
                upright.convert("L" if channels == 1 else "RGB"),
                (image_size, image_size),
                Image.Resampling.BILINEAR,
            )
        except Exception as error:
            raise _broken(file, error) from error
    pixels = np.array(square, dtype=np.uint8)  # a copy: torch wants memory that it may write to
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
