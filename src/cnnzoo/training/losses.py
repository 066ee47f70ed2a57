"""Losses: the cross-entropy, or the model's own."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo.errors import UsageError

Criterion = Callable[[Tensor, Tensor], Tensor]
"""From logits ``(N, K)`` and labels ``(N,)``, or probabilities ``(N, K)``, to their mean loss ``()``."""


def criterion_of(model: nn.Module, label_smoothing: float = 0.0, *, mixed: bool = False) -> Criterion:
    """Return the model's own loss if it has one, else the cross-entropy.

    Args:
        model: The network.
        label_smoothing: Share of each target that is spread over all classes.
        mixed: Whether targets are probabilities, of mixed images.

    Raises:
        UsageError: It has one, which takes labels as they are.
    """
    own: Criterion | None = getattr(model, "criterion", None)
    if own is None:
        return partial(F.cross_entropy, label_smoothing=label_smoothing)
    if label_smoothing:
        raise UsageError("this net has a loss of its own, which knows no --label-smoothing. Leave it out.")
    if mixed:
        raise UsageError(
            "this net has a loss of its own, which takes a label for each image, and no mixture of two. "
            "Leave mixup and cutmix out of --augment."
        )
    return own
