"""Real processes of ``python -m cnnzoo``, forked from one that has imported torch: each costs its work alone.

Nothing is shared after the fork: a child has its own streams, folder, environment and limits, and is killed for
real. POSIX only.
"""

import ctypes
import gc
import json
import os
import platform
import resource
import runpy
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]

SYSTEM_CALLS = {"x86_64": {"flock": 73, "fsync": 74}, "aarch64": {"flock": 32, "fsync": 82}}
"""Linux's numbers of the system calls that tests have refused, by machine."""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, negative for the signal that killed it, and what it printed."""

    code: int
    out: str
    err: str


class Started:
    """A process that was started and may run yet."""

    def __init__(self, server: "Processes", pid: int, streams: tuple[Path, Path]) -> None:
        self.server, self.pid, self.streams = server, pid, streams

    def wait(self) -> Ended:
        # One that does not end by itself, as it should, is killed: its test then fails instead of hanging.
        killer = threading.Timer(120, os.kill, (self.pid, signal.SIGKILL))
        killer.start()
        code = self.server.ask({"wait": self.pid})
        killer.cancel()
        out, err = (
            stream.read_text(encoding="utf-8", errors="replace") if stream.is_file() else ""
            for stream in self.streams
        )
        return Ended(code, out, err)


class Processes:
    """A process that starts others, with an environment of its own."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder, self.count = folder, 0
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        one_thread = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY / "src")}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            env={**inherited, **one_thread, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def start(
        self,
        *args: str | Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        refused: Mapping[str, int] | None = None,
        tty: str | None = None,
        stdout: Path | None = None,
    ) -> Started:
        """Start ``cnnzoo ARGS``.

        Args:
            args: Of the command.
            cwd: Its folder.
            env: Variables to add.
            limits: Names of ``resource.RLIMIT_…`` with their values.
            refused: Names of ``SYSTEM_CALLS`` with the error by which the kernel refuses them.
            tty: A terminal for all three streams, in place of files.
            stdout: A pipe for what is printed, in place of a file.
        """
        self.count += 1
        streams = self.folder / f"{self.count}.out", self.folder / f"{self.count}.err"
        job = {
            "args": [str(arg) for arg in args],
            "cwd": str(cwd),
            "env": dict(env or {}),
            "limits": dict(limits or {}),
            "refused": {
                SYSTEM_CALLS[platform.machine()][name]: code for name, code in (refused or {}).items()
            },
            "streams": [tty or os.devnull, tty or str(stdout or streams[0]), tty or str(streams[1])],
        }
        return Started(self, self.ask(job), streams)

    def run(self, *args: str | Path, cwd: Path, **how: Any) -> Ended:
        """Start ``cnnzoo ARGS`` as ``start`` does, and wait for its end."""
        return self.start(*args, cwd=cwd, **how).wait()

    def start_team(
        self, num: int, *args: str | Path, cwds: Sequence[Path], env: Mapping[str, str] | None = None
    ) -> list[Started]:
        """Start ``cnnzoo ARGS`` ``num`` times, as torchrun does, each in its folder of ``cwds``."""
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        # Like torchrun's, it outlives the processes that meet there.
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        ours = {
            "WORLD_SIZE": num,
            "LOCAL_WORLD_SIZE": num,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": self.store.port,
            "TORCHELASTIC_USE_AGENT_STORE": True,
            "TORCHELASTIC_RUN_ID": "test",
        }
        return [
            self.start(
                *args,
                cwd=cwd,
                env={
                    **{name: str(value) for name, value in ours.items()},
                    **{"RANK": str(rank), "LOCAL_RANK": str(rank)},
                    **(env or {}),
                },
            )
            for rank, cwd in zip(range(num), cwds, strict=True)
        ]

    def ask(self, job: Mapping[str, object]) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def _serve() -> dict[str, Any] | None:
    """Fork at each request; return in the child, with what it is to do, and in the parent at the end."""
    for line in sys.stdin:
        job = json.loads(line)
        if "wait" in job:
            answer = os.waitstatus_to_exitcode(os.waitpid(job["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                return dict(job)
        print(answer, flush=True)
    return None


def _become(job: Mapping[str, Any]) -> None:
    os.setsid()  # of its own, so that a terminal becomes its terminal
    for number, stream in enumerate(job["streams"]):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY, 0o644), number)
    for number, name in ((1, "stdout"), (2, "stderr")):  # made anew, since a terminal is not what a file is
        old = getattr(sys, name)
        new = open(  # noqa: SIM115
            number,
            "w",
            1 if number == 2 or os.isatty(number) else -1,
            old.encoding,
            old.errors,
            closefd=False,
        )
        setattr(sys, name, new)
    os.chdir(job["cwd"])
    os.environ.update(job["env"])
    for name, value in job["limits"].items():
        limit = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
    for system_call, error in job["refused"].items():
        _refuse(int(system_call), error)
    sys.argv = ["cnnzoo", *job["args"]]
    sys.path[0] = job["cwd"]
    code: object = 1
    try:
        runpy.run_module("cnnzoo", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(
        code if isinstance(code, int) else 1
    )  # tidying up all that was imported would take longer than the run


def _refuse(system_call: int, error: int) -> None:
    """Have the kernel answer a system call of this process with an error, by a filter of seccomp."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    instructions = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (0x20, 0, 0, 0),  # load the number of the call
            (0x15, 0, 1, system_call),  # unless it is this one, skip the next line
            (0x06, 0, 0, 0x00050000 | error),  # SECCOMP_RET_ERRNO
            (0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
        )
    )
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    program = Program(4, instructions)
    assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0, os.strerror(
        ctypes.get_errno()
    )  # PR_SET_SECCOMP


def _warm_up() -> None:
    """Import what a run imports, some of it on first use only."""
    import importlib
    import io

    import pandas as pd

    from cnnzoo.config import TrainConfig
    from cnnzoo.runs.history import History
    from cnnzoo.ui.curves import plot_histories

    for module in ("training.resume", "analysis.eval.evaluation"):
        importlib.import_module(f"cnnzoo.{module}")
    TrainConfig(model="lenet")
    frame = pd.DataFrame({"epoch": [1], "train_loss": [1.0], "val_acc": [0.5]})
    plot_histories([History(Path("history.csv"), frame)]).savefig(io.BytesIO())


if __name__ == "__main__":
    _warm_up()
    # In a new process there is no such heap to be searched, in whose callbacks Python drops a Ctrl-C.
    gc.freeze()
    if (job := _serve()) is not None:
        _become(job)
