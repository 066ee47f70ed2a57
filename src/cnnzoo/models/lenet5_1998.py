"""LeNet-5 as published in 1998.

After Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition",
Proc. IEEE 86(11), 1998, sections II.B and II.C, appendix A. Pages are those of the authors' version.
"""

from collections import OrderedDict
from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo.models.registry import ChannelStats, register_model

TABLE_I = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5)),
)
"""The maps of S2 that each of the 16 maps of C3 sees (Table I, p. 8)."""

DIGITS = """
..###.. ...##.. .#####. .#####. ....##.
.##.##. ..###.. ##...## ##...## ...###.
##...## .####.. ##...## .....## ..####.
##...## ...##.. .....## .....## .##.##.
##...## ...##.. ....##. ..####. ##..##.
##...## ...##.. ...##.. ..####. ##..##.
##...## ...##.. ..##... .....## #######
##...## ...##.. .##.... .....## #######
##...## ...##.. ##..... .....## ....##.
.##.##. .###### ####### ##...## ....##.
..###.. .###### ####### .#####. ....##.
....... ....... ....... ....... .......

####### ..####. ####### .#####. .#####.
####### .##.... ####### ##...## ##...##
##..... ##..... .....## ##...## ##...##
##..... ##..... .....## ##...## ##...##
######. ######. ....##. .#####. ##...##
.....## ##...## ....##. .#####. .######
.....## ##...## ...##.. ##...## .....##
.....## ##...## ...##.. ##...## .....##
.....## ##...## ..##... ##...## .....##
##...## ##...## ..##... ##...## ....##.
.#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... .......
"""
"""The ten digits as 7×12 characters, drawn by us in the manner of Fig. 3 (p. 8), which shows the paper's own."""


def characters(num_classes: int) -> Tensor:
    """Return the codes of the classes, ``(num_classes, 84)``, each +1 (ink) or -1.

    Those of the ten digits, and behind them random ones, always the same: the paper names random codes as
    the other possibility (section II.B, p. 8).
    """
    blocks = [block.split("\n") for block in DIGITS.strip().split("\n\n")]
    drawn = ["".join(row.split()[i] for row in rows) for rows in blocks for i in range(5)]
    codes = torch.tensor([[1.0 if dot == "#" else -1.0 for dot in dots] for dots in drawn], device="cpu")
    generator = torch.Generator().manual_seed(1998)
    others = torch.randint(2, (max(num_classes - 10, 0), 84), generator=generator, device="cpu") * 2 - 1
    return torch.cat([codes, others.float()])[:num_classes]


class ScaledTanh(nn.Module):
    """1.7159·tanh(2x/3), which takes ±1 to ±1 (eq. 6, p. 8; appendix A)."""

    bounds = (-1.7159, 1.7159)
    """What it comes near to where it saturates."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.AvgPool2d):
    """The sum of each 2×2 square, times a coefficient, plus a bias, both learnt, one pair a map."""

    connections_per_output = 5
    """Four inputs and the bias."""

    def __init__(self, num_maps: int) -> None:
        super().__init__(kernel_size=2, stride=2)
        self.weight = nn.Parameter(torch.empty(num_maps).uniform_(-2.4 / 4, 2.4 / 4))
        self.bias = nn.Parameter(torch.empty(num_maps).uniform_(-2.4 / 4, 2.4 / 4))

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(N, C, H/2, W/2)`` of ``(N, C, H, W)``."""
        sums = 4 * super().forward(maps)
        return sums * self.weight[:, None, None] + self.bias[:, None, None]


class PartialConv2d(nn.Conv2d):
    """A convolution whose maps see only some of the maps below: C3. Its weight is ``(60, 5, 5)``, a kernel a pair."""

    masks_connections = True
    """Its operation has those that are left out, too, times 0."""

    def __init__(self, inputs: tuple[tuple[int, ...], ...], in_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, len(inputs), kernel_size)
        pairs = [out * in_channels + i for out, maps in enumerate(inputs) for i in maps]
        fan_in = torch.tensor([len(maps) * kernel_size**2 for maps in inputs for _ in maps])
        bounds = (2.4 / fan_in)[:, None, None]
        self.weight = nn.Parameter(torch.empty(len(pairs), kernel_size, kernel_size).uniform_(-1, 1) * bounds)
        assert self.bias is not None
        nn.init.uniform_(self.bias, -1, 1)
        self.bias.data *= 2.4 / torch.tensor([len(maps) * kernel_size**2 for maps in inputs])
        self.register_buffer("pairs", torch.tensor(pairs))

    def kernels(self) -> Tensor:
        """Return the kernels of all pairs of maps, ``(16, 6, 5, 5)``: 0 where one does not see the other."""
        size = self.out_channels * self.in_channels, *self.weight.shape[1:]
        kernels = self.weight.new_zeros(size).index_copy(0, self.get_buffer("pairs"), self.weight)
        return kernels.view(self.out_channels, self.in_channels, *size[1:])

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(N, 16, H - 4, W - 4)`` of ``(N, 6, H, W)``."""
        return F.conv2d(maps, self.kernels(), self.bias)


class EuclideanRBF(nn.Module):
    """Minus the squared distance of F6's output to the code of each class (eq. 7, p. 8), so that the largest wins."""

    connections_per_output = 84

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("codes", characters(num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, num_classes)`` of ``(N, 84)``."""
        return -(x[:, None].float() - self.get_buffer("codes")).square().sum(-1)


def _background_to_foreground(mean: ChannelStats, _: ChannelStats) -> tuple[ChannelStats, ChannelStats]:
    """Background -0.1 and foreground 1.175, for which MNIST has a mean of about 0 and a variance of 1 (p. 7)."""
    span = 1.175 + 0.1
    return (0.1 / span,) * len(mean), (1 / span,) * len(mean)


@register_model(
    "lenet5-1998",
    paper="LeCun et al.",
    year=1998,
    image_size=32,
    in_channels=1,
    normalization=_background_to_foreground,
    pad=True,
)
class LeNet5(nn.Module):
    """LeNet-5 as published: ``(N, in_channels, 32, 32)`` to logits ``(N, num_classes)``, minus squared distances.

    60,000 parameters and 340,908 connections for 1 channel and 10 classes. Weights start uniform within
    ±2.4 / fan-in (appendix A).

    Args:
        num_classes: Outputs.
        in_channels: Channels of the images.
        loss: ``map`` is the paper's eq. 9, with which it was trained; ``mse`` its eq. 8.
        rubbish: The constant j of eq. 9: the squared distance of the rubbish class, for which the paper gives no value.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        *,
        loss: Literal["map", "mse"] = "map",
        rubbish: Annotated[float, Gt(0)] = 10.0,
    ) -> None:
        super().__init__()
        self.loss, self.rubbish = loss, rubbish
        self.features = nn.Sequential(
            OrderedDict[str, nn.Module](  # (N, C, 32, 32)
                C1=nn.Conv2d(in_channels, 6, kernel_size=5),  # (N, 6, 28, 28)
                act1=ScaledTanh(),
                S2=Subsampling(6),  # (N, 6, 14, 14)
                act2=ScaledTanh(),
                C3=PartialConv2d(TABLE_I, 6, kernel_size=5),  # (N, 16, 10, 10)
                act3=ScaledTanh(),
                S4=Subsampling(16),  # (N, 16, 5, 5)
                act4=ScaledTanh(),
            )
        )
        self.classifier = nn.Sequential(
            OrderedDict[str, nn.Module](
                flatten=nn.Flatten(),  # (N, 400)
                C5=nn.Linear(400, 120),  # at 5×5 the paper's convolution is fully connected
                act5=ScaledTanh(),
                F6=nn.Linear(120, 84),
                act6=ScaledTanh(),
                output=EuclideanRBF(num_classes),
            )
        )
        for name, fan_in in (
            ("features.C1", 25 * in_channels),
            ("classifier.C5", 400),
            ("classifier.F6", 120),
        ):
            for parameter in self.get_submodule(name).parameters():
                nn.init.uniform_(parameter, -2.4 / fan_in, 2.4 / fan_in)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(N, num_classes)`` of images ``(N, C, 32, 32)``."""
        logits: Tensor = self.classifier(self.features(images))
        return logits

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss ``()`` that the net is trained with, over the batch.

        ``mse`` (eq. 8, p. 9) is the squared distance to the right code. ``map`` (eq. 9) adds to it the logarithm of
        exp(-j) + Σ exp(-distance), which is a cross-entropy with one more class at distance j.
        """
        if self.loss == "mse":
            return -logits.gather(1, labels[:, None]).mean()
        rubbish = logits.new_full((len(logits), 1), -self.rubbish)
        return F.cross_entropy(torch.cat([logits, rubbish], 1), labels)
