"""What this machine has to give to a process. Imports no torch."""

import os
import sys
from pathlib import Path


def cpu_count() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def available_memory() -> int | None:
    """Return the bytes that processes may still take without pushing others out; None where nobody says.

    Of a container with a limit of its own (cgroup v2), what is left of that, if it is less.
    """
    amounts = []
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            amounts.append(int(line.split()[1]) * 1024)
    limit, used = (_read(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    if limit.isdecimal() and used.isdecimal():
        amounts.append(max(int(limit) - int(used), 0))
    return min(amounts, default=None)


def peak_memory() -> int:
    """Return the most bytes of memory that this process has had at once; 0 where nobody says, as on Windows."""
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):  # ru_maxrss may be that of the process that started this one
            return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
