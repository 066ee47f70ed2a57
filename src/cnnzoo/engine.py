"""The numerical heart: one epoch of training, one pass of evaluation."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo.device import Precision
from cnnzoo.errors import CnnzooError

Batch = tuple[Tensor, Tensor]
"""Images float32 ``(N, C, H, W)`` and labels int64 ``(N,)``, on the device."""

OnStep = Callable[["Totals"], None]
"""Called after each step; what it raises ends the epoch at that step's boundary."""


READ_EVERY = 100
"""Steps after which sums are fetched from the device, so that a loss of NaN is noticed before the epoch ends."""


class NonFiniteLossError(CnnzooError):
    """The loss of a step is NaN or infinite."""


class Totals:
    """Sums over the images seen so far in an epoch.

    What a step yields stays on the device, so that no step waits for a number; ``read`` fetches them.
    """

    def __init__(self, state: dict[str, float] | None = None, *, step_name: str = "step") -> None:
        state = state or {}
        self.step_name = step_name
        self.steps = int(state.get("steps", 0))
        self.images = int(state.get("images", 0))
        self._loss = state.get("loss", 0.0)
        self._correct = int(state.get("correct", 0))
        self._pending: list[tuple[Tensor, Tensor, int]] = []
        self._started = time.perf_counter()
        self._images_before = self.images

    def add(self, loss: Tensor, predictions: Tensor, labels: Tensor) -> None:
        """Count a step: its mean loss ``()``, its predicted and its true classes ``(N,)``."""
        self._pending.append((loss.detach(), (predictions == labels).sum(), len(labels)))
        self.images += len(labels)
        self.steps += 1
        if len(self._pending) == READ_EVERY:
            self.read()

    def read(self) -> tuple[float, float]:
        """Return mean loss and accuracy so far, per image as the tutorial counts them.

        Raises:
            NonFiniteLossError: A step's loss is NaN or infinite; the message names the step.
        """
        if self._pending:
            losses, corrects, sizes = zip(*self._pending, strict=True)
            values = torch.stack(losses).cpu().double()
            if not values.isfinite().all():
                step = self.steps - len(sizes) + int((~values.isfinite()).nonzero()[0]) + 1
                raise NonFiniteLossError(f"{self.step_name} {step}")
            for value, size in zip(
                values.tolist(), sizes, strict=True
            ):  # one by one, as the tutorial adds them
                self._loss += value * size
            self._correct += int(torch.stack(corrects).sum())
            self._pending.clear()
        return self._loss / max(self.images, 1), self._correct / max(self.images, 1)

    @property
    def rate(self) -> float:
        """Images a second since these sums were begun or taken up again."""
        return (self.images - self._images_before) / max(time.perf_counter() - self._started, 1e-9)

    def state(self) -> dict[str, float]:
        """Return plain values from which ``Totals`` goes on."""
        self.read()
        return {"steps": self.steps, "images": self.images, "loss": self._loss, "correct": self._correct}


def train_one_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    totals: Totals,
    *,
    device: torch.device,
    precision: Precision,
    scaler: torch.amp.GradScaler,
    lr_at_step: Callable[[int], float],
    label_smoothing: float,
    grad_clip: float,
    on_step: OnStep,
) -> None:
    """Train on every batch once, adding to ``totals``.

    Args:
        model: On ``device``.
        batches: What is left of the epoch.
        optimizer: Of the model's parameters.
        totals: Sums over the epoch; ``totals.steps`` says how many steps are done already.
        device: Where the batches are.
        precision: Of the forward and backward pass.
        scaler: Keeps fp16 gradients from vanishing; does nothing otherwise.
        lr_at_step: Learning rate of a step of this epoch, from 1.
        label_smoothing: Share of each target spread over all classes.
        grad_clip: Largest norm of the gradient; 0 for no limit.
        on_step: Called after each step.
    """
    model.train()
    for images, labels in batches:
        for group in optimizer.param_groups:
            group["lr"] = lr_at_step(totals.steps + 1)

        with precision.autocast(device):
            logits = model(images)
            loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)

        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        if grad_clip:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
        scaler.step(optimizer)
        scaler.update()

        totals.add(loss, logits.argmax(1), labels)
        on_step(totals)


@dataclass(frozen=True)
class Evaluation:
    """What a pass over labelled images gave.

    Attributes:
        loss: Mean cross-entropy per image, in nats.
        accuracy: Share of images whose highest logit is their label's.
        predictions: Predicted classes, int64 ``(N,)``, in the images' order.
        labels: True classes, int64 ``(N,)``.
    """

    loss: float
    accuracy: float
    predictions: Tensor
    labels: Tensor


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    device: torch.device,
    precision: Precision,
    on_step: OnStep = lambda _: None,
) -> Evaluation:
    """Run the model over every batch once, with dropout off and no gradients.

    Raises:
        NonFiniteLossError: The loss of a batch is NaN or infinite.
    """
    model.eval()
    totals = Totals(step_name="validation batch")
    predictions, truths = [], []
    for images, labels in batches:
        with precision.autocast(device):
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
        predictions.append(logits.argmax(1))
        truths.append(labels)
        totals.add(loss, predictions[-1], labels)
        on_step(totals)
    loss_mean, accuracy = totals.read()
    return Evaluation(loss_mean, accuracy, torch.cat(predictions).cpu(), torch.cat(truths).cpu())


def make_optimizer(
    model: nn.Module, name: str, *, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return the optimizer of that name over all the model's parameters, its update fused into one pass."""
    settings: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, "fused": True}
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=momentum, **settings)
    adam = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return adam(model.parameters(), **settings)
