"""Random changes to training images, drawn per image, a function of (seed, epoch, position) alone."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from cnnzoo.data.preprocess import centre

COLOR_STD = 0.1
"""Of the random factors of each colour direction (Krizhevsky et al. 2012, section 4.1)."""

SHIFT, SCALE, SQUEEZE, SHEAR = 1 / 14, 0.15, 0.15, 0.3
"""Bounds of affine changes: a fourteenth of the side, 15 percent, 15 percent, and 0.3 pixels sideways a pixel down.

LeCun et al. 1998, section III.B, name these kinds of change, and no bounds.
"""


class Augmentation:
    """The changes of one epoch, drawn for all its images at once.

    Drawing the whole epoch's numbers at its start makes the change of the image at position p the same
    whatever the batch size, the number of worker processes or the step that a run was resumed at. Each kind
    draws its own, so that adding one leaves the others as they were.

    Args:
        names: Any of ``flip`` (left to right, for half of the images; Krizhevsky et al. 2012, section 4.1),
            ``crop`` (a square of the net's size at random: of images that are larger, as in that section; else
            of the image with a black border of an eighth of its side), ``affine`` (shifted, scaled, squeezed
            and sheared; LeCun et al. 1998, section III.B and Fig. 7) and ``color-pca`` (along the principal
            directions of the training set's colours; Krizhevsky et al. 2012, section 4.1).
        num_images: Images in the epoch.
        image_size: Pixels a side that the net takes.
        margin: Pixels a side that images have more than that.
        draw: From a purpose to where its random numbers come from.
        device: Where the images are.
        colors: What ``color_directions`` returns.
    """

    def __init__(
        self,
        names: Sequence[str],
        num_images: int,
        image_size: int,
        margin: int,
        draw: Callable[[str], torch.Generator],
        device: torch.device,
        colors: Tensor | None = None,
    ) -> None:
        self.image_size = image_size
        self.margin = margin
        self.border = 0 if margin else max(1, round(image_size / 8))
        self.flips = self.offsets = self.affine = self.shifts = None
        if "flip" in names:
            self.flips = (torch.rand(num_images, generator=draw("flip")) < 0.5).to(device)
        if "crop" in names:
            places = (margin or 2 * self.border) + 1
            self.offsets = torch.randint(places, (num_images, 2), generator=draw("crop")).to(device)
        if "affine" in names:
            self.affine = _affine_matrices(num_images, draw("affine")).to(device)
        if "color-pca" in names:
            assert colors is not None
            # Drawn under the name that it had, so that runs of before go on with the same numbers.
            factors = torch.randn(num_images, len(colors), generator=draw("colour")) * COLOR_STD
            self.shifts = (factors @ colors.T).to(device)

    def __call__(self, pixels: Tensor, positions: Tensor) -> Tensor:
        """Return pixels 0 to 1 ``(N, C, H, W)`` changed, ``positions`` ``(N,)`` being their places in the epoch.

        What comes out is ``(N, C, image_size, image_size)``.
        """
        if self.affine is not None:
            grid = F.affine_grid(self.affine[positions], list(pixels.shape), align_corners=False)
            pixels = F.grid_sample(pixels, grid, align_corners=False)
        if self.flips is not None:
            pixels = torch.where(self.flips[positions, None, None, None], pixels.flip(-1), pixels)
        if self.offsets is not None:
            pixels = _cut(F.pad(pixels, (self.border,) * 4), self.offsets[positions], self.image_size)
        else:
            pixels = centre(pixels, self.image_size)
        if self.shifts is not None:
            pixels = pixels + self.shifts[positions, :, None, None]
        return pixels


def _cut(images: Tensor, offsets: Tensor, size: int) -> Tensor:
    num, channels = images.shape[:2]
    places = torch.arange(size, device=images.device)
    rows, columns = offsets[:, 0, None] + places, offsets[:, 1, None] + places  # (N, size)
    image = torch.arange(num, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return images[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _affine_matrices(num_images: int, generator: torch.Generator) -> Tensor:
    """Return ``(N, 2, 3)``: from a place in the new image to one in the old, both from -1 to 1."""
    draws = torch.rand(num_images, 5, generator=generator) * 2 - 1
    shift_x, shift_y, scale, squeeze, shear = draws.unbind(1)
    grown, squeezed = 1 + SCALE * scale, 1 + SQUEEZE * squeeze
    zero = torch.zeros(num_images)
    rows = (
        torch.stack([squeezed / grown, SHEAR * shear, 2 * SHIFT * shift_x], 1),
        torch.stack([zero, 1 / (grown * squeezed), 2 * SHIFT * shift_y], 1),
    )
    return torch.stack(rows, 1)
