"""What a trained net takes pictures for: any pictures, brought to its input as its training images were."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from cnnzoo.analysis.predict.drawings import crop_to_ink, is_blank, is_dark_on_light
from cnnzoo.analysis.predict.explain import Explainer, Method
from cnnzoo.analysis.predict.pictures import Picture, find_pictures
from cnnzoo.analysis.trained_net import TrainedNet, load_net
from cnnzoo.data.decoding.images import BrokenImageError, decode_image, quiet
from cnnzoo.data.folders import is_files
from cnnzoo.data.named.catalog import DATASETS
from cnnzoo.data.preprocess import Preprocessing, centre
from cnnzoo.device import explain_oom
from cnnzoo.errors import CnnzooError, UsageError, named
from cnnzoo.machine import cpu_count
from cnnzoo.runs.checkpoint import Checkpoint
from cnnzoo.training.images import evaluation_batch_size
from cnnzoo.training.reporter import Reporter

if TYPE_CHECKING:
    import pandas as pd

Invert = Literal["auto", "yes", "no"]

MAX_THREADS = 8
"""Threads that decode: each holds a picture in its full resolution, of 100 MB and more."""

EXPLAINED_AT_ONCE = 32
"""Pictures of a batch that is explained, which takes the memory of a step of training."""

DARK = 1 / 3
"""Mean below which pixels in [0, 1] are light on dark; those of MNIST have 0.13, of Fashion-MNIST 0.29."""


@dataclass(frozen=True)
class Prediction:
    """What a net takes a picture for.

    Attributes:
        file: As it was named, or found in a folder.
        classes: The likeliest, the first of equals first.
        probabilities: Of each: the softmax of the net's logits, over all its classes.
        inverted: Whether the picture's negative was shown to the net.
        dark_on_light: Whether the picture was noticed to be dark on light, which the net has not seen; not looked for
            where it has, nor where negatives are asked for.
        blank: Whether nothing is on the picture, so that the answer is about nothing.
        explanation: The file with what the answer rests on, where that was asked for; else empty.
    """

    file: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    inverted: bool
    dark_on_light: bool = False
    blank: bool = False
    explanation: str = ""

    def to_dict(self) -> dict[str, str | float | bool]:
        """Return it as a row: ``file, prediction, probability, prediction_2, probability_2, …, inverted``.

        Where there is an explanation, that comes last.
        """
        row: dict[str, str | float | bool] = {"file": self.file}
        for place, (name, probability) in enumerate(zip(self.classes, self.probabilities, strict=True), 1):
            suffix = f"_{place}" if place > 1 else ""
            row |= {f"prediction{suffix}": name, f"probability{suffix}": probability}
        row["inverted"] = self.inverted
        return row | ({"explanation": self.explanation} if self.explanation else {})


class ReadPicture(NamedTuple):
    """A picture as it was read.

    Attributes:
        pixels: Uint8 ``(C, H, W)``.
        inverted: Whether it is the picture's negative.
        dark_on_light: Whether the picture is noticed as dark on light.
        blank: Whether nothing is on it.
    """

    pixels: Tensor
    inverted: bool
    dark_on_light: bool
    blank: bool


class _Input(NamedTuple):
    """A picture as the net's preprocessing takes it: pixels 0 to 1, float32 ``(1, C, H, W)``."""

    name: str
    pixels: Tensor
    read: ReadPicture


class PictureReader:
    """Reads pictures by the way on which a net's training images came, up to the last step, the mean and deviation.

    For a net of a folder or a table: as those were read (``decode_image``). For a net of a named dataset: a square of
    the picture's own resolution, the middle one or that of the figure, sized as evaluation sizes images; where the
    net's recipe lays smaller images into a black one, the picture first gets the size of the dataset's.

    Args:
        net: Whose input is wanted.
        invert: Whether to show negatives; ``auto`` for pictures that are dark on light where the net has seen light
            on dark.
        centres_ink: Whether a drawn figure is cut out and centred (``crop_to_ink``).

    Raises:
        UsageError: The net was trained on other images than such figures.
        CnnzooError: No picture has as many channels as the net takes.
    """

    def __init__(self, net: TrainedNet, invert: Invert, centres_ink: bool) -> None:
        saved = net.saved
        self.device, self.preprocessing = net.device, net.preprocessing
        self.channels, self.invert, self.centres_ink = saved.in_channels, invert, centres_ink
        self.knows_light_on_dark = sees_light_on_dark(saved)
        if self.channels not in (1, 3):
            raise CnnzooError(f"{net.path} takes images of {self.channels} channels, which no picture has.")
        if centres_ink and not self.knows_light_on_dark:
            raise UsageError(
                f"--crop-to-ink is for nets of light figures on dark, such as MNIST's, and {net.path} was trained on "
                f"{saved.dataset}. Leave it out."
            )
        full_size = self.preprocessing.full_size
        self.decoded_size = full_size if is_files(saved.dataset) else None
        self.pixel_range = saved.deep_range
        spec = DATASETS.get(saved.dataset)
        laid_in = saved.pad and spec is not None and spec.image_size < full_size
        self.own_size = spec.image_size if spec and laid_in else None

    def read(self, picture: Picture) -> ReadPicture:
        """Read a picture, as large as the net's images were read.

        Raises:
            BrokenImageError: It is none.
        """
        pixels = decode_image(
            picture.path, self.channels, self.decoded_size, self.pixel_range, content=picture.read()
        )
        if not self.centres_ink:  # which looks for a figure wherever it is
            pixels = centre(torch.from_numpy(pixels), min(pixels.shape[-2:])).numpy()
        dark_on_light = self.invert != "yes" and self.knows_light_on_dark and is_dark_on_light(pixels)
        blank = is_blank(pixels)
        inverted = self.invert == "yes" or (self.invert == "auto" and dark_on_light)
        if inverted:
            pixels = 255 - pixels
        if self.centres_ink:
            pixels = crop_to_ink(pixels)
        return ReadPicture(torch.from_numpy(pixels), inverted, dark_on_light, blank)

    def sized(self, pixels: Tensor) -> Tensor:
        """Return uint8 ``(C, H, W)`` as pixels 0 to 1, float32 ``(1, C, image_size, image_size)`` on the device."""
        images = pixels[None].to(self.device)
        if self.own_size is not None and images.shape[-1] != self.own_size:
            images = Preprocessing(self.own_size).sized(images).mul_(255).round_().to(torch.uint8)
        return centre(self.preprocessing.sized(images), self.preprocessing.image_size)


def sees_light_on_dark(saved: Checkpoint) -> bool:
    """Whether a net was trained on light figures on dark, as MNIST's: a grey named dataset with dark backgrounds.

    Of datasets that come with cnnzoo that is known; else the mean of the pixels says it, which the checkpoint has, and
    which is the same in all channels where images are grey.
    """
    if is_files(saved.dataset):
        return False
    spec = DATASETS.get(saved.dataset)
    if spec and spec.read is None:
        return spec.channels == 1
    return len(set(saved.mean)) == 1 and saved.mean[0] < DARK


def predict_each(
    net: TrainedNet,
    pictures: Sequence[Picture],
    *,
    top_k: int = 3,
    invert: Invert = "auto",
    crop_to_ink: bool = False,
    explain: Method | None = None,
    explain_to: Path | None = None,
    batch_size: int | None = None,
    reporter: Reporter | None = None,
) -> Iterator[Prediction | BrokenImageError]:
    """Yield what a net takes each picture for, batch by batch, or what is wrong with one, as soon as that is seen.

    Args:
        net: The net.
        pictures: Decoded as they are needed.
        top_k: Classes for each picture, the likeliest first; all of them where there are fewer.
        invert: Whether to show negatives; see ``PictureReader``.
        crop_to_ink: Whether to cut out and centre a drawn figure; likewise.
        explain: How to explain each likeliest class, in a picture that is written; see ``Explainer``.
        explain_to: The folder for those; by default ``explanations`` in the net's run.
        batch_size: Pictures at once; by default as many as ``evaluate`` takes, and 32 where they are explained.
        reporter: Told of progress.

    Raises:
        UsageError: The net was trained on other images than ``crop_to_ink`` is for, or cannot be explained so.
        CnnzooError: There is not enough memory, the net answers with NaN, or an explanation cannot be written.
    """
    reader = PictureReader(net, invert, crop_to_ink)
    explainer = Explainer(net, explain, pictures, explain_to) if explain else None
    size = batch_size or (
        EXPLAINED_AT_ONCE if explain else evaluation_batch_size(1, net.preprocessing.full_size)
    )
    batch: list[_Input] = []
    with quiet():
        for done, (picture, read) in enumerate(_read_ahead(reader, pictures), 1):
            try:
                seen = read.result()
                with explain_oom(size):
                    batch.append(_Input(picture.name, reader.sized(seen.pixels), seen))
            except BrokenImageError as error:
                yield error
            if reporter:
                reporter.progress("Reading images", done, len(pictures))
            if len(batch) == size:
                yield from _answers(net, batch, top_k, explainer)
                batch = []
    if batch:
        yield from _answers(net, batch, top_k, explainer)


def _read_ahead(
    reader: PictureReader, pictures: Iterable[Picture]
) -> Iterator[tuple[Picture, "Future[ReadPicture]"]]:
    """Yield pictures in their order, each with what is, or will be, read of it: one more than there are threads."""
    num_threads = min(cpu_count(), MAX_THREADS)
    ahead: deque[tuple[Picture, Future[ReadPicture]]] = deque()
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")  # PIL decodes without Python's lock
    try:
        for picture in pictures:
            ahead.append((picture, pool.submit(reader.read, picture)))
            if len(ahead) > num_threads:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()
    finally:
        pool.shutdown(cancel_futures=True)


def _answers(
    net: TrainedNet, batch: Sequence[_Input], top_k: int, explainer: Explainer | None
) -> Iterator[Prediction]:
    with explain_oom(len(batch)):
        images = net.preprocessing.normalized(torch.cat([one.pixels for one in batch]))
        with torch.inference_mode(), net.precision.autocast(net.device):
            logits = net.model(images).float()
    if not logits.isfinite().all():
        raise CnnzooError(
            f"{net.path} answers with numbers that are NaN or infinite. Try --precision fp32 or another checkpoint."
        )
    order = logits.argsort(dim=1, descending=True, stable=True)[:, :top_k]  # (N, top_k), of equals the first
    probabilities = logits.softmax(1).gather(1, order)
    maps = explainer(images, order[:, 0]) if explainer else None
    for index, (one, labels, shares) in enumerate(
        zip(batch, order.tolist(), probabilities.tolist(), strict=True)
    ):
        classes = tuple(net.classes[label] for label in labels)
        explanation = (
            ""
            if explainer is None or maps is None
            else str(explainer.save(one.name, one.pixels[0], maps[index]))
        )
        seen = one.read
        yield Prediction(
            *(one.name, classes, tuple(shares)), seen.inverted, seen.dark_on_light, seen.blank, explanation
        )


def describe_blank(files: Sequence[str]) -> str:
    """Return the sentence that warns of blank pictures."""
    are, them = ("is", "it") if len(files) == 1 else ("are", "them")
    return f"{named(files, 1)} {are} blank: nothing on {them} stands out, so the predictions for {them} mean nothing."


def predict(
    checkpoint: str | os.PathLike[str],
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    top_k: int = 3,
    invert: Invert = "auto",
    crop_to_ink: bool = False,
    explain: Method | None = None,
    explain_to: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    precision: str | None = None,
    reporter: Reporter | None = None,
) -> "pd.DataFrame":
    """Tell what a trained net takes pictures for.

    Args:
        checkpoint: A ``best.pt`` or ``last.pt``.
        files: Pictures that Pillow opens, folders of them, patterns such as ``scans/*.png``, or ``-`` for stdin.
        top_k: Classes for each picture, the likeliest first; all of them where there are fewer.
        invert: Whether to show the net negatives; ``auto`` for pictures that are dark on light where it was trained on
            light on dark, as MNIST's are.
        crop_to_ink: Cut out a drawn figure and centre it as MNIST's makers did (LeCun et al. 1998, section III.A).
        explain: Write for each picture another one, of what the likeliest class rests on: ``gradcam`` (Selvaraju et
            al. 2017) or ``occlusion`` (Zeiler and Fergus 2014). Needs captum.
        explain_to: The folder for those; by default ``explanations`` in the net's run.
        batch_size: Pictures at once; by default as many as ``evaluate`` takes, and 32 where they are explained.
        device: As for training.
        precision: As for training; by default the one that the run was trained in.
        reporter: Told of progress, of what cannot be read, and of pictures on which nothing is.

    Returns:
        A row for each picture, in the order in which people count: ``file``, ``prediction``, ``probability``,
        ``prediction_2``, ``probability_2`` and so on, ``inverted``, and ``explanation``, the file, where one was asked
        for. Pictures that cannot be read have none.

    Raises:
        CnnzooError: The checkpoint cannot be used, or no picture can be read; the message says why.
    """
    import pandas as pd

    reporter = reporter or Reporter()
    found = find_pictures([files] if isinstance(files, str | os.PathLike) else files)
    for line in (*found.notes, *found.missing):
        reporter.warn(line)
    net = load_net(Path(checkpoint), device=device, precision=precision, reporter=reporter)
    rows = []
    broken = list(found.missing)
    blank = []
    for each in predict_each(
        net,
        found.pictures,
        top_k=top_k,
        invert=invert,
        crop_to_ink=crop_to_ink,
        explain=explain,
        explain_to=None if explain_to is None else Path(explain_to),
        batch_size=batch_size,
        reporter=reporter,
    ):
        if isinstance(each, Prediction):
            rows.append(each.to_dict())
            blank += [each.file] if each.blank else []
        else:
            broken.append(f"{each.what}.")
            reporter.warn(broken[-1])
    if not rows:
        raise CnnzooError(f"there is no picture to look at: {broken[0] if broken else 'none is named.'}")
    if blank:
        reporter.warn(describe_blank(blank))
    return pd.DataFrame(rows)
