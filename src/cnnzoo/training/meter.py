"""Sums over the images of an epoch: mean loss and accuracy, left on the device until they are read."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from cnnzoo.data.loader import WHOLE, Part
from cnnzoo.errors import CnnzooError
from cnnzoo.runs.checkpoint import MeterState

_NOTHING = MeterState()

READ_SECONDS = 10
"""How long sums may wait on the device; they are fetched so that a loss of NaN ends an epoch of hours soon."""


class NonFiniteLossError(CnnzooError):
    """The loss of a step is NaN or infinite."""


class Totals:
    """Sums over the images seen so far in an epoch.

    What a step yields stays on the device, so that no step waits for a number or counts what can be counted for
    many steps at once; ``read`` fetches it.
    """

    def __init__(self, state: MeterState = _NOTHING, *, step_name: str = "step") -> None:
        self.step_name = step_name
        self.steps, self.images = state.steps, state.images
        self._loss, self._correct = state.loss, state.correct
        self._pending: list[tuple[int, Tensor, Tensor, Tensor]] = []
        self._started = self._read = time.perf_counter()
        self._images_before = self.images

    @classmethod
    def sum(cls, states: Sequence[MeterState]) -> "Totals":
        """Return the sums over what several processes saw, in as many steps each."""
        return cls(
            MeterState(
                steps=states[0].steps,
                images=sum(state.images for state in states),
                loss=sum(state.loss for state in states),
                correct=sum(state.correct for state in states),
            )
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

    def state(self) -> MeterState:
        """Return what ``Totals`` goes on from."""
        self.read()
        return MeterState(steps=self.steps, images=self.images, loss=self._loss, correct=self._correct)
