"""The numerical heart: one epoch of training, one pass of evaluation."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo.device import Precision
from cnnzoo.errors import CnnzooError
from cnnzoo.optimizers import Optimizer

Batch = tuple[Tensor, Tensor]
"""Images float32 ``(N, C, H, W)`` and labels int64 ``(N,)``, on the device."""

OnStep = Callable[["Totals"], None]
"""Called after each step; what it raises ends the epoch at that step's boundary."""


READ_SECONDS = 10
"""How long sums may wait on the device; they are fetched so that a loss of NaN ends an epoch of hours soon."""


class NonFiniteLossError(CnnzooError):
    """The loss of a step is NaN or infinite."""


class Totals:
    """Sums over the images seen so far in an epoch.

    What a step yields stays on the device, so that no step waits for a number or counts what can be counted for
    many steps at once; ``read`` fetches it.
    """

    def __init__(self, state: dict[str, float] | None = None, *, step_name: str = "step") -> None:
        state = state or {}
        self.step_name = step_name
        self.steps = int(state.get("steps", 0))
        self.images = int(state.get("images", 0))
        self._loss = state.get("loss", 0.0)
        self._correct = int(state.get("correct", 0))
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []
        self._started = self._read = time.perf_counter()
        self._images_before = self.images

    def add(self, loss: Tensor, predictions: Tensor, labels: Tensor) -> None:
        """Count a step: its mean loss ``()``, its predicted and its true classes ``(N,)``."""
        self._pending.append((loss.detach(), predictions, labels))
        self.images += len(labels)
        self.steps += 1
        if time.perf_counter() - self._read > READ_SECONDS:
            self.read()

    def read(self) -> tuple[float, float]:
        """Return mean loss and accuracy so far, per image as the tutorial counts them.

        Raises:
            NonFiniteLossError: A step's loss is NaN or infinite; the message names the step.
        """
        if self._pending:
            losses, predictions, labels = zip(*self._pending, strict=True)
            values = torch.stack(losses).cpu().double()
            if not values.isfinite().all():
                step = self.steps - len(values) + int((~values.isfinite()).nonzero()[0]) + 1
                raise NonFiniteLossError(f"{self.step_name} {step}")
            # One by one, as the tutorial adds them.
            for value, truths in zip(values.tolist(), labels, strict=True):
                self._loss += value * len(truths)
            self._correct += int((torch.cat(predictions) == torch.cat(labels)).sum())
            self._pending.clear()
            self._read = time.perf_counter()
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
    optimizer: Optimizer,
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
    steps = cast("torch.optim.Optimizer", optimizer)  # as far as the scaler cares
    for images, labels in batches:
        optimizer.lr = lr_at_step(totals.steps + 1)

        with precision.autocast(device):
            logits = model(images)
            loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)

        optimizer.zero_grad()
        scaler.scale(loss).backward()
        if grad_clip:
            scaler.unscale_(steps)
            nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
        scaler.step(steps)
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
    with precision.autocast(device):  # around all batches, since it casts each weight once
        for images, labels in batches:
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            predictions.append(logits.argmax(1))
            truths.append(labels)
            totals.add(loss, predictions[-1], labels)
            on_step(totals)
    loss_mean, accuracy = totals.read()
    return Evaluation(loss_mean, accuracy, torch.cat(predictions).cpu(), torch.cat(truths).cpu())


def dry_run(model: nn.Module, num_classes: int, image: tuple[int, int, int], device: torch.device) -> int:
    """Run the model on two black images, and count what it does.

    Args:
        model: On ``device``.
        num_classes: How many logits an image should have.
        image: Shape ``(C, H, W)``.
        device: Where.

    Returns:
        Multiply-adds of an image in convolutions and matrix products, the biases left out.

    Raises:
        CnnzooError: The outputs are not one logit a class.
    """
    mult_adds = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal mult_adds
        weight = module.get_parameter("weight")
        mult_adds += weight.numel() * output.numel() // weight.shape[0]  # each weight once an output position

    hooks = [
        module.register_forward_hook(count)
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    images = torch.zeros(2, *image, device=device)
    with torch.inference_mode(), torch.random.fork_rng(devices=[] if device.type == "cpu" else None):
        shape = tuple(model.eval()(images).shape)
    for hook in hooks:
        hook.remove()
    if shape != (2, num_classes):
        raise CnnzooError(
            f"the net makes {shape} of two images, and should make {(2, num_classes)}: a logit for each class."
        )
    return mult_adds // 2
