"""What cnnzoo does on a GPU, measured by whoever has one: run it, and send back the file that it writes.

``python benchmarks/gpu.py [--device cuda] [--rounds 3] [--out gpu.json]``; ``--device cpu --quick`` tries the script
itself where there is no GPU. Trains on Fashion-MNIST (with ``--quick`` on the sample), each time in a
process of its own, and prints images a second of the fastest epoch and the most memory: of LeNet and AlexNet in each
precision, with and without ``--compile``; with each lever taken out; how often a step waits for the device; whether a
few steps give what they give on the CPU; and whether ``--deterministic`` gives the same bits twice.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from cnnzoo.config import TrainConfig
from cnnzoo.data.named.catalog import DATASETS, DEFAULT_DATASET, SAMPLE
from cnnzoo.data.named.locate import locate
from cnnzoo.data.sources import Resident
from cnnzoo.device import describe_device, pick_device
from cnnzoo.machine import peak_memory
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.training.train import train
from cnnzoo.version import __version__

Settings = dict[str, Any]

FULL: dict[str, Settings] = {
    "lenet": {"limit_train": 48000, "limit_val": 3200, "epochs": 3},
    "alexnet": {"limit_train": 9600, "limit_val": 320, "epochs": 3},
}
QUICK: dict[str, Settings] = {
    "lenet": {"limit_train": 640, "limit_val": 64, "epochs": 2},
    "alexnet": {"limit_train": 64, "limit_val": 32, "epochs": 1, "image_size": 67},
}

TOLERANCE = 1e-5
"""How far weights after five steps may lie from those of the CPU, as a share of their own size."""


def _from_host(
    images: Resident, chunks: Sequence[Tensor], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    for chunk in chunks:
        yield images.images[chunk].to(device), images.labels[chunk].to(device)


TAKEN_OUT: dict[str, tuple[Settings, tuple[AbstractContextManager[Any], ...]]] = {
    "channels last": (
        {},
        (patch("cnnzoo.training.setup.to_device", lambda model, device: model.to(device)),),
    ),
    "many batches prepared at once": ({}, (patch("cnnzoo.data.loader.PREPARED", 1),)),
    "images on the device": (
        {},
        (patch.object(Resident, "to", lambda self, _: self), patch.object(Resident, "batches", _from_host)),
    ),
    "indices sent without a wait": (
        {},
        (patch("cnnzoo.data.sources.send", lambda tensor, device: tensor.to(device)),),
    ),
    "cuDNN's trials": ({}, (patch("cnnzoo.training.train.deterministic", lambda _: nullcontext()),)),
    "exact fp32 (TF32 in convolutions)": (
        {"precision": "fp32"},
        (patch("cnnzoo.device.prepare_cuda", lambda *_, **__: None),),
    ),
    "the kernel alone (torch.optim.Adam, fused)": ({"optimizer_options": {"eps": 1e-8}}, ()),
    "the fused kernel (torch.optim.Adam)": (
        {"optimizer_options": {"eps": 1e-8}},
        (patch("cnnzoo.training.optimizers.kernels", lambda *_: {}),),
    ),
}
OF_COMPILED = "CUDA graphs (of --compile)"
"""A lever that is taken out of a run with --compile."""

TAKEN_OUT[OF_COMPILED] = (
    {"compile": True},
    (patch("cnnzoo.training.setup.pick_compile_mode", lambda *_, **__: "default"),),
)


def machine(device: torch.device) -> dict[str, str]:
    """Return what the figures depend on beside cnnzoo."""
    facts = {
        "device": describe_device(device),
        "cpu": describe_device(torch.device("cpu")),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cnnzoo": __version__,
    }
    if device.type == "cuda":
        facts["cuda"], facts["cudnn"] = str(torch.version.cuda), str(torch.backends.cudnn.version())
        facts["capability"] = ".".join(map(str, torch.cuda.get_device_capability(device)))
        query = "--query-gpu=name,driver_version,memory.total,power.limit"
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True, check=False
        )
        facts["nvidia-smi"] = done.stdout.strip() or done.stderr.strip()
    return facts


# In a process of its own


def run(settings: Settings, out: str) -> dict[str, float]:
    """Train, and return images a second of the fastest epoch and the most memory, in MB."""
    history = train(TrainConfig.from_dict({**settings, "out": out})).history
    device = pick_device(settings["device"])
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
    return {"images_per_second": max(row.images_per_second for row in history), "memory_mb": memory / 1e6}


def waits(settings: Settings, out: str) -> dict[str, float]:
    """Train, and return how often a step waits for the device; torch tells of it on CUDA alone."""
    config = TrainConfig.from_dict({**settings, "out": out, "epochs": 1})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if pick_device(config.device).type == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        train(config)
    heard = sum("synchronizing" in str(warning.message) for warning in told)
    return {"waits_per_step": heard / ((config.limit_train or 0) / config.batch_size)}


def few_steps(settings: Settings, out: str) -> dict[str, float]:
    """Train five steps on the device, twice, and on the CPU; compare the weights.

    By SGD: Adam divides gradients by their size, and makes as much of rounding errors as of the rest.
    """
    few = {"epochs": 1, "max_steps": 5, "deterministic": True, "optimizer": "sgd", "lr": 0.01, "out": out}
    if settings["model"] == "alexnet":
        few["model_options"] = {"dropout": 0.0}  # which units are left out, each device draws by itself

    def weights(device: str) -> Tensor:
        result = train(TrainConfig.from_dict({**settings, **few, "precision": "fp32", "device": device}))
        state = load_checkpoint(result.run / "last.pt").state_dict
        return torch.cat([value.cpu().double().flatten() for value in state.values()])

    first, second, host = (weights(device) for device in (settings["device"],) * 2 + ("cpu",))
    distance = float((first - host).norm() / host.norm())
    return {"same_bits_twice": bool((first == second).all()), "distance_from_cpu": distance}


KINDS = {"run": run, "waits": waits, "few_steps": few_steps}


def measured(kind: str, settings: Settings, without: str | None = None) -> dict[str, Any]:
    """Measure in a process of its own; return the figures, or the error."""
    asked = json.dumps([kind, settings, without])
    command = [sys.executable, str(Path(__file__)), "--one", asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["?"])[-1]}
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def one(asked: str) -> None:
    """Be that process."""
    kind, settings, without = json.loads(asked)
    own, patches = TAKEN_OUT.get(without, ({}, ()))
    for taken in patches:
        taken.__enter__()
    with tempfile.TemporaryDirectory() as out:
        print(json.dumps(KINDS[kind]({**settings, **own}, out)))


# In the process that asks


def fastest(settings: Settings, without: str | None, rounds: int) -> dict[str, Any]:
    """Return the figures of the fastest of some runs."""
    figures = [measured("run", settings, without) for _ in range(rounds)]
    return max(figures, key=lambda each: each.get("images_per_second", 0.0))


def main() -> None:
    """Measure all, print it as it comes, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few images, one round, no --compile")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(given.one)
        return
    device = pick_device(given.device)
    rounds = 1 if given.quick else given.rounds
    facts = machine(device)
    for name, value in facts.items():
        print(f"{name}: {value}")
    rows: list[dict[str, Any]] = []

    def note(model: str, what: str, figures: dict[str, Any]) -> None:
        rows.append({"model": model, "what": what, **figures})
        print(f"{model}, {what}: {_shown(figures)}", flush=True)
        given.out.write_text(json.dumps({"machine": facts, "quick": given.quick, "rows": rows}, indent=2))

    dataset = SAMPLE if given.quick else DEFAULT_DATASET
    if not (given.quick or locate(DATASETS[DEFAULT_DATASET], None)):
        sys.exit("Fashion-MNIST is not on this machine. Get it: cnnzoo data fetch fashionmnist")
    for model, sizes in (QUICK if given.quick else FULL).items():
        settings: Settings = {"model": model, "dataset": dataset, "device": str(device), **sizes}
        for compiled in (False,) if given.quick else (False, True):
            for precision in ("fp32", "bf16", "fp16"):
                changed = {**settings, "precision": precision, "compile": compiled}
                note(model, precision + ", --compile" * compiled, fastest(changed, None, rounds))
        note(model, "all levers", fastest(settings, None, rounds))
        for without in TAKEN_OUT:
            if not (given.quick and without == OF_COMPILED):
                note(model, f"without {without}", fastest(settings, without, rounds))
        note(model, "waits for the device", measured("waits", settings))
        compared = measured("few_steps", settings)
        passed = compared.get("same_bits_twice") and compared.get("distance_from_cpu", 1) < TOLERANCE
        note(model, "a few steps", {**compared, "passed": bool(passed)})
    print(f"All of it is in {given.out}.")


def _shown(figures: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in figures.items()
    )


if __name__ == "__main__":
    main()
