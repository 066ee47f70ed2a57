"""How well a net tells images apart: figures over all images and of each class, by torchmetrics."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cnnzoo.analysis.eval.intervals import wilson_interval

BINS = 15
"""Of probabilities, for the calibration error (Guo et al. 2017, section 4)."""


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
    from torchmetrics.functional import classification

    num_classes = len(classes)
    predictions = logits.argmax(1)  # (N,)
    counts = labels.bincount(minlength=num_classes)
    precision, recall, f1 = per_class = [
        measure(predictions, labels, num_classes, average="none")
        for measure in (
            classification.multiclass_precision,
            classification.multiclass_recall,
            classification.multiclass_f1_score,
        )
    ]
    hits = int((predictions == labels).sum())
    low, high = wilson_interval(hits, len(labels))
    confusion = classification.multiclass_confusion_matrix(predictions, labels, num_classes)
    error = classification.multiclass_calibration_error(logits.softmax(1), labels, num_classes, n_bins=BINS)
    return Scores(
        accuracy=hits / len(labels),
        accuracy_low=low,
        accuracy_high=high,
        top_k=min(top_k, num_classes),
        top_k_accuracy=top_accuracy(logits, labels, top_k),
        top5_accuracy=top_accuracy(logits, labels, 5),
        macro=_means(per_class, (counts > 0).float()),
        weighted=_means(per_class, counts.float()),
        calibration_error=float(error),
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
    """Return mean probability of the likeliest class, accuracy, and images of each of BINS bins of that probability."""
    confidence, predictions = probabilities.max(1)
    right = (predictions == labels).double()
    places = (confidence * BINS).long().clamp(max=BINS - 1)
    bins = []
    for place in range(BINS):
        inside = places == place
        num = int(inside.sum())
        if num:
            bins.append((float(confidence[inside].mean()), float(right[inside].mean()), num))
    return bins
