"""``cnnzoo reproduce``: a recipe over several seeds, judged by its target."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from subprocess import CompletedProcess

import pytest
import torch

from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.analysis.eval.intervals import t_quantile
from cnnzoo.analysis.reproduce.receipts import Target
from cnnzoo.analysis.reproduce.reproduce import reproduce
from cnnzoo.errors import UsageError
from cnnzoo.files import file_sha256
from tests.conftest import Command
from tests.helpers import InterruptedRunError, StopAfter
from tests.processes import REPOSITORY

Run = Callable[..., CompletedProcess[str]]

RECIPE = """
model: lenet
model_options: {activation: tanh}
dataset: fashionmnist-sample
limit_train: 320
limit_val: 100
epochs: 2
seed: 3
target:
  metric: test_acc
  value: %s
  tolerance: %s
  source: a table of nowhere
"""


def recipe(tmp_path: Path, value: float = 0.5, tolerance: float = 0.5) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE % (value, tolerance))
    return path


@pytest.mark.slow
def test_a_receipt_holds_all_that_is_needed_to_check_it(cnnzoo: Run, tmp_path: Path) -> None:
    path = recipe(tmp_path)
    done = cnnzoo("reproduce", path, "--seeds", "3")
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "runs" / "tiny"
    receipt = json.loads((folder / "receipt.json").read_text())
    assert [seed["seed"] for seed in receipt["seeds"]] == [3, 4, 5]
    accuracies = []
    for seed in receipt["seeds"]:
        run = folder / f"seed-{seed['seed']}"
        tested = json.loads((run / "eval.json").read_text())
        assert seed["test_acc"] == tested["accuracy"]
        assert seed["checkpoint_sha256"] == file_sha256(run / "best.pt")
        assert seed["test_error"] == pytest.approx(1 - seed["test_acc"])
        accuracies.append(seed["test_acc"])
    (judgement,) = receipt["judgements"]
    half = 4.3027 * stdev(accuracies) / math.sqrt(3)
    assert judgement["mean"] == pytest.approx(mean(accuracies))
    assert judgement["std"] == pytest.approx(stdev(accuracies))
    assert (judgement["low"], judgement["high"]) == pytest.approx(
        (mean(accuracies) - half, mean(accuracies) + half)
    )
    assert judgement["verdict"] == "reproduced"
    assert receipt["recipe_sha256"] == file_sha256(path)
    assert receipt["seeds"][0]["ran_on"]["torch"] == torch.__version__
    page = (folder / "receipt.md").read_text()
    for words in (
        "Reproduced",
        "a table of nowhere",
        "cnnzoo reproduce",
        "--seeds 3",
        "model: lenet",
        f"{mean(accuracies):.2%}",
    ):
        assert words in page
    assert str(tmp_path) not in page + (folder / "receipt.json").read_text()  # no path of this machine
    assert "reproduced" in done.stdout

    # Done seeds are not done again; one more is.
    before = {seed: (folder / f"seed-{seed}" / "best.pt").stat().st_mtime_ns for seed in (3, 4, 5)}
    done = cnnzoo("reproduce", path, "--seeds", "4", "--quiet")
    assert (done.returncode, done.stdout.strip()) == (0, "runs/tiny/receipt.md")
    assert {seed: (folder / f"seed-{seed}" / "best.pt").stat().st_mtime_ns for seed in (3, 4, 5)} == before
    assert json.loads((folder / "receipt.json").read_text())["seeds"][:3] == receipt["seeds"]


@pytest.mark.slow
def test_seeds_side_by_side_give_what_one_after_another_gives(cnnzoo: Run, tmp_path: Path) -> None:
    path = recipe(tmp_path)
    done = cnnzoo("reproduce", path, "--seeds", "3", "--jobs", "2", "--threads", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "seed-4: epoch 1/2" in done.stdout
    receipt = json.loads((tmp_path / "runs" / "tiny" / "receipt.json").read_text())
    alone = reproduce(path, seeds=3, out=tmp_path / "alone", changes={"threads": 1})
    assert [seed["seed"] for seed in receipt["seeds"]] == [3, 4, 5]
    assert [seed["test_acc"] for seed in receipt["seeds"]] == [seed.test_acc for seed in alone.seeds]
    assert [seed["val_acc"] for seed in receipt["seeds"]] == [seed.val_acc for seed in alone.seeds]
    assert {seed["ran_on"]["threads"] for seed in receipt["seeds"]} == {"1"}
    assert alone.seeds[0].ran_on["threads"] == "1"


@pytest.mark.slow
def test_a_seed_that_was_stopped_goes_on(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    whole = reproduce(path, out=tmp_path / "whole")
    with pytest.raises(InterruptedRunError, match=r"seed 3.*cnnzoo reproduce .*--seeds 1 --out"):
        reproduce(path, out=tmp_path / "stopped", reporter=StopAfter(15))
    again = reproduce(path, out=tmp_path / "stopped")
    assert again.seeds[0].test_acc == whole.seeds[0].test_acc
    assert whole.judgements[0].std is None
    low, high = whole.judgements[0].low, whole.judgements[0].high
    assert low < whole.seeds[0].test_acc < high  # Wilson's interval of the test images

    path.write_text(path.read_text().replace("epochs: 2", "epochs: 2\nlr: 0.1"))
    with pytest.raises(UsageError, match=r"lr .*Choose another --out"):
        reproduce(path, out=tmp_path / "whole")
    # A setting that a resume may change is a part of the recipe all the same, and so is one that is gone.
    for was, now in (("epochs: 2", "epochs: 1"), ("limit_train: 320", "")):
        recipe(tmp_path).write_text(path.read_text().replace("\nlr: 0.1", "").replace(was, now))
        with pytest.raises(UsageError, match=was.partition(":")[0]):
            reproduce(path, out=tmp_path / "whole")


@pytest.mark.parametrize(
    ("metric", "value", "verdict"),
    [
        ("test_acc", 0.90, "reproduced"),
        ("test_acc", 0.91, "reproduced"),
        ("test_acc", 0.89, "reproduced"),
        ("test_acc", 0.911, "better"),
        ("test_acc", 0.889, "not reproduced"),
        ("test_error", 0.889, "better"),
        ("test_error", 0.911, "not reproduced"),
        ("test_top5_error", 0.905, "reproduced"),
    ],
)
def test_a_verdict_knows_which_way_is_better(metric: str, value: float, verdict: str) -> None:
    target = Target.from_dict({"metric": metric, "value": 0.9, "tolerance": 0.01, "source": "x"})
    assert target.judge(value) == verdict


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.706), (4, 2.776), (20, 2.086), (21, 2.0796), (25, 2.0595), (60, 2.000)]
)
def test_the_interval_is_students(degrees: int, quantile: float) -> None:
    assert t_quantile(degrees) == pytest.approx(quantile, abs=5e-4)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("", "names no target"),
        ("target: high", "a target has metric"),
        ("target: {metric: test_acc, value: 0.9}", "lacks tolerance, source"),
        ("target: {metric: luck, value: 0.9, tolerance: 0, source: x}", "one of test_acc"),
        ("target: {metric: test_acc, value: 90, tolerance: 0, source: x}", "value must be"),
        (
            "target: {metric: test_acc, value: 0.9, tolerance: 0, source: x, sauce: y}",
            "Did you mean 'source'",
        ),
    ],
)
def test_a_recipe_without_a_proper_target_is_one_line(
    command: Command, tmp_path: Path, block: str, says: str
) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(f"model: lenet\n{block}\n")
    done = command("reproduce", path)
    assert done.code == 2
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_an_evaluation_of_something_else_is_no_result(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    first = reproduce(path, out=tmp_path)
    evaluate(tmp_path / "tiny" / "seed-3" / "best.pt", dataset="fashionmnist-sample", split="val")
    assert reproduce(path, out=tmp_path).seeds == first.seeds


def test_ten_crop_without_larger_images_is_refused_before_training(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    path.write_text(path.read_text().rstrip() + "\n  ten_crop: true\n")
    with pytest.raises(UsageError, match="Add `resize:`"):
        reproduce(path, out=tmp_path)
    assert not (tmp_path / "tiny").exists()


def test_every_recipe_that_ships_is_one() -> None:
    from cnnzoo.analysis.reproduce.reproduce import read_recipe
    from cnnzoo.config import TrainConfig
    from cnnzoo.config_file import VARIANTS, read_yaml
    from cnnzoo.models.registry import get_spec
    from cnnzoo.plain_yaml import read_mapping

    recipes = sorted((REPOSITORY / "configs").glob("*.yaml"))
    with_target = [path for path in recipes if "target" in read_mapping(path)]
    assert len(with_target) >= 4
    sweeps = [path for path in recipes if VARIANTS in read_mapping(path)]
    assert [path.stem for path in sweeps] == ["alexnet-ideas"]  # test_sweep.py reads it
    for path in set(recipes) - set(sweeps):
        config = TrainConfig.from_dict(read_yaml(path))
        get_spec(config.model).check_options(config.model_options)
    for path in with_target:
        values, targets = read_recipe(path)
        assert values == read_yaml(path)
        assert targets
