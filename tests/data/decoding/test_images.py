"""Image files to pixels: beside Pillow on the whole picture, with and without the fast decoder."""

import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cnnzoo.data.decoding import squares
from cnnzoo.data.decoding.images import BrokenImageError, decode_image, read_content
from cnnzoo.data.listing.listing import Files, relative_name
from cnnzoo.data.sources import Streamed


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return something like a photograph: edges, slopes and grain at every scale."""
    numbers = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3))
    for scale in (4, 16, 64):
        small = numbers.uniform(0, 255, (scale, scale, 3)).astype(np.uint8)
        picture += np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)) / 3
    return Image.fromarray(picture.astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(content: bytes, size: int | None = 64, channels: int = 3) -> NDArray[np.int_]:
    return decode_image(Path("a.jpg"), channels, size, content=content).astype(int)


def by_pillow(content: bytes, size: int, channels: int) -> NDArray[np.int_]:
    """Read a picture step by step, each on the whole of it: turned, to 8 bits, on white, grey or colour, cut."""
    image: Image.Image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if image.mode in ("I;16", "F"):
        values = np.asarray(image, dtype=np.float64)
        brightest = 65535 if image.mode == "I;16" else values.max()
        image = Image.fromarray((values * 255 / brightest).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("L" if channels == 1 else "RGB")
    square = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1).astype(int)


def difference(content: bytes, size: int, channels: int = 3) -> float:
    ours, theirs = decoded(content, size, channels), by_pillow(content, size, channels)
    assert ours.shape == theirs.shape == (channels, size, size)
    return float(np.abs(ours - theirs).mean())


@pytest.fixture
def without_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    squares._simplejpeg.cache_clear()
    assert squares._simplejpeg() is None
    yield
    squares._simplejpeg.cache_clear()


SIZES = [
    (500, 375),
    (375, 500),
    (501, 333),
    (1201, 901),
    (2000, 1500),
    (227, 300),
    (64, 64),
    (65, 64),
    (40, 31),
]


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_pixels_are_within_2_grey_levels_of_pillows(kind: str, channels: int) -> None:
    options = {"quality": 90} if kind == "JPEG" else {}
    for width, height in SIZES:
        content = encoded(photograph(width, height), kind, **options)
        for size in (28, 64, 227):
            assert difference(content, size, channels) < 2, (width, height, size)


@pytest.mark.parametrize(
    "size", [(1, 101), (101, 1), (3, 101), (1000, 3), (9, 5), (40, 31), (41, 32), (1, 1)]
)
def test_small_pictures_of_hard_edges_grow_as_by_pillow(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    for kind in ("PNG", "JPEG"):
        assert difference(encoded(Image.fromarray(noise), kind), 227, 3) < 2


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "1", "I;16", "F", "L"])
def test_every_kind_of_picture_is_read_as_by_pillow(mode: str) -> None:
    image = photograph(301, 200)
    if mode == "RGBA":
        image.putalpha(photograph(301, 200, seed=1).convert("L"))
    elif mode in ("I;16", "F"):
        image = Image.fromarray(
            np.asarray(image.convert("L")).astype(np.uint16 if mode == "I;16" else np.float32)
        )
    else:
        image = image.convert(mode)
    kind = {"CMYK": "JPEG", "F": "TIFF"}.get(mode, "PNG")
    for channels in (1, 3):
        assert difference(encoded(image, kind), 64, channels) < 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_turned_picture_is_seen_as_by_pillow(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for width, height in ((301, 200), (200, 300)):
        assert difference(encoded(photograph(width, height), kind, exif=exif), 32) < 2


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"keep_rgb": True}])
def test_pillow_and_the_fast_decoder_give_the_same_pixels(
    options: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    contents = [
        encoded(photograph(*size), quality=90, **options) for size in ((500, 375), (1203, 901), (63, 41))
    ]
    contents.append(encoded(photograph(500, 375).convert("L"), quality=90))
    wanted = [(content, size, channels) for content in contents for size in (28, 227) for channels in (1, 3)]
    fast = [decoded(*each) for each in wanted]
    request.getfixturevalue("without_simplejpeg")
    for each, pixels in zip(wanted, fast, strict=True):
        assert (decoded(*each) == pixels).all()


@pytest.mark.parametrize("shorter_side", [1, 56, 111, 112, 223, 224, 447, 448, 3000])
def test_a_jpeg_is_never_decoded_to_less_than_twice_the_size_that_is_wanted(shorter_side: int) -> None:
    factor = squares.shrinkage(shorter_side, 28)
    assert factor == 1 or shorter_side / factor >= 2 * 28
    assert factor == 8 or shorter_side / (2 * factor) < 2 * 28


def test_a_large_jpeg_is_decoded_small(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    whole = squares.middle_square

    def noted(pixels: NDArray[np.uint8], extent: tuple[float, float], size: int) -> NDArray[np.uint8]:
        shapes.append(pixels.shape)
        return whole(pixels, extent, size)

    monkeypatch.setattr(squares, "middle_square", noted)
    decoded(encoded(photograph(1601, 1200)), 70)
    assert shapes == [(150, 201, 3)]


def damaged() -> list[bytes]:
    whole = encoded(photograph(500, 375), quality=90)
    progressive = encoded(photograph(500, 375), quality=90, progressive=True)
    return [each[: len(each) * share // 100] for each in (whole, progressive) for share in (30, 60, 95)]


def test_a_truncated_jpeg_is_refused() -> None:
    for content in damaged():
        for size in (64, None):
            with pytest.raises(BrokenImageError, match=r"a\.jpg cannot be read as an image .*truncated"):
                decoded(content, size)


def test_what_pillow_reads_is_read_where_the_fast_decoder_refuses_it() -> None:
    content = encoded(photograph(500, 375), quality=90)
    for changed in (content[:-2], content[:-2] + b"xx", content + b"more"):
        try:
            theirs = by_pillow(changed, 64, 3)
        except OSError:
            with pytest.raises(BrokenImageError):
                decoded(changed)
        else:
            assert np.abs(decoded(changed) - theirs).mean() < 2


def test_pixels_that_are_not_resized_are_the_pictures_own() -> None:
    image = photograph(80, 64)
    content = encoded(image, "PNG")
    own = np.asarray(image).transpose(2, 0, 1)
    assert (decoded(content, 64) == own[:, :, 8:72]).all()
    assert (decoded(content, None) == own).all()


def packed(files: list[Path]) -> Files:
    root = files[0].parent
    return Files.of(root, (relative_name(file, root) for file in files))


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_batches_are_one_piece_of_memory_channels_last(tmp_path: Path, num_workers: int) -> None:
    files = [tmp_path / f"{index}.jpg" for index in range(7)]
    for index, file in enumerate(files):
        file.write_bytes(encoded(photograph(60, 50, seed=index)))
    digests = np.zeros((7, 32), dtype=np.uint8)
    source = Streamed(packed(files), torch.arange(7), 3, 32, num_workers, digests=digests)
    chunks = [torch.tensor([3, 1, 6, 0]), torch.tensor([2, 5, 4])]
    for chunk, (images, labels) in zip(chunks, source.batches(chunks, torch.device("cpu")), strict=True):
        assert images.dtype == torch.uint8
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert (labels == chunk).all()
        for index, pixels in zip(chunk.tolist(), images.numpy(), strict=True):
            content = read_content(files[index])
            assert (pixels == decode_image(files[index], 3, 32, content=content)).all()
    assert digests.any(1).all()


def test_a_broken_image_ends_the_threads(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    good.write_bytes(encoded(photograph(60, 50)))
    bad.write_bytes(good.read_bytes()[:300])
    source = Streamed(packed([good, bad] * 20), torch.zeros(40), 3, 32, 2)
    with pytest.raises(BrokenImageError, match=r"bad\.jpg"):
        list(source.batches(list(torch.arange(40).split(8)), torch.device("cpu")))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
