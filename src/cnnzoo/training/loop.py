"""The numerical heart: one epoch of training, one pass of evaluation."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import repeat
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo.data.loader import WHOLE, Part
from cnnzoo.device import Precision
from cnnzoo.training.losses import Criterion
from cnnzoo.training.meter import Totals
from cnnzoo.training.optimizers import Optimizer

Batch = tuple[Tensor, Tensor]
"""Images float32 ``(N, C, H, W)`` and labels int64 ``(N,)``, on the device."""

OnStep = Callable[["Totals"], None]
"""Called after each step; what it raises ends the epoch at that step's boundary."""


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
    criterion: Criterion,
    grad_clip: float,
    on_step: OnStep,
    parts: Iterable[Part] = repeat(WHOLE),
) -> None:
    """Train on every batch once, adding to ``totals``.

    Args:
        model: On ``device``; wrapped in DistributedDataParallel where several processes train it.
        batches: What is left of the epoch.
        optimizer: Of the model's parameters.
        totals: Sums over the epoch; ``totals.steps`` says how many steps are done already.
        device: Where the batches are.
        precision: Of the forward and backward pass.
        scaler: Keeps fp16 gradients from vanishing; does nothing otherwise.
        lr_at_step: Learning rate of a step of this epoch, from 1.
        criterion: From logits ``(N, K)`` and labels ``(N,)`` to the mean loss ``()``.
        grad_clip: Largest norm of the gradient; 0 for no limit.
        on_step: Called after each step.
        parts: What each of the batches is in its step.
    """
    model.train()
    for_scaler = cast("torch.optim.Optimizer", optimizer)  # as far as it cares
    gathering = getattr(model, "no_sync", nullcontext)  # the processes' gradients meet once a step
    for (images, labels), part in zip(batches, parts, strict=False):
        optimizer.lr = lr_at_step(totals.steps + 1)

        with nullcontext() if part.ends_step else gathering():
            with precision.autocast(device):
                logits = model(images)
                loss = criterion(logits, labels)
            scaler.scale(loss).backward(part.weight)
        totals.add(loss, logits.argmax(1), labels, part)
        if not part.ends_step:
            continue

        if grad_clip:
            scaler.unscale_(for_scaler)
            nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
        scaler.step(for_scaler)
        scaler.update()
        on_step(totals)
        optimizer.zero_grad()


@dataclass(frozen=True)
class Evaluation:
    """What a pass over labelled images gave.

    Attributes:
        totals: Sums over the images.
        top5_accuracy: Share of images whose label is among the five highest.
        predictions: Predicted classes, int64 ``(N,)``, in the images' order.
        labels: True classes, int64 ``(N,)``.
    """

    totals: Totals
    top5_accuracy: float
    predictions: Tensor
    labels: Tensor

    @property
    def loss(self) -> float:
        """Mean loss per image; the cross-entropy in nats, unless the net has a loss of its own."""
        return self.totals.read()[0]

    @property
    def accuracy(self) -> float:
        """Share of images whose highest logit is their label's."""
        return self.totals.read()[1]


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    device: torch.device,
    precision: Precision,
    criterion: Criterion = F.cross_entropy,
    on_step: OnStep = lambda _: None,
    parts: Iterable[Part] = repeat(WHOLE),
) -> Evaluation:
    """Run the model over every batch once, with dropout off and no gradients.

    Batches that ``parts`` do not count are left out; one of them has to count.

    Raises:
        NonFiniteLossError: The loss of a batch is NaN or infinite.
    """
    model.eval()
    totals = Totals(step_name="validation batch")
    predictions, truths, top5 = [], [], []
    with precision.autocast(device):  # around all batches, since it casts each weight once
        for (images, labels), part in zip(batches, parts, strict=False):
            logits = model(images)
            loss = criterion(logits, labels)
            chosen = logits.argmax(1)
            totals.add(loss, chosen, labels, part)
            if part.counts:
                predictions.append(chosen)
                truths.append(labels)
                top5.append((logits.topk(min(5, logits.shape[1])).indices == labels[:, None]).sum())
            on_step(totals)
    totals.read()
    return Evaluation(
        totals,
        float(torch.stack(top5).sum()) / totals.images,
        torch.cat(predictions).cpu(),
        torch.cat(truths).cpu(),
    )
