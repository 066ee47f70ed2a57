"""What the trainer costs beyond the step: an epoch of ``cnnzoo train`` beside a bare loop with the same levers.

``python benchmarks/tax.py [--model lenet] [--rounds 3]``: in turns, each in a process of its own; ``cnnzoo train`` in a
terminal (a pseudo-terminal 80 columns wide), with its bar, history and checkpoints. The fastest epoch of each counts.
"""

import argparse
import csv
import os
import pty
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from cnnzoo.config import TrainConfig
from cnnzoo.device import describe_device
from cnnzoo.distributed.group import ALONE
from cnnzoo.training.reporter import Reporter
from cnnzoo.training.setup import set_up

EPOCHS = 3
LIMITS = {"lenet": 48_000, "alexnet": 320}


def config(model: str, out: str) -> TrainConfig:
    """Return the run that both do."""
    return TrainConfig(
        model=model, epochs=EPOCHS, limit_train=LIMITS[model], limit_val=1, out=Path(out), name="run"
    )


def bare(model: str) -> float:
    """Return the seconds of the fastest epoch of a loop that keeps nothing and shows nothing."""
    state, loaders = set_up(config(model, "."), Reporter(), ALONE)
    network, optimizer = state.network.train(), state.optimizer
    seconds = []
    for epoch in range(1, EPOCHS + 1):
        started = time.perf_counter()
        for batch in loaders.train.epoch(epoch):
            with state.precision.autocast(state.device):
                loss = F.cross_entropy(network(batch.images), batch.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def trained(model: str) -> float:
    """Return the seconds of the fastest epoch of ``cnnzoo train`` in a terminal."""
    with tempfile.TemporaryDirectory() as out:
        asked = config(model, out)
        options = f"--epochs {EPOCHS} --limit-train {asked.limit_train} --limit-val 1 --name run --out {out}"
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "cnnzoo", "train", model, *options.split()]
        environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm-256color"}
        process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        try:
            while os.read(ours, 1 << 16):
                pass
        except OSError:  # its end of the terminal is closed
            pass
        if process.wait():
            sys.exit(f"{' '.join(command)} failed.")
        with (Path(out) / "run" / "history.csv").open(newline="", encoding="utf-8") as file:
            return min(float(row["seconds"]) for row in csv.DictReader(file))


def main() -> None:
    """Time both in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="lenet", choices=LIMITS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        print(bare(arguments.model))
        return
    print(f"torch {torch.__version__}, {describe_device(torch.device('cpu'))}, {arguments.rounds} rounds")
    times: dict[str, list[float]] = {"bare loop": [], "cnnzoo train": []}
    for _ in range(arguments.rounds):
        command = [sys.executable, str(Path(__file__)), "--bare", "--model", arguments.model]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        times["bare loop"].append(float(done.stdout))
        times["cnnzoo train"].append(trained(arguments.model))
    for name, seconds in times.items():
        print(f"{name:<13}{min(seconds):8.3f} s an epoch ({', '.join(f'{s:.3f}' for s in seconds)})")
    tax = min(times["cnnzoo train"]) / min(times["bare loop"]) - 1
    print(f"the trainer's part: {tax:+.1%}")


if __name__ == "__main__":
    main()
