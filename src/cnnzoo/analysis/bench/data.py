"""How fast images of files become what a net sees here, part by part, and whether the net waits for them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from statistics import mean, median
from typing import Any, TypeVar

import torch
from torch import Tensor

from cnnzoo.analysis.bench.clock import MIN_STEPS, WARM_UP
from cnnzoo.analysis.bench.net import (
    build_net,
    seconds_of_each,
    seconds_of_training,
)
from cnnzoo.data.datasets import open_images
from cnnzoo.data.decoding.images import decode_image, open_image, quiet, read_content
from cnnzoo.data.folders import ImageFiles
from cnnzoo.data.loader import Endless, Loader, MicroBatch, MicroBatches
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.data.reading import READING, Folder, Reading, without_bad_images
from cnnzoo.data.sources import Dataset, Resident, Streamed, explain_no_threads
from cnnzoo.device import deterministic, explain_oom
from cnnzoo.errors import UsageError
from cnnzoo.machine import cpu_count
from cnnzoo.models.registry import get_spec
from cnnzoo.precision import pick_precision, seconds_of

Item = TypeVar("Item")

KEPT_BYTES = 2**26
"""Files that are decoded again and again, so that decoding is timed without reading."""

PARTS = ("reading", "decoding")
"""What is done beside the net; transforming is a part of its step, with images in memory too."""

COSTS = 0.2
"""Data limits a training where so large a share of a step is gone that takes no time with images in memory."""


@dataclass(frozen=True)
class DataBenchResult:
    """One net on one set of image files, in one batch size and one precision.

    Attributes:
        model: Its registered name.
        device: Where it was computed.
        precision: Number format of the net.
        dataset: As it was named.
        num_images: In its training part.
        image_width: Pixels of a file that was read; the median.
        image_height: Likewise.
        bytes_per_image: Of a file that was read; the mean.
        channels: Of what the net sees.
        image_size: Pixels a side of what it sees.
        batch_size: Images per step.
        num_workers: Threads that read and decode; with 0 it is the thread that trains.
        reading: Images per second whose bytes are read, in the order of an epoch, by all those threads together.
        decoding: Images per second from those bytes to squares of uint8, likewise.
        transforming: Images per second from those squares to what the net sees.
        loading: Images per second of the whole loader, while no net computes.
        stepping: Images per second of training on images that are in memory.
        training: Images per second of training on images that are loaded meanwhile.
        step_ms: A step of ``training``, in milliseconds.
        wait_ms: Of it those in which the net has no batch to work on.
        cores: That this process may use.
        in_memory: Whether training keeps these images in memory, so that each is read and decoded once.
        is_steady: Whether the steps of ``stepping`` were, so that nothing else kept the machine busy.
    """

    model: str
    device: str
    precision: str
    dataset: str
    num_images: int
    image_width: int
    image_height: int
    bytes_per_image: float
    channels: int
    image_size: int
    batch_size: int
    num_workers: int
    reading: float
    decoding: float
    transforming: float
    loading: float
    stepping: float
    training: float
    step_ms: float
    wait_ms: float
    cores: int
    in_memory: bool
    is_steady: bool

    @property
    def limit(self) -> str:
        """What training on these files is limited by: the slowest of PARTS, or ``net``."""
        if self._alone_ms > (1 - COSTS) * self.step_ms:
            return "net"
        return min(PARTS, key=lambda part: getattr(self, part))

    @property
    def verdict(self) -> str:
        """Whether the net waits for data, for which part, and what to do about it, in whole sentences."""
        share = f"{self.wait_ms / self.step_ms:.0%} of a step"
        beside = f"a step takes {_ms(self.step_ms)}, and {_ms(self._alone_ms)} with images in memory"
        if self.limit == "net":
            said = (
                f"the net waits for data {share}, which takes about as long with images in memory: the net is what "
                "limits."
            )
        elif self.wait_ms > COSTS / 2 * self.step_ms:
            said = (
                f"the net waits for data, {share}, and {self.limit} is what limits: {beside}. {self._advice}"
            )
        else:
            said = (
                f"the net waits for data only {share}, but {self.limit} takes cores from it that it would compute "
                f"with: {beside}. {self._smaller}"
            )
        if not self.in_memory:
            return said[0].upper() + said[1:]
        seconds = self.num_images * (1 / self.reading + 1 / self.decoding)
        return (
            f"Training keeps these {self.num_images:,} images in memory: each is read and decoded once, in about "
            f"{seconds:.1f} s, and no step waits for it. With a larger set, which is streamed, {said}"
        )

    @property
    def _alone_ms(self) -> float:
        return 1e3 * self.batch_size / self.stepping

    @property
    def _advice(self) -> str:
        if self.num_workers < self.cores:
            return f"Try --workers {self.cores}, a thread for each core."
        if self.limit == "reading":
            return "Put the files on a faster disk, store them smaller, or try more --workers."
        return self._smaller

    @property
    def _smaller(self) -> str:
        enough = 2 * self.image_size
        if min(self.image_width, self.image_height) <= enough:
            return "More cores would help: the files are small already."
        return (
            f"Store the files smaller: they are {self.image_width}x{self.image_height}, the net sees "
            f"{self.image_size}x{self.image_size}, and {enough} on the shorter side are enough."
        )


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:,.0f} ms" if milliseconds >= 100 else f"{milliseconds:.3g} ms"


def bench_data(
    name: str,
    data: str,
    *,
    options: Mapping[str, Any] | None = None,
    reading: Reading = READING,
    image_size: int | None = None,
    batch_sizes: tuple[int, ...] = (32,),
    precisions: tuple[str, ...] = ("auto",),
    device: str = "auto",
    num_workers: int | None = None,
    seconds: float = 2.0,
) -> Iterator[DataBenchResult]:
    """Time the way of image files to a model, as training streams them that are too many for memory.

    Args:
        name: The model's registered name.
        data: ``folder:PATH`` or ``csv:FILE``, whose training part is used.
        options: What to build the model with.
        reading: How its images are read; in the channels that the net takes.
        image_size: Pixels a side; by default the model's own.
        batch_sizes: Images per step.
        precisions: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device: As for training.
        num_workers: Threads that read and decode; by default one per core.
        seconds: For how long each part is timed, at least once per thread, and at least four batches.

    Yields:
        A result for each precision and batch size.

    Raises:
        UsageError: The model, an option or the device is unknown, or ``data`` names no image files.
        CnnzooError: The model cannot be built, an image cannot be read, or memory is short.
    """
    spec, workers = get_spec(name), cpu_count() if num_workers is None else num_workers
    channels = reading.channels or (None if spec.takes_in_channels else spec.in_channels)
    images = open_images(data, replace(reading, channels=channels))
    if not isinstance(images, ImageFiles):
        raise UsageError(
            f"--data times the reading of image files, and {data} is kept in memory. "
            "Give folder:PATH or csv:FILE, or leave it out."
        )
    folder = images.part("train")
    assert folder is not None  # only validation images may be missing
    if reading.skip_bad_images:
        folder = without_bad_images(folder, image_size or spec.image_size, lambda *_: None)
    side = image_size or spec.image_size
    net = build_net(name, options or {}, len(folder.classes), (folder.channels, side, side), device)
    bytes_read, files = _time_reading(folder, workers, seconds)
    decoding = _time_decoding(folder, files, side, workers, seconds)
    widths, heights = zip(*(_size_of(*file) for file in files.items()), strict=True)
    for precision in (pick_precision(asked, net.device, net.work.mult_adds) for asked in precisions):
        for batch_size in batch_sizes:
            with explain_oom(batch_size):
                source = _streamed(folder, side, workers, batch_size)
                dataset = Dataset(images.name, folder.classes, folder.channels, source, folder.root, "")
                state = net.state(dataset, precision)
                preprocessing = Preprocessing(side, *((0.5,) * folder.channels,) * 2, pad=spec.pad)
                few = _in_memory(source, batch_size, net.device)
                streamed, resident = (
                    Endless(Loader(images, preprocessing, batch_size, net.device, seed=0))
                    for images in (source, few)
                )
                raw = few.images[:batch_size].to(net.device)
                transforming = _time_transforming(preprocessing, raw, net.device, seconds)
                loading, _ = seconds_of_each(streamed, lambda batch: None, net.device, seconds)
                watched = _Waits(streamed)
                with deterministic(enabled=False):
                    stepping, is_steady = seconds_of_training(state, resident, seconds)
                    training, _ = seconds_of_training(state, watched, seconds)
            waited = watched.seconds_per_step()
            yield DataBenchResult(
                model=name,
                device=str(net.device),
                precision=precision.name,
                dataset=images.name,
                num_images=len(folder.files),
                image_width=round(median(widths)),
                image_height=round(median(heights)),
                bytes_per_image=mean(map(len, files.values())),
                channels=folder.channels,
                image_size=side,
                batch_size=batch_size,
                num_workers=workers,
                reading=bytes_read,
                decoding=decoding,
                transforming=batch_size / transforming,
                loading=batch_size / loading,
                stepping=batch_size / stepping,
                training=batch_size / training,
                step_ms=1e3 * training,
                wait_ms=1e3 * waited,
                cores=cpu_count(),
                in_memory=folder.fits_memory(side),
                is_steady=is_steady,
            )


def _time_reading(folder: Folder, workers: int, seconds: float) -> tuple[float, dict[Path, bytes]]:
    """Read files in a random order, as an epoch does; return how many a second, and some of them."""
    order = torch.randperm(len(folder.files), generator=torch.Generator().manual_seed(0)).tolist()
    kept: dict[Path, bytes] = {}
    for index in order:
        kept[folder.files[index]] = read_content(folder.files[index])
        if sum(map(len, kept.values())) > KEPT_BYTES or len(kept) == 1000:
            break
    rest = order[len(kept) :] or order  # what has just been read, the system still has in memory
    return _per_second(lambda index: read_content(folder.files[index]), rest, workers, seconds), kept


def _time_decoding(
    folder: Folder, files: Mapping[Path, bytes], side: int, workers: int, seconds: float
) -> float:
    def decode(file: Path) -> object:
        return decode_image(file, folder.channels, side, folder.pixel_range, content=files[file])

    with quiet():
        decode(next(iter(files)))  # the first one waits for the decoder to be imported
        return _per_second(decode, list(files), workers, seconds)


def _per_second(do: Callable[[Item], object], items: Sequence[Item], workers: int, seconds: float) -> float:
    """Return how many items a second so many threads do together, over and over."""
    threads = max(1, min(workers, len(items)))
    started = time.perf_counter()

    def work(first: int) -> int:
        done = 0
        for item in cycle(items[first::threads]):
            do(item)
            done += 1
            if time.perf_counter() - started > seconds:
                break
        return done

    with ThreadPoolExecutor(threads) as pool, explain_no_threads(workers):
        done = sum(pool.map(work, range(threads)))
    return done / (time.perf_counter() - started)


def _size_of(file: Path, content: bytes) -> tuple[int, int]:
    with quiet(), open_image(file, content) as image:
        return image.size


def _streamed(folder: Folder, side: int, workers: int, batch_size: int) -> Streamed:
    """Return the images in whole batches, and so many that the beginning of an epoch is no matter."""
    num = len(folder.files)
    return folder.streamed(side, workers).subset(torch.arange(max(num // batch_size, 64) * batch_size) % num)


def _in_memory(source: Streamed, batch_size: int, device: torch.device) -> Resident:
    """Return some batches of a source, decoded."""
    chunks = torch.arange(MIN_STEPS * batch_size).split(batch_size)
    images, labels = zip(*source.batches(chunks, torch.device("cpu")), strict=True)
    return Resident(torch.cat(images), torch.cat(labels)).to(device)


def _time_transforming(
    preprocessing: Preprocessing, raw: Tensor, device: torch.device, seconds: float
) -> float:
    """Return the seconds until a batch of uint8 images on the device is what the net sees."""
    times: list[float] = []
    while len(times) < MIN_STEPS or sum(times) < seconds:
        times.append(seconds_of(lambda: preprocessing(raw), device))
    return median(times)


class _Waits:
    """Batches, and for how long the loop waits for each.

    Args:
        batches: Where they come from.
    """

    def __init__(self, batches: MicroBatches) -> None:
        self.batches = batches
        self.seconds: list[float] = []

    @property
    def num_steps(self) -> int:
        """Steps per epoch."""
        return self.batches.num_steps

    def epoch(self, epoch: int = 1, *, start: int = 0, end: int | None = None) -> Iterator[MicroBatch]:
        """Yield the batches of an epoch, and note the time."""
        batches = self.batches.epoch(epoch, start=start, end=end)
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            self.seconds.append(time.perf_counter() - asked)
            yield batch

    def seconds_per_step(self) -> float:
        """Return how long each was waited for, of those whose steps were timed."""
        return mean(self.seconds[WARM_UP:])
