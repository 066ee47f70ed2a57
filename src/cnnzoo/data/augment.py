"""The augmentations, one class each.

They are made in the order in which their classes are registered here, one's own behind them.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, TypeVar, cast, get_type_hints

import numpy as np
import torch
from annotated_types import Gt, Le, Lt
from torch import Tensor
from torch.nn import functional as F

from cnnzoo.data.augmentation import Augmentation, Epoch, Examples
from cnnzoo.data.preprocess import color_directions
from cnnzoo.data.sources import Source
from cnnzoo.errors import UsageError
from cnnzoo.registries import AUGMENTATIONS
from cnnzoo.validation import check

Class = TypeVar("Class", bound=type[Augmentation])


def register_augmentation(name: str) -> Callable[[Class], Class]:
    """Register the decorated Augmentation as ``--augment NAME``.

    Raises:
        CnnzooError: The name is taken.
    """
    return AUGMENTATIONS.registering(name)


def make_augmentations(texts: Sequence[str]) -> list[Augmentation]:
    """Return what ``--augment`` names, as ``flip`` or ``mixup:0.2``, in the order in which it is done.

    Raises:
        UsageError: There is none of that name, or its value does not fit.
    """
    given = dict(text.partition(":")[::2] for text in texts)
    for name in given:
        AUGMENTATIONS.check(name)
    kinds = cast("dict[str, type[Augmentation]]", AUGMENTATIONS.entries)
    return [_make(kind, name, given[name]) for name, kind in kinds.items() if name in given]


def _make(kind: Callable[..., Augmentation], name: str, value: str) -> Augmentation:
    parameters = list(inspect.signature(kind).parameters.values())
    if value and not parameters:
        raise UsageError(f"augment {name} takes no value. Write --augment {name}.")
    if value:
        annotation = get_type_hints(kind.__init__, include_extras=True).get(parameters[0].name, float)
        return kind(check(f"augment {name}:", annotation, value))
    if parameters and parameters[0].default is inspect.Parameter.empty:
        raise UsageError(f"augment {name} needs a value, as in --augment {name}:1.")
    return kind()


SHIFT, SCALE, SQUEEZE, SHEAR = 1 / 14, 0.15, 0.15, 0.3
"""Bounds of affine changes: a fourteenth of the side, 15 percent, 15 percent, and 0.3 pixels sideways a pixel down.

LeCun et al. 1998, section III.B, name these kinds of change, and no bounds.
"""


@register_augmentation("affine")
class Affine(Augmentation):
    """Shift, scale, squeeze and shear; bounds are ours (LeCun et al. 1998, section III.B and Fig. 7)."""

    takes_full_images = True

    def draw(self, epoch: Epoch) -> Tensor:
        """Return ``(N, 2, 3)``: from a place in the new image to one in the old, both from -1 to 1."""
        draws = torch.rand(epoch.num_images, 5, generator=epoch.generator("affine")) * 2 - 1
        shift_x, shift_y, scale, squeeze, shear = draws.unbind(1)
        grown, squeezed = 1 + SCALE * scale, 1 + SQUEEZE * squeeze
        zero = torch.zeros(epoch.num_images)
        rows = (
            torch.stack([squeezed / grown, SHEAR * shear, 2 * SHIFT * shift_x], 1),
            torch.stack([zero, 1 / (grown * squeezed), 2 * SHIFT * shift_y], 1),
        )
        return torch.stack(rows, 1)

    def __call__(self, examples: Examples, drawn: Tensor) -> Examples:
        """Return images whose surroundings are black."""
        grid = F.affine_grid(drawn, list(examples.images.shape), align_corners=False)
        return examples._replace(images=F.grid_sample(examples.images, grid, align_corners=False))


@register_augmentation("flip")
class Flip(Augmentation):
    """Mirror image, left to right, of half of the images (Krizhevsky et al. 2012, section 4.1)."""

    takes_full_images = True

    def draw(self, epoch: Epoch) -> Tensor:
        """Return ``(N,)``: whether to flip."""
        return torch.rand(epoch.num_images, generator=epoch.generator("flip")) < 0.5

    def __call__(self, examples: Examples, drawn: Tensor) -> Examples:
        """Return some of the images mirrored."""
        images = examples.images
        return examples._replace(images=torch.where(drawn[:, None, None, None], images.flip(-1), images))


@register_augmentation("crop")
class Crop(Augmentation):
    """Random square of the network's size (Krizhevsky et al. 2012, section 4.1).

    Of images that are larger, as in that section; else of the image with a black border of an eighth of its side.
    """

    takes_full_images = True

    def draw(self, epoch: Epoch) -> Tensor:
        """Return ``(N, 2)``: how far down and right the square begins."""
        places = (epoch.margin or 2 * _border(epoch.image_size)) + 1
        return torch.randint(places, (epoch.num_images, 2), generator=epoch.generator("crop"))

    def __call__(self, examples: Examples, drawn: Tensor) -> Examples:
        """Return images of the net's size."""
        images, size = examples.images, examples.image_size
        if images.shape[-1] == size:
            images = F.pad(images, (_border(size),) * 4)
        return examples._replace(images=_cut(images, drawn, size))


def _border(size: int) -> int:
    return max(1, round(size / 8))


def _cut(images: Tensor, offsets: Tensor, size: int) -> Tensor:
    num, channels = images.shape[:2]
    places = torch.arange(size, device=images.device)
    rows, columns = offsets[:, 0, None] + places, offsets[:, 1, None] + places  # (N, size)
    image = torch.arange(num, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return images[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


COLOR_STD = 0.1
"""Of the random factors of each colour direction (Krizhevsky et al. 2012, section 4.1)."""


@register_augmentation("color-pca")
class ColorPCA(Augmentation):
    """Random shift along the principal directions of the colours (Krizhevsky et al. 2012, section 4.1)."""

    def prepare(self, source: Source) -> None:
        """Find those directions."""
        self.directions = color_directions(source)

    def draw(self, epoch: Epoch) -> Tensor:
        """Return ``(N, C)``: what is added to each channel."""
        # The name is a part of the seed: under another, other numbers would be drawn.
        shape = epoch.num_images, len(self.directions)
        factors = torch.randn(shape, generator=epoch.generator("colour")) * COLOR_STD
        return factors @ self.directions.T

    def __call__(self, examples: Examples, drawn: Tensor) -> Examples:
        """Return images of other colours."""
        return examples._replace(images=examples.images + drawn[:, :, None, None])


ERASED_AREA, ERASED_RATIO = (0.02, 0.4), (0.3, 1 / 0.3)
"""Bounds of an erased rectangle: its share of the image, and its height by its width.

Zhong et al. 2020: the values that the paper trains with (section on experiment settings).
"""


@register_augmentation("erasing")
class Erasing(Augmentation):
    """Rectangle of noise in some of the images (Zhong et al. 2020, algorithm 1).

    Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, algorithm 1, with its bounds and its kind RE-R.

    Args:
        probability: Of an image to lose a rectangle; the paper's.
    """

    def __init__(self, probability: Annotated[float, Gt(0), Le(1)] = 0.5) -> None:
        self.probability = probability

    def draw(self, epoch: Epoch) -> Tensor:
        """Return ``(N, 6)``: top, left, bottom and right as shares of the side, and where the values come from."""
        numbers = epoch.generator("erasing")
        boxes = torch.zeros(epoch.num_images, 4)
        left = (torch.rand(epoch.num_images, generator=numbers) < self.probability).nonzero()[:, 0]
        while len(left):  # as the algorithm has it: all anew until the rectangle lies within the image
            draws = torch.rand(len(left), 4, generator=numbers)
            area, ratio = (
                low + (high - low) * draws[:, index]
                for index, (low, high) in enumerate((ERASED_AREA, ERASED_RATIO))
            )
            sides = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], 1)
            ends = draws[:, 2:] + sides
            fits = (ends <= 1).all(1)
            boxes[left[fits]] = torch.cat([draws[:, 2:], ends], 1)[fits]
            left = left[~fits]
        places = torch.randint(epoch.image_size, (epoch.num_images, 2), generator=numbers)
        return torch.cat([boxes, places], 1)

    def __call__(self, examples: Examples, drawn: Tensor) -> Examples:
        """Return images with a rectangle of noise."""
        images, size = examples.images, examples.image_size
        field = _noise(images.shape[1], 2 * size, images.device).expand(len(images), -1, -1, -1)
        values = _cut(field, drawn[:, 4:].long(), size)
        return examples._replace(images=torch.where(_inside(drawn[:, :4] * size, size), values, images))


@cache
def _noise(channels: int, size: int, device: torch.device) -> Tensor:
    """Return the field of random values of which each erased rectangle shows a part, its own for each image."""
    return torch.rand(1, channels, size, size, generator=torch.Generator().manual_seed(0)).to(device)


def _inside(boxes: Tensor, size: int) -> Tensor:
    """Return ``(N, 1, size, size)``: which pixels lie in boxes ``(N, 4)`` of top, left, bottom and right, rounded."""
    places = torch.arange(size, device=boxes.device)
    top, left, bottom, right = boxes.round().unbind(1)
    rows = (places >= top[:, None]) & (places < bottom[:, None])
    columns = (places >= left[:, None]) & (places < right[:, None])
    return (rows[:, :, None] & columns[:, None, :])[:, None]


@register_augmentation("mixup")
class Mixup(Augmentation):
    """Blend of each image and its target with another's (Zhang et al. 2018, section 2).

    Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, section 2, with a share of its own for each
    image, where the authors' code has one for a batch.

    Args:
        alpha: Of the distribution Beta(alpha, alpha) of the image's share; 0.2 is among the paper's for ImageNet.
    """

    mixes = True

    def __init__(self, alpha: Annotated[float, Gt(0), Lt(math.inf)] = 0.2) -> None:
        self.alpha = alpha

    def draw(self, epoch: Epoch) -> Tensor:
        """Return ``(N,)``: each image's own share."""
        return _beta(self.alpha, epoch.num_images, epoch.generator("mixup"))

    def __call__(self, examples: Examples, drawn: Tensor) -> Examples:
        """Return both images, one shining through the other."""
        assert examples.partner
        images = torch.lerp(examples.partner.images, examples.images, drawn[:, None, None, None])
        return examples._replace(
            images=images, targets=torch.lerp(examples.partner.targets, examples.targets, drawn[:, None])
        )


@register_augmentation("cutmix")
class CutMix(Augmentation):
    """Rectangle of another image, targets blended by area (Yun et al. 2019, section 3.1).

    Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019,
    section 3.1 and equation 2: of the image's own shape, its middle anywhere, what lies outside cut off, as the
    authors' code has it; with a rectangle of its own for each image.

    Args:
        alpha: Of the distribution Beta(alpha, alpha) of the image's share; the paper's.
    """

    mixes = True

    def __init__(self, alpha: Annotated[float, Gt(0), Lt(math.inf)] = 1.0) -> None:
        self.alpha = alpha

    def draw(self, epoch: Epoch) -> Tensor:
        """Return ``(N, 4)``: top, left, bottom and right as shares of the side."""
        numbers = epoch.generator("cutmix")
        half = (1 - _beta(self.alpha, epoch.num_images, numbers)).sqrt() / 2
        middle = torch.rand(epoch.num_images, 2, generator=numbers)
        return torch.cat([middle - half[:, None], middle + half[:, None]], 1).clamp(0, 1)

    def __call__(self, examples: Examples, drawn: Tensor) -> Examples:
        """Return images with a part of another."""
        assert examples.partner
        inside = _inside(drawn * examples.image_size, examples.image_size)
        share = inside.float().mean((1, 2, 3))[
            :, None
        ]  # of the partner, by the pixels that are really its own
        return examples._replace(
            images=torch.where(inside, examples.partner.images, examples.images),
            targets=torch.lerp(examples.targets, examples.partner.targets, share),
        )


def _beta(alpha: float, num: int, generator: torch.Generator) -> Tensor:
    """Return ``(num,)`` numbers of the distribution Beta(alpha, alpha)."""
    # numpy's, since torch's takes no generator, and of small alphas gives a half where it should give 0 or 1.
    numbers = np.random.default_rng(generator.initial_seed())
    return torch.from_numpy(numbers.beta(alpha, alpha, num)).float()
