"""How well a net tells images apart: figures over all images and of each class."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cnnzoo.analysis.eval.intervals import wilson_interval

BINS = 15
"""Number of bins of equal width for the calibration error (Guo et al. 2017, section 4)."""


@dataclass(frozen=True)
class Means:
    """Means of the classes' figures.

    Attributes:
        precision: Of their precisions.
        recall: Of their recalls.
        f1: Of their F1.
    """

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassScores:
    """How well one class was told apart.

    Attributes:
        name: The class.
        precision: Share of the images put into it that belong there; 0 where none was.
        recall: Share of its images that were put into it; 0 where it has none.
        f1: Harmonic mean of the two.
        count: Its images, the support.
    """

    name: str
    precision: float
    recall: float
    f1: float
    count: int


@dataclass(frozen=True)
class Confusion:
    """Images of one class that were put into another.

    Attributes:
        label: Their class.
        prediction: The one that they were put into.
        count: How many.
        share: Of the images of their class.
    """

    label: str
    prediction: str
    count: int
    share: float


@dataclass(frozen=True)
class Scores:
    """Figures over labelled images.

    Attributes:
        accuracy: Share of the images whose class is the likeliest.
        accuracy_low: Lower end of the 95% interval (Wilson).
        accuracy_high: Upper end.
        top_k: Of ``top_k_accuracy``.
        top_k_accuracy: Share of the images whose class is among the ``top_k`` likeliest.
        top5_accuracy: The same of the five likeliest.
        macro: Means over the classes that have images, each counting the same.
        weighted: Means over the classes, each counting by its images.
        calibration_error: Mean distance between the probability of the likeliest class and how often it is right, over
            BINS bins of that probability, by their images (expected calibration error; Guo et al. 2017, eq. 3).
        confusion: Images of each class, by the class that they were put into: a row for each true class.
        classes: Figures of each class.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    top_k: int
    top_k_accuracy: float
    top5_accuracy: float
    macro: Means
    weighted: Means
    calibration_error: float
    confusion: list[list[int]]
    classes: list[ClassScores]

    def confusions(self, most: int = 3) -> list[Confusion]:
        """Return the most frequent confusions, the most frequent first."""
        found = [
            Confusion(
                self.classes[row].name, self.classes[column].name, count, count / self.classes[row].count
            )
            for row, counts in enumerate(self.confusion)
            for column, count in enumerate(counts)
            if count and row != column
        ]
        return sorted(found, key=lambda confusion: -confusion.count)[:most]


def scores_of(logits: Tensor, labels: Tensor, classes: Sequence[str], *, top_k: int = 5) -> Scores:
    """Return how well predictions agree with the labels.

    Args:
        logits: Of each class, ``(N, K)``.
        labels: True classes, int64 ``(N,)``.
        classes: Their names.
        top_k: How many of the likeliest classes one may be among; more than K are K.
    """
    num_classes, num = len(classes), len(labels)
    predictions = logits.argmax(1)  # (N,)
    confusion = (labels * num_classes + predictions).bincount(minlength=num_classes**2).view(num_classes, -1)
    hits, counts = confusion.diagonal().double(), confusion.sum(1)
    predicted = confusion.sum(0)
    per_class = precision, recall, f1 = (  # without any images they are 0, as their hits are
        hits / predicted.clamp(min=1),
        hits / counts.clamp(min=1),
        2 * hits / (predicted + counts).clamp(min=1),
    )
    num_hits = int(hits.sum())
    low, high = wilson_interval(num_hits, num)
    return Scores(
        accuracy=num_hits / num,
        accuracy_low=low,
        accuracy_high=high,
        top_k=min(top_k, num_classes),
        top_k_accuracy=top_accuracy(logits, labels, top_k),
        top5_accuracy=top_accuracy(logits, labels, 5),
        macro=_means(per_class, (counts > 0).double()),
        weighted=_means(per_class, counts.double()),
        calibration_error=_calibration_error(logits.softmax(1), labels),
        confusion=confusion.tolist(),
        classes=[
            ClassScores(
                name, float(precision[label]), float(recall[label]), float(f1[label]), int(counts[label])
            )
            for label, name in enumerate(classes)
        ],
    )


def top_accuracy(scores: Tensor, labels: Tensor, k: int) -> float:
    """Return the share of images whose class is among the ``k`` with the highest scores ``(N, K)``."""
    likeliest = scores.topk(min(k, scores.shape[1])).indices
    return float((likeliest == labels[:, None]).any(1).double().mean())


def _means(per_class: Sequence[Tensor], weights: Tensor) -> Means:
    precision, recall, f1 = (float((values * weights).sum() / weights.sum()) for values in per_class)
    return Means(precision, recall, f1)


def calibration_bins(probabilities: Tensor, labels: Tensor) -> list[tuple[float, float, int]]:
    """Return mean probability of the likeliest class, accuracy, and images of each of BINS bins of that probability.

    A bin begins with its lower end; 1 is in the last one. Bins without images are left out.
    """
    confidence, predictions = probabilities.max(1)
    confidence, hits = confidence.double(), (predictions == labels).double()
    places = (confidence * BINS).long().clamp(max=BINS - 1)
    bins = []
    for place in range(BINS):
        inside = places == place
        num = int(inside.sum())
        if num:
            bins.append((float(confidence[inside].mean()), float(hits[inside].mean()), num))
    return bins


def _calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    bins = calibration_bins(probabilities, labels)
    return sum(num * abs(confidence - accuracy) for confidence, accuracy, num in bins) / len(labels)
