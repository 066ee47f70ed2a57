"""What layers make of images: their outputs, the distributions of those, and dead and saturated units."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo.analysis.features import ACTIVATION_BINS, LayerActivity, activations, features, percent
from cnnzoo.analysis.plot import see_batch, see_image
from cnnzoo.analysis.trained_net import TrainedNet, load_net
from cnnzoo.data.datasets import load_dataset
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.errors import CnnzooError
from cnnzoo.models.registry import create_model
from tests.helpers import Reporter, quick, train


class Small(nn.Module):
    """A net on 8 by 8 pixels whose ReLU overwrites what the convolution has put out."""

    def __init__(self, channels: int = 1, *, inplace: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(channels, 4, 3)
        self.relu = nn.ReLU(inplace=inplace)
        self.pool = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(36, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.pool(self.relu(self.conv(images)))
        logits: Tensor = self.fc(self.drop(self.flatten(maps)))
        return logits


class Twice(nn.Module):
    """A block with a branch, a sum in place, and one ReLU for both of its places."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.norm = nn.BatchNorm2d(3)
        self.fc = nn.Linear(3, 5)

    def forward(self, images: Tensor) -> tuple[Tensor, str]:
        maps = self.norm(self.relu(self.conv(images)))
        maps += images
        return self.fc(self.relu(maps).mean((2, 3))), "and more than logits"


def images_of(channels: int, num: int = 6) -> Tensor:
    return torch.randn(num, channels, 8, 8, generator=torch.Generator().manual_seed(3))


def by_name(layers: list[LayerActivity]) -> dict[str, LayerActivity]:
    return {layer.name: layer for layer in layers}


# What layers put out


@pytest.mark.parametrize("channels", [1, 3])
def test_the_outputs_are_those_computed_by_hand(channels: int) -> None:
    net, image = Small(channels), images_of(channels)[0]
    found = features(net, image)
    assert [name for name, _ in found] == ["input", "conv", "relu", "pool", "flatten", "drop", "fc"]
    convolved = F.conv2d(image[None], net.conv.weight, net.conv.bias)[0]
    outputs = dict(found)
    torch.testing.assert_close(outputs["input"], image)
    torch.testing.assert_close(outputs["conv"], convolved)
    torch.testing.assert_close(outputs["pool"], F.max_pool2d(convolved.clamp_min(0), 2))
    torch.testing.assert_close(outputs["fc"], net.eval()(image[None])[0])
    assert outputs["drop"].shape == (36,)
    assert torch.equal(outputs["drop"], outputs["flatten"])  # in evaluation it drops nothing


def test_a_relu_in_place_changes_nothing_of_what_the_convolution_put_out() -> None:
    outputs = dict(features(Small(inplace=True), images_of(1)[0]))
    assert outputs["conv"].min() < 0
    torch.testing.assert_close(outputs["relu"], outputs["conv"].clamp_min(0))


def test_a_module_that_is_used_twice_is_there_twice_and_branches_stay_apart() -> None:
    net, image = Twice().eval(), images_of(3)[0]
    found = features(net, image)
    assert [name for name, _ in found] == ["input", "conv", "relu", "norm", "relu", "fc"]
    _, (_, conv), (_, first), (_, norm), (_, second), (_, logits) = found
    torch.testing.assert_close(first, conv.clamp_min(0))
    torch.testing.assert_close(norm, net.norm(first[None])[0])  # and not the sum, which is made in its place
    torch.testing.assert_close(second, (norm + image).clamp_min(0))
    torch.testing.assert_close(logits, net(image[None])[0][0])


def test_a_layer_with_parts_that_it_does_not_call_is_a_layer() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, images: Tensor) -> Tensor:
            rows = images[:, 0]
            mixed: Tensor = self.attention(rows, rows, rows)[0]
            return mixed.mean(1)

    assert [(name, output.shape) for name, output in features(Attends(), images_of(1)[0])][1:] == [
        ("attention", (8, 8))
    ]


def test_the_net_is_left_as_it_was() -> None:
    net = Small().train()
    net.drop.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    features(net, images_of(1)[0])
    activations(net, images_of(1), torch.arange(6) % 5)
    assert net.training
    assert not net.drop.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_an_image_that_the_net_cannot_take_is_told_in_one_line() -> None:
    with pytest.raises(CnnzooError, match="cannot take images of 3x8x8") as error:
        features(Small(1), images_of(3)[0])
    assert "\n" not in str(error.value)


# Activations and gradients


def test_gradients_are_those_of_the_mean_loss_and_logits_their_own() -> None:
    net, images, labels = Small().eval(), images_of(1), torch.arange(6) % 5
    last = activations(net, images, labels)[-1]
    logits = net(images).detach()
    by_hand = ((logits.softmax(1) - F.one_hot(labels, 5)) / 6).abs().log10()
    assert (last.name, last.type, last.units, last.dead, last.saturated) == ("fc", "Linear", 5, None, None)
    assert last.gradients is not None
    assert (last.gradients.low, last.gradients.high) == pytest.approx(
        (by_hand.min().item(), by_hand.max().item()), abs=1e-5
    )
    assert (last.activations.low, last.activations.high) == pytest.approx(
        (logits.min().item(), logits.max().item())
    )
    assert last.activations.counts.shape == (ACTIVATION_BINS,)
    assert last.activations.counts.sum() == logits.numel()


def test_a_relu_in_place_changes_no_distribution() -> None:
    labels = torch.arange(6) % 5
    one, other = (activations(Small(inplace=inplace), images_of(1), labels) for inplace in (True, False))
    assert [layer.name for layer in one] == ["conv", "relu", "pool", "fc"]  # not what only hands on numbers
    for mine, yours in zip(one, other, strict=True):
        assert mine.activations.low == yours.activations.low
        assert mine.gradients is not None
        assert yours.gradients is not None
        assert mine.gradients.zeros == yours.gradients.zeros
        assert torch.equal(mine.gradients.counts, yours.gradients.counts)


def test_maps_that_are_never_above_0_are_dead() -> None:
    net = Small()
    assert net.conv.bias is not None
    with torch.no_grad():
        net.conv.bias[:3] = -1000
    layers = by_name(activations(net, images_of(1), torch.arange(6) % 5))
    assert (layers["relu"].dead, layers["relu"].units) == (3, 4)
    assert layers["relu"].remark == "3 of 4 maps dead (75%)"
    assert layers["relu"].activations.zeros >= 0.75
    assert layers["conv"].gradients is not None
    assert layers["conv"].gradients.zeros >= 0.75  # what is dead learns nothing
    assert layers["conv"].remark == ""


def test_a_unit_that_answers_to_one_image_is_not_dead() -> None:
    linear = nn.Linear(64, 2)
    with torch.no_grad():
        linear.weight.zero_()
        linear.weight[0, 0] = 1.0
        linear.bias.fill_(-0.5)
    net = nn.Sequential(nn.Flatten(), linear, nn.ReLU())
    images = torch.zeros(6, 1, 8, 8)
    images[4, 0, 0, 0] = 1.0
    relu = activations(net, images, torch.zeros(6, dtype=torch.long))[-1]
    assert relu.remark == "1 of 2 units dead (50%)"


@pytest.mark.parametrize(
    ("activation", "inside", "beyond"),
    [(nn.Sigmoid(), 4.5, 4.7), (nn.Tanh(), 2.25, 2.35)],  # σ(4.6) = 0.99, and tanh is 2σ(2x) − 1
)
def test_what_is_within_a_hundredth_of_an_end_is_saturated(
    activation: nn.Module, inside: float, beyond: float
) -> None:
    linear = nn.Linear(64, 4)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.copy_(torch.tensor([inside, -inside, -beyond, 0.0]))
    net = nn.Sequential(nn.Flatten(), linear, activation)
    layer = activations(net, images_of(1), torch.zeros(6, dtype=torch.long))[-1]
    assert (layer.saturated, layer.remark) == (0.25, "25% saturated")


def test_the_tanh_of_1998_saturates_at_its_own_ends() -> None:
    net = create_model("lenet5-1998")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1000)
    layers = activations(net, torch.randn(2, 1, 32, 32), torch.tensor([0, 1]))
    shares = [layer.saturated for layer in layers if layer.type == "ScaledTanh"]
    assert shares
    assert all(share is not None and share > 0.9 for share in shares)


def test_a_net_that_answers_with_more_than_logits_has_gradients() -> None:
    layers = activations(Twice(), images_of(3), torch.arange(6) % 5)
    assert [layer.name for layer in layers] == ["conv", "relu", "norm", "relu", "fc"]
    assert all(layer.gradients is not None and layer.gradients.counts.any() for layer in layers)


def test_frozen_weights_stop_no_gradient_and_a_net_without_one_has_none() -> None:
    labels = torch.arange(6) % 5
    frozen = activations(Small().requires_grad_(False), images_of(1), labels)
    assert all(layer.gradients is not None for layer in frozen)

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Small()

        def forward(self, images: Tensor) -> Tensor:
            with torch.no_grad():
                logits: Tensor = self.net(images)
            return logits

    assert [layer.gradients for layer in activations(Cut(), images_of(1), labels)] == [None] * 4


def test_percent_says_neither_none_nor_all_of_what_is_not() -> None:
    assert [percent(share) for share in (0, 0.004, 0.123, 0.996, 1)] == ["0%", "<1%", "12%", ">99%", "100%"]


# What a trained net is shown


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> TrainedNet:
    config = quick(tmp_path_factory.mktemp("seen"), epochs=1, limit_train=64, batch_size=48)
    return load_net(train(config).run / "best.pt")


def test_a_test_image_is_that_of_the_runs_own_test_part(net: TrainedNet) -> None:
    dataset = load_dataset(SAMPLE, "test", image_size=28)
    assert dataset is not None
    pixels, labels = next(iter(dataset.source.batches([torch.tensor([7])], torch.device("cpu"))))
    seen = see_image(net, "7", Reporter())
    torch.testing.assert_close(net.preprocessing.restored(seen.image), pixels[0] / 255)
    assert seen.name == f"test image 7, {net.classes[int(labels[0])]}"


def test_an_image_that_is_not_there_or_none_is_told_in_one_line(net: TrainedNet, tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("no image")
    for which, says in {
        "1000": "there is no image 1000 in the test part of fashionmnist-sample, which has 1,000: 0 to 999",
        str(tmp_path / "none.png"): "cannot be read as an image: No such file or directory",
        str(tmp_path / "words.png"): "cannot be read as an image",
    }.items():
        with pytest.raises(CnnzooError) as error:
            see_image(net, which, Reporter())
        assert says in str(error.value)
        assert error.value.exit_code == 1


def test_a_batch_is_the_beginning_of_the_first_one_with_its_augmentation(net: TrainedNet) -> None:
    plain = see_batch(net.config, 8, Reporter(), saved=net.saved)
    assert (plain.images.shape, plain.batch_size) == ((8, 1, 28, 28), 48)
    whole = see_batch(net.config, 100, Reporter())
    torch.testing.assert_close(whole.images[:8], plain.images)
    assert torch.equal(whole.targets[:8], plain.targets)
    flipped = see_batch(net.config.replace(augment=("flip",)), 8, Reporter())
    is_flipped = [not torch.equal(a, b) for a, b in zip(plain.images, flipped.images, strict=True)]
    assert 0 < sum(is_flipped) < 8
    for changed, before, after in zip(is_flipped, plain.images, flipped.images, strict=True):
        torch.testing.assert_close(after, before.flip(-1) if changed else before)


def test_a_run_whose_images_have_changed_shows_no_others(net: TrainedNet) -> None:
    with pytest.raises(CnnzooError, match="not those that the run was trained on"):
        see_batch(net.config, 8, Reporter(), saved=replace(net.saved, data_sha256="0" * 64))
