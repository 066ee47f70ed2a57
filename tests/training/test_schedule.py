"""The learning rate over a run."""

from pathlib import Path

import pytest

from cnnzoo.runs.history import HistoryRow
from cnnzoo.training.schedule import lr_at
from tests.helpers import StopAfter, quick, resume, rows, same_state, train


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
