"""Every registered model passes the same tests by being registered; then what the papers and the tutorial say."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo import create_model, list_models, register_model
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.models.registry import get_spec
from cnnzoo.registries import TORCHVISION
from tests.helpers import forget_models

Run = Callable[..., CompletedProcess[str]]

NUM_CLASSES, IN_CHANNELS = 7, 2


def images_for(name: str, batch: int, channels: int = IN_CHANNELS) -> Tensor:
    side = get_spec(name).image_size
    return torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(1))


# torchvision's are torchvision's to test; test_torchvision.py tests what cnnzoo makes of them.
OURS = [name for name in list_models() if not name.startswith(TORCHVISION)]


@pytest.fixture(scope="module", params=OURS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> nn.Module:
    """One model for all the tests of its name: the large ones take a second to fill."""
    torch.manual_seed(0)
    return create_model(name, num_classes=NUM_CLASSES, in_channels=IN_CHANNELS)


def test_any_number_of_classes_and_channels(name: str, model: nn.Module) -> None:
    model.eval()
    with torch.no_grad():
        assert model(images_for(name, 2)).shape == (2, NUM_CLASSES)


def test_batch_of_one_gives_what_it_gives_in_a_batch(name: str, model: nn.Module) -> None:
    model.eval()
    images = images_for(name, 2)
    with torch.no_grad():
        alone, together = model(images[:1]), model(images)[:1]
    assert alone.shape == (1, NUM_CLASSES)
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


def test_batch_of_one_can_be_trained_on(name: str, model: nn.Module) -> None:
    model.train()
    with torch.no_grad():
        assert model(images_for(name, 1)).isfinite().all()


def test_evaluation_twice_gives_the_same_bits(name: str, model: nn.Module) -> None:
    model.eval()
    images = images_for(name, 1)
    with torch.no_grad():
        assert torch.equal(model(images), model(images))


def test_dropout_is_on_in_training_and_off_in_evaluation(name: str, model: nn.Module) -> None:
    if not any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules()):
        pytest.skip(f"{name} has no dropout")
    model.train()
    images = images_for(name, 1)
    with torch.no_grad():
        assert not torch.equal(model(images), model(images))


def test_every_parameter_gets_a_finite_gradient(name: str, model: nn.Module) -> None:
    model.train()
    logits = model(images_for(name, 2))
    F.cross_entropy(logits, torch.tensor([0, NUM_CLASSES - 1])).backward()
    try:
        for parameter_name, parameter in model.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name
            assert parameter.grad.any(), parameter_name
    finally:
        model.zero_grad(set_to_none=True)


def test_state_dict_survives_a_save_and_load(name: str, model: nn.Module) -> None:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    with torch.device("meta"):
        other = create_model(name, num_classes=NUM_CLASSES, in_channels=IN_CHANNELS)
    other.load_state_dict(torch.load(file, weights_only=True), assign=True)
    images = images_for(name, 1)
    with torch.no_grad():
        assert torch.equal(other.eval()(images), model.eval()(images))


def test_the_smallest_image_size_named_in_the_error_is_the_smallest(name: str) -> None:
    if not get_spec(name).takes_image_size:
        pytest.skip(f"{name} takes one size only")
    with pytest.raises(CnnzooError, match="too small") as refusal:
        create_model(name, image_size=1)
    smallest = int(re.findall(r"at least (\d+)x", str(refusal.value))[0])

    with pytest.raises(CnnzooError, match=f"at least {smallest}x{smallest}"):
        create_model(name, image_size=smallest - 1)
    model = create_model(name, num_classes=2, in_channels=1, image_size=smallest)
    with torch.no_grad():
        assert model.eval()(torch.zeros(1, 1, smallest, smallest)).shape == (1, 2)


# ---- what the tutorial says ----


class TutorialLeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(in_channels=1, out_channels=6, kernel_size=5, padding=2)
        self.sig = nn.Sigmoid()
        self.s2 = nn.AvgPool2d(kernel_size=2, stride=2)
        self.c3 = nn.Conv2d(in_channels=6, out_channels=16, kernel_size=5)
        self.s4 = nn.AvgPool2d(kernel_size=2, stride=2)
        self.flatten = nn.Flatten()
        self.f5 = nn.Linear(400, 120)
        self.f6 = nn.Linear(120, 84)
        self.f7 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.s2(self.sig(self.c1(x)))
        x = self.s4(self.sig(self.c3(x)))
        x = self.flatten(x)
        logits: Tensor = self.f7(self.f6(self.f5(x)))
        return logits


class TutorialAlexNet(nn.Module):
    """Without its dropout, which the tutorial's code leaves on in evaluation by mistake."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.c1 = nn.Conv2d(in_channels=1, out_channels=96, kernel_size=11, stride=4)
        self.s2 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.c3 = nn.Conv2d(in_channels=96, out_channels=256, kernel_size=5, padding=2)
        self.s4 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.c5 = nn.Conv2d(in_channels=256, out_channels=384, kernel_size=3, padding=1)
        self.c6 = nn.Conv2d(in_channels=384, out_channels=384, kernel_size=3, padding=1)
        self.c7 = nn.Conv2d(in_channels=384, out_channels=256, kernel_size=3, padding=1)
        self.s8 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.flatten = nn.Flatten()
        self.f1 = nn.Linear(6 * 6 * 256, 4096)
        self.f2 = nn.Linear(4096, 4096)
        self.f3 = nn.Linear(4096, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.s2(self.relu(self.c1(x)))
        x = self.s4(self.relu(self.c3(x)))
        x = self.relu(self.c5(x))
        x = self.relu(self.c6(x))
        x = self.s8(self.relu(self.c7(x)))
        x = self.flatten(x)
        x = self.relu(self.f1(x))
        x = self.relu(self.f2(x))
        logits: Tensor = self.f3(x)
        return logits


@pytest.mark.parametrize(
    ("name", "tutorial", "parameters"),
    [("lenet", TutorialLeNet, 61_706), ("alexnet", TutorialAlexNet, 58_299_082)],
)
def test_forward_is_the_tutorials(name: str, tutorial: type[nn.Module], parameters: int) -> None:
    torch.manual_seed(0)
    ours = create_model(name, in_channels=1, num_classes=10)
    with torch.device("meta"):
        theirs = tutorial()
    weights = list(ours.parameters())
    assert sum(p.numel() for p in weights) == parameters
    # The same weights in the same order: nothing is copied by name.
    names = [n for n, _ in theirs.named_parameters()]
    theirs.load_state_dict(dict(zip(names, weights, strict=True)), assign=True)
    images = torch.rand(2, 1, *[get_spec(name).image_size] * 2)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), rtol=0, atol=1e-6)


def test_alexnet_of_the_paper_has_62_million_parameters() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in create_model("alexnet").parameters()) == 62_378_344


# ---- options ----


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("fc_activation", ["none", "sigmoid", "tanh", "relu"])
def test_lenet_activations_are_where_they_should_be(activation: str, fc_activation: str) -> None:
    torch.manual_seed(0)
    model = create_model("lenet", activation=activation, fc_activation=fc_activation, pooling="max").eval()
    c1, c3 = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    f5, f6, f7 = (m for m in model.modules() if isinstance(m, nn.Linear))
    act = getattr(torch, activation)
    fc_act = getattr(torch, fc_activation) if fc_activation != "none" else nn.Identity()
    images = torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        x = F.max_pool2d(act(F.conv2d(images, c1.weight, c1.bias, padding=2)), 2)
        x = F.max_pool2d(act(F.conv2d(x, c3.weight, c3.bias)), 2)
        expected = f7(fc_act(f6(fc_act(f5(x.flatten(1))))))
        torch.testing.assert_close(model(images), expected)


def test_alexnet_dropout_of_zero_changes_nothing_in_training() -> None:
    model = create_model("alexnet", num_classes=2, image_size=67, dropout="0.0")
    images = torch.rand(1, 3, 67, 67)
    with torch.no_grad():
        assert torch.equal(model.train()(images), model.eval()(images))


def test_response_norm_is_the_papers_formula() -> None:
    """b_i = a_i / (k + α Σ a_j²)^β over j = i−n/2 … i+n/2; k=2, n=5, α=1e-4, β=0.75 (section 3.3)."""
    with torch.device("meta"):
        features = create_model("alexnet", lrn="true").get_submodule("features")
    kinds = [type(layer).__name__ for layer in features.children()]
    assert kinds[:4] == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    assert kinds.count("LocalResponseNorm") == 2
    norms = [layer for layer in features.children() if isinstance(layer, nn.LocalResponseNorm)]

    a = torch.randn(2, 9, 3, 3, dtype=torch.float64).relu() * 50  # large enough for α to matter
    b = torch.empty_like(a)
    k, n, alpha, beta = 2, 5, 1e-4, 0.75
    for i in range(9):
        neighbours = a[:, max(0, i - n // 2) : i + n // 2 + 1]
        b[:, i] = a[:, i] / (k + alpha * neighbours.square().sum(1)) ** beta
    for norm in norms:
        torch.testing.assert_close(norm(a), b)
        halves = norm((100 * a).half())  # whose squares no half can hold
        torch.testing.assert_close(halves, norm(100 * a).float(), rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("lenet", {"activation": "gelu"}, "one of sigmoid, tanh, relu"),
        ("lenet", {"colour": "red"}, "activation, dropout, fc_activation"),
        ("lenet", {"pool": "max"}, "Did you mean 'pooling'"),
        ("alexnet", {"dropout": "much"}, "must be a number"),
        ("alexnet", {"dropout": "nan"}, "must be a number"),
        ("alexnet", {"dropout": "1.5"}, "between 0 and 1"),
        ("alexnet", {"lrn": "perhaps"}, "true or false"),
        ("lenet", {"num_classes": 0}, "at least 1"),
        ("lenet", {"in_channels": -1}, "at least 1"),
        ("lenet", {"in_channels": 10**19}, "Overflow"),
        ("lenett", {}, "Did you mean 'lenet'"),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_there_is(
    name: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says) as refusal:
        create_model(name, **options)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


# ---- models of one's own ----


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A registry that forgets what a test registers."""
    from cnnzoo.models import registry

    forget_models(monkeypatch)
    return registry


def test_a_name_is_taken_once(registry: ModuleType) -> None:
    with pytest.raises(CnnzooError, match=r"'lenet' is taken by cnnzoo\.models\.lenet"):
        register_model("lenet", paper="Me", year=2024, image_size=8)(lambda **_: nn.Identity())
    assert get_spec("lenet").year == 1998


def test_a_builder_says_by_its_signature_what_it_takes(registry: ModuleType) -> None:
    @register_model("tiny", paper="Me", year=2024, image_size=8, in_channels=1)
    def tiny(num_classes, in_channels, *, width=4, depth: int) -> nn.Module:  # type: ignore[no-untyped-def]
        return nn.Sequential(
            nn.Flatten(), nn.Linear(in_channels * 64, width * depth), nn.Linear(8, num_classes)
        )

    assert list(get_spec("tiny").options) == ["width", "depth"]
    model = create_model("tiny", depth="2")
    assert model(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    with pytest.raises(UsageError, match="width must be a whole number"):
        create_model("tiny", width="wide", depth=1)
    with pytest.raises(UsageError, match=r"cannot build tiny.*depth"):
        create_model("tiny")
    with pytest.raises(UsageError, match="8x8 only"):
        create_model("tiny", depth=2, image_size=9)


def test_a_name_and_an_image_size_are_enough(registry: ModuleType) -> None:
    @register_model("least", image_size=8)
    def least(num_classes: int, in_channels: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 64, num_classes))

    assert create_model("least", num_classes=3)(torch.zeros(2, 3, 8, 8)).shape == (2, 3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'publication'"):
        register_model("more", image_size=8, publication=None)  # type: ignore[call-arg]


def test_a_net_for_one_kind_of_images_is_built_for_no_other(registry: ModuleType) -> None:
    @register_model("fixed", image_size=8, in_channels=2)
    def build(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(2 * 8 * 8, num_classes))

    model = create_model("fixed", num_classes=3, in_channels=2, image_size=8)
    assert model(torch.randn(1, 2, 8, 8)).shape == (1, 3)
    with pytest.raises(UsageError, match=re.escape("fixed takes images of 2 channel(s) only")):
        create_model("fixed", in_channels=1)
    with pytest.raises(UsageError, match="fixed takes images of 8x8 only"):
        create_model("fixed", image_size=9)


def test_a_bug_in_somebodys_builder_keeps_its_traceback(registry: ModuleType) -> None:
    @register_model("buggy", image_size=8)
    def buggy(num_classes: int, in_channels: int, *, width: int) -> nn.Module:
        return len(width)  # type: ignore[arg-type, return-value]

    with pytest.raises(TypeError, match="has no len"):
        create_model("buggy", width=3)
    with pytest.raises(UsageError, match="cannot build buggy: missing a required argument: 'width'"):
        create_model("buggy")


OWN_MODEL = """
from torch import nn
from cnnzoo import register_model

@register_model("{name}", paper="Me et al.", year=2024, image_size=8, in_channels=1)
def build(num_classes, in_channels, *, width: int = 4):
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, width), nn.Linear(width, num_classes))
"""


@pytest.mark.slow
def test_import_finds_a_module_in_the_current_folder(cnnzoo: Run, tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(OWN_MODEL.format(name="mine"))
    # A console script does not look in the current folder; without this, `python -m` would.
    done = cnnzoo(
        *("summary", "mine", "--import", "my_models", "-o", "width=3", "--format", "json"),
        cwd=tmp_path,
        env={"PYTHONSAFEPATH": "1"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["parameters"] == 65 * 3 + 4 * 10


@pytest.mark.slow
def test_installed_packages_bring_models_and_a_broken_one_takes_none_away(
    cnnzoo: Run, tmp_path: Path
) -> None:
    for package, code in {
        "good": OWN_MODEL.format(name="theirs"),
        "broken": "raise OSError('no such lib')",
    }.items():
        (tmp_path / f"{package}_models.py").write_text(code)
        metadata = tmp_path / f"{package}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[cnnzoo.models]\n{package} = {package}_models\n")
    done = cnnzoo("models", "--format", "json", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0
    models = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert {"alexnet", "lenet", "theirs"} <= models.keys()
    assert models["theirs"]["parameters"] == 65 * 4 + 5 * 10
    assert models["theirs"]["options"] == {"width": {"takes": "a whole number", "default": 4}}
    assert "broken_models failed to import: no such lib" in done.stderr


@pytest.mark.parametrize("module", ["no_such_module", "fails_on_import", "", "..up"])
def test_a_module_that_cannot_be_imported_is_one_line(
    registry: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str
) -> None:
    (tmp_path / "fails_on_import.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CnnzooError, match=f"cannot import {module!r}: .*my_package.my_models"):
        registry.import_models((module,))
