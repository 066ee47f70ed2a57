"""All images of a folder, read once: into memory, or to see which can be read."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from cnnzoo.data import Progress
from cnnzoo.data.decoding.images import NoHandleError, decode_image, digest_of, quiet, read_content
from cnnzoo.data.listing.kinds import KindWatch
from cnnzoo.errors import CnnzooError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cnnzoo.data.folders import Folder


def decode_all(
    folder: "Folder",
    image_size: int,
    progress: Progress,
    *,
    skip_bad_images: bool = False,
    watch: KindWatch | None = None,
) -> "tuple[NDArray[np.uint8], Folder]":
    """Read every image of a folder: uint8 ``(N, C, image_size, image_size)``, and the folder of those images.

    Raises:
        CnnzooError: Some are broken, and are not to be skipped: the message names the first. Or a class has
            no others.
    """
    images = np.empty((len(folder.files), folder.channels, image_size, image_size), dtype=np.uint8)
    kept: list[int] = []
    broken: list[CnnzooError] = []
    for index, image in enumerate(_decode_each(folder, image_size, progress, watch)):
        if isinstance(image, CnnzooError):
            broken.append(image)
        else:
            images[len(kept)] = image
            kept.append(index)
    if broken and not skip_bad_images:
        first, *others = broken
        if others:
            first.args = (f"{first} {len(others)} more cannot be read either.",)
        raise first
    return images[: len(kept)], folder.keep(kept)


def without_bad_images(folder: "Folder", image_size: int, progress: Progress) -> "Folder":
    """Read every image once, and return the folder of those that can be read.

    Raises:
        CnnzooError: A class has none.
    """
    images = _decode_each(folder, image_size, progress, None)
    return folder.keep([index for index, image in enumerate(images) if not isinstance(image, CnnzooError)])


def _decode_each(
    folder: "Folder", image_size: int, progress: Progress, watch: KindWatch | None
) -> "Iterator[NDArray[np.uint8] | CnnzooError]":
    """Yield the images in their order, or what is wrong with one; and keep their checksums."""

    def attempt(index: int) -> "NDArray[np.uint8] | CnnzooError":
        file = folder.files[index]
        try:
            content = read_content(file)
            if folder.digests is not None:
                folder.digests[index] = digest_of(content)
            if watch:
                watch.look(file, content)
            pixels = decode_image(
                file, folder.channels, image_size, folder.pixel_range, rules=folder.rules, content=content
            )
            return np.ascontiguousarray(pixels)  # here, not where one thread collects them
        except NoHandleError:
            raise
        except CnnzooError as error:
            return error

    with quiet(), ThreadPoolExecutor() as pool:  # PIL decodes without holding Python's lock
        for done, image in enumerate(pool.map(attempt, range(len(folder.files))), 1):
            progress("Reading images", done, len(folder.files))
            yield image
