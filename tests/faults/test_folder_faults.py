"""Rows 54 to 57: folders of images as people have them, on machines as people have them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

STREAM = (
    "from cnnzoo.data import folders; folders.MAX_RESIDENT_BYTES = 0; from cnnzoo.cli import main; main()"
)
"""The command line where any folder is too large for memory."""


def picture(path: Path, shade: int = 0, size: tuple[int, int] = (16, 12)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade % 256, 255 - shade % 256, 9)).save(path)
    return path


def tree(root: Path, num: int = 10, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """``num`` images of each class, no two of them the same."""
    for label, name in enumerate(classes):
        for number in range(num):
            picture(root / name / f"{number}.png", 97 * label + number, (16 + label, 12))
    return root


@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
@pytest.mark.parametrize("limit", ["ulimit -n 30", "mount -t tmpfs -o size=4k tmpfs /dev/shm"])
def test_row_54_streaming_needs_neither_shared_memory_nor_file_handles(tmp_path: Path, limit: str) -> None:
    tree(tmp_path / "pets", 40)
    if limit.startswith("mount") and (os.getuid() != 0 or shutil.which("unshare") is None):
        pytest.skip("only root can give a process a small /dev/shm")
    train = [sys.executable, "-c", STREAM, "train", "lenet", "--dataset", "folder:pets", "--workers", "2"]
    within = ["unshare", "--mount"] if limit.startswith("mount") else []
    ended = subprocess.run(
        [*within, "bash", "-c", f'{limit} && exec "$@"', "bash", *train, "--epochs", "2", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if within and "unshare" in ended.stderr:
        pytest.skip("this container does not let even root mount")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len((tmp_path / "runs" / "lenet-pets-1" / "history.csv").read_text().splitlines()) == 3
