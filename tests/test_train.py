"""Training runs from beginning to end: files, resume, interruption, errors."""

import csv
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
import yaml
from torch import nn

import cnnzoo
from cnnzoo.checkpoint import load_checkpoint
from cnnzoo.config import TrainConfig, read_yaml
from cnnzoo.data.datasets import SAMPLE
from cnnzoo.engine import Totals
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.history import HistoryRow
from cnnzoo.models import registry
from cnnzoo.trainer import InterruptedRunError, Silent, Training, resume, train

Cnnzoo = Callable[..., CompletedProcess[str]]
TIMES = ("seconds", "images_per_second")


def quick(tmp_path: Path, **changes: object) -> TrainConfig:
    """A run of a second: LeNet on 320 images of the sample, three epochs."""
    settings: dict[str, object] = {
        "model": "lenet",
        "model_options": {"activation": "tanh"},
        "dataset": SAMPLE,
        "epochs": 3,
        "limit_train": 320,
        "limit_val": 100,
        "out": tmp_path / "runs",
    }
    return TrainConfig.from_dict({**settings, **changes})


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def same_state(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights, optimizer state, random state and history."""
    a, b = load_checkpoint(one / "last.pt"), load_checkpoint(other / "last.pt")
    moments = [
        (a.training["optimizer"]["state"][i][key], b.training["optimizer"]["state"][i][key])
        for i in a.training["optimizer"]["state"]
        for key in a.training["optimizer"]["state"][i]
    ]
    return (
        all(torch.equal(a.state_dict[name], b.state_dict[name]) for name in a.state_dict)
        and all(torch.equal(torch.as_tensor(x), torch.as_tensor(y)) for x, y in moments)
        and torch.equal(a.training["random_states"]["cpu"], b.training["random_states"]["cpu"])
        and rows(one) == rows(other)
    )


class StopAfter(Silent):
    """Send this process a signal after so many steps of training."""

    def __init__(self, steps: int, phase: str = "train", number: int = signal.SIGINT) -> None:
        self.left, self.phase, self.number = steps, phase, number

    def step(self, epoch: int, phase: str, steps: int, totals: Totals) -> None:
        if phase == self.phase:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), self.number)


# What a run leaves behind


def test_a_run_learns_and_leaves_its_files(tmp_path: Path) -> None:
    result = train(quick(tmp_path, limit_train=2000, epochs=3))
    assert result.run == tmp_path / "runs" / f"lenet-{SAMPLE}-1"
    files = {p.name for p in result.run.iterdir() if p.name != ".lock"}
    assert files == {"config.yaml", "history.csv", "best.pt", "last.pt"}
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


def test_the_checkpoint_carries_what_evaluation_needs(tmp_path: Path) -> None:
    saved = load_checkpoint(train(quick(tmp_path, epochs=1)).run / "best.pt")
    assert (saved.model, saved.model_options) == ("lenet", {"activation": "tanh"})
    assert (saved.num_classes, saved.in_channels, saved.image_size) == (10, 1, 28)
    assert saved.dataset == SAMPLE
    assert saved.classes[9] == "Ankle boot"
    assert len(saved.mean) == len(saved.std) == 1
    assert isinstance(saved.build_model(), nn.Module)
    assert saved.training == {}


def test_no_normalize_leaves_pixels_in_zero_to_one(tmp_path: Path) -> None:
    saved = load_checkpoint(train(quick(tmp_path, epochs=1, normalize=False)).run / "best.pt")
    assert (saved.mean, saved.std) == ((), ())


def test_every_reported_step_and_epoch_is_the_runs(tmp_path: Path) -> None:
    class Listener(Silent):
        def __init__(self) -> None:
            self.seen: list[object] = []

        def start(self, run: Path, training: Training) -> None:
            self.seen.append((run.name, len(training.train_batches)))

        def step(self, epoch: int, phase: str, steps: int, totals: Totals) -> None:
            self.seen.append((epoch, phase, steps, totals.steps))

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

DROPOUT = {
    "model": "alexnet",
    "model_options": {"dropout": 0.5},
    "image_size": 67,
    "limit_train": 40,
    "limit_val": 20,
    "batch_size": 16,
    "epochs": 2,
}


@pytest.mark.parametrize(
    ("changes", "stop"),
    [
        pytest.param({"scheduler": "cosine", "warmup_epochs": 1}, StopAfter(10), id="at the end of an epoch"),
        pytest.param({"augment": "flip,crop", "optimizer": "sgd"}, StopAfter(13), id="in an epoch"),
        pytest.param({"precision": "bf16"}, StopAfter(2, "val"), id="in validation, bf16"),
        pytest.param({"precision": "fp16"}, StopAfter(1), id="after the first step, fp16"),
        pytest.param({"number": 1}, StopAfter(17, number=signal.SIGTERM), id="SIGTERM"),
        pytest.param(DROPOUT, StopAfter(4), id="dropout"),
    ],
)
def test_rows_7_8_10_to_13_16_an_interrupted_run_ends_as_if_it_had_not_been(
    tmp_path: Path, changes: dict[str, object], stop: StopAfter
) -> None:
    config = quick(tmp_path, **{k: v for k, v in changes.items() if k != "number"})
    whole = train(config).run
    with pytest.raises(InterruptedRunError, match="cnnzoo train --resume") as stopped:
        train(config, reporter=stop)
    assert stopped.value.exit_code == 128 + stop.number
    assert resume(stopped.value.run).epochs_trained >= 1
    assert same_state(whole, stopped.value.run)


def test_row_14_a_complete_run_is_left_alone_and_more_epochs_extend_it(tmp_path: Path) -> None:
    config = quick(tmp_path, epochs=2)
    run = train(config).run
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.iterdir()}
    assert resume(run).epochs_trained == 0
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.iterdir()} == before
    assert resume(run, {"epochs": 3}).epochs_trained == 1
    assert same_state(run, train(config.replace(epochs=3)).run)
    assert read_yaml(run / "config.yaml")["epochs"] == 3


def test_options_given_as_text_are_the_same_on_resume(tmp_path: Path) -> None:
    config = quick(tmp_path, **{**DROPOUT, "epochs": 1, "limit_train": 16})
    run = train(config.replace(model_options={"dropout": "0.5"})).run
    assert load_checkpoint(run / "last.pt").model_options == {"dropout": 0.5}
    assert resume(run, {"model_options": {"dropout": "0.50"}}).epochs_trained == 0


def test_row_15_a_resume_with_another_setting_names_it(tmp_path: Path) -> None:
    config = quick(tmp_path, epochs=1, limit_train=32)
    run = train(config).run
    with pytest.raises(UsageError, match=r"batch_size \(was 32, now 64\)"):
        resume(run, {"batch_size": 64, "epochs": 4})


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


# What goes wrong


class Exploding(nn.Module):
    """A net whose logits are NaN from the third batch of training on."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 28 * 28, num_classes))
        self.batches = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches += self.training
        logits: torch.Tensor = self.net(images) * (math.nan if self.batches >= 13 else 1.0)
        return logits


def test_row_26_nan_names_epoch_step_and_lr_and_leaves_the_last_epoch_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.list_models()
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))
    registry.register_model("exploding", paper="nobody", year=2000, image_size=28)(Exploding)
    config = quick(tmp_path, model="exploding", model_options={}, name="boom")
    with pytest.raises(CnnzooError, match=r"epoch 2, step 3, lr 0\.001.*Lower --lr"):
        train(config)
    assert load_checkpoint(tmp_path / "runs" / "boom" / "last.pt").epoch == 1
    assert load_checkpoint(tmp_path / "runs" / "boom" / "best.pt").epoch == 1
    assert len(rows(tmp_path / "runs" / "boom")) == 1


def test_row_6_an_output_folder_that_cannot_be_made_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where a folder should be")
    with pytest.raises(CnnzooError, match="--out"):
        train(quick(tmp_path))


def test_row_42_too_few_images_for_the_split(tmp_path: Path) -> None:
    with pytest.raises(CnnzooError, match="--val-split"):
        train(quick(tmp_path, val_split=1e-6))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lr": 0}, "lr must be a number above 0"),
        ({"lr": "fast"}, "lr must be a number above 0, not 'fast'"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"val_split": 1}, "val_split must be a number above 0 and below 1"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        ({"optimizer": "adm"}, "optimizer must be one of adam, adamw, sgd"),
        ({"augment": "flop"}, "augment must be a list, each one of flip, crop"),
        ({"epoch": 3}, "unknown setting 'epoch'. Did you mean 'epochs'?"),
        ({"model": "lenett"}, "Did you mean 'lenet'?"),
        ({"dataset": "fashion-mnist"}, "Did you mean 'fashionmnist'?"),
        ({"model_options": {"activaton": "relu"}}, "Did you mean 'activation'?"),
        ({"model_options": {"num_classes": 5}}, "unknown option of lenet: 'num_classes'"),
        ({"image_size": 5}, "at least 12×12"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
    ],
)
def test_rows_40_44_45_a_setting_that_cannot_be_right_says_what_would_be(
    tmp_path: Path, values: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError) as refused:
        train(quick(tmp_path, **values))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()


# The command


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
    assert "complete: 2 of 2 epochs" in complete.stdout
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_rows_7_8_a_signal_saves_says_how_to_resume_and_draws_the_curves(
    tmp_path: Path, number: int, code: int
) -> None:
    command = [sys.executable, "-m", "cnnzoo", "train", "lenet", "-d", SAMPLE, "--epochs", "1000"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    run = tmp_path / "runs" / f"lenet-{SAMPLE}-1"
    deadline = time.monotonic() + 60
    while not (run / "history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert stderr.startswith("Error: stopped in epoch ")
    assert stderr.rstrip().endswith(f"cnnzoo train --resume runs/{run.name}")
    assert stderr.count("\n") == 1
    assert load_checkpoint(run / "last.pt").epoch == len(rows(run)) >= 1
    assert (run / "history.png").exists()
