"""Kill a training run again and again, and compare what it ends with with the run that was never killed.

``python -m tests.faults.soak --kills 200`` (``--quick``: 20 kills). Each kill is a real SIGKILL of a real
process, at a random moment or at a named point within a save; every fifth stop is a SIGTERM instead, after
which the run goes on from the middle of an epoch. POSIX only: attempts are forked, so that each costs the
training and not the import of torch.
"""

import argparse
import csv
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # some optimizers do, which would take each attempt a second
from torch import nn

from cnnzoo.config import TrainConfig
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.errors import CnnzooError
from cnnzoo.models.registry import register_model
from cnnzoo.runs.checkpoint import Checkpoint, load_checkpoint
from cnnzoo.runs.history import HistoryRow
from tests.helpers import Reporter, resume, train

EPOCHS = 6
POINTS = [
    f"{file}:{point}"
    for file in ("last.pt", "best.pt", "history.csv", "config.yaml")
    for point in ("opened", "written", "synced", "replaced")
]
TIMES = ("seconds", "images_per_second")


@register_model("soaked", paper="none", year=2026, image_size=28, in_channels=1)
def soaked(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    """A net with dropout, small enough for hundreds of runs: ``(N, C, 28, 28)`` to ``(N, num_classes)``."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 5, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(1152, num_classes),
    )


VARIANTS: tuple[dict[str, Any], ...] = (
    {"scheduler": "cosine", "augment": "flip,crop", "save_every": "off"},
    {"scheduler": "cosine", "augment": "flip,crop", "save_every": "0.2s"},
    {"augment": "crop,erasing,mixup,cutmix", "optimizer": "nadam", "init": "he", "save_every": "0.2s"},
    {"freeze": "0", "lr_scale": {"4": 0.5}, "augment": "mixup", "optimizer": "rmsprop"},
    {"scheduler": "milestones", "milestones": "110,260", "milestone_unit": "steps", "max_steps": 350},
)
"""What the runs are, in turn."""


def settings(out: Path, name: str, variant: int) -> TrainConfig:
    """The run that is soaked: dropout and more, so that much could go wrong."""
    return TrainConfig(
        model="soaked",
        dataset=SAMPLE,
        limit_train=2000,  # 63 steps an epoch
        limit_val=200,
        batch_size=32,
        epochs=EPOCHS,
        out=out,
        name=name,
        **VARIANTS[variant],
    )


@dataclass
class Tally:
    """What the soak counts."""

    kills: int = 0
    at_points: int = 0
    terms: int = 0
    runs: int = 0
    begun: Counter[tuple[int, int]] = field(default_factory=Counter)
    unreadable: int = 0
    lost_epochs: int = 0
    doubled_rows: int = 0
    unequal: int = 0

    @property
    def redone(self) -> int:
        """Epochs that were begun more often than once."""
        return sum(times - 1 for times in self.begun.values())

    @property
    def clean(self) -> bool:
        """Whether nothing was lost and everything is equal."""
        return not (self.unreadable or self.lost_epochs or self.doubled_rows or self.unequal)


class Log(Reporter):
    """Note in a file which epochs were begun, and which the run had said it saved."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def step(self, epoch: int, phase: str, step: int, *figures: float) -> None:
        """Note the first step of an epoch."""
        if phase == "train" and step == 1:
            self._write(f"begun {epoch}")

    def epoch(self, row: HistoryRow, is_best: bool) -> None:
        """Note that an epoch is saved."""
        self._write(f"saved {row.epoch}")

    def _write(self, line: str) -> None:
        with self.path.open("a") as file:
            file.write(line + "\n")


def attempt(out: Path, name: str, variant: int, log: Path, point: str | None) -> int:
    """Fork a process that starts the run or goes on with it; return its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        torch.set_num_threads(1)
        if point:
            os.environ["CNNZOO_FAULT_POINT"] = point
        run = out / name
        if (run / "last.pt").exists():
            resume(run, reporter=Log(log))
        else:
            train(settings(out, name, variant), reporter=Log(log))
        code = 0
    except CnnzooError as error:
        code = error.exit_code
        if code not in (128 + signal.SIGTERM, 128 + signal.SIGINT):
            sys.stderr.write(f"\n{type(error).__name__}: {error}\n")
    finally:
        sys.stderr.flush()
        os._exit(code)


def inspect(run: Path, log: Path, tally: Tally) -> None:
    """Look at what a stopped run left: every file whole, nothing lost that was said to be saved."""
    said = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    promised = max((int(epoch) for word, epoch in said if word == "saved"), default=0)
    committed = 0
    for file in ("last.pt", "best.pt"):
        if (run / file).exists():
            try:
                epoch = load_checkpoint(run / file).epoch
                committed = max(committed, epoch) if file == "last.pt" else committed
            except CnnzooError:
                tally.unreadable += 1
    tally.lost_epochs += max(0, promised - committed)
    if (run / "history.csv").exists():
        epochs = [row["epoch"] for row in _rows(run)]
        tally.doubled_rows += len(epochs) - len(set(epochs))
        tally.unreadable += epochs != [str(number + 1) for number in range(len(epochs))]


def equal(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights, optimizer, random states, best epoch and history."""
    return all(
        _values(load_checkpoint(one / file)) == _values(load_checkpoint(other / file))
        for file in ("last.pt", "best.pt")
    ) and _rows(one) == _rows(other)


def _values(saved: Checkpoint) -> object:
    def plain(value: object) -> object:
        if isinstance(value, torch.Tensor):
            return (
                str(value.dtype),
                tuple(value.shape),
                value.cpu().reshape(-1).view(torch.uint8).numpy().tobytes(),
            )
        if is_dataclass(value):
            value = vars(value)
        if isinstance(value, dict):
            return {key: plain(member) for key, member in value.items() if key not in TIMES}
        return [plain(member) for member in value] if isinstance(value, list | tuple) else value

    return plain([saved.epoch, saved.metrics, saved.state_dict, saved.training])


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def soak(kills: int, seed: int, out: Path) -> Tally:
    """Kill runs until there were ``kills`` kills, let each run end, and compare."""
    chance = random.Random(seed)
    tally = Tally()
    seconds = []
    for variant in range(len(VARIANTS)):
        name, started = f"whole-{variant}", time.monotonic()
        os.waitpid(attempt(out, name, variant, out / f"{name}.log", None), 0)
        seconds.append(time.monotonic() - started)
    while tally.kills < kills:
        tally.runs += 1
        name, variant = f"killed-{tally.runs}", tally.runs % len(VARIANTS)
        run, log = out / name, out / f"{name}.log"
        while True:
            spared = tally.kills >= kills
            term = not spared and chance.random() < 0.2
            point = chance.choice(POINTS) if not spared and not term and chance.random() < 0.4 else None
            pid = attempt(out, name, variant, log, point)
            if not spared and point is None:
                time.sleep(chance.uniform(0.25, 1) * seconds[variant])
                os.kill(pid, signal.SIGTERM if term else signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
            killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            tally.kills += killed
            tally.at_points += killed and point is not None
            tally.terms += term and os.WIFEXITED(status) and os.WEXITSTATUS(status) == 128 + signal.SIGTERM
            inspect(run, log, tally)
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
                break
            sys.stdout.write(f"\r{tally.kills}/{kills} kills, {tally.runs} runs")
            sys.stdout.flush()
        for line in log.read_text().splitlines():
            word, epoch = line.split()
            tally.begun[tally.runs, int(epoch)] += word == "begun"
        tally.unequal += not equal(out / f"whole-{variant}", run)
    return tally


def main() -> None:
    """Soak, print the tally, and exit with 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="20 kills")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as out:
        tally = soak(20 if arguments.quick else arguments.kills, arguments.seed, Path(out))
    sys.stdout.write(
        f"\rkills                {tally.kills} ({tally.at_points} at a point within a save)\n"
        f"stopped by SIGTERM   {tally.terms}\n"
        f"runs                 {tally.runs} of {EPOCHS} epochs\n"
        f"epochs redone        {tally.redone}\n"
        f"unreadable files     {tally.unreadable}\n"
        f"lost epochs          {tally.lost_epochs}\n"
        f"doubled rows         {tally.doubled_rows}\n"
        f"weights, optimizer, random states, best epoch and history "
        f"{'equal' if not tally.unequal else f'NOT equal in {tally.unequal} runs'} to the run that was never killed\n"
        f"{time.monotonic() - started:.0f} s\n"
    )
    sys.exit(not tally.clean)


if __name__ == "__main__":
    main()
