"""Pictures of a net, and the command that draws them."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from cnnzoo.analysis.features import activations, features
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.errors import CnnzooError
from cnnzoo.runs.checkpoint import load_checkpoint, save_checkpoint
from cnnzoo.ui.plot import plot_activations, plot_batch, plot_features, plot_filters
from cnnzoo.ui.sheet import columns_for, unknown_signs
from cnnzoo.ui.style import save_figure
from tests.conftest import Command
from tests.helpers import quick, train


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def pixels(figure: Figure, number: int = 0) -> "np.typing.NDArray[np.float64]":
    return np.asarray(figure.axes[0].images[number].get_array())


# Filters


def kernels(maps: int, channels: int, side: int) -> nn.Conv2d:
    torch.manual_seed(1)
    return nn.Conv2d(channels, maps, side)


@pytest.mark.parametrize(("maps", "channels", "side"), [(6, 1, 5), (96, 3, 11), (64, 3, 7)])
def test_each_filter_is_a_picture_in_one_scale(maps: int, channels: int, side: int) -> None:
    convolution = kernels(maps, channels, side)
    figure = plot_filters(convolution)
    (grid,) = [pixels(figure)]
    across = columns_for(maps)
    scale, pitch = round(48 / side), (grid.shape[1] + round(round(48 / side) * side / 13)) // across
    weight = convolution.weight.detach()
    largest = float(weight.abs().max())
    for index in (0, across - 1, maps - 1):
        row, column = divmod(index, across)
        drawn = grid[row * pitch :: scale, column * pitch :: scale][:side, :side]
        expected = (weight[index] / (2 * largest) + 0.5).permute(1, 2, 0).expand(-1, -1, 3)
        np.testing.assert_allclose(drawn, expected, atol=1e-6)
    assert np.ptp(grid, axis=2).any() == (channels == 3)  # colour, or grey


def test_96_filters_are_12_by_8_as_in_the_paper_and_6_are_3_by_2() -> None:
    assert {num: columns_for(num) for num in (1, 6, 16, 64, 96, 7)} == {
        1: 1,
        6: 3,
        16: 4,
        64: 8,
        96: 12,
        7: 4,
    }


def test_a_net_without_a_convolution_has_no_filters() -> None:
    with pytest.raises(CnnzooError, match="no convolution"):
        plot_filters(nn.Linear(3, 2))


# Features


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3)
        self.act = nn.Sigmoid()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(16, 4)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.act(self.conv(images))
        logits: Tensor = self.fc(self.flatten(self.act(maps).mean((2, 3))))
        return logits


def test_layers_are_named_and_counted_and_those_that_change_nothing_are_told() -> None:
    torch.manual_seed(2)
    layers = features(nn.Sequential(Twice(), nn.Identity()), torch.rand(3, 8, 8))
    figure = plot_features(layers, classes=("a", "b", "c", "d"), title="a net")
    said = texts(figure)
    assert "a net: layer by layer" in said
    assert [name for name in ("0.conv", "0.act", "0.act (use 2)", "0.fc") if name not in said] == []
    assert said.count("16 maps of 6×6") == 3
    assert said.count("+ 4 more") == 3
    assert said[-5:-1] == ["a", "b", "c", "d"]
    assert said[-1] == "not drawn, since they change no number: 1"
    assert len(figure.axes[0].images) == 6  # the image, three of maps, the flattened means, the logits


def test_the_image_is_shown_as_it_was_before_it_was_normalised() -> None:
    raw = torch.randint(256, (1, 3, 48, 48), dtype=torch.uint8)
    preprocessing = Preprocessing(48, (0.5, 0.4, 0.3), (0.2, 0.1, 0.3))
    figure = plot_features([("input", preprocessing(raw)[0])], preprocessing=preprocessing)
    np.testing.assert_allclose(pixels(figure), raw[0].permute(1, 2, 0) / 255, atol=1e-6)


def test_a_layer_of_one_value_or_of_nan_can_be_drawn(tmp_path: Path) -> None:
    layers = [("input", torch.zeros(1, 8, 8)), ("a", torch.full((2, 4, 4), torch.nan)), ("b", torch.ones(3))]
    save_figure(plot_features(layers), tmp_path / "a.svg")
    assert "no finite number" in (tmp_path / "a.svg").read_text() or "no finite number" in texts(
        plot_features(layers)
    )


@pytest.mark.slow
def test_of_a_very_deep_net_the_first_layers_are_drawn_and_the_others_counted() -> None:
    layers = [(str(number), torch.tensor([float(number), 1.0])) for number in range(130)]
    figure = plot_features(layers)
    assert len(figure.axes[0].images) == 120
    assert texts(figure)[-1] == "not drawn: 10 layers behind these"
    assert figure.get_size_inches()[1] * 150 < 2**16


# Activations


def test_every_layer_has_a_row_with_its_remark() -> None:
    convolution = kernels(4, 1, 3)
    assert convolution.bias is not None
    nn.init.constant_(convolution.bias, -1000)
    net = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(144, 3), nn.Tanh())
    layers = activations(net, torch.rand(5, 1, 8, 8), torch.zeros(5, dtype=torch.long))
    figure = plot_activations(layers, title="a net")
    left, right, words = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == [
        *("0\nConv2d", "1\nReLU", "3\nLinear", "4\nTanh")
    ]
    assert [text.get_text() for text in words.texts] == [
        *("", "4 of 4 maps dead (100%)\n100% exactly 0", "", "0% saturated")
    ]
    # Nothing is drawn of a dead layer's activations, nor of the gradients of what is before it.
    assert [len(axes.patches) for axes in (left, right)] == [3, 3]
    assert figure.get_suptitle() == "a net: activations and gradients"


def test_nothing_finite_and_nothing_at_all_can_be_drawn(tmp_path: Path) -> None:
    linear = nn.Linear(64, 3)
    nn.init.constant_(linear.weight, math.nan)
    net = nn.Sequential(nn.Flatten(), linear)
    layers = activations(net, torch.rand(5, 1, 8, 8), torch.zeros(5, dtype=torch.long))
    save_figure(plot_activations(layers), tmp_path / "a.png")
    save_figure(plot_activations([]), tmp_path / "b.png")


# A batch


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_shown_without_its_normalisation(channels: int) -> None:
    raw = torch.randint(256, (40, channels, 48, 48), dtype=torch.uint8)
    preprocessing = Preprocessing(48, (0.5,) * channels, (0.25,) * channels)
    targets = torch.arange(40) % 2
    figure = plot_batch(preprocessing(raw), targets, ("cat", "dog"), preprocessing=preprocessing)
    assert len(figure.axes[0].images) == 32
    np.testing.assert_allclose(
        pixels(figure, 5), (raw[5] / 255).permute(1, 2, 0).expand(-1, -1, 3), atol=1e-6
    )
    assert texts(figure)[1:] == ["cat", "dog"] * 16


def test_a_mixed_image_names_both_its_classes() -> None:
    targets = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]])
    figure = plot_batch(torch.rand(2, 3, 8, 8), targets, ("cat", "dog", "cow"))
    assert texts(figure)[1:] == ["dog 75%", "cat 25%", "cow 100%"]


def test_signs_that_no_font_has_are_known() -> None:
    figure = plot_batch(torch.rand(2, 3, 8, 8), torch.tensor([0, 1]), ("𓀀cat", "dog"))
    assert unknown_signs(figure) == "𓀀"


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_picture_has_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        save_figure(plot_filters(kernels(6, 1, 5)), tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


# The command


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run after an epoch on 64 images."""
    config = quick(tmp_path_factory.mktemp("pictures"), epochs=1, limit_train=64, limit_val=20)
    return train(config).run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, as ``runs/one`` of the folder that the command runs in."""
    return Path(shutil.copytree(trained, tmp_path / "runs" / "one"))


@pytest.mark.parametrize("kind", ["filters", "features", "activations", "batch"])
def test_the_newest_runs_picture_goes_beside_it(kind: str, run: Path, command: Command) -> None:
    done = command("plot", kind)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == f"runs/one/{kind}.png"
    assert (run / f"{kind}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["one", "runs/one", "last", "runs/one/best.pt", "runs/one/last.pt"])
def test_a_run_is_named_as_everywhere(name: str, run: Path, command: Command) -> None:
    assert command("plot", "filters", name, "-o", "a.svg").out == "a.svg\n"
    assert Path("a.svg").read_bytes().startswith(b"<?xml")
    assert not (run / "filters.png").exists()


def test_saturation_is_told_in_words(run: Path, command: Command) -> None:
    told = command("plot", "activations").out.splitlines()[1:]
    assert [line.split(":")[0] for line in told[:-1]] == ["features.act1 (Tanh)", "features.act3 (Tanh)"]
    assert all(line.endswith("% saturated") for line in told[:-1])
    assert told[-1] == "saturated: within 1% of its range from either end"


def test_a_word_that_is_a_kind_is_the_kind_and_a_run_of_that_name_has_a_path(
    run: Path, command: Command
) -> None:
    run.rename(run.with_name("filters"))
    assert command("plot", "filters").out == "runs/filters/filters.png\n"
    assert command("plot", "runs/filters").out.startswith("runs/filters/history.png (")
    assert command("plot", "curves", "filters").out.startswith("runs/filters/history.png (")


def test_features_are_those_of_a_test_image_or_of_a_file(run: Path, command: Command) -> None:
    Image.new("RGB", (40, 30), "red").save(run.parent.parent / "red.jpg")
    for image in ("3", "red.jpg"):
        done = command("plot", "features", "--image", image, "-o", f"{image}.png")
        assert (done.code, done.err, done.out) == (0, "", f"{image}.png\n")
    assert Path("3.png").read_bytes() != Path("red.jpg.png").read_bytes()


def test_a_batch_takes_the_arguments_of_train(tmp_path: Path, command: Command) -> None:
    arguments = (
        "lenet",
        "--dataset",
        "fashionmnist-sample",
        "--limit-train",
        "64",
        "--option",
        "dropout=0.3",
    )
    plain = command("plot", "batch", *arguments, "-o", "plain.png")
    assert (plain.code, plain.err, plain.out) == (0, "", "plain.png\n")
    changed = command("plot", "batch", *arguments, "--augment", "flip,crop")
    assert (changed.code, changed.out) == (0, "batch.png\n")
    assert Path("plain.png").read_bytes() != Path("batch.png").read_bytes()
    assert not Path("runs").exists()


def test_a_run_that_is_called_like_its_model_leaves_the_model_its_arguments(
    run: Path, command: Command
) -> None:
    run.rename(run.with_name("lenet"))
    assert command("plot", "batch", "lenet").out == "runs/lenet/batch.png\n"
    arguments = ("--dataset", "fashionmnist-sample", "--limit-train", "64", "--augment", "flip")
    assert command("plot", "batch", "lenet", *arguments).out == "batch.png\n"
    changed = command(
        "plot", "batch", "--config", "runs/lenet/config.yaml", "--augment", "flip", "-o", "a.png"
    )
    assert (changed.code, changed.out) == (0, "a.png\n")


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["filters", "one", "two"], 2, "one run is drawn at a time"),
        (["filters", "on"], 2, "Did you mean 'one'?"),
        (["filters", "none.pt"], 1, "none.pt"),
        (["filters", "--nosuch"], 2, "No such option: --nosuch"),
        (["filters", "--image", "3"], 2, "--image is for `cnnzoo plot features`"),
        (["filters", "-o", "a.gif"], 2, "Name a file that ends in .png, .svg or .pdf"),
        (["filters", "-o", "none/a.png"], 1, "cannot write none/a.png: No such file or directory"),
        (["features", "--image", "1000"], 1, "there is no image 1000 in the test part"),
        (["features", "--image", "runs/one/best.pt"], 1, "runs/one/best.pt cannot be read as an image"),
        (["batch", "one", "--augment", "flip"], 2, "one is a run, whose batches are as its own settings"),
        (["batch", "lenett"], 2, "lenet"),
        (["batch", "lenet", "--agument", "flip"], 2, "No such option: --agument"),
        (["batch", "lenet", "--augment", "flipp"], 2, "Did you mean 'flip'?"),
        (["batch", "lenet", "--quiet"], 2, "--quiet is for a training. Leave it out."),
        (["batch", "--dataset", "mnist"], 2, "the run was trained on fashionmnist-sample, and not on mnist"),
        (["batch", "lenet", "--option", "dropuot=1"], 2, "dropout"),
    ],
)
def test_a_mistake_is_one_line(run: Path, command: Command, args: list[str], code: int, says: str) -> None:
    before = sorted(run.parent.parent.rglob("*"))
    done = command("plot", *args)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("Error: ")
    assert says in done.err
    assert done.err.count("\n") == 1
    assert sorted(run.parent.parent.rglob("*")) == before


def test_no_run_says_how_to_make_one(command: Command) -> None:
    done = command("plot", "filters")
    assert (done.code, done.out) == (1, "")
    assert done.err == "Error: there is no trained run in runs. Make one with `cnnzoo train lenet`.\n"


def test_a_folder_that_cannot_be_written_to_is_told_as_for_curves(run: Path, command: Command) -> None:
    (run / "filters.png").mkdir()
    done = command("plot", "filters")
    assert (done.code, done.out) == (1, "")
    assert "cannot write runs/one/filters.png" in done.err
    assert "Draw it elsewhere with `cnnzoo plot -o FILE`." in done.err


def test_a_class_that_no_font_can_draw_is_warned_of(run: Path, command: Command) -> None:
    saved = load_checkpoint(run / "best.pt")
    save_checkpoint(run / "best.pt", replace(saved, classes=("𓀀", *saved.classes[1:])))
    Image.new("L", (28, 28)).save("a.png")
    done = command("plot", "features", "--image", "a.png")
    assert (done.code, done.out) == (0, "runs/one/features.png\n")
    assert "no font here can draw 𓀀: the picture has boxes instead." in done.err
