"""What a run is going to be, before it begins: its settings resolved, its time and memory by a few steps of it."""

from contextlib import suppress
from dataclasses import dataclass

import torch

from cnnzoo.analysis.bench.clock import Timing
from cnnzoo.analysis.bench.net import seconds_of_evaluation, seconds_of_training
from cnnzoo.config import TrainConfig
from cnnzoo.data.loader import Endless
from cnnzoo.device import deterministic, explain_oom
from cnnzoo.distributed.group import process_group
from cnnzoo.errors import UsageError
from cnnzoo.machine import peak_memory
from cnnzoo.runs.folder import check_is_free
from cnnzoo.training.meter import NonFiniteLossError
from cnnzoo.training.reporter import Reporter, RunDescription
from cnnzoo.training.schedule import epochs_in_all, lr_at
from cnnzoo.training.setup import Loaders
from cnnzoo.training.state import TrainState
from cnnzoo.training.threads import threads_restored
from cnnzoo.training.train import begin, diverged

SECONDS = 1.0
"""For how long training is timed, and then validation; at least four steps of each, and longer while they vary."""

AT_EXIT = 120_000_000
"""Bytes of torch's libraries that its end brings into memory, with torch 2.14 for the CPU on Linux: the difference
between what ``/usr/bin/time -v`` and the process itself say."""

MAX_POINTS = 1000
"""Of a learning rate over a run, of which a picture can show no more."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is going to be.

    Attributes:
        config: Its settings, with the dataset that is really used.
        description: What is known before the first step.
        train_seconds: Expected for the steps of an epoch.
        val_seconds: Expected for its validation.
        is_steady: Whether these times are to be trusted: nothing else kept the machine busy.
        threads: With which they were timed: on a busy machine one, where training would go on with one.
        usual_threads: With which training begins.
        epochs: At which the run ends, a part of one included where ``max_steps`` ends it; patience may end it before.
        memory: Bytes that its process takes at most, by what these steps took; 0 where nobody says.
        device_memory: Bytes of the GPU's memory, likewise; None on the CPU.
        schedule: The learning rate over the run: epochs done, and the rate of the next step. Of ``plateau`` as it is
            if validation never stalls.
    """

    config: TrainConfig
    description: RunDescription
    train_seconds: float
    val_seconds: float
    is_steady: bool
    threads: int
    usual_threads: int
    epochs: float
    memory: int
    device_memory: int | None
    schedule: tuple[tuple[float, float], ...]

    @property
    def num_steps(self) -> int:
        """Of the whole run."""
        return round(self.epochs * self.description.num_steps)

    @property
    def seconds(self) -> float:
        """Expected for all epochs, of each of which the validation is whole."""
        return self.epochs * self.train_seconds + self.description.epochs * self.val_seconds


def make_plan(config: TrainConfig, *, reporter: Reporter | None = None) -> Plan:
    """Resolve a run's settings and try it for a few steps and batches of validation; then forget them.

    Nothing is written, but for a dataset that has to be downloaded.

    Args:
        config: The whole run.
        reporter: Told of what takes time, and of what a person should know.

    Raises:
        UsageError: A setting that cannot be right.
        CnnzooError: Anything else that a person can mend, such as a loss that is NaN already in these steps.
    """
    report = reporter or Reporter()
    with process_group() as group, threads_restored():
        if group.world_size > 1:
            raise UsageError("a dry run is of one process. Start no others.")
        if config.name is not None:
            with suppress(OSError):  # which training is the one to tell of
                check_is_free(config.out, config.name)
        state, loaders = begin(config, report, group)
        if state.dataset.notes:
            report.warn(" ".join(state.dataset.notes))
        description = state.describe(*loaders)
        if state.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(state.device)
        try:
            with explain_oom(config.batch_size), deterministic(config.deterministic):
                step, batch, threads = _time(state, loaders, report)
        except NonFiniteLossError as error:
            raise diverged(state, error) from error
        on_gpu = state.device.type == "cuda"
        return Plan(
            config=state.config,
            description=description,
            train_seconds=step.seconds * loaders.train.num_steps,
            val_seconds=batch.seconds * loaders.val.num_steps,
            is_steady=step.is_steady and batch.is_steady,
            threads=threads,
            usual_threads=state.threads.now,
            epochs=epochs_in_all(state.config, loaders.train.num_steps),
            memory=memory + AT_EXIT if (memory := peak_memory()) else 0,
            device_memory=torch.cuda.max_memory_allocated(state.device) if on_gpu else None,
            schedule=learning_rates(state.config, loaders.train.num_steps),
        )


def _time(state: TrainState, loaders: Loaders, report: Reporter) -> tuple[Timing, Timing, int]:
    """Return how long a step and a batch of validation take, and with how many threads training would do them.

    On a busy machine training goes on with one thread where that is faster, after a while that is not waited for here.
    """
    report.progress("a few steps", 0, 2)
    watched, state.threads.watch = state.threads.watch, None
    step = seconds_of_training(state, Endless(loaders.train), SECONDS)
    if watched and not step.is_steady:
        many = torch.get_num_threads()
        torch.set_num_threads(1)
        single = seconds_of_training(state, Endless(loaders.train), SECONDS)
        if single.seconds < step.seconds:
            step = single
        else:
            torch.set_num_threads(many)
    report.progress("and validation", 1, 2)
    batch = seconds_of_evaluation(state, Endless(loaders.val), SECONDS)
    return step, batch, torch.get_num_threads()


def learning_rates(config: TrainConfig, steps_per_epoch: int) -> tuple[tuple[float, float], ...]:
    """Return the rate of each step, or of a thousand evenly spaced ones: epochs done, and the rate."""
    num_steps = max(1, round(epochs_in_all(config, steps_per_epoch) * steps_per_epoch))
    points = min(num_steps, MAX_POINTS)
    steps = (round(point * (num_steps - 1) / max(points - 1, 1)) for point in range(points))
    done = [(step + 0.5) / steps_per_epoch for step in steps]
    return tuple((epochs, lr_at(config, epochs, steps_per_epoch=steps_per_epoch)) for epochs in done)
