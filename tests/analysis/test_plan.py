"""``cnnzoo train --dry-run``: the plan is what then happens, and nothing is written."""

from pathlib import Path

import pytest

from cnnzoo.analysis.plan import learning_rates, make_plan
from cnnzoo.config import TrainConfig
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.ui.plan import duration
from tests.conftest import Command
from tests.helpers import contents, patch_internal, quick, train

QUICK = ("train", "lenet", "--dataset", SAMPLE, "--limit-train", "640", "--limit-val", "100", "--dry-run")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_internal(monkeypatch, "SECONDS", 0.0)  # four steps tell enough here


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_plan_says_what_then_happens_and_writes_nothing(tmp_path: Path) -> None:
    config = quick(tmp_path, limit_train=330, batch_size=32, epochs=2, warmup_epochs=0.5, scheduler="cosine")
    plan = make_plan(config)
    assert everything(tmp_path) == set()
    assert (plan.description.num_steps, plan.num_steps, plan.epochs) == (11, 22, 2)
    assert plan.train_seconds > 0
    assert plan.val_seconds > 0
    assert plan.seconds == pytest.approx(2 * (plan.train_seconds + plan.val_seconds))
    assert plan.memory > 10_000_000
    assert plan.device_memory is None
    # The last step of each epoch has the rate that its history notes.
    history = train(config).history
    assert [plan.schedule[10][1], plan.schedule[21][1]] == [row.lr for row in history]


@pytest.mark.slow
def test_the_plan_leaves_the_run_that_follows_as_it_would_be(tmp_path: Path) -> None:
    alone = train(quick(tmp_path / "a", epochs=1, model="lenet")).history[0]
    make_plan(quick(tmp_path / "b", epochs=1))
    assert train(quick(tmp_path / "b", epochs=1)).history[0].train_loss == alone.train_loss


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), ("steps: 20 per epoch, 200 in 10 epochs, 32 images per batch", "lr: 0.001, constant")),
        (
            ("--max-steps", "30", "--scheduler", "cosine", "--warmup-epochs", "0.5"),
            ("30 in 1.5 epochs", "along half a cosine to 0, rising from 0 over 0.5 epochs first"),
        ),
        (
            ("--scheduler", "milestones", "--milestones", "3,6", "--lr-factor", "0.2"),
            ("lr: 0.001, times 0.2 after epochs 3, 6",),
        ),
        (("--scheduler", "plateau", "--patience", "4"), ("which nobody can foresee", "; less if 4 epochs")),
        (("--seeds", "3", "--seed", "5"), ("runs: 3, seeds 5 to 7: about ",)),
        (("--grad-accum", "2"), ("steps: 10 per epoch of 2 batches",)),
        (("--optimizer", "adadelta"), ("optimizer: adadelta, its paper's rate is 1.0",)),
    ],
)
def test_the_command_prints_the_plan_and_writes_nothing(
    command: Command, tmp_path: Path, flags: tuple[str, ...], says: tuple[str, ...]
) -> None:
    done = command(*QUICK, *flags)
    assert (done.code, done.err) == (0, "")
    for text in (*says, "model: lenet", "640 to train on, 100 to validate", "time: about ", "memory: about "):
        assert text in done.out
    assert done.out.endswith("Nothing was written.\n")
    assert everything(tmp_path) == set()


def test_a_recipe_and_a_picture(command: Command, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("model: lenet\nscheduler: step\nepochs: 6\nlr: 0.1\n")
    flags = ("--config", "recipe.yaml", *QUICK[2:], "--plot-schedule", "lr.svg")
    done = command("train", *flags)
    assert (done.code, done.err) == (0, "")
    assert "lr: 0.1, times 0.1 after each third" in done.out
    assert "Learning rate over the run: lr.svg" in done.out
    assert set(contents(tmp_path)) == {"recipe.yaml", "lr.svg"}


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (("--resume", "last"), 2, "Leave --resume out."),
        (("--processes", "2"), 2, "Leave --processes out."),
        (("--quiet",), 2, "Leave --quiet out."),
        (("--batch-size", "0"), 2, "batch_size"),
        (("--name", "taken"), 2, "holds a run already"),
        (("--plot-schedule", "lr.bmp"), 2, "Name a file that ends in .png, .svg or .pdf."),
        (("--optimizer", "sgd", "--lr", "1e30"), 1, "the loss is NaN or infinite at epoch 1"),
    ],
)
def test_what_training_would_refuse_is_refused(
    command: Command, tmp_path: Path, flags: tuple[str, ...], code: int, says: str
) -> None:
    (tmp_path / "runs" / "taken").mkdir(parents=True)
    (tmp_path / "runs" / "taken" / "last.pt").write_bytes(b"")
    before = everything(tmp_path)
    done = command(*QUICK, *flags)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert everything(tmp_path) == before


def test_a_picture_of_a_schedule_is_a_dry_runs(command: Command, tmp_path: Path) -> None:
    done = command("train", "lenet", "--plot-schedule", "lr.png")
    assert (done.code, done.out) == (2, "")
    assert "Add --dry-run." in done.err
    assert everything(tmp_path) == set()


def test_of_a_long_run_a_thousand_rates_are_enough() -> None:
    config = TrainConfig(model="lenet", epochs=90, scheduler="step", lr=0.1)
    rates = learning_rates(config, 5000)
    assert len(rates) == 1000
    assert rates[0] == (0.5 / 5000, 0.1)
    assert rates[-1][0] == pytest.approx(90, abs=1e-3)
    assert {f"{rate:.4g}" for _, rate in rates} == {"0.1", "0.01", "0.001"}
    assert len(learning_rates(config.replace(max_steps=3), 5000)) == 3


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.034, "0.034 s"),
        (4.13, "4.1 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.7, "1 min"),
        (133, "2 min 13 s"),
        (3599.7, "1 h"),
        (7500, "2 h 5 min"),
        (86_399, "1 d"),
        (266_400, "3 d 2 h"),
    ],
)
def test_times_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said
