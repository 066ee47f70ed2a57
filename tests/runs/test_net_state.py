"""Row 69: nets with versions, extra state, or buffers outside their state dict are loaded as they were saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cnnzoo
from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.errors import CnnzooError
from cnnzoo.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tests.conftest import Command
from tests.faults.shared import assert_refused, make_checkpoint
from tests.helpers import InterruptedRunError, StopAfter, forget_models, quick, resume, same_state, train


class Net(nn.Module):
    """A linear net on small images; each test's net adds to it."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(4)
        self.fc = nn.Linear(49 * in_channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pool(images).flatten(1))
        return logits


class Versioned(Net):
    _version = 3

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: dict[str, Any], *rest: Any) -> None:
        if metadata.get("version") != 3:
            raise ValueError(f"version {metadata.get('version')} is too old")
        super()._load_from_state_dict(state, prefix, metadata, *rest)


class RandomProjection(Net):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.register_buffer("projection", torch.randn(49 * in_channels, 49 * in_channels), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pool(images).flatten(1) @ self.projection)
        return logits


class Centred(Net):
    """Subtracts a running mean, of which the first one is made while it runs."""

    mean: Tensor | None

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.register_buffer("mean", None, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        now = images.detach().mean() + 1
        if self.training:
            self.mean = now if self.mean is None else 0.9 * self.mean + 0.1 * now
        return super().forward(images - (now if self.mean is None else self.mean))


class Counting(Net):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.seen: dict[str, Any] = {"batches": 0, "means": []}

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.seen["batches"] += 1
            self.seen["means"].append(images.mean().item())
        return super().forward(images) * int(1 + self.seen["batches"])

    def get_extra_state(self) -> Any:
        return self.seen

    def set_extra_state(self, state: Any) -> None:
        self.seen = state


class Growing(Net):
    means: Tensor

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels)
        self.register_buffer("means", torch.zeros(0))

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.means = torch.cat([self.means, images.mean().view(1)])
        return super().forward(images)


class Collecting(Net):
    def get_extra_state(self) -> Any:
        return {"seen": [{1, 2}]}

    def set_extra_state(self, state: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def own_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget at the end of a test what it registers."""
    forget_models(monkeypatch)


def register(net: Callable[..., nn.Module]) -> None:
    """Register a net as ``own``."""
    cnnzoo.register_model("own", image_size=28, in_channels=1)(net)


def settings(tmp_path: Path, **changes: object) -> cnnzoo.TrainConfig:
    """A run of 3 epochs of 2 steps."""
    small = {"model": "own", "model_options": {}, "limit_train": 64, "limit_val": 50, "lr": 0.01}
    return quick(tmp_path, **{**small, **changes})


@pytest.mark.parametrize("net", [Versioned, RandomProjection, Centred, Counting])
def test_row_69_a_net_is_evaluated_and_resumed_as_it_was_saved(tmp_path: Path, net: type[Net]) -> None:
    register(net)
    whole = train(settings(tmp_path, name="whole"))
    last = whole.history[-1]
    again = evaluate(whole.run / "last.pt", split="val", save=False)
    assert again.accuracy == pytest.approx(last.val_acc)
    assert again.loss == pytest.approx(last.val_loss)
    with pytest.raises(InterruptedRunError):
        train(settings(tmp_path, name="stopped"), reporter=StopAfter(3))
    resume(tmp_path / "runs" / "stopped")
    assert same_state(tmp_path / "runs" / "stopped", whole.run)


def test_row_69_weights_of_a_run_bring_the_buffers_that_they_were_trained_with(tmp_path: Path) -> None:
    register(RandomProjection)
    run = train(settings(tmp_path)).run
    other = train(settings(tmp_path, weights=str(run), lr=1e-12, seed=1, epochs=1)).run
    before, after = load_checkpoint(run / "best.pt").buffers, load_checkpoint(other / "best.pt").buffers
    assert torch.equal(before["projection"], after["projection"])


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (Growing, "the net changes the shape of means while it runs"),
        (Collecting, "_extra_state of the net holds a set, which a checkpoint does not."),
    ],
)
def test_row_69_a_net_that_could_not_be_loaded_is_not_trained(
    command: Command, tmp_path: Path, net: type[Net], says: str
) -> None:
    register(net)
    assert_refused(command("train", "own", "--dataset", "fashionmnist-sample"), says)
    assert not (tmp_path / "runs").exists()


def test_row_69_a_state_that_the_net_itself_refuses_is_one_line(tmp_path: Path, command: Command) -> None:
    register(Versioned)
    state = Versioned(10, 1).state_dict()
    state._metadata[""]["version"] = 2  # type: ignore[attr-defined]
    net: dict[str, Any] = {"model": "own", "model_options": {}}
    save_checkpoint(tmp_path / "old.pt", make_checkpoint(**net, state_dict=state))
    assert_refused(
        command("eval", "old.pt"), "own does not take the checkpoint's weights: version 2 is too old."
    )


@pytest.mark.parametrize("versions", [3, {"": 3}])
def test_row_69_versions_that_are_none_are_one_line(tmp_path: Path, versions: object) -> None:
    saved: Checkpoint = make_checkpoint()
    saved.state_dict._metadata = versions  # type: ignore[attr-defined]
    save_checkpoint(tmp_path / "forged.pt", saved)
    with pytest.raises(
        CnnzooError, match=r"forged\.pt is not a checkpoint as cnnzoo writes it: the versions"
    ):
        load_checkpoint(tmp_path / "forged.pt")
