"""The learning-rate range test: what it suggests trains, what it cannot suggest it says, and nothing is left behind."""

import json
import math
from pathlib import Path

import pytest
from PIL import Image

from cnnzoo.analysis.lr_find import LRFinderResult, find_lr
from cnnzoo.config import TrainConfig
from cnnzoo.data.named.catalog import SAMPLE
from tests.conftest import Command
from tests.helpers import Reporter, contents, quick, train

SAMPLE_FLAGS = ("--dataset", SAMPLE, "--limit-train", "640")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_at_the_suggested_rate_learns(tmp_path: Path, optimizer: str) -> None:
    config = quick(tmp_path, optimizer=optimizer, limit_train=1000, epochs=3)
    result = find_lr(config)
    assert contents(tmp_path) == {}
    assert result.suggestion is not None
    assert result.end == "diverged"
    assert train(config.replace(lr=result.suggestion)).best.val_acc > 0.6
    assert result.lrs[result.lowest] == pytest.approx(10 * result.suggestion)


def test_the_losses_are_those_of_training_at_these_rates(tmp_path: Path) -> None:
    # A range of next to nothing is a constant rate: the loop's own mean over an epoch is the mean over the steps.
    config = quick(tmp_path, limit_train=320, epochs=1, lr=0.01, optimizer="sgd")
    result = find_lr(config, lr_min=0.01, lr_max=0.01 * (1 + 1e-12), steps=10)
    assert len(result.losses) == 10
    assert math.fsum(result.losses) / 10 == pytest.approx(train(config).history[0].train_loss)


def test_the_rate_rises_by_the_same_factor_from_step_to_step(tmp_path: Path) -> None:
    result = find_lr(quick(tmp_path, limit_train=64, grad_accum_steps=2), lr_min=1e-4, lr_max=1e-2, steps=21)
    assert result.lrs[0] == 1e-4
    assert result.lrs[-1] == pytest.approx(1e-2)
    assert result.lrs[10] == pytest.approx(1e-3)
    assert len(result.lrs) == len(result.losses) == len(result.smoothed) == 21  # of a set with one step
    assert result.smoothed[0] == pytest.approx(result.losses[0])
    assert result.end == "steps"


def test_the_limit_of_a_run_is_none_of_the_tests(tmp_path: Path) -> None:
    reached: list[tuple[int, int]] = []

    class Listener(Reporter):
        def step(self, epoch: int, phase: str, step: int, num_steps: int, *figures: float) -> None:
            reached.append((step, num_steps))

    config = quick(tmp_path, limit_train=64, max_steps=1)
    result = find_lr(config, lr_max=1e-3, steps=12, reporter=Listener())
    assert reached == [(step, 12) for step in range(1, 13)]
    assert result.config.max_steps == 1


def test_a_loss_that_is_not_finite_ends_the_test_before_it(tmp_path: Path) -> None:
    result = find_lr(quick(tmp_path, optimizer="sgd"), lr_min=1e-3, lr_max=1e30, steps=30)
    assert result.end in ("diverged", "not finite")
    assert all(map(math.isfinite, (*result.losses, *result.smoothed)))
    assert len(result.lrs) < 30


def result_of(*losses: float, smoothed: tuple[float, ...] | None = None, passes: float = 1) -> LRFinderResult:
    """What a test with these losses gives, whose rates rise tenfold from 1e-6."""
    lrs = tuple(1e-6 * 10.0**step for step in range(len(losses)))
    return LRFinderResult(TrainConfig(model="lenet"), lrs, losses, smoothed or losses, 20, passes, "diverged")


def test_where_the_loss_does_not_fall_nothing_is_suggested() -> None:
    assert result_of(2.3, 2.29, 2.25, 9.0).obstacle == "no fall"
    assert result_of(2.3, 2.29, 2.25, 9.0).suggestion is None
    assert result_of(2.3, 2.2, 1.5, 9.0).suggestion == pytest.approx(1e-5)
    assert result_of().suggestion is None


def test_row_70_of_images_that_are_learnt_by_heart_nothing_is_suggested() -> None:
    assert result_of(0.7, 0.69, 0.5, 0.001, 0.0, 90.0).obstacle == "learnt"
    assert result_of(2.3, 2.2, 1.5, 9.0, passes=200).obstacle == "too few images"


def test_row_70_a_loss_that_rose_is_not_hidden_by_smoothing() -> None:
    result = result_of(0.7, 0.7, 0.6, 1.2, 0.4, 9.0, smoothed=(0.7, 0.7, 0.65, 0.8, 0.5, 3.0))
    assert (result.lowest, result.risen) == (4, 3)
    assert result.suggestion == pytest.approx(1e-4)


@pytest.mark.parametrize("num", [20, 400])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_row_70_few_or_easy_images_are_told_of_and_nothing_is_suggested(
    command: Command, tmp_path: Path, num: int, optimizer: str
) -> None:
    for name, color in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (tmp_path / "colors" / name).mkdir(parents=True)
        for number in range(num // 2):
            shade = tuple(channel + number % 20 for channel in color)
            Image.new("RGB", (28, 28), shade).save(tmp_path / "colors" / name / f"{number}.png")
    done = command("lr-find", "lenet", "--dataset", "colors", "--optimizer", optimizer)
    assert done.code == 0, done.err
    assert "Suggested" not in done.out
    assert "No suggestion: there is too little data" in done.out


def test_a_loss_that_falls_to_the_last_step_is_told_of(tmp_path: Path) -> None:
    result = find_lr(quick(tmp_path, limit_train=640), lr_max=2e-3, steps=60)
    assert result.suggestion is not None
    assert result.falls_to_the_end


def test_the_command_draws_the_curve_and_says_how_it_came_to_its_suggestion(
    command: Command, tmp_path: Path
) -> None:
    done = command("lr-find", "lenet", *SAMPLE_FLAGS, "--steps", "100", "--output", "curve.png")
    assert (done.code, done.err) == (0, "")
    assert "Suggested: --lr " in done.out
    assert "a tenth of " in done.out
    assert "The curve: curve.png" in done.out
    assert set(contents(tmp_path)) == {"curve.png"}


def test_json_holds_every_step_and_nothing_is_written(command: Command, tmp_path: Path) -> None:
    done = command(
        "lr-find", "lenet", *SAMPLE_FLAGS, "--steps", "60", "--optimizer", "sgd", "--format", "json"
    )
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert document["model"] == "lenet"
    assert document["optimizer"] == "sgd"
    assert len(document["lr"]) == len(document["loss"]) == len(document["smoothed"])
    lowest = document["smoothed"].index(min(document["smoothed"]))
    assert (document["suggestion"] is None) == (document["obstacle"] is not None)
    assert document["suggestion"] in (None, document["lr"][lowest] / 10)
    assert (document["num_images"], document["passes"]) == (640, len(document["lr"]) / 20)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            ("--lr-min", "1", "--lr-max", "0.1"),
            "the rate has to rise, from above 0: it cannot from 1 to 0.1.",
        ),
        (("--lr-min", "0"), "the rate has to rise"),
        (("--lr-max", "inf"), "the rate has to rise"),
        (("--steps", "3"), "3 steps are too few to see a rise. Take 10 or more."),
        (("--lr", "0.1"), "No such option: --lr"),
        (("--augment", "flp"), "flip"),
    ],
)
def test_wrong_usage_is_one_line(command: Command, tmp_path: Path, flags: tuple[str, ...], says: str) -> None:
    done = command("lr-find", "lenet", *SAMPLE_FLAGS, *flags)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    assert contents(tmp_path) == {}


def test_words_for_a_test_without_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    from cnnzoo.ui.lr_find import print_lr_finder

    print_lr_finder(result_of(2.3, 2.3, 2.3), None)
    assert "No suggestion: the smoothed loss has not fallen by a twentieth." in capsys.readouterr().out
    print_lr_finder(result_of(), None)
    assert "NaN or infinite" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [40, 80])
def test_help_has_the_options_of_training_that_matter_and_fits_the_screen(
    command: Command, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    done = command("lr-find", "--help")
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= columns
    flags = {word for line in done.out.splitlines() for word in line.replace(",", " ").split()[:2]}
    assert {"--batch-size", "--augment", "--optimizer", "--lr-min", "--steps", "--output"} <= flags
    assert not {"--lr", "--epochs", "--scheduler", "--name"} & flags
