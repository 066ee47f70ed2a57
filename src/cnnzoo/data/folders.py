"""Trees of class folders: which images there are, and one image as the net will see it."""

import hashlib
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from cnnzoo.data.sources import Progress
from cnnzoo.errors import CnnzooError, one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}

MAX_PIXELS = 100_000_000
"""An image of more pixels is taken for a decompression bomb."""

TEST_SHARE = 0.2
"""Share of a tree without train/ and test/ that is kept for the test."""


@dataclass(frozen=True)
class Folder:
    """One split of an image folder.

    Attributes:
        root: The folder that the person named.
        classes: Names of the class folders, sorted; a label is an index into them.
        files: The images.
        labels: One per file.
        channels: 1 if every image of the training part is grey, else 3.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[int, ...]
    channels: int

    @property
    def sha256(self) -> str:
        """Checksum of the images' paths and sizes: reading every byte of a large folder would take hours."""
        lines = (f"{f.relative_to(self.root).as_posix()} {f.stat().st_size}\n" for f in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def open_folder(root: Path, split: str) -> Folder | None:
    """List one split of a tree of class folders.

    With ``train/`` inside, ``test/`` is the test set, or ``val/`` where there is no ``test/``. With all
    three, ``val/`` is the validation set. A tree with class folders only keeps a fifth of each class for
    the test, always the same.

    Args:
        root: The tree.
        split: ``train``, ``val`` or ``test``.

    Returns:
        None for ``val`` where the tree sets no images aside for it.

    Raises:
        CnnzooError: No such folder, no classes or one only, an empty class, a picture that cannot be read,
            or train and test folders with different classes.
    """
    if not root.is_dir():
        raise CnnzooError(
            f"there is no folder {root}. Give one that holds a folder of images for each class."
        )
    parts = {part: root / part for part in ("train", "val", "test") if (root / part).is_dir()}
    if "train" not in parts:
        return None if split == "val" else _cut(root, split)
    if len(parts) == 1:
        raise CnnzooError(
            f"{root} has train/ but neither test/ nor val/. Add one, or name {root / 'train'} itself."
        )
    if "test" not in parts:
        parts["test"] = parts.pop("val")
    classes = _classes(parts["train"])
    for part in parts.values():
        if (others := _classes(part)) != classes:
            differ = sorted(set(classes) ^ set(others))
            raise CnnzooError(f"{parts['train']} and {part} have different classes: {', '.join(differ)}.")
    if split not in parts:
        return None
    files, labels = _images(parts[split], classes)
    return Folder(root, classes, files, labels, _channels(_images(parts["train"], classes)[0]))


def _cut(root: Path, split: str) -> Folder:
    classes = _classes(root)
    files, labels = _images(root, classes)
    of_class: dict[int, list[Path]] = {}
    for file, label in zip(files, labels, strict=True):
        of_class.setdefault(label, []).append(file)
    chosen: list[tuple[Path, int]] = []
    for label, members in of_class.items():
        # An order that neither the seed nor the file names' own order has a part in.
        members.sort(key=lambda file: hashlib.sha256(file.relative_to(root).as_posix().encode()).digest())
        cut = round(len(members) * TEST_SHARE)
        chosen += [(file, label) for file in (members[:cut] if split == "test" else members[cut:])]
    return Folder(
        root,
        classes,
        tuple(file for file, _ in chosen),
        tuple(label for _, label in chosen),
        _channels(files),
    )


def _classes(folder: Path) -> tuple[str, ...]:
    classes = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if len(classes) < 2:
        what = f"one class only ({classes[0]})" if classes else "no class folders"
        raise CnnzooError(
            f"{folder} has {what}. It needs a folder of images for each of two classes or more."
        )
    return classes


def _images(folder: Path, classes: Sequence[str]) -> tuple[tuple[Path, ...], tuple[int, ...]]:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            raise CnnzooError(f"the class folder {folder / name} is empty. Put images into it, or remove it.")
        files += found
        labels += [label] * len(found)
    return tuple(files), tuple(labels)


def _channels(files: Sequence[Path]) -> int:
    """Return 1 if every image is grey by its header, else 3."""
    from PIL import Image

    def is_grey(file: Path) -> bool:
        with _open(file, file.open("rb")) as image:
            return Image.getmodebase(image.mode) == "L" and image.mode != "P"

    with ThreadPoolExecutor() as pool:
        return 1 if all(pool.map(is_grey, files)) else 3


def _open(file: Path, stream: BinaryIO) -> "Image":
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the line below is stricter
        try:
            image = Image.open(stream)
        except Exception as error:
            raise _broken(file, error) from error
    if image.width * image.height > MAX_PIXELS:
        raise CnnzooError(
            f"{file} would unpack to {image.width}×{image.height} pixels. Remove it or make it smaller."
        )
    return image


def _broken(file: Path, error: Exception) -> CnnzooError:
    return CnnzooError(f"{file} cannot be read as an image ({one_line(error)}). Remove or replace it.")


def decode_image(file: Path, channels: int, image_size: int) -> "NDArray[np.uint8]":
    """Read one image as a person would see it, cut to a square: uint8 ``(channels, image_size, image_size)``.

    Turned as its EXIF says, transparent parts on white, the shorter side resized (bilinear) to
    ``image_size``, the middle of the longer one kept.

    Raises:
        CnnzooError: It is broken; the message names it.
    """
    from PIL import Image, ImageOps

    with _open(file, file.open("rb")) as image:
        try:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I") or upright.mode == "F":  # 16 bits and more: PIL would clip at 255
                values = np.asarray(upright, dtype=np.float64)
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


def decode_all(folder: Folder, image_size: int, progress: Progress) -> "NDArray[np.uint8]":
    """Read every image of a folder: uint8 ``(N, C, image_size, image_size)``.

    Raises:
        CnnzooError: One is broken; the message names it.
    """
    images = np.empty((len(folder.files), folder.channels, image_size, image_size), dtype=np.uint8)
    with ThreadPoolExecutor() as pool:  # PIL decodes without holding Python's lock
        decoded = pool.map(lambda file: decode_image(file, folder.channels, image_size), folder.files)
        for index, image in enumerate(decoded):
            images[index] = image
            progress("Reading images", index + 1, len(images))
    return images
