"""A trained net, as a checkpoint has it, on a device and ready to be asked."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cnnzoo.config import TrainConfig
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.device import explain_oom, pick_device, prepare, to_device
from cnnzoo.precision import Precision, pick_precision
from cnnzoo.runs.checkpoint import Checkpoint, load_checkpoint
from cnnzoo.runs.sources import changed_sources, imports_advised
from cnnzoo.training.checks import dry_run
from cnnzoo.training.losses import Criterion, criterion_of
from cnnzoo.training.reporter import Reporter


@dataclass(frozen=True)
class TrainedNet:
    """A net with the weights of a checkpoint.

    Attributes:
        path: The checkpoint's file.
        saved: What is in it.
        config: The settings of its run; ``data_dir`` is None where it is not on this machine.
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
    device: str = "auto",
    precision: str | None = None,
    reporter: Reporter | None = None,
) -> TrainedNet:
    """Load a trained net from a checkpoint.

    Args:
        checkpoint: A ``best.pt`` or ``last.pt``.
        device: As for training.
        precision: As for training; by default the one that the run was trained in.
        reporter: Told where the source of a net of one's own has changed.

    Raises:
        CnnzooError: The checkpoint or the device cannot be used; the message says why.
    """
    saved = load_checkpoint(checkpoint)
    config = saved.settings(checkpoint)
    if reporter and (warning := changed_sources(checkpoint.parent, config.imports)):
        reporter.warn(warning)
    if config.data_dir and not config.data_dir.exists():  # the checkpoint has come from another machine
        config = config.replace(data_dir=None)
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
