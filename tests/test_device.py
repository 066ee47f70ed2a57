"""Precision, memory, compilation and determinism: what the trainer picks by itself, and what it may be asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import cnnzoo
from cnnzoo.config import TrainConfig
from cnnzoo.device import _overcommit, deterministic, pick_device, prepare_cuda
from cnnzoo.distributed.group import ALONE
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.training.setup import pick_compile_mode
from cnnzoo.training.train import begin
from tests.helpers import CPU, Reporter, patch_internal, quick

FAULTS = """
import resource, torch
from cnnzoo.device import keep_freed_memory

def faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(2**25)  # 128 MB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

without = min(faults() for _ in range(5))
keep_freed_memory(torch.device("cpu"))
# The least of several: where the heap finds something in its way, it begins anew elsewhere, once.
print(without, min(faults() for _ in range(5)))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_that_a_step_frees_is_there_for_the_next() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    without, kept = map(int, done.stdout.split())
    assert kept < 100
    assert without == 0 or without > 100 * max(kept, 1)  # pages may be huge ones


HUGE = """
import torch
from pathlib import Path
from cnnzoo.device import keep_freed_memory

def huge() -> int:
    lines = Path("/proc/self/smaps").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages"))

keep_freed_memory(torch.device("cpu"))
keep_freed_memory(torch.device("cpu"))  # as the next run in this process does
before = huge()
kept = [torch.ones(2**24) for _ in range(4)]  # 64 MB each
print(before, huge())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_tensors_lie_in_huge_pages_and_take_no_memory_that_they_do_not_need() -> None:
    modes = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not modes.exists() or "[never]" in modes.read_text() or _overcommit() == "2":
        pytest.skip("this system gives no huge pages")
    done = subprocess.run([sys.executable, "-c", HUGE], capture_output=True, text=True, check=True)
    before, with_tensors = (int(kilobytes) / 1024 for kilobytes in done.stdout.split())
    assert 200 < with_tensors - before < 300  # of 256 MB
    assert before < 100


@pytest.mark.parametrize("name", ["cpu", "CPU", " Cpu ", "cpu:0", "cpu0", "AUTO"])
def test_a_device_is_named_in_any_case_and_with_or_without_a_colon(name: str) -> None:
    assert pick_device(name) == (pick_device("auto") if name == "AUTO" else CPU)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        *(("gpu", "cuda"), ("GPU", "cuda"), ("GPU:1", "cuda:1"), ("0", "cuda:0"), ("cuda0", "cuda:0")),
        *(("cuda 2", "cuda:2"), ("CUDA", "cuda"), ("mps", "mps"), ("MPS:0", "mps:0"), ("xpu", "xpu")),
    ],
)
def test_a_device_that_is_not_here_is_a_line_of_what_was_asked_and_what_there_is(
    name: str, asked: str
) -> None:
    if torch.accelerator.is_available():
        pytest.skip("this machine has one")
    what = f"'{name}'" if name == asked else f"'{name}' ({asked})"
    with pytest.raises(CnnzooError) as refusal:
        pick_device(name)
    assert str(refusal.value).startswith(f"no device {what} here: this machine has cpu")
    assert str(refusal.value).endswith(". Use --device auto or --device cpu.")
    assert len(str(refusal.value)) < 160
    assert refusal.value.exit_code == 1


@pytest.mark.parametrize("name", ["", "cuda:", "cuda:-1", "auto:1", "gpus", "1234", "cpu:0:0", "meta"])
def test_a_device_that_there_is_nowhere_is_wrong_usage(name: str) -> None:
    with pytest.raises(
        UsageError, match=r"unknown device .* Give auto, cpu, gpu, cuda, cuda:1 or 1, mps or xpu"
    ):
        pick_device(name)


def test_several_devices_are_for_several_processes() -> None:
    with pytest.raises(UsageError, match=r"'0,1' names several devices.* --processes N"):
        pick_device("0,1")


def test_a_device_may_be_a_number_in_yaml() -> None:
    assert TrainConfig.from_dict({"model": "lenet", "device": 0}).device == "0"


class Warnings(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, message: str) -> None:
        self.said.append(message)


def test_without_a_compiler_training_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-such-compiler"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    heard = Warnings()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", _failing_compile)
        result = cnnzoo.train(quick(tmp_path, epochs=1, compile=True), reporter=heard)
    assert len(result.history) == 1
    assert [said for said in heard.said if said.startswith("Training without --compile, which fails here: ")]


def _failing_compile(model: nn.Module, *, mode: str) -> nn.Module:
    return nn.Sequential(model, _Fails())


class _Fails(nn.Module):
    def forward(self, _: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no C++ compiler")


class _Puts(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.clone().put_(torch.tensor([0]), torch.tensor([1.0]))


def test_deterministic_names_the_operation_that_cannot_be_and_leaves_torch_as_it_was() -> None:
    says = r"cannot be deterministic \(put_ .*Leave --deterministic out"
    with pytest.raises(CnnzooError, match=says), deterministic(True):
        _Puts()(torch.zeros(1, 2))
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_deterministic_run_gives_what_any_run_on_the_cpu_gives(tmp_path: Path) -> None:
    one, other = (cnnzoo.train(quick(tmp_path, epochs=1, deterministic=asked)) for asked in (True, False))
    assert one.history[0].val_loss == other.history[0].val_loss


CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "mult_adds", "one_pass", "mode"),
    [
        (CUDA, 400_000, True, "reduce-overhead"),
        (CUDA, 400_000, False, "default"),  # of gradients that are added up a CUDA graph keeps the last
        (CUDA, 1_100_000_000, True, "default"),
        (CPU, 400_000, True, "default"),
        (torch.device("mps"), 400_000, True, "default"),
    ],
)
def test_small_nets_are_compiled_to_cuda_graphs_where_nothing_is_lost(
    device: torch.device, mult_adds: int, one_pass: bool, mode: str
) -> None:
    assert pick_compile_mode(device, mult_adds, one_pass=one_pass) == mode


class _Graph(nn.Module):
    """As a CUDA graph does, writes what it puts out to the same place each time."""

    def __init__(self, model: nn.Module, *, mode: str) -> None:
        super().__init__()
        assert mode == "reduce-overhead"
        self.model, self.place = model, torch.empty(0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(images)
        self.place.resize_(logits.shape).copy_(logits.detach())
        return self.place


def test_what_a_cuda_graph_puts_out_is_not_overwritten_by_its_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_internal(monkeypatch, "pick_compile_mode", lambda *_, **__: "reduce-overhead")
    with monkeypatch.context() as patch:
        patch.setattr(torch, "compile", _Graph)
        state, _ = begin(quick(tmp_path, compile=True), Reporter(), ALONE)
    with torch.no_grad():
        first = state.network(torch.zeros(2, 1, 28, 28))
        kept = first.clone()
        state.network(torch.ones(2, 1, 28, 28))
    assert torch.equal(first, kept)


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
def test_cudnn_tries_its_algorithms_only_where_the_same_numbers_are_not_wanted(
    ours: bool, theirs: bool
) -> None:
    torch.use_deterministic_algorithms(theirs)
    try:
        with deterministic(ours):
            assert torch.backends.cudnn.benchmark is not (ours or theirs)
            assert torch.are_deterministic_algorithms_enabled() is (ours or theirs)
        assert not torch.backends.cudnn.benchmark
        assert torch.are_deterministic_algorithms_enabled() is theirs
    finally:
        torch.use_deterministic_algorithms(False)


def test_fp32_is_exact_on_cuda_and_cublas_is_told_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    for device, has_tf32 in ((CPU, True), (CUDA, False)):
        prepare_cuda(device, deterministic=device == CPU)
        assert torch.backends.cudnn.allow_tf32 is has_tf32
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    prepare_cuda(CUDA, deterministic=True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
