"""``cnnzoo bench --data``: image files on their way to a net, and whether it waits for them."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from cnnzoo.analysis.bench.data import DataBenchResult
from tests.conftest import Command

Run = Callable[..., CompletedProcess[str]]


def result(**changes: object) -> DataBenchResult:
    """Figures of photographs that training streams, of a net that does not wait for them."""
    figures: dict[str, object] = {
        **{"model": "alexnet", "device": "cpu", "precision": "fp32", "dataset": "folder:photos"},
        **{"num_images": 100_000, "image_width": 4000, "image_height": 3000, "bytes_per_image": 2e6},
        **{"channels": 3, "image_size": 227, "batch_size": 32, "num_workers": 2, "cores": 2},
        **{"reading": 5000.0, "decoding": 60.0, "transforming": 9000.0, "loading": 55.0},
        **{
            "stepping": 40.0,
            "training": 40.0,
            "step_ms": 800.0,
            "wait_ms": 8.0,
            "in_memory": False,
            "is_steady": True,
        },
    }
    return DataBenchResult(**{**figures, **changes})  # type: ignore[arg-type]


WAITING = {"training": 20.0, "step_ms": 1600.0, "wait_ms": 800.0}


@pytest.mark.parametrize(
    ("changes", "limit", "says"),
    [
        (
            {},
            "net",
            "The net waits for data 1% of a step, which takes about as long with images in memory: the net is what "
            "limits.",
        ),
        (
            {"step_ms": 1200.0},
            "decoding",
            "The net waits for data only 1% of a step, but decoding takes cores from it that it would compute with: a "
            "step takes 1,200 ms, and 800 ms with images in memory. Store the files smaller",
        ),
        (
            WAITING,
            "decoding",
            "The net waits for data, 50% of a step, and decoding is what limits: a step takes 1,600 ms, and 800 ms "
            "with images in memory. Store the files smaller: they are 4000x3000, the net sees 227x227, and 454 on the "
            "shorter side are enough.",
        ),
        ({**WAITING, "cores": 8}, "decoding", "Try --workers 8, a thread for each core."),
        ({**WAITING, "image_height": 300}, "decoding", "More cores would help: the files are small already."),
        ({**WAITING, "reading": 12.0}, "reading", "and reading is what limits: a step"),
        (
            {**WAITING, "num_images": 600, "in_memory": True},
            "decoding",
            "Training keeps these 600 images in memory: each is read and decoded once, in about 10.1 s, and no step "
            "waits for it. With a larger set, which is streamed, the net waits for data, 50% of a step",
        ),
    ],
)
def test_the_verdict_says_what_limits_and_what_to_do(
    changes: dict[str, object], limit: str, says: str
) -> None:
    judged = result(**changes)
    assert judged.limit == limit
    assert says in judged.verdict


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number in range(40):
        file = root / ("cat", "dog")[number % 2] / f"{number}.jpg"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(256, size=(60, 80, 3), dtype=np.uint8)).save(file)
    return root


@pytest.mark.slow
def test_the_figures_fit_each_other_and_the_table_the_screen(cnnzoo: Run, photos: Path) -> None:
    quick = ("bench", "lenet", "--data", f"folder:{photos}", "--seconds", "0.05", "-b", "8,16", "-j", "2")
    done = cnnzoo(*quick, "--format", "json")
    assert done.returncode == 0, done.stderr
    for found, batch_size in zip(json.loads(done.stdout), (8, 16), strict=True):
        assert (found["channels"], found["image_width"], found["image_height"]) == (3, 80, 60)
        assert found["training"] == pytest.approx(1e3 * batch_size / found["step_ms"])
        assert 0 < found["wait_ms"] < found["step_ms"]
        assert found["bytes_per_image"] == pytest.approx(
            np.mean([file.stat().st_size for file in photos.rglob("*.jpg")]), rel=0.05
        )
        assert min(found[part] for part in ("reading", "decoding", "transforming", "loading")) > 0
        assert found["in_memory"]
        assert found["verdict"]
    for columns in (40, 80):
        done = cnnzoo(*quick, env={"COLUMNS": str(columns)})
        assert done.returncode == 0, done.stderr
        assert max(map(len, done.stdout.splitlines())) <= columns
        assert done.stdout.count("Decoding, images/s") == 1 + (columns == 40)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name a net, as in cnnzoo bench lenet, or image files, as in cnnzoo bench --data folder:PATH."),
        (("lenet", "-j", "2"), "--workers is of --data: without it the images are in memory. Leave it out."),
        (("--data", "folder:x", "--num-classes", "2"), "--num-classes is what the folder of --data has."),
        (("--data", "folder:x", "--in-channels", "4"), "Give 1 (grey) or 3 (RGB)."),
        (("--data", "mnist"), "--data times the reading of image files, and mnist is kept in memory."),
    ],
)
def test_wrong_usage_is_one_line(command: Command, arguments: tuple[str, ...], says: str) -> None:
    done = command("bench", *arguments)
    assert done.code in (1, 2)
    assert says in done.err
    assert len(done.err.splitlines()) == 1
