"""torchvision's networks under their names, for any number of classes and channels."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

import cnnzoo
from cnnzoo import create_model, list_models
from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.config import TrainConfig
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.models import torchvision_nets
from cnnzoo.models.registry import create_skeleton, get_spec
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.training.pretrained import load_pretrained
from tests.helpers import InterruptedRunError, StopAfter, quick, resume, same_state, train

Run = Callable[..., CompletedProcess[str]]

SOME = [
    "resnet18",
    "squeezenet1_1",
    "densenet121",
    "mobilenet_v3_small",
    "googlenet",
    "inception_v3",
    "vit_b_16",
]


def theirs(name: str, **options: object) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: nn.Module = torchvision.models.get_model(name, **options)
    return model


def test_the_table_is_what_the_installed_torchvision_says() -> None:
    path = Path(torchvision_nets.__file__).with_name(torchvision_nets.TORCHVISION_TABLE)
    table, installed = json.loads(path.read_text()), torchvision_nets.read_torchvision()
    if table["version"] != installed["version"]:
        pytest.skip(f"the table is of torchvision {table['version']}")
    assert table == installed


@pytest.mark.slow
def test_a_torchvision_that_does_not_fit_torch_is_one_line(tmp_path: Path) -> None:
    # What torchvision of another release says, without the gigabytes of one.
    package, said = tmp_path / "torchvision", "operator torchvision::nms does not exist"
    package.mkdir()
    (package / "__init__.py").write_text(f"raise RuntimeError({said!r})\n")
    (tmp_path / "torchvision-0.1.0.dist-info").mkdir()
    (tmp_path / "torchvision-0.1.0.dist-info" / "METADATA").write_text("Name: torchvision\nVersion: 0.1.0\n")

    def run(*line: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
        command = [sys.executable, "-m", "cnnzoo", *line]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    for line in (("models",), ("summary", "torchvision/resnet18"), ("train", "torchvision/vgg11")):
        done = run(*line)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"Error: torchvision 0.1.0 cannot be imported beside torch {version('torch')} ({said}). "
            "Install the two that belong together: pip install --upgrade torch torchvision\n"
        )
    assert run("train", "lenet", "--dataset", "fashionmnist-sample", "--dry-run").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("installed", ["the table's version", "a newer version"])
def test_the_names_are_those_of_the_installed_torchvision_and_imported_only_where_the_table_is_of_another(
    installed: str, tmp_path: Path
) -> None:
    package = tmp_path / "cnnzoo"
    shutil.copytree(Path(cnnzoo.__file__).parent, package)
    table = package / "models" / torchvision_nets.TORCHVISION_TABLE
    if installed == "a newer version":  # with a net that the table lacks
        older = json.loads(table.read_text())
        del older["models"]["resnet18"]
        table.write_text(json.dumps({**older, "version": "0.1.0"}))
    program = (
        "import sys\nfrom cnnzoo.models.registry import get_spec, list_models\n"
        "print('torchvision/resnet18' in list_models(), 'torchvision' in sys.modules)\n"
        "print(get_spec('torchvision/resnet18').num_parameters)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"True {installed == 'a newer version'}\n11689512\n"


@pytest.mark.slow
def test_every_classifier_that_torchvision_lists_can_be_built() -> None:
    names = torchvision.models.list_models(module=torchvision.models)
    assert {f"torchvision/{name}" for name in names} <= set(list_models())
    for name in names:
        if name.startswith("regnet") and name != "regnet_y_400mf":
            continue  # these need memory to be built, some of them gigabytes
        model = create_skeleton(f"torchvision/{name}", num_classes=7, in_channels=2)
        layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        first, last = layers[0], layers[-1]
        assert isinstance(first, nn.Conv2d)
        assert (first.in_channels, last.weight.shape[0]) == (2, 7), name


@pytest.mark.parametrize("name", SOME)
def test_a_net_makes_logits_in_training_and_evaluation(name: str) -> None:
    side = 75 if name == "inception_v3" else 64
    model = create_model(f"torchvision/{name}", num_classes=5, in_channels=1, image_size=side)
    images = torch.randn(2, 1, side, side)
    assert model.train()(images).shape == (2, 5)
    with torch.no_grad():
        assert model.eval()(images).shape == (2, 5)


def test_a_net_for_its_own_classes_and_channels_is_torchvisions() -> None:
    with torch.device("meta"):
        ours = create_model("torchvision/resnet18")
        reference = theirs("resnet18")
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in reference.state_dict().items()
    }
    spec = get_spec("torchvision/resnet18")
    assert spec.num_parameters == sum(p.numel() for p in reference.parameters())
    assert get_spec("torchvision/inception_v3").image_size == 299


OTHER_CLASSES = "The last layer begins anew: the weights are for other classes."


def test_weights_of_a_file_are_taken_over(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = theirs("resnet18").state_dict()
    torch.save(state, tmp_path / "resnet.pth")
    spec = get_spec("torchvision/resnet18")

    whole = create_model(spec.name)
    assert not load_pretrained(whole, spec, str(tmp_path / "resnet.pth"))
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())

    other = create_model(spec.name, num_classes=4, in_channels=1)
    head = other.get_parameter("fc.weight").clone()
    assert load_pretrained(other, spec, str(tmp_path / "resnet.pth")) == [OTHER_CLASSES]
    assert torch.equal(other.get_parameter("fc.weight"), head)
    assert torch.equal(other.get_parameter("layer4.1.conv2.weight"), state["layer4.1.conv2.weight"])
    # A grey image makes the same sums as the same image in three equal channels.
    grey = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            other.get_submodule("conv1")(grey),
            whole.get_submodule("conv1")(grey.expand(-1, 3, -1, -1)),
            rtol=1e-4,
            atol=1e-5,
        )

    torch.save(theirs("resnet34").state_dict(), tmp_path / "other.pth")
    with pytest.raises(CnnzooError, match=r"not those of torchvision/resnet18: .*Choose others"):
        load_pretrained(whole, spec, str(tmp_path / "other.pth"))
    # Weights of other classes, of a net whose outputs are no learnt layer.
    torch.save(create_model("lenet5-1998").state_dict(), tmp_path / "lenet5.pth")
    letters = create_model("lenet5-1998", num_classes=26)
    assert load_pretrained(letters, get_spec("lenet5-1998"), str(tmp_path / "lenet5.pth")) == [OTHER_CLASSES]
    (tmp_path / "broken.pth").write_bytes(b"PK\3\4 and no more")
    for file, says in {"broken.pth": "read safely", "absent.pth": "Check the path"}.items():
        with pytest.raises(CnnzooError, match=says):
            load_pretrained(whole, spec, str(tmp_path / file))
    with pytest.raises(CnnzooError, match="nobody offers"):
        load_pretrained(create_model("lenet"), get_spec("lenet"), "default")


@pytest.mark.slow
def test_weights_by_the_names_of_an_older_torchvision_are_taken_over(tmp_path: Path) -> None:
    state = theirs("vit_b_32").state_dict()
    names = {"mlp.0.": "mlp.linear_1.", "mlp.3.": "mlp.linear_2."}

    def old(name: str) -> str:
        for new, before in names.items():
            name = name.replace(new, before)
        return name

    older = OrderedDict((old(name), value) for name, value in state.items())
    older._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    assert older.keys() != state.keys()
    torch.save(older, tmp_path / "vit.pth")
    spec = get_spec("torchvision/vit_b_32")
    model = create_model(spec.name, num_classes=3)
    assert load_pretrained(model, spec, str(tmp_path / "vit.pth")) == [OTHER_CLASSES]
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]) or name.startswith("heads")


def small(tmp_path: Path, net: str = "resnet18", **changes: object) -> TrainConfig:
    settings: dict[str, object] = {"image_size": 32, "limit_train": 48, "limit_val": 20, "epochs": 1}
    model = f"torchvision/{net}"
    return quick(tmp_path, model=model, model_options={}, **{**settings, **changes})


def test_a_download_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CnnzooError, match=r"cannot download .*--weights FILE") as refused:
        train(small(tmp_path, weights="default"))
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_torchvision_net_trains_resumes_and_is_evaluated(tmp_path: Path) -> None:
    whole = train(small(tmp_path, epochs=2, name="whole")).run
    with pytest.raises(InterruptedRunError):
        train(small(tmp_path, epochs=2, name="stopped"), reporter=StopAfter(1))
    resume(tmp_path / "runs" / "stopped")
    assert same_state(tmp_path / "runs" / "stopped", whole)
    assert evaluate(whole / "best.pt", split="val").num_images == 20
    # Its weights are what another run begins with.
    other = train(small(tmp_path, weights=str(whole / "best.pt"), lr=1e-12)).run
    start, end = load_checkpoint(whole / "best.pt").state_dict, load_checkpoint(other / "best.pt").state_dict
    torch.testing.assert_close(end["fc.weight"], start["fc.weight"])


def families() -> list[str]:
    """The smallest net of each of torchvision's families, which are its modules."""
    smallest: dict[str, str] = {}
    for name in torchvision.models.list_models(module=torchvision.models):
        family = torchvision.models.get_model_builder(name).__module__
        sizes = {n: get_spec(f"torchvision/{n}").num_parameters for n in (name, smallest.get(family, name))}
        smallest[family] = min(sizes, key=lambda n: sizes[n] or 0)
    return sorted(smallest.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", families())
def test_row_69_a_net_of_each_family_is_loaded_and_resumed(tmp_path: Path, name: str) -> None:
    side = {"inception_v3": 75, "maxvit_t": 224}.get(name, 64)
    size: dict[str, Any] = {"image_size": side, "limit_train": 4, "limit_val": 4, "batch_size": 2}
    update: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.0, "lr": 1e-6}  # which keeps nothing
    with pytest.raises(InterruptedRunError):
        train(small(tmp_path, name, **size, **update, name="r"), reporter=StopAfter(1))
    result = resume(tmp_path / "runs" / "r")
    assert result.epochs_trained == 1
    again = evaluate(result.run / "last.pt", split="val", save=False)
    assert again.loss == pytest.approx(result.history[-1].val_loss, rel=1e-4)


def test_a_last_batch_of_one_image_is_named_before_the_first_epoch(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Change --batch-size"):
        train(small(tmp_path, limit_train=33))


@pytest.mark.parametrize(("name", "side"), [("vit_b_16", 30), ("vgg11", 16)])
def test_images_that_a_net_cannot_take_are_named(tmp_path: Path, name: str, side: int) -> None:
    with pytest.raises(CnnzooError, match="cannot"):
        train(small(tmp_path, name, image_size=side, limit_train=8))


@pytest.mark.slow
def test_models_lists_them_apart(cnnzoo: Run) -> None:
    done = cnnzoo("models", env={"COLUMNS": "80"})
    assert "torchvision's" in done.stdout
    assert "resnet18" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    done = cnnzoo("train", "resnet18")
    assert done.returncode == 2
    assert "Did you mean 'torchvision/resnet18'?" in done.stderr
    assert len(done.stderr) < 300
