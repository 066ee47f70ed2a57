"""Losses: the cross-entropy, or the model's own."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo.errors import UsageError

Criterion = Callable[[Tensor, Tensor], Tensor]
"""From logits ``(N, K)`` and labels ``(N,)`` to their mean loss ``()``."""


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
