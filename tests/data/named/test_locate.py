"""Named datasets: found where they lie, downloaded from a mirror, and never believed without their checksums."""

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import runpy
import struct
import tarfile
import threading
import time
import tomllib
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cnnzoo.config import TrainConfig
from cnnzoo.data.datasets import load_dataset
from cnnzoo.data.named import download
from cnnzoo.data.named.catalog import DATASETS, IDX_FILES, DatasetSpec, get_dataset_spec
from cnnzoo.data.named.formats import Arrays, parse_idx
from cnnzoo.data.named.locate import (
    DatasetUnavailableError,
    default_data_dir,
    load_arrays,
    locate,
    verify_dataset,
)
from cnnzoo.errors import CnnzooError
from tests.helpers import Reporter, load_training_data, patch_internal
from tests.processes import REPOSITORY

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
needs_full_set = pytest.mark.skipif(not DEBIAN.is_dir(), reason="the full Fashion-MNIST is not here")

NAMES = [name for pair in IDX_FILES.values() for name in pair]
IMAGES = NAMES[0]

T = TypeVar("T")


def pack_idx(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 0x08, array.ndim, *array.shape) + array.tobytes()


def family_member(seed: int, num_classes: int = 10) -> dict[str, bytes]:
    """The four files of a little Fashion-MNIST: 20 training and 10 test images."""
    numbers = np.random.default_rng(seed)
    files = {}
    for (images, labels), num in zip(IDX_FILES.values(), (20, 10), strict=True):
        files[images] = pack_idx(numbers.integers(0, 256, (num, 28, 28), dtype=np.uint8))
        files[labels] = pack_idx(np.arange(num, dtype=np.uint8) % num_classes)
    return files


def put(folder: Path, files: Mapping[str, bytes], *, packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def register(monkeypatch: pytest.MonkeyPatch, name: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Make a dataset consist of ``files``, on no machine yet; return what its mirrors offer."""
    offered = {f"{file}.gz": gzip.compress(content) for file, content in files.items()}
    sums = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    known = sums if DATASETS[name].sha256 else {}
    spec = dataclasses.replace(DATASETS[name], sha256=known, folders=(), megabytes=1)
    monkeypatch.setitem(dict_of_datasets(), name, spec)
    source = getattr(torchvision.datasets, spec.torchvision)
    resources = [(file, hashlib.md5(content).hexdigest()) for file, content in offered.items()]
    monkeypatch.setattr(source, "resources", resources)
    monkeypatch.setattr(source, "mirrors", ["http://127.0.0.1:9/"])  # where nobody listens
    return offered


def dict_of_datasets() -> dict[str, DatasetSpec]:
    assert isinstance(DATASETS, dict)
    return DATASETS


@pytest.fixture
def fashion(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Fashion-MNIST's four files, unpacked; on no machine yet, and on no mirror."""
    monkeypatch.delenv("CNNZOO_DATA", raising=False)
    files = family_member(0)
    register(monkeypatch, "fashionmnist", files)
    return files


def load(data_dir: Path | None, split: str = "train", name: str = "fashionmnist") -> Arrays:
    return load_arrays(get_dataset_spec(name), split, data_dir, lambda *_: None)


# Finding


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", ["FashionMNIST/raw", "fashionmnist", "raw", "."])
def test_fashion_mnist_is_found_in_torchvisions_layout_and_as_bare_files(
    fashion: dict[str, bytes], tmp_path: Path, place: str, packed: bool
) -> None:
    put(tmp_path / place, fashion, packed=packed)
    for split, num in (("train", 20), ("test", 10)):
        found = load(tmp_path, split)
        assert found.location == tmp_path / place
        assert found.images.shape == (num, 1, 28, 28)
        assert found.images.dtype == np.uint8
        assert found.images.tobytes() == fashion[IDX_FILES[split][0]][16:]
        assert found.labels.tolist() == list(range(10)) * (num // 10)
        assert found.labels.dtype == np.int64


def test_the_data_folder_comes_before_the_systems_and_torchvisions_layout_before_bare_files(
    fashion: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = dataclasses.replace(DATASETS["fashionmnist"], folders=(tmp_path / "system",))
    monkeypatch.setitem(dict_of_datasets(), "fashionmnist", spec)
    order = [tmp_path / "system", tmp_path / "data", tmp_path / "data/FashionMNIST/raw"]
    for place in order:
        put(place, fashion, packed=True)
        assert load(tmp_path / "data").location == place


@needs_full_set
def test_fashion_mnist_is_found_where_debian_puts_it_though_packed_anew(tmp_path: Path) -> None:
    found = load(tmp_path, "test")
    assert found.location == DEBIAN
    assert found.images.shape == (10_000, 1, 28, 28)
    assert np.bincount(found.labels).tolist() == [1000] * 10
    assert found.labels[:5].tolist() == [9, 2, 1, 1, 6]  # the official order


def test_data_lies_where_cnnzoo_data_says_else_in_the_users_cache_folder(
    fashion: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "named", fashion)
    monkeypatch.setenv("CNNZOO_DATA", str(tmp_path / "named"))
    assert default_data_dir() == tmp_path / "named"
    assert load(None).location == tmp_path / "named"
    put(tmp_path / "given", fashion)
    assert load(tmp_path / "given").location == tmp_path / "given"

    monkeypatch.delenv("CNNZOO_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_data_dir().is_relative_to(tmp_path)
    assert "cnnzoo" in default_data_dir().parts
    put(default_data_dir(), fashion)
    assert load(None).location == default_data_dir()


def test_a_tilde_that_no_shell_expanded_is_the_home_folder(
    fashion: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    put(tmp_path / "数据 of mine", fashion)
    assert load(Path("~/数据 of mine")).location == tmp_path / "数据 of mine"


# Believing


def test_files_of_another_dataset_with_the_same_names_are_never_taken(
    fashion: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnist = family_member(1)
    register(monkeypatch, "mnist", mnist)
    put(tmp_path, mnist)
    assert load(tmp_path, name="mnist").location == tmp_path
    assert locate(DATASETS["fashionmnist"], tmp_path) is None
    with pytest.raises(DatasetUnavailableError) as raised:
        load(tmp_path)
    assert "is not on this machine" in str(raised.value)
    assert "checksum" not in str(raised.value)  # MNIST's files are no damaged Fashion-MNIST
    put(tmp_path / "FashionMNIST" / "raw", fashion)
    assert load(tmp_path).images.tobytes() == fashion[IMAGES][16:]
    assert load(tmp_path, name="mnist").images.tobytes() == mnist[IMAGES][16:]


@pytest.mark.parametrize("place", ["{dotted}", "{dotted}.gz", "{name}/{name}", "{dotted}/{dotted}"])
def test_files_are_taken_by_the_names_that_7_zip_and_gunzip_give_them(
    fashion: dict[str, bytes], tmp_path: Path, place: str
) -> None:
    for name, content in fashion.items():
        path = tmp_path / place.format(name=name, dotted=name.replace("-idx", ".idx"))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    assert load(tmp_path).location == tmp_path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CnnzooError):
        load(tmp_path, "test" if "t10k" in path.name else "train")


def test_the_unpacked_contents_decide_and_not_how_they_were_packed(
    fashion: dict[str, bytes], tmp_path: Path
) -> None:
    for name, content in fashion.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content, 1, mtime=12345))
    assert load(tmp_path).location == tmp_path


def test_one_changed_byte_is_noticed_and_the_file_named(fashion: dict[str, bytes], tmp_path: Path) -> None:
    changed = bytearray(fashion[IMAGES])
    changed[5000] ^= 1
    put(tmp_path, {**fashion, IMAGES: bytes(changed)})
    with pytest.raises(CnnzooError, match="checksum differs") as raised:
        verify_dataset(DATASETS["fashionmnist"], tmp_path)
    assert str(tmp_path / IMAGES) in str(raised.value)
    assert "cnnzoo data fetch fashionmnist" in str(raised.value)


def test_a_whole_copy_beside_a_damaged_one_is_taken(fashion: dict[str, bytes], tmp_path: Path) -> None:
    put(tmp_path, fashion, packed=True)
    (tmp_path / IMAGES).write_bytes(fashion[IMAGES][:1000])  # as an interrupted gunzip leaves it
    assert load(tmp_path).images.tobytes() == fashion[IMAGES][16:]


def test_where_only_packed_files_have_a_checksum_unpacked_ones_are_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = family_member(2)
    offered = register(monkeypatch, "kmnist", files)
    put(tmp_path, files)
    assert locate(DATASETS["kmnist"], tmp_path) is None
    put(tmp_path, files, packed=True)
    (tmp_path / f"{IMAGES}.gz").write_bytes(gzip.compress(files[IMAGES], 1, mtime=1))
    assert locate(DATASETS["kmnist"], tmp_path) is None
    for name, content in offered.items():
        (tmp_path / name).write_bytes(content)
    assert load(tmp_path, name="kmnist").images.tobytes() == files[IMAGES][16:]


def test_the_checksum_of_the_data_is_that_of_its_contents_wherever_they_lie(
    fashion: dict[str, bytes], tmp_path: Path
) -> None:
    put(tmp_path / "a", fashion)
    put(tmp_path / "b" / "raw", fashion, packed=True)
    expected = hashlib.sha256(fashion[NAMES[0]] + fashion[NAMES[1]]).hexdigest()
    assert load(tmp_path / "a").sha256 == load(tmp_path / "b").sha256 == expected


def test_row_39_a_label_that_is_no_class_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = family_member(3, num_classes=11)
    register(monkeypatch, "fashionmnist", files)
    put(tmp_path, files)
    with pytest.raises(CnnzooError, match="outside 0 to 9"):
        load_dataset("fashionmnist", "train", image_size=28, data_dir=tmp_path)


# IDX


def outcome(call: Callable[[], T]) -> T | CnnzooError:
    try:
        return call()
    except CnnzooError as error:
        return error


@given(st.binary(max_size=64))
def test_random_bytes_are_no_idx_file(content: bytes) -> None:
    with pytest.raises(CnnzooError, match=r"some\.file"):
        parse_idx(b"\1" + content, Path("some.file"))


@given(
    shape=st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 4), max_size=6),
    ndim=st.none() | st.integers(0, 255),
    body=st.binary(max_size=70),
)
def test_a_header_is_believed_only_where_the_bytes_are_there(
    shape: list[int], ndim: int | None, body: bytes
) -> None:
    header = bytes([0, 0, 8, len(shape) if ndim is None else ndim]) + struct.pack(f">{len(shape)}I", *shape)
    read = outcome(lambda: parse_idx(header + body, Path("some.file")))
    if isinstance(read, CnnzooError):
        assert "some.file" in str(read)
    else:
        assert (header + body).endswith(read.tobytes())
        assert read.size > 0


@given(
    array=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(
        lambda shape: np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    )
)
def test_an_idx_file_is_read_as_it_was_written(array: NDArray[np.uint8]) -> None:
    read = parse_idx(pack_idx(array), Path("some.file"))
    np.testing.assert_array_equal(read, array)
    assert read.flags.writeable


@pytest.mark.parametrize("absurd", [[2**32 - 1] * 3, [2**32 - 1], [60_000, 28, 28], [0, 2**32 - 1]])
def test_a_header_that_claims_gigabytes_allocates_none(absurd: list[int]) -> None:
    content = struct.pack(f">HBB{len(absurd)}I", 0, 8, len(absurd), *absurd) + bytes(100)
    tracemalloc.start()
    try:
        with pytest.raises(CnnzooError):
            parse_idx(content, Path("some.file"))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(data=st.data())
def test_a_garbled_packed_file_is_an_error_or_the_very_same_images(
    fashion: dict[str, bytes], tmp_path: Path, data: st.DataObject
) -> None:
    put(tmp_path, fashion, packed=True)
    target = tmp_path / f"{IMAGES}.gz"
    content = bytearray(target.read_bytes())
    match data.draw(st.sampled_from(["noise", "cut", "flip", "append"])):
        case "noise":
            content = bytearray(data.draw(st.binary(max_size=200)))
        case "cut":
            del content[data.draw(st.integers(0, len(content) - 1)) :]
        case "flip":
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        case "append":
            content += data.draw(st.binary(min_size=1, max_size=20))
    target.write_bytes(content)
    found = outcome(lambda: verify_dataset(DATASETS["fashionmnist"], tmp_path))
    if isinstance(found, CnnzooError):
        assert str(target) in str(found)
        assert "\n" not in str(found)
    else:
        assert found[0].images.tobytes() == fashion[IMAGES][16:]


def test_a_gzip_bomb_does_not_fill_the_memory(fashion: dict[str, bytes], tmp_path: Path) -> None:
    put(tmp_path, fashion, packed=True)
    bomb = gzip.compress(bytes(1 << 24)) * 128  # 2 MB that unpack to 2 GiB
    (tmp_path / f"{IMAGES}.gz").write_bytes(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(CnnzooError, match=f"{IMAGES}.gz has more than 64 MiB"):
            verify_dataset(DATASETS["fashionmnist"], tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 300 << 20
    finally:
        tracemalloc.stop()


# Downloading, from a real server

Answer = Callable[[BaseHTTPRequestHandler], None]


class Mirror:
    """A web server on this machine: what it offers, by file name, and what it was asked for."""

    def __init__(self) -> None:
        self.offered: dict[str, bytes | int | Answer] = {}
        self.asked: list[str] = []
        self.over = threading.Event()  # lets an answer that hangs end with its test
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                mirror.asked.append(name)
                answer = mirror.offered.get(name, 404)
                if isinstance(answer, int):
                    self.send_error(answer)
                elif isinstance(answer, bytes):
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                else:
                    try:
                        answer(self)
                    except OSError:  # the client has hung up, which is what it should do
                        self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"


@contextmanager
def running_mirror(
    monkeypatch: pytest.MonkeyPatch, offered: Mapping[str, bytes] | None = None
) -> Iterator[Mirror]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    mirror = Mirror()
    mirror.offered.update(offered or {})
    thread = threading.Thread(target=mirror.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield mirror
    finally:
        mirror.over.set()
        mirror.server.shutdown()
        thread.join()
        mirror.server.server_close()


@pytest.fixture
def mirror(fashion: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """The only mirror of Fashion-MNIST; it has every file."""
    offered = {f"{name}.gz": gzip.compress(content) for name, content in fashion.items()}
    resources = [(name, hashlib.md5(content).hexdigest()) for name, content in offered.items()]
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "resources", resources)
    with running_mirror(monkeypatch, offered) as mirror:
        monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", [mirror.address])
        yield mirror


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_dataset_that_is_not_here_is_downloaded_in_torchvisions_layout(
    fashion: dict[str, bytes], mirror: Mirror, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    spec = get_dataset_spec("fashionmnist")
    found = load_arrays(spec, "train", tmp_path / "new", lambda *news: told.append(news))
    assert found.images.tobytes() == fashion[IMAGES][16:]
    assert files_below(tmp_path / "new") == {f"FashionMNIST/raw/{name}.gz" for name in NAMES}
    for name, content in mirror.offered.items():
        assert isinstance(content, bytes)
        news = [(done, total) for what, done, total in told if what == f"Downloading {name}"]
        assert news == sorted(news)
        assert news[-1] == (len(content), len(content))

    mirror.asked.clear()
    load(tmp_path / "new", "test")
    assert mirror.asked == []


def test_files_that_are_here_and_whole_are_not_fetched_again(
    fashion: dict[str, bytes], mirror: Mirror, tmp_path: Path
) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    put(raw, {NAMES[0]: fashion[NAMES[0]]})
    put(raw, {NAMES[1]: fashion[NAMES[1]]}, packed=True)
    put(raw, {NAMES[2]: b"damaged"}, packed=True)
    assert load(tmp_path, "test").images.tobytes() == fashion[NAMES[2]][16:]
    assert mirror.asked == [f"{NAMES[2]}.gz", f"{NAMES[3]}.gz"]


def test_row_34_what_a_killed_download_left_is_replaced(
    fashion: dict[str, bytes], mirror: Mirror, tmp_path: Path
) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / f"{IMAGES}.gz.part").write_bytes(bytes(10_000_000))
    assert load(tmp_path).images.tobytes() == fashion[IMAGES][16:]
    assert files_below(raw) == {f"{name}.gz" for name in NAMES}


def test_the_second_mirror_is_asked_where_the_first_fails(
    fashion: dict[str, bytes], mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_mirror(monkeypatch) as empty:
        both = [empty.address, mirror.address]
        monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", both)
        assert load(tmp_path).images.tobytes() == fashion[IMAGES][16:]
        assert len(empty.asked) == len(mirror.asked) == 4


def test_a_mirror_that_is_slow_but_steady_is_waited_for(
    fashion: dict[str, bytes], mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_internal(monkeypatch, "MIRROR_TIMEOUT", 1.0)
    patch_internal(monkeypatch, "MIN_BYTES", 1000)
    content = mirror.offered[f"{IMAGES}.gz"]
    assert isinstance(content, bytes)

    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        for part in range(0, len(content), 1000):
            handler.wfile.write(content[part : part + 1000])
            time.sleep(0.1)

    mirror.offered[f"{IMAGES}.gz"] = slow
    started = time.monotonic()
    assert load(tmp_path).images.tobytes() == fashion[IMAGES][16:]
    assert time.monotonic() - started > 1.2  # longer than the time-out


def trickle(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    while not over.wait(0.02):
        handler.wfile.write(b"x")


def silent(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    over.wait(20)


def stops_half_way(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(bytes(50_000))


def hangs_half_way(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    stops_half_way(handler, over)
    over.wait(20)


def trickles(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    trickle(handler, over)


def trickles_its_header(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Long: ")
    trickle(handler, over)


def sends_without_end(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not over.is_set():
        handler.wfile.write(bytes(1 << 16))


def speaks_no_http(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.wfile.write(b"What do you want?\r\n")


def redirects_for_ever(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.end_headers()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (403, "403"),
        (404, "404"),
        (silent, "silent"),
        (stops_half_way, "ended after 50,000 of 100,000 bytes"),
        (hangs_half_way, "silent or too slow"),
        (trickles, "too slow"),
        (trickles_its_header, "too slow"),
        (sends_without_end, "more than 2,000,000 bytes"),
        (speaks_no_http, "What do you want"),
        (redirects_for_ever, "redirect"),
    ],
)
def test_row_32_a_mirror_that_fails_ends_soon_in_one_line_with_three_ways_to_get_the_data(
    mirror: Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: int | Callable[[BaseHTTPRequestHandler, threading.Event], None],
    why: str,
) -> None:
    patch_internal(monkeypatch, "MIRROR_TIMEOUT", 0.5)
    first = f"{IMAGES}.gz"
    mirror.offered[first] = (
        answer if isinstance(answer, int) else (lambda handler: answer(handler, mirror.over))
    )
    started = time.monotonic()
    with pytest.raises(DatasetUnavailableError) as raised:
        load(tmp_path)
    assert time.monotonic() - started < 4
    message = str(raised.value)
    assert "\n" not in message
    assert f"{mirror.address}{first}: " in message
    assert why in message
    assert "(1) on Debian or Ubuntu: apt-get install dataset-fashion-mnist" in message
    assert str(tmp_path / "FashionMNIST" / "raw") in message
    assert "(3) point --data-dir at" in message
    assert files_below(tmp_path) == set()


def test_where_nobody_listens_every_mirror_is_named(
    fashion: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_mirror(monkeypatch) as gone:
        address = gone.address
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", [address, f"{address}other/"])
    with pytest.raises(DatasetUnavailableError, match="refused") as raised:
        load(tmp_path)
    assert f"{address}{IMAGES}.gz" in str(raised.value)
    assert f"{address}other/{IMAGES}.gz" in str(raised.value)


def test_row_32_mirrors_that_all_hang_cost_less_than_half_a_minute() -> None:
    num_mirrors = max(
        len(getattr(torchvision.datasets, spec.torchvision).mirrors)
        for spec in DATASETS.values()
        if spec.format == "idx" and spec.torchvision
    )
    assert num_mirrors * download.MIRROR_TIMEOUT < 30


def test_row_33_a_wrong_checksum_is_tried_once_more_and_then_an_error(mirror: Mirror, tmp_path: Path) -> None:
    name = f"{NAMES[1]}.gz"
    mirror.offered[name] = gzip.compress(b"something else")
    with pytest.raises(DatasetUnavailableError, match="wrong checksum"):
        load(tmp_path)
    assert mirror.asked == [f"{IMAGES}.gz", name, name]
    assert files_below(tmp_path) == {f"FashionMNIST/raw/{IMAGES}.gz"}


def test_a_download_that_was_damaged_once_succeeds(
    fashion: dict[str, bytes], mirror: Mirror, tmp_path: Path
) -> None:
    name = f"{IMAGES}.gz"
    good = mirror.offered[name]
    assert isinstance(good, bytes)

    def damaged_once(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(good[:-1] + b"!" if mirror.asked.count(name) == 1 else good)

    mirror.offered[name] = damaged_once
    assert load(tmp_path).images.tobytes() == fashion[IMAGES][16:]
    assert mirror.asked.count(name) == 2


def test_a_data_folder_that_cannot_be_made_is_named(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DatasetUnavailableError, match="--data-dir") as raised:
        load(tmp_path / "file" / "data")
    assert str(tmp_path / "file" / "data") in str(raised.value)
    assert "(1)" in str(raised.value)
    assert mirror.asked == []


def test_a_full_disk_is_named_and_leaves_no_half_file(mirror: Mirror, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    noise = os.urandom(1_900_000)
    mirror.offered[f"{IMAGES}.gz"] = noise
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))  # writing more fails, as on a full disk
    try:
        with pytest.raises(DatasetUnavailableError, match="cannot be written"):
            load(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files_below(tmp_path) == set()


# CIFAR-10

BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"]


def cifar10_files() -> dict[str, bytes]:
    numbers = np.random.default_rng(4)
    files = {}
    for name in BATCHES[:-1]:
        pixels = numbers.integers(0, 256, (2, 3072), dtype=np.uint8)
        files[name] = pickle.dumps({"data": pixels, "labels": [3, 9]}, protocol=2)
    files["batches.meta"] = pickle.dumps({"label_names": ["airplane"]}, protocol=2)
    return files


def cifar10_archive(files: Mapping[str, bytes], *extra: tuple[tarfile.TarInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        folder = tarfile.TarInfo("cifar-10-batches-py")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member, content in extra:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def cifar10(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], Mirror]]:
    """A mirror of CIFAR-10 that offers the archive it is given."""
    files = cifar10_files()
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    source = torchvision.datasets.CIFAR10
    monkeypatch.setattr(source, "train_list", [[name, sums[name]] for name in BATCHES[:5]])
    monkeypatch.setattr(source, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": sums["batches.meta"]})
    with running_mirror(monkeypatch) as mirror:
        monkeypatch.setattr(source, "url", f"{mirror.address}{source.filename}")

        def offer(archive: bytes) -> Mirror:
            monkeypatch.setattr(source, "tgz_md5", hashlib.md5(archive).hexdigest())
            mirror.offered[source.filename] = archive
            return mirror

        yield offer


def test_cifar10_is_downloaded_unpacked_and_read(cifar10: Callable[[bytes], Mirror], tmp_path: Path) -> None:
    files = cifar10_files()
    mirror = cifar10(cifar10_archive(files))
    train, test = load(tmp_path, "train", "cifar10"), load(tmp_path, "test", "cifar10")
    assert (train.images.shape, test.images.shape) == ((10, 3, 32, 32), (2, 3, 32, 32))
    assert train.labels.tolist() == [3, 9] * 5
    rows = np.concatenate([pickle.loads(files[name])["data"] for name in BATCHES[:5]])
    assert train.images.tobytes() == rows.tobytes()
    assert locate(DATASETS["cifar10"], tmp_path) == (
        tmp_path / "cifar-10-batches-py",
        sum(len(files[name]) for name in BATCHES),
    )
    assert len(mirror.asked) == 1


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "members",
    [
        [tarfile.TarInfo("../evil")],
        [tarfile.TarInfo("cifar-10-batches-py/../../evil")],
        [tarfile.TarInfo("OUTSIDE/evil")],
        [
            link("cifar-10-batches-py/way", "..", tarfile.SYMTYPE),
            tarfile.TarInfo("cifar-10-batches-py/way/evil"),
        ],
        [link("cifar-10-batches-py/way", "OUTSIDE/kept", tarfile.LNKTYPE)],
        [link("cifar-10-batches-py/way", "/etc/passwd", tarfile.SYMTYPE)],
        [link("cifar-10-batches-py/pipe", "", tarfile.FIFOTYPE)],
    ],
    ids=["dots", "dots inside", "absolute", "through a link", "hard link", "link out", "pipe"],
)
def test_row_35_an_archive_that_reaches_out_of_its_folder_is_refused_and_nothing_is_unpacked(
    cifar10: Callable[[bytes], Mirror], tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    (tmp_path / "kept").write_text("as it was")
    for member in members:
        member.name = member.name.replace("OUTSIDE", str(tmp_path))
        member.linkname = member.linkname.replace("OUTSIDE", str(tmp_path))
    evil = [(member, b"evil" if member.isfile() else b"") for member in members]
    cifar10(cifar10_archive(cifar10_files(), *evil))
    with pytest.raises(CnnzooError, match="not safe to unpack"):
        load(tmp_path / "a" / "data", name="cifar10")
    assert files_below(tmp_path) == {"kept", "a/data/cifar-10-python.tar.gz"}
    assert (tmp_path / "kept").read_text() == "as it was"


@pytest.mark.parametrize("archive", [b"no archive", cifar10_archive(cifar10_files())[:-200]])
def test_an_archive_that_cannot_be_unpacked_is_named(
    cifar10: Callable[[bytes], Mirror], tmp_path: Path, archive: bytes
) -> None:
    cifar10(archive)
    with pytest.raises(CnnzooError, match=r"cifar-10-python\.tar\.gz cannot be unpacked"):
        load(tmp_path, name="cifar10")


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.write_text, (self.marker, "unpickled"))


def test_a_batch_that_was_changed_on_disk_is_never_unpickled(
    cifar10: Callable[[bytes], Mirror], tmp_path: Path
) -> None:
    mirror = cifar10(cifar10_archive(cifar10_files()))
    expected = load(tmp_path, name="cifar10").sha256
    batch = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    marker = tmp_path / "marker"
    evil = pickle.dumps(Evil(marker))

    batch.write_bytes(evil)
    with pytest.raises(CnnzooError, match="checksum"):
        verify_dataset(DATASETS["cifar10"], tmp_path)
    # The archive is still there and whole: the batch is unpacked again, without a download.
    assert load(tmp_path, name="cifar10").sha256 == expected
    assert len(mirror.asked) == 1

    batch.write_bytes(evil)
    (tmp_path / "cifar-10-python.tar.gz").unlink()
    mirror.offered.clear()
    with pytest.raises(DatasetUnavailableError, match=r"checksum.*404.*\(1\).*\(2\).*\(3\)"):
        load(tmp_path, name="cifar10")
    assert not marker.exists()


def test_row_34_batches_that_a_killed_unpacking_left_are_written_again(
    cifar10: Callable[[bytes], Mirror], tmp_path: Path
) -> None:
    files = cifar10_files()
    archive = cifar10_archive(files)
    mirror = cifar10(archive)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(archive)
    put(tmp_path / "cifar-10-batches-py", {"data_batch_1": files["data_batch_1"][:100]})
    assert len(load(tmp_path, name="cifar10").labels) == 10
    assert mirror.asked == []


# The sample


def test_the_sample_ships_with_the_package_600_and_100_images_of_each_class(tmp_path: Path) -> None:
    train, test = verify_dataset(DATASETS["fashionmnist-sample"], tmp_path)
    assert np.bincount(train.labels).tolist() == [600] * 10
    assert np.bincount(test.labels).tolist() == [100] * 10
    assert train.images.shape == (6000, 1, 28, 28)


@needs_full_set
def test_the_sample_is_the_first_images_of_each_class_in_the_official_order(tmp_path: Path) -> None:
    full = load(None, "test")
    _, sample = verify_dataset(DATASETS["fashionmnist-sample"], tmp_path)
    seen = [0] * 10
    chosen = []
    for index, label in enumerate(full.labels.tolist()):
        seen[label] += 1
        if seen[label] <= 100:
            chosen.append(index)
    np.testing.assert_array_equal(sample.images, full.images[chosen])
    np.testing.assert_array_equal(sample.labels, full.labels[chosen])


@needs_full_set
def test_the_script_makes_the_shipped_sample_byte_for_byte(tmp_path: Path) -> None:
    make_sample = runpy.run_path(str(REPOSITORY / "scripts" / "make_sample.py"))["make_sample"]
    make_sample(DEBIAN, tmp_path)
    shipped = REPOSITORY / "src" / "cnnzoo" / "data" / "sample"
    assert files_below(tmp_path) == {f"{name}.gz" for name in NAMES}
    for name in NAMES:
        made = (tmp_path / f"{name}.gz").read_bytes()
        assert gzip.decompress(made) == gzip.decompress((shipped / f"{name}.gz").read_bytes())
        if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # zlib-ng packs the same images otherwise
            assert made == (shipped / f"{name}.gz").read_bytes()


def test_the_samples_licence_ships_beside_it_and_is_declared() -> None:
    licence = REPOSITORY / "src" / "cnnzoo" / "data" / "sample" / "LICENSE"
    text = licence.read_text(encoding="utf-8")
    assert "MIT License" in text
    assert "Zalando" in text
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert licence.relative_to(REPOSITORY).as_posix() in project["project"]["license-files"]
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["src/cnnzoo"]


def test_a_damaged_sample_says_to_install_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = dataclasses.replace(DATASETS["fashionmnist-sample"], folders=(tmp_path,))
    monkeypatch.setitem(dict_of_datasets(), spec.name, spec)
    with pytest.raises(CnnzooError, match="Install cnnzoo again"):
        load(None, name=spec.name)
    put(tmp_path, family_member(5))
    with pytest.raises(CnnzooError, match=r"checksum differs.*Install cnnzoo again"):
        load(None, name=spec.name)


class Listener(Reporter):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def test_where_no_dataset_was_named_and_the_full_one_cannot_be_had_the_sample_is_used_with_a_warning(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.offered.clear()
    monkeypatch.setenv("CNNZOO_DATA", str(tmp_path))
    listener = Listener()
    config, dataset, train, val = load_training_data(TrainConfig(model="lenet"), 28, listener)
    assert config.dataset == dataset.name == "fashionmnist-sample"
    assert len(train.labels) + len(val.labels) == 6000
    (warning,) = listener.warnings
    for part in ("sample", "404", "not comparable", "(1)", "(2)", "(3)"):
        assert part in warning


def test_where_no_dataset_was_named_the_full_one_is_used_if_it_can_be_had(
    fashion: dict[str, bytes], mirror: Mirror, tmp_path: Path
) -> None:
    listener = Listener()
    config, dataset, *_ = load_training_data(TrainConfig(model="lenet", data_dir=tmp_path), 28, listener)
    assert config.dataset == dataset.name == "fashionmnist"
    assert len(dataset.source.labels) == 20
    assert listener.warnings == []


@pytest.mark.parametrize("dataset", ["fashionmnist", None])
@pytest.mark.parametrize("broken", [False, True])
def test_a_dataset_that_cannot_be_had_is_an_error_where_it_or_its_folder_is_named(
    fashion: dict[str, bytes], mirror: Mirror, tmp_path: Path, dataset: str | None, broken: bool
) -> None:
    mirror.offered.clear()
    if broken:
        put(tmp_path, fashion, packed=False)
        (tmp_path / "train-images-idx3-ubyte").write_bytes(b"broken")
    listener = Listener()
    config = TrainConfig(model="lenet", dataset=dataset, data_dir=tmp_path)
    says = r"train-images-idx3-ubyte is not the file" if broken else "is not on this machine"
    with pytest.raises(DatasetUnavailableError, match=rf"{says}.*404.*\(1\).*\(2\).*\(3\)"):
        load_training_data(config, 28, listener)
    assert listener.warnings == []
