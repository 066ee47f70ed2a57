"""Epochs of (images, labels) batches on the device: from memory, or streamed from files."""

import hashlib
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from cnnzoo.data.augment import Augmentation, centre
from cnnzoo.data.folders import decode_image, quiet
from cnnzoo.errors import CnnzooError, one_line

PREPARED = 2**20
"""Pixels that are prepared at once: many small batches in one go, since what a step of LeNet takes is mostly
the calls and not the arithmetic; 4 MB as floats, so that the processor's cache holds them."""


class Source(Protocol):
    """Labelled uint8 images, wherever they are kept."""

    @property
    def labels(self) -> Tensor:
        """Int64 ``(N,)``."""

    def subset(self, indices: Tensor) -> "Source":
        """Return the images at ``indices``."""

    def batches(self, chunks: Sequence[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield uint8 images ``(N, C, H, W)`` and labels ``(N,)`` on ``device``, a batch for each chunk of indices."""


@dataclass(frozen=True)
class Resident:
    """Images that stay in memory as uint8 ``(N, C, H, W)``, moved to the device once."""

    images: Tensor
    labels: Tensor

    def subset(self, indices: Tensor) -> "Resident":
        """Return the images at ``indices``."""
        return Resident(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> "Resident":
        """Return the same on ``device``."""
        return Resident(self.images.to(device), self.labels.to(device))

    def batches(self, chunks: Sequence[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Index the images of each chunk; ``device`` is where they are already."""
        for chunk in chunks:
            indices = chunk.to(device)
            yield self.images[indices], self.labels[indices]


@dataclass(frozen=True)
class Streamed:
    """Image files too large for memory, decoded as they are needed by ``workers`` processes."""

    files: Sequence[Path]
    labels: Tensor
    channels: int
    image_size: int
    workers: int

    def subset(self, indices: Tensor) -> "Streamed":
        """Return the images at ``indices``."""
        files = [self.files[index] for index in indices.tolist()]
        return Streamed(files, self.labels[indices], self.channels, self.image_size, self.workers)

    def batches(self, chunks: Sequence[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Decode the images of each chunk in other processes, and copy them over.

        Raises:
            CnnzooError: An image is broken, or one of the processes died.
        """
        loader: DataLoader[Tensor | CnnzooError] = DataLoader(
            _Decoded(self),
            batch_size=None,  # the chunks are the batches
            sampler=chunks,
            num_workers=self.workers,
            pin_memory=device.type == "cuda",
            worker_init_fn=_ignore_signals,
            generator=torch.Generator(),  # else it draws from the numbers that dropout is to have
        )
        try:
            for chunk, images in zip(chunks, loader, strict=True):
                if isinstance(images, CnnzooError):
                    raise images
                yield (
                    images.to(device, non_blocking=True),
                    self.labels[chunk].to(device, non_blocking=True),
                )
        except (RuntimeError, OSError) as error:
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise CnnzooError(
                f"a process that decodes images died ({one_line(error)}), perhaps of too little memory. "
                "Try fewer --workers, or 0."
            ) from error


class _Decoded(Dataset["Tensor | CnnzooError"]):
    """Chunks of decoded images. An error is handed over as a value, since DataLoader would rewrite its message."""

    def __init__(self, source: Streamed) -> None:
        self.source = source

    def __getitem__(self, indices: Tensor) -> "Tensor | CnnzooError":
        source = self.source
        try:
            with quiet():
                images = [
                    decode_image(source.files[index], source.channels, source.image_size)
                    for index in indices.tolist()
                ]
        except CnnzooError as error:
            return error
        return torch.from_numpy(np.stack(images))


def _ignore_signals(_: int) -> None:
    # Ctrl-C, and what torchrun or Slurm sends to all of a training's processes, are the main process's to answer.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@dataclass(frozen=True)
class Preprocessing:
    """From uint8 pixels to what the net sees; a checkpoint carries it.

    Attributes:
        image_size: Pixels a side.
        mean: Per channel, of pixels in [0, 1]; empty to leave them so.
        std: Per channel; likewise.
        resize: Pixels a side that images get before squares of ``image_size`` are cut from them; None for that size.
        pad: Whether smaller images are laid into the middle of a black one, and not enlarged.
    """

    image_size: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: int | None = None
    pad: bool = False

    @property
    def full_size(self) -> int:
        """Pixels a side of the images from which squares are cut."""
        return self.resize or self.image_size

    def __call__(self, images: Tensor, change: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return uint8 images ``(N, C, H, W)`` as float32 ``(N, C, image_size, image_size)``, channels last.

        Args:
            images: As they are kept.
            change: What happens to their pixels, 0 to 1, once they have ``full_size``; it cuts squares from them.
                Without it they are cut from the middle.
        """
        pixels = self._sized(images.float().div_(255))
        pixels = centre(pixels, self.image_size) if change is None else change(pixels)
        if self.mean:
            mean, std = (
                torch.tensor(v, device=images.device).view(1, -1, 1, 1) for v in (self.mean, self.std)
            )
            pixels = pixels.sub_(mean).div_(std)
        return pixels.contiguous(memory_format=torch.channels_last)

    def _sized(self, pixels: Tensor) -> Tensor:
        sides, size = pixels.shape[-2:], self.full_size
        if sides == (size, size):
            return pixels
        if self.pad and max(sides) <= size:
            (top, bottom), (left, right) = (((size - side) // 2, (size - side + 1) // 2) for side in sides)
            return F.pad(pixels, (left, right, top, bottom))
        rows, columns = (interpolation(side, size, pixels.device) for side in sides)
        with torch.autocast(pixels.device.type, enabled=False):  # pixels are float32 whatever the net is
            return rows @ pixels @ columns.T


@cache
def interpolation(side: int, size: int, device: torch.device) -> Tensor:
    """Return what resizes a column of ``side`` pixels to ``size``, as a matrix ``(size, side)``.

    Bilinear as PIL does it: smoothed when an image is made smaller, plain when it grows. Two matrix
    products take less time than ``F.interpolate``, from which the matrix comes.
    """
    unit = torch.eye(side)[None, None]
    matrix = F.interpolate(unit, size=(size, side), mode="bilinear", antialias=size < side)
    return matrix[0, 0].to(device)


class Part(NamedTuple):
    """What a batch is in the step that it belongs to.

    Attributes:
        counts: Whether its images are this process's to count. A last batch may have fewer images than there are
            processes; those without one get the first, since all of them take part in every step.
        weight: What the batch's mean loss counts in that of the step, ``()``; None for all.
        ends_step: Whether the weights change after it.
    """

    counts: bool
    weight: Tensor | None
    ends_step: bool


WHOLE = Part(counts=True, weight=None, ends_step=True)
"""A batch that is a step by itself."""


class Batches:
    """Epochs of batches: ``for images, labels in batches.epoch(3)``, on the device, ready for the net.

    The order and every change are a function of (seed, epoch, position), however many processes share a batch and
    however many batches make a step.

    Args:
        source: The images.
        preprocessing: What makes them what the net sees.
        batch_size: Images a batch, over all processes; the last one may be smaller.
        device: Where batches are wanted.
        seed: Of order and augmentation; None keeps the images in their order.
        augment: Names of changes, see Augmentation.
        colours: What ``colour_directions`` returns, where ``colour`` is among them.
        rank: Which process this is, from 0; it gets its share of every batch.
        world_size: How many processes there are, a divisor of ``batch_size``.
        accumulate: Batches a step.
    """

    def __init__(
        self,
        source: Source,
        preprocessing: Preprocessing,
        batch_size: int,
        device: torch.device,
        *,
        seed: int | None = None,
        augment: Sequence[str] = (),
        colours: Tensor | None = None,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.source = source.to(device) if isinstance(source, Resident) else source
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.device = device
        self.seed = seed
        self.augment = augment
        self.colours = colours
        self.rank = rank
        self.world_size = world_size
        self.accumulate = accumulate
        self.share = batch_size // world_size
        assert self.share * world_size == batch_size
        # Files are decoded batch by batch: their preparation is no part of what a step waits for.
        pixels = self.share * preprocessing.full_size**2
        self.batches_at_once = max(1, PREPARED // pixels) if isinstance(source, Resident) else 1

    @property
    def num_images(self) -> int:
        """Images an epoch."""
        return len(self.source.labels)

    def __len__(self) -> int:
        """Return the batches an epoch."""
        return math.ceil(self.num_images / self.batch_size)

    @property
    def num_steps(self) -> int:
        """Steps an epoch."""
        return math.ceil(len(self) / self.accumulate)

    @property
    def fewest_images(self) -> int:
        """Images that the smallest share of a batch has."""
        rest = self.num_images % self.batch_size or self.batch_size
        return max(1, rest // self.world_size)

    def parts(self, start: int = 0) -> Iterator[Part]:
        """Yield what each batch of an epoch is in its step, ``start`` of them left out.

        Every image of a step weighs the same, and gradients are averaged over the processes: the mean loss of a
        process's ``n`` of a step's ``m`` images weighs ``n / m`` times the number of processes.
        """
        step_size = self.batch_size * self.accumulate
        for batch in range(start, len(self)):
            step = batch // self.accumulate
            in_step = min(step_size, self.num_images - step * step_size)
            low, high = self._share_of(min(self.batch_size, self.num_images - batch * self.batch_size))
            ends_step = (batch + 1) % self.accumulate == 0 or batch + 1 == len(self)
            yield _part(high > low, (high - low) * self.world_size / in_step, ends_step, self.device)

    def _share_of(self, num_images: int) -> tuple[int, int]:
        """Return where in a batch of ``num_images`` this process's begin and end."""
        return num_images * self.rank // self.world_size, num_images * (self.rank + 1) // self.world_size

    def _positions(self) -> Tensor:
        """Return this process's places in an epoch's order, batch after batch."""
        num_whole, rest = divmod(self.num_images, self.batch_size)
        places = torch.arange(self.num_images)
        whole = places[: num_whole * self.batch_size].view(num_whole, self.world_size, self.share)
        last = places[num_whole * self.batch_size :]
        low, high = self._share_of(rest)
        return torch.cat([whole[:, self.rank].flatten(), last[low:high] if high > low else last[:1]])

    def epoch(self, epoch: int = 1, *, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch, or this process's shares of them.

        Images are float32 ``(N, C, H, W)``, labels int64 ``(N,)``.

        Args:
            epoch: Which one, from 1.
            start: Batches to leave out at its beginning, because a run had done them when it was stopped.
        """
        order = torch.arange(self.num_images)
        augmentation = None
        if self.seed is not None:
            order = torch.randperm(self.num_images, generator=generator("order", self.seed, epoch))
            augmentation = self._augmentation(self.seed, epoch) if self.augment else None
        # The same chunks wherever a run goes on, so that sums in them are the same to the last bit.
        chunks_done, batches_done = divmod(start, self.batches_at_once)
        positions = self._positions().split(self.share * self.batches_at_once)[chunks_done:]
        chunks = [order[places] for places in positions]
        for places, (images, labels) in zip(positions, self.source.batches(chunks, self.device), strict=True):
            change = partial(augmentation, positions=places.to(self.device)) if augmentation else None
            batches = zip(
                self.preprocessing(images, change).split(self.share),
                labels.split(self.share),
                strict=True,
            )
            yield from islice(batches, batches_done, None)
            batches_done = 0

    def _augmentation(self, seed: int, epoch: int) -> Augmentation:
        size = self.preprocessing.image_size
        return Augmentation(
            self.augment,
            self.num_images,
            size,
            self.preprocessing.full_size - size,
            lambda purpose: generator(purpose, seed, epoch),
            self.device,
            self.colours,
        )


@cache
def _part(counts: bool, weight: float, ends_step: bool, device: torch.device) -> Part:
    return Part(counts, None if weight == 1 else torch.tensor(weight, device=device), ends_step)


def generator(purpose: str, seed: int, epoch: int = 0) -> torch.Generator:
    """Return random numbers that depend on these three alone, and differ wherever one of them does."""
    digest = hashlib.sha256(f"{purpose} {seed} {epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def mean_and_std(source: Source) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of each channel, of pixels in [0, 1].

    Exact for images in memory; from 1,000 images spread evenly over the source where they are streamed.
    """
    images = _images_for_statistics(source)
    values = torch.arange(256, dtype=torch.float64) / 255
    # (C, 256): how many pixels have each value, since as floats a gigabyte of images would be eight.
    counts = torch.stack([torch.bincount(c.flatten(), minlength=256) for c in images.unbind(1)]).double()
    counts /= counts.sum(1, keepdim=True)
    mean = counts @ values
    variance = (counts * (values - mean[:, None]).square()).sum(1)
    std = variance.sqrt().clamp_min(1 / 255)  # images of one colour only
    return tuple(mean.tolist()), tuple(std.tolist())


def colour_directions(source: Source) -> Tensor:
    """Return the principal components of the pixels' colours, each times its variance: float32 ``(C, C)``, in columns.

    Of pixels in [0, 1], from the same images as ``mean_and_std`` (Krizhevsky et al. 2012, section 4.1: p and λ).
    """
    images = _images_for_statistics(source)
    num_channels = images.shape[1]
    sums = torch.zeros(num_channels, dtype=torch.float64)
    products = torch.zeros(num_channels, num_channels, dtype=torch.float64)
    for chunk in images.split(1000):  # as floats a gigabyte of images would be eight
        pixels = chunk.transpose(0, 1).flatten(1).double() / 255
        sums += pixels.sum(1)
        products += pixels @ pixels.T
    num = images.numel() // num_channels
    mean = sums / num
    variances, directions = torch.linalg.eigh(products / num - mean[:, None] * mean)
    scaled: Tensor = directions * variances
    return scaled.float()


def _images_for_statistics(source: Source) -> Tensor:
    if isinstance(source, Resident):
        return source.images
    num = len(source.labels)
    some = torch.linspace(0, num - 1, min(num, 1000)).long()
    return torch.cat([images for images, _ in source.batches(some.split(100), torch.device("cpu"))])
