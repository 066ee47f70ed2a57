"""Several processes that train together end together, with one message, and lose nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from cnnzoo.runs.checkpoint import load_checkpoint
from tests.distributed.test_group import assert_same_training
from tests.faults.shared import SMALL, assert_refused
from tests.faults.test_crashes import wait_for
from tests.helpers import rows, same_state
from tests.processes import Ended, Processes, Started

pytestmark = pytest.mark.slow

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")

LONG = (*SMALL, "--epochs", "500")


def ends_of(team: Sequence[Started]) -> list[Ended]:
    return [started.wait() for started in team]


def assert_one_message(ends: Sequence[Ended], *parts: str, code: int = 1) -> None:
    """All ended with ``code``, and one of them said why, in a line that has all of ``parts``."""
    assert [ended.code for ended in ends] == [code] * len(ends), ends
    speakers = [ended for ended in ends if ended.err]
    assert len(speakers) == 1, ends
    assert_refused(speakers[0], *parts, code=code)


# What cannot begin


@pytest.mark.parametrize(
    ("line", "code", "parts"),
    [
        (
            (*SMALL, "--batch-size", "31"),
            2,
            ("--batch-size 31 cannot be split evenly over 2 processes", "30 or 32"),
        ),
        ((*SMALL, "--limit-val", "1"), 2, ("2 processes cannot share 1 validation image", "Start fewer")),
        ((*SMALL, "--processes", "3"), 2, ("there are 2 processes already", "Leave --processes out")),
        ((*SMALL, "--device", "cuda:1"), 2, ("cannot share the device 'cuda:1'", "--device auto")),
        ((*SMALL, "--resume", "auto", "--name", ""), 2, ("--name",)),
        (("train", "lenett"), 2, ("lenet",)),
        (("train", "lenet", "--bach-size", "3"), 2, ("--batch-size",)),
        (("eval", "last"), 2, ("eval is not what torchrun is for", "Leave torchrun out")),
    ],
    ids=lambda value: value[-2] if isinstance(value, tuple) and value[0] in ("train", "eval") else "",
)
def test_what_cannot_begin_is_told_once(
    processes: Processes, tmp_path: Path, line: Sequence[str], code: int, parts: Sequence[str]
) -> None:
    ends = ends_of(processes.start_team(2, *line, cwds=[tmp_path] * 2))
    assert_one_message(ends, *parts, code=code)
    assert not (tmp_path / "runs").exists()


def test_what_the_first_process_finds_ends_the_others(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "runs/r").mkdir(parents=True)
    (tmp_path / "runs/r/notes.txt").write_text("mine", encoding="utf-8")
    assert_one_message(ends_of(processes.start_team(2, *SMALL, cwds=[tmp_path] * 2)), "runs/r", code=2)


@pytest.fixture
def two_folders(tmp_path: Path) -> list[Path]:
    """Folders of two machines, each with ``images`` of its own."""
    shades = torch.Generator().manual_seed(0)
    for machine in "ab":
        for name in ("cat", "dog"):
            folder = tmp_path / machine / "images" / name
            folder.mkdir(parents=True)
            for number in range(8):
                shade = int(torch.randint(256, (), generator=shades))
                Image.new("L", (28, 28), shade).save(folder / f"{number}.png")
    return [tmp_path / "a", tmp_path / "b"]


def test_other_images_on_another_machine_are_refused(processes: Processes, two_folders: list[Path]) -> None:
    line = ("train", "lenet", "--dataset", "folder:images", "--epochs", "1")
    refused = ends_of(processes.start_team(2, *line, cwds=two_folders))
    assert_one_message(refused, "the processes have different images", "Put the same data on every machine")

    shutil.rmtree(two_folders[1] / "images")
    assert_one_message(ends_of(processes.start_team(2, *line, cwds=two_folders)), "images")


# What ends a training


def test_a_loss_of_nan_in_one_share_ends_all(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import math, os\n"
        "from cnnzoo import register_model\n"
        "from cnnzoo.models.lenet import LeNet\n"
        "@register_model('explodes', paper='nobody', year=2000, image_size=28)\n"
        "class Explodes(LeNet):\n"
        "    batches = 0\n"
        "    def forward(self, images):\n"
        "        self.batches += self.training\n"
        "        bad = os.environ['RANK'] == '1' and self.batches > 5\n"
        "        return super().forward(images) * (math.nan if bad else 1.0)\n",
        encoding="utf-8",
    )
    line = ["explodes" if word == "lenet" else word for word in LONG]
    ends = ends_of(processes.start_team(2, "--import", "mine", *line, cwds=[tmp_path] * 2))
    assert_one_message(ends, "the loss is NaN or infinite at epoch 2", "Epoch 1 is saved in runs/r")


@pytest.mark.parametrize(
    ("rank", "number"),
    [
        *((0, signal.SIGTERM), (1, signal.SIGTERM), (1, signal.SIGINT)),
        *((0, signal.SIGHUP), (1, signal.SIGUSR1)),
    ],
    ids=str,
)
def test_a_signal_to_one_stops_all_at_the_same_step_and_saves(
    processes: Processes, tmp_path: Path, rank: int, number: signal.Signals
) -> None:
    team = processes.start_team(2, *LONG, cwds=[tmp_path] * 2)
    wait_for(tmp_path / "runs/r/history.csv")
    os.kill(team[rank].pid, number)
    asked = time.monotonic()
    assert_one_message(ends_of(team), "stopped in epoch", "--resume runs/r", code=128 + number)
    assert time.monotonic() - asked < 15
    done = load_checkpoint(tmp_path / "runs/r/last.pt").epoch + 1
    more = ("--epochs", str(done))
    assert processes.run("train", "--resume", "r", *more, cwd=tmp_path).code == 0
    assert processes.run(*SMALL, *more, "--out", "whole", cwd=tmp_path).code == 0
    assert_same_training(tmp_path / "runs/r", tmp_path / "whole/r")


@pytest.mark.parametrize("seconds", [0.1, 0.5])
def test_ctrl_c_at_the_beginning_ends_all_at_once(
    processes: Processes, tmp_path: Path, seconds: float
) -> None:
    team = processes.start_team(2, *LONG, cwds=[tmp_path] * 2)
    time.sleep(seconds)
    for started in team:
        os.kill(started.pid, signal.SIGINT)
    asked = time.monotonic()
    ends = ends_of(team)
    assert time.monotonic() - asked < 10, ends
    assert all(ended.code for ended in ends), ends
    assert sum(ended.err.count("Error: ") for ended in ends) <= 1, ends


@pytest.mark.parametrize("bug", ["KeyError('x')", "AssertionError()"])
def test_a_bug_in_one_share_keeps_its_traceback(processes: Processes, tmp_path: Path, bug: str) -> None:
    (tmp_path / "mine.py").write_text(
        "import os\n"
        "from cnnzoo import register_model\n"
        "from cnnzoo.models.lenet import LeNet\n"
        "@register_model('breaks', paper='nobody', year=2000, image_size=28)\n"
        "class Breaks(LeNet):\n"
        "    def forward(self, images):\n"
        "        if os.environ['RANK'] == '1' and self.training:\n"
        f"            raise {bug}\n"
        "        return super().forward(images)\n",
        encoding="utf-8",
    )
    line = ["breaks" if word == "lenet" else word for word in LONG]
    first, second = ends_of(processes.start_team(2, "--import", "mine", *line, cwds=[tmp_path] * 2))
    assert first.err == "", first
    assert first.code == 1
    assert f"raise {bug}" in second.err, second


@pytest.mark.parametrize("rank", [0, 1])
def test_killed_one_ends_the_other_with_one_message(processes: Processes, tmp_path: Path, rank: int) -> None:
    team = processes.start_team(2, *LONG, cwds=[tmp_path] * 2)
    wait_for(tmp_path / "runs/r/history.csv")
    os.kill(team[rank].pid, signal.SIGKILL)
    killed = time.monotonic()
    left = team[1 - rank].wait()
    assert time.monotonic() - killed < 20
    assert_refused(left, "a process of this training ended without a word", "--resume")
    assert team[rank].wait().code == -signal.SIGKILL
    done = len(rows(tmp_path / "runs/r")) + 1
    assert processes.run("train", "--resume", "r", "--epochs", str(done), cwd=tmp_path).code == 0


def test_sigterm_to_the_command_that_started_them_saves(processes: Processes, tmp_path: Path) -> None:
    started = processes.start(*LONG, "--processes", "2", cwd=tmp_path)
    wait_for(tmp_path / "runs/r/history.csv")
    os.kill(started.pid, signal.SIGTERM)
    ended = started.wait()
    assert_refused(ended, "stopped in epoch", "--resume runs/r", code=128 + signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_row_7_a_warning_to_the_command_that_started_them_saves_and_a_second_one_is_no_more(
    processes: Processes, tmp_path: Path, number: int
) -> None:
    started = processes.start(*LONG, "--processes", "2", cwd=tmp_path)
    wait_for(tmp_path / "runs/r/history.csv")
    for _ in range(2):
        os.kill(started.pid, number)
        time.sleep(0.1)
    assert_refused(started.wait(), "stopped in epoch", "--resume runs/r", code=128 + number)
    done = load_checkpoint(tmp_path / "runs/r/last.pt").epoch
    assert processes.run("train", "--resume", "r", "--epochs", str(done + 1), cwd=tmp_path).code == 0


# Elastic


def children(pid: int) -> dict[str, int]:
    """The processes that torchrun started, by their rank."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        for variable in environment:
            if variable.startswith(b"RANK="):
                found[variable[5:].decode()] = int(child)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the processes by Linux's /proc")
@pytest.mark.parametrize("rank", ["0", "1"])
def test_torchrun_goes_on_where_a_process_was_killed(processes: Processes, tmp_path: Path, rank: str) -> None:
    line = (*SMALL, "--limit-train", "960", "--epochs", "6")
    whole = ends_of(processes.start_team(2, *line, "--out", "whole", cwds=[tmp_path] * 2))
    assert [ended.code for ended in whole] == [0, 0], whole

    elastic = ("--standalone", "--nproc-per-node", "2", "--max-restarts", "3")
    with (tmp_path / "said").open("w", encoding="utf-8") as said:
        torchrun = subprocess.Popen(
            [*TORCHRUN, *elastic, "-m", "cnnzoo", *line, "--resume", "auto"],
            cwd=tmp_path,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(tmp_path / "runs/r/history.csv")
            os.kill(children(torchrun.pid)[rank], signal.SIGKILL)
            epochs = len(rows(tmp_path / "runs/r"))
            code = torchrun.wait(60)
        finally:
            torchrun.terminate()
    printed = (tmp_path / "said").read_text(encoding="utf-8")
    assert code == 0, printed
    assert epochs < 6, "the kill came too late to test anything"
    assert printed.count("run: runs/r") == 2, printed  # once more after the restart
    assert printed.count("a process of this training ended without a word") == 1, printed
    assert same_state(tmp_path / "runs/r", tmp_path / "whole/r")


# Several machines


@pytest.fixture
def two_hosts() -> Iterator[tuple[str, str]]:
    """Network namespaces ``a`` at 10.77.0.1 and ``b`` at 10.77.0.2, with a cable between them."""
    names = tuple(f"cnnzoo-{os.getpid()}-{end}" for end in "ab")
    if shutil.which("ip") is None:
        pytest.skip("needs the command ip")

    def ip(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["ip", *args], capture_output=True, text=True, check=False)

    try:
        for name in names:
            if (made := ip("netns", "add", name)).returncode:
                pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
        cable = ("eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1])
        if (made := ip("link", "add", *cable)).returncode:
            pytest.skip(f"no cable between network namespaces here: {made.stderr.strip()}")
        for number, name in enumerate(names, start=1):
            for device, address in (("lo", None), ("eth0", f"10.77.0.{number}/24")):
                if address:
                    assert ip("-n", name, "address", "add", address, "dev", device).returncode == 0
                assert ip("-n", name, "link", "set", device, "up").returncode == 0
        yield names[0], names[1]
    finally:
        for name in names:
            ip("netns", "delete", name)


@pytest.mark.slow
def test_two_hosts_train_together_and_again_after_a_kill_on_one(
    processes: Processes, two_hosts: tuple[str, str], tmp_path: Path
) -> None:
    line = (*SMALL, "--limit-train", "960", "--epochs", "6")
    assert processes.run(*line, "--out", "alone", cwd=tmp_path).code == 0

    meeting = (
        *("--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3", "--rdzv-id", "job"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", "10.77.0.1:29400"),
    )
    training = ("-m", "cnnzoo", *line, "--out", str(tmp_path / "together"), "--resume", "auto")
    started = []
    for number, host in enumerate(two_hosts, start=1):
        # Neither has a name that could be looked up, by which hosts know themselves else.
        own = ("--local-addr", f"10.77.0.{number}", "--rdzv-conf", f"is_host={int(number == 1)}")
        started.append(
            subprocess.Popen(
                ["ip", "netns", "exec", host, *TORCHRUN, *meeting, *own, *training],
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "GLOO_SOCKET_IFNAME": "eth0"},
            )
        )
    try:
        wait_for(tmp_path / "together/r/history.csv")
        (victim,) = children(started[1].pid).values()
        os.kill(victim, signal.SIGKILL)
        epochs = len(rows(tmp_path / "together/r"))
        said = [process.communicate(timeout=60)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert epochs < 6, "the kill came too late to test anything"
    assert [process.returncode for process in started] == [0, 0], said
    assert sum(text.count("processes: 2") for text in said) == 2, said
    assert_same_training(tmp_path / "alone/r", tmp_path / "together/r")
