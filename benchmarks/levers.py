"""What each lever of the trainer buys: a run with all of them, and runs with one taken out, in turns.

``python benchmarks/levers.py [--models lenet,alexnet] [--rounds 3]``: trains on Fashion-MNIST (the sample, where it
is not on this machine), each time in a process of its own, and prints milliseconds a training step: the fastest
of the rounds, since whatever else a machine does only makes it slower, and how much longer it takes without each.
Those of bf16 are left out where the machine does not multiply it natively.
"""

import argparse
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn

from cnnzoo.config import TrainConfig
from cnnzoo.data.named.catalog import DATASETS, DEFAULT_DATASET, SAMPLE
from cnnzoo.data.named.locate import locate
from cnnzoo.device import describe_device
from cnnzoo.precision import LARGE_NET, Precision, pick_precision
from cnnzoo.training.train import train

BATCH_SIZE = 32
SETTINGS = {"lenet": {"limit_train": 6400, "epochs": 4}, "alexnet": {"limit_train": 320, "epochs": 3}}


class TorchAdam(torch.optim.Adam):
    """torch's own fused Adam, behind the face of cnnzoo's."""

    fused = True

    def __init__(
        self,
        parameters: list[nn.Parameter],
        name: str,
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        lr_scales: tuple[float, ...] = (),
    ) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, fused=self.fused)
        self.lr = lr


class PlainAdam(TorchAdam):
    """Adam as torch takes it without being asked for anything."""

    fused = False


Taken = AbstractContextManager[object]
"""A lever taken out, for as long as the context lasts."""

LEVERS: dict[str, Taken] = {
    "channels last": patch("cnnzoo.training.setup.to_device", lambda model, device: model.to(device)),
    "many batches prepared at once": patch("cnnzoo.data.loader.PREPARED", 1),
    "kernel alone (fused Adam)": patch("cnnzoo.training.optimizers.Optimizer", TorchAdam),
    "fused kernel (plain Adam)": patch("cnnzoo.training.optimizers.Optimizer", PlainAdam),
    "huge pages": patch("cnnzoo.device.use_huge_pages", lambda: None),
    "freed memory kept, and huge pages": patch("cnnzoo.device.keep_freed_memory", lambda device: None),
}
OF_LARGE_NETS: dict[str, Taken] = {
    "ReLU in place": patch.dict("cnnzoo.models.layers.ACTIVATIONS", relu=nn.ReLU),
    "ReLU after max pooling": patch("cnnzoo.models.layers.is_watched", lambda module: True),
}
IN_BF16: dict[str, Taken] = {
    "bf16": patch("cnnzoo.training.setup.pick_precision", lambda *_: Precision("fp32", "bf16 was taken out")),
    "conv1 over blocks of pixels": patch("cnnzoo.models.layers.Conv2d.forward", nn.Conv2d.forward),
}
BY_MODEL = {"lenet": LEVERS, "alexnet": {**LEVERS, **OF_LARGE_NETS, **IN_BF16}}


def step_ms(model: str) -> float:
    """Train for real, and return the milliseconds of a step of the fastest epoch."""
    dataset = DEFAULT_DATASET if locate(DATASETS[DEFAULT_DATASET], None) else SAMPLE
    with tempfile.TemporaryDirectory() as out:
        settings = {"model": model, "dataset": dataset, "out": out, "limit_val": 1, **SETTINGS[model]}
        history = train(TrainConfig.from_dict(settings)).history
    return 1e3 * BATCH_SIZE / max(row.images_per_second for row in history)


def main() -> None:
    """Time every lever in turns, and print the fastest of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="lenet,alexnet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        with BY_MODEL[arguments.models].get(arguments.one, nullcontext()):
            print(step_ms(arguments.models))
        return
    print(f"torch {torch.__version__}, {describe_device(torch.device('cpu'))}, {arguments.rounds} rounds")
    has_bf16 = pick_precision("auto", torch.device("cpu"), LARGE_NET).name == "bf16"
    for model in arguments.models.split(","):
        names = [name for name in BY_MODEL[model] if has_bf16 or name not in IN_BF16]
        times: dict[str, list[float]] = {name: [] for name in ("", *names)}
        for _ in range(arguments.rounds):
            for name, measured in times.items():
                command = [sys.executable, str(Path(__file__)), "--models", model, "--one", name]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                measured.append(float(done.stdout))
        whole = min(times[""])
        print(f"{model}: {whole:.4g} ms a step")
        for name in names:
            without = min(times[name])
            print(f"  without {name:<46}{without:>8.4g} ms {without / whole - 1:>+8.1%}")


if __name__ == "__main__":
    main()
