"""What tests of whole runs share."""

import csv
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnzoo import precision
from cnnzoo.analysis import plan
from cnnzoo.config import TrainConfig
from cnnzoo.data import loader, reading
from cnnzoo.data.datasets import load_dataset
from cnnzoo.data.listing import index
from cnnzoo.data.loader import Loader, MicroBatch
from cnnzoo.data.named import download
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.data.sources import Dataset, Resident
from cnnzoo.distributed.group import ALONE
from cnnzoo.models import registry
from cnnzoo.precision import Precision
from cnnzoo.runs import checkpoint
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.signals import StopSignal
from cnnzoo.training import loop, meter, setup
from cnnzoo.training.images import load_training_data
from cnnzoo.training.losses import Criterion
from cnnzoo.training.meter import Evaluation, Meter
from cnnzoo.training.reporter import Reporter, RunDescription
from cnnzoo.training.result import InterruptedRunError
from cnnzoo.training.resume import resume
from cnnzoo.training.state import Scoring
from cnnzoo.training.train import train

__all__ = [
    "InterruptedRunError",
    "Reporter",
    "RunDescription",
    "load_training_data",
    "resume",
    "train",
]

CPU = torch.device("cpu")
FP32 = Precision("fp32", "")
TIMES = ("seconds", "images_per_second")

DROPOUT: dict[str, object] = {
    "model": "alexnet",
    "model_options": {"dropout": 0.5},
    "image_size": 67,
    "limit_train": 40,
    "limit_val": 20,
    "batch_size": 16,
    "epochs": 2,
}
"""Settings of a small net with dropout, for ``quick``."""


INTERNALS: dict[str, ModuleType] = {
    "FEWEST_FILES": index,
    "FORMAT": checkpoint,
    "MAX_RESIDENT_BYTES": reading,
    "MIN_BYTES": download,
    "MAX_BYTES": index,
    "PREPARED": loader,
    "READ_SECONDS": meter,
    "SECONDS": plan,
    "MIRROR_TIMEOUT": download,
    "cpu_info": precision,
    "seconds_of": precision,
    "pick_compile_mode": setup,
    "cache_folder": index,
    "_specs": registry,
}
"""What tests change of the package's own, and the module that reads it."""


def patch_internal(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """Set one of INTERNALS for the length of a test."""
    monkeypatch.setattr(INTERNALS[name], name, value)


def forget_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the registry forget at the end of a test what the test registers."""
    registry.list_models()
    patch_internal(monkeypatch, "_specs", dict(registry._specs))


def draw_images(folder: Path) -> None:
    """Draw 3 classes of 16 small images, 12 to train on and 4 to test: lines of a slope that tells the class."""
    from PIL import Image

    chance = torch.Generator().manual_seed(1)
    places = torch.arange(20)
    for label, slope in (("down", 1), ("level", 0), ("up", -1)):
        for number in range(16):
            offset = 4 + 12 * torch.rand((), generator=chance) - slope * 10
            distance = (places[:, None] - slope * places[None, :] - offset).abs()
            noise = 20 * torch.rand((20, 20), generator=chance)
            pixels = (255 - 60 * distance).clamp(min=0) * 0.9 + noise
            part = folder / ("train" if number < 12 else "test") / label
            part.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.to(torch.uint8).numpy()).save(part / f"{number:02}.png", optimize=True)


def quick(tmp_path: Path, **changes: object) -> TrainConfig:
    """A run of a second: LeNet on 320 images of the sample, three epochs."""
    settings: dict[str, object] = {
        "model": "lenet",
        "model_options": {"activation": "tanh"},
        "dataset": SAMPLE,
        "epochs": 3,
        "limit_train": 320,
        "limit_val": 100,
        "out": tmp_path / "runs",
    }
    return TrainConfig.from_dict({**settings, **changes})


def rows(run: Path) -> list[dict[str, str]]:
    """The rows of a run's history without what the clock has a part in."""
    with (run / "history.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def same_state(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights, optimizer, random states, best epoch and history, bit by bit."""
    return rows(one) == rows(other) and all(
        _values(one / file) == _values(other / file) for file in ("last.pt", "best.pt")
    )


def _values(checkpoint: Path) -> object:
    def plain(value: Any) -> object:
        if isinstance(value, torch.Tensor):
            bits = value.reshape(-1).view(torch.uint8)
            return (str(value.dtype), tuple(value.shape), bits.numpy().tobytes())
        if is_dataclass(value):
            value = vars(value)
        if isinstance(value, dict):
            return {name: plain(member) for name, member in value.items() if name not in TIMES}
        return [plain(member) for member in value] if isinstance(value, list | tuple) else value

    saved = load_checkpoint(checkpoint)
    return plain([saved.epoch, saved.metrics, saved.state_dict, saved.training])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, whatever it is called."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class StopAfter(Reporter):
    """Send this process a signal after so many steps of training."""

    def __init__(self, steps: int, phase: str = "train", number: int = signal.SIGINT) -> None:
        self.left, self.phase, self.number = steps, phase, number

    def step(self, epoch: int, phase: str, *numbers: float) -> None:
        if phase == self.phase:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), self.number)


def sample_batches(image_size: int, num: int, batch_size: int = 32) -> list[tuple[Tensor, Tensor]]:
    dataset = load_dataset(SAMPLE, "train", image_size=image_size)
    assert dataset is not None
    source = dataset.source.subset(torch.arange(num))
    batches = Loader(source, Preprocessing(image_size), batch_size, CPU, seed=3)
    return [(batch.images, batch.labels) for batch in batches.epoch(1)]


class Pairs:
    """Batches as they come, each a step, as what the loops iterate over."""

    def __init__(self, batches: Iterable[tuple[Tensor, Tensor] | MicroBatch]) -> None:
        self.batches = batches

    num_steps = 1

    def epoch(self, epoch: int = 1, *, start: int = 0, end: int | None = None) -> Iterator[MicroBatch]:
        return (MicroBatch(*batch) for batch in self.batches)


class EachStep(Reporter):
    """Call something after each step."""

    def __init__(self, do: Callable[[], None]) -> None:
        self.do = do

    def step(self, *numbers: object) -> None:
        self.do()


def one_epoch(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor] | MicroBatch],
    *,
    precision: Precision = FP32,
    scaler: torch.amp.GradScaler | None = None,
    criterion: Criterion = nn.functional.cross_entropy,
    grad_clip: float = 0.0,
    on_step: Callable[[], None] = lambda: None,
) -> Meter:
    """Train on the batches once by the loop, with Adam at 0.001, and return its sums."""
    config = TrainConfig(model="lenet", grad_clip=grad_clip)
    dataset = Dataset("none", tuple("0123456789"), 1, Resident(torch.empty(0), torch.empty(0)), Path(), "")
    state = setup.make_state(config, model, dataset, Preprocessing(28), CPU, precision, criterion=criterion)
    state.scaler = scaler or state.scaler
    assert loop.train_one_epoch(state, model, Pairs(batches), EachStep(on_step), StopSignal(ALONE))
    return state.meter


def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor] | MicroBatch]) -> Evaluation:
    """Evaluate on the batches by the loop."""
    scoring = Scoring(CPU, FP32, nn.functional.cross_entropy, 1, "test")
    outcome = loop.evaluate(model, Pairs(batches), scoring, Reporter(), StopSignal(ALONE))
    assert outcome is not None
    return outcome
