"""Evaluation: its figures, its files, and what it refuses."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from PIL import Image

from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.config import TrainConfig
from cnnzoo.data.datasets import load_dataset
from cnnzoo.data.loader import Loader
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.runs.checkpoint import load_checkpoint
from tests.helpers import quick, train

Cnnzoo = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LeNet after two epochs on the sample."""
    out = tmp_path_factory.mktemp("eval") / "runs"
    config = TrainConfig(
        model="lenet", model_options={"activation": "tanh"}, dataset=SAMPLE, epochs=2, limit_val=500, out=out
    )
    return train(config).run


def test_the_figures_agree_with_each_other_and_with_the_file(run: Path) -> None:
    result = evaluate(run / "best.pt")
    assert (result.dataset, result.split, result.num_images) == (SAMPLE, "test", 1000)
    assert result.accuracy > 0.6
    assert result.accuracy_low < result.accuracy < result.accuracy_high
    assert sum(row.count for row in result.classes) == 1000
    assert sum(row.recall * row.count for row in result.classes) / 1000 == pytest.approx(result.accuracy)
    assert json.loads((run / "eval.json").read_text()) == result.to_dict()


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_the_batch_size_changes_no_prediction(run: Path, batch_size: int) -> None:
    usual, other = evaluate(run / "best.pt"), evaluate(run / "best.pt", batch_size=batch_size)
    assert other.classes == usual.classes
    assert other.loss == pytest.approx(usual.loss, abs=1e-6)


def test_val_is_the_very_split_that_judged_the_run(run: Path) -> None:
    saved = load_checkpoint(run / "best.pt")
    result = evaluate(run / "best.pt", split="val")
    assert (result.accuracy, result.num_images) == (saved.metrics["val_acc"], 500)
    assert result.loss == pytest.approx(saved.metrics["val_loss"], abs=1e-6)


def test_val_of_another_dataset_makes_no_sense(run: Path) -> None:
    with pytest.raises(UsageError, match="--split val"):
        evaluate(run / "best.pt", split="val", dataset="mnist")


@pytest.mark.slow
def test_the_command_prints_a_table_or_json(cnnzoo: Cnnzoo, run: Path) -> None:
    table = cnnzoo("eval", run)
    assert table.returncode == 0, table.stderr
    assert "95% interval" in table.stdout
    assert "Ankle boot" in table.stdout
    printed = cnnzoo("eval", run.name, "--out", run.parent, "--format", "json")
    assert json.loads(printed.stdout) == json.loads((run / "eval.json").read_text())


@pytest.mark.slow
def test_nothing_to_evaluate_says_how_to_train(cnnzoo: Cnnzoo) -> None:
    refused = cnnzoo("eval")
    assert refused.returncode == 1
    assert refused.stderr == "Error: there is no trained run in runs. Make one with `cnnzoo train lenet`.\n"


@pytest.mark.slow
def test_ten_crop_averages_the_probabilities_of_ten_squares(tmp_path: Path) -> None:
    run = train(quick(tmp_path, resize=32, augment=["crop"])).run
    plain = evaluate(run / "best.pt")
    tenfold = evaluate(run / "best.pt", ten_crop=True, batch_size=7)
    assert plain.ten_crop is False
    assert tenfold.ten_crop is True

    saved = load_checkpoint(run / "best.pt")
    dataset = load_dataset(SAMPLE, "test", image_size=32)
    assert dataset is not None
    whole = replace(saved.preprocessing, image_size=32)
    model = saved.build_model().eval()
    images, labels, *_ = next(iter(Loader(dataset.source, whole, 1000, torch.device("cpu")).epoch()))
    views = [images[..., r : r + 28, c : c + 28] for r, c in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))]
    with torch.no_grad():
        probabilities = torch.stack(
            [model(v).softmax(1) for view in views for v in (view, view.flip(-1))]
        ).mean(0)
    assert tenfold.accuracy == pytest.approx(float((probabilities.argmax(1) == labels).float().mean()))
    assert tenfold.loss == pytest.approx(
        float(-probabilities[torch.arange(1000), labels].log().mean()), rel=1e-4
    )
    likeliest = probabilities.topk(5).indices == labels[:, None]
    assert tenfold.top5_accuracy == pytest.approx(float(likeliest.any(1).float().mean()))


def test_ten_crop_needs_a_run_with_resize(run: Path) -> None:
    with pytest.raises(UsageError, match=r"trained without --resize"):
        evaluate(run / "best.pt", ten_crop=True)


# What is kept


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_confusions_and_every_prediction_are_kept(run: Path) -> None:
    result = evaluate(run / "best.pt")
    heading, *rows = read_csv(run / "confusion.csv")
    names = [row.name for row in result.classes]
    assert heading == ["label", *names]
    assert [row[0] for row in rows] == names
    assert [[int(cell) for cell in row[1:]] for row in rows] == result.confusion
    heading, *rows = read_csv(run / "predictions.csv")
    assert heading == ["index", "label", "prediction", *names]
    assert [int(row[0]) for row in rows] == list(range(1000))
    assert sum(row[1] == row[2] for row in rows) / 1000 == pytest.approx(result.accuracy)
    for row in rows[::97]:
        shares = [float(cell) for cell in row[3:]]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert names[shares.index(max(shares))] == row[2]


def test_another_split_or_data_set_has_a_folder_of_its_own_and_no_save_writes_nothing(
    run: Path, tmp_path: Path
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in run.glob("*.*") if path.name != "manifest.json"}
    evaluate(run / "best.pt", split="val")
    assert {path.name for path in (run / "eval-val").iterdir()} == {
        "eval.json",
        "confusion.csv",
        "predictions.csv",
    }
    names = [row.name for row in evaluate(run / "best.pt", save=False).classes]
    for label, name in enumerate(names[:3]):
        path = tmp_path / "my images" / name.replace("/", "-") / "0.png"
        path.parent.mkdir(parents=True)
        Image.new("L", (28, 28), 50 * label).save(path)
    with pytest.raises(CnnzooError, match="does not know T-shirt-top"):
        evaluate(run / "best.pt", dataset=f"folder:{tmp_path / 'my images'}")
    (tmp_path / "my images" / "T-shirt-top").rename(tmp_path / "my images" / "Bag")
    result = evaluate(run / "best.pt", dataset=f"folder:{tmp_path / 'my images'}")
    heading, *rows = read_csv(run / "eval-my-images" / "predictions.csv")
    assert heading[0] == "file"
    assert sorted(row[:2] for row in rows) == sorted([f"{name}/0.png", name] for name in ("Bag", *names[1:3]))
    assert (
        json.loads((run / "eval-my-images" / "eval.json").read_text())["num_images"] == result.num_images == 3
    )
    assert {
        path.name: path.stat().st_mtime_ns for path in run.glob("*.*") if path.name != "manifest.json"
    } == before


def test_of_many_classes_the_likeliest_are_kept(tmp_path: Path) -> None:
    for label in range(24):
        for part, num in (("train", 2), ("test", 1)):
            for number in range(num):
                path = tmp_path / "many" / part / f"c{label:02}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8), 10 * label + 2 * number + (part == "test")).save(path)
    many = train(quick(tmp_path, dataset=f"folder:{tmp_path / 'many'}", limit_train=None, epochs=1)).run
    result = evaluate(many / "best.pt", top_k=100)
    assert (result.top_k, result.top_k_accuracy) == (24, 1)
    heading, *rows = read_csv(many / "predictions.csv")
    assert heading[:6] == ["file", "label", "prediction", "probability", "prediction_2", "probability_2"]
    assert heading[-1] == "probability_5"
    assert all(len(row) == len(heading) for row in rows)
    assert all(float(row[3]) >= float(row[5]) >= float(row[-1]) for row in rows)


@pytest.mark.slow
def test_the_command_says_what_is_taken_for_what(cnnzoo: Cnnzoo, run: Path) -> None:
    shown = cnnzoo("eval", run, "--no-save").stdout
    result = evaluate(run / "best.pt", save=False)
    most = result.confusions(1)[0]
    assert f"  {most.label} taken for {most.prediction}: {most.share:.0%} of {most.label}" in shown
    assert f"calibration error {result.calibration_error:.2%}" in shown
    assert "mean by images" in shown
