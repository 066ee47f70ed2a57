"""The rules of the house that a program can hold: docs/architecture.md says why."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import pytest

import cnnzoo
from cnnzoo.runs.history import HistoryRow
from tests.helpers import Reporter, RunDescription, quick, train
from tests.processes import REPOSITORY

SOURCE = REPOSITORY / "src" / "cnnzoo"
FILES = sorted(SOURCE.rglob("*.py"))
LOOP = ast.parse((SOURCE / "training" / "loop.py").read_text(encoding="utf-8"))


def test_no_file_has_more_than_400_lines() -> None:
    lengths = {
        str(file.relative_to(SOURCE)): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES
    }
    assert not {name: length for name, length in lengths.items() if length > 400}


def test_the_layers_have_no_exceptions() -> None:
    assert "ignore_imports" not in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


def test_nobody_imports_the_root() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.module != "cnnzoo", file
            elif isinstance(node, ast.Import):
                assert "cnnzoo" not in {name.name for name in node.names}, file


def test_no_private_name_crosses_a_module() -> None:
    crossing = [
        f"{file.relative_to(SOURCE)}:{node.lineno}: {name.name}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "cnnzoo"
        for name in node.names
        if name.name.startswith("_") and not name.name.startswith("__")
    ]
    assert not crossing


def test_no_two_modules_call_something_public_by_one_name() -> None:
    """But for the loop's ``evaluate``, which that of ``cnnzoo eval`` calls, and each paper's ``PAPER``.

    ``TYPE_CHECKING`` is typing's, where importing typing would take too long.
    """
    homes = defaultdict(set)
    for file in FILES:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            for name in names_that(node):
                homes[name].add(str(file.relative_to(SOURCE)))
    twice = {name: files for name, files in homes.items() if len(files) > 1 and not name.startswith("_")}
    assert twice.pop("evaluate") == {"training/loop.py", "analysis/eval/evaluation.py"}
    assert all(file.startswith("papers/") for file in twice.pop("PAPER"))
    assert twice.keys() <= {"TYPE_CHECKING"}


def names_that(defining: ast.stmt) -> list[str]:
    """Return what a statement at the top of a module defines, type variables left out."""
    match defining:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar" | "ParamSpec"))):
            return []
        case ast.Assign(targets=targets):
            return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        case _:
            return []


@pytest.mark.parametrize("family", [file.stem for file in (SOURCE / "models").glob("*.py")])
def test_a_family_of_networks_knows_torch_the_registry_and_layers_alone(family: str) -> None:
    if family in ("__init__", "registry"):
        return
    tree = ast.parse((SOURCE / "models" / f"{family}.py").read_text(encoding="utf-8"))
    ours = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert {name for name in ours if name.startswith("cnnzoo")} <= {
        *("cnnzoo.models.registry", "cnnzoo.models.layers", "cnnzoo.registries"),
        *({"cnnzoo.errors"} if family == "layers" else set()),
    }


@pytest.mark.slow
def test_train_is_a_function_after_every_submodule_was_imported() -> None:
    program = (
        "import importlib, pkgutil, cnnzoo\n"
        "for module in pkgutil.walk_packages(cnnzoo.__path__, 'cnnzoo.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "for name in cnnzoo.__all__:\n"
        "    getattr(cnnzoo, name)\n"
        "for _ in range(2):\n"
        "    assert callable(cnnzoo.train) and callable(cnnzoo.evaluate) and callable(cnnzoo.resume)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def names_in(text: str) -> Iterator[str]:
    """Yield each dotted name of the package in a text, and each name that the text imports from it."""
    yield from re.findall(r"(?<![\w./-])cnnzoo(?:\.\w+)+(?![\w-])", text)
    for module, names in re.findall(r"from (cnnzoo[\w.]*) import (\w+(?:, \w+)*)", text):
        yield from (f"{module}.{name}" for name in names.split(", "))


def test_what_is_named_in_strings_is_there() -> None:
    named = {f"cnnzoo.{home}.{name}": ["_HOME"] for name, home in cnnzoo._HOME.items()}
    for folder in ("src", "tests", "benchmarks", "scripts"):
        for file in sorted((REPOSITORY / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    for name in names_in(node.value):
                        named.setdefault(name, []).append(f"{file.relative_to(REPOSITORY)}:{node.lineno}")
    assert {"cnnzoo.training.resume", "cnnzoo.models.layers.ACTIVATIONS", "cnnzoo.cli.main"} <= named.keys()
    missing = {}
    for name, places in named.items():
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            missing[name] = places
    assert not missing


def test_no_module_of_the_root_has_a_public_functions_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(cnnzoo.__path__)}
    assert modules.isdisjoint(name for name in cnnzoo.__all__ if callable(getattr(cnnzoo, name)))


# The loop


def test_the_loop_has_no_nested_function_no_lambda_and_raises_a_stop_alone() -> None:
    functions = [node for node in LOOP.body if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions] == ["fit", "train_one_epoch", "evaluate"]
    for function in functions:
        inside = [node for node in ast.walk(function) if node is not function]
        assert not [node for node in inside if isinstance(node, ast.FunctionDef | ast.Lambda | ast.Try)]
    raised = [node.exc for node in ast.walk(LOOP) if isinstance(node, ast.Raise)]
    assert [ast.unparse(error).partition(".")[0] for error in raised if error] == ["InterruptedRunError"]


def test_a_training_epoch_is_one_loop_of_at_most_45_lines_and_five_parameters() -> None:
    (function,) = (n for n in LOOP.body if isinstance(n, ast.FunctionDef) and n.name == "train_one_epoch")
    docstring = function.body[0]
    lines = function.end_lineno - function.lineno + 1  # type: ignore[operator]
    assert lines - (docstring.end_lineno - docstring.lineno + 1) <= 45  # type: ignore[operator]
    assert len([node for node in ast.walk(function) if isinstance(node, ast.For | ast.While)]) == 1
    train_one_epoch = importlib.import_module("cnnzoo.training.loop").train_one_epoch
    assert len(inspect.signature(train_one_epoch).parameters) <= 5


def test_a_listener_gets_plain_numbers_and_words(tmp_path: Path) -> None:
    heard: list[object] = []

    class Listener(Reporter):
        def progress(self, *what: object) -> None:
            heard.extend(what)

        def start(self, description: RunDescription, run: Path) -> None:
            heard.extend((*astuple(description), run))

        def step(self, *figures: object) -> None:
            heard.extend(figures)

        def epoch(self, row: HistoryRow, is_best: bool) -> None:
            heard.extend((*astuple(row), is_best))

    train(quick(tmp_path, limit_train=64, limit_val=40, epochs=1), reporter=Listener())
    assert {type(value) for value in heard} <= {int, float, str, bool, type(tmp_path)}
    assert "val" in heard


def test_the_lowest_versions_that_are_tried_are_those_that_are_admitted() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [
        line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines
    ]
    admitted = {*project["dependencies"], *extras}
    others = {"torch", "torchvision", "mlflow", "wandb"}
    assert all(">=" in line for line in admitted)
    lines = (REPOSITORY / "lowest.txt").read_text(encoding="utf-8").splitlines()
    tried = {line.replace("==", ">=") for line in lines if not line.startswith("#")}
    assert tried == {line for line in admitted if line.partition(">=")[0] not in others}
