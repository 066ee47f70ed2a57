"""What version 0.1 trained is trained still, and runs that it stopped go on as it would have gone on with them."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnnzoo.runs.checkpoint import load_checkpoint
from tests import golden
from tests.processes import Processes


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


@pytest.mark.parametrize("name", golden.ON_ANY_MACHINE)
def test_a_golden_run_has_the_history_of_0_1(processes: Processes, tmp_path: Path, name: str) -> None:
    fixed = ("--dataset", "fashionmnist-sample", "--precision", "fp32", "--out", ".", "--name", name)
    ended = processes.run("train", *golden.RUNS[name], *fixed, cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    expected = golden.history(golden.FIXTURES / f"{name}.csv")
    assert_close(golden.history(tmp_path / name / "history.csv"), expected, images=64)


@pytest.mark.parametrize(
    ("name", "images"),
    [(name, {"folder": 7, "classes": 8}.get(name, 100)) for name in golden.STOPPED],
)
def test_a_run_that_0_1_stopped_goes_on(processes: Processes, tmp_path: Path, name: str, images: int) -> None:
    shutil.copytree(golden.FIXTURES / name, tmp_path, dirs_exist_ok=True)
    resumed = processes.run("train", "--resume", "run", "--out", ".", "--epochs", "3", cwd=tmp_path)
    assert (resumed.code, resumed.err) == (0, "")
    expected = golden.history(golden.FIXTURES / name / "resumed.csv")
    assert_close(golden.history(tmp_path / "run" / "history.csv"), expected, images)
    assert processes.run("eval", "run", "--out", ".", cwd=tmp_path).code == 0
    tested = json.loads((tmp_path / "run" / "eval.json").read_text(encoding="utf-8"))
    by_0_1 = golden.FIXTURES / name / "tested.json"
    if by_0_1.exists():
        assert {key: tested[key] for key in ("num_images", "data_sha256")} == json.loads(by_0_1.read_text())
    assert load_checkpoint(tmp_path / "run" / "last.pt").rules == 1 or name not in ("folder", "classes")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A worktree at version 0.1."""
    git = ("git", "-C", str(golden.REPOSITORY))
    known = subprocess.run([*git, "cat-file", "-e", golden.V0_1], capture_output=True, check=False)
    if known.returncode:
        pytest.skip("this checkout does not have the commit of version 0.1")
    folder = tmp_path_factory.mktemp("trees") / "v0.1"
    subprocess.run(
        [*git, "worktree", "add", "--detach", str(folder), golden.V0_1], capture_output=True, check=True
    )
    yield folder
    subprocess.run([*git, "worktree", "remove", "--force", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", golden.RUNS)
def test_a_golden_run_has_the_bits_of_0_1(tree: Path, tmp_path: Path, name: str) -> None:
    runs = []
    for code in (tree, golden.REPOSITORY):
        (tmp_path / code.name).mkdir()
        runs.append(golden.train(code, tmp_path / code.name, name))
    theirs, ours = map(golden.bits, runs)
    assert ours == theirs


@pytest.mark.slow
@pytest.mark.parametrize("name", golden.STOPPED)
def test_a_run_that_0_1_stopped_goes_on_to_the_bits_of_0_1(tree: Path, tmp_path: Path, name: str) -> None:
    theirs, ours = (
        golden.bits(golden.resume(code, golden.FIXTURES / name, tmp_path / code.name))
        for code in (tree, golden.REPOSITORY)
    )
    assert ours == theirs
