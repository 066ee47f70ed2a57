"""Every row of the fault table has a test that bears its number."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = TESTS.parent / "docs" / "reliability.md"


def rows_of(name: str) -> set[int]:
    """The rows that a test's name says it is about: ``row_19``, ``rows_10_11`` or ``rows_10_to_13``."""
    rows: set[int] = set()
    for first, last in re.findall(r"(?:^|_)rows?_(\d+)(?=_|$)(?:_to_(\d+)(?=_|$))?", name):
        rows |= set(range(int(first), int(last or first) + 1))
    for listed in re.findall(r"(?:^|_)rows_((?:\d+_)+)", name):
        rows |= {int(number) for number in listed.split("_") if number}
    return rows


def names() -> Iterator[str]:
    """The names of all test functions."""
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield node.name


def test_every_row_of_the_fault_table_has_a_test() -> None:
    fault_table = TABLE.read_text(encoding="utf-8").partition("## The fault table")[2]
    rows = {int(number) for number in re.findall(r"^\| (\d+) \|", fault_table, re.MULTILINE)}
    assert rows >= set(range(1, 61))
    assert set().union(*map(rows_of, names())) == rows


def test_rows_are_read_from_a_name() -> None:
    assert rows_of("test_row_7_row_8_a_signal_saves") == {7, 8}
    assert rows_of("test_rows_10_to_13_an_interrupted_run") == {10, 11, 12, 13}
    assert rows_of("test_rows_40_44_45_a_setting") == {40, 44, 45}
    assert rows_of("test_rows_add_up_to_the_parameters") == rows_of("test_a_row_of_12_columns") == set()
