"""Golden runs: on any machine they train to the histories that are kept of them, whatever was changed since."""

import csv
from pathlib import Path

import pytest

from tests.helpers import TIMES
from tests.processes import Processes

HISTORIES = Path(__file__).parent / "data" / "golden"

RUNS: dict[str, tuple[str, ...]] = {
    "lenet": ("lenet", "--epochs", "3"),
    "lenet5-1998": ("lenet5-1998", "--epochs", "3"),
    # Without dropout, whose masks processors draw differently.
    "alexnet-no-dropout": (
        *("alexnet", "--epochs", "1", "--limit-train", "256", "--limit-val", "64", "--image-size", "67"),
        *("-o", "dropout=0"),
    ),
}
"""Whole runs on the sample in fp32, as arguments of ``cnnzoo train``."""


def history(path: Path) -> list[dict[str, float]]:
    """Return a history's rows without what the clock has a part in."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def assert_close(history: list[dict[str, float]], expected: list[dict[str, float]], images: int) -> None:
    """Losses agree to 2e-3 of themselves, accuracies to a point or to one of ``images``, on any machine."""
    assert [row["epoch"] for row in history] == [row["epoch"] for row in expected]
    for row, other in zip(history, expected, strict=True):
        assert row.keys() == other.keys()
        assert row["lr"] == other["lr"]
        for name in ("train_loss", "val_loss"):
            assert row[name] == pytest.approx(other[name], rel=2e-3)
        for name in ("train_acc", "val_acc"):
            assert row[name] == pytest.approx(other[name], abs=max(0.01, 1.01 / images))


@pytest.mark.parametrize(
    "name", ["lenet", *(pytest.param(name, marks=pytest.mark.slow) for name in RUNS if name != "lenet")]
)
def test_a_golden_run_has_the_history_that_is_kept(processes: Processes, tmp_path: Path, name: str) -> None:
    fixed = ("--dataset", "fashionmnist-sample", "--precision", "fp32", "--out", ".", "--name", name)
    ended = processes.run("train", *RUNS[name], *fixed, cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    expected = history(HISTORIES / f"{name}.csv")
    assert_close(history(tmp_path / name / "history.csv"), expected, images=64)
