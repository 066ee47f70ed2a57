"""Evaluate a checkpoint on images that it was not trained on."""

import csv
import io
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo.analysis.eval.scores import Scores, scores_of
from cnnzoo.analysis.eval.test_images import HeldOut, held_out_images, validation_images
from cnnzoo.analysis.trained_net import load_net
from cnnzoo.data.datasets import full_name
from cnnzoo.data.folders import is_same_place
from cnnzoo.data.listing.listing import SHOWN_NAMES
from cnnzoo.data.loader import Loader
from cnnzoo.data.preprocess import Preprocessing, ten_crops
from cnnzoo.device import (
    explain_oom,
)
from cnnzoo.distributed.group import ALONE
from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.files import file_sha256
from cnnzoo.runs.evaluated import (
    ALL_CLASSES,
    CONFUSION,
    EVALUATION,
    LIKELIEST,
    PREDICTIONS,
    prediction_headings,
)
from cnnzoo.runs.manifest import write_files
from cnnzoo.signals import StopSignal
from cnnzoo.training.images import evaluation_batch_size
from cnnzoo.training.loop import evaluate as run_evaluation
from cnnzoo.training.meter import NonFiniteLossError
from cnnzoo.training.reporter import Reporter
from cnnzoo.training.state import Scoring


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a net said of each image.

    Attributes:
        logits: float32 ``(N, K)``, on the CPU.
        labels: True classes, int64 ``(N,)``.
        classes: Names of the classes.
        images: Where the images are, of which ``source.files`` may name the files.
        preprocessing: What made them what the net saw.
    """

    logits: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    images: HeldOut
    preprocessing: Preprocessing

    @property
    def probabilities(self) -> Tensor:
        """Of each class, float32 ``(N, K)``."""
        return self.logits.softmax(1)


@dataclass(frozen=True)
class EvaluationFigures(Scores):
    """How well a checkpoint does: the content of ``eval.json``.

    Attributes:
        checkpoint: The file.
        checkpoint_sha256: Its checksum.
        model: Its registered name.
        epoch: Epoch that it is from.
        dataset: What it was evaluated on.
        split: ``test`` or ``val``.
        num_images: Images in it.
        loss: Mean loss per image: the net's own or the chosen one; the cross-entropy is in nats. With ``ten_crop`` the
            cross-entropy of the averaged probabilities.
        images_per_second: Preprocessing and forward pass.
        device: Where it was computed.
        precision: Number format of the forward pass.
        ten_crop: Whether ten squares of each image were averaged.
        data_sha256: Checksum of the images.
        num_left_out: Images that were left out, because the run was trained on them.
        num_unreadable: Images that were left out, because they cannot be read.
        unreadable: Names of the first ten of these, below the data set's folder.
        class_weights: What the run's training weighed its classes by; the figures here are unweighted.
    """

    checkpoint: str
    checkpoint_sha256: str
    model: str
    epoch: int
    dataset: str
    split: str
    num_images: int
    loss: float
    images_per_second: float
    device: str
    precision: str
    ten_crop: bool
    data_sha256: str
    num_left_out: int
    num_unreadable: int
    unreadable: list[str]
    class_weights: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``eval.json`` holds them."""
        names = [each.name for each in fields(EvaluationFigures)]
        return asdict(EvaluationFigures(**{name: getattr(self, name) for name in names}))


@dataclass(frozen=True)
class EvaluationResult(EvaluationFigures):
    """How well a checkpoint does, with its predictions.

    Attributes:
        predictions: Of each image.
    """

    predictions: Predictions = field(repr=False, compare=False)


class TenCrop(nn.Module):
    """A model whose answer is the logarithm of its mean class probabilities over ten squares of each image."""

    def __init__(self, model: nn.Module, image_size: int) -> None:
        super().__init__()
        self.model, self.image_size = model, image_size

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(N, num_classes)`` of images ``(N, C, H, W)`` with sides above ``image_size``."""
        logits: Tensor = self.model(ten_crops(images, self.image_size))
        return logits.float().log_softmax(1).view(10, len(images), -1).logsumexp(0) - math.log(10)


def evaluate(
    checkpoint: Path,
    *,
    dataset: str | None = None,
    split: str = "test",
    batch_size: int | None = None,
    device: str = "auto",
    precision: str | None = None,
    data_dir: Path | None = None,
    skip_bad_images: bool = False,
    ten_crop: bool = False,
    include_trained: bool = False,
    csv_columns: tuple[str, ...] = (),
    image_root: Path | None = None,
    top_k: int = 5,
    save: bool = True,
    reporter: Reporter | None = None,
) -> EvaluationResult:
    """Evaluate a checkpoint, with the preprocessing that it carries, and write the figures into its run.

    These are ``eval.json``, ``confusion.csv`` and ``predictions.csv``; of images that are not the run's own test part
    they lie in a folder ``eval-NAME``.

    Args:
        checkpoint: A ``best.pt`` or ``last.pt``.
        dataset: Another dataset than the one it was trained on, with some or all of its classes.
        split: ``test``, or ``val`` for the very images that were kept from its training.
        batch_size: Images at once; by default what memory allows.
        device: As for training.
        precision: As for training; by default the one that the run was trained in.
        data_dir: Where named datasets lie; by default where the run found them.
        skip_bad_images: Leave out images of a folder that cannot be read.
        ten_crop: Average the class probabilities over ten squares of each image: the corners, the centre, and each
            of them mirrored (Krizhevsky et al. 2012, section 4.1). The run must have had ``resize``.
        include_trained: Keep images of another folder that the run was trained on.
        csv_columns: Of a table: the headings of its images and of their labels.
        image_root: Where a table's images lie.
        top_k: How many of the likeliest classes the right one may be among, for ``top_k_accuracy``.
        save: Whether to write them.
        reporter: Told of progress.

    Raises:
        CnnzooError: The checkpoint or the dataset cannot be used; the message says why.
    """
    reporter = reporter or Reporter()
    net = load_net(checkpoint, data_dir=data_dir, device=device, precision=precision, reporter=reporter)
    saved, model, place, criterion = net.saved, net.model, net.device, net.criterion()
    config = net.config.replace(
        dataset=full_name(dataset or str(net.config.dataset)),
        skip_bad_images=skip_bad_images or net.config.skip_bad_images,
        csv_columns=csv_columns or net.config.csv_columns,
        image_root=image_root or net.config.image_root,
    )
    if split == "val" and dataset and not is_same_place(str(config.dataset), saved.dataset):
        raise UsageError("--split val is for the dataset of the training run. Leave --dataset out.")
    with explain_oom(batch_size or 1):
        if split == "val":
            chosen = validation_images(saved, checkpoint, config, reporter)
        else:
            chosen = held_out_images(
                saved, checkpoint, config, dataset, reporter, include_trained=include_trained
            )
    images, source = chosen.dataset, chosen.source

    preprocessing = saved.preprocessing
    if ten_crop:
        if preprocessing.full_size == preprocessing.image_size:
            raise UsageError(
                f"--ten-crop cuts from images that are larger than the net's {saved.image_size} pixels a side, and "
                f"{checkpoint} was trained without --resize. Leave --ten-crop out, or train with --resize."
            )
        model, criterion = TenCrop(model, saved.image_size), F.nll_loss
        preprocessing = replace(preprocessing, image_size=preprocessing.full_size)
    size = evaluation_batch_size(1, preprocessing.full_size) // (10 if ten_crop else 1)
    batches = Loader(source, preprocessing, batch_size or max(size, 1), place)
    started = time.perf_counter()
    try:
        with explain_oom(batches.batch_size):
            scoring = Scoring(place, net.precision, criterion, saved.epoch, split)
            outcome = run_evaluation(model, batches, scoring, reporter, StopSignal(ALONE))
            assert outcome is not None  # nothing asks it to stop
    except NonFiniteLossError as error:
        raise CnnzooError(
            f"{checkpoint} gives a loss that is NaN or infinite ({error}). Try --precision fp32 or another checkpoint."
        ) from error
    seconds = time.perf_counter() - started

    logits, labels = outcome.logits.float().cpu(), outcome.labels.cpu()
    unreadable = [name for each in images.skipped if each.part == split for name in each.names]
    result = EvaluationResult(
        **vars(scores_of(logits, labels, saved.classes, top_k=top_k)),
        checkpoint=str(checkpoint),
        checkpoint_sha256=file_sha256(checkpoint),
        model=saved.model,
        epoch=saved.epoch,
        dataset=images.name,
        split=split,
        num_images=len(labels),
        loss=outcome.loss,
        images_per_second=len(labels) / seconds,
        device=str(place),
        precision=net.precision.name,
        ten_crop=ten_crop,
        data_sha256=images.sha256,
        num_left_out=chosen.num_left_out,
        num_unreadable=len(unreadable),
        unreadable=unreadable[:SHOWN_NAMES],
        class_weights=config.class_weights or "",
        predictions=Predictions(logits, labels, saved.classes, chosen, preprocessing),
    )
    if save:
        write_evaluation(result, checkpoint.parent, reporter)
    return result


def write_evaluation(result: EvaluationResult, run: Path, reporter: Reporter) -> Path | None:
    """Write what an evaluation gave into its run; where that cannot be, say so: the figures are worth more.

    Returns:
        The folder that it lies in, if it could be written.
    """
    name = result.predictions.images.name
    folder = run / f"eval-{name}" if name else run
    try:
        if name:
            folder.mkdir(exist_ok=True)
        texts = {
            EVALUATION: json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n",
            CONFUSION: _as_csv(confusion_rows(result)),
            PREDICTIONS: _as_csv(prediction_rows(result.predictions)),
        }
        write_files(
            run,
            {
                (folder / file).relative_to(run).as_posix(): text.encode(errors="backslashreplace")
                for file, text in texts.items()
            },
            otherwise="evaluate a copy of the run to keep the figures",
        )
    except OSError as error:
        reporter.warn(
            f"cannot write {folder}: {one_line(error)}. Evaluate a copy of the run to keep the figures."
        )
        return None
    except CnnzooError as error:
        reporter.warn(str(error))
        return None
    return folder


def confusion_rows(result: Scores) -> Iterator[Sequence[object]]:
    """Yield headings and rows of ``confusion.csv``: a true class, and its images by what they were taken for."""
    names = [row.name for row in result.classes]
    yield ["label", *names]
    for name, counts in zip(names, result.confusion, strict=True):
        yield [name, *counts]


def prediction_rows(predictions: Predictions) -> Iterator[Sequence[object]]:
    """Yield the headings and the rows of ``predictions.csv``."""
    classes, files = predictions.classes, predictions.images.file_names
    yield prediction_headings(classes, are_files=files is not None)
    for index, (probabilities, label) in enumerate(
        zip(predictions.probabilities, predictions.labels.tolist(), strict=True)
    ):
        image = index if files is None else files[index]
        likeliest = probabilities.topk(min(LIKELIEST, len(classes)))
        places = likeliest.indices.tolist()
        start = [image, classes[label], classes[places[0]]]
        if len(classes) <= ALL_CLASSES:
            yield [*start, *probabilities.tolist()]
        else:
            pairs = zip([classes[place] for place in places], likeliest.values.tolist(), strict=True)
            yield [*start, *[value for pair in pairs for value in pair][1:]]


def _as_csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
