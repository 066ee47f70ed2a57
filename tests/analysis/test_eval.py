"""Evaluation: its figures, its files, and what it refuses."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

from cnnzoo.analysis.evaluation import evaluate
from cnnzoo.config import TrainConfig
from cnnzoo.data.catalog import SAMPLE
from cnnzoo.data.loader import Loader
from cnnzoo.data.splits import load_dataset
from cnnzoo.errors import UsageError
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


def test_the_command_prints_a_table_or_json(cnnzoo: Cnnzoo, run: Path) -> None:
    table = cnnzoo("eval", run)
    assert table.returncode == 0, table.stderr
    assert "95% interval" in table.stdout
    assert "Ankle boot" in table.stdout
    printed = cnnzoo("eval", run.name, "--out", run.parent, "--format", "json")
    assert json.loads(printed.stdout) == json.loads((run / "eval.json").read_text())


def test_nothing_to_evaluate_says_how_to_train(cnnzoo: Cnnzoo) -> None:
    refused = cnnzoo("eval")
    assert refused.returncode == 1
    assert refused.stderr == "Error: there is no trained run in runs. Make one with `cnnzoo train lenet`.\n"


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
