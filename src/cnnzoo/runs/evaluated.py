"""The files that ``cnnzoo eval`` writes into a run: their names, their headings, and one reading of each.

It imports neither torch nor pandas. Whether the files are to be believed is judged in ``analysis.eval.saved``.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from operator import eq
from pathlib import Path
from typing import Any, TypeVar

EVALUATION = "eval.json"
"""The figures."""

CONFUSION = "confusion.csv"
"""The images of each class, by what was predicted."""

PREDICTIONS = "predictions.csv"
"""The images, each with its label and its prediction."""

ALL_CLASSES = 20
"""Maximum number of classes of which ``predictions.csv`` has the probability of each."""

LIKELIEST = 5
"""Number of the likeliest classes that it has of more classes."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class SavedEvaluation:
    """The content of ``eval.json``; None stands for what the file lacks.

    Attributes:
        accuracy: Share of the images whose class is the likeliest.
        split: ``test`` or ``val``.
        epoch: Epoch of the checkpoint.
        num_images: Images.
        checkpoint_sha256: Checksum of the checkpoint.
        data_sha256: Checksum of the images.
        values: Everything, as the file has it.
    """

    accuracy: float
    split: str | None
    epoch: int | None
    num_images: int | None
    checkpoint_sha256: str | None
    data_sha256: str | None
    values: Mapping[str, Any] = field(repr=False)


def read_evaluation(folder: Path) -> SavedEvaluation:
    """Return what the ``eval.json`` in a folder says.

    Raises:
        OSError: It cannot be read; FileNotFoundError where there is none.
        ValueError: It is damaged, or no evaluation.
    """
    try:
        values = json.loads((folder / EVALUATION).read_bytes())
    except RecursionError as error:
        raise ValueError(error) from error
    if not isinstance(values, dict) or not isinstance(values.get("accuracy"), float):
        raise ValueError("no accuracy in it")
    return SavedEvaluation(
        accuracy=values["accuracy"],
        split=_typed(values, "split", str),
        epoch=_typed(values, "epoch", int),
        num_images=_typed(values, "num_images", int),
        checkpoint_sha256=_typed(values, "checkpoint_sha256", str),
        data_sha256=_typed(values, "data_sha256", str),
        values=values,
    )


def _typed(values: Mapping[str, Any], name: str, kind: type[Value]) -> Value | None:
    value = values.get(name)
    if value is not None and type(value) is not kind:
        raise ValueError(f"{name} is {value!r}")
    return value


@dataclass(frozen=True)
class SavedPredictions:
    """The content of ``predictions.csv``, image by image.

    Attributes:
        are_files: Whether the images have file names; else their indices stand for them.
        images: The file names or indices.
        labels: Names of the true classes.
        predictions: Names of the predicted classes.
        headings: Headings of the cells that say how sure the net is.
        cells: These cells.
    """

    are_files: bool
    images: list[str]
    labels: list[str]
    predictions: list[str]
    headings: list[str] = field(repr=False)
    cells: list[list[str]] = field(repr=False)

    @property
    def num_correct(self) -> int:
        """Number of the correct predictions."""
        return sum(map(eq, self.labels, self.predictions))

    def confusion(self, classes: Sequence[str]) -> list[list[int]]:
        """Return the images of each class, by what was predicted: a row for each true class.

        Raises:
            ValueError: A label or a prediction is none of these classes.
        """
        pairs = Counter(zip(self.labels, self.predictions, strict=True))
        counts = [[pairs.pop((label, prediction), 0) for prediction in classes] for label in classes]
        if pairs:
            raise ValueError(f"no such classes: {' and '.join(next(iter(pairs)))}")
        return counts

    def probabilities(self, classes: Sequence[str]) -> Iterator[list[float]]:
        """Yield the probability of each class, image by image.

        Of more than ALL_CLASSES classes those of the likeliest LIKELIEST are saved: each other class has an equal share
        of what is left.

        Raises:
            ValueError: The file is of other classes, or a cell is no probability.
        """
        headings = prediction_headings(classes, are_files=self.are_files)[3:]
        if self.headings != headings:
            raise ValueError("it is of other classes")
        num_others = len(classes) - LIKELIEST
        for prediction, cells in zip(self.predictions, self.cells, strict=True):
            if len(cells) != len(headings):
                raise ValueError(f"{len(cells)} cells, and {len(headings)} headings")
            if len(classes) <= ALL_CLASSES:
                yield [float(cell) for cell in cells]
                continue
            found = dict(zip([prediction, *cells[1::2]], map(float, cells[::2]), strict=True))
            rest = max(1 - fsum(found.values()), 0.0) / num_others
            yield [found.get(name, rest) for name in classes]


def prediction_headings(classes: Sequence[str], *, are_files: bool) -> list[str]:
    """Return the headings of ``predictions.csv``: an image, its label, what was predicted, and how surely.

    Of up to ALL_CLASSES classes the probability of each, by their names; of more those of the likeliest LIKELIEST.
    """
    sureness = classes if len(classes) <= ALL_CLASSES else ranked_headings(LIKELIEST)[1:]
    return ["file" if are_files else "index", "label", "prediction", *sureness]


def ranked_headings(num: int) -> list[str]:
    """Return ``prediction, probability, prediction_2, probability_2`` and so on, for the likeliest ``num`` classes."""
    ends = ["", *(f"_{rank}" for rank in range(2, num + 1))]
    return [f"{name}{end}" for end in ends for name in ("prediction", "probability")]


def read_predictions(folder: Path) -> SavedPredictions:
    """Return what the ``predictions.csv`` in a folder says.

    Raises:
        OSError: It cannot be read; FileNotFoundError where there is none.
        ValueError: It is damaged, or another table.
    """
    with (folder / PREDICTIONS).open(newline="", encoding="utf-8") as file:
        try:
            heading, *rows = csv.reader(file)
        except csv.Error as error:
            raise ValueError(error) from error
    key, start, headings = heading[:1], heading[1:3], heading[3:]
    if key not in (["file"], ["index"]) or start != ["label", "prediction"]:
        raise ValueError(f"its columns are {', '.join(heading[:3])}")
    if short := next((row for row in rows if len(row) < 3), None):
        raise ValueError(f"a row has {len(short)} cells")
    images, labels, predictions = ([row[place] for row in rows] for place in range(3))
    return SavedPredictions(key == ["file"], images, labels, predictions, headings, [row[3:] for row in rows])
