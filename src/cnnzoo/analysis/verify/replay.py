"""A run's first epochs trained again in a folder that is thrown away, and held against its record."""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from cnnzoo.analysis.verify.checks import Check
from cnnzoo.config import TrainConfig
from cnnzoo.config_file import read_recorded
from cnnzoo.device import describe_device, pick_device
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.runs.checkpoint import Checkpoint, TrainingState, load_checkpoint
from cnnzoo.runs.history import MEASURES, HistoryRow
from cnnzoo.runs.serialization import weights_sha256
from cnnzoo.training.reporter import Reporter, RunDescription
from cnnzoo.training.result import InterruptedRunError
from cnnzoo.training.threads import Switch, switches_as_text
from cnnzoo.training.train import train

LOSS_TOLERANCE = 2e-3
"""Of a loss, as a share of it: by so much golden runs of three epochs in fp32 may differ between processors and
versions of torch, which add in another order (``tests/test_golden.py``)."""

ACC_TOLERANCE = 0.01
"""Of an accuracy, likewise; or one image, where there are fewer than a hundred."""


class _Progress(Reporter):
    """The progress of a replay, passed on, and the number of its validation images."""

    def __init__(self, reporter: Reporter) -> None:
        self.step, self.progress = reporter.step, reporter.progress  # type: ignore[method-assign]
        self.num_val = 0

    def start(self, description: RunDescription, run: Path) -> None:
        self.num_val = description.num_val


def replay(
    run: Path,
    epochs: int,
    *,
    dataset: str | None = None,
    data_dir: Path | None = None,
    reporter: Reporter | None = None,
) -> list[Check]:
    """Train a run's first epochs again, with the threads that it had at each step, and compare.

    On the kind of processor and with the version of torch that it was trained with each loss and each accuracy has to
    be the same to the last bit, and so have the weights, where those of the last of these epochs are known; elsewhere
    losses to LOSS_TOLERANCE and accuracies to ACC_TOLERANCE. Times are not compared.

    Args:
        run: Its folder, in which nothing is written.
        epochs: How many; no more than it has.
        dataset: Where a folder or a table of one's own lies now.
        data_dir: Where named datasets lie; by default where the run found them.
        reporter: Told of progress.

    Raises:
        CnnzooError: It cannot be trained again here; the message says why.
    """
    saved = load_checkpoint(run / "last.pt")
    saved.check_model_is_known(run)
    if saved.training is None or not 1 <= epochs <= len(saved.training.rows):
        num = len(saved.training.rows) if saved.training else 0
        raise UsageError(f"--replay {epochs}: {run} has {num} finished epochs. Replay 1 to {num} of them.")
    recorded = read_recorded(run)
    processes = recorded.get("processes", 1)
    if processes != 1:
        raise CnnzooError(
            f"{processes} processes trained {run} together, and --replay trains in one, which is another training. "
            "Leave --replay out."
        )
    config = _config(saved, saved.training, dataset, data_dir)
    progress = _Progress(reporter or Reporter())
    with tempfile.TemporaryDirectory(prefix="cnnzoo-replay-") as scratch:
        try:
            train(config.replace(out=Path(scratch), name="replay"), reporter=progress, last_epoch=epochs)
        except InterruptedRunError as stopped:
            raise InterruptedRunError("the replay is stopped.", run, stopped.exit_code) from None
        again = load_checkpoint(Path(scratch, "replay", "last.pt"))
    assert again.training is not None
    if again.data_sha256 != saved.data_sha256:
        return [Check("replay", "unknown", "other images than those that it was trained on are another run")]
    other = _elsewhere(recorded, again)
    return [_compare(saved, again, epochs, other, max(progress.num_val, 1))]


def _config(
    saved: Checkpoint, training: TrainingState, dataset: str | None, data_dir: Path | None
) -> TrainConfig:
    """Return a run's settings as it was really trained: its threads step by step, and its number format."""
    config = saved.settings(Path("last.pt"))
    known_dir = config.data_dir if config.data_dir and config.data_dir.exists() else None
    threads = (
        switches_as_text([Switch(*switch) for switch in training.threads])
        if training.threads
        else config.threads
    )
    return config.replace(
        dataset=dataset or saved.dataset,
        data_dir=data_dir or known_dir,
        threads=threads,
        precision=saved.precision,
        imports=(),  # a run's code is imported by who names it, and by no run
        save_every="off",
        keep_epochs=False,
        patience=None,  # which has no part in an epoch, and which a resume may have changed
    )


def _elsewhere(recorded: dict[str, Any], again: Checkpoint) -> list[str]:
    """Return what here is not as it was where a run was trained, of what has a part in the last bits."""
    now = {
        "torch": str(torch.__version__),
        "device_name": _without_threads(describe_device(pick_device(str(again.config["device"])))),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
    then = {**recorded, "device_name": _without_threads(str(recorded.get("device_name", "")))}
    words = {"torch": "torch", "device_name": "device", "cpu": "instructions"}
    return [
        f"{words[key]} {value} here, {then.get(key) or 'not noted'} then"
        for key, value in now.items()
        if then.get(key) != value
    ]


def _without_threads(name: str) -> str:
    return name.rpartition(", ")[0] or name


def _compare(saved: Checkpoint, again: Checkpoint, epochs: int, elsewhere: list[str], num_val: int) -> Check:
    assert saved.training is not None
    assert again.training is not None
    pairs = list(zip(saved.training.rows[:epochs], again.training.rows[:epochs], strict=True))
    far, apart = list(_differences(pairs, num_val)), list(_differences(pairs, 0))
    done = f"{epochs} epoch{'' if epochs == 1 else 's'}"
    if any(there.lr != here.lr for there, here in pairs):
        return Check(
            "replay",
            "unknown",
            "its first epochs followed another learning rate than its settings give: it was made longer later, and "
            "its schedule is stretched over all epochs",
        )
    weights = _weights(saved, again, epochs) if not elsewhere else None
    place = f"; elsewhere than it was trained: {'; '.join(elsewhere)}" if elsewhere else ""
    tolerance = f"losses to {LOSS_TOLERANCE:.1%}, accuracies to {ACC_TOLERANCE:.0%} or one image"
    if far:
        return Check("replay", "changed", f"{far[0]}: more than the tolerance ({tolerance}){place}")
    if not elsewhere and (apart or weights is False):
        fault = apart[0] if apart else "the weights are others"
        return Check("replay", "changed", f"{fault}: not the same bits, on the same processor and torch")
    if apart:
        return Check("replay", "ok", f"{done} within the tolerance ({tolerance}){place}")
    also = ", and the weights" if weights else ""
    return Check("replay", "ok", f"{done}: every loss and accuracy{also}, to the last bit{place}")


def _differences(pairs: list[tuple[HistoryRow, HistoryRow]], num_val: int) -> Iterator[str]:
    """Yield what differs of losses and accuracies: by more than the tolerance, or at all where ``num_val`` is 0."""
    for there, here in pairs:
        for name in MEASURES:
            then, now = getattr(there, name), getattr(here, name)
            if name.endswith("loss"):
                room = LOSS_TOLERANCE * abs(then)
            else:
                room = max(ACC_TOLERANCE, 1.01 / num_val) if num_val else 0.0
            if not math.isclose(then, now, rel_tol=0.0, abs_tol=room if num_val else 0.0):
                yield f"{name} of epoch {there.epoch} is {now!r}, and {then!r} in the record"


def _weights(saved: Checkpoint, again: Checkpoint, epochs: int) -> bool | None:
    """Return whether the weights after the last of these epochs are those of the run; None where nobody knows."""
    assert saved.training is not None
    if len(saved.training.rows) == epochs and not saved.training.totals.steps:
        return weights_sha256(again.state_dict) == weights_sha256(saved.state_dict)
    if str(epochs) in (saved.weights_sha256 or {}):
        return saved.has_weights(epochs, again)
    return None
