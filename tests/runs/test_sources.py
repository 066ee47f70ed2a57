"""A run keeps the source of the modules that it imported, and says when they have changed."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from cnnzoo.config_file import RECORDED
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.plain_yaml import read_mapping
from tests.faults.shared import assert_refused, left
from tests.processes import Ended, Processes

pytestmark = pytest.mark.slow

NET = """
from {dot}helper import WIDTH
from torch import nn
from cnnzoo import register_model


@register_model("mine", image_size=28)
def mine(num_classes=10, in_channels=1):
    return nn.Sequential(nn.Flatten(), nn.Linear(784 * in_channels, WIDTH), nn.Linear(WIDTH, num_classes))
"""

TRAIN = ("train", "mine", "--dataset", SAMPLE, "--limit-train", "32", "--limit-val", "16", "--epochs", "1")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with ``mine.py``, which needs ``helper.py``, and packages of the same, one without ``__init__.py``."""
    for folder in (tmp_path, tmp_path / "package", tmp_path / "space"):
        folder.mkdir(exist_ok=True)
        (folder / "helper.py").write_text("WIDTH = 4\n")
        (folder / "mine.py").write_text(NET.format(dot="" if folder == tmp_path else "."))
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "unused.py").write_text("")
    return tmp_path


def ran(processes: Processes, *args: str, cwd: Path) -> Ended:
    ended = processes.run(*args, cwd=cwd)
    assert ended.code == 0, ended
    return ended


def sources(run: Path) -> set[str]:
    folder = run / "imported"
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*.py") if file.stat().st_size}


IMPORTS = [
    (("mine",), {"mine.py", "helper.py"}, "mine.py"),
    (("./mine.py",), {"mine.py", "helper.py"}, "mine.py"),
    (("package.mine",), {"package/mine.py", "package/helper.py"}, "package/mine.py"),
    (("package/mine.py",), {"package/mine.py", "package/helper.py"}, "package/mine.py"),
    (("space.mine",), {"space/mine.py", "space/helper.py"}, "space/mine.py"),
]


@pytest.mark.parametrize(("imports", "kept", "main"), IMPORTS, ids=[case[0][0] for case in IMPORTS])
def test_a_run_can_be_evaluated_by_the_source_that_it_has_kept(
    processes: Processes, project: Path, imports: Sequence[str], kept: set[str], main: str
) -> None:
    flags = [f"--import={module}" for module in imports]
    ran(processes, *TRAIN, *flags, "--name", "r", cwd=project)
    run = project / "runs" / "r"
    assert sources(run) == kept
    recorded = read_mapping(run / "config.yaml")
    digests = {name: hashlib.sha256((run / "imported" / name).read_bytes()).hexdigest() for name in kept}
    assert recorded[RECORDED]["imported"] == digests
    assert recorded["imports"] == list(imports)

    elsewhere = project / "elsewhere"
    shutil.copytree(run, elsewhere / "r")
    refused = processes.run("eval", "r", cwd=elsewhere)
    assert_refused(refused, "is one of your own.", f"--import=r/imported/{main}.", code=2)
    assert ran(processes, "eval", "r", f"--import=r/imported/{main}", cwd=elsewhere).err == ""


def test_source_that_has_changed_since_is_a_line_of_warning(processes: Processes, project: Path) -> None:
    ran(processes, *TRAIN, "--import=mine", "--name", "r", cwd=project)
    assert ran(processes, "eval", "r", "--import=mine", cwd=project).err == ""
    with (project / "helper.py").open("a") as file:
        file.write("# as wide as before\n")
    says = (
        f"Warning: {project / 'helper.py'} has changed since the run began. "
        "The run has kept its own copy: --import=runs/r/imported/mine.py.\n"
    )
    resumed = ran(processes, "train", "--resume", "r", "--epochs", "2", "--import=mine", cwd=project)
    assert resumed.err == says
    assert (
        ran(processes, "eval", "r", "--import=mine", cwd=project).err == says
    )  # it is still that of the beginning
    own = "--import=runs/r/imported/mine.py"
    assert ran(processes, "eval", "r", own, cwd=project).err == ""
    assert ran(processes, "train", "--resume", "r", "--epochs", "3", own, cwd=project).err == ""

    (project / "runs/r/imported/mine.py").write_text(NET.format(dot="") + "# touched\n")
    assert "runs/r/imported/mine.py has changed since" in ran(processes, "eval", "r", own, cwd=project).err


def test_what_a_run_has_kept_does_not_run_by_itself(processes: Processes, project: Path) -> None:
    ran(processes, *TRAIN, "--import=mine", "--name", "r", cwd=project)
    for name in ("mine.py", "helper.py"):
        (project / "runs/r/imported" / name).write_text("raise SystemExit('this has run')\n")
    assert ran(processes, "eval", "r", "--import=mine", cwd=project).err == ""
    assert processes.run("eval", "r", cwd=project).err.startswith(
        "Error: the model 'mine' is one of your own"
    )


def test_several_seeds_and_several_processes_keep_it_too(processes: Processes, project: Path) -> None:
    ran(processes, *TRAIN, "--import=mine", "--name", "s", "--seeds", "2", "--jobs", "2", cwd=project)
    team = processes.start_team(2, *TRAIN, "--import=mine", "--name", "team", cwds=[project] * 2)
    assert [started.wait().code for started in team] == [0, 0]
    for run in ("s/seed-0", "s/seed-1", "team"):
        assert sources(project / "runs" / run) == {"mine.py", "helper.py"}


def test_an_import_before_the_command_is_noted_as_one_behind_it(processes: Processes, project: Path) -> None:
    ran(processes, "--import=mine", *TRAIN, "--name", "r", cwd=project)
    assert read_mapping(project / "runs/r/config.yaml")["imports"] == ["mine"]
    assert sources(project / "runs" / "r") == {"mine.py", "helper.py"}


def test_row_1_a_run_with_imports_that_was_killed_before_its_first_save_begins_again(
    processes: Processes, project: Path
) -> None:
    line = (*TRAIN, "--import=mine", "--name", "r")
    assert processes.run(*line, cwd=project, env={"CNNZOO_FAULT_POINT": "last.pt:written"}).code < 0
    assert left(project / "runs" / "r") == {"config.yaml", "imported", ".last.pt.tmp"}
    (project / "helper.py").write_text("WIDTH = 5\n")
    ran(processes, *line, cwd=project)
    assert (project / "runs/r/imported/helper.py").read_text() == "WIDTH = 5\n"


@pytest.mark.parametrize(
    ("imports", "says"),
    [
        (["nowhere.py"], "cannot import 'nowhere.py': there is no such file. Check the path."),
        (["no/folder"], "cannot import 'no/folder': there is no such file. Check the path."),
        (
            ["mine", "copy/mine.py"],
            "cannot import 'copy/mine.py': another module has the name 'mine' already, ",
        ),
        (["copy/json.py"], "cannot import 'copy/json.py': another module has the name 'json' already, "),
        (["mine", "copy/yours.py"], "model name 'mine' is taken by mine."),
        ([f"{'x' * 300}/mine.py"], "File name too long"),
    ],
)
def test_an_import_that_cannot_be_is_one_line(
    processes: Processes, project: Path, imports: list[str], says: str
) -> None:
    (project / "copy").mkdir()
    for name in ("mine", "json", "yours"):
        (project / "copy" / f"{name}.py").write_text(NET.format(dot=""))
    refused = processes.run(*TRAIN, *(f"--import={module}" for module in imports), cwd=project)
    assert_refused(refused, says)
