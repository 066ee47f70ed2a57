"""From uint8 pixels to what the net sees, and the statistics of pixels that this takes."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from cnnzoo.data.sources import Resident, Source


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

    def __call__(self, images: Tensor) -> Tensor:
        """Return uint8 images ``(N, C, H, W)`` as float32 ``(N, C, image_size, image_size)``, channels last."""
        return self.normalized(centre(self.sized(images), self.image_size))

    def normalized(self, pixels: Tensor) -> Tensor:
        """Return pixels 0 to 1, which it may change in place, as the net sees them, channels last."""
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        if self.mean:
            # Whole rows of pixels at once: channels alone, beside each other in memory, would go one by one.
            rows = pixels.permute(0, 2, 3, 1).flatten(2).flatten(0, 1)  # (N·H, W·C), the same memory
            mean, std = (_row(values, pixels.shape[-1], pixels.device) for values in (self.mean, self.std))
            rows.sub_(mean).div_(std)
        return pixels

    def restored(self, images: Tensor) -> Tensor:
        """Return images ``(..., C, H, W)`` as the net sees them as pixels 0 to 1 again, for a person to see."""
        if self.mean:
            mean, std = (torch.tensor(v, device=images.device).view(-1, 1, 1) for v in (self.mean, self.std))
            images = images * std + mean
        return images.clamp(0, 1)

    def sized(self, images: Tensor) -> Tensor:
        """Return uint8 images ``(N, C, H, W)`` as pixels 0 to 1, float32 ``(N, C, full_size, full_size)``."""
        pixels = images.float().div_(255)
        sides, size = pixels.shape[-2:], self.full_size
        if sides == (size, size):
            return pixels
        if self.pad and max(sides) <= size:
            (top, bottom), (left, right) = (((size - side) // 2, (size - side + 1) // 2) for side in sides)
            return F.pad(pixels, (left, right, top, bottom))
        rows, columns = (interpolation(side, size, pixels.device) for side in sides)
        with torch.autocast(pixels.device.type, enabled=False):  # pixels are float32 whatever the net is
            return rows @ pixels @ columns.T


@lru_cache(maxsize=16)  # made once: on an accelerator each way there is waited for
def _row(values: tuple[float, ...], width: int, device: torch.device) -> Tensor:
    """Return one value a channel for a row of pixels, channels last: ``(W·C,)``, or ``(1,)`` of one channel."""
    return torch.tensor(values, device=device).repeat(width if len(values) > 1 else 1)


def in_channels(images: Tensor, channels: int) -> Tensor:
    """Return uint8 images ``(N, C, H, W)`` in 1 (grey) or 3 (RGB) channels, colours as grey as Pillow has them."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    weights = torch.tensor([19595, 38470, 7471], dtype=torch.int32).view(1, 3, 1, 1)  # of 65536: ITU-R BT.601
    chunks = [((chunk * weights).sum(1, keepdim=True) + 32768) >> 16 for chunk in images.split(1000)]
    return torch.cat(chunks).to(torch.uint8)


def centre(images: Tensor, size: int) -> Tensor:
    """Return the square of ``size`` in the middle of images ``(..., H, W)``."""
    top, left = ((side - size) // 2 for side in images.shape[-2:])
    return images[..., top : top + size, left : left + size]


def ten_crops(images: Tensor, size: int) -> Tensor:
    """Return the four corners and the centre of images ``(N, C, H, W)``, and each mirrored: ``(10·N, C, size, size)``.

    Krizhevsky et al. 2012, section 4.1.
    """
    end = slice(-size, None)
    start = slice(0, size)
    five = [images[..., rows, columns] for rows in (start, end) for columns in (start, end)]
    five.append(centre(images, size))
    return torch.cat([*five, *(crop.flip(-1) for crop in five)])


@lru_cache(maxsize=16)  # few sides in training, and any number of them in a folder of pictures
def interpolation(side: int, size: int, device: torch.device) -> Tensor:
    """Return what resizes a column of ``side`` pixels to ``size``, as a matrix ``(size, side)``.

    Bilinear as PIL does it: smoothed when an image is made smaller, plain when it grows. Two matrix
    products take less time than ``F.interpolate``, from which the matrix comes.
    """
    unit = torch.eye(side)[None, None]
    matrix = F.interpolate(unit, size=(size, side), mode="bilinear", antialias=size < side)
    return matrix[0, 0].to(device)


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


def color_directions(source: Source) -> Tensor:
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
