"""The command line as a whole: its name, however it was started."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SCRIPT = "from cnnzoo.cli import main\nmain()\n"
"""A console script, as installers write it."""


@pytest.fixture(params=["python -m cnnzoo", "a console script of another name"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    if request.param == "python -m cnnzoo":
        return [sys.executable, "-m", "cnnzoo"]
    (tmp_path / "zoo.py").write_text(SCRIPT)
    return [sys.executable, "zoo.py"]


def test_it_is_called_cnnzoo_however_it_was_started(start: list[str], tmp_path: Path) -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*start, *args], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run("eval", "--help").stdout.startswith("Usage: cnnzoo eval [OPTIONS]")
    assert run("eval", "--momentum", "3").stderr == (
        "Error: No such option: --momentum. See `cnnzoo eval --help`.\n"
    )
    few = "--dataset fashionmnist-sample --limit-train 32 --limit-val 32 --epochs 1 --name few"
    assert run("train", "lenet", *few.split()).returncode == 0
    recorded = yaml.safe_load((tmp_path / "runs" / "few" / "config.yaml").read_text())["recorded"]
    assert recorded["command"] == f"cnnzoo train lenet {few}"
