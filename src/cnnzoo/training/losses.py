"""Losses by name, weights of the classes, a model's own loss, and the loss of guessing."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo.config import TrainConfig
from cnnzoo.errors import CnnzooError, UsageError, did_you_mean, named, one_line, shown
from cnnzoo.files import composed, expanded
from cnnzoo.plain_csv import read_table
from cnnzoo.plain_yaml import read_mapping
from cnnzoo.registries import LOSSES

Criterion = Callable[[Tensor, Tensor], Tensor]
"""From logits ``(N, K)`` and labels ``(N,)``, or probabilities ``(N, K)``, to their mean loss ``()``."""

CROSS_ENTROPY = "cross_entropy"
"""Name of the default loss."""

BALANCED = "balanced"
"""Stands for weights that make every class count as much."""


def register_loss(name: str) -> Callable[[Criterion], Criterion]:
    """Register the decorated function as loss ``name``.

    It is called with logits ``(N, K)`` and targets: labels ``(N,)``, or probabilities ``(N, K)`` of mixed images
    (mixup, cutmix). It returns the mean loss of the images ``()``.

    Raises:
        CnnzooError: The name is taken.
    """
    return LOSSES.registering(name)


@register_loss("cross_entropy")
def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over images of -Σ target_k log softmax(logits)_k, in nats."""
    return F.cross_entropy(logits, targets)


@register_loss("mse")
def mse(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over images and classes of (logit - target)².

    The target of a label is 1 for its class and 0 for the others; of a mixed image it is the probabilities. Hui and
    Belkin, "Evaluation of Neural Architectures Trained with Square Loss vs Cross-Entropy in Classification Tasks",
    ICLR 2021, train classifiers so, without softmax.
    """
    if targets.ndim == 1:
        targets = F.one_hot(targets, logits.shape[1])
    return F.mse_loss(logits.float(), targets.float())


def criterion_of(
    model: nn.Module,
    label_smoothing: float = 0.0,
    *,
    loss: str = CROSS_ENTROPY,
    mixed: bool = False,
    class_weights: Tensor | None = None,
) -> Criterion:
    """Return the model's own loss if it has one, else a registered one.

    Args:
        model: The network.
        label_smoothing: Share of each target that is spread over all classes, in cross-entropy.
        loss: Name of the registered loss.
        mixed: Whether targets are probabilities, of mixed images.
        class_weights: What each class counts in cross-entropy ``(K,)``; None for all the same.

    Raises:
        UsageError: The name is unknown, or the model has a loss of its own, which takes none of this.
    """
    own: Criterion | None = getattr(model, "criterion", None)
    if own is None:
        if loss != CROSS_ENTROPY:
            LOSSES.check(loss)
            return cast("Criterion", LOSSES.entries[loss])
        if class_weights is None:
            return partial(F.cross_entropy, label_smoothing=label_smoothing)
        return partial(_weighted, class_weights=class_weights, label_smoothing=label_smoothing)
    if loss != CROSS_ENTROPY:
        raise UsageError(
            f"this net has a loss of its own, which --loss {loss} does not replace. Leave it out."
        )
    if label_smoothing:
        raise UsageError("this net has a loss of its own, which knows no --label-smoothing. Leave it out.")
    if class_weights is not None:
        raise UsageError("this net has a loss of its own, which knows no --class-weights. Leave it out.")
    if mixed:
        raise UsageError(
            "this net has a loss of its own, which takes a label for each image, and no mixture of two. "
            "Leave mixup and cutmix out of --augment."
        )
    return own


def _weighted(logits: Tensor, targets: Tensor, *, class_weights: Tensor, label_smoothing: float) -> Tensor:
    """Return the mean over the images of weight times loss ``()``.

    torch's own mean divides by the sum of the batch's weights, so that an image would count by what it stands beside.
    A probability of a class, of a mixed image or a smoothed label, weighs what that class does.
    """
    losses = F.cross_entropy(
        logits,
        targets,
        weight=class_weights.to(logits.dtype),
        label_smoothing=label_smoothing,
        reduction="none",
    )
    return losses.mean()


def class_weights_of(setting: str, labels: Tensor, classes: Sequence[str]) -> Tensor:
    """Return what each class counts in the loss, float32 ``(K,)``: 1 on average over the images.

    Args:
        setting: ``balanced``: in inverse proportion to its images; or a file with a weight for each class, lines such
            as ``cat: 2.0``, or a table whose first column has the classes and whose last one the weights. Names stay
            as they are written.
        labels: Of the images to train on, ``(N,)``.
        classes: Names of the classes.

    Raises:
        CnnzooError: The file cannot be read, or is no such file.
    """
    counts = torch.bincount(labels.cpu(), minlength=len(classes)).double()
    if setting == BALANCED:
        weights = torch.where(counts > 0, 1 / counts.clamp_min(1), 0)
    else:
        classes = [*map(composed, classes)]
        by_name = {composed(name): weight for name, weight in _weights_in(expanded(Path(setting))).items()}
        for name in by_name:
            if name not in classes:
                hint = did_you_mean(name, classes)
                raise UsageError(
                    f"unknown class {shown(name)} in {setting}. {hint}There are: {named(classes)}."
                )
        if missing := [name for name in classes if name not in by_name]:
            raise UsageError(f"{setting} has no weight for {named(missing)}. Add a line for each class.")
        weights = torch.tensor([by_name[name] for name in classes], dtype=torch.float64)
    mean = (weights * counts).sum() / counts.sum()
    if not mean > 0:
        raise UsageError(f"the weights in {setting} are 0 for all images. Give one class a weight above 0.")
    return (weights / mean).float()


def _weights_in(path: Path) -> Mapping[str, float]:
    if path.suffix.lower() in (".csv", ".tsv"):
        table = read_table(path, "the CSV file of weights")
        rows = [table.header, *(row.cells for row in table.rows)]
        has_headings = math.isnan(_number(table.header[-1]))
        values: dict[str, Any] = {row[0]: row[-1] for row in rows[has_headings:]}
        if twice := [name for name, num in Counter(row[0] for row in rows).items() if num > 1]:
            raise UsageError(f"{path} has {named(twice)} more than once. Keep one line for each class.")
    else:
        values = read_mapping(path, as_text=True)
    weights = {name: _number(value) for name, value in values.items()}
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise UsageError(
                f"{path}: the weight of {name} must be a number of at least 0, not {shown(values[name])}."
            )
    return weights


def _number(text: object) -> float:
    """Return the number that a text is; NaN where it is none."""
    try:
        return float(str(text))
    except ValueError:
        return math.nan


class Guess(NamedTuple):
    """What a net comes to that has learnt nothing but how frequent each class is.

    Attributes:
        loss: The entropy of the targets, in nats.
        accuracy: The share of the most frequent class.
    """

    loss: float
    accuracy: float


NO_GUESS = Guess(math.inf, 0.0)
"""Stands for a loss that nothing is compared with."""


def loss_of(
    config: TrainConfig,
    model: nn.Module,
    labels: Tensor,
    classes: Sequence[str],
    *,
    mixed: bool,
    device: torch.device,
) -> tuple[Criterion, Guess]:
    """Return the loss that a run's settings ask for, and what guessing comes to in it where it is the cross-entropy.

    Args:
        config: The settings.
        model: The network.
        labels: Of the images to train on, ``(N,)``.
        classes: Names of the classes.
        mixed: Whether targets are probabilities, of mixed images.
        device: Where it is computed.

    Raises:
        CnnzooError: Its weights cannot be read, the net has a loss of its own that takes none of this, or a registered
            loss fails.
    """
    weights = None
    if config.class_weights is not None:
        weights = class_weights_of(config.class_weights, labels, classes)
    criterion = criterion_of(
        model,
        config.label_smoothing,
        loss=config.loss,
        mixed=mixed,
        class_weights=None if weights is None else weights.to(device),
    )
    if config.loss != CROSS_ENTROPY:
        _try(config.loss, criterion, len(classes), mixed=mixed, device=device)
    if config.loss != CROSS_ENTROPY or getattr(model, "criterion", None) is not None:
        return criterion, NO_GUESS
    counts = torch.bincount(labels.cpu(), minlength=len(classes)).double()
    return criterion, guess_of(
        (counts > 0).double() if config.sampler == "balanced" else counts, weights, config.label_smoothing
    )


def _try(name: str, loss: Criterion, num_classes: int, *, mixed: bool, device: torch.device) -> None:
    """Compute a registered loss of two images, whose logits are 0.

    Raises:
        CnnzooError: It fails, or is no mean over the images that has a gradient.
    """
    logits = torch.zeros(2, num_classes, device=device, requires_grad=True)
    labels = torch.zeros(2, dtype=torch.long, device=device)
    targets = F.one_hot(labels, num_classes).float() if mixed else labels
    what = "probabilities of mixed images" if mixed else "labels"
    try:
        value = loss(logits, targets)
    except Exception as error:  # whatever a custom function raises
        raise CnnzooError(
            f"loss {name} fails on logits {tuple(logits.shape)} and {what} {tuple(targets.shape)}: {one_line(error)}. "
            "Correct it, or choose another --loss."
        ) from error
    if not (isinstance(value, Tensor) and value.ndim == 0 and value.requires_grad):
        shape = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise CnnzooError(
            f"loss {name} returns {shape}, not the mean of the images () with a gradient. Correct it."
        )


def guess_of(drawn: Tensor, weights: Tensor | None = None, label_smoothing: float = 0.0) -> Guess:
    """Return what guessing comes to.

    Args:
        drawn: How often each class is drawn, ``(K,)``, in any unit.
        weights: What each class counts in the loss, 1 on average over the images.
        label_smoothing: Share of each target that is spread over all classes.
    """
    shares = drawn.double() / drawn.sum()
    # What each class's logarithm counts in the mean loss, which is least where probabilities are in proportion.
    mass = (1 - label_smoothing) * shares + label_smoothing / len(shares)
    if weights is not None:
        mass = mass * weights.double()
    loss = -torch.special.xlogy(mass, mass / mass.sum()).sum()
    return Guess(float(loss), float(shares.max()))
