"""The summary: what it says is so, and what it was given stays as it was."""

import copy
import json
import math
import re
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo import create_model
from cnnzoo.analysis.summary.summary import LayerSummary, ModelSummary, summarize
from cnnzoo.cli.options import parse_options
from cnnzoo.errors import CnnzooError, UsageError
from tests.helpers import forget_models

Run = Callable[..., CompletedProcess[str]]
Command = Callable[..., tuple[int, str, str]]


def lenet_summary(batch_size: int = 1) -> ModelSummary:
    return summarize(create_model("lenet"), (batch_size, 1, 28, 28))


def rows(model: nn.Module, *shape: int) -> tuple[LayerSummary, ...]:
    return summarize(model, shape).layers  # type: ignore[arg-type]


# ---- the figures ----


def test_lenet_layer_by_layer() -> None:
    """LeCun et al. 1998, Fig. 2, at 28×28: sizes, and parameters and multiply-adds counted by hand."""
    summary = lenet_summary()
    expected = [
        ("Conv2d", (6, 28, 28), 156, 150 * 28 * 28),
        ("Sigmoid", (6, 28, 28), 0, 0),
        ("AvgPool2d", (6, 14, 14), 0, 0),
        ("Conv2d", (16, 10, 10), 2416, 2400 * 10 * 10),
        ("Sigmoid", (16, 10, 10), 0, 0),
        ("AvgPool2d", (16, 5, 5), 0, 0),
        ("Flatten", (400,), 0, 0),
        ("Linear", (120,), 48_120, 48_000),
        ("Linear", (84,), 10_164, 10_080),
        ("Linear", (10,), 850, 840),
    ]
    found = [(row.type, row.output_size[1:], row.parameters, row.mult_adds) for row in summary.layers]
    assert found == expected
    assert summary.parameters == summary.trainable == 61_706
    assert summary.mult_adds == sum(work for *_, work in expected)
    c1, s2, f5 = summary.layers[0], summary.layers[2], summary.layers[7]
    assert (c1.name, c1.kernel_size, c1.stride, c1.padding) == ("features.C1", (5, 5), (1, 1), (2, 2))
    assert (s2.kernel_size, s2.stride, s2.padding) == ((2, 2), (2, 2), (0, 0))
    assert (f5.kernel_size, f5.stride, f5.padding, f5.jump) == (None, None, None, None)
    assert (f5.input_size, f5.output_size) == ((1, 400), (1, 120))


def test_memory_and_work_are_those_of_the_batch() -> None:
    one, many = lenet_summary(), lenet_summary(32)
    assert many.input_size == (32, 1, 28, 28)
    assert many.mult_adds == 32 * one.mult_adds
    assert many.memory.input == 32 * 28 * 28 * 4
    assert many.memory.parameters == 61_706 * 4
    # As torchinfo has it: the outputs of what has parameters, with their gradients.
    outputs = 6 * 28 * 28 + 16 * 10 * 10 + 120 + 84 + 10
    assert many.memory.forward_backward == 32 * outputs * 4 * 2
    assert many.memory.total == sum((many.memory.input, many.memory.forward_backward, many.memory.parameters))


def test_a_batch_larger_than_any_memory_takes_none() -> None:
    assert lenet_summary(10**9).memory.input == 10**9 * 28 * 28 * 4


def test_a_real_device_says_the_same() -> None:
    model = create_model("lenet")
    there, nowhere = summarize(model, (2, 1, 28, 28), "cpu"), summarize(model, (2, 1, 28, 28))
    assert there.device == "cpu"
    assert there.layers == nowhere.layers
    assert there.memory == nowhere.memory


def test_half_precision_takes_half_the_memory() -> None:
    summary = summarize(create_model("lenet").half(), (1, 1, 28, 28))
    assert summary.memory.input == 28 * 28 * 2
    assert summary.memory.parameters == 61_706 * 2


# ---- nothing is touched ----


class Busy(nn.Module):
    """Everything that a careless summary would disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4, 2)
        self.scale = torch.ones(4, 1, 1)  # neither parameter nor buffer
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.drop(self.norm(self.conv(x))) * self.scale
        x = F.dropout(x + torch.rand(1).to(x.device), 0.5)  # random in evaluation too
        out: Tensor = self.fc(x.mean((2, 3)))
        return out


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("inference", [False, True])
def test_the_model_stays_as_it_was(device: str, inference: bool) -> None:
    torch.manual_seed(0)
    model = Busy().train()
    model.norm.eval()
    model.conv.weight.requires_grad_(False)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    called: list[str] = []
    for module in model.modules():
        module.register_forward_hook(lambda *_: called.append("forward"))
        module.register_forward_pre_hook(lambda *_: called.append("pre"))

    def state() -> dict[str, Any]:
        return {
            "training": [m.training for m in model.modules()],
            "hooks": [
                (list(m._forward_hooks.items()), list(m._forward_pre_hooks.items())) for m in model.modules()
            ],
            "parameters": [
                (id(p), p.device, p.requires_grad, id(p.grad), p._version) for p in model.parameters()
            ],
            "buffers": [(id(b), b.device, b._version) for b in model.buffers()],
            "attributes": [set(vars(m)) for m in model.modules()],
            "calls": (model.calls, id(model.scale), list(called)),
        }

    before, values, random = state(), copy.deepcopy(model.state_dict()), torch.get_rng_state()
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    with torch.inference_mode(inference):
        summary = summarize(model, (2, 3, 8, 8), device)
    assert state() == before
    assert torch.equal(torch.get_rng_state(), random)
    for key, value in model.state_dict().items():
        assert torch.equal(value, values[key]), key
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        assert grad is None if parameter.grad is None else torch.equal(parameter.grad, grad)  # type: ignore[arg-type]
    assert summary.trainable == summary.parameters - model.conv.weight.numel()


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator here")
def test_the_accelerators_random_state_stays_as_it_was() -> None:
    device = torch.accelerator.current_accelerator()
    assert device is not None
    module = torch.get_device_module(device)
    before = module.get_rng_state()
    summarize(Busy().to(device), (2, 3, 8, 8), device)
    assert torch.equal(module.get_rng_state(), before)


# ---- the arithmetic ----

SIGNS = str.maketrans({"·": "*", "−": "-", ",": ""})


def check_equations(text: str | None) -> list[int]:
    """Compute what is written on the left, and return what is written on the right."""
    assert text is not None
    results = []
    for equation in text.split("; "):
        left, right = equation.translate(SIGNS).split(" = ")
        left = re.sub("⌊(.*)⌋", r"math.floor(\1)", re.sub("⌈(.*)⌉", r"math.ceil(\1)", left))
        assert eval(left, {"math": math}) == int(right), equation
        results.append(int(right))
    return results


small = st.integers(1, 4)
pairs = st.tuples(small, small)


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Module:
    groups = draw(small)
    return nn.Conv2d(
        groups * draw(small),
        groups * draw(small),
        kernel_size=draw(pairs),
        stride=draw(pairs),
        padding=draw(st.tuples(st.integers(0, 3), st.integers(0, 3))),
        dilation=draw(pairs),
        groups=groups,
        bias=draw(st.booleans()),
    )


@st.composite
def same_convolutions(draw: st.DrawFn) -> nn.Module:
    return nn.Conv2d(
        draw(small),
        draw(small),
        draw(pairs),
        padding=draw(st.sampled_from(["same", "valid"])),
        dilation=draw(pairs),
    )


@st.composite
def poolings(draw: st.DrawFn) -> nn.Module:
    kernel = draw(pairs)
    stride, ceil = draw(pairs | st.none()), draw(st.booleans())
    padding = (draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2)))
    if draw(st.booleans()):
        return nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil)
    return nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil)


@given(
    layer=convolutions() | same_convolutions() | poolings(),
    height=st.integers(16, 40),
    width=st.integers(16, 40),
)
@settings(deadline=None, max_examples=150)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_written_arithmetic_of_windows_is_right(layer: nn.Module, height: int, width: int) -> None:
    channels = getattr(layer, "in_channels", 3)
    (row,) = rows(layer, 2, channels, height, width)
    with torch.no_grad():
        real = layer(torch.zeros(2, channels, height, width)).shape
    assert row.output_size == real
    if row.output_arithmetic is None:  # a last window that would start beyond the image is left out by torch
        assert getattr(layer, "ceil_mode", False)
    else:
        sides = check_equations(row.output_arithmetic)
        assert set(sides) == set(real[2:])
    count = sum(p.numel() for p in layer.parameters())
    assert row.parameters == count
    if count:
        assert check_equations(row.parameter_arithmetic) == [count]


@given(
    st.builds(nn.Linear, st.integers(1, 2000), st.integers(1, 2000), bias=st.booleans())
    | st.builds(nn.BatchNorm1d, st.integers(1, 2000))
)
@settings(deadline=None, max_examples=50)
def test_written_arithmetic_of_other_layers_is_right(layer: nn.Module) -> None:
    (row,) = rows(nn.Sequential(nn.Flatten(), layer), 2, 1, 1, next(layer.parameters()).shape[-1])[1:]
    assert check_equations(row.parameter_arithmetic) == [sum(p.numel() for p in layer.parameters())]


@pytest.mark.parametrize(
    ("layer", "written"),
    [
        (nn.Conv2d(1, 6, 5), "(5·5·1 + 1)·6 = 156"),
        (nn.Conv2d(1, 6, 5, bias=False), "5·5·1·6 = 150"),
        (nn.Conv2d(96, 256, 5, groups=2), "(5·5·48 + 1)·128·2 = 307,456"),
        (nn.ConvTranspose2d(8, 4, 3), "(3·3·8 + 1)·4 = 292"),
        (nn.BatchNorm2d(64), "2·64 = 128"),
        (nn.BatchNorm2d(64, affine=False), None),
        (nn.PReLU(), None),
    ],
)
def test_parameters_written_out(layer: nn.Module, written: str | None) -> None:
    channels = getattr(layer, "in_channels", 64)
    assert rows(layer, 1, channels, 8, 8)[0].parameter_arithmetic == written


@pytest.mark.parametrize(
    ("layer", "written"),
    [
        (nn.Conv2d(1, 1, 5, padding=2), "(28 + 2·2 − 5)/1 + 1 = 28"),
        (nn.Conv2d(1, 1, 5), "(28 − 5)/1 + 1 = 24"),
        (nn.Conv2d(1, 1, 3, dilation=2), "(28 − 2·(3 − 1) − 1)/1 + 1 = 24"),
        (nn.Conv2d(1, 1, 3, stride=2, padding=1), "⌊(28 + 2·1 − 3)/2⌋ + 1 = 14"),
        (nn.MaxPool2d(3, 2, ceil_mode=True), "⌈(28 − 3)/2⌉ + 1 = 14"),
        (nn.MaxPool2d((2, 4)), "(28 − 2)/2 + 1 = 14; (28 − 4)/4 + 1 = 7"),
        (nn.AdaptiveAvgPool2d(7), "(28 − 4)/4 + 1 = 7"),
        (nn.AdaptiveAvgPool2d(5), None),
        (nn.Flatten(), "1·28·28 = 784"),
        (nn.ReLU(), None),
    ],
)
def test_output_side_written_out(layer: nn.Module, written: str | None) -> None:
    assert rows(layer, 1, 1, 28, 28)[0].output_arithmetic == written


# ---- receptive fields ----


def test_receptive_fields_of_lenet_and_alexnet() -> None:
    lenet = [row.receptive_field for row in lenet_summary().layers if row.kernel_size or row.type == "Linear"]
    assert lenet == [(r, r) for r in (5, 6, 14, 16, 32, 32, 32)]
    with torch.device("meta"):
        alexnet = create_model("alexnet", lrn=True)
    found = rows(alexnet, 1, 3, 227, 227)
    windows = [row for row in found if row.kernel_size]
    assert [row.receptive_field for row in windows] == [(r, r) for r in (11, 19, 51, 67, 99, 131, 163, 195)]
    assert [row.jump for row in windows] == [(j, j) for j in (4, 8, 8, 16, 16, 16, 16, 32)]
    assert all(row.receptive_field for row in found)
    assert found[-1].receptive_field == (355, 355)  # 195 + (6 − 1)·32: the six positions of the last map


@st.composite
def unpadded_layers(draw: st.DrawFn) -> nn.Module:
    kernel, stride = draw(pairs), draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    if draw(st.booleans()):
        return nn.AvgPool2d(kernel, stride)
    return nn.Conv2d(1, 1, kernel, stride, dilation=draw(st.tuples(st.integers(1, 2), st.integers(1, 2))))


@given(st.lists(unpadded_layers(), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_receptive_field_is_where_the_gradient_reaches(layers: list[nn.Module]) -> None:
    model = nn.Sequential(*layers).double()
    for parameter in model.parameters():
        nn.init.ones_(parameter)  # nothing cancels out
    images = torch.zeros(1, 1, 120, 120, dtype=torch.float64, requires_grad=True)
    out = model(images)

    def reached(y: int, x: int) -> list[tuple[int, int]]:
        (grad,) = torch.autograd.grad(out[0, 0, y, x], images, retain_graph=True)
        touched = grad[0, 0].nonzero()
        return [(int(a), int(b)) for a, b in zip(touched.amin(0), touched.amax(0), strict=True)]

    here, next_ = reached(0, 0), reached(1, 1)
    last = rows(model, 1, 1, 120, 120)[-1]
    assert last.receptive_field == tuple(high - low + 1 for low, high in here)
    assert last.jump == tuple(b[0] - a[0] for a, b in zip(here, next_, strict=True))


class Joined(nn.Module):
    """Two branches that join, and a functional call behind a layer that is known."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, padding=1)
        self.third, self.fourth = nn.ReLU(), nn.Conv2d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        out: Tensor = self.third(x + self.second(x)) + self.fourth(F.relu(self.first(x)))[:, :, :1, :1]
        return out


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu, self.second = (
            nn.Conv2d(1, 1, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(1, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        y = self.second(x)
        y += x  # the same tensor object as before
        out: Tensor = self.second(y)
        return out


def test_receptive_field_is_unknown_behind_a_join() -> None:
    fields = [row.receptive_field for row in rows(Joined(), 1, 1, 9, 9)]
    assert fields == [(3, 3), (5, 5), None, (5, 5), None]
    fields = [row.receptive_field for row in rows(InPlace(), 1, 1, 9, 9)]
    assert fields == [(3, 3), (3, 3), (5, 5), None]


@pytest.mark.parametrize(
    "layer",
    [
        nn.GroupNorm(1, 2),
        nn.BatchNorm2d(2, track_running_stats=False),
        nn.ConvTranspose2d(2, 2, 3),
        nn.AdaptiveAvgPool2d(5),
        nn.Linear(16, 16),
        nn.Unflatten(1, (1, 2)),
    ],
)
def test_receptive_field_is_unknown_behind_layers_that_are_not_known(layer: nn.Module) -> None:
    with torch.device("cpu"):
        found = rows(nn.Sequential(nn.Conv2d(1, 2, 1), layer, nn.ReLU()), 1, 1, 16, 16)
    assert [row.receptive_field for row in found] == [(1, 1), None, None]


# ---- unusual models ----


class Shared(nn.Module):
    """A layer used twice, a weight in two layers, a parameter in no layer, and a layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Module()
        self.block.fc = nn.Linear(5, 5)
        self.tied = nn.Linear(5, 5)
        self.tied.weight = self.block.fc.weight
        self.gain = nn.Parameter(torch.ones(3))
        self.unused = nn.Linear(7, 7)

    def forward(self, x: Tensor) -> Tensor:
        fc = self.block.fc
        assert isinstance(fc, nn.Linear)
        out: Tensor = self.tied(fc(fc(x.flatten(1)))) * self.gain.sum()
        return out


def test_rows_add_up_to_the_parameters_whatever_is_shared() -> None:
    model = Shared()
    summary = summarize(model, (1, 1, 1, 5))
    assert [(row.name, row.parameters, row.mult_adds) for row in summary.layers] == [
        ("Shared", 3 + 56, None),
        ("block.fc", 30, 25),
        ("block.fc", 0, 25),
        ("tied", 5, 25),
    ]
    assert summary.parameters == sum(row.parameters for row in summary.layers)
    assert summary.parameters == sum(p.numel() for p in model.parameters())
    assert summary.layers[-1].parameter_arithmetic is None


class LooksAtValues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum().item() > 0 else x


def test_a_model_that_looks_at_values_asks_for_a_device() -> None:
    with pytest.raises(CnnzooError, match="name a device, such as cpu"):
        summarize(LooksAtValues(), (1, 1, 4, 4))
    assert summarize(LooksAtValues(), (1, 1, 4, 4), "cpu").parameters == 0


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (nn.Conv2d(3, 4, 3), r"cannot run Conv2d on images of shape 1×2×8×8: .*channel"),
        (nn.LazyLinear(3), "uninitialized"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_images_that_do_not_fit_are_one_line(model: nn.Module, says: str) -> None:
    with pytest.raises(CnnzooError, match=says) as refusal:
        summarize(model, (1, 2, 8, 8))
    assert "\n" not in str(refusal.value)


# ---- the command ----


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process; a new one takes seconds to import torch."""
    from cnnzoo.cli import main

    def run(*args: str, columns: int | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["cnnzoo", *args])
        if columns is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as end:
            main()
        printed = capfd.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    return run


def test_summary_shows_layers_totals_and_arithmetic(command: Command) -> None:
    papers = ("--in-channels", "3", "--num-classes", "1000")
    code, text, err = command("summary", "alexnet", *papers, "--teach")
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "features.conv1 Conv2d 11×11 4 0 96×55×55 34,944 105,415,200" in lines
    assert "Parameters 62,378,344" in lines
    assert "features.conv1 Conv2d 11 4 (227 − 11)/4 + 1 = 55 (11·11·3 + 1)·96 = 34,944" in lines
    assert "classifier.fc6 Linear 355 – (9,216 + 1)·4,096 = 37,752,832" in lines
    assert "\x1b" not in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("flags", "head", "parameters"),
    [
        ((), "AlexNet, 1×227×227, batch of 1, 10 classes (fashionmnist)", "58,299,082"),
        (("-d", "cifar10"), "AlexNet, 3×227×227, batch of 1, 10 classes (cifar10)", "58,322,314"),
        (("--num-classes", "7"), "AlexNet, 1×227×227, batch of 1, 7 classes (fashionmnist)", "58,286,791"),
        (
            ("--num-classes", "1000", "--in-channels", "3"),
            "AlexNet, 3×227×227, batch of 1, 1,000 classes",
            "62,378,344",
        ),
    ],
)
def test_summary_shows_the_net_that_would_be_trained_and_says_which(
    command: Command, flags: tuple[str, ...], head: str, parameters: str
) -> None:
    code, text, _ = command("summary", "alexnet", *flags)
    assert (code, text.splitlines()[0]) == (0, head)
    assert f"Parameters {parameters}" in [" ".join(line.split()) for line in text.splitlines()]


def test_summary_says_which_part_needs_what(command: Command) -> None:
    """d2l's exercise: convolutions have the arithmetic, the fully connected layers the parameters."""
    code, text, _ = command("summary", "alexnet", "--in-channels", "3", "--num-classes", "1000")
    assert code == 0
    table = text[text.index("Share of") :]
    shares = {row[0]: row[1:] for row in map(str.split, table.splitlines()) if len(row) == 4}
    # (9216 + 1)·4096 of 62,378,344 parameters; 256 kernels of 5·5·96 at 27·27 places of 1,135,915,368.
    assert shares["classifier.fc6"][:2] == ["60.5%", "3.3%"]
    assert shares["features.conv2"][:2] == ["1.0%", "39.5%"]


def test_a_data_set_that_is_none_is_one_line(command: Command) -> None:
    code, text, err = command("summary", "lenet", "--dataset", "fasion")
    assert (code, text, err.count("\n")) == (2, "", 1)
    assert "unknown dataset 'fasion'. Did you mean 'fashionmnist'?" in err


@pytest.mark.parametrize("columns", [40, 80])
def test_tables_fit_the_screen_and_break_no_word(command: Command, columns: int) -> None:
    for model, *options in (["lenet"], ["alexnet", "-b", "256", "-o", "lrn=true"]):
        code, text, _ = command("summary", model, "--teach", *options, columns=columns)
        assert code == 0
        assert max(map(len, text.splitlines())) <= columns
        with torch.device("meta"):
            options_of_net = {"lrn": True} if model == "alexnet" else {}
            net = create_model(model, num_classes=10, in_channels=1, **options_of_net)
        for kind in {type(m).__name__ for m in net.modules() if not any(m.children())}:
            assert kind in text
        for layer in net.modules():
            count = sum(p.numel() for p in layer.parameters(recurse=False))
            assert f" {count:,}" in text or not count
        assert "classifier." in text
        assert "…" not in text
    code, text, _ = command("models", columns=columns)
    assert max(map(len, text.splitlines())) <= columns
    for word in ("alexnet", "1×227×227", "58,299,082", "fc_activation", "sigmoid", "1998"):
        assert word in text


def test_summary_json_is_one_document(command: Command) -> None:
    code, text, err = command(
        *("summary", "lenet", "-o", "pooling=max", "-o", "fc_activation=relu", "--num-classes", "7"),
        *("--in-channels", "2", "--image-size", "32", "-b", "3", "--device", "cpu", "--format", "json"),
    )
    assert (code, err) == (0, "")
    document = json.loads(text)
    assert list(document) == [
        *(
            "model",
            "options",
            "num_classes",
            "type",
            "device",
            "input_size",
            "layers",
            "parameters",
            "trainable",
        ),
        *("mult_adds", "memory"),
    ]
    assert document["options"] == {"pooling": "max", "fc_activation": "relu"}
    assert (document["num_classes"], document["device"], document["input_size"]) == (7, "cpu", [3, 2, 32, 32])
    assert set(document["memory"]) == {"input", "forward_backward", "parameters", "total"}
    assert document["layers"][0] == {
        "name": "features.C1",
        "type": "Conv2d",
        "kernel_size": [5, 5],
        "stride": [1, 1],
        "padding": [2, 2],
        "input_size": [3, 2, 32, 32],
        "output_size": [3, 6, 32, 32],
        "parameters": 306,
        "mult_adds": 300 * 32 * 32 * 3,
        "connections": 306 * 32 * 32,
        "traffic": 4 * (3 * 2 * 32 * 32 + 306 + 3 * 6 * 32 * 32),
        "receptive_field": [5, 5],
        "jump": [1, 1],
        "parameter_arithmetic": "(5·5·2 + 1)·6 = 306",
        "output_arithmetic": "(32 + 2·2 − 5)/1 + 1 = 32",
    }
    assert document["layers"][-1]["output_size"] == [3, 7]
    assert document["layers"][-1]["kernel_size"] is None


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["lenett"], 2, "Did you mean 'lenet'? There are: alexnet, alexnet-2012, lenet, lenet5-1998"),
        (["lenet", "-o", "pool=max"], 2, "Did you mean 'pooling'"),
        (["lenet", "-o", "num_classes=5"], 2, "unknown option of lenet: 'num_classes'"),
        (["lenet", "-o", "pooling"], 2, "NAME=VALUE"),
        (["lenet", "--image-size", "11"], 1, "at least 12x12"),
        (["lenet", "-b", "0"], 2, "--batch-size"),
        (["lenet", "--format", "xml"], 2, "--format"),
        (["lenet", "--device", "toaster"], 2, "unknown device 'toaster'"),
        (["lenet", "-b", "1" + "0" * 17], 1, "overflow"),
        ([], 2, "MODEL"),
    ],
)
def test_bad_input_is_one_line(command: Command, args: list[str], code: int, says: str) -> None:
    found, text, err = command("summary", *args)
    assert (found, text) == (code, "")
    assert says in err
    assert err.startswith("Error: ")
    assert err.count("\n") == 1


def test_models_says_which_one_cannot_be_built(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from cnnzoo.models import registry

    forget_models(monkeypatch)

    @registry.register_model("broken", paper="Me", year=2024, image_size=8)
    def broken(num_classes: int, in_channels: int) -> nn.Module:
        raise RuntimeError("out of luck")

    code, text, err = command("models")
    assert code == 0
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "broken Me 2024 1×8×8 – –" in lines
    assert "lenet LeCun et al. 1998 1×28×28 61,706 416,520" in lines
    assert "lenet pooling one of avg, max avg" in lines
    assert "broken is not counted: cannot build broken: out of luck" in err


@pytest.mark.slow
def test_an_ascii_terminal_gets_ascii(cnnzoo: Run) -> None:
    done = cnnzoo(
        *("summary", "lenet", "--teach", "--image-size", "29"),
        env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert "(5*5*1 + 1)*6 = 156" in done.stdout
    assert "floor((29 - 2)/2) + 1 = 14" in done.stdout


# ---- NAME=VALUE ----


def test_options_are_split_at_the_first_equals_sign() -> None:
    assert parse_options(["a=1", " b = x=y ", "c=", "a=2"]) == {"a": "2", "b": "x=y", "c": ""}
    for text in ("dropout", "=0.3", " =1", ""):
        with pytest.raises(UsageError, match=r"-o dropout=0\.3"):
            parse_options([text])
