"""The command line as a whole: its name, however it was started, and what it does not import to answer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers import quick, train

SCRIPT = "from cnnzoo.cli import main\nmain()\n"
"""A console script, as installers write it."""


@pytest.fixture(params=["python -m cnnzoo", "a console script of another name"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    if request.param == "python -m cnnzoo":
        return [sys.executable, "-m", "cnnzoo"]
    (tmp_path / "zoo.py").write_text(SCRIPT)
    return [sys.executable, "zoo.py"]


@pytest.mark.slow
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


NEEDLESS = ("torchmetrics", "sklearn", "scipy", "statsmodels", "torch._dynamo", "torchvision", "pandas")
"""Modules that take long to import, and that a net of cnnzoo's own has no use for once it is trained."""

PROGRAM = f"""
import json, sys
from pathlib import Path
from cnnzoo.cli import main

found = []
def note(command, code):
    found.append([command, code, sorted(sys.modules.keys() & {set(NEEDLESS)})])

for command in sys.argv[1:]:
    sys.argv = ["cnnzoo", *command.split()]
    try:
        main()
    except SystemExit as end:
        note(command, end.code)
    if command == "predict . features.png":
        from cnnzoo.analysis.explore.explorer import Explorer
        from cnnzoo.analysis.trained_net import load_net
        from cnnzoo.ui.explore.app import build_app
        Explorer(load_net(Path("best.pt")))
        note("explore", 0)
print(json.dumps(found))
"""


@pytest.mark.slow
def test_what_takes_long_to_import_is_not_imported(tmp_path: Path) -> None:
    run = train(quick(tmp_path, epochs=1, limit_train=64)).run
    commands = {
        "train lnet": 2,
        "train torchvision/lnet": 2,
        "eval .": 0,
        "eval . --format json --split val": 0,
        "plot features .": 0,
        "predict . features.png": 0,
        "explore": 0,
        "plot confusion .": 0,
        "plot batch .": 0,
    }
    typed = [command for command in commands if command != "explore"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *typed, "plot ."],
        cwd=run,
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [
        *([command, code, []] for command, code in commands.items()),
        ["plot .", 0, ["pandas"]],  # in which a history is read
    ]
