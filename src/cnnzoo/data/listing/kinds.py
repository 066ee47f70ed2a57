"""What kind training images are of: grey or colour, and which values those of more than 8 bits a pixel have."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cnnzoo.data.decoding.images import NoHandleError, PixelRange, deep_range, is_deep, open_image, quiet
from cnnzoo.data.listing.listing import Files, shown_name
from cnnzoo.errors import CnnzooError

if TYPE_CHECKING:
    from PIL.Image import Image

SAMPLE_SIZE = 1000
"""Training images that are looked at, spread evenly over all of them."""


class Kinds(NamedTuple):
    """How images of some kinds are to be read.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        pixel_range: What becomes black and white in images of more than 8 bits a pixel; None where there are none.
    """

    channels: int
    pixel_range: PixelRange | None


def find_kinds(files: Files, *, skip_bad_images: bool) -> Kinds:
    """Return how training images are to be read: grey where all that are looked at are so by their headers.

    Args:
        files: The training images.
        skip_bad_images: Whether those that cannot be read say nothing.

    Raises:
        CnnzooError: One cannot be read.
    """

    def look(file: Path) -> tuple[bool, PixelRange | None]:
        try:
            with open_image(file) as image:
                grey, deep = _is_grey(image), is_deep(image)
            return grey, deep_range(file) if deep else None
        except CnnzooError as error:
            if skip_bad_images and not isinstance(error, NoHandleError):
                return True, None
            raise

    files = files.take(np.linspace(0, len(files) - 1, min(len(files), SAMPLE_SIZE)).astype(np.int64))
    with quiet(), ThreadPoolExecutor() as pool:  # a disk answers several at once
        found = list(pool.map(look, files))
    ranges = [values for _, values in found if values]
    whole = (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None
    return Kinds(1 if all(grey for grey, _ in found) else 3, whole)


class KindWatch:
    """Looks out, as images are decoded, for one of a kind that was not among those that were looked at.

    Args:
        kinds: How they are read.
        root: From where files are named.
        num_images: How many there are; about twice as many are watched, and then all of them are known.
    """

    def __init__(self, kinds: Kinds, root: Path, num_images: int) -> None:
        self._kinds = kinds
        self._others = f"the {SAMPLE_SIZE:,} training images that were looked at"
        self._root = root
        self._left = 2 * num_images
        self._found = ""
        self._is_told = False

    def look(self, file: Path, content: bytes) -> None:
        """Look at an image that is decoded, in whichever thread that is.

        Raises:
            CnnzooError: It cannot be read.
        """
        if self._found or self._left <= 0 or (self._kinds.channels == 3 and content.startswith(b"\xff\xd8")):
            return  # a JPEG file has 8 bits
        self._left -= 1
        with open_image(file, content) as image:
            is_new_colour, deep = self._kinds.channels == 1 and not _is_grey(image), is_deep(image)
        values, known = deep_range(file, content) if deep else None, self._kinds.pixel_range
        if is_new_colour:
            what = (
                f"is in colour and is read as grey, since {self._others} are grey. To train on colours, start again "
                "with --channels 3; with --channels 1 all are read as grey, and nothing is said."
            )
        elif values and known is None:
            what = (
                f"has more than 8 bits a pixel (from {values[0]:g} to {values[1]:g}), which {self._others} have not: "
                "what is black and white in it is taken from its format. Save it with 8 bits a pixel, or leave it out."
            )
        elif values and known and (values[0] < known[0] or values[1] > known[1]):
            what = (
                f"has pixels from {values[0]:g} to {values[1]:g}, and {self._others} have them from {known[0]:g} to "
                f"{known[1]:g}: what lies outside is read as black or white. Save it in that range, or leave it out."
            )
        else:
            return
        self._found = f"{shown_name(file, self._root)} {what} Others may be so too."

    def tell(self, warn: Callable[[str], None]) -> None:
        """Say what was found, once: from the thread to which the listener belongs."""
        if self._found and not self._is_told:
            self._is_told = True
            warn(self._found)


def _is_grey(image: "Image") -> bool:
    from PIL import Image

    return Image.getmodebase(image.mode) == "L"
