"""Augmentations: by name with a value, mixtures of two images, erased rectangles, and one's own."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import cnnzoo
from cnnzoo.data.augment import make_augmentations
from cnnzoo.data.augmentation import Augmentation, Epoch, Examples
from cnnzoo.data.loader import Loader
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.data.sources import Resident
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.registries import AUGMENTATIONS

CPU = torch.device("cpu")
SIZE = 12


def images_of_one_grey(num: int) -> Resident:
    """Each image has its own grey, from 1 to num, so that a pixel tells whose it is."""
    greys = torch.arange(1, num + 1, dtype=torch.uint8)
    return Resident(greys[:, None, None, None].expand(-1, 1, SIZE, SIZE).contiguous(), torch.arange(num) % 10)


def loader(source: Resident, augment: Sequence[str], batch_size: int = 32, **sharing: Any) -> Loader:
    return Loader(
        source,
        Preprocessing(SIZE),
        batch_size,
        CPU,
        seed=3,
        augmentations=make_augmentations(augment),
        num_classes=10,
        **sharing,
    )


def epoch_of(batches: Loader, epoch: int = 1, start: int = 0) -> tuple[Tensor, Tensor]:
    found = list(batches.epoch(epoch, start=start))
    return torch.cat([batch.images for batch in found]), torch.cat([batch.targets for batch in found])


def test_the_table_of_names_is_what_is_registered() -> None:
    assert set(AUGMENTATIONS.built_in) == set(AUGMENTATIONS.entries)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mixup:0", "augment mixup: must be a number above 0, not '0'."),
        ("mixup:x", "augment mixup: must be a number above 0, not 'x'."),
        ("cutmix:-1", "augment cutmix: must be a number above 0, not '-1'."),
        ("cutmix:inf", "augment cutmix: must be a number above 0, not 'inf'."),
        ("erasing:1.5", "augment erasing: must be a number above 0 and of at most 1, not '1.5'."),
        ("flip:0.3", "augment flip takes no value. Write --augment flip."),
        ("mixip", "augment must be a list, each one of flip, crop, "),
        ("mixip", "Did you mean 'mixup'?"),
    ],
)
def test_a_value_or_name_that_does_not_fit_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        make_augmentations([text])
    assert message in str(refused.value)


def test_of_a_name_given_twice_the_last_counts() -> None:
    (mixup,) = make_augmentations(["mixup:0.2", "mixup:0.4"])
    assert vars(mixup) == {"alpha": 0.4}


def test_mixup_blends_two_images_and_their_labels_by_the_same_share() -> None:
    """Zhang et al., section 2: x = λ·xi + (1 - λ)·xj, and y likewise."""
    num = 200
    source = images_of_one_grey(num)
    images, targets = epoch_of(loader(source, ["mixup:0.4"]))
    assert targets.shape == (num, 10)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets.sum(1), torch.ones(num))
    plain, labels = epoch_of(loader(source, []))
    assert labels.dtype == torch.int64
    blended = 0
    partners = []
    for image, target, own, label in zip(images, targets, plain, labels, strict=True):
        grey, first = float(image[0, 0, 0]) * 255, float(own[0, 0, 0]) * 255
        torch.testing.assert_close(image, image[:, :1, :1].expand_as(image))
        rest = target.scatter(0, label[None], 0)
        other = int(rest.argmax())
        if not rest[other] > 1e-3:  # both of one class, or nearly nothing of the other
            continue
        share = float(target[label])
        second = (grey - share * first) / (1 - share)
        assert second == pytest.approx(round(second), abs=0.05 / (1 - share))
        if share < 0.9:
            assert (round(second) - 1) % 10 == other
            partners.append(round(second))
        blended += 1
    assert blended > num / 3
    assert len(set(partners)) == len(partners)  # of the whole epoch, each once
    assert len({(partner - 1) // 32 for partner in partners}) > 3


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_have_the_distribution_beta(alpha: float) -> None:
    (mixup,) = make_augmentations([f"mixup:{alpha}"])
    epoch = Epoch(50_000, SIZE, 0, lambda purpose: torch.Generator().manual_seed(len(purpose)))
    before = torch.get_rng_state()
    shares = mixup.draw(epoch)
    assert torch.equal(torch.get_rng_state(), before)  # dropout has its numbers for itself
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)  # of Beta(α, α)
    assert bool(((shares >= 0) & (shares <= 1)).all())


def test_a_tiny_alpha_gives_whole_images() -> None:
    images, targets = epoch_of(loader(images_of_one_grey(100), ["mixup:1e-4"]))
    assert bool(images.isfinite().all())
    assert float(targets.max(1).values.min()) > 0.99


def test_cutmix_takes_a_rectangle_from_another_and_weighs_labels_by_area() -> None:
    """Yun et al., equation 1: x = M·xA + (1 - M)·xB, y = λ·yA + (1 - λ)·yB, λ being the area that is left."""
    num = 200
    source = images_of_one_grey(num)
    images, targets = epoch_of(loader(source, ["cutmix"]))
    plain, labels = epoch_of(loader(source, []))
    seen = []
    for image, target, own, label in zip(images, targets, plain, labels, strict=True):
        cut = image[0] != own[0]
        area = float(cut.float().mean())
        if not 0 < area < 1:
            continue
        (other,) = (image[0][cut] * 255).round().unique().tolist()
        rows, columns = cut.any(1), cut.any(0)
        assert torch.equal(cut, rows[:, None] & columns[None, :])  # a rectangle
        expected = torch.zeros(10)
        expected[label] += 1 - area
        expected[int(other - 1) % 10] += area
        torch.testing.assert_close(target, expected)
        seen.append(area)
    assert len(seen) > num / 2
    assert min(seen) < 0.1
    assert max(seen) > 0.6


def test_of_two_that_mix_each_image_has_one() -> None:
    source = images_of_one_grey(200)
    plain, _ = epoch_of(loader(source, []))
    alone = {name: epoch_of(loader(source, [name])) for name in ("mixup", "cutmix")}
    images, targets = epoch_of(loader(source, ["cutmix", "mixup"]))
    by = {
        name: [
            torch.equal(image, other) and torch.equal(target, truth)
            for image, target, other, truth in zip(images, targets, *alone[name], strict=True)
        ]
        for name in alone
    }
    assert all(a or b for a, b in zip(by["mixup"], by["cutmix"], strict=True))
    assert min(sum(by["mixup"]), sum(by["cutmix"])) > 60
    assert not torch.equal(images, plain)


def test_erasing_puts_noise_into_a_rectangle_of_some_images() -> None:
    """Zhong et al., algorithm 1: with probability p, an area of 2 to 40 percent, its sides' ratio from 0.3 to 1/0.3."""
    num, side = 400, 100
    source = Resident(torch.zeros(num, 3, side, side, dtype=torch.uint8), torch.zeros(num, dtype=torch.long))
    batches = Loader(
        source, Preprocessing(side), 40, CPU, seed=0, augmentations=make_augmentations(["erasing:0.4"])
    )
    images, targets = epoch_of(batches)
    assert targets.dtype == torch.int64
    erased = images.abs().sum(1) > 0  # (N, H, W)
    is_erased = erased.flatten(1).any(1)
    assert int(is_erased.sum()) == pytest.approx(0.4 * num, abs=4 * math.sqrt(num * 0.24))
    areas, values = [], []
    for image, mask in zip(images[is_erased], erased[is_erased], strict=True):
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns[None, :])
        high, wide = int(rows.sum()), int(columns.sum())
        assert 0.29 < high / wide < 1 / 0.29
        areas.append(high * wide / side**2)
        values.append(image[:, mask].flatten())
    assert min(areas) == pytest.approx(0.02, abs=0.02)
    assert 0.3 < max(areas) < 0.42
    pixels = torch.cat(values)
    assert float(pixels.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(pixels.std()) == pytest.approx(math.sqrt(1 / 12), abs=0.01)
    assert not torch.equal(values[0][:200], values[1][:200])


ALL = ["flip", "crop", "affine", "erasing", "mixup", "cutmix"]


@settings(max_examples=40, deadline=None)
@given(
    num=st.integers(1, 50),
    share=st.integers(1, 5),
    world_size=st.integers(1, 4),
    start=st.integers(0, 3),
    augment=st.lists(st.sampled_from(ALL), unique=True),
)
def test_an_image_and_its_target_depend_on_seed_epoch_and_position_alone(
    num: int, share: int, world_size: int, start: int, augment: list[str]
) -> None:
    source = Resident(
        torch.randint(0, 256, (num, 1, SIZE, SIZE), generator=torch.Generator().manual_seed(num)).byte(),
        torch.arange(num) % 10,
    )
    images, targets = epoch_of(loader(source, augment, batch_size=num), epoch=2)
    size = share * world_size
    team = [
        list(loader(source, augment, size, rank=rank, world_size=world_size).epoch(2, start=start))
        for rank in range(world_size)
    ]
    shares = [batch for batches in zip(*team, strict=True) for batch in batches if batch.counts]
    skipped = start * size
    if skipped >= num:
        assert not shares
        return
    assert torch.equal(torch.cat([batch.images for batch in shares]), images[skipped:])
    assert torch.equal(torch.cat([batch.targets for batch in shares]), targets[skipped:])


def test_a_mixture_is_named_by_its_largest_part() -> None:
    (batch,) = loader(images_of_one_grey(30), ["mixup:1"], batch_size=30).epoch(1)
    assert batch.labels.tolist() == [int(target.argmax()) for target in batch.targets]


class Brighter(Augmentation):
    def __init__(self, most: float) -> None:
        self.most = most

    def draw(self, epoch: Epoch) -> Tensor:
        return torch.rand(epoch.num_images, generator=epoch.generator("brighter")) * self.most

    def __call__(self, examples: Examples, drawn: Tensor) -> Examples:
        return examples._replace(images=examples.images + drawn[:, None, None, None])


def test_a_name_is_registered_once_and_a_value_without_a_default_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(AUGMENTATIONS, "entries", dict(AUGMENTATIONS.entries))
    cnnzoo.register_augmentation("brighter")(Brighter)
    with pytest.raises(CnnzooError, match="augment name 'brighter' is taken"):
        cnnzoo.register_augmentation("brighter")(Brighter)
    with pytest.raises(UsageError, match="augment brighter needs a value, as in --augment brighter:1"):
        make_augmentations(["brighter"])
    images, _ = epoch_of(loader(images_of_one_grey(64), ["brighter:0.5"]))
    plain, _ = epoch_of(loader(images_of_one_grey(64), []))
    added = (images - plain)[:, 0, 0, 0]
    assert 0 <= float(added.min()) < 0.1
    assert 0.4 < float(added.max()) <= 0.5
