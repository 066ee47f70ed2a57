"""Sums over the images of an epoch: mean loss and accuracy, left on the device until they are read."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnzoo.data.loader import MicroBatch
from cnnzoo.errors import CnnzooError
from cnnzoo.runs.checkpoint import MeterState

READ_SECONDS = 0.5
"""How long sums may wait on the device. Then they are fetched, whoever looks on: a loss of NaN ends an epoch of hours
soon, and figures that are shown are of now."""

_NOTHING = MeterState()


class NonFiniteLossError(CnnzooError):
    """The loss of a step is NaN or infinite."""


class Meter:
    """Sums over the images seen so far in an epoch.

    What a step yields stays on the device, so that no step waits for a number or counts what can be counted for
    many steps at once; ``read`` fetches it.

    Attributes:
        steps: Done.
        images: Seen.
    """

    def __init__(self, state: MeterState = _NOTHING, *, step_name: str = "step") -> None:
        self.step_name = step_name
        self.steps, self.images = state.steps, state.images
        self._loss, self._correct, self._read_images = state.loss, state.correct, state.images
        self._pending: list[tuple[int, Tensor, Tensor, Tensor]] = []
        self._started, self._read_at = time.perf_counter(), -math.inf  # due at the first step
        self._images_before = self.images

    @classmethod
    def sum(cls, states: Sequence[MeterState]) -> "Meter":
        """Return the sums over what several processes saw, in as many steps each."""
        return cls(
            MeterState(
                steps=states[0].steps,
                images=sum(state.images for state in states),
                loss=sum(state.loss for state in states),
                correct=sum(state.correct for state in states),
            )
        )

    def update(self, loss: Tensor, predictions: Tensor, batch: MicroBatch) -> None:
        """Count a micro-batch: its mean loss ``()``, and its predicted classes ``(N,)`` beside the true ones."""
        if batch.counts:
            self._pending.append((self.steps + 1, loss.detach(), predictions, batch.labels))
            self.images += len(batch.labels)
        self.steps += batch.ends_step

    def is_due(self) -> bool:
        """Return whether the sums have waited for READ_SECONDS."""
        return time.perf_counter() - self._read_at > READ_SECONDS

    def read(self) -> tuple[float, float]:
        """Return mean loss and accuracy so far, per image as the tutorial counts them.

        Raises:
            NonFiniteLossError: A step's loss is NaN or infinite; the message names the step.
        """
        if self._pending:
            self._read_at = time.perf_counter()  # not where nothing was read, so that the first step is due
            steps, losses, predictions, labels = zip(*self._pending, strict=True)
            values = torch.stack(losses).cpu().double()
            if not values.isfinite().all():
                step = steps[int((~values.isfinite()).nonzero()[0])]
                raise NonFiniteLossError(f"{self.step_name} {step}")
            # One by one, as the tutorial adds them.
            for value, truths in zip(values.tolist(), labels, strict=True):
                self._loss += value * len(truths)
            self._correct += int((torch.cat(predictions) == torch.cat(labels)).sum())
            self._read_images = self.images
            self._pending.clear()
        return self.loss, self.accuracy

    @property
    def loss(self) -> float:
        """Mean loss over the images that were seen when the sums were last read."""
        return self._loss / max(self._read_images, 1)

    @property
    def accuracy(self) -> float:
        """Share of those images that were told right."""
        return self._correct / max(self._read_images, 1)

    @property
    def images_per_second(self) -> float:
        """Since these sums were begun or taken up again."""
        return (self.images - self._images_before) / max(time.perf_counter() - self._started, 1e-9)

    def figures(self) -> tuple[float, float, float]:
        """Return loss, accuracy and images per second, without a look at the device."""
        return self.loss, self.accuracy, self.images_per_second

    def state(self) -> MeterState:
        """Return what a ``Meter`` goes on from."""
        self.read()
        return MeterState(steps=self.steps, images=self.images, loss=self._loss, correct=self._correct)


@dataclass(frozen=True)
class Evaluation:
    """What a pass over labelled images gave.

    Attributes:
        meter: Sums over the images.
        logits: ``(N, num_classes)``, in the images' order, on the device and in the format of the forward pass.
        labels: True classes, int64 ``(N,)``, likewise.
    """

    meter: Meter
    logits: Tensor
    labels: Tensor

    @property
    def predictions(self) -> Tensor:
        """Predicted classes, int64 ``(N,)``."""
        return self.logits.argmax(1)

    @property
    def loss(self) -> float:
        """Mean loss per image: the net's own or the chosen one; the cross-entropy is in nats."""
        return self.meter.loss

    @property
    def accuracy(self) -> float:
        """Share of images whose highest logit is their label's."""
        return self.meter.accuracy
