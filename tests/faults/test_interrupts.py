"""Row 65: Ctrl-C before a run listens for it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cnnzoo.interrupts import Interrupt
from tests.faults.shared import SMALL, assert_refused
from tests.processes import REPOSITORY, Processes

PROGRAM = "print(1, flush=True)\nfrom cnnzoo.cli import main\nmain()\n"
"""The program, which says when its first line is reached."""

COMMANDS = {
    "train": (*SMALL, "--epochs", "1000"),
    "seeds": (*SMALL, "--epochs", "1000", "--seeds", "2"),
    "plan": (*SMALL, "--dry-run"),
    "summary": ("summary", "alexnet"),
}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(30))
def test_row_65_ctrl_c_in_the_first_second_says_stopped_and_nothing_else(
    tmp_path: Path, attempt: int
) -> None:
    arguments = list(COMMANDS.values())[attempt % len(COMMANDS)]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    time.sleep(0.03 * (attempt + 1))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    if process.returncode != 0:  # else it was quicker
        assert process.returncode == 130
        assert re.fullmatch(r"Error: stopped(\.|.* saved\. Go on .*)\n", err), err
        assert "Traceback" not in out


def imports(tmp_path: Path, module: str) -> tuple[str, ...]:
    """Return the options of a run with a custom module, which may press Ctrl-C by ``press()``."""
    press = "import os, signal, time\nfrom pathlib import Path\nimport cnnzoo\n\ndef press():\n"
    press += "    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(0.01)\n\n"
    (tmp_path / "own.py").write_text(press + module)
    return ("--import", "own")


def test_row_65_an_import_is_not_cut_short(processes: Processes, tmp_path: Path) -> None:
    options = imports(tmp_path, "press()\nPath('imported').touch()\n")
    assert_refused(processes.run(*SMALL, *options, cwd=tmp_path), "stopped.", code=130)
    assert (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    "answer",
    ["raise RecursionError('maximum recursion depth exceeded')", "time.sleep(9)", "raise ImportError"],
)
def test_row_65_an_interrupt_that_a_library_drops_or_changes_says_stopped(
    processes: Processes, tmp_path: Path, answer: str
) -> None:
    options = imports(
        tmp_path,
        "@cnnzoo.register_model('own', image_size=28)\n"
        "def build(**options):\n"
        "    try:\n"
        "        press()\n"
        "    except BaseException:\n"
        "        pass\n"
        f"    {answer}\n",
    )
    started = time.monotonic()
    ended = processes.run("train", "own", *SMALL[2:4], *options, cwd=tmp_path)
    assert_refused(ended, "Error: stopped.\n", code=130)
    assert time.monotonic() - started < 9


def test_row_65_what_tidies_up_after_an_interrupt_is_not_interrupted_again() -> None:
    tidied = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(9)
        finally:
            time.sleep(1.2)
            tidied.append(True)

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)
    with pytest.raises(KeyboardInterrupt), Interrupt():
        work()
    assert tidied
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)) == before
