"""What ``cnnzoo eval`` has saved of a run, where it is to be believed, so that it need not be computed again.

It is believed where it is of the very checkpoint, of test images, and where its files agree with each other.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray

from cnnzoo.analysis.eval.evaluation import EvaluationFigures, EvaluationResult, Predictions, evaluate
from cnnzoo.analysis.eval.intervals import wilson_interval
from cnnzoo.analysis.eval.test_images import held_out_images
from cnnzoo.analysis.trained_net import TrainedNet
from cnnzoo.config_file import read_recorded
from cnnzoo.data.datasets import full_name, short_name
from cnnzoo.errors import UsageError
from cnnzoo.files import file_sha256
from cnnzoo.runs.evaluated import SavedPredictions, read_evaluation, read_predictions
from cnnzoo.training.reporter import Reporter
from cnnzoo.validation import check


def saved_figures(
    folder: Path,
    checkpoint: Path,
    *,
    dataset: str | None = None,
    ten_crop: bool | None = None,
    precision: str | None = None,
) -> EvaluationFigures | None:
    """Return the figures that the ``eval.json`` in a folder has of a checkpoint and test images.

    Args:
        folder: The run, or a folder ``eval-NAME`` in it.
        checkpoint: The checkpoint's file.
        dataset: Full name of the data set; by default any.
        ten_crop: Whether ten squares of each image were averaged; by default either.
        precision: Number format of the forward pass; by default any.

    Returns:
        None where there are none, or those of another checkpoint or of other images, or a figure is lacking.
    """
    types = get_type_hints(EvaluationFigures)
    try:
        values = read_evaluation(folder).values
        names = [each.name for each in fields(EvaluationFigures) if each.name in values]
        figures = EvaluationFigures(**{name: check(name, types[name], values[name]) for name in names})
        is_meant = (
            figures.split == "test"
            and dataset in (None, figures.dataset)
            and ten_crop in (None, figures.ten_crop)
            and precision in (None, figures.precision)
            and figures.checkpoint_sha256 == file_sha256(checkpoint)
        )
    except (OSError, ValueError, TypeError, UsageError):  # there are none, or they are damaged
        return None
    return figures if is_meant else None


def _saved_predictions(folder: Path, figures: EvaluationFigures) -> SavedPredictions | None:
    """Return the predictions beside figures; None where these are not of them."""
    try:
        saved = read_predictions(folder)
        is_same = saved.confusion([row.name for row in figures.classes]) == figures.confusion
    except (OSError, ValueError):
        return None
    return saved if is_same else None


def saved_result(net: TrainedNet, reporter: Reporter) -> EvaluationResult | None:
    """Return the evaluation that a net's run has saved, if it is of this very checkpoint and these very images.

    The logits are the logarithms of the saved probabilities.

    Args:
        net: Of that checkpoint.
        reporter: Told of progress.

    Returns:
        None where nothing was saved, or not of this checkpoint, or where its files do not fit together.

    Raises:
        CnnzooError: The images cannot be had.
    """
    figures = saved_figures(net.run, net.path, precision=net.precision.name)
    saved = _saved_predictions(net.run, figures) if figures else None
    if figures is None or saved is None or net.classes != tuple(row.name for row in figures.classes):
        return None
    try:
        probabilities = torch.tensor(list(saved.probabilities(net.classes)), dtype=torch.float32)
    except ValueError:
        return None
    images = held_out_images(net.saved, net.path, net.config, None, reporter)
    places = {name: place for place, name in enumerate(net.classes)}
    labels, predicted = (
        torch.tensor([places[n] for n in names]) for names in (saved.labels, saved.predictions)
    )
    is_same = (
        images.dataset.sha256 == figures.data_sha256
        and torch.equal(images.source.labels, labels)
        and torch.equal(probabilities.argmax(1), predicted)
    )
    predictions = Predictions(probabilities.log(), labels, net.classes, images, net.preprocessing)
    return EvaluationResult(**vars(figures), predictions=predictions) if is_same else None


@dataclass(frozen=True, eq=False)
class RunPredictions:
    """A run's test predictions, read from eval's files or computed.

    Attributes:
        dataset: The data set of the test images.
        data_sha256: Checksum of the images.
        classes: The net's classes, in its order.
        images: The images' file names, or their indices where they have none, ``(N,)``.
        are_files: Whether they have file names.
        labels: Names of the true classes, ``(N,)``.
        predicted: Names of the predicted classes, ``(N,)``.
    """

    dataset: str
    data_sha256: str
    classes: tuple[str, ...]
    images: NDArray[np.str_]
    are_files: bool
    labels: NDArray[np.str_]
    predicted: NDArray[np.str_]

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each prediction is correct, ``(N,)``."""
        return np.equal(self.labels, self.predicted)

    @property
    def accuracy(self) -> float:
        """Share of the predictions that are correct."""
        return int(self.correct.sum()) / len(self.correct)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the accuracy (Wilson)."""
        return wilson_interval(int(self.correct.sum()), len(self.correct))

    def has_images_of(self, other: "RunPredictions", *, decoded_alike: bool) -> bool:
        """Whether both are of the same images.

        Args:
            other: The other one.
            decoded_alike: Whether the same file gives both nets the same pixels; where it does not (nets of other
                sizes), the files' names tell.
        """
        same = np.array_equal(self.images, other.images) and np.array_equal(self.labels, other.labels)
        if decoded_alike or not (self.are_files and other.are_files):
            return same and self.data_sha256 == other.data_sha256
        return same


def run_predictions(
    run: Path,
    dataset: str | None,
    *,
    data_dir: Path | None = None,
    reporter: Reporter,
) -> RunPredictions:
    """Return the predictions of a run's best.pt for test images.

    They are read where ``cnnzoo eval`` has saved them; else the checkpoint is evaluated, and that saved.

    Args:
        run: Its folder.
        dataset: Another data set than its own.
        data_dir: Where named data sets lie.
        reporter: Told of progress.

    Raises:
        CnnzooError: The checkpoint or the images cannot be used.
    """
    best = run / "best.pt"
    full = None if dataset is None else full_name(dataset)
    saves = True
    for folder in [run] if full is None else [run, run / f"eval-{short_name(full)}"]:
        figures = saved_figures(folder, best, dataset=full)
        if figures is None:
            continue
        if figures.ten_crop or figures.precision != read_recorded(run).get("precision", figures.precision):
            saves = False  # these figures were asked for by name, and stay
        elif saved := _saved_predictions(folder, figures):
            return RunPredictions(
                figures.dataset,
                figures.data_sha256,
                tuple(row.name for row in figures.classes),
                np.array(saved.images),
                saved.are_files,
                np.array(saved.labels),
                np.array(saved.predictions),
            )
    result = evaluate(best, dataset=dataset, data_dir=data_dir, save=saves, reporter=reporter)
    computed = result.predictions
    names, files = np.array(computed.classes), computed.images.file_names
    return RunPredictions(
        result.dataset,
        result.data_sha256,
        computed.classes,
        np.array(files if files is not None else [str(index) for index in range(len(computed.labels))]),
        files is not None,
        names[computed.labels.numpy()],
        names[computed.logits.argmax(1).numpy()],
    )
