"""LeNet-5, as today's tutorials have it, at 28×28. As published: ``lenet5_1998.py``.

After Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document
Recognition", Proc. IEEE 86(11), 1998, section II.B and Fig. 2: the paper's layers C1 to F6, with plain
average pooling, full connections in C3, sigmoids, and a linear layer for the output.
"""

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn

from cnnzoo.models.layers import (
    ACTIVATIONS,
    Activation,
    Features,
    Pooling,
    feature_size,
    make_pooling,
    response_norm,
)
from cnnzoo.models.registry import register_model


@register_model("lenet", paper="LeCun et al.", year=1998, image_size=28, in_channels=1)
class LeNet(nn.Module):
    """LeNet-5: ``(N, in_channels, 28, 28)`` to logits ``(N, num_classes)``; 61,706 parameters.

    Options from ``dropout`` on are AlexNet's ideas (Krizhevsky et al. 2012), to be tried on a net that trains in
    a minute.

    Args:
        num_classes: Outputs.
        in_channels: Channels of the images.
        image_size: Pixels a side, 12 at least.
        activation: After each of the two convolutions.
        pooling: Average (the paper's sub-sampling without its coefficients) or max.
        fc_activation: After each of the two hidden fully connected layers.
        dropout: Share of the two hidden layers' outputs set to 0 in training (2012, section 4.2).
        lrn: Local response normalisation after the convolutions' activation (2012, section 3.3).
        overlap: Pooling windows 3 wide and 2 apart (2012, section 3.4), else 2 wide.
        groups: Groups of maps in C3 that see only their own kind (2012, section 3.2).
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
        *,
        activation: Activation = "sigmoid",
        pooling: Pooling = "avg",
        fc_activation: Literal["none", "sigmoid", "tanh", "relu"] = "none",
        dropout: float = 0.0,
        lrn: bool = False,
        overlap: bool = False,
        groups: int = 1,
    ) -> None:
        super().__init__()
        act = ACTIVATIONS[activation]
        features: dict[str, nn.Module] = {  # (N, C, 28, 28)
            "C1": nn.Conv2d(in_channels, 6, kernel_size=5, padding=2),  # (N, 6, 28, 28)
            "act1": act(),
            **({"norm1": response_norm()} if lrn else {}),
            "S2": make_pooling(pooling, overlap=overlap),  # (N, 6, 14, 14)
            "C3": nn.Conv2d(6, 16, kernel_size=5, groups=groups),  # (N, 16, 10, 10)
            "act3": act(),
            **({"norm3": response_norm()} if lrn else {}),
            "S4": make_pooling(pooling, overlap=overlap),  # (N, 16, 5, 5)
        }
        self.features = Features(OrderedDict(features))
        side = feature_size(self.features, image_size)

        def after_hidden(number: int) -> dict[str, nn.Module]:
            fc_act = {} if fc_activation == "none" else {f"act{number}": ACTIVATIONS[fc_activation]()}
            return fc_act | ({f"drop{number}": nn.Dropout(dropout)} if dropout else {})

        classifier: dict[str, nn.Module] = {
            "flatten": nn.Flatten(),  # (N, 400)
            "C5": nn.Linear(16 * side * side, 120),  # at 5×5 the paper's convolution is fully connected
            **after_hidden(5),
            "F6": nn.Linear(120, 84),
            **after_hidden(6),
            "output": nn.Linear(84, num_classes),
        }
        self.classifier = nn.Sequential(OrderedDict(classifier))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(N, num_classes)`` of images ``(N, C, H, W)``."""
        logits: Tensor = self.classifier(self.features(images))
        return logits
