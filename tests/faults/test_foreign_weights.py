"""Row 59: weights that others have saved are taken, without running anything in their files, or refused in one line."""

import _codecs
import argparse
import collections
import datetime
import io
import os
import pathlib
import pickle
import random
import resource
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import cnnzoo
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.runs.foreign_weights import read_weights
from tests.conftest import Command
from tests.faults.shared import SMALL, Calls, assert_refused
from tests.helpers import forget_models, quick, train

State = Mapping[str, Tensor]

FEW = (*SMALL, "--epochs", "1", "--limit-train", "32", "--optimizer", "sgd", "--lr", "1e-30", "--name", "new")
"""A run that leaves its weights as they are to the last bit: they are those that it began with."""

GIB = 1 << 30


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(59)
    return cnnzoo.create_model("lenet", num_classes=10, in_channels=1, activation="tanh")


def under(prefix: str, state: State) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def assert_begins_with(command: Command, tmp_path: Path, weights: str, state: State, *flags: str) -> None:
    ended = command(*FEW, "--weights", weights, *flags)
    assert (ended.code, ended.err) == (0, "")
    begun = load_checkpoint(tmp_path / "runs" / "new" / "best.pt").state_dict
    assert begun.keys() == state.keys()
    assert all(torch.equal(begun[name], value) for name, value in state.items())


# Names


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "_orig_mod.", "model.module.", "net.model._orig_mod."]
)
def test_row_59_a_common_prefix_is_taken_off(
    command: Command, tmp_path: Path, net: nn.Module, prefix: str
) -> None:
    torch.save(under(prefix, net.state_dict()), tmp_path / "w.pt")
    assert_begins_with(command, tmp_path, "w.pt", net.state_dict())


def test_row_59_a_part_of_a_net_that_was_wrapped_is_known_by_its_names(
    command: Command, tmp_path: Path, net: nn.Module
) -> None:
    wrapped = cnnzoo.create_model("lenet", num_classes=10, in_channels=1, activation="tanh")
    wrapped.load_state_dict(net.state_dict())
    wrapped.features = nn.DataParallel(wrapped.get_submodule("features"))
    whole = nn.DataParallel(wrapped)
    assert "module.features.module.C1.weight" in whole.state_dict()
    torch.save(whole.state_dict(), tmp_path / "w.pt")
    assert_begins_with(command, tmp_path, "w.pt", net.state_dict())


@pytest.mark.parametrize("order", [("ema_model.", "model."), ("model.", "ema_model.")])
def test_row_59_a_net_beside_its_average_and_a_loss_with_weights_is_found(
    command: Command, tmp_path: Path, net: nn.Module, order: tuple[str, str]
) -> None:
    state = net.state_dict()
    both = {"model.": state, "ema_model.": {name: torch.zeros_like(value) for name, value in state.items()}}
    values = {**under(order[0], both[order[0]]), **under(order[1], both[order[1]])}
    torch.save(
        {"state_dict": {**values, "criterion.weight": torch.ones(10)}, "epoch": 3}, tmp_path / "w.ckpt"
    )
    assert_begins_with(command, tmp_path, "w.ckpt", state)


def test_row_59_a_prefix_does_not_make_another_net_fit(
    command: Command, tmp_path: Path, net: nn.Module
) -> None:
    state = {**net.state_dict(), "features.C9.weight": torch.ones(1)}
    torch.save(under("module.", state), tmp_path / "w.pt")
    says = "the weights in w.pt are not those of lenet: lenet has no features.C9.weight. Choose others."
    assert_refused(command(*FEW, "--weights", "w.pt"), says)


OUTPUT = ("classifier.output.weight", "classifier.output.bias")
REST = "The last layer (classifier.output) begins anew, all others with the weights in w.pt: w.pt has no "


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ({}, f"{REST}classifier.output.weight, classifier.output.bias."),
        (
            {"fc.weight": (10, 84)},
            f"{REST}classifier.output.weight, classifier.output.bias, and lenet has no fc.weight.",
        ),
        (
            {
                "classifier.head.0.weight": (5, 84),
                "classifier.head.0.bias": (5,),
                "classifier.head.2.weight": (3, 5),
            },
            f"{REST}classifier.output.weight, classifier.output.bias, and lenet has no classifier.head.0.weight, "
            "classifier.head.0.bias and 1 more.",
        ),
        ({"classifier.output.1.weight": (10, 84)}, "and lenet has no classifier.output.1.weight."),
        ({"classifier.output.weight": (10, 84)}, f"{REST}classifier.output.bias."),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_row_59_a_last_layer_that_is_missing_or_called_otherwise_begins_anew(
    command: Command, tmp_path: Path, net: nn.Module, head: dict[str, tuple[int, ...]], says: str, prefix: str
) -> None:
    rest = {name: value for name, value in net.state_dict().items() if name not in OUTPUT}
    torch.save(
        under(prefix, {**rest, **{name: torch.ones(size) for name, size in head.items()}}), tmp_path / "w.pt"
    )
    ended = command(*FEW, "--weights", "w.pt")
    assert ended.code == 0
    assert ended.err.startswith("Warning: The last layer (classifier.output) begins anew")
    assert ended.err.endswith(f"{says}\n")
    begun = load_checkpoint(tmp_path / "runs" / "new" / "best.pt").state_dict
    assert all(torch.equal(begun[name], value) for name, value in rest.items())
    assert not torch.equal(begun[OUTPUT[0]], torch.ones(10, 84))


def test_row_59_weights_that_lack_another_layer_are_refused_and_it_is_said_who_lacks_what(
    command: Command, tmp_path: Path, net: nn.Module
) -> None:
    state = net.state_dict()
    without = {name: value for name, value in state.items() if not name.startswith("features.C3.")}
    torch.save(without, tmp_path / "w.pt")
    says = (
        "the weights in w.pt are not those of lenet: w.pt has no features.C3.weight, features.C3.bias. Choose"
    )
    assert_refused(command(*FEW, "--weights", "w.pt"), says)
    deeper = {name: value for name, value in state.items() if name not in OUTPUT}
    torch.save({**deeper, "features.C4.weight": torch.ones(3, 3)}, tmp_path / "w.pt")
    says = "w.pt has no classifier.output.weight, classifier.output.bias, and lenet has no features.C4.weight. Choose"
    assert_refused(command(*FEW, "--weights", "w.pt"), says)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_row_26_weights_with_nan_to_begin_with_are_refused_by_the_layers_name(
    command: Command, tmp_path: Path, net: nn.Module, value: float
) -> None:
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state["features.C3.weight"][1, 2, 3, 3] = value
    torch.save(state, tmp_path / "w.pt")
    says = "the weights in w.pt have NaN or infinite numbers in features.C3.weight, from which nothing can be learnt."
    assert_refused(command(*FEW, "--weights", "w.pt"), says)
    assert not (tmp_path / "runs" / "new").exists()


def test_row_59_a_net_whose_own_parts_are_called_so_keeps_their_names(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_models(monkeypatch)

    @cnnzoo.register_model("wrapping", image_size=28)
    def build(num_classes: int, in_channels: int) -> nn.Module:
        return nn.Sequential(
            collections.OrderedDict(flat=nn.Flatten(), module=nn.Linear(784 * in_channels, num_classes))
        )

    torch.manual_seed(1)
    state = build(10, 1).state_dict()
    torch.save(under("module.", state), tmp_path / "w.pt")
    settings: dict[str, object] = {"model": "wrapping", "model_options": {}, "optimizer": "sgd", "lr": 1e-30}
    run = train(quick(tmp_path, **settings, epochs=1, limit_train=32, weights=str(tmp_path / "w.pt"))).run
    assert torch.equal(load_checkpoint(run / "best.pt").state_dict["module.weight"], state["module.weight"])


def test_row_59_weights_from_before_batches_were_counted_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_models(monkeypatch)

    @cnnzoo.register_model("counting", image_size=28)
    def build(num_classes: int, in_channels: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784 * in_channels), nn.Linear(784, num_classes))

    state = build(10, 1).state_dict()
    del state["1.num_batches_tracked"]
    torch.save(under("module.", state), tmp_path / "w.pt")
    settings: dict[str, object] = {"model": "counting", "model_options": {}, "optimizer": "sgd", "lr": 1e-30}
    run = train(quick(tmp_path, **settings, epochs=1, limit_train=32, weights=str(tmp_path / "w.pt"))).run
    assert torch.equal(load_checkpoint(run / "best.pt").state_dict["2.weight"], state["2.weight"])


# What lies beside the weights


class AttributeDict(dict[str, Any]):
    """As Lightning keeps a net's settings, beside its weights."""


def beside(net: nn.Module) -> dict[str, Any]:
    """What training scripts save with the weights: torchvision's, timm's, Lightning's and others'."""
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.zeros(2, 1, 28, 28)).sum().backward()
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    net.zero_grad()
    args = argparse.Namespace(
        lr=0.1, out=pathlib.Path("x"), inner=argparse.Namespace(seen={pathlib.Path("y")})
    )
    return {
        "epoch": 3,
        "step": torch.tensor(7),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1).state_dict(),
        "args": args,
        "hyper_parameters": AttributeDict(lr=0.1, args=args),
        "best": np.float64(0.5),
        "curve": np.arange(3),
        "classes": np.array(["a", 1], dtype=object),
        "rng": np.random.get_state(),
        "began": datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC),
        "counts": collections.defaultdict(list, a=[1]),
        "last": collections.deque([1.0]),
        "version": torch.__version__,
        "dtype": torch.float32,
        "size": torch.Size([3]),
        "bytes": b"abc",
    }


@pytest.mark.slow
@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net", "weights", "theirs"])
@pytest.mark.parametrize("zipped", [True, False])
def test_row_59_weights_in_a_checkpoint_of_training_are_found_and_not_their_average(
    command: Command, tmp_path: Path, net: nn.Module, key: str, zipped: bool
) -> None:
    state = {name: value.clone() for name, value in net.state_dict().items()}
    average = {name: torch.zeros_like(value) for name, value in state.items()}
    averages = {f"{key}_ema": average, "model_ema": average, "ema": {"shadow": average}}
    whole = {**averages, **beside(net), key: under("module.", state)}
    torch.save(whole, tmp_path / "w.pth.tar", _use_new_zipfile_serialization=zipped)
    assert_begins_with(command, tmp_path, "w.pth.tar", state)


@pytest.mark.parametrize("zipped", [True, False])
def test_row_59_parameters_and_the_old_format_are_read(
    command: Command, tmp_path: Path, net: nn.Module, zipped: bool
) -> None:
    torch.save(net.state_dict(keep_vars=True), tmp_path / "w", _use_new_zipfile_serialization=zipped)
    assert_begins_with(command, tmp_path, "w", net.state_dict())


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin"])
def test_row_59_safetensors_are_read_whatever_their_name(
    command: Command, tmp_path: Path, net: nn.Module, name: str
) -> None:
    save_file(under("model.", net.state_dict()), tmp_path / name)
    assert_begins_with(command, tmp_path, name, net.state_dict())
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
    refused = command(*FEW[:-1], "other", "--weights", name)
    assert_refused(refused, f"{name} is damaged, or holds no weights that can be read safely.")


# What runs


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "smuggle",
    [
        pytest.param(lambda evil: evil, id="plain"),
        pytest.param(lambda evil: argparse.Namespace(x=evil), id="namespace"),
        pytest.param(lambda evil: np.array([evil], dtype=object), id="numpy"),
        pytest.param(lambda evil: collections.defaultdict(list, x=evil), id="defaultdict"),
        pytest.param(lambda evil: Calls(np.ndarray, (evil,)), id="argument"),
    ],
)
@pytest.mark.parametrize("call", [Calls(os.system, ("touch hacked",)), Calls(exec, ("open('hacked', 'w')",))])
def test_row_59_nothing_in_a_file_runs(
    command: Command,
    tmp_path: Path,
    net: nn.Module,
    zipped: bool,
    smuggle: Callable[[Any], object],
    call: Calls,
) -> None:
    values = {"state_dict": net.state_dict(), "args": smuggle(call)}
    torch.save(values, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    refused = command(*FEW, "--weights", "w.pt")
    assert_refused(refused, "w.pt asks for ", ", as no weights do. Nothing in it was run; do not trust")
    assert not (tmp_path / "hacked").exists()


def test_row_59_what_has_a_name_that_is_known_is_never_looked_up(
    tmp_path: Path, net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[object] = []

    def call(value: object) -> object:
        called.append(value)
        return value

    call.__module__, call.__qualname__ = "numpy", "call"
    monkeypatch.setattr(np, "call", call, raising=False)
    torch.save({"model": net.state_dict(), "args": Calls(call, ("x",))}, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt")
    assert not called


def test_row_59_the_names_that_are_let_through_are_let_through_for_this_file_alone(
    tmp_path: Path, net: nn.Module
) -> None:
    before = set(torch.serialization.get_safe_globals())
    torch.save({"model": net.state_dict(), "args": argparse.Namespace()}, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt")
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "w.pt", weights_only=True)


def claims(numbers: int, path: Path) -> None:
    """A file of torch's old format whose only tensor has so many numbers."""
    torch.save({"weight": torch.zeros(77)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    assert whole.count(b"K\x4d") == 2  # of the storage, and of the tensor
    many = b"\x8a\x05" + numbers.to_bytes(5, "little")
    path.write_bytes(whole.replace(b"K\x4d", many))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: claims(200 * GIB, path), id="old format"),
        pytest.param(lambda path: torch.save({"w": Calls(bytearray, (20 * GIB,))}, path), id="bytearray"),
        pytest.param(lambda path: torch.save({"w": torch.zeros(1).expand(10**9, 84)}, path), id="stride 0"),
    ],
)
def test_row_59_a_file_that_claims_more_than_it_holds_is_refused_before_memory_is_taken(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "w.pt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(cnnzoo.CnnzooError):
        read_weights(tmp_path / "w.pt")
    kilobytes = 1 if sys.platform != "darwin" else 1024
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000 * kilobytes


@pytest.mark.parametrize("codec", ["hex", "HEX_codec", "base-64", "uu"])
def test_row_59_a_codec_that_doubles_bytes_again_and_again_is_refused(tmp_path: Path, codec: str) -> None:
    bomb: object = b"a"
    for _ in range(50):
        bomb = Calls(_codecs.encode, (bomb, codec))
    torch.save({"weight": torch.ones(1), "bomb": bomb}, tmp_path / "w.pt")
    with pytest.raises(cnnzoo.CnnzooError, match=f"holds more than weights .codecs.{codec}"):
        read_weights(tmp_path / "w.pt")
    torch.save({"weight": torch.ones(1), "setting": codec}, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt")


def test_row_59_a_packed_file_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1 << 20)}, tmp_path / "w.pt")
    with (
        zipfile.ZipFile(tmp_path / "w.pt") as plain,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(cnnzoo.CnnzooError, match="unpack to more than its size"):
        read_weights(tmp_path / "packed.pt")


# What cannot be read

SAVE = "Where it was made, save its weights alone: torch.save(model.state_dict(), PATH)."


def torchscript(net: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch means to do without it
        torch.jit.save(torch.jit.trace(net, torch.zeros(1, 1, 28, 28)), path)


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return file.getvalue()


class Settings:
    """Of somebody's own."""


@pytest.mark.parametrize("zip_format", [True, False])
def test_row_59_a_whole_model_or_a_class_of_ones_own_says_what_to_save_instead(
    command: Command, tmp_path: Path, net: nn.Module, zip_format: bool
) -> None:
    for value, says in (
        (net, "holds a whole pickled model (cnnzoo.models.lenet.LeNet), which only its own code can read."),
        ({"epoch": 1, "model": net}, "holds a whole pickled model (cnnzoo.models.lenet.LeNet), which"),
        (
            {"model": net.state_dict(), "args": Settings()},
            f"holds more than weights ({Settings.__module__}.Settings), which only its own code can read.",
        ),
    ):
        torch.save(value, tmp_path / "w.pt", _use_new_zipfile_serialization=zip_format)
        assert_refused(command(*FEW, "--weights", "w.pt"), f"w.pt {says}", SAVE)


def test_row_59_a_torchscript_archive_says_what_to_save_instead(
    command: Command, tmp_path: Path, net: nn.Module
) -> None:
    torchscript(net, tmp_path / "w.pt")
    assert_refused(command(*FEW, "--weights", "w.pt"), f"w.pt is a TorchScript archive. {SAVE}")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file, as Keras writes them. Bring its weights into a net"),
        (zipped("metadata.json", "config.json", "model.weights.h5"), "is an archive of Keras. Bring its weights"),
        (zipped("weight.npy", "bias.npy"), "is an archive of NumPy arrays. Bring its weights into a net"),
        (zipped("weights.pth"), "is a zip file that torch.save did not write. Unpack it"),
        (zipped("m/archive_format", "m/data/weights/0"), "is a program of torch.export. Where it was made"),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.0.0:" + bytes(99), "is a model of ONNX. Bring its weights"),
        (b"\x93NUMPY\1\0", "is an array of NumPy. Bring its weights"),
        (b"\x1f\x8b\x08\0", "is a packed file. Unpack it"),
        (b"<!DOCTYPE html>\n<html>", "is a web page. Download the file itself."),
        (b"version https://git-lfs.github.com/spec/v1\n", "Fetch that by `git lfs pull`."),
        (pickle.dumps({"weight": 1}), f"is a pickle that torch.save did not write. {SAVE}"),
        (b"", "is empty. Use another file."),
        (b"nothing of all that", f"holds no weights that can be read safely: torch.save did not write it. {SAVE}"),
        (b"PK\3\4 and no more", "is damaged, or holds no weights that can be read safely. Use another file."),
    ],
)  # fmt: skip
def test_row_59_what_is_no_file_of_torch_is_named(
    command: Command, tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    assert_refused(command(*FEW, "--weights", "w.pt"), f"w.pt {says}" if says[0].islower() else says)


@pytest.mark.parametrize("value", [3, {"a": 1}, [], {}, {1: torch.ones(1)}, {"w": np.ones(3)}])
def test_row_59_values_without_weights_are_one_line(command: Command, tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "w.pt")
    assert_refused(
        command(*FEW, "--weights", "w.pt"),
        f"w.pt holds no state dict: no mapping of names to tensors. {SAVE}",
    )


def test_row_59_lists_that_hold_each_other_end(tmp_path: Path) -> None:
    itself: list[object] = []
    itself.append(itself)
    laughs: list[object] = []
    for _ in range(60):
        laughs = [laughs, laughs]
    torch.save({"a": itself, "b": laughs}, tmp_path / "w.pt")
    with pytest.raises(cnnzoo.CnnzooError, match="no state dict"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_row_59_a_file_with_bytes_changed_is_read_or_refused(tmp_path: Path, kind: str) -> None:
    chance = random.Random(kind)
    path = tmp_path / "w"
    state = {"a.weight": torch.ones(3, 4), "a.bias": torch.ones(3)}
    values = {"model": state, "args": argparse.Namespace(lr=0.1)}
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(values, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    for _ in range(150):
        changed = bytearray(whole)
        for _ in range(chance.choice([1, 1, 3])):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        path.write_bytes(
            changed[: chance.choice([len(changed), len(changed), chance.randrange(len(changed))])]
        )
        try:
            assert read_weights(path)
        except cnnzoo.CnnzooError as error:
            assert "\n" not in str(error)  # noqa: PT017  (either outcome is right)
            assert str(error)[-1] in ".`)"  # noqa: PT017


# Runs


@pytest.mark.slow
def test_row_59_a_run_is_named_by_its_folder_its_name_or_last(command: Command, tmp_path: Path) -> None:
    assert command(*SMALL, "--epochs", "1", "--seed", "3").code == 0
    state = load_checkpoint(tmp_path / "runs" / "r" / "best.pt").state_dict
    (tmp_path / "recipe.yaml").write_text("weights: r\n")
    for number, (weights, flags) in enumerate(
        [("runs/r", ()), ("r", ()), ("last", ()), (str(tmp_path / "runs" / "r"), ()), ("r", ("--seeds", "1"))]
    ):
        ended = command(*FEW[:-1], f"new-{number}", "--weights", weights, *flags)
        assert (ended.code, ended.err) == (0, "")
        run = tmp_path / "runs" / f"new-{number}" / ("seed-0" if flags else "")
        begun = load_checkpoint(run / "best.pt").state_dict
        if weights == "last":
            state = begun  # of the run before, which began with the same ones
        assert all(torch.equal(begun[name], value) for name, value in state.items())
    assert_begins_with(command, tmp_path, "r", state, "--config", "recipe.yaml")


def test_row_59_a_folder_without_a_best_epoch_says_what_to_name(command: Command, tmp_path: Path) -> None:
    for folder in ("empty", "stopped", "study/seed-0", "study/seed-1"):
        (tmp_path / "runs" / folder).mkdir(parents=True)
    (tmp_path / "runs" / "stopped" / "last.pt").touch()
    for name, says in {
        "runs/empty": "runs/empty has no best.pt to begin with. Name a run that has one, or a file.",
        "stopped": "runs/stopped has no best.pt to begin with. Name one in it, such as runs/stopped/last.pt.",
        "study": "runs/study has no best.pt to begin with. Name one in it, such as runs/study/seed-0.",
        "nowhere": "cannot read the weights in nowhere (No such file or directory). Check the path.",
        "x" * 5000: "(File name too long). Check the path.",
    }.items():
        assert_refused(command(*FEW, "--weights", name), says)
