"""README.md and docs/ have what the registries have: kinds of pictures, augmentations, optimizers, losses."""

import pytest
from scripts.make_docs import MADE, ROOT, with_tables

from cnnzoo.cli.plot import KINDS
from cnnzoo.registries import AUGMENTATIONS, LOSSES, OPTIMIZERS
from tests.conftest import Command


@pytest.mark.parametrize("page", sorted({page for page, _ in MADE.values()}))
def test_tables_are_those_that_the_registries_make(page: str) -> None:
    assert (ROOT / page).read_text(encoding="utf-8") == with_tables(page)


def test_help_has_every_kind_of_picture_augmentation_optimizer_and_loss(command: Command) -> None:
    drawn = command("plot", "--help").out
    assert [kind for kind in KINDS if f"  {kind}: " not in drawn] == []
    words = command("train", "--help").out.replace(",", " ").replace(":", " ").split()
    assert [name for name in AUGMENTATIONS.built_in if name not in words] == []
    assert [name for name in OPTIMIZERS.built_in if name not in " ".join(words)] == []
    assert [name for name in LOSSES.built_in if name not in words and f"{name}." not in words] == []
