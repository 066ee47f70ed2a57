"""Row 62: file systems that lack a call, as CIFS, FUSE, DrvFs and NFS without locks do."""

import errno
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from cnnzoo.runs.checkpoint import load_checkpoint
from tests.faults.shared import SMALL, assert_refused
from tests.helpers import rows
from tests.processes import SYSTEM_CALLS, Processes

NO_LOCKS = "has no locks: a second training into the same run is not refused"
NO_SYNC = "does not sync folders: a power loss may cost the last save"
has_filters = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in SYSTEM_CALLS, reason="needs Linux's filter of calls"
)


@has_filters
@pytest.mark.parametrize(
    ("refused", "lacks"),
    [
        pytest.param({"fsync": errno.EINVAL}, NO_SYNC, marks=pytest.mark.slow),
        pytest.param({"fsync": errno.EOPNOTSUPP}, NO_SYNC, marks=pytest.mark.slow),
        pytest.param({"flock": errno.ENOLCK}, NO_LOCKS, marks=pytest.mark.slow),
        pytest.param({"flock": errno.EOPNOTSUPP}, NO_LOCKS, marks=pytest.mark.slow),
        ({"flock": errno.ENOLCK, "fsync": errno.EINVAL}, f"{NO_LOCKS}; it {NO_SYNC}"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_row_62_a_run_goes_on_with_one_warning_where_the_file_system_lacks_a_call(
    processes: Processes, tmp_path: Path, refused: Mapping[str, int], lacks: str
) -> None:
    warning = f"Warning: The file system of runs {lacks}. The run goes on.\n"
    ended = processes.run(*SMALL, "--epochs", "2", cwd=tmp_path, refused=refused)
    assert (ended.code, ended.err) == (0, warning)
    run = tmp_path / "runs" / "r"
    assert load_checkpoint(run / "last.pt").epoch == len(rows(run)) == 2
    ended = processes.run("train", "--resume", "r", "--epochs", "3", cwd=tmp_path, refused=refused)
    assert (ended.code, ended.err) == (0, warning)
    for command in (["eval", "r"], ["verify", "r"], ["runs"], ["runs", "rm", "r", "--yes"]):
        ended = processes.run(*command, cwd=tmp_path, refused=refused)
        assert (ended.code, ended.err) == (0, ""), command


@pytest.mark.slow
@has_filters
def test_row_62_filelocks_substitute_for_flock_is_taken_in_silence(
    processes: Processes, tmp_path: Path
) -> None:
    ended = processes.run(*SMALL, "--epochs", "1", cwd=tmp_path, refused={"flock": errno.ENOSYS})
    assert ended.code == 0
    assert ended.err in ("", f"Warning: The file system of runs {NO_LOCKS}. The run goes on.\n")


@pytest.mark.slow
@has_filters
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_row_62_a_disk_that_fails_is_no_file_system_that_lacks_a_call(
    processes: Processes, tmp_path: Path, error: int
) -> None:
    ended = processes.run(*SMALL, "--epochs", "1", cwd=tmp_path, refused={"fsync": error})
    assert_refused(ended, "cannot write", os.strerror(error))
