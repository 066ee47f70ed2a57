"""AlexNet, as one tower, at 227×227.

After A. Krizhevsky, I. Sutskever, G. E. Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks", NIPS 2012, section 3.5 and Fig. 2: the paper's layers without its split over two GPUs.
"""

from torch import Tensor, nn

from cnnzoo.models.registry import feature_size, register_model


def _response_norm() -> nn.Module:
    """Local response normalisation with the paper's k = 2, n = 5, α = 1e-4, β = 0.75 (section 3.3).

    The paper divides by (k + α Σ a²)^β. PyTorch divides its alpha by n first, hence α·n here.
    """
    return nn.LocalResponseNorm(size=5, alpha=5 * 1e-4, beta=0.75, k=2.0)


@register_model("alexnet", paper="Krizhevsky et al.", year=2012, image_size=227, num_classes=1000)
class AlexNet(nn.Module):
    """AlexNet: ``(N, in_channels, 227, 227)`` to logits ``(N, num_classes)``.

    62,378,344 parameters for 3 channels and 1000 classes; 58,299,082 for 1 channel and 10 classes.

    Args:
        num_classes: Outputs.
        in_channels: Channels of the images.
        image_size: Pixels a side, 67 at least.
        dropout: Share of the two hidden layers' outputs set to 0 in training (section 4.2: 0.5).
        lrn: Local response normalisation after the first two convolutions' ReLU (section 3.3).
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: int = 227,
        *,
        dropout: float = 0.5,
        lrn: bool = False,
    ) -> None:
        super().__init__()
        norm = [_response_norm] if lrn else []
        self.features = nn.Sequential(  # (N, C, 227, 227)
            nn.Conv2d(in_channels, 96, kernel_size=11, stride=4),  # (N, 96, 55, 55)
            nn.ReLU(),
            *(make() for make in norm),
            nn.MaxPool2d(kernel_size=3, stride=2),  # overlapping, section 3.4: (N, 96, 27, 27)
            nn.Conv2d(96, 256, kernel_size=5, padding=2),  # (N, 256, 27, 27)
            nn.ReLU(),
            *(make() for make in norm),
            nn.MaxPool2d(kernel_size=3, stride=2),  # (N, 256, 13, 13)
            nn.Conv2d(256, 384, kernel_size=3, padding=1),  # (N, 384, 13, 13)
            nn.ReLU(),
            nn.Conv2d(384, 384, kernel_size=3, padding=1),  # (N, 384, 13, 13)
            nn.ReLU(),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),  # (N, 256, 13, 13)
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),  # (N, 256, 6, 6)
        )
        side = feature_size(self.features, image_size)
        self.classifier = nn.Sequential(
            nn.Flatten(),  # (N, 9216)
            nn.Linear(256 * side * side, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(N, num_classes)`` of images ``(N, C, H, W)``."""
        logits: Tensor = self.classifier(self.features(images))
        return logits
