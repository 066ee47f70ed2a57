"""What an answer rests on: the maps are those of the papers, and lie over what the net saw."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import cnnzoo
from cnnzoo.analysis.predict.explain import Explainer
from cnnzoo.analysis.trained_net import load_net
from cnnzoo.data.datasets import load_dataset
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.data.preprocess import Preprocessing
from tests.conftest import Command
from tests.faults.shared import assert_refused
from tests.helpers import forget_models, quick, sample_batches, train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LeNet after three epochs on a little of the sample."""
    return train(quick(tmp_path_factory.mktemp("explain"), limit_train=2000)).run


def garment(path: Path, number: int) -> Path:
    dataset = load_dataset(SAMPLE, "test", image_size=28)
    assert dataset is not None
    (batch, _), *_ = dataset.source.batches([torch.tensor([number])], torch.device("cpu"))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(batch[0, 0].numpy()).save(path)
    return path


def some_images() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = sample_batches(28, 6)[0]
    return Preprocessing(28, (0.3,), (0.3,)).normalized(images), labels


def test_grad_cam_is_the_sum_of_maps_weighed_by_their_mean_gradients(run: Path) -> None:
    net = load_net(run / "best.pt")
    images, labels = some_images()
    found = Explainer(net, "gradcam", [])(images, labels)

    # Selvaraju et al. 2017, eq. 1 and 2, written out for LeNet, whose last convolution is C3.
    features, classifier = net.model.get_submodule("features"), net.model.get_submodule("classifier")
    assert isinstance(features, nn.Sequential)
    names = [name for name, _ in features.named_children()]
    split = names.index("C3") + 1
    maps = features[:split](images).detach().requires_grad_()
    classifier(features[split:](maps)).gather(1, labels[:, None]).sum().backward()
    assert maps.grad is not None
    weights = maps.grad.mean((2, 3), keepdim=True)
    expected = (weights * maps).sum(1, keepdim=True).relu().detach()
    expected = nn.functional.interpolate(expected, (28, 28), mode="bilinear")[:, 0]
    expected /= expected.amax((1, 2), keepdim=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_occlusion_is_how_much_less_probable_the_answer_is_behind_a_square(run: Path) -> None:
    net = load_net(run / "best.pt")
    images, labels = some_images()
    found = Explainer(net, "occlusion", [])(images, labels)

    def probability(shown: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = net.model(shown)
        return logits.softmax(1).gather(1, labels[:, None])[:, :, None]

    expected, num_hidden = torch.zeros(6, 28, 28), torch.zeros(28, 28)
    with torch.no_grad():
        for top in range(0, 26, 2):
            for left in range(0, 26, 2):
                hidden = images.clone()
                hidden[..., top : top + 4, left : left + 4] = 0
                expected[:, top : top + 4, left : left + 4] += probability(images) - probability(hidden)
                num_hidden[top : top + 4, left : left + 4] += 1
    expected = (expected / num_hidden).relu()
    expected /= expected.amax((1, 2), keepdim=True)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_an_explanation_lies_in_the_run_by_the_name_of_its_picture(
    command: Command, run: Path, tmp_path: Path
) -> None:
    garment(tmp_path / "scans" / "1.png", 3)
    garment(tmp_path / "scans" / "2.png", 5)
    usual = command("predict", run, "scans", "--format", "csv").out.splitlines()
    for method in ("gradcam", "occlusion"):
        done = command("predict", run, "scans", "--explain", method, "--format", "csv")
        assert done.code == 0
        lines = done.out.splitlines()
        assert lines[0] == f"{usual[0]},explanation"
        maps = [run / "explanations" / "scans" / f"{n}.png.{method}.png" for n in (1, 2)]
        assert [line.rpartition(",")[2] for line in lines[1:]] == [*map(str, maps)]
        assert [line.split(",")[:2] for line in lines[1:]] == [line.split(",")[:2] for line in usual[1:]]
        overlay = np.asarray(Image.open(maps[0])).astype(int)
        assert overlay.shape == (224, 224, 3)
        picture = np.asarray(Image.open(tmp_path / "scans" / "1.png")).repeat(8, 0).repeat(8, 1)
        coloured = np.ptp(overlay, axis=2) > 0
        assert 0 < coloured.mean() < 1
        assert (overlay[~coloured][:, 0] == picture[~coloured]).mean() > 0.9
    assert sorted(path.name for path in (tmp_path / "scans").iterdir()) == ["1.png", "2.png"]


def test_row_61_an_explanation_beside_its_picture_is_none_itself(
    command: Command, run: Path, tmp_path: Path
) -> None:
    garment(tmp_path / "scans" / "1.png", 3)
    done = command("predict", run, "scans", "--explain", "gradcam", "--explain-to", "scans")
    assert "Explained in scans/1.png.gradcam.png" in done.out
    again = command("predict", run, "scans", "--format", "csv")
    assert len(again.out.splitlines()) == 2
    assert "What cnnzoo itself has written in scans is not used: 1 explanation." in again.err


def test_explanations_of_pictures_of_the_same_name_lie_apart(
    command: Command, run: Path, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        garment(tmp_path / "scans" / folder / "1.png", ord(folder) % 7)
    words = "scans/a", "scans/a/../b/1.png"
    done = command("predict", run, *words, "--explain", "gradcam", "--explain-to", "maps")
    assert done.code == 0
    assert "Explained in maps/a/1.png.gradcam.png and 1 more." in done.out
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.gradcam.png")) == [
        *("maps/a/1.png.gradcam.png", "maps/b/1.png.gradcam.png")
    ]
    frame = cnnzoo.predict(run / "best.pt", "scans", explain="occlusion", explain_to="maps")
    assert isinstance(frame, pd.DataFrame)
    assert all(Path(file).is_file() for file in frame["explanation"])


def test_what_cannot_be_explained_is_one_line(
    command: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_models(monkeypatch)

    @cnnzoo.register_model("perceptron", image_size=28)
    def perceptron(num_classes: int, in_channels: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(784 * in_channels, num_classes))

    garment(tmp_path / "1.png", 3)
    train(quick(tmp_path, model="perceptron", model_options={}, epochs=1, name="p"))
    (tmp_path / "file").write_text("")
    explain = ("1.png", "--explain", "gradcam")
    assert_refused(command("predict", "p", *explain), "perceptron has no convolution", "occlusion", code=2)
    assert command("predict", "p", "1.png", "--explain", "occlusion").code == 0
    assert_refused(command("predict", run, *explain, "--explain-to", "file"), "cannot write", "--explain-to")
    assert_refused(command("predict", run, "1.png", "--explain-to", "maps"), "Add --explain", code=2)
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    refused = command("predict", run, *explain)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == "Error: --explain needs captum. Install it: pip install 'cnnzoo[explain]'\n"
