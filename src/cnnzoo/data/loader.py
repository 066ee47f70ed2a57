"""Epochs of (images, labels) batches on the device, in an order and shares that depend on seed and position alone."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from functools import cache, partial
from itertools import count, islice
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from cnnzoo.data.augmentation import Augmentation, Changes, Epoch
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.data.sources import Resident, Source

PREPARED = 2**20
"""Pixels that are prepared at once: many small batches in one go, since what a step of LeNet takes is mostly
the calls and not the arithmetic; 4 MB as floats, so that the processor's cache holds them."""


class MicroBatch(NamedTuple):
    """Images and labels of one forward and backward pass, and what they are in the step that they belong to.

    Attributes:
        images: float32 ``(N, C, H, W)`` on the device, as the net takes them.
        targets: Labels, int64 ``(N,)``, on the device; where images are mixed, probabilities, float32
            ``(N, num_classes)``.
        weight: What the mean loss counts in that of the step, ``()``; None for all.
        counts: Whether the images are this process's to count. A last batch may have fewer images than there are
            processes; those without one get the first, since all of them take part in every step.
        ends_step: Whether the weights change after it.
    """

    images: Tensor
    targets: Tensor
    weight: Tensor | None = None
    counts: bool = True
    ends_step: bool = True

    @property
    def labels(self) -> Tensor:
        """The class of each image, int64 ``(N,)``; of a mixed one, that of its largest part."""
        return self.targets if self.targets.ndim == 1 else self.targets.argmax(1)


class MicroBatches(Protocol):
    """What the loops iterate over."""

    @property
    def num_steps(self) -> int:
        """Steps per epoch."""

    def epoch(self, epoch: int = 1, *, start: int = 0, end: int | None = None) -> Iterator[MicroBatch]:
        """Yield the micro-batches of an epoch, from 1, those from ``start`` to before ``end``."""


class Loader:
    """Epochs of micro-batches: ``for batch in batches.epoch(3)``, on the device, ready for the net.

    The order and every change are a function of (seed, epoch, position), however many processes share a batch and
    however many batches make a step.

    Args:
        source: The images.
        preprocessing: What makes them what the net sees.
        batch_size: Images per batch, over all processes; the last one may be smaller.
        device: Where batches are wanted.
        seed: Of order and augmentation; None keeps the images in their order.
        augmentations: Random changes, in the order in which they are made; they take a seed.
        balanced: Whether every class is drawn as often, its images with replacement; that takes a seed, too.
        num_classes: Of the probabilities that targets are where images are mixed.
        rank: Which process this is, from 0; it gets its share of every batch.
        world_size: How many processes there are, a divisor of ``batch_size``.
        grad_accum_steps: Batches per step.
    """

    def __init__(
        self,
        source: Source,
        preprocessing: Preprocessing,
        batch_size: int,
        device: torch.device,
        *,
        seed: int | None = None,
        augmentations: Sequence[Augmentation] = (),
        balanced: bool = False,
        num_classes: int = 0,
        rank: int = 0,
        world_size: int = 1,
        grad_accum_steps: int = 1,
    ) -> None:
        assert seed is not None or not (augmentations or balanced)
        self.source = source.to(device) if isinstance(source, Resident) else source
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.device = device
        self.seed = seed
        self.augmentations = augmentations
        self.balanced = balanced
        self.num_classes = num_classes
        self.rank = rank
        self.world_size = world_size
        self.grad_accum_steps = grad_accum_steps
        self.shard_size = batch_size // world_size
        assert self.shard_size * world_size == batch_size
        # Files are decoded batch by batch: their preparation is no part of what a step waits for.
        pixels = self.shard_size * preprocessing.full_size**2
        self.batches_at_once = max(1, PREPARED // pixels) if isinstance(source, Resident) else 1

    @property
    def num_images(self) -> int:
        """Images per epoch."""
        return len(self.source.labels)

    def __len__(self) -> int:
        """Return the batches per epoch."""
        return math.ceil(self.num_images / self.batch_size)

    @property
    def num_steps(self) -> int:
        """Steps per epoch."""
        return math.ceil(len(self) / self.grad_accum_steps)

    @property
    def fewest_images(self) -> int:
        """Images that the smallest share of a batch has."""
        return smallest_share(self.num_images, self.batch_size, self.world_size)

    def _micro_batch(self, index: int, images: Tensor, targets: Tensor) -> MicroBatch:
        """Return batch ``index`` of an epoch, from 0, with what it is in its step.

        Every image of a step weighs the same, and gradients are averaged over the processes: the mean loss of a
        process's ``n`` of a step's ``m`` images weighs ``n / m`` times the number of processes.
        """
        step_size = self.batch_size * self.grad_accum_steps
        in_step = min(step_size, self.num_images - index // self.grad_accum_steps * step_size)
        low, high = self._shard_of(min(self.batch_size, self.num_images - index * self.batch_size))
        weight = _weight((high - low) * self.world_size / in_step, self.device)
        ends_step = (index + 1) % self.grad_accum_steps == 0 or index + 1 == len(self)
        return MicroBatch(images, targets, weight, counts=high > low, ends_step=ends_step)

    def _shard_of(self, num_images: int) -> tuple[int, int]:
        """Return where in a batch of ``num_images`` this process's begin and end."""
        return num_images * self.rank // self.world_size, num_images * (self.rank + 1) // self.world_size

    def _positions(self) -> Tensor:
        """Return this process's places in an epoch's order, batch after batch."""
        num_whole, rest = divmod(self.num_images, self.batch_size)
        places = torch.arange(self.num_images)
        whole = places[: num_whole * self.batch_size].view(num_whole, self.world_size, self.shard_size)
        last = places[num_whole * self.batch_size :]
        low, high = self._shard_of(rest)
        return torch.cat([whole[:, self.rank].flatten(), last[low:high] if high > low else last[:1]])

    def epoch(self, epoch: int = 1, *, start: int = 0, end: int | None = None) -> Iterator[MicroBatch]:
        """Yield the batches of an epoch, or this process's shares of them.

        Args:
            epoch: Which one, from 1.
            start: Batches to leave out at its beginning, because a run had done them when it was stopped.
            end: Batches after which to end; None for all.
        """
        end = len(self) if end is None else min(end, len(self))
        order = self._order(epoch)
        changes = self._changes(epoch)
        # The same chunks wherever a run goes on, so that sums in them are the same to the last bit.
        chunks_done, batches_done = divmod(start, self.batches_at_once)
        positions = self._positions().split(self.shard_size * self.batches_at_once)
        positions = positions[chunks_done : math.ceil(end / self.batches_at_once)]
        chunks = [order[changes.needed(places)] for places in positions]
        for places, (raw, labels) in zip(positions, self.source.batches(chunks, self.device), strict=True):
            pixels, truths = changes(self.preprocessing.sized(raw), labels, places)
            batches = zip(
                self.preprocessing.normalized(pixels).split(self.shard_size),
                truths.split(self.shard_size),
                strict=True,
            )
            for images, targets in islice(batches, batches_done, batches_done + end - start):
                yield self._micro_batch(start, images, targets)
                start += 1
            batches_done = 0

    def _order(self, epoch: int) -> Tensor:
        """Return which image stands at each position of an epoch, int64 ``(N,)``."""
        if self.seed is None:
            return torch.arange(self.num_images)
        drawn = generator("order", self.seed, epoch)
        shuffled = torch.randperm(self.num_images, generator=drawn)
        return self._draw_balanced(shuffled, drawn) if self.balanced else shuffled

    def _draw_balanced(self, shuffled: Tensor, drawn: torch.Generator) -> Tensor:
        """Return images of every class as often, but for one, where positions do not divide by classes."""
        labels = self.source.labels.cpu()
        by_class = labels.argsort(stable=True)
        counts = labels.bincount()
        starts = counts.cumsum(0) - counts
        present = counts.nonzero().flatten()
        some = present[torch.randperm(len(present), generator=drawn)]  # which of them come once more
        classes = some[shuffled % len(present)]
        within = (torch.rand(self.num_images, generator=drawn, dtype=torch.float64) * counts[classes]).long()
        return by_class[starts[classes] + within]

    def _changes(self, epoch: int) -> Changes:
        size = self.preprocessing.image_size
        margin = self.preprocessing.full_size - size
        drawn_for = Epoch(self.num_images, size, margin, partial(generator, seed=self.seed or 0, epoch=epoch))
        return Changes(self.augmentations, drawn_for, self.num_classes, self.device)


class Endless:
    """A loader's batches, one epoch after the other, without end.

    Args:
        loader: Where they come from.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    @property
    def num_steps(self) -> int:
        """Steps before the images come again."""
        return self.loader.num_steps

    def epoch(self, epoch: int = 1, *, start: int = 0, end: int | None = None) -> Iterator[MicroBatch]:
        """Yield batches, whatever ``end`` may be, without end."""
        for number in count(epoch):
            yield from self.loader.epoch(number, start=start)
            start = 0


def smallest_share(num_images: int, batch_size: int, world_size: int) -> int:
    """Return how many images of an epoch's last batch the process with the fewest of them has, 1 at least."""
    rest = num_images % batch_size or batch_size
    return max(1, rest // world_size)


@cache
def _weight(weight: float, device: torch.device) -> Tensor | None:
    return None if weight == 1 else torch.tensor(weight, device=device)


def generator(purpose: str, seed: int, epoch: int = 0) -> torch.Generator:
    """Return random numbers that depend on these three alone, and differ wherever one of them does."""
    digest = hashlib.sha256(f"{purpose} {seed} {epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
