"""Training runs from beginning to end: files, resume, interruption, errors."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
import yaml
from torch import nn

import cnnzoo
from cnnzoo.config import TrainConfig
from cnnzoo.config_file import read_yaml
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.runs.history import HistoryRow
from tests.helpers import (
    DROPOUT,
    InterruptedRunError,
    Reporter,
    RunDescription,
    StopAfter,
    quick,
    resume,
    rows,
    same_state,
    train,
)

Cnnzoo = Callable[..., CompletedProcess[str]]
# What a run leaves behind


def test_a_run_learns_and_leaves_its_files(tmp_path: Path) -> None:
    result = train(quick(tmp_path, limit_train=2000, epochs=3))
    assert result.run == tmp_path / "runs" / f"lenet-{SAMPLE}-1"
    files = {p.name for p in result.run.iterdir() if not p.name.startswith(".")}  # without locks
    assert files == {"config.yaml", "history.csv", "best.pt", "last.pt", "manifest.json"}
    assert list(rows(result.run)[0]) == ["epoch", "train_loss", "train_acc", "val_loss", "val_acc", "lr"]
    assert [row["epoch"] for row in rows(result.run)] == ["1", "2", "3"]
    assert result.history[-1].val_acc > 0.6
    assert result.history[-1].train_loss < result.history[0].train_loss
    assert result.epochs_trained == 3


def test_runs_are_numbered_and_never_overwritten(tmp_path: Path) -> None:
    config = quick(tmp_path, epochs=1, limit_train=32)
    names = [train(config).run.name for _ in range(2)]
    assert names == [f"lenet-{SAMPLE}-1", f"lenet-{SAMPLE}-2"]
    named = train(config.replace(name="mine")).run
    before = {p.name: p.read_bytes() for p in named.iterdir()}
    with pytest.raises(UsageError, match="--resume"):
        train(config.replace(name="mine"))
    assert {p.name: p.read_bytes() for p in named.iterdir()} == before


def test_the_config_of_a_run_runs_again_to_the_same_history(tmp_path: Path) -> None:
    first = train(quick(tmp_path, scheduler="cosine", augment="flip,crop", optimizer="sgd", lr=0.05))
    again = train(TrainConfig.from_dict(read_yaml(first.run / "config.yaml")))
    assert again.run != first.run
    assert same_state(first.run, again.run)


def test_the_config_of_a_run_says_what_it_ran_on(tmp_path: Path) -> None:
    run = train(quick(tmp_path, epochs=1, limit_train=32)).run
    recorded = yaml.safe_load((run / "config.yaml").read_text())["recorded"]
    assert recorded["cnnzoo"] == cnnzoo.__version__
    assert recorded["torch"] == torch.__version__
    assert recorded["device"] == "cpu"
    assert {"python", "device_name", "command", "precision", "data_location"} <= set(recorded)
    assert recorded["data_sha256"] == load_checkpoint(run / "best.pt").data_sha256
    assert len(recorded["data_sha256"]) == 64


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    one, other = (train(quick(tmp_path, seed=seed, epochs=1)).run for seed in (0, 1))
    assert rows(one) != rows(other)


def test_best_is_the_epoch_with_the_highest_validation_accuracy(tmp_path: Path) -> None:
    result = train(quick(tmp_path, limit_train=2000, lr=3e-3))
    best = max(result.history, key=lambda row: row.val_acc)
    assert best.epoch < 3, "the test needs a run whose last epoch is not its best"
    saved = load_checkpoint(result.run / "best.pt")
    assert (saved.epoch, saved.metrics["val_acc"]) == (best.epoch, best.val_acc)
    assert result.best == best

    flat = train(quick(tmp_path, lr=1e-12))
    assert len({row.val_acc for row in flat.history}) == 1
    assert load_checkpoint(flat.run / "best.pt").epoch == flat.best.epoch == 1


def test_monitor_val_loss_takes_the_lowest_loss(tmp_path: Path) -> None:
    result = train(quick(tmp_path, lr=0.05, monitor="val_loss"))
    assert result.best.val_loss == min(row.val_loss for row in result.history)
    assert load_checkpoint(result.run / "best.pt").epoch == result.best.epoch


def test_patience_stops_a_run_that_gets_no_better(tmp_path: Path) -> None:
    config = quick(tmp_path, lr=1e-9, epochs=9, patience=2, limit_train=32)
    result = train(config)
    assert [row.epoch for row in result.history] == [1, 2, 3]
    assert resume(result.run).epochs_trained == 0


def test_a_run_ends_after_its_last_epoch_on_the_schedule_of_all_and_resumes(tmp_path: Path) -> None:
    whole = train(quick(tmp_path, scheduler="cosine", name="whole"))
    part = train(quick(tmp_path, scheduler="cosine", name="part"), last_epoch=2)
    assert (part.limit, part.epochs_trained) == ("last_epoch", 2)
    assert rows(part.run) == rows(whole.run)[:2]
    assert resume(part.run).limit == "epochs"
    assert same_state(part.run, whole.run)
    with pytest.raises(UsageError, match="last_epoch must be at least 1, not 0"):
        train(quick(tmp_path), last_epoch=0)


def test_the_checkpoint_carries_what_evaluation_needs(tmp_path: Path) -> None:
    saved = load_checkpoint(train(quick(tmp_path, epochs=1)).run / "best.pt")
    assert (saved.model, saved.model_options) == ("lenet", {"activation": "tanh"})
    assert (saved.num_classes, saved.in_channels, saved.image_size) == (10, 1, 28)
    assert saved.dataset == SAMPLE
    assert saved.classes[9] == "Ankle boot"
    assert len(saved.mean) == len(saved.std) == 1
    assert isinstance(saved.build_model(), nn.Module)
    assert saved.training is None


def test_no_normalize_leaves_pixels_in_zero_to_one(tmp_path: Path) -> None:
    saved = load_checkpoint(train(quick(tmp_path, epochs=1, normalize=False)).run / "best.pt")
    assert (saved.mean, saved.std) == ((), ())


def test_every_reported_step_and_epoch_is_the_runs(tmp_path: Path) -> None:
    class Listener(Reporter):
        def __init__(self) -> None:
            self.seen: list[object] = []

        def start(self, description: RunDescription, run: Path) -> None:
            self.seen.append((run.name, description.num_steps))

        def step(self, epoch: int, phase: str, step: int, num_steps: int, *figures: float) -> None:
            self.seen.append((epoch, phase, num_steps, step))

        def epoch(self, row: HistoryRow, is_best: bool) -> None:
            self.seen.append((row.epoch, is_best))

    listener = Listener()
    train(quick(tmp_path, epochs=1, limit_train=64), reporter=listener)
    assert listener.seen == [
        (f"lenet-{SAMPLE}-1", 2),
        (1, "train", 2, 1),
        (1, "train", 2, 2),
        (1, "val", 1, 1),
        (1, True),
    ]


# Resume


@pytest.mark.slow
def test_options_given_as_text_are_the_same_on_resume(tmp_path: Path) -> None:
    config = quick(tmp_path, **{**DROPOUT, "epochs": 1, "limit_train": 16})
    run = train(config.replace(model_options={"dropout": "0.5"})).run
    assert load_checkpoint(run / "last.pt").model_options == {"dropout": 0.5}
    assert resume(run, {"model_options": {"dropout": "0.50"}}).epochs_trained == 0


def test_a_resume_on_other_images_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (28, 28), 20 * number).save(tmp_path / "images" / label / f"{number}.png")
    config = quick(tmp_path, epochs=1, dataset=f"folder:{tmp_path / 'images'}")
    run = train(config).run
    Image.new("L", (28, 28), 99).save(tmp_path / "images" / "a" / "new.png")
    with pytest.raises(CnnzooError, match="not those that the run was trained on"):
        resume(run, {"epochs": 2})


# The command


@pytest.mark.slow
def test_the_command_trains_evaluates_and_resumes(cnnzoo: Cnnzoo, tmp_path: Path) -> None:
    small = ("--limit-train", "320", "--limit-val", "100", "-o", "activation=tanh", "--lr", "2e-3")
    done = cnnzoo("train", "lenet", "--dataset", SAMPLE, "--epochs", "2", *small)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / f"lenet-{SAMPLE}-1"
    lines = done.stdout.splitlines()
    assert sum(line.startswith("epoch ") for line in lines) == 2
    assert "\x1b" not in done.stdout
    assert f"  cnnzoo eval runs/{run.name}" in lines
    assert (run / "history.png").read_bytes().startswith(b"\x89PNG")

    complete = cnnzoo("train", "--resume", "last")
    assert complete.returncode == 0
    assert "complete: 2 epochs" in complete.stdout
    refused = cnnzoo("train", "--resume", run.name, "--lr", "1")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "lr (was 0.002, now 1.0)" in refused.stderr
    longer = cnnzoo("train", "--resume", run, "--epochs", "3", "--quiet")
    assert (longer.returncode, longer.stdout) == (0, f"{run}\n")
    assert [row["epoch"] for row in rows(run)] == ["1", "2", "3"]

    evaluated = cnnzoo("eval")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "1,000 test images" in evaluated.stdout
    assert (run / "eval.json").is_file()


@pytest.mark.slow
def test_flags_win_over_the_config_file(cnnzoo: Cnnzoo, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        f"model: lenet\nmodel_options: {{activation: tanh, pooling: max}}\ndataset: {SAMPLE}\n"
        "epochs: 4\nlr: 1e-3\nlimit_train: 32\nlimit_val: 10\nnormalize: true\n"
    )
    done = cnnzoo(
        *("train", "--config", "recipe.yaml", "--epochs", "1", "-o", "pooling=avg", "--no-normalize"),
        *("--name", "a run", "--quiet"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    config = read_yaml(tmp_path / "runs" / "a run" / "config.yaml")
    assert (config["epochs"], config["lr"], config["normalize"]) == (1, 0.001, False)
    assert config["model_options"] == {"activation": "tanh", "pooling": "avg"}


def test_lenet5_1998_sees_background_and_foreground_as_its_paper_has_them(tmp_path: Path) -> None:
    """Section II.B: 32×32, pixels from -0.1 to 1.175; and a run of it resumes to the same bits."""
    settings: dict[str, object] = {"model": "lenet5-1998", "model_options": {}, "lr": 0.003}
    run = train(quick(tmp_path, **settings, epochs=4)).run
    saved = load_checkpoint(run / "best.pt")
    black, white = (saved.preprocessing(torch.full((1, 1, 28, 28), value).byte()) for value in (0, 255))
    assert black.shape == (1, 1, 32, 32)
    torch.testing.assert_close(black, torch.full((1, 1, 32, 32), -0.1))
    torch.testing.assert_close(white[..., 2:30, 2:30], torch.full((1, 1, 28, 28), 1.175))
    torch.testing.assert_close(white[..., :2], torch.full((1, 1, 32, 2), -0.1))
    assert max(float(row["val_acc"]) for row in rows(run)) > 0.35

    with pytest.raises(InterruptedRunError):
        train(quick(tmp_path, **settings, epochs=4, name="stopped"), reporter=StopAfter(25))
    resume(tmp_path / "runs" / "stopped")
    assert same_state(tmp_path / "runs" / "stopped", run)


def test_a_run_with_every_change_to_images_resumes_to_the_same_bits(tmp_path: Path) -> None:
    settings: dict[str, object] = {"augment": ["flip", "crop", "affine", "color-pca"], "resize": 32}
    run = train(quick(tmp_path, **settings)).run
    with pytest.raises(InterruptedRunError):
        train(quick(tmp_path, **settings, name="stopped"), reporter=StopAfter(15))
    resume(tmp_path / "runs" / "stopped")
    assert same_state(tmp_path / "runs" / "stopped", run)


def test_resize_below_the_nets_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--resize 20 leaves less than the 28"):
        train(quick(tmp_path, resize=20))
