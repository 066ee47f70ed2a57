"""``cnnzoo bench``: its figures fit each other, and its table fits the screen."""

import json
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from tests.conftest import Command

Run = Callable[..., CompletedProcess[str]]
QUICK = ("bench", "lenet", "--seconds", "0.05")


@pytest.mark.slow
def test_the_figures_fit_each_other(cnnzoo: Run) -> None:
    done = cnnzoo(*QUICK, "--batch-size", "32,64", "--precision", "auto,bf16", "--format", "json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert [(result["precision"], result["batch_size"]) for result in results] == [
        ("fp32", 32),
        ("fp32", 64),
        ("bf16", 32),
        ("bf16", 64),
    ]
    for result in results:
        # LeNet: 117,600 + 240,000 + 48,000 + 10,080 + 840 multiply-adds; forward, and backward twice as much.
        assert result["flop"] == 3 * 2 * 416_520 * result["batch_size"]
        if result["phases_ms"]:  # else the machine was busy
            assert result["step_ms"] == pytest.approx(sum(result["phases_ms"].values()))
        else:
            assert not result["is_steady"]
        assert result["train_images_per_second"] == pytest.approx(
            1e3 * result["batch_size"] / result["step_ms"]
        )
        assert result["intensity"] == pytest.approx(result["flop"] / result["bytes"])
        reached = result["flop"] / result["step_ms"] * 1e3
        assert result["share_of_peak"] == pytest.approx(reached / result["peak_flops"])
        assert result["eval_images_per_second"] > 0
        assert result["limit_ms"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("columns", [40, 80])
def test_the_table_fits_the_screen(cnnzoo: Run, columns: int) -> None:
    done = cnnzoo(*QUICK, "-b", "32,64,128,256", "--precision", "fp32", env={"COLUMNS": str(columns)})
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert "  backward" in done.stdout
    if is_busy := any(line.startswith("The machine is") for line in lines):
        lines = lines[: len(lines) - lines[::-1].index("") - 1]
    assert is_busy or "?" not in done.stdout
    assert len(lines) == (3 + 14 if columns == 80 else 3 + 4 * 15)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-b", "0"), "--batch-size takes whole numbers of at least 1, such as 32 or 32,128, not '0'."),
        (("-b", "32,many"), "not 'many'."),
        (("--precision", "fp8"), "unknown precision 'fp8'. There are: auto, fp32, bf16, fp16."),
        (("-o", "poling=max"), "Did you mean 'pooling'?"),
        (("--image-size", "3"), "needs at least 12x12. Change --image-size."),
    ],
)
def test_wrong_usage_is_one_line(command: Command, arguments: tuple[str, ...], says: str) -> None:
    done = command(*QUICK, *arguments)
    assert done.code in (1, 2)
    assert says in done.err
    assert len(done.err.splitlines()) == 1
