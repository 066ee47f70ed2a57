"""Parts that are not trained, rates of their own, and first weights by a rule."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import cnnzoo
from cnnzoo.errors import UsageError
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.training.initialization import initialize
from cnnzoo.training.transfer import freeze, keep_frozen, lr_scales
from tests.conftest import Command
from tests.faults.shared import SMALL, assert_refused
from tests.helpers import InterruptedRunError, StopAfter, forget_models, quick, resume, same_state, train


@pytest.fixture
def normalising(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a net with batch normalisation."""
    forget_models(monkeypatch)

    @cnnzoo.register_model("normalising", paper="nobody", year=2000, image_size=28, in_channels=1)
    def build(num_classes: int, in_channels: int) -> nn.Module:
        body = nn.Sequential(
            nn.Conv2d(in_channels, 4, 5, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
        )
        return nn.Sequential(body, nn.Linear(144, num_classes))


def weights(run: Path) -> dict[str, Tensor]:
    return load_checkpoint(run / "last.pt").state_dict


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.usefixtures("normalising")
def test_a_frozen_backbone_stays_to_the_bit_its_statistics_too(tmp_path: Path) -> None:
    settings: dict[str, object] = {
        "model": "normalising",
        "model_options": {},
        "weight_decay": 0.1,
        "epochs": 1,
    }
    first = train(quick(tmp_path, **settings, limit_train=32)).run
    start = first / "best.pt"
    frozen = train(quick(tmp_path, **settings, weights=str(start), freeze="backbone")).run
    assert changed(weights(first), weights(frozen)) == {"1.weight", "1.bias"}
    free = train(quick(tmp_path, **settings, weights=str(start))).run
    assert "0.1.running_mean" in changed(weights(first), weights(free))


def test_a_prefix_freezes_what_is_below_it_and_batch_norm_is_kept_in_evaluation() -> None:
    model = nn.Sequential(
        nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.BatchNorm1d(2), nn.Linear(2, 2)
    )
    norms = freeze(model, ["0"])
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == [
        *("0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias")
    ]
    assert norms == {"0.1"}
    model.train()
    keep_frozen(model, norms)
    assert [model.get_submodule(name).training for name in ("0.1", "1", "2")] == [False, True, True]


def test_rates_of_their_own_are_factors_and_the_longest_prefix_counts() -> None:
    model = cnnzoo.create_model("lenet")
    scales = lr_scales(model, {"features": 0.1, "features.C3": 2.0})
    assert scales["features.C1.weight"] == 0.1
    assert scales["features.C3.bias"] == 2.0
    assert scales["classifier.F6.weight"] == 1.0


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_a_step_is_as_many_times_as_long(tmp_path: Path, optimizer: str) -> None:
    def step(name: str, **settings: object) -> dict[str, Tensor]:
        one: dict[str, object] = {
            "epochs": 1,
            "limit_train": 32,
            "optimizer": optimizer,
            "lr": 0.01,
            "name": name,
        }
        return weights(train(quick(tmp_path, **one, **settings)).run)

    torch.manual_seed(0)
    start = cnnzoo.create_model("lenet", num_classes=10, in_channels=1, activation="tanh").state_dict()
    plain, scaled = step("plain"), step("scaled", lr_scale={"features": "0.5"})
    for name, first in start.items():
        factor = 0.5 if name.startswith("features") else 1.0
        torch.testing.assert_close(scaled[name] - first, factor * (plain[name] - first), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_a_run_with_both_resumes_to_the_same_bits(tmp_path: Path, optimizer: str) -> None:
    settings: dict[str, object] = {
        "freeze": "features.C1",
        "lr_scale": {"features.C3": 0.3, "classifier.C5": 0},
    }
    config = quick(tmp_path, **settings, optimizer=optimizer, init="xavier", limit_train=160, epochs=2)
    whole = train(config).run
    with pytest.raises(InterruptedRunError):
        train(config.replace(name="stopped"), reporter=StopAfter(7))
    resume(tmp_path / "runs" / "stopped", {"lr_scale": {"features.C3": "0.30", "classifier.C5": "0"}})
    assert same_state(whole, tmp_path / "runs" / "stopped")


def test_the_header_and_the_summary_say_how_many_are_trained(command: Command) -> None:
    said = command(*SMALL, "--epochs", "1", "--freeze", "backbone").out
    assert "model: lenet, 61,706 parameters, 850 of them trained, 1x28x28 images" in said
    shown = command("summary", "lenet", "--freeze", "backbone").out
    assert [line.split() for line in shown.splitlines() if "trainable" in line] == [["trainable", "850"]]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--freeze", "feature"), "freeze: unknown part of this net 'feature'. Did you mean 'features'?"),
        (("--lr-scale", "head=2"), "lr_scale: unknown part of this net 'head'."),
        (("--lr-scale", "features=-1"), "lr_scale must be a mapping"),
        (("--lr-scale", "features"), "is not NAME=VALUE. Write it as in --lr-scale features=0.1."),
        (("--init", "kaiming"), "init must be default, xavier, he, normal:STD or zero, such as normal:0.01"),
        (("--init", "normal:0"), "init must be default, xavier, he, normal:STD or zero, such as normal:0.01"),
        (("--init", "he", "--weights", "w.pt"), "--weights and --init both say with which weights to begin"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_2(command: Command, flags: tuple[str, ...], says: str) -> None:
    assert_refused(command(*SMALL, *flags), says, code=2)


def test_a_net_that_is_frozen_whole_cannot_be_trained(command: Command) -> None:
    assert_refused(command(*SMALL, "--freeze", "features,classifier"), "no parameters to train")


# First weights


def test_first_weights_have_the_papers_spread_and_no_bias() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(400, 300)
    for rule, std in (
        ("xavier", math.sqrt(2 / 700)),
        ("he", math.sqrt(2 / 400)),
        ("normal:0.01", 0.01),
        ("zero", 0),
    ):
        initialize(layer, rule)
        assert layer.weight.std().item() == pytest.approx(std, rel=0.02)
        assert layer.weight.mean().item() == pytest.approx(0, abs=0.002)
        assert not layer.bias.any()
    initialize(layer, "xavier")
    assert layer.weight.abs().max().item() == pytest.approx(math.sqrt(6 / 700), rel=1e-3)


def test_the_default_leaves_the_nets_own() -> None:
    model = cnnzoo.create_model("lenet")
    before = {name: p.clone() for name, p in model.named_parameters()}
    initialize(model, "default")
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    with pytest.raises(UsageError):
        initialize(model, "normal")
