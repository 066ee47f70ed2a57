"""What this machine, or the container on it, has to give to a process. Imports no torch."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/")
"""Root of the file system in which ``/proc`` and the control groups are read."""


def cpu_count() -> int:
    """Return the number of cores that this process may use, at least 1.

    It is that of its affinity, or the quota of its container in whole cores where that is less.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, int(min([cores, *_cpu_quotas()])))


def available_memory() -> int | None:
    """Return the bytes that processes may still take without pushing others out; None where nobody says.

    Within a container with a limit it is what is left of that, if it is less.
    """
    amounts = [*_memory_left()]
    for line in _read("proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            amounts.append(int(line.split()[1]) * 1024)
    return min(amounts, default=None)


def _cpu_quotas() -> Iterator[float]:
    """Yield the quotas of this process's control groups in cores, such as 0.5."""
    for group in _control_groups("cpu"):
        # Microseconds of computing, and those in which they are granted.
        values = _read(group / "cpu.max").split() or [
            _read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")
        ]
        if all(value.isdecimal() and int(value) for value in values):  # else max or -1: no quota
            yield int(values[0]) / int(values[1])


def _memory_left() -> Iterator[int]:
    """Yield what this process's control groups have left of their limits, in bytes."""
    for group in _control_groups("memory"):
        for names in (("max", "current"), ("limit_in_bytes", "usage_in_bytes")):
            limit, used = (_read(group / f"memory.{name}").strip() for name in names)
            if limit.isdecimal() and used.isdecimal():
                stat = dict(line.split() for line in _read(group / "memory.stat").splitlines())
                cached = (
                    stat.get("total_inactive_file") or stat.get("inactive_file") or 0
                )  # of files: given back
                yield max(int(limit) - int(used) + int(cached), 0)


def _control_groups(controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups of this process, and of those above them, which limit it as well.

    In version 1 each controller has a hierarchy of its own, in version 2 all have one: cgroups(7).
    """
    groups = [line.split(":", 2) for line in _read("proc/self/cgroup").splitlines()]
    for line in _read("proc/self/mountinfo").splitlines():
        place, _, system = line.partition(" - ")
        root, mounted = place.split()[3:5]
        kind, _, options = system.split()[:3]
        if kind != "cgroup2" and not (kind == "cgroup" and controller in options.split(",")):
            continue
        for _, controllers, path in groups:
            if controller in controllers.split(",") if kind == "cgroup" else not controllers:
                # In a container that sees no other groups its own is where they are mounted.
                inside = Path(path).relative_to(root) if Path(path).is_relative_to(root) else ""
                top = Path(mounted.lstrip("/"))
                group = top / inside
                yield from (each for each in (group, *group.parents) if each.is_relative_to(top))


def peak_memory() -> int:
    """Return the most bytes of memory that this process has had at once; 0 where nobody says, as on Windows."""
    for line in _read("proc/self/status").splitlines():
        if line.startswith("VmHWM:"):  # ru_maxrss may be that of the process that started this one
            return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class CpuTimes(NamedTuple):
    """What cores were taken by and waited for, in seconds since some moment.

    Attributes:
        waited: That threads of this process were ready to run and had no core.
        others: That other processes have had a core, summed over all cores.
    """

    waited: float
    others: float


def cpu_times() -> CpuTimes:
    """Return what cores were taken by and waited for; zeros where nobody says, as on all but Linux."""
    own = os.times()
    fields = _read("proc/stat").partition("\n")[0].split()[1:9]
    if len(fields) < 8:
        return CpuTimes(0.0, 0.0)
    user, nice, system, _, _, irq, softirq, steal = map(int, fields)
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    threads = (_read(path).split() for path in (ROOT / "proc/self/task").glob("*/schedstat"))
    waited = sum(int(times[1]) for times in threads if len(times) == 3) / 1e9
    return CpuTimes(waited, busy - own.user - own.system)


def _read(path: str | Path) -> str:
    """Return a text below ROOT, empty where there is none."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except OSError:
        return ""
