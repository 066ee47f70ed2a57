"""Labelled images: in memory, or streamed from files."""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cnnzoo.data.images import decode_image, quiet
from cnnzoo.errors import CnnzooError, one_line
from cnnzoo.signals import STOPS


class Source(Protocol):
    """Labelled uint8 images, wherever they are kept."""

    @property
    def labels(self) -> Tensor:
        """Int64 ``(N,)``."""

    def subset(self, indices: Tensor) -> "Source":
        """Return the images at ``indices``."""

    def batches(self, chunks: Sequence[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield uint8 images ``(N, C, H, W)`` and labels ``(N,)`` on ``device``, a batch for each chunk of indices."""


@dataclass(frozen=True)
class Resident:
    """Images that stay in memory as uint8 ``(N, C, H, W)``, moved to the device once."""

    images: Tensor
    labels: Tensor

    def subset(self, indices: Tensor) -> "Resident":
        """Return the images at ``indices``."""
        return Resident(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> "Resident":
        """Return the same on ``device``."""
        return Resident(self.images.to(device), self.labels.to(device))

    def batches(self, chunks: Sequence[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Index the images of each chunk; ``device`` is where they are already."""
        for chunk in chunks:
            indices = chunk.to(device)
            yield self.images[indices], self.labels[indices]


@dataclass(frozen=True)
class Streamed:
    """Image files too large for memory, decoded as they are needed by ``num_workers`` processes."""

    files: Sequence[Path]
    labels: Tensor
    channels: int
    image_size: int
    num_workers: int

    def subset(self, indices: Tensor) -> "Streamed":
        """Return the images at ``indices``."""
        files = [self.files[index] for index in indices.tolist()]
        return Streamed(files, self.labels[indices], self.channels, self.image_size, self.num_workers)

    def batches(self, chunks: Sequence[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Decode the images of each chunk in other processes, and copy them over.

        Raises:
            CnnzooError: An image is broken, or one of the processes died.
        """
        loader: DataLoader[Tensor | CnnzooError] = DataLoader(
            _Decoded(self),
            batch_size=None,  # the chunks are the batches
            sampler=chunks,
            num_workers=self.num_workers,
            pin_memory=device.type == "cuda",
            worker_init_fn=_ignore_signals,
            generator=torch.Generator(),  # else it draws from the numbers that dropout is to have
        )
        try:
            for chunk, images in zip(chunks, loader, strict=True):
                if isinstance(images, CnnzooError):
                    raise images
                yield (
                    images.to(device, non_blocking=True),
                    self.labels[chunk].to(device, non_blocking=True),
                )
        except (RuntimeError, OSError) as error:
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise CnnzooError(
                f"a process that decodes images died ({one_line(error)}), perhaps of too little memory. "
                "Try fewer --workers, or 0."
            ) from error


class _Decoded(Dataset["Tensor | CnnzooError"]):
    """Chunks of decoded images. An error is handed over as a value, since DataLoader would rewrite its message."""

    def __init__(self, source: Streamed) -> None:
        self.source = source

    def __getitem__(self, indices: Tensor) -> "Tensor | CnnzooError":
        source = self.source
        try:
            with quiet():
                images = [
                    decode_image(source.files[index], source.channels, source.image_size)
                    for index in indices.tolist()
                ]
        except CnnzooError as error:
            return error
        return torch.from_numpy(np.stack(images))


def _ignore_signals(_: int) -> None:
    # Ctrl-C, and what torchrun or Slurm sends to all of a training's processes, are the main process's to answer.
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
