"""Accuracy with its interval, and figures per class."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def wilson_interval(correct: int, num: int) -> tuple[float, float]:
    """Return the 95% interval of a share of ``correct`` among ``num``, as fractions.

    The score interval of E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical
    Inference", JASA 22(158), 1927, with z = 1.959964.
    """
    z = 1.959963984540054
    share = correct / num
    centre = share + z * z / (2 * num)
    spread = z * math.sqrt(share * (1 - share) / num + z * z / (4 * num * num))
    low, high = ((centre + sign * spread) / (1 + z * z / num) for sign in (-1, 1))
    return max(low, 0.0), min(high, 1.0)


@dataclass(frozen=True)
class ClassMetrics:
    """How well one class was told apart.

    Attributes:
        name: The class.
        precision: Share of the images put into it that belong there; 0 where none was.
        recall: Share of its images that were put into it; 0 where it has none.
        f1: Harmonic mean of the two.
        count: Its images.
    """

    name: str
    precision: float
    recall: float
    f1: float
    count: int


def confusion_matrix(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return int64 ``(num_classes, num_classes)``: images of the row's class put into the column's."""
    return torch.bincount(labels * num_classes + predictions, minlength=num_classes**2).view(
        num_classes, num_classes
    )


def per_class(confusion: Tensor, classes: tuple[str, ...]) -> list[ClassMetrics]:
    """Return each class's figures from a confusion matrix ``(K, K)``."""
    rows = []
    for index, name in enumerate(classes):
        hits = int(confusion[index, index])
        put, count = int(confusion[:, index].sum()), int(confusion[index].sum())
        precision, recall = hits / max(put, 1), hits / max(count, 1)
        rows.append(ClassMetrics(name, precision, recall, 2 * hits / max(put + count, 1), count))
    return rows
