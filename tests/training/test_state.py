"""What ``last.pt`` holds for a run to go on: typed, with defaults, and refused where it does not fit."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnzoo.errors import CnnzooError
from cnnzoo.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cnnzoo.runs.serialization import write_values
from cnnzoo.training.fused_optimizer import Optimizer
from tests.helpers import InterruptedRunError, StopAfter, quick, resume, train


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in its second epoch."""
    out = tmp_path_factory.mktemp("stopped")
    with pytest.raises(InterruptedRunError):
        train(
            quick(out, limit_train=96, limit_val=32, name="r"), reporter=StopAfter(4, number=signal.SIGTERM)
        )
    return out / "runs" / "r" / "last.pt"


def changed(stopped: Path, run: Path, **changes: object) -> Path:
    """A run's folder whose ``last.pt`` has another training state."""
    saved = load_checkpoint(stopped)
    assert saved.training is not None
    run.mkdir()
    save_checkpoint(run / "last.pt", replace(saved, training=replace(saved.training, **changes)))  # type: ignore[arg-type]
    return run


def test_what_a_file_lacks_has_its_default(stopped: Path, tmp_path: Path) -> None:
    values = torch.load(stopped, weights_only=True)
    for name in ("scaler", "seconds", "totals", "random_states"):
        del values["training"][name]
    write_values(tmp_path / "last.pt", values)
    training = load_checkpoint(tmp_path / "last.pt").training
    assert training is not None
    assert (training.seconds, training.totals.steps, training.random_states, training.scaler) == (
        0,
        0,
        [],
        {},
    )
    assert len(training.history) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", None),
        ("optimizer", "adam"),
        ("history", [{"epoch": 1}]),
        ("history", [7]),
        ("random_states", [{"cpu": 1}]),
        ("totals", {"steps": "many"}),
        ("seconds", "long"),
    ],
)
def test_a_state_of_another_type_is_one_line(stopped: Path, tmp_path: Path, name: str, value: object) -> None:
    values: dict[str, Any] = torch.load(stopped, weights_only=True)
    if value is None:
        del values["training"][name]
    else:
        values["training"][name] = value
    write_values(tmp_path / "last.pt", values)
    with pytest.raises(CnnzooError, match="is not a checkpoint as cnnzoo writes it: ") as refused:
        load_checkpoint(tmp_path / "last.pt")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"optimizer": {"lr": 0.1}}, "the optimizer's state in last.pt is none of adam for this net"),
        (
            {"optimizer": {"lr": 0.1, "num_steps": torch.tensor(1.0), "averages": [[], []]}},
            "the optimizer's state in last.pt is none of adam for this net",
        ),
        ({"random_states": [{"cpu": torch.zeros(3)}]}, "no state of the random numbers on cpu"),
        ({"random_states": [{}]}, "no state of the random numbers on cpu"),
        ({"scaler": {"scale": 2.0}}, "no scale of the gradients"),
    ],
)
def test_a_state_that_does_not_fit_the_run_is_refused_and_the_file_stays(
    stopped: Path, tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    run = changed(stopped, tmp_path / "r", **changes)
    before = (run / "last.pt").read_bytes()
    with pytest.raises(CnnzooError, match=says):
        resume(run)
    assert (run / "last.pt").read_bytes() == before


def test_weights_that_the_net_of_today_does_not_have_are_refused(stopped: Path, tmp_path: Path) -> None:
    saved: Checkpoint = load_checkpoint(stopped)
    (tmp_path / "r").mkdir()
    weights = {**saved.state_dict, "classifier.output.bias": torch.zeros(3)}
    save_checkpoint(tmp_path / "r" / "last.pt", replace(saved, state_dict=weights))
    with pytest.raises(
        CnnzooError, match=r"do not fit lenet .*classifier\.output\.bias is 3 and should be 10"
    ):
        resume(tmp_path / "r")


def test_a_bug_while_restoring_keeps_its_traceback(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def buggy(*_: object) -> None:
        raise TypeError("a bug of ours")

    monkeypatch.setattr(Optimizer, "load_state_dict", buggy)
    with pytest.raises(TypeError, match="a bug of ours"):
        resume(changed(stopped, tmp_path / "r"))
