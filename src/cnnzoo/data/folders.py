"""Trees of class folders: which images there are, and all of them read."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnnzoo.data import Progress
from cnnzoo.data.images import decode_image, open_image, quiet
from cnnzoo.errors import CnnzooError, one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}

PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names of folders that hold a part of the images rather than a class, in small letters."""

TEST_SHARE = 0.2
"""Share of a tree without train/ and test/ that is kept for the test."""

_Sample = tuple[Path, int]  # an image file and its label


@dataclass(frozen=True)
class Folder:
    """One split of an image folder.

    Attributes:
        root: The folder that the person named.
        classes: Names of the class folders, sorted; a label is an index into them.
        files: The images.
        labels: One per file.
        channels: 1 if every training image is grey, else 3.
        num_skipped: Broken images that were left out.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[int, ...]
    channels: int
    num_skipped: int = 0

    @property
    def sha256(self) -> str:
        """Checksum of the images' paths and sizes: reading every byte of a large folder would take hours."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(_relative(file, self.root) + b" %d\n" % file.stat().st_size)
        return digest.hexdigest()

    def keep(self, indices: Sequence[int]) -> "Folder":
        """Return the folder with the images at ``indices`` only.

        Raises:
            CnnzooError: A class has none of them.
        """
        labels = tuple(self.labels[index] for index in indices)
        for label in sorted(set(self.labels) - set(labels)):
            raise CnnzooError(f"no image of class {self.classes[label]} in {self.root} can be read.")
        files = tuple(self.files[index] for index in indices)
        return dataclasses.replace(self, files=files, labels=labels, num_skipped=len(self.files) - len(files))


def open_folder(root: Path, split: str, *, skip_bad_images: bool = False) -> Folder | None:
    """List one split of a tree of class folders.

    With ``train/`` inside, ``test/`` is the test set, or ``val/`` where there is no ``test/``. With all
    three, ``val/`` is the validation set. A tree with class folders only keeps a fifth of each class for
    the test, always the same. Names that begin with a dot are passed over, and files that are no images.

    Args:
        root: The tree.
        split: ``train``, ``val`` or ``test``.
        skip_bad_images: Say nothing of pictures that cannot be opened; decode_all leaves them out.

    Returns:
        None for ``val`` where the tree sets no images aside for it.

    Raises:
        CnnzooError: No such folder, no classes or one only, an empty class, a picture that cannot be read,
            or train and test folders with different classes.
    """
    try:
        listed = _list(root, split)
    except OSError as error:
        raise CnnzooError(
            f"the folder {error.filename or root} cannot be read ({one_line(error)}). "
            "Give one that holds a folder of images for each class."
        ) from error
    if listed is None:
        return None
    classes, samples = listed
    files, labels = zip(*samples[split], strict=True)
    channels = _channels([file for file, _ in samples["train"]], skip_bad_images)
    return Folder(root, classes, files, labels, channels)


def _list(root: Path, split: str) -> tuple[tuple[str, ...], dict[str, list[_Sample]]] | None:
    """Return the classes and the images of the training part and of ``split``; None if there is no such part."""
    parts = {
        PARTS[path.name.lower()]: path
        for path in _subfolders(root)
        # A folder of that name with no folders inside is a class: a train is a fine thing to photograph.
        if path.name.lower() in PARTS and _subfolders(path)
    }
    if not parts:
        classes = _classes(root)
        return None if split == "val" else (classes, _cut(root, _images(root, classes)))
    if len(parts) == 1 or "train" not in parts:
        names = " and ".join(f"{path.name}/" for path in parts.values())
        raise CnnzooError(
            f"{root} has {names} only. It needs train/ and test/, train/ and val/, or class folders alone, "
            f"as in {next(iter(parts.values()))}."
        )
    if "test" not in parts:
        parts["test"] = parts.pop("val")
    classes = _classes(parts["train"])
    for path in parts.values():
        if differ := sorted(set(classes) ^ set(_classes(path))):
            raise CnnzooError(
                f"{parts['train']} and {path} have different classes: {', '.join(differ)}. "
                "Give both the same class folders."
            )
    if split not in parts:
        return None
    return classes, {part: _images(parts[part], classes) for part in {"train", split}}


def _subfolders(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(found, key=lambda path: path.name)  # paths themselves are ordered otherwise on Windows


def _classes(folder: Path) -> tuple[str, ...]:
    classes = tuple(path.name for path in _subfolders(folder))
    if len(classes) < 2:
        what = f"one class only ({classes[0]})" if classes else "no class folders"
        raise CnnzooError(
            f"{folder} has {what}. It needs a folder of images for each of two classes or more."
        )
    return classes


def _images(folder: Path, classes: Sequence[str]) -> list[_Sample]:
    samples: list[_Sample] = []
    for label, name in enumerate(classes):
        base = folder / name
        found = (
            path
            for path in base.rglob("*")
            if path.suffix.lower() in SUFFIXES
            and not any(part.startswith(".") for part in path.relative_to(base).parts)
            and path.is_file()
        )
        of_class = [(path, label) for path in sorted(found, key=Path.as_posix)]
        if not of_class:
            raise CnnzooError(f"the class folder {base} has no images. Put some into it, or remove it.")
        samples += of_class
    return samples


def _cut(root: Path, samples: list[_Sample]) -> dict[str, list[_Sample]]:
    """Keep a fifth of each class for the test, and one image at least."""
    of_class: dict[int, list[_Sample]] = {}
    for sample in samples:
        of_class.setdefault(sample[1], []).append(sample)
    split: dict[str, list[_Sample]] = {"train": [], "test": []}
    for members in of_class.values():
        if len(members) < 2:
            raise CnnzooError(
                f"{members[0][0].parent} has one image only, and one of each class is kept for the test. "
                "Add another."
            )
        # An order that neither the seed nor the file names' own order has a part in.
        members.sort(key=lambda sample: hashlib.sha256(_relative(sample[0], root)).digest())
        cut = max(1, round(len(members) * TEST_SHARE))
        split["test"] += members[:cut]
        split["train"] += members[cut:]
    return split


def _relative(file: Path, root: Path) -> bytes:
    # A name may hold bytes that are no UTF-8.
    return file.relative_to(root).as_posix().encode(errors="surrogateescape")


def _channels(files: Sequence[Path], skip_bad_images: bool) -> int:
    """Return 1 if every image is grey by its header, else 3."""
    from PIL import Image

    def is_grey(file: Path) -> bool:
        try:
            with open_image(file) as image:
                return Image.getmodebase(image.mode) == "L"
        except CnnzooError:
            if skip_bad_images:
                return True
            raise

    with quiet(), ThreadPoolExecutor() as pool:
        return 1 if all(pool.map(is_grey, files)) else 3


def decode_all(
    folder: Folder, image_size: int, progress: Progress, *, skip_bad_images: bool = False
) -> "tuple[NDArray[np.uint8], Folder]":
    """Read every image of a folder: uint8 ``(N, C, image_size, image_size)``, and the folder of those images.

    Raises:
        CnnzooError: Some are broken, and are not to be skipped: the message names the first. Or a class has
            no others.
    """
    images = np.empty((len(folder.files), folder.channels, image_size, image_size), dtype=np.uint8)
    kept: list[int] = []
    broken: list[CnnzooError] = []
    for index, image in enumerate(_decode_each(folder, image_size, progress)):
        if isinstance(image, CnnzooError):
            broken.append(image)
        else:
            images[len(kept)] = image
            kept.append(index)
    if broken and not skip_bad_images:
        more = f" {len(broken) - 1} more cannot be read either." if len(broken) > 1 else ""
        raise CnnzooError(f"{broken[0]}{more}") from broken[0]
    return images[: len(kept)], folder.keep(kept)


def without_bad_images(folder: Folder, image_size: int, progress: Progress) -> Folder:
    """Read every image once, and return the folder of those that can be read.

    Raises:
        CnnzooError: A class has none.
    """
    images = _decode_each(folder, image_size, progress)
    return folder.keep([index for index, image in enumerate(images) if not isinstance(image, CnnzooError)])


def _decode_each(
    folder: Folder, image_size: int, progress: Progress
) -> "Iterator[NDArray[np.uint8] | CnnzooError]":
    """Yield the images in their order, or what is wrong with one."""

    def attempt(file: Path) -> "NDArray[np.uint8] | CnnzooError":
        try:
            return decode_image(file, folder.channels, image_size)
        except CnnzooError as error:
            return error

    with quiet(), ThreadPoolExecutor() as pool:  # PIL decodes without holding Python's lock
        for done, image in enumerate(pool.map(attempt, folder.files), 1):
            progress("Reading images", done, len(folder.files))
            yield image
