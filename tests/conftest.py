"""What tests share."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from cnnzoo.cli import main
from cnnzoo.signals import STOPS
from tests.processes import Ended, Processes

Command = Callable[..., Ended]

# Nets of these sizes gain nothing from threads, and two processes with two threads each get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def cnnzoo(tmp_path: Path) -> Callable[..., CompletedProcess[str]]:
    """Run the command line as a person does, in ``tmp_path`` unless told otherwise; None in ``env`` unsets."""

    def run(
        *args: str | Path, cwd: Path = tmp_path, env: Mapping[str, str | None] | None = None
    ) -> CompletedProcess[str]:
        changed = {**os.environ, **(env or {})}
        return subprocess.run(
            [sys.executable, "-m", "cnnzoo", *map(str, args)],
            cwd=cwd,
            env={name: value for name, value in changed.items() if value is not None},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Run ``cnnzoo ARGS`` in real processes."""
    if sys.platform == "win32":
        pytest.skip("needs fork")
    started = Processes(tmp_path_factory.mktemp("streams"), {})
    yield started
    started.close()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``cnnzoo ARGS`` in this process and in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")  # so that no path is folded

    def run(*args: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["cnnzoo", *map(str, args)])
        handlers = {number: signal.getsignal(number) for number in STOPS}
        with pytest.raises(SystemExit) as end:
            main()
        for number, handler in handlers.items():  # those of a program that has ended
            signal.signal(number, handler)
        said = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Ended(end.value.code, said.out, said.err)

    return run
