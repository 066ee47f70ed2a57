"""What the tests of faults share: the command line, in this process and in real ones."""

import math
import sys
from collections.abc import Iterator

import pytest
from torch import Tensor, nn

from cnnzoo.models import registry
from tests.helpers import forget_models
from tests.processes import Processes


class Dropping(nn.Module):
    """A net with dropout: ``(N, C, 28, 28)`` to ``(N, num_classes)``."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(in_channels, 8, 5, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(1152, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits


class Exploding(Dropping):
    """A net whose logits are NaN from the thirteenth batch of training on."""

    batches = 0

    def forward(self, images: Tensor) -> Tensor:
        self.batches += self.training
        return super().forward(images) * (math.nan if self.batches >= 13 else 1.0)


@pytest.fixture
def own_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the models ``dropping`` and ``exploding`` for this test."""
    forget_models(monkeypatch)
    registry.register_model("dropping", paper="nobody", year=2000, image_size=28)(Dropping)
    registry.register_model("exploding", paper="nobody", year=2000, image_size=28)(Exploding)


@pytest.fixture(scope="session")
def ascii_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """The same where everything printed has to be ASCII."""
    if sys.platform == "win32":
        pytest.skip("needs fork")
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "TERM": "dumb"}
    started = Processes(tmp_path_factory.mktemp("streams"), ascii_only)
    yield started
    started.close()
