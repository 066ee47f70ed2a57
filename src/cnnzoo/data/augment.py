"""Random changes to training images, drawn per image, a function of (seed, epoch, position) alone."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Augmentation:
    """The changes of one epoch, drawn for all its images at once.

    Drawing the whole epoch's numbers at its start makes the change of the image at position p the same
    whatever the batch size, the number of worker processes or the step that a run was resumed at.

    Args:
        names: Any of ``flip`` (left to right, for half of the images; Krizhevsky et al. 2012, section 4.1)
            and ``crop`` (black border of an eighth of the side, then a square of the old size at random).
        num_images: Images in the epoch.
        image_size: Pixels a side.
        generator: Where the numbers come from.
        device: Where the images are.
    """

    def __init__(
        self,
        names: Sequence[str],
        num_images: int,
        image_size: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        # Both are always drawn, so that adding a crop leaves the flips as they were.
        flips = torch.rand(num_images, generator=generator) < 0.5
        self.padding = max(1, round(image_size / 8))
        offsets = torch.randint(2 * self.padding + 1, (num_images, 2), generator=generator)
        self.flips = flips.to(device) if "flip" in names else None
        self.offsets = offsets.to(device) if "crop" in names else None

    def __call__(self, images: Tensor, start: int) -> Tensor:
        """Return uint8 images ``(N, C, H, W)`` changed, the first being at position ``start`` of the epoch."""
        here = slice(start, start + len(images))
        if self.flips is not None:
            images = torch.where(self.flips[here, None, None, None], images.flip(-1), images)
        if self.offsets is not None:
            images = _crop(images, self.offsets[here], self.padding)
        return images


def _crop(images: Tensor, offsets: Tensor, padding: int) -> Tensor:
    num, channels, height, width = images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    rows = offsets[:, 0, None] + torch.arange(height, device=images.device)  # (N, H)
    columns = offsets[:, 1, None] + torch.arange(width, device=images.device)  # (N, W)
    image = torch.arange(num, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
