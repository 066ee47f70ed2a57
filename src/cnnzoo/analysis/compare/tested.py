"""What a run's net says of its test images: read where ``cnnzoo eval`` has written it, else asked of the net."""

import csv
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.data.datasets import full_name, short_name
from cnnzoo.files import file_sha256
from cnnzoo.training.reporter import Reporter


@dataclass(frozen=True, eq=False)
class Tested:
    """A net's answers to its test images.

    Attributes:
        dataset: What it was tested on.
        data_sha256: Checksum of the images.
        classes: That the net tells apart, in its order.
        images: Their files' names, or their places where they have none, ``(N,)``.
        are_files: Whether they have names.
        labels: Names of their classes, ``(N,)``.
        answers: Names of what they were taken for, ``(N,)``.
        low: Lower end of the 95% interval of the accuracy (Wilson).
        high: Upper end.
    """

    dataset: str
    data_sha256: str
    classes: tuple[str, ...]
    images: NDArray[np.str_]
    are_files: bool
    labels: NDArray[np.str_]
    answers: NDArray[np.str_]
    low: float
    high: float

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether each answer is right, ``(N,)``."""
        return np.equal(self.labels, self.answers)

    @property
    def accuracy(self) -> float:
        """Share of the answers that are right."""
        return int(self.right.sum()) / len(self.right)

    def has_images_of(self, other: "Tested", *, decoded_alike: bool) -> bool:
        """Whether both were tested on the same images.

        Args:
            other: The other one.
            decoded_alike: Whether the same file gives both nets the same pixels; where it does not (nets of other
                sizes), the files' names tell.
        """
        same = np.array_equal(self.images, other.images) and np.array_equal(self.labels, other.labels)
        if decoded_alike or not (self.are_files and other.are_files):
            return same and self.data_sha256 == other.data_sha256
        return same


def answers_of(
    run: Path,
    dataset: str | None,
    *,
    data_dir: Path | None = None,
    reporter: Reporter,
) -> Tested:
    """Return what a run's best.pt says of test images.

    Taken from what ``cnnzoo eval`` has saved, if that is of this very checkpoint and fits together; else the checkpoint
    is evaluated, and that saved.

    Args:
        run: Its folder.
        dataset: Another data set than its own.
        data_dir: Where named data sets lie.
        reporter: Told of progress.

    Raises:
        CnnzooError: The checkpoint or the images cannot be used.
    """
    best = run / "best.pt"
    checksum = file_sha256(best)
    wanted = None if dataset is None else full_name(dataset)
    folders = [run] if wanted is None else [run, run / f"eval-{short_name(wanted)}"]
    saves = True
    for folder in folders:
        figures = _read_figures(folder)
        is_meant = wanted in (None, figures.get("dataset"))
        if not is_meant or figures.get("checkpoint_sha256") != checksum or figures.get("split") != "test":
            continue
        if figures.get("ten_crop"):
            saves = False  # these figures took longer, and stay
        elif saved := _read_saved(folder, figures):
            return saved
    result = evaluate(best, dataset=dataset, data_dir=data_dir, save=saves, reporter=reporter)
    said = result.predictions
    names = np.array(said.classes)
    files = said.images.file_names
    return Tested(
        result.dataset,
        result.data_sha256,
        said.classes,
        np.array(files if files is not None else [str(place) for place in range(len(said.labels))]),
        files is not None,
        names[said.labels.numpy()],
        names[said.logits.argmax(1).numpy()],
        result.accuracy_low,
        result.accuracy_high,
    )


def _read_figures(folder: Path) -> Mapping[str, Any]:
    """Return what eval.json holds; nothing where there is none that can be read."""
    try:
        figures = json.loads((folder / "eval.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return figures if isinstance(figures, dict) else {}


def _read_saved(folder: Path, figures: Mapping[str, Any]) -> Tested | None:
    """Return the answers that predictions.csv holds; None where they are not those of eval.json."""
    try:
        with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            heading = next(rows)
            images, labels, answers = (np.array(c) for c in zip(*(islice(r, 3) for r in rows), strict=True))
        classes = tuple(row["name"] for row in figures["classes"])
        pairs = Counter(zip(labels.tolist(), answers.tolist(), strict=True))
        counts = [[pairs.pop((label, answer), 0) for answer in classes] for label in classes]
        if heading[1:3] != ["label", "prediction"] or pairs or counts != figures["confusion"]:
            return None
        return Tested(
            str(figures["dataset"]),
            str(figures["data_sha256"]),
            classes,
            images,
            heading[0] == "file",
            labels,
            answers,
            float(figures["accuracy_low"]),
            float(figures["accuracy_high"]),
        )
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        StopIteration,
        csv.Error,
    ):  # damaged: the net is asked again
        return None
