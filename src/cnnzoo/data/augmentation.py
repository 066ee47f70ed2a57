"""What a random change of training images is, and those of an epoch: a function of (seed, epoch, position) alone."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from cnnzoo.data.preprocess import centre
from cnnzoo.data.sources import Source
from cnnzoo.device import send


class Epoch(NamedTuple):
    """What an augmentation draws its numbers for.

    Attributes:
        num_images: In the epoch.
        image_size: Pixels a side that the net takes.
        margin: Pixels a side that images have more than that before they are cut.
        generator: From a purpose to where its random numbers come from. Each purpose has its own, so that another
            augmentation beside this one changes none of its numbers.
    """

    num_images: int
    image_size: int
    margin: int
    generator: Callable[[str], torch.Generator]


class Examples(NamedTuple):
    """Training images that are being changed.

    Attributes:
        images: Float32 ``(N, C, H, W)`` with pixels from 0 to 1.
        targets: The labels, int64 ``(N,)``; where images are mixed, probabilities, float32 ``(N, num_classes)``.
        image_size: Pixels a side that the net takes; images are larger until they are cut.
        partner: Other images of the epoch, changed as theirs, for an augmentation that mixes; else None.
    """

    images: Tensor
    targets: Tensor
    image_size: int
    partner: "Examples | None" = None

    def cut(self) -> "Examples":
        """Return the squares in the middle of the images, which are those that are no larger."""
        return self._replace(images=centre(self.images, self.image_size))


class Augmentation(ABC):
    """A random change of training images.

    It is made once a run: with the VALUE of ``--augment NAME:VALUE`` where its ``__init__`` has a parameter, whose
    annotation says what fits. ``draw`` is asked at the beginning of each epoch for the numbers of all its images, and
    a call gets those of the images at hand. So what happens to the image at position p is the same whatever the batch
    size, the number of processes or the step that a run was resumed at.

    Attributes:
        takes_full_images: Whether it is to see images before squares of the net's size are cut from them.
        mixes: Whether it mixes each image with a partner, drawn from the whole epoch: then targets are probabilities.
    """

    takes_full_images: ClassVar[bool] = False
    mixes: ClassVar[bool] = False

    def prepare(self, source: Source) -> None:  # noqa: B027  (most have nothing to look for)
        """Look at the training images, once, before the first epoch."""

    @abstractmethod
    def draw(self, epoch: Epoch) -> Tensor:
        """Return random numbers ``(num_images, ...)``, the first dimension being the position in the epoch."""

    @abstractmethod
    def __call__(self, examples: Examples, drawn: Tensor) -> Examples:
        """Return the examples changed; ``drawn`` ``(N, ...)`` is what was drawn for their positions."""


class Changes:
    """The changes of one epoch, drawn for all its images at once.

    Args:
        augmentations: In the order in which they are done.
        epoch: What they are drawn for.
        num_classes: Of the probabilities that targets are where images are mixed.
        device: Where the images are.
    """

    def __init__(
        self, augmentations: Sequence[Augmentation], epoch: Epoch, num_classes: int, device: torch.device
    ) -> None:
        self.image_size, self.num_classes = epoch.image_size, num_classes
        drawn = [(augmentation, augmentation.draw(epoch).to(device)) for augmentation in augmentations]
        self.single = [(change, numbers) for change, numbers in drawn if not change.mixes]
        self.mixing = [(change, numbers) for change, numbers in drawn if change.mixes]
        if self.mixing:
            self.partners = torch.randperm(epoch.num_images, generator=epoch.generator("partner"))
            # Where several mix, each image is mixed by one of them.
            self.choice = torch.randint(
                len(self.mixing), (epoch.num_images,), generator=epoch.generator("mixing")
            ).to(device)

    def needed(self, positions: Tensor) -> Tensor:
        """Return the positions given and, where images are mixed, behind them those of their partners."""
        return torch.cat([positions, self.partners[positions]]) if self.mixing else positions

    def __call__(self, images: Tensor, labels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and targets changed.

        Args:
            images: Pixels 0 to 1 ``(M, C, H, W)`` of the M positions that are ``needed``.
            labels: Theirs, int64 ``(M,)``.
            positions: Places in the epoch, ``(N,)``.

        Returns:
            Images ``(N, C, image_size, image_size)``, and their targets.
        """
        examples = Examples(images, labels, self.image_size)
        if not (self.single or self.mixing):
            return examples.cut()[:2]
        needed = send(self.needed(positions), images.device)
        for change, drawn in self.single:
            if not change.takes_full_images:
                examples = examples.cut()
            examples = change(examples, drawn[needed])
        examples = examples.cut()
        if not self.mixing:
            return examples.images, examples.targets

        targets = torch.eye(self.num_classes, device=labels.device)[examples.targets]
        own, partner = (
            Examples(images, targets, self.image_size)
            for images, targets in zip(examples.images.chunk(2), targets.chunk(2), strict=True)
        )
        needed, _ = needed.chunk(2)
        for index, (change, drawn) in enumerate(self.mixing):
            mixed = change(own._replace(partner=partner), drawn[needed])
            is_chosen = self.choice[needed] == index
            own = own._replace(
                images=torch.where(is_chosen[:, None, None, None], mixed.images, own.images),
                targets=torch.where(is_chosen[:, None], mixed.targets, own.targets),
            )
        return own.images, own.targets
