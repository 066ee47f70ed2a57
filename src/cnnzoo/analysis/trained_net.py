"""A trained net, as a checkpoint has it, on a device and ready to be asked."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cnnzoo.config import TrainConfig
from cnnzoo.data.datasets import full_name
from cnnzoo.data.folders import is_files, is_same_place
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.device import explain_oom, pick_device, prepare, to_device
from cnnzoo.errors import UsageError
from cnnzoo.precision import Precision, pick_precision
from cnnzoo.runs.checkpoint import Checkpoint, load_checkpoint
from cnnzoo.runs.run import located
from cnnzoo.runs.sources import changed_sources, imports_advised
from cnnzoo.training.checks import dry_run
from cnnzoo.training.images import own_files, reading_again
from cnnzoo.training.losses import Criterion, criterion_of
from cnnzoo.training.reporter import Reporter


@dataclass(frozen=True)
class TrainedNet:
    """A net with the weights of a checkpoint.

    Attributes:
        path: The checkpoint's file.
        saved: What is in it.
        config: The settings of its run, with its images where they lie now; ``data_dir`` and ``image_root`` are None
            where they are not on this machine.
        model: In evaluation mode, on ``device``; answers with logits ``(N, num_classes)``.
        device: Where it computes.
        precision: Of its forward pass.
    """

    path: Path
    saved: Checkpoint
    config: TrainConfig
    model: nn.Module
    device: torch.device
    precision: Precision

    @property
    def run(self) -> Path:
        """The folder that the checkpoint lies in."""
        return self.path.parent

    def criterion(self) -> Criterion:
        """Return its loss, without label smoothing and class weights.

        Raises:
            UsageError: Nothing has registered the loss; the message names the modules that had.
        """
        with imports_advised(self.run, self.config.imports):
            return criterion_of(self.model, loss=self.config.loss)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.saved.classes

    @property
    def preprocessing(self) -> Preprocessing:
        """What makes images what the net was trained on."""
        return self.saved.preprocessing


def load_net(
    checkpoint: Path,
    *,
    dataset: str | None = None,
    data_dir: Path | None = None,
    device: str = "auto",
    precision: str | None = None,
    reporter: Reporter | None = None,
) -> TrainedNet:
    """Load a trained net from a checkpoint.

    Args:
        checkpoint: A ``best.pt`` or ``last.pt``.
        dataset: Where its run's folder or table of images lies now; by default where the run was last told.
        data_dir: Where named datasets lie; likewise.
        device: As for training.
        precision: As for training; by default the one that the run was trained in.
        reporter: Told where the source of a net of one's own has changed.

    Raises:
        UsageError: ``dataset`` is another one than the run's.
        CnnzooError: The checkpoint, the device or ``dataset`` cannot be used; the message says why.
    """
    saved = load_checkpoint(checkpoint)
    config = located(saved.settings(checkpoint), checkpoint.parent)
    if reporter and (warning := changed_sources(checkpoint.parent, config.imports)):
        reporter.warn(warning)
    here = {  # the checkpoint may have come from another machine
        name: path if path and path.exists() else None
        for name, path in (("data_dir", config.data_dir), ("image_root", config.image_root))
    }
    config = config.replace(**here)
    config = config.replace(
        dataset=full_name(dataset or config.dataset or saved.dataset), data_dir=data_dir or config.data_dir
    )
    if dataset is not None:
        _check_is_own(config, saved)
    place = pick_device(device)
    prepare(place)
    with explain_oom(1):
        model = to_device(saved.build_model(checkpoint.parent), place)
        image = saved.in_channels, saved.image_size, saved.image_size
        work = dry_run(model, saved.num_classes, image, place)
        number_format = (
            pick_precision(precision, place, work.mult_adds)
            if precision
            else Precision(saved.precision, "as it was trained")
        )
    return TrainedNet(checkpoint, saved, config, model.eval(), place, number_format)


def _check_is_own(config: TrainConfig, saved: Checkpoint) -> None:
    """Refuse images that are not the run's own, wherever they lie."""
    name = str(config.dataset)
    if not is_same_place(name, saved.dataset):
        raise UsageError(
            f"the run was trained on {saved.dataset}, and not on {name}. --dataset says where its images lie now; "
            f"`cnnzoo eval --dataset {name}` tests it on others."
        )
    if is_files(name):
        own_files(saved, name, reading_again(config, saved))
