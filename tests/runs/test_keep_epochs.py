"""``--keep-epochs``: the weights of every epoch, none missing of those that last.pt tells of."""

from pathlib import Path

import pytest
import torch

from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.runs.checkpoint import load_checkpoint
from tests.helpers import StopAfter, quick, resume, train
from tests.processes import Processes


def kept(run: Path) -> list[str]:
    return sorted(path.name for path in run.glob("epoch-*.pt"))


def test_each_epochs_weights_are_kept_and_can_be_evaluated(tmp_path: Path) -> None:
    run = train(quick(tmp_path, keep_epochs=True)).run
    assert kept(run) == ["epoch-1.pt", "epoch-2.pt", "epoch-3.pt"]
    last = load_checkpoint(run / "last.pt")
    assert last.training
    for number in (1, 2, 3):
        saved = load_checkpoint(run / f"epoch-{number}.pt")
        assert (saved.epoch, saved.training) == (number, None)
        assert saved.metrics["val_acc"] == last.training.history[number - 1].val_acc
    assert all(torch.equal(last.state_dict[name], value) for name, value in saved.state_dict.items())
    assert evaluate(run / "epoch-2.pt", split="val", save=False).accuracy == pytest.approx(
        last.training.history[1].val_acc
    )
    assert kept(train(quick(tmp_path)).run) == []


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_the_same_and_may_begin_with_it(tmp_path: Path) -> None:
    whole = train(quick(tmp_path, keep_epochs=True, name="whole")).run
    with pytest.raises(Exception, match="saved"):
        train(quick(tmp_path, keep_epochs=True, name="r"), reporter=StopAfter(15))
    run = tmp_path / "runs" / "r"
    assert kept(run) == ["epoch-1.pt"]
    resume(run)
    assert kept(run) == kept(whole)
    for name in kept(run):
        one, other = (load_checkpoint(folder / name).state_dict for folder in (run, whole))
        assert all(torch.equal(one[key], other[key]) for key in one)
    plain = train(quick(tmp_path, name="p", epochs=1)).run
    resume(plain, {"epochs": 2, "keep_epochs": True})
    assert kept(plain) == ["epoch-2.pt"]


@pytest.mark.slow
@pytest.mark.parametrize("point", ["epoch-2.pt:written", "epoch-2.pt:replaced", "last.pt:replaced"])
def test_row_2_a_kill_between_an_epochs_weights_and_last_leaves_none_missing(
    processes: Processes, tmp_path: Path, point: str
) -> None:
    args = ("train", "lenet", "--dataset", "fashionmnist-sample", "--limit-train", "96", "--limit-val", "32")
    flags = ("--epochs", "3", "--keep-epochs", "--name", "r")
    ended = processes.run(*args, *flags, cwd=tmp_path, env={"CNNZOO_FAULT_POINT": point})
    assert ended.code != 0
    assert processes.run("train", "--resume", "r", cwd=tmp_path).code == 0
    assert kept(tmp_path / "runs" / "r") == ["epoch-1.pt", "epoch-2.pt", "epoch-3.pt"]
