"""The list of networks: the same from the table as from the nets themselves, and at once."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from cnnzoo.analysis.summary.models import describe_models
from cnnzoo.registries import TORCHVISION

Run = Callable[..., CompletedProcess[str]]


@pytest.mark.slow
def test_the_table_is_what_is_registered(cnnzoo: Run, tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    expected = json.loads(json.dumps([entry.to_dict() for entry in describe_models()]))
    assert len([entry for entry in expected if entry["name"].startswith(TORCHVISION)]) > 50
    for _ in range(2):  # without torchvision's names in the cache, and with them
        done = cnnzoo("models", "--format", "json", env=cache)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == expected
    (kept,) = (tmp_path / "cache" / "cnnzoo").iterdir()
    assert kept.name == f"torchvision-{version('torchvision')}.json"
    kept.write_text("{")  # damaged: made again
    assert json.loads(cnnzoo("models", "--format", "json", env=cache).stdout) == expected


@pytest.mark.slow
def test_the_list_takes_no_import_of_torch_once_torchvisions_names_are_known(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    program = (
        "import sys\n"
        "from cnnzoo.cli import main\n"
        "sys.argv = ['cnnzoo', 'models']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    print('torch' in sys.modules)\n"
    )
    lasts = [
        subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        ).stdout.splitlines()[-1]
        for _ in range(2)
    ]
    assert lasts == ["True", "False"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written_is_no_error(cnnzoo: Run, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    done = cnnzoo("models", env={"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_it_answers_within_a_second(cnnzoo: Run, tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    cnnzoo("models", env=cache)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        cnnzoo("models", env=cache)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 1
