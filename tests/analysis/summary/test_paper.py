"""What the papers say of their networks, typed in here a second time, against the nets that are built."""

import json
import re
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo import create_model
from cnnzoo.analysis.summary.paper import Comparison, compare_with_paper, get_publication
from cnnzoo.analysis.summary.summary import summarize
from cnnzoo.errors import UsageError
from cnnzoo.models.lenet5_1998 import TABLE_I, characters
from cnnzoo.models.registry import get_spec
from cnnzoo.training.losses import criterion_of

Run = Callable[..., CompletedProcess[str]]

LENET_5 = {
    # LeCun et al. 1998, section II.B, pages 7 and 8 of the authors' version: output, trainable parameters, connections
    "C1": ((6, 28, 28), 156, 122_304),
    "S2": ((6, 14, 14), 12, 5_880),
    "C3": ((16, 10, 10), 1_516, 151_600),
    "S4": ((16, 5, 5), 32, 2_000),
    "C5": ((120,), 48_120, 48_120),
    "F6": ((84,), 10_164, 10_164),
    "output": ((10,), 0, 840),
}

ALEXNET = {
    # Krizhevsky et al. 2012, section 3.5 and Fig. 2, page 5: output (both GPUs together), kernels, inputs of a kernel
    "conv1": ((96, 55, 55), 96, 11 * 11 * 3),
    "conv2": ((256, 27, 27), 256, 5 * 5 * 48),
    "conv3": ((384, 13, 13), 384, 3 * 3 * 256),
    "conv4": ((384, 13, 13), 384, 3 * 3 * 192),
    "conv5": ((256, 13, 13), 256, 3 * 3 * 192),
    "fc6": ((4096,), 4096, 6 * 6 * 256),
    "fc7": ((4096,), 4096, 4096),
    "fc8": ((1000,), 1000, 4096),
}


def compared(name: str, **options: Any) -> Comparison:
    spec = get_spec(name)
    with torch.device("meta"):
        model = create_model(name, **options)
    shape = (1, spec.in_channels, spec.image_size, spec.image_size)
    return compare_with_paper(
        name, model, summarize(model, shape), get_publication(spec), spec.arguments(options)
    )


def test_lenet5_1998_has_the_papers_figures_layer_by_layer() -> None:
    comparison = compared("lenet5-1998")
    layers = {layer.name: layer for layer in comparison.layers}
    for name, (output, parameters, connections) in LENET_5.items():
        layer = layers[name]
        assert (layer.paper_output, layer.paper_parameters, layer.paper_connections) == LENET_5[name]
        assert (layer.output, layer.parameters, layer.connections) == (output, parameters, connections)
    total = layers["total"]
    assert (total.parameters, total.connections) == (60_000, 340_908)
    assert (total.paper_parameters, total.paper_connections) == (60_000, 340_908)
    assert comparison.agrees
    assert comparison.deviations == ()


def test_alexnet_2012_has_the_papers_figures_layer_by_layer() -> None:
    comparison = compared("alexnet-2012")
    layers = {layer.name: layer for layer in comparison.layers}
    for name, (output, kernels, inputs) in ALEXNET.items():
        layer = layers[name]
        assert (layer.paper_output, layer.paper_parameters) == (output, kernels * (inputs + 1))
        assert (layer.output, layer.parameters) == (output, kernels * (inputs + 1))
    assert layers["total"].parameters == 60_965_224
    assert {(layer.name, layer.output) for layer in comparison.layers if layer.name.startswith("pool")} == {
        ("pool1", (96, 27, 27)),
        ("pool2", (256, 13, 13)),
        ("pool5", (256, 6, 6)),
    }
    assert comparison.agrees
    assert comparison.deviations == ()


@pytest.mark.parametrize(
    ("name", "options", "differing", "words"),
    [
        ("lenet", {}, {"S2", "C3", "S4", "output", "total"}, ["Table I", "sigmoid", "RBF", "28×28"]),
        (
            "alexnet",
            {},
            {"conv2", "conv4", "conv5", "total"},
            ["One tower", "response normalisation", "N(0, 0.01)"],
        ),
        (
            "alexnet",
            {"groups": 2, "lrn": True, "activation": "tanh", "overlap": False},
            set(),
            ["tanh", "overlapping"],
        ),
    ],
)
def test_the_tutorials_nets_say_where_they_differ(
    name: str, options: dict[str, Any], differing: set[str], words: list[str]
) -> None:
    comparison = compared(name, **options)
    assert {layer.name for layer in comparison.layers if not layer.agrees} == differing
    for word in words:
        assert word in " ".join(comparison.deviations)
    if options.get("groups") == 2:
        assert "One tower" not in " ".join(comparison.deviations)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "columns"), [("lenet5-1998", 40), ("alexnet-2012", 80)])
def test_the_command_shows_nothing_but_ticks(cnnzoo: Run, name: str, columns: int) -> None:
    done = cnnzoo("summary", name, "--paper", env={"COLUMNS": str(columns)})
    assert (done.returncode, done.stderr) == (0, "")
    assert "✓" in done.stdout
    assert "→" not in done.stdout
    assert "All of the paper's figures" in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= columns


@pytest.mark.slow
def test_the_command_shows_every_difference(cnnzoo: Run) -> None:
    done = cnnzoo("summary", "lenet", "--paper", env={"COLUMNS": "200"})
    narrow = cnnzoo("summary", "alexnet", "--paper", env={"COLUMNS": "40"}).stdout
    assert "conv2" in narrow
    assert "60,965,224 → 62,378,344" in narrow
    assert max(map(len, narrow.splitlines())) <= 40
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert any(line.startswith("S2 6×14×14 ✓ 12 → 0 (−12) 5,880 → 4,704 (−1,176)") for line in lines)
    assert any(line.startswith("total 60,000 → 61,706 (+1,706)") for line in lines)
    document = json.loads(cnnzoo("summary", "lenet", "--paper", "--format", "json").stdout)["paper"]
    assert document["agrees"] is False
    assert document["layers"][0]["agrees"] is True
    with pytest.raises(UsageError, match="Leave --paper out"):
        get_publication(get_spec("torchvision/resnet18"))


# ---- LeNet-5 ----


def test_c3_sees_the_maps_of_table_i() -> None:
    """Each map of C3 changes with the maps of S2 that Table I marks, and with no other."""
    torch.manual_seed(0)
    c3 = create_model("lenet5-1998").get_submodule("features.C3")
    maps = torch.randn(1, 6, 14, 14)
    with torch.no_grad():
        before = c3(maps)
        for index in range(6):
            changed = maps.clone()
            changed[:, index] += torch.randn(14, 14)
            moved = (c3(changed) != before).flatten(2).any(2)[0]
            assert moved.tolist() == [index in seen for seen in TABLE_I]
    # Table I by its rows, as it is printed: which maps of C3 each map of S2 goes to.
    rows = [
        [0, 4, 5, 6, 9, 10, 11, 12, 14, 15],
        [0, 1, 5, 6, 7, 10, 11, 12, 13, 15],
        [0, 1, 2, 6, 7, 8, 11, 13, 14, 15],
        [1, 2, 3, 6, 7, 8, 9, 12, 14, 15],
        [2, 3, 4, 7, 8, 9, 10, 12, 13, 15],
        [3, 4, 5, 8, 9, 10, 11, 13, 14, 15],
    ]
    assert [[c for c, maps in enumerate(TABLE_I) if s in maps] for s in range(6)] == rows


def test_subsampling_adds_four_multiplies_and_adds_a_bias() -> None:
    torch.manual_seed(0)
    s2 = create_model("lenet5-1998").get_submodule("features.S2")
    maps = torch.randn(2, 6, 28, 28)
    weight, bias = s2.get_parameter("weight"), s2.get_parameter("bias")
    sums = maps[..., ::2, ::2] + maps[..., 1::2, ::2] + maps[..., ::2, 1::2] + maps[..., 1::2, 1::2]
    torch.testing.assert_close(s2(maps), sums * weight[:, None, None] + bias[:, None, None])


def test_outputs_are_squared_distances_to_characters_of_plus_and_minus_one() -> None:
    model = create_model("lenet5-1998")
    rbf = model.get_submodule("classifier.output")
    codes = characters(10)
    assert codes.shape == (10, 84)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(rbf.get_buffer("codes"), codes)
    assert len({tuple(code.tolist()) for code in characters(200)}) == 200
    x = torch.randn(3, 84)
    expected = [
        [-sum((float(a) - float(b)) ** 2 for a, b in zip(row, code, strict=True)) for code in codes]
        for row in x
    ]
    torch.testing.assert_close(rbf(x), torch.tensor(expected))
    # The code of a class is nearest to itself, and no two digits are drawn alike.
    assert torch.equal(rbf(codes).argmax(1), torch.arange(10))


def test_squashing_and_first_weights_are_appendix_as() -> None:
    torch.manual_seed(0)
    model = create_model("lenet5-1998")
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(model.get_submodule("features.act1")(x), 1.7159 * torch.tanh(2 * x / 3))
    fan_in = {
        "features.C1": 25,
        "features.S2": 4,
        "features.S4": 4,
        "classifier.C5": 400,
        "classifier.F6": 120,
    }
    for name, inputs in fan_in.items():
        for parameter in model.get_submodule(name).parameters():
            assert float(parameter.detach().abs().max()) <= 2.4 / inputs
    for name in ("classifier.C5", "classifier.F6"):  # and they reach as far
        assert float(model.get_parameter(f"{name}.weight").detach().abs().max()) > 0.99 * 2.4 / fan_in[name]
    c3 = model.get_submodule("features.C3")
    assert isinstance(c3.weight, Tensor)
    kernels = c3.weight.detach().abs().amax((1, 2))
    inputs_of = [25 * len(maps) for maps in TABLE_I for _ in maps]
    assert all(float(k) <= 2.4 / n for k, n in zip(kernels, inputs_of, strict=True))
    assert float(kernels[:3].max()) > 2.4 / 100


def test_losses_are_equations_8_and_9() -> None:
    distances = torch.tensor([[1.0, 4.0, 9.0], [30.0, 0.5, 2.0]], requires_grad=True)
    labels = torch.tensor([0, 2])
    j = 7.0
    model = criterion_of(create_model("lenet5-1998", num_classes=3, rubbish=j))
    right = distances[torch.arange(2), labels]
    rubbish = torch.exp(torch.tensor(-j)) + torch.exp(-distances).sum(1)
    torch.testing.assert_close(model(-distances, labels), (right + rubbish.log()).mean())
    plain = criterion_of(create_model("lenet5-1998", num_classes=3, loss="mse"))
    torch.testing.assert_close(plain(-distances, labels), right.mean())


def test_label_smoothing_is_refused_where_the_net_has_its_own_loss(cnnzoo: Run) -> None:
    done = cnnzoo("train", "lenet5-1998", "--label-smoothing", "0.1", "--dataset", "fashionmnist-sample")
    assert done.returncode == 2
    assert "Leave it out" in done.stderr


# ---- AlexNet ----


def test_alexnet_2012_is_wired_as_the_paper_says() -> None:
    torch.manual_seed(0)
    model = create_model("alexnet-2012", num_classes=3).eval()
    features, classifier = model.get_submodule("features"), model.get_submodule("classifier")
    assert isinstance(features, nn.Sequential)
    assert isinstance(classifier, nn.Sequential)
    layers = dict(features.named_children()) | dict(classifier.named_children())
    weight = {
        name: layer.get_parameter("weight") for name, layer in layers.items() if hasattr(layer, "weight")
    }
    bias = {name: layer.get_parameter("bias") for name, layer in layers.items() if hasattr(layer, "bias")}

    def norm(a: Tensor) -> Tensor:  # section 3.3
        square = F.pad(a.square(), (0, 0, 0, 0, 2, 2))
        return a / (2 + 1e-4 * sum(square[:, i : i + a.shape[1]] for i in range(5))) ** 0.75

    def two_towers(a: Tensor, name: str, padding: int) -> Tensor:  # section 3.2
        halves = zip(a.chunk(2, 1), weight[name].chunk(2), bias[name].chunk(2), strict=True)
        return torch.cat([F.conv2d(h, w, b, padding=padding) for h, w, b in halves], 1).relu()

    images = 50 * torch.randn(1, 3, 227, 227)
    with torch.no_grad():
        a = F.max_pool2d(norm(F.conv2d(images, weight["conv1"], bias["conv1"], stride=4).relu()), 3, 2)
        a = F.max_pool2d(norm(two_towers(a, "conv2", 2)), 3, 2)
        a = F.conv2d(a, weight["conv3"], bias["conv3"], padding=1).relu()
        a = F.max_pool2d(two_towers(two_towers(a, "conv4", 1), "conv5", 1), 3, 2).flatten(1)
        for name in ("fc6", "fc7"):
            a = F.linear(a, weight[name], bias[name]).relu()
        expected = F.linear(a, weight["fc8"], bias["fc8"])
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4)

    # Section 5: N(0, 0.01), biases 1 in conv 2, 4 and 5 and in the hidden fully connected layers.
    for name, values in weight.items():
        assert abs(float(values.detach().std()) - 0.01) < 0.0005, name
        assert abs(float(values.detach().mean())) < 0.0005, name
        ones = name in ("conv2", "conv4", "conv5", "fc6", "fc7")
        assert torch.equal(bias[name], torch.full_like(bias[name], float(ones)))
    assert [name for name, layer in layers.items() if isinstance(layer, nn.Dropout)] == ["drop6", "drop7"]


@pytest.mark.parametrize("name", ["alexnet", "lenet"])
def test_each_idea_is_a_switch(name: str) -> None:
    """The options build what they say; a net with one taken away still trains."""
    side = 67 if name == "alexnet" else 28
    for options, kind in {
        (("lrn", True),): nn.LocalResponseNorm,
        (("pooling", "avg"),): nn.AvgPool2d,
        (("pooling", "max"),): nn.MaxPool2d,
        (("activation", "tanh"),): nn.Tanh,
        (("activation", "sigmoid"),): nn.Sigmoid,
        (("activation", "relu"),): nn.ReLU,
        (("dropout", 0.3),): nn.Dropout,
    }.items():
        model = create_model(name, num_classes=2, in_channels=1, image_size=side, **dict(options))
        assert any(isinstance(layer, kind) for layer in model.modules()), options
        assert model(torch.zeros(1, 1, side, side)).shape == (1, 2)
    for overlap, width in ((True, 3), (False, 2)):
        model = create_model(name, num_classes=2, in_channels=1, image_size=side, overlap=overlap)
        pools = [m for m in model.modules() if isinstance(m, nn.MaxPool2d | nn.AvgPool2d)]
        assert {(m.kernel_size, m.stride) for m in pools} == {(width, 2)}
    grouped = create_model(name, num_classes=2, in_channels=1, image_size=side, groups=2)
    convolutions = [m for m in grouped.modules() if isinstance(m, nn.Conv2d)]
    assert [m.groups for m in convolutions] == ([1, 2, 1, 2, 2] if name == "alexnet" else [1, 2])
    with pytest.raises(UsageError, match=re.escape("divisible by groups")):
        create_model(name, groups=5)
