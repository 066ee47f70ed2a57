"""LeNet-5, as today's tutorials have it, at 28×28.

After Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document
Recognition", Proc. IEEE 86(11), 1998, section II.B and Fig. 2: the paper's layers C1 to F6, with plain
average pooling, full connections in C3, sigmoids, and a linear layer for the output.
"""

from typing import Literal

from torch import Tensor, nn

from cnnzoo.models.registry import feature_size, register_model

Activation = Literal["sigmoid", "tanh", "relu"]

_ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
_POOLINGS = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}


@register_model("lenet", paper="LeCun et al.", year=1998, image_size=28, in_channels=1)
class LeNet(nn.Module):
    """LeNet-5: ``(N, in_channels, 28, 28)`` to logits ``(N, num_classes)``; 61,706 parameters.

    Args:
        num_classes: Outputs.
        in_channels: Channels of the images.
        image_size: Pixels a side, 12 at least.
        activation: After each of the two convolutions.
        pooling: Average (the paper's sub-sampling without its coefficients) or max.
        fc_activation: After each of the two hidden fully connected layers.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
        *,
        activation: Activation = "sigmoid",
        pooling: Literal["avg", "max"] = "avg",
        fc_activation: Literal["none", "sigmoid", "tanh", "relu"] = "none",
    ) -> None:
        super().__init__()
        act, pool = _ACTIVATIONS[activation], _POOLINGS[pooling]
        fc_act = [] if fc_activation == "none" else [_ACTIVATIONS[fc_activation]]
        self.features = nn.Sequential(  # (N, C, 28, 28)
            nn.Conv2d(in_channels, 6, kernel_size=5, padding=2),  # C1: (N, 6, 28, 28)
            act(),
            pool(kernel_size=2, stride=2),  # S2: (N, 6, 14, 14)
            nn.Conv2d(6, 16, kernel_size=5),  # C3: (N, 16, 10, 10)
            act(),
            pool(kernel_size=2, stride=2),  # S4: (N, 16, 5, 5)
        )
        side = feature_size(self.features, image_size)
        self.classifier = nn.Sequential(
            nn.Flatten(),  # (N, 400)
            nn.Linear(16 * side * side, 120),  # C5, which at 5×5 is fully connected
            *(make() for make in fc_act),
            nn.Linear(120, 84),  # F6
            *(make() for make in fc_act),
            nn.Linear(84, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(N, num_classes)`` of images ``(N, C, H, W)``."""
        logits: Tensor = self.classifier(self.features(images))
        return logits
