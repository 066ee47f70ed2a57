"""The learning rate over a run."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnzoo.config import TrainConfig
from cnnzoo.errors import UsageError
from cnnzoo.runs.history import HistoryRow
from cnnzoo.training.schedule import lr_at
from tests.helpers import InterruptedRunError, StopAfter, quick, resume, rows, same_state, train


def history(*accuracies: float) -> list[HistoryRow]:
    return [HistoryRow(e, 1.0, 0.5, 1 - a, a, 0.1, 1.0, 1.0) for e, a in enumerate(accuracies, 1)]


@pytest.mark.parametrize("monitor", ["val_acc", "val_loss"])
@pytest.mark.parametrize(
    ("accuracies", "divisions"),
    [
        ([], 0),
        ([0.5, 0.6, 0.7, 0.8], 0),
        ([0.5, 0.5], 0),  # one without a better one
        ([0.5, 0.5, 0.4], 1),  # two
        ([0.5, 0.4, 0.6, 0.5], 0),  # a better one in between
        ([0.5, 0.4, 0.4, 0.4, 0.4], 2),  # and two more at the lower rate
        ([0.5, 0.4, 0.4, 0.6, 0.5, 0.5, 0.7], 2),
    ],
)
def test_plateau_divides_by_ten_when_validation_stalls(
    tmp_path: Path, accuracies: list[float], divisions: int, monitor: str
) -> None:
    config = quick(tmp_path, scheduler="plateau", plateau_epochs=2, lr=0.1, monitor=monitor)
    assert lr_at(config, len(accuracies), history(*accuracies)) == pytest.approx(0.1 * 0.1**divisions)


@pytest.mark.slow
def test_a_run_with_plateau_lowers_its_rate_and_resumes_to_the_same(tmp_path: Path) -> None:
    # A rate too low to learn anything: validation stalls from the first epoch on.
    settings = {"scheduler": "plateau", "plateau_epochs": 1, "lr": 1e-9, "epochs": 4, "limit_val": 20}
    whole = train(quick(tmp_path, name="whole", **settings)).run
    rates = [float(row["lr"]) for row in rows(whole)]
    assert rates == pytest.approx([1e-9, 1e-9, 1e-10, 1e-11], rel=1e-6)
    with pytest.raises(Exception, match="Go on with"):
        train(quick(tmp_path, name="stopped", **settings), reporter=StopAfter(25))
    resume(tmp_path / "runs" / "stopped")
    assert same_state(tmp_path / "runs" / "stopped", whole)


@settings(max_examples=50, deadline=None)
@given(
    milestones=st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True).map(sorted),
    unit=st.sampled_from(["steps", "epochs"]),
    steps_per_epoch=st.integers(1, 11),
    factor=st.sampled_from([0.1, 0.5]),
)
def test_milestones_are_torchs_multi_step_lr(
    milestones: list[int], unit: str, steps_per_epoch: int, factor: float
) -> None:
    config = TrainConfig.from_dict(
        {
            **{"model": "lenet", "scheduler": "milestones", "milestones": milestones, "lr": 0.1},
            **{"milestone_unit": unit, "lr_factor": factor},
        }
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=factor)
    for epoch in range(6):
        for step in range(steps_per_epoch):
            mine = lr_at(config, epoch + (step + 0.5) / steps_per_epoch, steps_per_epoch=steps_per_epoch)
            assert mine == pytest.approx(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if unit == "steps":
                theirs.step()
        if unit == "epochs":
            theirs.step()


def test_a_run_with_milestones_in_steps_resumes_to_the_same_bits(tmp_path: Path) -> None:
    asked = {"scheduler": "milestones", "milestones": "4,12", "milestone_unit": "steps", "lr": 0.01}
    config = quick(tmp_path, **asked, limit_train=160, epochs=3)  # five steps per epoch
    result = train(config)
    assert [row.lr for row in result.history] == pytest.approx(
        [0.001, 0.001, 0.0001]
    )  # of each epoch's last step
    with pytest.raises(InterruptedRunError):
        train(config.replace(name="stopped"), reporter=StopAfter(7))
    resume(tmp_path / "runs" / "stopped")
    assert same_state(result.run, tmp_path / "runs" / "stopped")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"scheduler": "milestones"}, "go together"),
        ({"milestones": "3"}, "go together"),
        ({"scheduler": "milestones", "milestones": "6,3"}, "milestones must rise, not 6, 3"),
        (
            {"scheduler": "milestones", "milestones": "0"},
            "milestones must be a list, each a whole number",
        ),
        ({"scheduler": "step", "lr_factor": 0}, "lr_factor must be a number above 0"),
    ],
)
def test_milestones_that_cannot_be_are_refused(asked: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        TrainConfig.from_dict({"model": "lenet", **asked})
