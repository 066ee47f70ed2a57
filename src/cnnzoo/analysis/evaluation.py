"""Evaluate a checkpoint on images that it was not trained on."""

import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo.analysis.held_out import held_out_images, validation_images
from cnnzoo.analysis.metrics import ClassMetrics, confusion_matrix, per_class, wilson_interval
from cnnzoo.data.loader import Loader
from cnnzoo.data.preprocess import ten_crops
from cnnzoo.data.splits import full_name
from cnnzoo.device import (
    explain_oom,
    keep_freed_memory,
    pick_device,
    pick_precision,
    to_device,
)
from cnnzoo.distributed.group import ALONE
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.files import file_sha256, replacing
from cnnzoo.models.registry import import_models
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.runs.imported import changed_sources
from cnnzoo.signals import StopSignal
from cnnzoo.training.checks import dry_run
from cnnzoo.training.images import evaluation_batch_size
from cnnzoo.training.loop import evaluate as run_evaluation
from cnnzoo.training.losses import criterion_of
from cnnzoo.training.meter import NonFiniteLossError
from cnnzoo.training.reporter import Reporter
from cnnzoo.training.state import Scoring


@dataclass(frozen=True)
class EvaluationResult:
    """How well a checkpoint does.

    Attributes:
        checkpoint: The file.
        checkpoint_sha256: Its checksum.
        model: Its registered name.
        epoch: Epoch that it is from.
        dataset: What it was evaluated on.
        split: ``test`` or ``val``.
        num_images: Images in it.
        accuracy: Share of them told right.
        accuracy_low: Lower end of the 95% interval (Wilson).
        accuracy_high: Upper end.
        top5_accuracy: Share of them whose class is among the five likeliest.
        loss: Mean loss per image; the cross-entropy in nats, unless the net has a loss of its own.
        images_per_second: Preprocessing and forward pass.
        device: Where it was computed.
        precision: Number format of the forward pass.
        ten_crop: Whether ten squares of each image were averaged.
        data_sha256: Checksum of the images.
        num_left_out: Images that were left out, because the run was trained on them.
        weighted: What the run's training weighed its classes by; the figures here are unweighted.
        confusion: Images of each class, by the class that they were put into: a row for each true class.
        classes: Figures for each class.
    """

    checkpoint: str
    checkpoint_sha256: str
    model: str
    epoch: int
    dataset: str
    split: str
    num_images: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    top5_accuracy: float
    loss: float
    images_per_second: float
    device: str
    precision: str
    ten_crop: bool
    data_sha256: str
    num_left_out: int
    weighted: str
    confusion: list[list[int]]
    classes: list[ClassMetrics]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as eval.json holds them."""
        return asdict(self)


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
    precision: str = "auto",
    data_dir: Path | None = None,
    skip_bad_images: bool = False,
    ten_crop: bool = False,
    include_trained: bool = False,
    csv_columns: tuple[str, ...] = (),
    image_root: Path | None = None,
    imports: tuple[str, ...] = (),
    reporter: Reporter | None = None,
) -> EvaluationResult:
    """Evaluate a checkpoint, with the preprocessing that it carries, and write ``eval.json`` beside it.

    Args:
        checkpoint: A ``best.pt`` or ``last.pt``.
        dataset: Another dataset than the one it was trained on, with some or all of its classes.
        split: ``test``, or ``val`` for the very images that were kept from its training.
        batch_size: Images at once; by default what memory allows.
        device: As for training.
        precision: As for training.
        data_dir: Where named datasets lie; by default where the run found them.
        skip_bad_images: Leave out images of a folder that cannot be read.
        ten_crop: Average the class probabilities over ten squares of each image: the corners, the centre, and each
            of them mirrored (Krizhevsky et al. 2012, section 4.1). The run must have had ``resize``.
        include_trained: Keep images of another folder that the run was trained on.
        csv_columns: Of a table: the headings of its images and of their labels.
        image_root: Where a table's images lie.
        imports: Modules that register models.
        reporter: Told of progress.

    Raises:
        CnnzooError: The checkpoint or the dataset cannot be used; the message says why.
    """
    reporter = reporter or Reporter()
    import_models(imports)
    saved = load_checkpoint(checkpoint)
    config = saved.settings(checkpoint)
    if warning := changed_sources(checkpoint.parent, config.imports):
        reporter.warn(warning)
    if config.data_dir and not config.data_dir.exists():  # the checkpoint has come from another machine
        config = config.replace(data_dir=None)
    config = config.replace(
        data_dir=data_dir or config.data_dir,
        dataset=dataset or saved.dataset,
        skip_bad_images=skip_bad_images or config.skip_bad_images,
        csv_columns=csv_columns or config.csv_columns,
        image_root=image_root or config.image_root,
    )
    place = pick_device(device)
    keep_freed_memory(place)
    with explain_oom(1):
        model = to_device(saved.build_model(checkpoint.parent), place)
        image = saved.in_channels, saved.image_size, saved.image_size
        work = dry_run(model, saved.num_classes, image, place)
        number_format = pick_precision(precision, place, work.mult_adds)

    if split == "val" and dataset is not None and full_name(dataset) != saved.dataset:
        raise UsageError("--split val is for the dataset of the training run. Leave --dataset out.")
    with explain_oom(batch_size or 1):
        if split == "val":
            chosen = validation_images(saved, checkpoint, config, reporter)
        else:
            chosen = held_out_images(
                saved, checkpoint, config, dataset, reporter, include_trained=include_trained
            )
    images, source = chosen.dataset, chosen.source

    preprocessing, criterion = saved.preprocessing, criterion_of(model)
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
            scoring = Scoring(place, number_format, criterion, saved.epoch, split)
            outcome = run_evaluation(model, batches, scoring, reporter, StopSignal(ALONE))
            assert outcome is not None  # nothing asks it to stop
    except NonFiniteLossError as error:
        raise CnnzooError(
            f"{checkpoint} gives a loss that is NaN or infinite ({error}). Try --precision fp32 or another checkpoint."
        ) from error
    seconds = time.perf_counter() - started

    num = len(outcome.labels)
    confusion = confusion_matrix(outcome.predictions, outcome.labels, saved.num_classes)
    low, high = wilson_interval(round(outcome.accuracy * num), num)
    result = EvaluationResult(
        checkpoint=str(checkpoint),
        checkpoint_sha256=file_sha256(checkpoint),
        model=saved.model,
        epoch=saved.epoch,
        dataset=images.name,
        split=split,
        num_images=num,
        accuracy=outcome.accuracy,
        accuracy_low=low,
        accuracy_high=high,
        top5_accuracy=outcome.top5_accuracy,
        loss=outcome.loss,
        images_per_second=num / seconds,
        device=str(place),
        precision=number_format.name,
        ten_crop=ten_crop,
        data_sha256=images.sha256,
        num_left_out=chosen.num_left_out,
        weighted=config.class_weights or "",
        confusion=confusion.tolist(),
        classes=per_class(confusion, saved.classes),
    )
    _write(result, checkpoint.with_name("eval.json"), reporter)
    return result


def _write(result: EvaluationResult, path: Path, reporter: Reporter) -> None:
    text = json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n"
    try:
        with replacing(path, otherwise="evaluate a copy of the run to keep the figures") as file:
            file.write(text.encode(errors="backslashreplace"))
    except CnnzooError as error:  # the figures are worth more than the file
        reporter.warn(str(error))
