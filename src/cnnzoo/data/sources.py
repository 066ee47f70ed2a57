"""Labelled images: in memory, or streamed from files."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from cnnzoo.data import Warn
from cnnzoo.data.decoding.images import PixelRange, decode_image, digest_of, quiet, read_content
from cnnzoo.data.listing.kinds import KindWatch
from cnnzoo.data.listing.listing import Files, Skipped
from cnnzoo.device import send
from cnnzoo.errors import CnnzooError

if TYPE_CHECKING:
    from numpy.typing import NDArray

AHEAD = 2
"""Batches that are being decoded while one is trained on, and at least so many images for each thread."""


class Source(Protocol):
    """Labelled uint8 images, wherever they are kept."""

    @property
    def labels(self) -> Tensor:
        """Int64 ``(N,)``."""

    @property
    def digests(self) -> "NDArray[np.uint8] | None":
        """The SHA-256 of the bytes of each image's file, uint8 ``(N, 32)``, zeros where it has not been read yet.

        None where images are of no files, or nobody keeps their checksums.
        """

    @property
    def files(self) -> Files | None:
        """Where each image was read from; None where they are of no files of their own."""

    def read_digests(self, indices: "NDArray[np.intp]") -> "NDArray[np.uint8]":
        """Return those of the images at ``indices``, uint8 ``(n, 32)``, whose files are read for it where need be."""

    def subset(self, indices: Tensor) -> "Source":
        """Return the images at ``indices``."""

    def batches(self, chunks: Sequence[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield uint8 images ``(N, C, H, W)`` and labels ``(N,)`` on ``device``, a batch for each chunk of indices."""


@dataclass(frozen=True)
class Resident:
    """Images that stay in memory as uint8 ``(N, C, H, W)``, moved to the device once."""

    images: Tensor
    labels: Tensor
    digests: "NDArray[np.uint8] | None" = None
    files: Files | None = None

    def read_digests(self, indices: "NDArray[np.intp]") -> "NDArray[np.uint8]":
        """Return the checksums of the images at ``indices``, which were read with them."""
        assert self.digests is not None
        return self.digests[indices]

    def subset(self, indices: Tensor) -> "Resident":
        """Return the images at ``indices``."""
        digests = None if self.digests is None else self.digests[indices.numpy()]
        files = None if self.files is None else self.files.take(indices.numpy())
        return Resident(self.images[indices], self.labels[indices], digests, files)

    def to(self, device: torch.device) -> "Resident":
        """Return the same on ``device``."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def batches(self, chunks: Sequence[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Index the images of each chunk; ``device`` is where they are already."""
        for chunk in chunks:
            indices = send(chunk, device)
            yield self.images[indices], self.labels[indices]


@dataclass(frozen=True)
class Streamed:
    """Image files too large for memory, decoded as they are needed by ``num_workers`` threads.

    Threads and not processes: files are decoded and resized without holding Python's lock, and what threads hand over
    needs neither shared memory nor file handles, of which a container may have few.

    What ``watch`` finds in the images as they are decoded, ``warn`` is told, by the thread that asks for batches.
    """

    files: Files
    labels: Tensor
    channels: int
    image_size: int
    num_workers: int
    pixel_range: PixelRange | None = None
    digests: "NDArray[np.uint8] | None" = None
    watch: KindWatch | None = None
    warn: Warn = lambda _: None

    def read_digests(self, indices: "NDArray[np.intp]") -> "NDArray[np.uint8]":
        """Read the files at ``indices``, and return their checksums."""
        found = [digest_of(read_content(self.files[index])) for index in indices.tolist()]
        return np.stack(found) if found else np.empty((0, 32), dtype=np.uint8)

    def subset(self, indices: Tensor) -> "Streamed":
        """Return the images at ``indices``."""
        return replace(
            self,
            files=self.files.take(indices.numpy()),
            labels=self.labels[indices],
            digests=None if self.digests is None else self.digests[indices.numpy()],
        )

    def batches(self, chunks: Sequence[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Decode the images of each chunk, some chunks ahead, and copy them over, channels last.

        Raises:
            CnnzooError: An image is broken, or the system gives no more threads.
        """
        for chunk, images in zip(chunks, self._decoded(chunks), strict=True):
            if self.watch:
                self.watch.tell(self.warn)
            yield send(images, device), send(self.labels[chunk], device)

    def _decoded(self, chunks: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the images of each chunk, uint8 ``(N, C, H, W)``, channels last."""
        if not self.num_workers:
            for chunk in chunks:
                batch = self._empty(len(chunk))
                with quiet():
                    self._decode(chunk.tolist(), batch, Event())
                yield batch
            return
        ahead: deque[tuple[Tensor, list[Future[None]]]] = deque()
        stop = Event()
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="decode")
        try:
            with quiet():
                for chunk in chunks:
                    batch = self._empty(len(chunk))
                    ahead.append((batch, self._submit(pool, chunk.tolist(), batch, stop)))
                    if len(ahead) > AHEAD and sum(len(each) for each, _ in ahead) > AHEAD * self.num_workers:
                        yield _finished(*ahead.popleft())
                while ahead:
                    yield _finished(*ahead.popleft())
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)  # the image that each thread is at takes milliseconds

    def _empty(self, num: int) -> Tensor:
        """Return memory for a batch, which the threads write into."""
        shape = (num, self.channels, self.image_size, self.image_size)
        return torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)

    def _submit(
        self, pool: ThreadPoolExecutor, indices: list[int], batch: Tensor, stop: Event
    ) -> list[Future[None]]:
        """Have a batch decoded: by a task for each thread, since one for each image has Python's lock taken often."""
        num = self.num_workers
        with explain_no_threads(num):
            return [
                pool.submit(self._decode, indices[first::num], batch[first::num], stop)
                for first in range(min(num, len(indices)))
            ]

    def _decode(self, indices: list[int], places: Tensor, stop: Event) -> None:
        """Decode the images at ``indices`` into their ``places``, until it is to stop."""
        arrays = places.numpy()
        for index, pixels in zip(indices, arrays, strict=True):
            if stop.is_set():
                return
            file = self.files[index]
            content = read_content(file)
            if self.digests is not None:
                self.digests[index] = digest_of(content)
            if self.watch:
                self.watch.look(file, content)
            pixels[:] = decode_image(file, self.channels, self.image_size, self.pixel_range, content=content)


@contextmanager
def explain_no_threads(num_workers: int) -> Iterator[None]:
    """Say what to do where the system gives no more threads.

    Raises:
        CnnzooError: It does not.
    """
    try:
        yield
    except RuntimeError as error:  # "can't start new thread"
        raise CnnzooError(
            f"the system gives no more threads to decode images with, of --workers {num_workers}. "
            "Try fewer --workers, or 0."
        ) from error


def _finished(batch: Tensor, tasks: list[Future[None]]) -> Tensor:
    """Return a batch as soon as it is decoded."""
    for task in tasks:
        task.result()
    return batch


@dataclass(frozen=True)
class Dataset:
    """One split of a dataset.

    Attributes:
        name: As a person types it.
        classes: Their names, in the order of the labels.
        channels: Of its images.
        source: The images and labels.
        location: The folder that they came from.
        sha256: Of the images and labels; of the paths and sizes where images are streamed from files.
        skipped: Broken images that were left out, of each part that has some.
        listing_sha256: Of the paths and sizes of files of one's own; else empty.
        pixel_range: What was made black and white of images of more than 8 bits a pixel.
        notes: What a person should know of it, in whole sentences.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    source: Source
    location: Path
    sha256: str
    skipped: tuple[Skipped, ...] = ()
    listing_sha256: str = ""
    pixel_range: PixelRange | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_stratified(self) -> bool:
        """Whether validation images are drawn from each class; of named sets receipts depend on how they were."""
        return bool(self.listing_sha256)
