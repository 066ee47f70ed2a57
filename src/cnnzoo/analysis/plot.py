"""What a net is shown: one image, and a batch of those that it is trained on, as it sees them."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cnnzoo.analysis.eval.test_images import HeldOut, held_out_images
from cnnzoo.analysis.features import SATURATED, LayerActivity, activations
from cnnzoo.analysis.trained_net import TrainedNet
from cnnzoo.config import TrainConfig
from cnnzoo.data.decoding.images import decode_image, quiet
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.device import explain_oom
from cnnzoo.distributed.group import ALONE
from cnnzoo.errors import CnnzooError, one_line
from cnnzoo.files import expanded
from cnnzoo.runs.checkpoint import Checkpoint
from cnnzoo.training.losses import Criterion, loss_of
from cnnzoo.training.reporter import Reporter
from cnnzoo.training.setup import load_data

MAX_ACTIVE = 128
"""Images of a batch whose activations are looked at, at most."""

_CPU = torch.device("cpu")


class SeenImage(NamedTuple):
    """An image as a net sees it.

    Attributes:
        image: Float32 ``(C, H, W)``.
        name: Which one it is, with its class where that is known.
    """

    image: Tensor
    name: str


def see_image(net: TrainedNet, which: str, reporter: Reporter) -> SeenImage:
    """Return an image as a trained net sees it.

    Args:
        net: Whose preprocessing counts.
        which: A number from 0 in its run's own test part, or an image file.
        reporter: Told of progress.

    Raises:
        CnnzooError: There is no such image, or it cannot be read.
    """
    if not which.isdecimal():
        path = expanded(Path(which))
        return SeenImage(net.preprocessing(_read(path, net))[0], path.name)
    chosen = held_out_images(net.saved, net.path, net.config, None, reporter)
    index, num = int(which), len(chosen.source.labels)
    if index >= num:
        raise CnnzooError(
            f"there is no image {index} in the test part of {chosen.dataset.name}, which has {num:,}: "
            f"0 to {num - 1}. Choose another --image."
        )
    return see_test_image(net, chosen, index)


def see_test_image(net: TrainedNet, images: HeldOut, index: int) -> SeenImage:
    """Return one of the images that a net is tested on, as the net sees it."""
    pixels, labels = next(iter(images.source.batches([torch.tensor([index])], _CPU)))
    return SeenImage(net.preprocessing(pixels)[0], f"test image {index}, {net.classes[int(labels[0])]}")


def _read(path: Path, net: TrainedNet) -> Tensor:
    """Return the pixels of an image file, uint8 ``(1, C, H, W)``."""
    try:
        with quiet():
            pixels = decode_image(
                path,
                net.saved.in_channels,
                net.preprocessing.full_size,
                net.saved.deep_range,
            )
    except CnnzooError as error:
        why = f": {one_line(error.__cause__)}" if isinstance(error.__cause__, OSError) else ""
        raise CnnzooError(
            f"{path} cannot be read as an image{why}. Name another with --image FILE, or the number of a test image."
        ) from error
    return torch.from_numpy(pixels)[None]


@dataclass(frozen=True)
class TrainingBatch:
    """The first images of a training's first epoch, changed by its augmentations.

    Attributes:
        images: As the net sees them, float32 ``(N, C, H, W)``.
        targets: Labels, int64 ``(N,)``; where images are mixed, probabilities, float32 ``(N, num_classes)``.
        classes: Their names.
        preprocessing: That of the images.
        config: The settings, with the dataset that is really used.
        batch_size: Images that the run's whole batch has.
        labels: Of all images that are trained on, int64 ``(M,)``.
        is_mixed: Whether an augmentation mixes images.
    """

    images: Tensor
    targets: Tensor
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    config: TrainConfig
    batch_size: int
    labels: Tensor
    is_mixed: bool

    def loss(self, model: nn.Module, device: torch.device) -> Criterion:
        """Return the loss that the settings ask for.

        Raises:
            CnnzooError: It cannot be had; the message says why.
        """
        criterion, _ = loss_of(
            self.config, model, self.labels, self.classes, mixed=self.is_mixed, device=device
        )
        return criterion


def see_batch(
    config: TrainConfig, most: int, reporter: Reporter, *, saved: Checkpoint | None = None
) -> TrainingBatch:
    """Return the first training images of a run, as its net sees them.

    Args:
        config: The run's settings.
        most: Images to return, at most.
        reporter: Told of progress.
        saved: A checkpoint of the run, if there is one: then the images have to be those that it was trained on.

    Raises:
        CnnzooError: The images cannot be had, or have changed since.
    """
    data = load_data(
        config.replace(batch_size=min(config.batch_size, most), grad_accum_steps=1),
        reporter,
        ALONE,
        _CPU,
    )
    if saved and data.dataset.sha256 != saved.data_sha256:
        raise CnnzooError(
            f"the images in {data.dataset.location} are not those that the run was trained on: they have changed "
            "since."
        )
    train = data.loaders.train
    batch = next(iter(train.epoch()))
    return TrainingBatch(
        images=batch.images,
        targets=batch.targets,
        classes=data.dataset.classes,
        preprocessing=data.preprocessing,
        config=data.config,
        batch_size=min(config.batch_size, train.num_images),
        labels=train.source.labels,
        is_mixed=any(augmentation.mixes for augmentation in train.augmentations),
    )


@dataclass(frozen=True)
class Activity:
    """What the layers of a trained net put out for the images that it was trained on first.

    Attributes:
        layers: In the order in which they run.
        num_images: For how many.
    """

    layers: list[LayerActivity]
    num_images: int

    @property
    def remarks(self) -> list[str]:
        """What is dead or saturated, a line for each such layer, and what that means."""
        remarks = [f"{layer.name} ({layer.type}): {layer.remark}" for layer in self.layers if layer.remark]
        if not remarks:
            return ["No layer of this net is a ReLU, a sigmoid or a tanh."]
        meaning = []
        if any(layer.dead is not None for layer in self.layers):
            meaning.append(f"dead: never above 0 on these {self.num_images:,} training images")
        if any(layer.saturated is not None for layer in self.layers):
            meaning.append(f"saturated: within {SATURATED:.0%} of its range from either end")
        return [*remarks, "; ".join(meaning)]


def see_activity(net: TrainedNet, reporter: Reporter) -> Activity:
    """Run a trained net on its first training images, at most MAX_ACTIVE, and look at what its layers put out.

    Raises:
        CnnzooError: The images cannot be had, or have changed since.
    """
    net.criterion()  # is known, or the error says what to import
    batch = see_batch(net.config, MAX_ACTIVE, reporter, saved=net.saved)
    num = len(batch.images)
    with explain_oom(num):
        layers = activations(net.model, batch.images, batch.targets, batch.loss(net.model, net.device))
    return Activity(layers, num)
