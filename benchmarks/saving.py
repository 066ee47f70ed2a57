"""What it costs that a run can be trusted: epochs with every save, and with none, in turns.

``python benchmarks/saving.py [--model lenet] [--epochs 3] [--rounds 5]``: trains on the sample that ships with
cnnzoo, once as it is and once with the writing of files taken out, and prints medians and their difference.
"""

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import torch

from cnnzoo.config import TrainConfig
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.device import describe_device
from cnnzoo.training.train import train


def seconds(config: TrainConfig, *, save: bool) -> float:
    """Time a whole run, per epoch."""
    started = time.perf_counter()
    if save:
        train(config)
    else:
        what = ("save_checkpoint", "write_history", "note_files")
        with ExitStack() as stack:
            for name in what:
                stack.enter_context(patch(f"cnnzoo.runs.run.{name}"))
            train(config)
    return (time.perf_counter() - started) / config.epochs


def main() -> None:
    """Time both in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="lenet")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--limit-train", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        config = TrainConfig(
            model=arguments.model,
            dataset=SAMPLE,
            epochs=arguments.epochs,
            limit_train=arguments.limit_train,
            limit_val=arguments.limit_train,
            out=Path(out),
        )
        seconds(config.replace(epochs=1), save=True)  # imports and first-time set-up are not what is timed
        times = [(seconds(config, save=True), seconds(config, save=False)) for _ in range(arguments.rounds)]
    saved, bare = (statistics.median(column) for column in zip(*times, strict=True))
    cpu = describe_device(torch.device("cpu"))
    print(f"{arguments.model}, {SAMPLE}, torch {torch.__version__}, {cpu}, {arguments.rounds} rounds")
    print(
        f"{saved:.3f} s an epoch with saves, {bare:.3f} s without: {saved - bare:.3f} s, {saved / bare - 1:.1%}"
    )


if __name__ == "__main__":
    main()
