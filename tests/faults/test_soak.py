"""The soak itself, in its short form."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_rows_1_2_3_twenty_kills_lose_nothing() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.soak", "--quick"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills                20 " in done.stdout
    assert "epochs redone        0" not in done.stdout, "no kill came while an epoch was trained"
    assert done.stderr == ""
