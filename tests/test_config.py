"""TrainConfig: what it takes, what it refuses, and its way through YAML."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnzoo.config import TrainConfig, field_types
from cnnzoo.config_file import as_yaml, read_yaml
from cnnzoo.errors import CnnzooError, UsageError

CONFIGS = st.builds(
    TrainConfig,
    model=st.sampled_from(["lenet", "alexnet"]),
    lr=st.floats(1e-12, 1e3),
    epochs=st.integers(1, 10**6),
    batch_size=st.integers(1, 10**6),
    val_split=st.floats(0.001, 0.999),
    augment=st.lists(st.sampled_from(["flip", "crop"]), max_size=2).map(tuple),
    dataset=st.none() | st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1),
    data_dir=st.none() | st.just(Path("some where/数据")),
    patience=st.none() | st.integers(1, 100),
    normalize=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
    model_options=st.dictionaries(st.sampled_from(["dropout", "lrn"]), st.floats(0, 1) | st.booleans()),
)


@given(config=CONFIGS)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_config_survives_yaml(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(as_yaml(config, {"torch": "2.x", "command": "cnnzoo train"}))
    assert TrainConfig.from_dict(read_yaml(tmp_path / "config.yaml")) == config


def test_the_defaults_are_the_tutorials_recipe() -> None:
    config = TrainConfig(model="lenet")
    assert (config.epochs, config.batch_size, config.lr, config.optimizer) == (10, 32, 1e-3, "adam")
    assert (config.val_split, config.scheduler, config.augment, config.seed) == (0.2, "none", (), 0)


@given(
    name=st.sampled_from([n for n in field_types() if n != "model"]), value=st.none() | st.binary(max_size=3)
)
@settings(max_examples=60, deadline=None)
def test_a_value_of_the_wrong_type_is_named(name: str, value: object) -> None:
    if value is None and TrainConfig.__dataclass_fields__[name].default is None:
        assert getattr(TrainConfig.from_dict({"model": "lenet", name: value}), name) is None
        return
    with contextlib.suppress(UsageError):
        TrainConfig.from_dict({"model": "lenet", name: value})
        return
    with pytest.raises(UsageError, match=f"^{name} must be "):
        TrainConfig.from_dict({"model": "lenet", name: value})


@pytest.mark.parametrize(
    "name", ["epochs", "batch_size", "lr", "channels", "val_split", "threads", "max_steps"]
)
@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_are_no_numbers(name: str, value: bool) -> None:
    with pytest.raises(UsageError, match=f"^{name} must be .*, not {value}"):
        TrainConfig.from_dict({"model": "lenet", name: value})


def test_a_missing_config_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CnnzooError, match=r"nowhere\.yaml.*Check the path"):
        read_yaml(tmp_path / "nowhere.yaml")


def test_a_config_without_a_model_asks_for_one() -> None:
    with pytest.raises(UsageError, match="cnnzoo train lenet"):
        TrainConfig.from_dict({"lr": 1})


@pytest.mark.parametrize(
    ("name", "own"),
    [("accumulate", "grad_accum_steps"), ("grad_accum", "grad_accum_steps"), ("workers", "num_workers")],
)
def test_a_setting_under_another_name_is_refused_with_its_own(name: str, own: str) -> None:
    with pytest.raises(UsageError, match=rf"unknown setting '{name}'\. Did you mean '{own}'\?"):
        TrainConfig.from_dict({"model": "lenet", name: 2})


def test_an_augmentation_under_another_name_is_refused_with_its_own() -> None:
    with pytest.raises(UsageError, match=r"not 'colour'\. Did you mean 'color-pca'\?"):
        TrainConfig(model="lenet", augment=("flip", "colour"))


def test_another_flag_for_accumulation_is_refused_with_its_own(
    cnnzoo: Callable[..., CompletedProcess[str]],
) -> None:
    done = cnnzoo("train", "lenet", "--accumulate", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such option: --accumulate. Did you mean --grad-accum?" in done.stderr
