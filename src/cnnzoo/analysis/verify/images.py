"""Whether the images that a run was trained and tested on are still what they were."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from cnnzoo.analysis.verify.checks import Check
from cnnzoo.config import TrainConfig
from cnnzoo.data.datasets import full_name, open_images
from cnnzoo.data.decoding.images import BrokenImageError
from cnnzoo.data.folders import CSV_PREFIX, FOLDER_PREFIX, is_files
from cnnzoo.data.named.catalog import DATASETS, get_dataset_spec
from cnnzoo.data.named.locate import DatasetUnavailableError, verify_dataset
from cnnzoo.data.reading import Reading
from cnnzoo.data.sources import Dataset, Streamed
from cnnzoo.errors import CnnzooError, one_line
from cnnzoo.runs.checkpoint import Checkpoint, load_checkpoint
from cnnzoo.runs.evaluated import EVALUATION, read_evaluation
from cnnzoo.runs.run import located, read_trained
from cnnzoo.training.images import load_split, reading_again
from cnnzoo.training.reporter import Reporter


def verify_images(
    run: Path,
    *,
    dataset: str | None = None,
    data_dir: Path | None = None,
    reporter: Reporter | None = None,
) -> list[Check]:
    """Check the images that a run was trained on, and those that it was tested on, by their checksums.

    Those in memory are held against the pixels that the run saw; those that are streamed against their names and sizes,
    and the ones that it trained on against the bytes of their files too. Nothing is downloaded.

    Args:
        run: Its folder; without a whole last.pt nothing is known of its images.
        dataset: Where a folder or a table of one's own lies now.
        data_dir: Where named datasets lie; by default where the run found them.
        reporter: Told of progress.
    """
    try:
        saved = load_checkpoint(run / "last.pt")
        config = located(saved.settings(run / "last.pt"), run)
    except CnnzooError:
        return [Check("images", "unknown", "what they were cannot be told for want of last.pt")]
    known_dir = config.data_dir if config.data_dir and config.data_dir.exists() else None
    config = config.replace(
        dataset=full_name(dataset or config.dataset or saved.dataset), data_dir=data_dir or known_dir
    )
    name = str(config.dataset)
    if not is_files(name) and name not in DATASETS:
        return [
            Check("images", "unknown", f"{name} is one of your own. Add --import MODULE, which registers it")
        ]
    try:
        return list(_checks(run, saved, config, reporter or Reporter()))
    except DatasetUnavailableError as error:
        return [Check("images", "unknown", f"they are not here: {one_line(error)}")]
    except CnnzooError as error:
        if (
            is_files(name)
            and not Path(name.removeprefix(FOLDER_PREFIX).removeprefix(CSV_PREFIX)).expanduser().exists()
        ):
            return [Check("images", "unknown", f"{name} is not here. Say where it lies now with --dataset")]
        return [Check("images", "changed", one_line(error))]


def _checks(run: Path, saved: Checkpoint, config: TrainConfig, reporter: Reporter) -> Iterator[Check]:
    name = str(config.dataset)
    if not is_files(name) and get_dataset_spec(name).read is None:
        verify_dataset(get_dataset_spec(name), config.data_dir)  # else they would be downloaded
    reading = reading_again(config, saved)
    images = open_images(name, reading, config.data_dir)
    train = load_split(images, "train", config, saved.preprocessing.full_size, reporter)
    assert train is not None  # only validation images may be missing
    what, num = "images", len(train.source.labels)
    how = "by name and size" if isinstance(train.source, Streamed) else "by their pixels"
    if train.sha256 != saved.data_sha256:
        listed = saved.listing_sha256 and train.listing_sha256 != saved.listing_sha256
        differ = "others, or of other sizes" if listed else "the same files with other pixels or labels"
        if not is_files(name):
            differ = "others"
        yield Check(
            what, "changed", f"those in {train.location} are not those that it was trained on: {differ}"
        )
    elif gone := _gone(run, train):
        yield Check(
            what, "changed", f"{gone:,} of the files in {train.location} that it was trained on have changed"
        )
    else:
        yield Check(what, "ok", f"{num:,} to train and validate on in {train.location}, {how}")
    yield from _tested(run, reading, config, saved, reporter)


def _gone(run: Path, train: Dataset) -> int:
    """Return how many of the files that a run was trained on are not there any more, byte for byte."""
    trained = read_trained(run)
    if trained is None or train.source.digests is None:
        return 0
    return len(
        trained
        - {digest.tobytes() for digest in train.source.read_digests(np.arange(len(train.source.labels)))}
    )


def _tested(
    run: Path, reading: Reading, config: TrainConfig, saved: Checkpoint, reporter: Reporter
) -> Iterator[Check]:
    """Yield what came of the run's own test images, where it was tested on them."""
    try:
        sha256 = read_evaluation(run).data_sha256
    except (OSError, ValueError):
        return
    if sha256 is None:
        return

    def read(reading: Reading) -> Dataset | None:
        images = open_images(str(config.dataset), reading, config.data_dir)
        return load_split(images, "test", config, saved.preprocessing.full_size, reporter)

    try:
        test = read(reading)
    except BrokenImageError:  # which `eval --skip-bad-images` has left out
        test = read(replace(reading, skip_bad_images=True))
    assert test is not None
    if test.sha256 == sha256:
        yield Check("test images", "ok", f"{len(test.source.labels):,} in {test.location}")
    else:
        yield Check(
            "test images", "changed", f"those in {test.location} are not those that {EVALUATION} tells of"
        )
