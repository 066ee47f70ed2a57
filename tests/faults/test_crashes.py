"""Rows 1 to 9: what a crash, a full disk or a signal leaves behind, and that a run goes on from it."""

import os
import pty
import resource
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from cnnzoo.config import TrainConfig
from cnnzoo.config_file import as_yaml, read_yaml
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.errors import CnnzooError
from cnnzoo.files import replacing
from cnnzoo.runs.checkpoint import load_checkpoint, save_checkpoint
from cnnzoo.runs.history import HistoryRow, write_history
from cnnzoo.runs.manifest import write_files
from tests.conftest import Command
from tests.faults.shared import SMALL, assert_refused, left, make_checkpoint
from tests.helpers import StopAfter, contents, quick, rows, same_state, train
from tests.processes import Ended, Processes

pytestmark = pytest.mark.slow

POINTS = ("opened", "written", "synced", "replaced")


@pytest.fixture(scope="module")
def runs(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Path]:
    """Runs of one and of three epochs that nothing stopped, in folders of their own."""
    folders = {epochs: tmp_path_factory.mktemp("runs") for epochs in (1, 3)}
    for epochs, folder in folders.items():
        assert processes.run(*SMALL, "--epochs", str(epochs), cwd=folder).code == 0
    return {epochs: folder / "runs" / "r" for epochs, folder in folders.items()}


def more(processes: Processes, folder: Path, **how: object) -> Ended:
    """Go on with the run in ``folder`` up to its third epoch."""
    return processes.run("train", "--resume", "last", "--epochs", "3", cwd=folder, **how)


# Killed for real, at a point within a save


def kill_and_resume(
    processes: Processes, runs: Mapping[int, Path], folder: Path, point: str
) -> tuple[int, int]:
    """Kill the second epoch of a run at ``point``, see that all is whole, go on, and compare with the unkilled run.

    Returns:
        The epochs that last.pt and history.csv knew of after the kill.
    """
    run = folder / "runs" / "r"
    shutil.copytree(runs[1], run)
    assert more(processes, folder, env={"CNNZOO_FAULT_POINT": point}).code == -signal.SIGKILL
    committed = load_checkpoint(run / "last.pt").epoch
    assert committed in (1, 2)
    assert load_checkpoint(run / "best.pt").epoch in (1, committed)
    assert read_yaml(run / "config.yaml")["model"] == "lenet"
    known = len(rows(run))
    assert [row["epoch"] for row in rows(run)] == ["1", "2"][:known]

    resumed = more(processes, folder)
    assert (resumed.code, resumed.err) == (0, "")
    assert same_state(run, runs[3])
    assert not list(run.glob(".*.tmp"))
    return committed, known


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("file", ["last.pt", "best.pt"])
def test_row_1_killed_while_a_checkpoint_is_written_the_old_one_or_the_new_one_is_there(
    processes: Processes, runs: Mapping[int, Path], tmp_path: Path, file: str, point: str
) -> None:
    committed, _ = kill_and_resume(processes, runs, tmp_path, f"{file}:{point}")
    assert committed == (1 if file == "last.pt" and point != "replaced" else 2)


def test_row_1_killed_before_the_first_save_the_same_command_starts_again(
    cnnzoo: Callable[..., CompletedProcess[str]],
    processes: Processes,
    runs: Mapping[int, Path],
    tmp_path: Path,
) -> None:
    # The one here that is not forked: a command as a person types it, from its first import on.
    killed = cnnzoo(
        *SMALL, "--epochs", "3", env={"CNNZOO_FAULT_POINT": "last.pt:written", "OMP_NUM_THREADS": "1"}
    )
    assert killed.returncode == -signal.SIGKILL
    run = tmp_path / "runs" / "r"
    assert left(run) == {"config.yaml", ".last.pt.tmp"}
    assert_refused(processes.run("train", "--resume", "r", cwd=tmp_path), "no last.pt", "Start a new run")
    assert processes.run(*SMALL, "--epochs", "3", cwd=tmp_path).code == 0
    assert same_state(run, runs[3])


@pytest.mark.parametrize("point", POINTS)
def test_row_1_killed_while_the_settings_are_written_the_run_goes_on(
    processes: Processes, runs: Mapping[int, Path], tmp_path: Path, point: str
) -> None:
    kill_and_resume(processes, runs, tmp_path, f"config.yaml:{point}")


@pytest.mark.parametrize("point", ["last.pt:replaced", "best.pt:replaced"])
def test_row_2_killed_between_last_best_and_history_nothing_is_lost_or_doubled(
    processes: Processes, runs: Mapping[int, Path], tmp_path: Path, point: str
) -> None:
    assert kill_and_resume(processes, runs, tmp_path, point) == (2, 1)


def test_row_2_the_best_checkpoint_is_made_again_from_the_last(
    processes: Processes, runs: Mapping[int, Path], tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "r"
    shutil.copytree(runs[1], run)
    for damaged in (True, False):  # or else left behind by a crash
        if damaged:
            (run / "best.pt").write_bytes(b"")
        else:
            save_checkpoint(run / "best.pt", make_checkpoint(epoch=0))
        assert processes.run("train", "--resume", "r", cwd=tmp_path).code == 0
        assert same_state(run, runs[1])


def test_row_2_a_best_checkpoint_that_cannot_be_made_again_is_warned_of(
    processes: Processes, runs: Mapping[int, Path], tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "r"
    shutil.copytree(runs[3], run)
    saved = load_checkpoint(run / "last.pt")
    assert saved.training is not None
    history = saved.training.history
    history[0] = replace(history[0], val_acc=1.0)  # so that the best epoch is not the last
    save_checkpoint(run / "last.pt", saved)
    (run / "best.pt").unlink()
    ended = processes.run("train", "--resume", "r", cwd=tmp_path)
    assert ended.code == 0
    warning = "Warning: runs/r/best.pt is gone, damaged or of another run, and the weights of epoch 1 cannot be made"
    assert ended.err.startswith(warning)


@pytest.mark.parametrize("point", POINTS)
def test_row_3_killed_while_the_history_is_written_it_is_rebuilt(
    processes: Processes, runs: Mapping[int, Path], tmp_path: Path, point: str
) -> None:
    assert kill_and_resume(processes, runs, tmp_path, f"history.csv:{point}") == (
        2,
        2 if point == "replaced" else 1,
    )


@pytest.mark.parametrize("damage", [None, b"", b"epoch,train_loss\n1,0."])
def test_row_3_a_history_that_is_gone_or_damaged_comes_back_from_the_last_checkpoint(
    processes: Processes, runs: Mapping[int, Path], tmp_path: Path, damage: bytes | None
) -> None:
    run = tmp_path / "runs" / "r"
    shutil.copytree(runs[3], run)
    whole = (run / "history.csv").read_bytes()
    if damage is None:
        (run / "history.csv").unlink()
    else:
        (run / "history.csv").write_bytes(damage)
    assert more(processes, tmp_path).code == 0
    assert (run / "history.csv").read_bytes() == whole


# Power loss


def write_checkpoint(path: Path) -> None:
    save_checkpoint(path, make_checkpoint())


def write_settings(path: Path) -> None:
    write_files(path.parent, {path.name: as_yaml(TrainConfig(model="lenet"), {})})


def write_rows(path: Path) -> None:
    write_history(path, [HistoryRow(1, 0.5, 0.8, 0.6, 0.7, 1e-3, 7.0, 6600.0)])


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX only")
@pytest.mark.parametrize("write", [write_checkpoint, write_settings, write_rows])
def test_row_4_a_file_is_on_the_disk_before_it_is_renamed_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    calls: list[object] = []
    fsync, rename = os.fsync, os.replace

    def spy_fsync(handle: int) -> None:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            calls.append(("folder", status.st_ino))
        else:
            calls.append(("file", status.st_ino, status.st_size))
        fsync(handle)

    def spy_rename(source: str | Path, target: str | Path) -> None:
        status = Path(source).stat()
        calls.append(("rename", status.st_ino, status.st_size, str(target)))
        rename(source, target)

    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_rename)
    write(path)
    inode, size = path.stat().st_ino, path.stat().st_size
    assert calls == [
        ("file", inode, size),  # every byte had been handed over by then
        ("rename", inode, size, str(path)),
        ("folder", tmp_path.stat().st_ino),
    ]


# Full disks and forbidden folders


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a disk in memory with options such as ``size=1m``, or change those of the one mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = False

    def mount(options: str) -> Path:
        nonlocal mounted
        what = ["-o", f"remount,{options}"] if mounted else ["-t", "tmpfs", "-o", options, "tmpfs"]
        try:
            done = subprocess.run(["mount", *what, folder], capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount here")
        if done.returncode:
            pytest.skip("no file system may be mounted here")
        mounted = True
        return folder

    yield mount
    if mounted:
        subprocess.run(["umount", folder], check=True)


def test_row_5_a_full_disk_names_file_and_space_and_the_run_goes_on_once_there_is_room(
    processes: Processes, runs: Mapping[int, Path], disk: Callable[[str], Path]
) -> None:
    folder = disk("size=1200k")  # room for a last.pt and a best.pt, and for no second last.pt beside them
    full = processes.run(*SMALL, "--epochs", "3", cwd=folder)
    assert_refused(full, "cannot write runs/r/last.pt: No space left on device. Make room for 0.7 MB")
    run = folder / "runs" / "r"
    assert left(run) == {"config.yaml", "last.pt", "best.pt", "history.csv", "manifest.json"}
    assert (
        load_checkpoint(run / "last.pt").epoch
        == load_checkpoint(run / "best.pt").epoch
        == len(rows(run))
        == 1
    )

    disk("size=9m")
    assert more(processes, folder).code == 0
    assert same_state(run, runs[3])


@pytest.mark.parametrize(("size", "file"), [(600_000, "last.pt"), (100, "config.yaml")])
def test_row_5_a_file_that_may_not_grow_is_one_line_and_leaves_no_rubbish(
    processes: Processes, tmp_path: Path, size: int, file: str
) -> None:
    refused = processes.run(*SMALL, "--epochs", "1", cwd=tmp_path, limits={"FSIZE": size})
    assert_refused(refused, f"cannot write runs/r/{file}: File too large. Make room")
    assert left(tmp_path / "runs" / "r") == ({"config.yaml"} if file == "last.pt" else set())


@pytest.mark.parametrize("limit", [100, 100_000])
def test_row_5_a_save_that_fails_leaves_the_old_checkpoint_and_no_rubbish(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, make_checkpoint())
    before = contents(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(CnnzooError, match=r"cannot write .*a\.pt: .*Make room for 0\.2 MB"):
            save_checkpoint(path, replace(make_checkpoint(), epoch=4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(tmp_path) == before


def test_row_6_an_output_folder_below_a_file_is_refused_before_training(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "runs").write_text("a file where a folder should be")
    for out in ("runs", "runs/below"):
        refused = command(*SMALL, "--epochs", "1", "--out", out)
        why = "it is no folder" if out == "runs" else "Not a directory"
        assert_refused(refused, f"cannot write into {out}: {why}. Choose another folder with --out.")
        assert refused.out == ""


def test_row_6_a_disk_that_is_read_only_is_refused_before_training(
    command: Command, runs: Mapping[int, Path], disk: Callable[[str], Path]
) -> None:
    folder = disk("size=9m")
    shutil.copytree(runs[1], folder / "r")
    (folder / "empty").mkdir()
    disk("ro")
    before = contents(folder)
    for out, name in ((folder, "new"), (folder, "empty"), (folder / "below", "new")):
        refused = command(*SMALL, "--epochs", "1", "--out", out, "--name", name)
        assert_refused(
            refused, "cannot write into ", "Read-only file system", "Choose another folder with --out."
        )
        assert refused.out == ""
    resumed = command("train", "--resume", folder / "r", "--epochs", "3")
    assert_refused(
        resumed,
        f"cannot write into {folder / 'r'}: Read-only file system. Make it writable, or copy the run and resume",
    )
    drawn = command("plot", folder / "r")
    assert_refused(drawn, "history.png: Read-only file system. Draw it elsewhere with `cnnzoo plot -o FILE`.")
    assert command("plot", folder / "r", "-o", "elsewhere.png").code == 0
    assert "epoch" not in resumed.out
    evaluated = command("eval", folder / "r")
    assert evaluated.code == 0
    assert evaluated.err.startswith(
        f"Warning: cannot write {folder / 'r' / 'manifest.json'}: Read-only file system."
    )
    assert evaluated.err.endswith("Evaluate a copy of the run to keep the figures.\n")
    assert "95% interval" in evaluated.out
    assert command("verify", folder / "r").code == 0
    assert contents(folder) == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_row_6_a_folder_of_somebody_else_is_refused_before_training(command: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o555)
    assert_refused(command(*SMALL, "--epochs", "1"), "cannot write into runs: Permission denied.", "--out")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_row_6_a_run_of_somebody_else_with_a_lock_in_it_is_refused_before_training(
    command: Command, runs: Mapping[int, Path], tmp_path: Path
) -> None:
    shutil.copytree(runs[1], tmp_path / "r")
    (tmp_path / "r" / ".lock").touch()
    (tmp_path / "r").chmod(0o555)
    refused = command("train", "--resume", "r", "--epochs", "3", "--out", tmp_path)
    assert_refused(refused, "r: Permission denied. Make it writable, or copy the run and resume the copy.")


# Signals


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not come"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGTERM, 143, id="row_7"),
        pytest.param(signal.SIGINT, 130, id="row_8"),
        pytest.param(signal.SIGHUP, 129, id="row_7-SIGHUP"),
    ],
)
def test_row_7_row_8_a_signal_saves_says_how_to_resume_and_draws_the_curves(
    processes: Processes, tmp_path: Path, number: int, code: int
) -> None:
    run = tmp_path / "runs" / "r"
    whole = processes.start(*SMALL, "--epochs", "40", "--out", "whole", cwd=tmp_path)
    process = processes.start(*SMALL, "--epochs", "40", cwd=tmp_path)
    wait_for(run / "history.csv")
    os.kill(process.pid, number)
    ended = process.wait()
    assert_refused(ended, "stopped in epoch ", ", and saved.", "cnnzoo train --resume runs/r\n", code=code)
    assert load_checkpoint(run / "last.pt").epoch == len(rows(run)) >= 1
    assert (run / "history.png").exists()

    assert processes.run("train", "--resume", "r", cwd=tmp_path).code == 0
    assert whole.wait().code == 0
    assert same_state(run, tmp_path / "whole" / "r")


SLOW_MODEL = """
import time
from pathlib import Path
from torch import nn
from cnnzoo import register_model


@register_model("slow", paper="nobody", year=2000, image_size=28, in_channels=1)
class Slow(nn.Module):
    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 784, num_classes))
        self.batches = 0

    def forward(self, images):
        self.batches += self.training
        if self.batches == 2:
            Path("in a long step").touch()
            while not Path("enough").exists():
                time.sleep(0.01)
        return self.net(images)
"""


def test_row_8_ctrl_c_in_a_destructor_before_the_first_step_is_not_lost(
    processes: Processes, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "import os, signal\n"
        "from torch import nn\n"
        "from cnnzoo import register_model\n"
        "class Last:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        sum(range(1000))\n"
        "@register_model('interrupting', paper='nobody', year=2000, image_size=28)\n"
        "def interrupting(num_classes=10, in_channels=1):\n"
        "    Last()\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, num_classes))\n",
        encoding="utf-8",
    )
    line = ("train", "interrupting", "--import", "mine", "--dataset", SAMPLE, "--epochs", "1")
    ended = processes.run(*line, cwd=tmp_path)
    assert_refused(ended, "Error: stopped.\n", code=130)  # Python has dropped it, in silence
    assert not list(tmp_path.rglob("history.csv"))


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU])
def test_row_7_a_schedulers_warning_saves_and_says_how_to_resume(
    processes: Processes, tmp_path: Path, number: int
) -> None:
    process = processes.start(*SMALL, "--epochs", "5000", cwd=tmp_path)
    run = tmp_path / "runs" / "r"
    wait_for(run / "history.csv")
    os.kill(process.pid, number)
    assert_refused(process.wait(), ", and saved.", "cnnzoo train --resume runs/r\n", code=128 + number)
    assert load_checkpoint(run / "last.pt").epoch == len(rows(run)) >= 1


def test_row_7_a_programs_own_handler_of_a_warning_is_its_own(tmp_path: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        warned = StopAfter(2, number=signal.SIGUSR1)
        result = train(quick(tmp_path, epochs=1, limit_train=96, limit_val=32), reporter=warned)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (heard, len(result.history)) == ([signal.SIGUSR1], 1)


LONG_STEP = (
    *("train", "slow", "--import", "slow", "--dataset", SAMPLE),
    *("--limit-train", "96", "--limit-val", "32", "--name", "r"),
)
"""A run of SLOW_MODEL."""


def test_row_7_warnings_that_come_again_and_a_sigterm_after_them_leave_time_to_save(
    processes: Processes, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(SLOW_MODEL)
    process = processes.start(*LONG_STEP, cwd=tmp_path)
    wait_for(tmp_path / "in a long step")
    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
        os.kill(process.pid, number)
        time.sleep(0.1)
    (tmp_path / "enough").touch()
    ended = process.wait()
    assert_refused(ended, "stopped in epoch 1 after step 2 of 3, and saved.", code=129)
    assert {"last.pt"} < left(tmp_path / "runs" / "r")


def test_row_7_a_terminal_that_is_closed_saves_and_ends_by_hangup(
    processes: Processes, tmp_path: Path
) -> None:
    terminal, ours = pty.openpty()
    started = processes.start(*SMALL, "--epochs", "5000", cwd=tmp_path, tty=os.ttyname(ours))
    os.close(ours)
    wait_for(tmp_path / "runs" / "r" / "history.csv")
    os.close(terminal)
    assert started.wait().code == 129
    run = tmp_path / "runs" / "r"
    assert load_checkpoint(run / "last.pt").epoch == len(rows(run)) >= 1
    assert (run / "history.png").exists()


def test_row_7_under_nohup_a_run_outlives_its_terminal(tmp_path: Path) -> None:
    terminal, ours = pty.openpty()
    command = [sys.executable, "-m", "cnnzoo", *SMALL, "--epochs", "60"]
    # Both outputs stay on the terminal, so that the run goes on without them, too.
    line = ["sh", "-c", f"trap '' HUP; exec {shlex.join(command)}"]
    with subprocess.Popen(
        line, cwd=tmp_path, stdin=ours, stdout=ours, stderr=ours, start_new_session=True
    ) as process:
        os.close(ours)
        wait_for(tmp_path / "runs" / "r" / "history.csv")
        os.close(terminal)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 0
    assert len(rows(tmp_path / "runs" / "r")) == 60


def test_row_7_a_reader_that_a_hangup_has_ended_changes_nothing(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW_MODEL)
    os.mkfifo(tmp_path / "pipe")
    process = processes.start(*LONG_STEP, cwd=tmp_path, stdout=tmp_path / "pipe")
    with (tmp_path / "pipe").open():
        wait_for(tmp_path / "in a long step")
    os.kill(process.pid, signal.SIGHUP)
    (tmp_path / "enough").touch()
    assert_refused(process.wait(), "and saved.", code=129)
    assert {"last.pt"} < left(tmp_path / "runs" / "r")


@pytest.mark.parametrize("again", [signal.SIGINT, signal.SIGTERM])
def test_row_8_a_second_signal_stops_at_once(processes: Processes, tmp_path: Path, again: int) -> None:
    (tmp_path / "slow.py").write_text(SLOW_MODEL)
    own = ("--import", "slow", "--dataset", SAMPLE, "--limit-train", "96", "--limit-val", "32", "--name", "r")
    process = processes.start("train", "slow", *own, cwd=tmp_path)
    wait_for(tmp_path / "in a long step")
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.2)
    assert Path(f"/proc/{process.pid}").exists() or sys.platform != "linux", (
        "the first one waits for the step's end"
    )
    os.kill(process.pid, again)
    ended = process.wait()
    if again == signal.SIGINT:
        assert_refused(ended, "stopped.", code=130)
    else:
        assert (ended.code, ended.err) == (-signal.SIGTERM, "")
    assert left(tmp_path / "runs" / "r") == {"config.yaml", "imported"}


# Rubbish


def test_row_9_temporary_files_of_a_crash_are_ignored_and_cleaned(
    processes: Processes, runs: Mapping[int, Path], tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "r"
    shutil.copytree(runs[1], run)
    stale = [
        run / f".{name}.tmp" for name in ("last.pt", "best.pt", "history.csv", "config.yaml", "eval.json")
    ]
    for path in stale:
        path.write_bytes(b"half of a file")
    assert more(processes, tmp_path).code == 0
    assert same_state(run, runs[3])
    assert not [path for path in stale if path.exists()]


def test_row_9_a_write_that_is_interrupted_leaves_no_temporary_file(tmp_path: Path) -> None:
    def write() -> None:
        with replacing(tmp_path / "file") as file:
            file.write(b"half of the ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert not list(tmp_path.iterdir())
