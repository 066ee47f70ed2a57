"""Anything at all as a checkpoint, a config, a history, an IDX file or an image: it is read, or refused in one line."""

import gzip
import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnzoo.config import TrainConfig, field_types
from cnnzoo.config_file import as_yaml, read_yaml
from cnnzoo.data.decoding.images import decode_image, quiet
from cnnzoo.data.named.formats import parse_idx
from cnnzoo.errors import CnnzooError
from cnnzoo.runs.checkpoint import FORMAT, load_checkpoint, save_checkpoint
from cnnzoo.runs.histories.read import read_history
from cnnzoo.ui.curves import plot_histories
from tests.faults.shared import forge, make_checkpoint, seal


def fuzz(examples: int) -> settings:
    return settings(
        max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )


def reads_or_refuses(read: Callable[[], object]) -> bool:
    """Whether ``read`` succeeded; else it said why in one short line. Anything else it raises is a fault of ours."""
    try:
        read()
    except CnnzooError as error:
        assert "\n" not in str(error)  # noqa: PT017  (either outcome is right)
        assert str(error)[-1] in ".`'?)"  # noqa: PT017
        return False
    return True


# Checkpoints


@given(content=st.binary(max_size=300))
@fuzz(150)
def test_fuzz_random_bytes_are_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    assert not reads_or_refuses(lambda: load_checkpoint(path))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@given(changes=st.dictionaries(st.sampled_from([*vars(make_checkpoint()), "format"]), VALUES, max_size=3))
@example(changes={"config": {"model": "lenet", "epochs": []}})
@fuzz(150)
def test_fuzz_a_sealed_checkpoint_with_anything_in_its_fields(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    whole = {"format": FORMAT, **vars(make_checkpoint(state_dict={})), "state_dict": {}}

    def use() -> None:
        path = forge(tmp_path / "a.pt", {**whole, **changes})
        saved = load_checkpoint(path)
        saved.settings(path)
        saved.build_model()

    assert not reads_or_refuses(use)  # it has no weights


def test_fuzz_a_sealed_checkpoint_with_any_byte_of_its_pickle_changed(tmp_path: Path) -> None:
    # As if the checksum were right: what is left must hold by itself.
    chance = random.Random(0)
    path = tmp_path / "a.pt"
    save_checkpoint(path, make_checkpoint(state_dict={}))
    whole = path.read_bytes()[:-78]
    whole = whole[:-2] + b"\0\0"
    for _ in range(400):
        changed = bytearray(whole)
        for _ in range(chance.choice([1, 1, 3])):
            changed[chance.randrange(len(changed) - 2)] = chance.randrange(256)
        path.write_bytes(changed)
        seal(path)
        reads_or_refuses(lambda: load_checkpoint(path))


# Settings


@given(text=st.text() | st.binary().map(lambda b: b.decode("latin-1")))
@example(text="? " + "x" * 9000 + "\n: 1")
@example(text=f"model: lenet\nseed: 0x{'f' * 9000}")
@example(text="!!timestamp x")
@example(text="!!int ''")
@example(text="!!float .")
@example(text="= : 1")
@fuzz(200)
def test_fuzz_any_text_as_config(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    assert not reads_or_refuses(lambda: TrainConfig.from_dict(read_yaml(path)))  # none of them names a model


@given(
    values=st.dictionaries(
        st.sampled_from(list(field_types())), VALUES | st.sampled_from(["1e-3", "lenet", "3"])
    )
)
@fuzz(200)
def test_fuzz_any_value_of_any_setting(tmp_path: Path, values: dict[str, object]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"model": "lenet", **values}, allow_unicode=True), errors="surrogatepass")

    def use() -> None:
        config = TrainConfig.from_dict(read_yaml(path))
        path.write_bytes(as_yaml(config, {}))
        assert TrainConfig.from_dict(read_yaml(path)) == config

    reads_or_refuses(use)


# Histories

NAMES = ("epoch", "train_loss", "val_loss", "val_acc", "loss", "accuracy", "eval_top1", "step", "x", "")
CELLS = st.sampled_from(
    ["", "NA", "0", "1", "2", "0.5", "99", "-1", "nan", "inf", "1e308", "-1e308", '"', "x", "1,2"]
)
ROWS = st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=5)
HEADERS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4)


def as_csv(header: list[str], rows: list[list[str]]) -> bytes:
    return "\n".join(map(",".join, [header, *rows])).encode()


@given(content=st.binary(max_size=200) | st.builds(as_csv, HEADERS, ROWS))
@fuzz(200)
def test_fuzz_anything_as_a_history(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    reads_or_refuses(lambda: read_history(path))


@given(content=st.builds(as_csv, HEADERS.map(lambda names: ["epoch", "loss", *names[2:]]), ROWS))
@fuzz(12)
def test_fuzz_what_is_read_as_a_history_can_be_drawn(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    if reads_or_refuses(lambda: read_history(path)):
        plot_histories([read_history(path)]).savefig(io.BytesIO(), dpi=30)


# Images


@given(content=st.binary(max_size=80) | st.binary(max_size=40).map(lambda rest: b"\0\0\x08\x01\0\0\0" + rest))
@fuzz(300)
def test_fuzz_any_bytes_as_an_idx_file(content: bytes) -> None:
    reads_or_refuses(lambda: parse_idx(content, Path("train-images-idx3-ubyte")))


def encoded(kind: str, mode: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 4), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", "RGBA"), ("PNG", "P"), ("PNG", "LA"), ("JPEG", "RGB"), ("GIF", "P"), ("BMP", "RGB"), ("WEBP", "RGB"),
     ("TIFF", "L"), ("PPM", "RGB")],
)  # fmt: skip
def test_fuzz_a_real_picture_with_bytes_changed_cut_or_doubled(tmp_path: Path, kind: str, mode: str) -> None:
    chance = random.Random(f"{kind} {mode}")
    whole = encoded(kind, mode)
    path = tmp_path / "a.png"
    path.write_bytes(whole)
    assert decode_image(path, 3, 8).shape == (3, 8, 8)
    read = 0
    for _ in range(120):
        changed = bytearray(whole)
        how = chance.choice(["change", "change", "cut", "double"])
        if how == "change":
            for _ in range(chance.choice([1, 2, 8])):
                # Headers are what readers trust: half of the changes are there.
                end = chance.choice([min(80, len(changed)), len(changed)])
                changed[chance.randrange(end)] = chance.randrange(256)
        elif how == "cut":
            del changed[chance.randrange(len(changed)) :]
        else:
            at = chance.randrange(len(changed))
            changed[at:at] = changed[at : at + chance.randrange(40)]
        path.write_bytes(changed)
        with quiet():
            read += reads_or_refuses(lambda: decode_image(path, chance.choice([1, 3]), 8))
    assert read < 120, "some of them must have been broken"


@given(content=st.binary(max_size=100))
@fuzz(100)
def test_fuzz_random_bytes_are_no_picture(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert not reads_or_refuses(lambda: decode_image(path, 3, 8))


def test_fuzz_a_packed_idx_file_with_bytes_changed(tmp_path: Path) -> None:
    from cnnzoo.data.named.formats import unpack

    chance = random.Random(0)
    whole = gzip.compress(b"\0\0\x08\x01\0\0\0\x40" + bytes(range(64)))
    path = tmp_path / "a.gz"
    for _ in range(300):
        changed = bytearray(whole)
        changed[chance.randrange(len(changed))] = chance.randrange(256)
        path.write_bytes(changed[: chance.choice([len(changed), chance.randrange(len(changed))])])
        reads_or_refuses(lambda: parse_idx(unpack(path), path))
