"""Batches: the same images at the same positions whatever the machine's settings, prepared as the tutorial does."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from cnnzoo.data.augment import make_augmentations
from cnnzoo.data.datasets import limit, load_dataset, split_validation
from cnnzoo.data.decoding.images import BrokenImageError
from cnnzoo.data.loader import Loader
from cnnzoo.data.preprocess import Preprocessing, color_directions, mean_and_std, ten_crops
from cnnzoo.data.sources import Resident, Source, Streamed
from cnnzoo.errors import CnnzooError
from tests.helpers import patch_internal

CPU = torch.device("cpu")


def noise(num: int, channels: int = 1, side: int = 16, seed: int = 0) -> Resident:
    """Images of noise, each with its own number for a label."""
    numbers = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (num, channels, side, side), generator=numbers, dtype=torch.uint8)
    return Resident(images, torch.arange(num))


def plain(
    source: Source, batch_size: int = 4, *, seed: int | None = None, augment: Sequence[str] = ()
) -> Loader:
    """Batches of pixels in [0, 1] at their own size."""
    assert isinstance(source, Resident | Streamed)
    side = source.images.shape[-1] if isinstance(source, Resident) else source.image_size
    return augmented(source, Preprocessing(side), batch_size, seed, augment)


def augmented(
    source: Source, preprocessing: Preprocessing, batch_size: int, seed: int | None, augment: Sequence[str]
) -> Loader:
    augmentations = make_augmentations(augment)
    for augmentation in augmentations:
        augmentation.prepare(source)
    return Loader(
        source,
        preprocessing,
        batch_size,
        CPU,
        seed=seed,
        augmentations=augmentations,
        num_classes=int(source.labels.max()) + 1,
    )


def joined(batches: Loader, epoch: int = 1, *, start: int = 0) -> tuple[Tensor, Tensor]:
    epochs = list(batches.epoch(epoch, start=start))
    return torch.cat([batch.images for batch in epochs]), torch.cat([batch.labels for batch in epochs])


# Order


def test_without_a_seed_the_images_come_in_their_order() -> None:
    source = noise(10)
    images, labels = joined(plain(source, 3))
    assert labels.tolist() == list(range(10))
    assert torch.equal((images * 255).round().byte(), source.images)


def test_an_epoch_has_every_image_once_beside_its_own_label() -> None:
    source = noise(50)
    images, labels = joined(plain(source, 7, seed=0))
    assert sorted(labels.tolist()) == list(range(50))
    assert labels.tolist() != list(range(50))
    assert torch.equal((images * 255).round().byte(), source.images[labels])


@pytest.mark.parametrize("num", [1, 7, 9, 64, 65])
def test_row_29_the_last_batch_may_be_smaller_even_one_image(num: int) -> None:
    batches = plain(noise(num), 8, seed=0)
    sizes = [len(batch.images) for batch in batches.epoch()]
    assert sizes == [8] * (num // 8) + ([num % 8] if num % 8 else [])
    assert len(batches) == len(sizes)
    assert batches.num_images == num


def test_the_order_is_the_same_each_time_and_another_for_another_epoch_or_seed() -> None:
    source = noise(60)
    orders = {
        (seed, epoch): tuple(joined(plain(source, 8, seed=seed), epoch)[1].tolist())
        for seed in (0, 1, 2)
        for epoch in (1, 2, 3)
    }
    assert len(set(orders.values())) == 9
    for (seed, epoch), order in orders.items():
        assert tuple(joined(plain(source, 8, seed=seed), epoch)[1].tolist()) == order


def test_what_else_draws_random_numbers_has_no_part_in_the_order_nor_the_other_way_round() -> None:
    batches = plain(noise(40), 8, seed=0, augment=("flip", "crop"))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = joined(batches, 2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = joined(batches, 2)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("augment", [(), ("flip",), ("crop",), ("affine",), ("flip", "crop", "affine")])
def test_row_11_batch_size_changes_neither_order_nor_augmentation(augment: tuple[str, ...]) -> None:
    source = noise(33)
    images, labels = joined(plain(source, 33, seed=5, augment=augment), 3)
    for batch_size in (1, 4, 32, 100):
        others = joined(plain(source, batch_size, seed=5, augment=augment), 3)
        assert torch.equal(others[0], images)
        assert torch.equal(others[1], labels)


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
@pytest.mark.parametrize("start", [0, 1, 4, 6])
def test_row_11_an_epoch_resumed_at_a_step_goes_on_as_if_never_stopped(
    monkeypatch: pytest.MonkeyPatch, start: int, at_once: int
) -> None:
    patch_internal(monkeypatch, "PREPARED", at_once * 5 * 16**2)
    batches = plain(noise(33), 5, seed=1, augment=("flip", "crop"))
    images, labels = joined(batches, 2)
    rest = joined(batches, 2, start=start)
    assert torch.equal(rest[0], images[start * 5 :])
    assert torch.equal(rest[1], labels[start * 5 :])


def test_an_epoch_resumed_at_its_end_has_nothing_left() -> None:
    assert list(plain(noise(33), 5, seed=1).epoch(2, start=7)) == []


def test_the_validation_split_is_drawn_by_the_seed_and_loses_no_image() -> None:
    source = noise(50)
    train, val = split_validation(source, 0.2, seed=0)
    assert (len(train.labels), len(val.labels)) == (40, 10)
    assert sorted([*train.labels.tolist(), *val.labels.tolist()]) == list(range(50))
    again, other = split_validation(source, 0.2, seed=0)[1], split_validation(source, 0.2, seed=1)[1]
    assert torch.equal(again.labels, val.labels)
    assert not torch.equal(other.labels, val.labels)


@pytest.mark.parametrize(("num", "expected"), [(None, 20), (5, 5), (20, 20), (100, 20)])
def test_a_limit_draws_so_many_images_by_the_seed(num: int | None, expected: int) -> None:
    labels = limit(noise(20), num, seed=0).labels.tolist()
    assert len(labels) == len(set(labels)) == expected
    assert labels == limit(noise(20), num, seed=0).labels.tolist()


def test_a_limit_takes_images_of_every_class_though_they_lie_in_their_order() -> None:
    images = noise(200)
    in_order = Resident(images.images, torch.arange(200) // 100)
    assert set(limit(in_order, 20, seed=0).labels.tolist()) == {0, 1}


# Augmentation


def test_flip_turns_about_half_of_the_images_left_to_right_and_no_other_way() -> None:
    source = noise(1000, side=8)
    images, labels = joined(plain(source, 64, seed=0, augment=("flip",)))
    before = source.images[labels] / 255
    same = torch.isclose(images, before).flatten(1).all(1)
    flipped = torch.isclose(images, before.flip(-1)).flatten(1).all(1)
    assert torch.equal(same, ~flipped)
    assert 430 < int(flipped.sum()) < 570  # 500 ± 4.4 standard deviations


def test_crop_moves_an_image_by_up_to_an_eighth_of_its_side_with_a_black_border() -> None:
    side, most = 16, 2
    source = noise(400, side=side)
    images, labels = joined(plain(source, 64, seed=0, augment=("crop",)))
    seen = set()
    for image, label in zip(images, labels.tolist(), strict=True):
        framed = torch.nn.functional.pad(source.images[label, 0] / 255, (most,) * 4)
        places = [
            (down, right)
            for down in range(2 * most + 1)
            for right in range(2 * most + 1)
            if torch.allclose(framed[down : down + side, right : right + side], image[0])
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == (2 * most + 1) ** 2  # all the places that there are


def test_the_channels_of_an_image_move_together() -> None:
    grey = noise(30, side=8)
    source = Resident(grey.images.expand(-1, 3, -1, -1).contiguous(), grey.labels)
    images, _ = joined(plain(source, 8, seed=0, augment=("flip", "crop")))
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])


def test_adding_crop_leaves_the_flips_as_they_were() -> None:
    ramp = torch.arange(16, dtype=torch.uint8).mul(10).add(50).expand(40, 1, 16, 16).contiguous()
    source = Resident(ramp, torch.arange(40))
    flipped, both = (
        joined(plain(source, 8, seed=3, augment=augment))[0] for augment in (("flip",), ("flip", "crop"))
    )

    def falls(images: Tensor) -> Tensor:  # from left to right, in the middle, where no border reaches
        return images[:, 0, 8, 8] < images[:, 0, 8, 7]

    assert torch.equal(falls(flipped), falls(both))
    assert 5 < int(falls(flipped).sum()) < 35


def test_crop_of_larger_images_is_a_square_of_them_at_every_place() -> None:
    source = noise(600, side=16)
    preprocessing = Preprocessing(12, resize=16)
    images, labels = joined(augmented(source, preprocessing, 64, 0, ("crop",)))
    assert images.shape[-2:] == (12, 12)
    seen = set()
    for image, label in zip(images, labels.tolist(), strict=True):
        whole = source.images[label, 0] / 255
        places = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if torch.allclose(whole[down : down + 12, right : right + 12], image[0])
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 25
    # Without a change, as in evaluation, it is the middle.
    middle, _ = joined(Loader(source, preprocessing, 64, CPU))
    torch.testing.assert_close(middle, source.images[..., 2:14, 2:14] / 255)


def test_ten_crops_are_the_corners_the_centre_and_their_mirror_images() -> None:
    images = noise(2, channels=3, side=9).images.float()
    crops = ten_crops(images, 5).view(10, 2, 3, 5, 5)
    places = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    for index, (down, right) in enumerate(places):
        square = images[..., down : down + 5, right : right + 5]
        assert torch.equal(crops[index], square)
        assert torch.equal(crops[index + 5], square.flip(-1))


def test_colour_moves_an_image_along_the_principal_directions_of_the_training_set() -> None:
    """Section 4.1: to every pixel of an image the same [p1, p2, p3][a1·l1, a2·l2, a3·l3] is added, a from N(0, 0.1)."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randint(60, 190, (500, 1, 6, 6), generator=generator)
    spread = torch.randint(-8, 9, (500, 3, 6, 6), generator=generator)
    source = Resident((base + spread).clamp(0, 255).byte(), torch.arange(500))
    pixels = source.images.double().transpose(0, 1).flatten(1).numpy() / 255
    variances, directions = np.linalg.eigh(np.cov(pixels, bias=True))
    colours = color_directions(source)
    for column in range(3):
        expected = torch.tensor(directions[:, column] * variances[column]).float()
        found = colours[:, column] * torch.sign(colours[0, column] * expected[0])
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-7)

    batches = augmented(source, Preprocessing(6), 50, 0, ("color-pca",))
    images, labels = joined(batches)
    moved = images - source.images[labels] / 255
    assert float(moved.flatten(2).std(2).max()) < 1e-6  # the same for every pixel
    factors = torch.linalg.solve(colours, moved[:, :, 0, 0].T)  # (3, 500): the a
    assert factors.std(1).tolist() == pytest.approx([0.1] * 3, rel=0.12)
    assert factors.mean(1).abs().max() < 0.02


def test_affine_moves_scales_and_shears_but_keeps_the_black_around() -> None:
    image = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    image[..., 9:19, 9:19] = 255
    source = Resident(image.expand(300, -1, -1, -1), torch.arange(300))
    images, _ = joined(plain(source, 64, seed=0, augment=("affine",)))
    ink = images.sum((1, 2, 3))
    area = ink / ink.median()
    assert 0.65 < float(area.min()) < 0.85  # a scale of 1 ± 0.15, squared
    assert 1.15 < float(area.max()) < 1.45
    places = torch.arange(28.0) - 13.5
    right = (images.sum((1, 2)) * places).sum(1) / ink
    down = (images.sum((1, 3)) * places).sum(1) / ink
    for shift in (right, down):
        assert 1.5 < float(shift.abs().max()) < 2.8  # two pixels, a little more where the image grows
    assert float(images[:, :, 0].max()) == 0  # nothing comes in from outside
    upper, lower = images[..., :13, :].sum((1, 2)), images[..., 15:, :].sum((1, 2))
    lean = (upper * places).sum(1) / upper.sum(1) - (lower * places).sum(1) / lower.sum(1)
    assert 1.0 < float(lean.abs().max()) < 2.6  # shear: up to 0.3 pixels a row, over about 6 rows


@pytest.mark.parametrize("side", [28, 27])
def test_padding_lays_a_smaller_image_into_the_middle_of_a_black_one(side: int) -> None:
    images = noise(3, side=side).images
    padded = Preprocessing(32, pad=True)(images)
    before = (32 - side) // 2
    torch.testing.assert_close(padded[..., before : before + side, before : before + side], images / 255)
    assert float(padded.sum()) == pytest.approx(float((images / 255).sum()), rel=1e-5)
    assert Preprocessing(20, pad=True)(images).shape[-2:] == (20, 20)


def test_another_epoch_changes_the_images_anew() -> None:
    batches = plain(
        Resident(noise(1).images.expand(50, -1, -1, -1), torch.arange(50)), 8, seed=0, augment=("crop",)
    )
    first, second = joined(batches, 1)[0], joined(batches, 2)[0]
    assert not torch.equal(first, second)


def test_the_images_in_memory_are_never_changed() -> None:
    source = noise(20)
    before = source.images.clone()
    batches = augmented(source, Preprocessing(24, (0.5,), (0.2,)), 6, 0, ("flip", "crop"))
    for batch in batches.epoch():
        batch.images.zero_()
    assert torch.equal(source.images, before)


# Preprocessing


def random_pictures(num: int, side: int, channels: int) -> Tensor:
    """Noise, and smooth ramps and hard edges, which show a resize that is a pixel off."""
    images = noise(num, channels, side).images
    images[0] = torch.linspace(0, 255, side).byte()
    images[1] = torch.linspace(0, 255, side).byte()[:, None]
    images[2, :, : side // 2], images[2, :, side // 2 :] = 0, 255
    return images


def as_the_tutorial(images: Tensor, size: int) -> Tensor:
    steps = transforms.Compose([transforms.Resize(size), transforms.ToTensor()])
    pictures = [image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy() for image in images]
    return torch.stack([steps(Image.fromarray(picture)) for picture in pictures])


def test_at_their_own_size_pixels_are_what_the_tutorials_transforms_make() -> None:
    images = random_pictures(8, 28, 1)
    ours = Preprocessing(28)(images)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, as_the_tutorial(images, 28), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("side", "size", "channels"),
    [(28, 227, 1), (32, 28, 3), (28, 32, 1), (32, 227, 3), (28, 14, 1), (64, 28, 3)],
)
def test_resizing_is_what_the_tutorials_transforms_make_to_a_grey_level(
    side: int, size: int, channels: int
) -> None:
    images = random_pictures(6, side, channels)
    ours = Preprocessing(size)(images)
    assert ours.shape == (6, channels, size, size)
    torch.testing.assert_close(ours, as_the_tutorial(images, size), rtol=0, atol=1.001 / 255)


def test_without_normalising_pixels_stay_between_0_and_1() -> None:
    images = random_pictures(6, 28, 1)
    for size in (28, 14, 60):
        pixels = Preprocessing(size)(images)
        assert float(pixels.min()) >= 0
        assert float(pixels.max()) <= 1
    assert float(Preprocessing(28)(images).max()) == 1


@pytest.mark.parametrize("size", [12, 40])
def test_normalising_subtracts_the_mean_and_divides_by_the_deviation_of_each_channel(size: int) -> None:
    images = random_pictures(6, 28, 3)
    mean, std = (0.1, 0.5, 0.7), (0.2, 0.3, 0.4)
    expected = transforms.Normalize(mean, std)(Preprocessing(size)(images))
    torch.testing.assert_close(Preprocessing(size, mean, std)(images), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_deviation_are_those_of_the_pixels_as_numpy_has_them(channels: int) -> None:
    source = noise(60, channels, 13)
    source.images[:, 0] //= 3
    pixels = source.images.numpy().astype(np.float64) / 255
    mean, std = mean_and_std(source)
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)), rtol=1e-12)


def test_images_normalised_with_their_own_figures_have_mean_0_and_deviation_1() -> None:
    source = noise(100, 3, 9)
    pixels = Preprocessing(9, *mean_and_std(source))(source.images).transpose(0, 1).flatten(1)
    torch.testing.assert_close(pixels.mean(1), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(pixels.std(1, correction=0), torch.ones(3), rtol=0, atol=1e-5)


def test_images_of_one_colour_can_be_normalised() -> None:
    source = Resident(torch.full((5, 1, 4, 4), 77, dtype=torch.uint8), torch.arange(5))
    (mean,), (std,) = mean_and_std(source)
    assert mean == pytest.approx(77 / 255)
    assert std > 0
    assert torch.isfinite(Preprocessing(4, (mean,), (std,))(source.images)).all()


# Streamed folders are the same as those in memory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of many sizes, in three classes: 18 to train on and 6 to test."""
    numbers = np.random.default_rng(0)
    for part, num in (("train", 6), ("test", 2)):
        for name in ("ant", "bee", "cow"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(num):
                shape = (*numbers.integers(20, 60, 2), 3)
                picture = Image.fromarray(numbers.integers(0, 256, shape, dtype=np.uint8))
                picture.save(tmp_path / part / name / f"{number}.png")
    return tmp_path


def load(folder: Path, monkeypatch: pytest.MonkeyPatch, workers: int | None) -> Source:
    """The training images in memory, or streamed by some processes."""
    patch_internal(monkeypatch, "MAX_RESIDENT_BYTES", 1 << 30 if workers is None else 0)
    dataset = load_dataset(f"folder:{folder}", "train", image_size=24, num_workers=workers or 0)
    assert dataset is not None
    assert isinstance(dataset.source, Resident if workers is None else Streamed)
    return dataset.source


@pytest.mark.parametrize("augment", [("flip", "crop"), ("crop", "mixup")])
@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_images_are_the_very_same_batches_as_images_in_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch, workers: int, augment: tuple[str, ...]
) -> None:
    resident, streamed = load(folder, monkeypatch, None), load(folder, monkeypatch, workers)
    assert mean_and_std(streamed) == mean_and_std(resident)
    preprocessing = Preprocessing(24, *mean_and_std(resident))
    parts = [limit(split_validation(source, 0.2, 3)[0], 13, seed=3) for source in (resident, streamed)]
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for epoch, start in ((1, 0), (2, 1)):
        expected, found = (
            list(augmented(part, preprocessing, 5, 3, augment).epoch(epoch, start=start)) for part in parts
        )
        assert [len(batch.labels) for batch in found] == [5, 5, 3][start:]
        for (images, labels, *_), (expected_images, expected_labels, *_) in zip(found, expected, strict=True):
            assert torch.equal(images, expected_images)
            assert torch.equal(labels, expected_labels)
            kind = torch.float32 if "mixup" in augment else torch.int64
            assert (images.dtype, labels.dtype) == (torch.float32, kind)
    # Reading images draws none of the random numbers that dropout is to have.
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_row_36_a_picture_that_breaks_while_it_is_streamed_is_named_in_the_same_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    source = load(folder, monkeypatch, workers)
    bad = folder / "train" / "bee" / "3.png"
    bad.write_bytes(bad.read_bytes()[:500])
    with pytest.raises(CnnzooError) as raised:
        list(plain(source, 4, seed=0).epoch())
    assert type(raised.value) is BrokenImageError
    assert str(raised.value).startswith(f"{bad} cannot be read as an image (")
    assert "\n" not in str(raised.value)
    assert "Traceback" not in str(raised.value)


def test_row_54_threads_that_the_system_does_not_give_are_an_error_that_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = load(folder, monkeypatch, 2)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(CnnzooError, match=r"gives no more threads .* --workers 2.*fewer --workers, or 0"):
        list(plain(source, 4, seed=0).epoch())


def test_an_epoch_left_in_the_middle_leaves_no_thread_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoding() -> int:
        return sum(thread.name.startswith("decode") for thread in threading.enumerate())

    epoch = plain(load(folder, monkeypatch, 1), 4, seed=0).epoch()
    next(epoch)
    assert decoding() == 1
    del epoch
    assert decoding() == 0


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a part's peak memory"
)
def test_images_in_memory_are_not_blown_up_to_floats_all_at_once() -> None:
    large = Resident(torch.zeros(800, 1, 227, 227, dtype=torch.uint8), torch.arange(800))
    small = noise(20_000, 1, 28)
    before = peak_megabytes(reset=True)
    mean_and_std(large)  # 330 MB as float64
    epoch = Loader(small, Preprocessing(227), 32, CPU, seed=0).epoch()  # 4 GB as float32
    for _ in range(3):
        next(epoch)
    assert peak_megabytes() - before < 150


def peak_megabytes(*, reset: bool = False) -> float:
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
