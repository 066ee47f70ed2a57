"""What ``cnnzoo eval`` has saved of a run, so that it need not be computed again."""

import csv
import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnnzoo.analysis.eval.evaluation import ALL_CLASSES, LIKELIEST, EvaluationResult, Predictions
from cnnzoo.analysis.eval.scores import ClassScores, Means
from cnnzoo.analysis.eval.test_images import held_out_images
from cnnzoo.analysis.trained_net import TrainedNet
from cnnzoo.files import file_sha256
from cnnzoo.training.reporter import Reporter


def read_evaluation(net: TrainedNet, reporter: Reporter) -> EvaluationResult | None:
    """Return the evaluation that a net's run has saved, if it is of this very checkpoint and these very images.

    The logits are the logarithms of the saved probabilities. Of more than ALL_CLASSES classes those of the likeliest
    LIKELIEST are saved: each other class has an equal share of what is left.

    Args:
        net: Of that checkpoint.
        reporter: Told of progress.

    Returns:
        None where nothing was saved, or not of this checkpoint, or where its files do not fit together.

    Raises:
        CnnzooError: The images cannot be had.
    """
    try:
        values = json.loads((net.run / "eval.json").read_text(encoding="utf-8"))
        if values["checkpoint_sha256"] != file_sha256(net.path) or values["split"] != "test":
            return None
        labels, logits = _read_predictions(net.run / "predictions.csv", net.classes)
    except (OSError, ValueError, TypeError, LookupError, csv.Error):
        return None
    images = held_out_images(net.saved, net.path, net.config, None, reporter)
    is_same = images.dataset.sha256 == values.get("data_sha256") and torch.equal(images.source.labels, labels)
    return (
        _result(values, Predictions(logits, labels, net.classes, images, net.preprocessing))
        if is_same
        else None
    )


def _result(values: dict[str, Any], predictions: Predictions) -> EvaluationResult | None:
    """Build the result of what eval.json holds; None where that is not what predictions.csv says."""
    try:
        known = {f.name: values[f.name] for f in fields(EvaluationResult) if f.name != "predictions"}
        made = {
            **known,
            "macro": Means(**values["macro"]),
            "weighted": Means(**values["weighted"]),
            "classes": [ClassScores(**row) for row in values["classes"]],
        }
        result = EvaluationResult(**made, predictions=predictions)
    except (TypeError, LookupError):
        return None
    num = len(predictions.classes)
    pairs = predictions.labels * num + predictions.logits.argmax(1)
    confusion = pairs.bincount(minlength=num * num).view(num, num).tolist()
    names = tuple(row.name for row in result.classes)
    return result if confusion == result.confusion and names == predictions.classes else None


def _read_predictions(path: Path, classes: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Return labels ``(N,)`` and logits ``(N, K)`` as predictions.csv holds them.

    Raises:
        LookupError: It is of other classes, or a row is too short.
        ValueError: A cell is no probability.
    """
    places = {name: place for place, name in enumerate(classes)}
    num, likeliest = len(classes), min(LIKELIEST, len(classes))
    labels: list[int] = []
    answers: list[list[float]] = []
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        next(rows, None)
        for row in rows:
            labels.append(places[row[1]])
            if num <= ALL_CLASSES:
                answers.append([float(cell) for cell in row[3 : 3 + num]])
                continue
            cells = row[2 : 2 + 2 * likeliest]
            found = {places[name]: float(cell) for name, cell in zip(cells[::2], cells[1::2], strict=True)}
            rest = max(1 - math.fsum(found.values()), 0.0) / (num - likeliest)
            answers.append([found.get(place, rest) for place in range(num)])
    return torch.tensor(labels), torch.tensor(answers, dtype=torch.float32).view(len(labels), num).log()
