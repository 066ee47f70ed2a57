"""Train a model into a new run folder: epochs, the best one, the last one, and signals."""

import math
import platform
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from cnnzoo import __version__
from cnnzoo.config import TrainConfig, write_yaml
from cnnzoo.data.splits import FOLDER
from cnnzoo.device import describe_device, deterministic, named_out_of_memory
from cnnzoo.distributed.group import Processes, joined
from cnnzoo.models.registry import get_spec, import_models
from cnnzoo.runs.checkpoint import save_checkpoint
from cnnzoo.runs.folder import create_run, locked
from cnnzoo.runs.history import HistoryRow, best_row, write_history
from cnnzoo.signals import Stop, interrupts_remembered, stop_signals
from cnnzoo.training.loop import OnStep, evaluate, train_one_epoch
from cnnzoo.training.losses import criterion_of
from cnnzoo.training.meter import NonFiniteLossError, Totals
from cnnzoo.training.pretrained import begin_with
from cnnzoo.training.reporter import Reporter, Silent
from cnnzoo.training.result import RunResult, StopRequested, diverged, interrupted
from cnnzoo.training.state import Training


def train(config: TrainConfig, *, reporter: Reporter | None = None) -> RunResult:
    """Train a model as ``config`` says, into a new run folder.

    Where torchrun has started several processes, they train it together; the first one writes and reports.

    Args:
        config: The whole run.
        reporter: Told what happens; nobody by default.

    Raises:
        UsageError: A setting that cannot be right.
        CnnzooError: Anything else that a person can mend.
        InterruptedRunError: Ctrl-C or SIGTERM; the run is saved and can be resumed.
    """
    with interrupts_remembered(), joined() as processes:
        reporter = reporter if reporter and processes.is_first else Silent()
        import_models(config.imports)
        config = config.replace(model_options=get_spec(config.model).check_options(config.model_options))
        with named_out_of_memory(config.batch_size):
            training = Training(config, reporter, processes)
        if config.weights is not None and processes.is_first:
            whole = begin_with(training.model, get_spec(config.model), config.weights)
            if not whole:
                reporter.warn("The last layer begins anew: the weights are for other classes.")
        run = processes.from_first(lambda: create_run(config.out, _run_prefix(training.config), config.name))
        with held(run, processes):
            return fit(training, run, reporter)


@contextmanager
def held(run: Path, processes: Processes) -> Iterator[None]:
    """Let these processes alone train in ``run``; the lock is the first one's."""
    with locked(run) if processes.is_first else nullcontext():
        yield


# Run folders


def _run_prefix(config: TrainConfig) -> str:
    """Return ``lenet-fashionmnist``, or ``lenet-my-images`` for a folder of that name."""
    path = str(config.dataset).removeprefix(FOLDER)
    return "-".join(
        re.sub(r"[^\w.]+", "-", part).strip("-.") for part in (config.model, Path(path).name) if part
    )


def _what_it_ran_on(training: Training) -> dict[str, Any]:
    return {
        "command": shlex.join([Path(sys.argv[0]).name.replace("__main__.py", "cnnzoo"), *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "cnnzoo": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(training.device),
        "device_name": describe_device(training.device),
        "processes": training.processes.world_size,
        "precision": training.precision.name,
        "data_location": str(training.dataset.location),
        "data_sha256": training.dataset.sha256,
    }


def fit(training: Training, run: Path, reporter: Reporter) -> RunResult:
    """Train epoch by epoch until all are done or patience is out, saving each into ``run``.

    Raises:
        CnnzooError: The loss is NaN or infinite, or a file cannot be written; what was saved stays whole.
        InterruptedRunError: Ctrl-C or SIGTERM; the state after the last step is saved.
    """
    config, history, processes = training.config, training.history, training.processes
    first = len(history) + 1
    network = processes.synchronized(training.network, training.device)
    if processes.is_first:
        write_yaml(run / "config.yaml", config.replace(name=None), _what_it_ran_on(training))
    reporter.start(run, training)
    with (
        stop_signals(is_alone=processes.world_size == 1) as stop,
        named_out_of_memory(config.batch_size),
        deterministic(config.deterministic),
    ):
        for epoch in range(first, config.epochs + 1):
            if is_complete(history, config):
                break
            started = time.perf_counter() - training.seconds
            done = training.totals.steps * config.accumulate

            try:
                train_one_epoch(
                    network,
                    training.train_batches.epoch(epoch, start=done),
                    training.optimizer,
                    training.totals,
                    device=training.device,
                    precision=training.precision,
                    scaler=training.scaler,
                    lr_at_step=training.lr_at_step(epoch),
                    criterion=training.criterion,
                    grad_clip=config.grad_clip,
                    on_step=_after_step(
                        "train",
                        epoch,
                        training.train_batches.num_steps,
                        reporter,
                        stop,
                        processes.agreement(),
                    ),
                    parts=training.train_batches.parts(done),
                )
                train_loss, train_acc = training.summed(training.totals).read()
                processes.share_buffers(training.model)
                val = evaluate(
                    training.network,
                    training.val_batches.epoch(),
                    device=training.device,
                    precision=training.precision,
                    criterion=criterion_of(training.model),
                    on_step=_after_step(
                        "val", epoch, training.val_batches.num_steps, reporter, stop, processes.agreement()
                    ),
                    parts=training.val_batches.parts(),
                )
                val_loss, val_acc = training.summed(val.totals).read()
            except NonFiniteLossError as error:
                raise diverged(epoch, error, training, run) from error
            except StopRequested as request:
                training.seconds = time.perf_counter() - started
                _save(run / "last.pt", training, resumable=True)
                raise interrupted(epoch, request, training, run) from None

            seconds = time.perf_counter() - started
            history.append(
                HistoryRow(
                    epoch=epoch,
                    train_loss=train_loss,
                    train_acc=train_acc,
                    val_loss=val_loss,
                    val_acc=val_acc,
                    lr=training.optimizer.lr,
                    seconds=seconds,
                    images_per_second=training.num_images / seconds,
                )
            )
            training.totals, training.seconds = Totals(), 0.0
            is_best = best_row(history, config.monitor).epoch == epoch
            _save(run / "last.pt", training, resumable=True)
            if is_best:
                _save(run / "best.pt", training, resumable=False)
            if processes.is_first:
                write_history(run / "history.csv", history)
            reporter.epoch(history[-1], is_best)
            if _is_stuck(history[-1], training.train_batches.num_steps, len(training.dataset.classes)):
                reporter.warn(
                    f"the loss is still that of guessing among {len(training.dataset.classes)} classes. Training goes "
                    "on; if it stays there, change --lr, -o activation=relu or --optimizer."
                )

    return RunResult(
        run, config, history, best_row(history, config.monitor), epochs_trained=len(history) + 1 - first
    )


def _after_step(
    phase: str,
    epoch: int,
    steps: int,
    reporter: Reporter,
    stop: "Stop",
    agreed: Callable[[int | None], int | None],
) -> OnStep:
    def after_step(totals: Totals) -> None:
        reporter.step(epoch, phase, steps, totals)
        number = agreed(stop.number)
        if number is not None:
            totals.read()  # a loss that is NaN must not be saved as if it were a state to go on from
            raise StopRequested(number)

    return after_step


def _save(path: Path, training: Training, *, resumable: bool) -> None:
    checkpoint = training.checkpoint(resumable=resumable)  # every process has a part in it
    if training.processes.is_first:
        save_checkpoint(path, checkpoint)


# What the history says


def is_complete(history: Sequence[HistoryRow], config: TrainConfig) -> bool:
    """Whether all epochs are done, or as many as patience allows have passed without a better one."""
    if not history:
        return False
    waited = len(history) - best_row(history, config.monitor).epoch
    return len(history) >= config.epochs or (config.patience is not None and waited >= config.patience)


def _is_stuck(row: HistoryRow, steps: int, num_classes: int) -> bool:
    """Whether the epoch of a run's 200th step has taught nothing: the loss of equal odds is ln(classes)."""
    due = steps * (row.epoch - 1) < 200 <= steps * row.epoch
    return due and abs(row.train_loss - math.log(num_classes)) < 0.02 and row.train_acc < 1.5 / num_classes
