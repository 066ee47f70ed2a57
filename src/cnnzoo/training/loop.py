"""The numerical heart: one epoch of training, one pass of evaluation."""

import copy
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo.data.loader import WHOLE, Part
from cnnzoo.device import Precision
from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.training.optimizers import Optimizer

Batch = tuple[Tensor, Tensor]
"""Images float32 ``(N, C, H, W)`` and labels int64 ``(N,)``, on the device."""

Criterion = Callable[[Tensor, Tensor], Tensor]
"""From logits ``(N, K)`` and labels ``(N,)`` to their mean loss ``()``."""

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
        self._pending: list[tuple[int, Tensor, Tensor, Tensor]] = []
        self._started = self._read = time.perf_counter()
        self._images_before = self.images

    @classmethod
    def sum(cls, states: Sequence[dict[str, float]]) -> "Totals":
        """Return the sums over what several processes saw, in as many steps each."""
        keys = ("images", "loss", "correct")
        return cls(
            {"steps": states[0]["steps"], **{key: sum(state[key] for state in states) for key in keys}}
        )

    def add(self, loss: Tensor, predictions: Tensor, labels: Tensor, part: Part = WHOLE) -> None:
        """Count a batch: its mean loss ``()``, its predicted and its true classes ``(N,)``."""
        if part.counts:
            self._pending.append((self.steps + 1, loss.detach(), predictions, labels))
            self.images += len(labels)
        self.steps += part.ends_step
        if time.perf_counter() - self._read > READ_SECONDS:
            self.read()

    def read(self) -> tuple[float, float]:
        """Return mean loss and accuracy so far, per image as the tutorial counts them.

        Raises:
            NonFiniteLossError: A step's loss is NaN or infinite; the message names the step.
        """
        if self._pending:
            steps, losses, predictions, labels = zip(*self._pending, strict=True)
            values = torch.stack(losses).cpu().double()
            if not values.isfinite().all():
                step = steps[int((~values.isfinite()).nonzero()[0])]
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


def criterion_of(model: nn.Module, label_smoothing: float = 0.0) -> Criterion:
    """Return the model's own loss if it has one, else the cross-entropy.

    Raises:
        UsageError: It has one, and labels should be smoothed.
    """
    own: Criterion | None = getattr(model, "criterion", None)
    if own is None:
        return partial(F.cross_entropy, label_smoothing=label_smoothing)
    if label_smoothing:
        raise UsageError("this net has a loss of its own, which knows no --label-smoothing. Leave it out.")
    return own


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


def has_batch_norm(model: nn.Module) -> bool:
    """Return whether a layer of the model normalises over the images of a batch."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def check_single_image(model: nn.Module, image: tuple[int, int, int], device: torch.device) -> None:
    """See whether the model can be trained on one image: a last batch, or a share of one, may have no more.

    Args:
        model: On ``device``; a copy of it runs.
        image: Shape ``(C, H, W)``.
        device: Where.

    Raises:
        UsageError: Batch normalisation finds a single value a channel, which has no variance.
    """
    if not has_batch_norm(model):
        return
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[] if device.type == "cpu" else None):
            copy.deepcopy(model).train()(torch.zeros(1, *image, device=device))
    except ValueError as error:
        raise UsageError(
            "the last batch of an epoch has one image, or one for a process, and this net's batch normalisation "
            "needs two or more. Change --batch-size."
        ) from error


class Work(NamedTuple):
    """What a net does for an image.

    Attributes:
        mult_adds: Multiply-adds in convolutions and matrix products, the biases left out.
        outputs: Numbers that its innermost layers put out.
    """

    mult_adds: int
    outputs: int


def dry_run(model: nn.Module, num_classes: int, image: tuple[int, int, int], device: torch.device) -> Work:
    """Run the model on two black images, and count what it does.

    Args:
        model: On ``device``.
        num_classes: How many logits an image should have.
        image: Shape ``(C, H, W)``.
        device: Where.

    Raises:
        CnnzooError: The model fails on such images, or its outputs are not one logit a class.
    """
    mult_adds = outputs = 0

    def count(module: nn.Module, _: object, output: object) -> None:
        nonlocal mult_adds, outputs
        if isinstance(output, Tensor):
            outputs += output.numel()
            if isinstance(module, nn.Conv2d | nn.Linear):
                maps = module.out_channels if isinstance(module, nn.Conv2d) else module.out_features
                mult_adds += module.weight.numel() * output.numel() // maps  # once an output position

    layers = [module for module in model.modules() if not any(module.children())]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    images = torch.zeros(2, *image, device=device)
    with torch.inference_mode(), torch.random.fork_rng(devices=[] if device.type == "cpu" else None):
        try:
            shape = tuple(model.eval()(images).shape)
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            if "memory" in str(error).lower():
                raise  # named_out_of_memory's to answer
            raise CnnzooError(
                f"the net cannot take images of {'x'.join(map(str, image))}: {one_line(error)}. Change --image-size."
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
    if shape != (2, num_classes):
        raise CnnzooError(
            f"the net makes {shape} of two images, and should make {(2, num_classes)}: a logit for each class."
        )
    return Work(mult_adds // 2, outputs // 2)
