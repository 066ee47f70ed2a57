"""``--precision auto``: measured on this machine, kept, and recorded with all that was trained by it."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import cnnzoo
from cnnzoo.analysis.trained_net import load_net
from cnnzoo.config_file import read_recorded, read_yaml
from cnnzoo.precision import LARGE_NET, bf16_speedup, decided_once, pick_precision
from cnnzoo.runs.checkpoint import load_checkpoint
from tests.conftest import Command
from tests.helpers import CPU, forget_models, patch_internal
from tests.processes import Processes

NATIVE, LARGE = "fpu amx_bf16", 1_100_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the measurements, of a user who has none yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cnnzoo" / "bf16"


def on_a_processor(monkeypatch: pytest.MonkeyPatch, *, flags: str = NATIVE, speedup: float = 2.0) -> None:
    """Have this machine be one with such a processor, which cannot be had here otherwise."""
    seconds = {torch.float32: speedup, torch.bfloat16: 1.0}
    patch_internal(monkeypatch, "cpu_info", lambda key: flags if key == "flags" else "")
    patch_internal(monkeypatch, "seconds_of", lambda do, _: seconds[do().dtype])


@pytest.mark.parametrize(
    ("flags", "speedup", "mult_adds", "name", "reason"),
    [
        (NATIVE, 2.31, LARGE, "bf16", "2.3 times as fast as fp32 on this machine"),
        (NATIVE, 1.3, LARGE, "bf16", "1.3 times as fast as fp32 on this machine"),
        (NATIVE, 1.29, LARGE, "fp32", "bf16 is 1.29 times as fast on this machine, and pays from 1.3 on"),
        (
            "fpu avx512_bf16",
            0.553,
            LARGE,
            "fp32",
            "bf16 is 0.55 times as fast on this machine, and pays from 1.3 on",
        ),
        (NATIVE, 6.0, LARGE_NET - 1, "fp32", "the net is too small to gain from bf16"),
        (NATIVE, 6.0, LARGE_NET, "bf16", "6.0 times as fast as fp32 on this machine"),
        ("fpu avx2", 6.0, LARGE, "fp32", "this device has no native bf16"),
    ],
)
def test_auto_takes_bf16_where_the_net_is_large_and_a_product_is_faster_in_it(
    monkeypatch: pytest.MonkeyPatch, flags: str, speedup: float, mult_adds: int, name: str, reason: str
) -> None:
    on_a_processor(monkeypatch, flags=flags, speedup=speedup)
    picked = pick_precision("auto", CPU, mult_adds)
    assert (picked.name, picked.reason) == (name, reason)
    assert pick_precision("bf16", CPU, mult_adds).reason == "as asked"


def test_a_processor_of_arm_names_it_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_processor(monkeypatch)
    patch_internal(monkeypatch, "cpu_info", lambda key: "fp asimd bf16 i8mm" if key == "Features" else "")
    assert pick_precision("auto", CPU, LARGE).name == "bf16"


def test_this_machine_is_measured_once_for_each_number_of_threads(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_internal(monkeypatch, "cpu_info", lambda key: NATIVE if key == "flags" else "this processor")
    before = torch.get_num_threads()
    speedup = bf16_speedup(CPU)
    assert speedup > 0
    (file,) = cache.iterdir()
    assert json.loads(file.read_text())["bf16_speedup"] == speedup
    file.write_text(json.dumps({"bf16_speedup": 1.25}))
    assert bf16_speedup(CPU) == 1.25
    try:
        torch.set_num_threads(before + 1)
        assert bf16_speedup(CPU) != 1.25
    finally:
        torch.set_num_threads(before)
    assert len([*cache.iterdir()]) == 2


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"bf16_speedup": "2"}', b'{"bf16_speedup": -1}', b"\xff"]
)
def test_a_damaged_measurement_is_made_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    on_a_processor(monkeypatch, speedup=3.0)
    bf16_speedup(CPU)
    (file,) = cache.iterdir()
    file.write_bytes(content)
    on_a_processor(monkeypatch, speedup=2.0)
    assert bf16_speedup(CPU) == 2.0
    assert json.loads(file.read_text())["bf16_speedup"] == 2.0


def test_where_nothing_can_be_kept_it_is_measured_each_time(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.parent.write_text("no folder")
    for speedup in (3.0, 2.0):
        on_a_processor(monkeypatch, speedup=speedup)
        assert bf16_speedup(CPU) == speedup


def test_of_two_that_measure_at_once_both_take_what_the_first_has_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_processor(monkeypatch)
    both_measure = threading.Barrier(2)
    mine = threading.local()

    def seconds_of(do: "Iterator[None]", _: object) -> float:
        if not hasattr(mine, "speedup"):
            mine.speedup = 1.0 + both_measure.wait()
        return mine.speedup if do().dtype == torch.float32 else 1.0  # type: ignore[operator]

    patch_internal(monkeypatch, "seconds_of", seconds_of)
    taken: list[float] = []
    threads = [threading.Thread(target=lambda: taken.append(bf16_speedup(CPU))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken[0] == taken[1]
    assert len([*cache.iterdir()]) == 1


def test_a_study_goes_by_the_measurement_of_its_first_run_on_another_machine_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_processor(monkeypatch, speedup=3.0)
    with decided_once(tmp_path / "study"):
        assert pick_precision("auto", CPU, LARGE).name == "bf16"
    on_a_processor(monkeypatch, flags="fpu avx2")
    with decided_once(tmp_path / "study"):
        assert pick_precision("auto", CPU, LARGE).name == "bf16"
    assert pick_precision("auto", CPU, LARGE).name == "fp32"


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A net of 11 million multiply-adds, registered as ``large``."""
    forget_models(monkeypatch)

    @cnnzoo.register_model("large", image_size=28, in_channels=1)
    def build(num_classes: int) -> nn.Module:
        layers = (
            nn.Conv2d(1, 32, 3),
            nn.Conv2d(32, 64, 3, bias=False),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        return nn.Sequential(*layers, nn.Linear(64, num_classes))


FEW = ("--dataset", "fashionmnist-sample", "--limit-train", "64", "--limit-val", "32", "--epochs", "2")


@pytest.mark.usefixtures("large")
def test_what_auto_took_is_said_recorded_and_kept_by_all_that_follows(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_processor(monkeypatch, speedup=2.31)
    planned = command("train", "large", *FEW, "--dry-run")
    assert "bf16 (2.3 times as fast as fp32 on this machine)" in planned.out
    trained = command("train", "large", *FEW, "--name", "r")
    assert trained.code == 0
    assert "precision: bf16 (2.3 times as fast as fp32 on this machine)" in trained.out
    run = tmp_path / "runs" / "r"

    on_a_processor(monkeypatch, flags="fpu avx2")  # the run has come to another machine
    resumed = command("train", "--resume", "r", "--epochs", "3")
    assert (resumed.code, resumed.err) == (0, "")
    assert "precision: bf16 (as the run began)" in resumed.out
    assert read_yaml(run / "config.yaml")["precision"] == "auto"
    assert read_recorded(run)["precision"] == "bf16"
    assert {load_checkpoint(run / f"{name}.pt").precision for name in ("best", "last")} == {"bf16"}
    assert load_net(run / "best.pt").precision.name == "bf16"
    for words, precision in (
        ((), "bf16"),
        (("--precision", "auto"), "fp32"),
        (("--precision", "fp16"), "fp16"),
    ):
        evaluated = command("eval", "r", *words)
        assert evaluated.code == 0
        assert json.loads((run / "eval.json").read_text())["precision"] == precision
    refused = command("train", "--resume", "r", "--epochs", "4", "--precision", "fp32")
    assert refused.code == 2
    assert "these differ: precision (was 'auto', now 'fp32')" in refused.err


@pytest.mark.slow
def test_a_study_keeps_the_measurement_that_its_runs_go_by(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import cnnzoo\nfrom torch import nn\n"
        "@cnnzoo.register_model('large', image_size=28, in_channels=1)\n"
        "def build(num_classes: int):\n"
        "    layers = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()\n"
        "    return nn.Sequential(*layers, nn.Linear(64, num_classes))\n"
    )
    study = tmp_path / "runs" / "s"
    study.mkdir(parents=True)
    for speedup, precision in ((1.5, "bf16"), (1.2, "fp32")):
        (study / "bf16.json").write_text(json.dumps({"bf16_speedup": speedup}))
        line = ("train", "large", "--import", "mine", *FEW, "--name", "s", "--seeds", "2")
        ended = processes.run(*line, "--quiet", cwd=tmp_path)
        assert ended.code == 0, ended
        assert {read_recorded(study / f"seed-{seed}")["precision"] for seed in range(2)} == {precision}
        for seed in range(2):
            (study / f"seed-{seed}").rename(tmp_path / f"{precision}-{seed}")
