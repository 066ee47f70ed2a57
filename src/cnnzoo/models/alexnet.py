"""AlexNet at 227×227: as one tower, and as published.

After A. Krizhevsky, I. Sutskever, G. E. Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks", NIPS 2012, section 3 and Fig. 2.
"""

from collections import OrderedDict

from torch import Tensor, nn

from cnnzoo.models.layers import (
    ACTIVATIONS,
    Activation,
    Conv2d,
    Features,
    Pooling,
    feature_size,
    make_pooling,
    response_norm,
)
from cnnzoo.models.registry import ChannelStats, register_model


@register_model("alexnet", paper="Krizhevsky et al.", year=2012, image_size=227, num_classes=1000)
class AlexNet(nn.Module):
    """AlexNet as one tower, as tutorials have it: ``(N, in_channels, 227, 227)`` to logits ``(N, num_classes)``.

    62,378,344 parameters for 3 channels and 1000 classes; 58,299,082 for 1 channel and 10 classes. Each
    option is one of the paper's ideas, to be taken away or put back.

    Args:
        num_classes: Outputs.
        in_channels: Channels of the images.
        image_size: Pixels a side, 67 at least.
        dropout: Share of the two hidden layers' outputs set to 0 in training (section 4.2: 0.5).
        lrn: Local response normalisation after the first two convolutions' activation (section 3.3).
        activation: After each layer but the last (section 3.1: relu instead of tanh).
        pooling: Max (section 3.5) or average.
        overlap: Pooling windows 3 wide and 2 apart (section 3.4), else 2 wide.
        groups: Groups of maps in conv2, conv4 and conv5 that see only their own kind (section 3.2: 2, one a GPU).
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: int = 227,
        *,
        dropout: float = 0.5,
        lrn: bool = False,
        activation: Activation = "relu",
        pooling: Pooling = "max",
        overlap: bool = True,
        groups: int = 1,
    ) -> None:
        super().__init__()
        act = ACTIVATIONS[activation]
        features: dict[str, nn.Module] = {  # (N, C, 227, 227)
            "conv1": Conv2d(in_channels, 96, kernel_size=11, stride=4),  # (N, 96, 55, 55)
            "act1": act(),
            **({"norm1": response_norm()} if lrn else {}),
            "pool1": make_pooling(pooling, overlap=overlap),  # (N, 96, 27, 27)
            "conv2": Conv2d(96, 256, kernel_size=5, padding=2, groups=groups),  # (N, 256, 27, 27)
            "act2": act(),
            **({"norm2": response_norm()} if lrn else {}),
            "pool2": make_pooling(pooling, overlap=overlap),  # (N, 256, 13, 13)
            "conv3": Conv2d(256, 384, kernel_size=3, padding=1),  # (N, 384, 13, 13)
            "act3": act(),
            "conv4": Conv2d(384, 384, kernel_size=3, padding=1, groups=groups),  # (N, 384, 13, 13)
            "act4": act(),
            "conv5": Conv2d(384, 256, kernel_size=3, padding=1, groups=groups),  # (N, 256, 13, 13)
            "act5": act(),
            "pool5": make_pooling(pooling, overlap=overlap),  # (N, 256, 6, 6)
        }
        self.features = Features(OrderedDict(features))
        side = feature_size(self.features, image_size)
        self.classifier = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),  # (N, 9216)
                fc6=nn.Linear(256 * side * side, 4096),
                act6=act(),
                drop6=nn.Dropout(dropout),
                fc7=nn.Linear(4096, 4096),
                act7=act(),
                drop7=nn.Dropout(dropout),
                fc8=nn.Linear(4096, num_classes),
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(N, num_classes)`` of images ``(N, C, H, W)``."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def centred(mean: ChannelStats, _: ChannelStats) -> tuple[ChannelStats, ChannelStats]:
    """Raw values 0 to 255, of which the training set's mean is taken (section 2; here one mean a channel)."""
    return mean, (1 / 255,) * len(mean)


@register_model(
    "alexnet-2012",
    paper="Krizhevsky et al.",
    year=2012,
    image_size=227,
    num_classes=1000,
    normalization=centred,
)
class AlexNet2012(AlexNet):
    """AlexNet as published: ``(N, in_channels, 227, 227)`` to logits ``(N, num_classes)``.

    60,965,224 parameters for 3 channels and 1000 classes. conv2, conv4 and conv5 in two groups, as the paper's two
    GPUs had them (section 3.2); response normalisation (3.3), overlapping pooling (3.4), and its first weights (5).

    Args:
        num_classes: Outputs.
        in_channels: Channels of the images.
        image_size: Pixels a side, 67 at least.
        dropout: Share of the two hidden layers' outputs set to 0 in training (section 4.2).
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: int = 227,
        *,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(num_classes, in_channels, image_size, dropout=dropout, lrn=True, groups=2)
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.normal_(layer.weight, std=0.01)
                assert layer.bias is not None
                nn.init.constant_(layer.bias, name.endswith(("conv2", "conv4", "conv5", "fc6", "fc7")))
