"""What a machine, or a container's share of it, has to give."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from cnnzoo import machine
from cnnzoo.machine import available_memory, cpu_count
from tests.faults.shared import SMALL
from tests.processes import REPOSITORY

GROUPS = Path("/sys/fs/cgroup")
MB = 1_000_000

Share = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], None]:
    """Have files below a folder read in place of ``/proc`` and ``/sys``, on a machine of many free cores."""
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)

    def write(files: Mapping[str, str]) -> None:
        for name, text in {"proc/meminfo": "MemAvailable: 8000000 kB\n", **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


V2 = {
    "proc/self/cgroup": "0::/pod/box\n",
    "proc/self/mountinfo": "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
}
V1 = {
    "proc/self/cgroup": "4:memory:/docker/b0\n3:cpu,cpuacct:/docker/b0\n1:name=systemd:/docker/b0\n0::/\n",
    "proc/self/mountinfo": "33 31 0:30 /docker/b0 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 /docker/b0 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
}


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 16),
        ("50000 100000", 1),
        ("150000 100000", 1),
        ("400000 100000", 4),
        ("9900000 100000", 16),
    ],
)
def test_row_64_cores_are_counted_by_the_quota_of_version_2(
    tree: Callable[[Mapping[str, str]], None], quota: str, cores: int
) -> None:
    tree({**V2, "sys/fs/cgroup/pod/box/cpu.max": f"{quota}\n"})
    assert cpu_count() == cores


def test_row_64_a_group_above_limits_as_well(tree: Callable[[Mapping[str, str]], None]) -> None:
    tree(
        {
            **V2,
            "sys/fs/cgroup/pod/box/cpu.max": "max 100000\n",
            "sys/fs/cgroup/pod/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/pod/box/memory.max": "max\n",
            "sys/fs/cgroup/pod/box/memory.current": f"{100 * MB}\n",
            "sys/fs/cgroup/pod/memory.max": f"{500 * MB}\n",
            "sys/fs/cgroup/pod/memory.current": f"{300 * MB}\n",
        }
    )
    assert (cpu_count(), available_memory()) == (2, 200 * MB)


@pytest.mark.parametrize(("quota", "cores"), [("-1", 16), ("50000", 1), ("300000", 3)])
def test_row_64_cores_and_memory_are_counted_by_version_1(
    tree: Callable[[Mapping[str, str]], None], quota: str, cores: int
) -> None:
    tree(
        {
            **V1,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": f"{quota}\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{500 * MB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{400 * MB}\n",
            "sys/fs/cgroup/memory/memory.stat": f"cache 9\ntotal_inactive_file {250 * MB}\n",
        }
    )
    # Pages of files that were read are given back where there is need.
    assert (cpu_count(), available_memory()) == (cores, 350 * MB)


def test_row_64_a_machine_without_limits_gives_all(tree: Callable[[Mapping[str, str]], None]) -> None:
    tree({})
    assert (cpu_count(), available_memory()) == (16, 8_000_000 * 1024)
    tree({**V1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"})
    assert (cpu_count(), available_memory()) == (16, 8_000_000 * 1024)


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Share]:
    """Run Python in real control groups of half a core and of 600 MB."""
    version_2 = (GROUPS / "cgroup.controllers").exists()
    limits = {
        "cpu": [("cpu.max", "50000 100000")] if version_2 else [("cpu.cfs_quota_us", "50000")],
        "memory": [("memory.max" if version_2 else "memory.limit_in_bytes", str(600 * MB))],
    }
    groups: dict[str, Path] = {}
    try:
        for controller, values in limits.items():
            group = GROUPS / ("" if version_2 else controller) / f"cnnzoo-test-{os.getpid()}"
            group.mkdir(exist_ok=True)
            groups[controller] = group
            for name, value in values:
                (group / name).write_text(value)
    except OSError:
        for group in {*groups.values()}:
            group.rmdir()
        pytest.skip("no control group can be made here")

    def run(
        *arguments: str, controllers: tuple[str, ...] = ("cpu", "memory")
    ) -> subprocess.CompletedProcess[str]:
        enter = " && ".join(f"echo $$ > {groups[each]}/cgroup.procs" for each in controllers)
        return subprocess.run(
            ["sh", "-c", f'{enter} && exec "$@"', "sh", sys.executable, *arguments],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
            | {"PYTHONPATH": str(REPOSITORY / "src")},
            capture_output=True,
            text=True,
            check=True,
        )

    yield run
    for group in {*groups.values()}:
        group.rmdir()


def test_row_64_a_real_group_is_counted(share: Share) -> None:
    program = "from cnnzoo.machine import available_memory, cpu_count; print(cpu_count(), available_memory())"
    cores, memory = map(int, share("-c", program).stdout.split())
    assert cores == 1
    assert 400 * MB < memory <= 600 * MB


@pytest.mark.slow
def test_row_64_a_run_has_no_more_threads_than_its_container_grants(share: Share, tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core has one thread anyhow")
    version = share("-m", "cnnzoo", "--version", controllers=("cpu",)).stdout
    header = share("-m", "cnnzoo", *SMALL, "--epochs", "1", controllers=("cpu",)).stdout
    for said in (version, header):
        assert re.search(r"device:? cpu \(.*, 1 thread\)", said), said
    asked = share("-m", "cnnzoo", *SMALL[:-1], "two", "--epochs", "1", "--threads", "2", controllers=("cpu",))
    assert ", 2 threads)" in asked.stdout
