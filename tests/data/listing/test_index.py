"""What is kept of a large tree: it is never out of date, never believed where it is broken, and it pays."""

import io
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnzoo.data.datasets import split_validation
from cnnzoo.data.folders import ImageFiles, list_files
from cnnzoo.data.reading import Reading
from cnnzoo.data.sources import Streamed
from cnnzoo.errors import CnnzooError
from tests.helpers import CPU, patch_internal


def png(shade: int, mode: str = "L", size: int = 200) -> bytes:
    """A picture in ``size`` bytes, whatever is in it."""
    stream = io.BytesIO()
    Image.new("L", (8, 8), shade).convert(mode).save(stream, "PNG")
    return stream.getvalue().ljust(size, b"\0")


GREY, OTHER, COLOUR = png(10), png(90), png(10, "RGB")


@contextmanager
def kept_in(cache: Path, fewest: int = 0) -> Iterator[Path]:
    """Have indexes kept below ``cache``, of trees of ``fewest`` images too."""
    with pytest.MonkeyPatch.context() as patch:
        patch_internal(patch, "cache_folder", lambda: cache)
        patch_internal(patch, "FEWEST_FILES", fewest)
        yield cache / "trees"


def outcome(name: str, reading: Reading) -> Any:
    """All that is told of images, or why they are refused."""
    try:
        images = list_files(name, reading)
        parts = {part: [*images.listing.parts[part]] for part in images.listing.parts}
        sums = [samples.sha256() for samples in images.listing.parts.values()]
        return parts, sums, images.classes, images.notes, images.channels, images.duplicates.tolist()
    except CnnzooError as error:
        return str(error)


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


NAMES = [f"{where}{label}/{name}.png" for where in ("", "train/", "test/") for label in ("cat", "dog", "dog/more")
         for name in ("a", "b", "c", "d", "e", ".hid", "ü")]  # fmt: skip
CONTENTS = st.sampled_from([GREY, OTHER, COLOUR, png(10, size=300)])
TREES = st.dictionaries(st.sampled_from(NAMES), CONTENTS, min_size=5, max_size=20)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(TREES, st.sampled_from(["add", "remove", "rename", "rewrite", "folder", "text", "link"]), st.data())
def test_after_any_change_what_is_kept_tells_what_a_fresh_look_does(
    files: dict[str, bytes], change: str, data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder, kept_in(Path(folder, "cache")):
        root = Path(folder, "tree")
        write(root, files)
        name, reading = f"folder:{root}", Reading()
        before = outcome(name, reading)
        assert outcome(name, reading) == before
        one = root / data.draw(st.sampled_from(sorted(files)))
        if change == "add":
            write(root, {data.draw(st.sampled_from(NAMES)): data.draw(CONTENTS)})
        elif change == "remove":
            one.unlink()
        elif change == "rename":
            one.rename(one.with_name("f.png"))
        elif change == "rewrite":  # in the same size, too
            one.write_bytes(data.draw(CONTENTS))
        elif change == "folder":
            one.parent.rename(one.parent.with_name("eel"))
        elif change == "text":
            (one.parent / "notes.txt").write_text("no image")
        else:
            (one.parent / "link").symlink_to(root / "cat")
        with kept_in(Path(folder, "empty")):
            fresh = outcome(name, reading)
        assert outcome(name, reading) == fresh


def tree(root: Path, num: int = 12) -> Path:
    write(root, {f"{label}/{number}.png": png(number) for label in ("cat", "dog") for number in range(num)})
    return root


@pytest.mark.parametrize("damage", ["cut", "empty", "garbled", "folder", "pickle"])
def test_a_damaged_index_is_as_good_as_none(tmp_path: Path, damage: str) -> None:
    root = tree(tmp_path / "pets")
    with kept_in(tmp_path / "cache") as kept:
        expected = outcome(f"folder:{root}", Reading())
        assert len(sorted(kept.iterdir())) == 3
        for file in kept.iterdir():
            content = file.read_bytes()
            if damage == "cut":
                file.write_bytes(content[: len(content) // 2])
            elif damage == "empty":
                file.write_bytes(b"")
            elif damage == "garbled":
                file.write_bytes(content[:-300].replace(b"cat/", b"dog/") + content[-300:])
            elif damage == "folder":
                file.unlink()
                file.mkdir()
            else:
                with file.open("wb") as opened:
                    np.save(opened, np.array([{}], dtype=object))
        assert outcome(f"folder:{root}", Reading()) == expected
        assert outcome(f"folder:{root}", Reading()) == expected


def test_where_nothing_can_be_kept_the_tree_is_read_all_the_same(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets")
    (tmp_path / "cache").write_bytes(b"a file where a folder is to be")
    with kept_in(tmp_path / "cache"):
        first, second = outcome(f"folder:{root}", Reading()), outcome(f"folder:{root}", Reading())
    assert first == second
    assert (tmp_path / "cache").is_file()


def test_an_index_that_may_be_read_and_not_touched_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "tree")
    with kept_in(tmp_path / "cache") as folder:
        expected = outcome(f"folder:{root}", Reading())
        before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}

        def refused(*_: object, **__: object) -> None:
            raise PermissionError

        monkeypatch.setattr("os.utime", refused)
        assert outcome(f"folder:{root}", Reading()) == expected
        assert {
            file: file.stat().st_mtime_ns for file in folder.iterdir()
        } == before  # nothing was found out anew


def test_duplicates_among_files_that_could_not_be_read_are_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "tree")
    write(
        root,
        {"test/a/copy.png": GREY, "train/a/copy.png": GREY, "test/b/o.png": OTHER, "train/b/p.png": COLOUR},
    )
    with kept_in(tmp_path / "cache"):
        with monkeypatch.context() as patch:

            def fails(*_: object, **__: object) -> int:
                raise TimeoutError

            patch.setattr("cnnzoo.data.listing.duplicates.os.open", fails)
            assert not len(list_files(f"folder:{root}", Reading()).duplicates)
        assert len(list_files(f"folder:{root}", Reading()).duplicates)


def test_a_table_that_is_not_there_is_refused_before_a_tree_is_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def walked(_: Path) -> None:
        raise AssertionError

    monkeypatch.setattr("cnnzoo.data.folders.walk", walked)
    with pytest.raises(CnnzooError, match=r"typo\.csv"):
        list_files(f"csv:{tmp_path / 'typo.csv'}", Reading())


def test_an_index_of_another_version_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "pets")
    with kept_in(tmp_path / "cache") as kept:
        expected = outcome(f"folder:{root}", Reading())
        before = {file: file.read_bytes() for file in kept.iterdir()}
        monkeypatch.setattr("cnnzoo.data.listing.index.__version__", "0.0")
        assert outcome(f"folder:{root}", Reading()) == expected
        assert all(file.read_bytes() != content for file, content in before.items())


def test_indexes_take_no_more_room_than_they_may_and_small_trees_none(tmp_path: Path) -> None:
    with kept_in(tmp_path / "cache") as kept, pytest.MonkeyPatch.context() as patch:
        for number in range(3):
            outcome(f"folder:{tree(tmp_path / str(number))}", Reading())
        sizes = sum(file.stat().st_size for file in kept.iterdir())
        patch_internal(patch, "MAX_BYTES", sizes // 3 + 100)
        for file in kept.iterdir():
            os.utime(file, (1, 1))
        outcome(f"folder:{tmp_path / '0'}", Reading())  # which is used again
        outcome(f"folder:{tree(tmp_path / 'new', 14)}", Reading())
        assert sum(file.stat().st_size for file in kept.iterdir()) <= sizes // 3 + 100
    with kept_in(tmp_path / "other", fewest=1000) as kept:
        outcome(f"folder:{tmp_path / '0'}", Reading())
        assert not kept.exists()


def test_options_and_the_table_itself_have_indexes_of_their_own(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets")
    rows = [f"{label}/{number},{label}" for label in ("cat", "dog") for number in range(12)]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["id,label", *rows]))
    readings = [
        (f"folder:{root}", Reading()),
        (f"csv:{table}", Reading(image_root=root)),
        (f"csv:{table}", Reading()),
    ]
    with kept_in(tmp_path / "cache"):
        first = [outcome(*each) for each in readings]
        assert first == [outcome(*each) for each in readings]
        assert [len(told) for told in first] == [6, 6, 6]  # and no refusal
        table.write_text("\n".join(["id,label", *rows[:-1]]))
        assert sum(map(len, outcome(*readings[1])[0].values())) == 23
        listed = list_files(f"folder:{root}", Reading(), all_for_test=True).listing
        assert list(listed.parts) == ["test"]


# The kind of images


def many(root: Path, odd: dict[int, bytes], num: int = 1500) -> Path:
    """Grey training images, more than are looked at, with others among them that are not looked at."""
    for part, count in (("train", num), ("test", 2)):
        for label in ("cat", "dog"):
            (root / part / label).mkdir(parents=True)
            for number in range(count):
                (root / part / label / f"{number:04}.png").write_bytes(png(number % 256))
    for number, content in odd.items():
        (root / "train" / "cat" / f"{number:04}.png").write_bytes(content)
    return root


LOOKED_AT = {*np.linspace(0, 2999, 1000).astype(int).tolist()}
UNSEEN = next(number for number in range(700, 800) if number not in LOOKED_AT)


def deep(top: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.linspace(0, top, 64).astype(np.uint16).reshape(8, 8)).save(stream, "PNG")
    return stream.getvalue()


def load(images: ImageFiles, warned: list[str]) -> Any:
    return images.load("train", 8, 2, lambda *_: None, warned.append)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("odd", "says"),
    [
        ({UNSEEN: COLOUR}, "is in colour and is read as grey, since the 1,000 training images"),
        ({UNSEEN: deep(4095)}, "has more than 8 bits a pixel (from 0 to 4095)"),
        ({1: deep(4095), UNSEEN: deep(9000)}, "has pixels from 0 to 9000, and"),
    ],
)
def test_another_kind_than_those_that_were_looked_at_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: dict[int, bytes], says: str
) -> None:
    if 1 in odd:
        odd = {min(LOOKED_AT - {0}): odd[1], UNSEEN: odd[UNSEEN]}
    root = many(tmp_path / "pets", odd)
    name = f"train/cat/{UNSEEN:04}.png"
    warned: list[str] = []
    resident = load(list_files(f"folder:{root}", Reading()), warned)
    assert (resident.channels, warned) == (1, [])
    assert len(resident.notes) == 1
    assert resident.notes[0].startswith(f"{name} {says}")
    patch_internal(monkeypatch, "MAX_RESIDENT_BYTES", 0)
    dataset = load(list_files(f"folder:{root}", Reading()), warned)
    assert isinstance(dataset.source, Streamed)
    assert (dataset.notes, warned) == ((), [])
    for _ in range(2):
        for source in split_validation(dataset.source, 0.2, 0):
            for _ in source.batches([*torch.arange(len(source.labels)).split(100)], CPU):
                pass
    assert len(warned) == 1
    assert warned[0].startswith(f"{name} {says}")


def test_channels_that_were_asked_for_are_those_and_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = many(tmp_path / "pets", {UNSEEN: COLOUR})
    patch_internal(monkeypatch, "MAX_RESIDENT_BYTES", 0)
    warned: list[str] = []
    for channels in (1, 3):
        dataset = load(list_files(f"folder:{root}", Reading(channels=channels)), warned)
        ((pixels, _),) = dataset.source.batches([torch.tensor([UNSEEN])], CPU)
        assert pixels.shape == (1, channels, 8, 8)
    assert warned == []


# A large tree


@pytest.mark.slow
def test_a_tree_of_200_000_files_opens_in_12_seconds_and_then_in_2_and_an_epoch_takes_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, content = tmp_path / "tree", png(7, size=96)
    for label in range(100):
        (root / f"class{label:03}").mkdir(parents=True)
        for number in range(2000):
            handle = os.open(root / f"class{label:03}" / f"{number:05}.png", os.O_WRONLY | os.O_CREAT)
            os.write(handle, content + (2000 * label + number).to_bytes(4, "big"))
            os.close(handle)
    patch_internal(monkeypatch, "MAX_RESIDENT_BYTES", 0)
    with kept_in(tmp_path / "cache", fewest=1000):
        times, sums = [], set()
        for _ in range(2):
            started = time.process_time()  # since others may compute beside it
            images = list_files(f"folder:{root}", Reading())
            dataset = images.load("train", 8, 2, lambda *_: None)
            assert len(images.duplicates) == 0
            times.append(time.process_time() - started)
            assert dataset
            sums.add((dataset.sha256, len(dataset.source.labels)))
        assert dataset
        assert len(sums) == 1
        assert times[0] < 12
        assert times[1] < 2
        source = dataset.source.subset(torch.randperm(len(dataset.source.labels))[:40_000])
        chunks = [*torch.arange(40_000).split(500)]
        memory = []
        for some in (chunks[:8], chunks[8:]):  # the first few make room for the batches
            for _ in source.batches(some, CPU):
                pass
            memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        assert memory[1] - memory[0] < 10e6
    shutil.rmtree(root)
