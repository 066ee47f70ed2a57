"""docs/api.md names every public name, and its examples run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cnnzoo
from tests.processes import REPOSITORY

PAGE = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_public_name_has_an_example() -> None:
    code = "\n".join(EXAMPLES)
    assert [name for name in cnnzoo.__all__ if f"cnnzoo.{name}" not in code] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs(tmp_path: Path, number: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", EXAMPLES[number]],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = re.findall(r"^print\(.*\)  # (\d+)$", EXAMPLES[number], re.MULTILINE)
    assert all(number in done.stdout.split() for number in said)
