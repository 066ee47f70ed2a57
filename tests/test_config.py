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


def test_settings_are_read_under_the_names_that_they_had() -> None:
    old = {"model": "lenet", "accumulate": 3, "workers": "2", "augment": "flip,colour"}
    config = TrainConfig.from_dict(old)
    assert (config.grad_accum_steps, config.num_workers) == (3, 2)
    assert config.augment == ("flip", "color-pca")
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert TrainConfig.from_dict({"model": "lenet", "grad_accum": 3}).grad_accum_steps == 3
    with pytest.raises(UsageError, match="grad_accum_steps is given twice"):
        TrainConfig.from_dict({**old, "grad_accum_steps": 3})


@pytest.mark.slow
def test_old_flags_are_taken_and_not_shown(
    cnnzoo: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    small = ("--dataset", "fashionmnist-sample", "--limit-train", "64", "--limit-val", "10", "--epochs", "1")
    done = cnnzoo(
        "train", "lenet", *small, "--accumulate", "2", "--augment", "colour", "--name", "r", "--quiet"
    )
    assert (done.returncode, done.stderr) == (0, "")
    config = read_yaml(tmp_path / "runs" / "r" / "config.yaml")
    assert (config["grad_accum_steps"], config["augment"]) == (2, ["color-pca"])
    shown = cnnzoo("train", "--help").stdout
    assert "--grad-accum" in shown
    assert "--accumulate" not in shown
    resumed = cnnzoo("train", "--resume", "r", "--accumulate", "2", "--epochs", "2", "--quiet")
    assert (resumed.returncode, resumed.stderr) == (0, "")
