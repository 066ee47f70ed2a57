"""Train a model into a new run folder; and what surrounds the loop, in a new run as in one that goes on."""

import platform
import re
import shlex
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from cnnzoo.config import TrainConfig
from cnnzoo.data.datasets import short_name
from cnnzoo.device import describe_device, deterministic, explain_oom
from cnnzoo.distributed.group import Group, process_group
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.interrupts import Interrupt
from cnnzoo.models.registry import get_spec
from cnnzoo.runs.folder import create_run
from cnnzoo.runs.run import Run
from cnnzoo.runs.sources import IMPORTED_FOLDER, kept_sources
from cnnzoo.signals import stop_signals
from cnnzoo.training.loop import fit
from cnnzoo.training.meter import NonFiniteLossError
from cnnzoo.training.pretrained import load_pretrained
from cnnzoo.training.reporter import Reporter
from cnnzoo.training.result import RunResult
from cnnzoo.training.settings import resolve
from cnnzoo.training.setup import Loaders, set_up
from cnnzoo.training.state import TrainState
from cnnzoo.training.threads import switches_as_text, threads_restored
from cnnzoo.version import __version__


def train(
    config: TrainConfig, *, reporter: Reporter | None = None, last_epoch: int | None = None
) -> RunResult:
    """Train a model as ``config`` says, into a new run folder.

    Where torchrun has started several processes, they train it together; the first one writes and reports.

    Args:
        config: The whole run.
        reporter: Told what happens; nobody by default.
        last_epoch: The epoch after which to end, on the schedule of all epochs; by default the last one.

    Raises:
        UsageError: A setting that cannot be right.
        CnnzooError: Anything else that a person can mend.
        InterruptedRunError: A signal of ``signals.STOPS``; the run is saved and can be resumed.
    """
    if last_epoch is not None and last_epoch < 1:
        raise UsageError(f"last_epoch must be at least 1, not {last_epoch}.")
    with Interrupt(), process_group() as group, threads_restored():
        report = reporter if reporter and group.is_first else Reporter()
        state, loaders = begin(config, report, group)
        state.last_epoch = last_epoch
        folder = group.broadcast(lambda: create_run(config.out, _run_prefix(state.config), config.name))
        run = Run(folder, writes=group.is_first)
        with run.held(report.warn):
            run.keep_sources(config.imports)
            return run_loop(state, loaders, run, report)


def begin(config: TrainConfig, report: Reporter, group: Group) -> tuple[TrainState, Loaders]:
    """Return what a new run begins with: its modules imported, its settings checked, its first weights in the net.

    Raises:
        UsageError: A setting that cannot be right.
        CnnzooError: Anything else that a person can mend.
    """
    config = resolve(config)
    with explain_oom(config.batch_size):
        state, loaders = set_up(config, report, group)
    if config.weights is not None and group.is_first:
        for sentence in load_pretrained(state.model, get_spec(config.model), config.weights):
            report.warn(sentence)
    return state, loaders


def run_loop(state: TrainState, loaders: Loaders, run: Run, report: Reporter) -> RunResult:
    """Fit, with all that surrounds it: the settings on disk, signals, memory, determinism, and a loss that diverges.

    Raises:
        CnnzooError: The loss is NaN or infinite, or a file cannot be written; what was saved stays whole.
        InterruptedRunError: A signal of ``signals.STOPS``; the state after the last step is saved.
    """
    config = state.config
    if state.dataset.notes:  # once all is checked: an error is alone on the screen
        report.warn(" ".join(state.dataset.notes))
    facts = _facts(state)
    if kept := kept_sources(run.folder):
        facts[IMPORTED_FOLDER] = kept
    run.write_config(config, facts)
    state.notes_images = state.group.broadcast(lambda: not run.knows_trained)
    try:
        with (
            stop_signals(state.group, config.save_seconds) as stop,
            explain_oom(config.batch_size),
            deterministic(config.deterministic),
        ):
            return fit(state, loaders, run, report, stop)
    except NonFiniteLossError as error:
        saved = f" Epoch {len(state.history)} is saved in {run.folder}." if state.history else ""
        raise diverged(state, error, saved) from error
    finally:
        if (record := switches_as_text(state.threads.record)) != facts["threads"]:
            with suppress(CnnzooError):  # last.pt has it too, and what ended the run is the one to tell of
                run.write_config(config, {**facts, "threads": record})


def diverged(state: TrainState, error: NonFiniteLossError, saved: str = "") -> CnnzooError:
    """Return what a person is told of a loss that is NaN or infinite, and what they can do."""
    return CnnzooError(
        f"the loss is NaN or infinite at epoch {state.epoch}, {error}, lr {state.optimizer.lr:g}. "
        f"Start a new run: lower --lr, or try --grad-clip 1 or --warmup-epochs 1.{saved}"
    )


def _run_prefix(config: TrainConfig) -> str:
    """Return ``lenet-fashionmnist``, or ``lenet-my-images`` for a folder of that name and its tables."""
    model = re.sub(r"[^\w.]+", "-", config.model).strip("-.")
    return "-".join(part for part in (model, short_name(str(config.dataset))) if part)


def _facts(state: TrainState) -> dict[str, Any]:
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "cnnzoo": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(state.device),
        "device_name": describe_device(state.device),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "processes": state.group.world_size,
        "steps_per_epoch": state.steps_per_epoch,
        "threads": switches_as_text(state.threads.record),
        "precision": state.precision.name,
        "data_location": str(state.dataset.location),
        "data_sha256": state.dataset.sha256,
    }
