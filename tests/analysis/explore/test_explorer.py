"""A net asked about one picture: the numbers are those that it computes, and what is written out adds up to them."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import cnnzoo
from cnnzoo.analysis.explore.explorer import Explorer
from cnnzoo.analysis.explore.graph import wiring
from cnnzoo.analysis.explore.unit import tell_number
from cnnzoo.analysis.features import features
from cnnzoo.analysis.fields import Box
from cnnzoo.analysis.trained_net import load_net
from cnnzoo.data.decoding.images import BrokenImageError
from cnnzoo.errors import CnnzooError
from cnnzoo.models.registry import create_model
from cnnzoo.runs.checkpoint import load_checkpoint
from tests.helpers import quick, train

EVERYTHING = {
    "dropout": 0.1,
    "lrn": True,
    "overlap": True,
    "groups": 2,
    "pooling": "max",
    "activation": "relu",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LeNet, with the weights of each of its two epochs."""
    return train(quick(tmp_path_factory.mktemp("explore"), epochs=2, keep_epochs=True)).run


@pytest.fixture(scope="module")
def explorer(run: Path) -> Explorer:
    return Explorer(load_net(run / "best.pt", precision="fp32"))


@pytest.mark.parametrize(
    ("model", "size", "options"),
    [
        ("lenet", 28, {}),
        ("lenet", 28, EVERYTHING),
        ("lenet5-1998", 32, {}),
        ("alexnet", 67, {}),
        ("torchvision/resnet18", 32, {}),
    ],
)
def test_the_arithmetic_of_any_unit_comes_to_the_number_that_the_net_computes(
    model: str, size: int, options: dict[str, object]
) -> None:
    torch.manual_seed(1)
    net = create_model(model, num_classes=10, in_channels=1, image_size=size, **options).eval()
    taken: list[tuple[nn.Module, Tensor]] = []
    for module in net.modules():
        if not any(module.children()):
            module.register_forward_pre_hook(
                lambda module, inputs: taken.append((module, inputs[0][0].clone()))
            )
    layers = features(net, torch.randn(1, size, size))[1:]
    assert len(taken) == len(layers)
    for (module, before), (name, after) in zip(taken, layers, strict=True):
        for _ in range(4):
            unit = tuple(int(torch.randint(side, ())) for side in after.shape)
            told = tell_number(module, before, after, unit)
            assert told.value == after[unit].item()
            assert told.lines, (name, told.rule)
            last = re.findall(r"= (−?[\d.]+(?:e[+−]?\d+)?)$", told.lines[-1])
            assert float(last[0].replace("−", "-")) == pytest.approx(told.value, rel=2e-3, abs=2e-4), (
                told.lines[-1]
            )


def test_a_sum_is_written_with_every_product() -> None:
    conv = nn.Conv2d(1, 1, 2)
    conv.weight.data, conv.bias.data = torch.tensor([[[[1.0, -2.0], [0.5, 0.0]]]]), torch.tensor([0.25])  # type: ignore[union-attr]
    image = torch.tensor([[[3.0, 1.0], [-4.0, 9.0]]])
    told = tell_number(conv, image, conv(image[None])[0].detach(), (0, 0, 0))
    assert told.lines == (
        "the image: 3.000·1.000 + 1.000·(−2.000) + (−4.000)·0.5000 + 9.000·0 = −1.000",
        "−1.000 (the image) + 0.2500 (bias) = −0.7500",
    )
    assert told.parts[0].weights == [[1.0, -2.0], [0.5, 0.0]]


class Doubling(nn.Conv2d):
    """A convolution that does more than its kind."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_what_is_not_known_of_a_layer_is_said_and_not_made_up() -> None:
    image = torch.rand(1, 5, 5)
    doubling = Doubling(1, 2, 3)
    told = tell_number(doubling, image, doubling(image[None])[0].detach(), (1, 0, 0))
    assert (told.lines, told.parts) == ((), ())
    assert "something else" in told.rule
    norm = nn.LayerNorm(4)
    told = tell_number(norm, torch.rand(4), torch.rand(4), (0,))
    assert (told.lines, told.rule) == (
        (),
        "LayerNorm: how such a layer computes a number is not written out here.",
    )


def test_what_is_switched_off_puts_out_nothing_and_only_while_it_is_off(explorer: Explorer) -> None:
    image, _ = explorer.test_image(0)
    plain = explorer.look(image)
    assert plain.before is None
    look = explorer.look(image, off={1: [(2,)], 4: [(0, 3, 3)]})
    assert not look.outputs[1][2].any()
    assert look.outputs[1][[0, 1, 3, 4, 5]].equal(plain.outputs[1][[0, 1, 3, 4, 5]])
    assert look.outputs[4][0, 3, 3] == 0
    assert look.outputs[4][0].any()
    assert look.before is not None
    assert look.before.equal(plain.probabilities)
    assert not look.probabilities.equal(plain.probabilities)
    assert (
        explorer.tell(image, 1, (2, 0, 0), off={1: [(2,)]}).rule
        == "Switched off: it puts out 0, whatever it takes."
    )
    again = explorer.look(image)
    assert all(one.equal(other) for one, other in zip(plain.outputs, again.outputs, strict=True))
    for off in ({0: [(0,)]}, {99: [(0,)]}, {1: [(6,)]}, {1: [()]}):
        with pytest.raises(IndexError):
            explorer.look(image, off=off)


def test_each_epoch_that_was_kept_answers_with_its_own_weights(explorer: Explorer, run: Path) -> None:
    image, _ = explorer.test_image(3)
    assert list(explorer.epochs) == [1, 2]
    for epoch in (1, 2):
        model = load_checkpoint(run / f"epoch-{epoch}.pt").build_model().eval()
        with torch.no_grad():
            expected = model(image[None])[0]
        torch.testing.assert_close(explorer.look(image, epoch).logits, expected)
    with pytest.raises(CnnzooError, match="no weights of epoch 3"):
        explorer.look(image, 3)


def test_a_picture_is_seen_as_predict_sees_it(explorer: Explorer, run: Path, tmp_path: Path) -> None:
    file = tmp_path / "shoe.png"
    pixels, _ = explorer.test_pixels([5])
    Image.fromarray(255 - pixels[0, 0].numpy()).resize((90, 90)).save(file)
    image, inverted = explorer.picture(file.read_bytes(), "shoe.png")
    row = cnnzoo.predict(run / "best.pt", file, top_k=1).iloc[0]
    look = explorer.look(image)
    assert inverted == row["inverted"]
    assert inverted
    assert explorer.net.classes[int(look.probabilities.argmax())] == row["prediction"]
    assert look.probabilities.max().item() == pytest.approx(row["probability"], abs=1e-6)


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(explorer: Explorer, tmp_path: Path) -> None:
    Image.new("1", (5_000, 4_001)).save(tmp_path / "large.png")
    content = (tmp_path / "large.png").read_bytes()
    with pytest.raises(CnnzooError, match=r"large.png has 5,000×4,001 pixels, and 20 million are the most"):
        explorer.picture(content[:200], "large.png")  # of which the pixels are missing
    with pytest.raises(BrokenImageError):
        explorer.picture(b"no picture", "notes.txt")
    Image.new("1", (16, 16)).save(
        tmp_path / "small.ico"
    )  # Pillow unpacks what is inside before it tells how large
    with pytest.raises(CnnzooError, match=r"small.ico is an icon\. Choose a picture"):
        explorer.picture((tmp_path / "small.ico").read_bytes(), "small.ico")


def test_a_unit_sees_its_part_of_the_picture(explorer: Explorer) -> None:
    image, _ = explorer.test_image(0)
    assert explorer.field(image, 0, (0, 4, 7)) == Box(4, 7, 5, 8)
    assert explorer.field(image, 1, (3, 10, 10)) == Box(8, 8, 13, 13)
    assert explorer.field(image, len(explorer.layers) - 1, (0,)) == Box(0, 0, 28, 28)
    assert explorer.tell(image, 0, (0, 4, 7)).value == image[0, 4, 7]


def test_residual_connections_are_found() -> None:
    net = create_model("torchvision/resnet18", num_classes=10, in_channels=1, image_size=32).eval()
    names = [name for name, _ in features(net, torch.zeros(1, 32, 32))[1:]]
    sources = wiring(net, names)
    assert sources is not None
    places = ["input", *names]
    joined = [
        (places[index], source.join, [places[layer] for layer in source.layers])
        for index, source in enumerate(sources, 1)
        if len(source.layers) > 1
    ]
    assert len(joined) == 8
    assert joined[0] == ("layer1.0.relu", "+", ["layer1.0.bn2", "maxpool"])
    assert joined[2] == ("layer2.0.relu", "+", ["layer2.0.bn2", "layer2.0.downsample.1"])
    assert [
        len(s.layers) for s in wiring(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), ["0", "1"]) or []
    ] == [1, 1, 1]


class Asking(nn.Module):
    """A net that looks at numbers before it goes on, so that its code cannot be followed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        logits: Tensor = self.second(x if x.sum() > 0 else -x)
        return logits


def test_of_code_that_cannot_be_followed_nothing_is_claimed() -> None:
    assert wiring(Asking(), ["first", "second"]) is None
