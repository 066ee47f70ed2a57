"""Which run a word means: never a folder that only is called so."""

from pathlib import Path

import pytest
from PIL import Image

from cnnzoo.errors import UsageError
from cnnzoo.runs.folder import resolve_run
from tests.conftest import Command
from tests.faults.shared import assert_refused
from tests.helpers import quick, train


@pytest.fixture
def hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run beside which a folder of images, in the folder where commands are typed, has the same name."""
    monkeypatch.chdir(tmp_path)
    for label, name in enumerate(("crow", "owl")):
        for part, num in (("train", 6), ("test", 2)):
            folder = tmp_path / "birds" / part / name
            folder.mkdir(parents=True)
            for number in range(num):
                Image.new("L", (28, 28), 90 * label + 9 * number + (4 if part == "test" else 0)).save(
                    folder / f"{number}.png"
                )
    settings = quick(tmp_path, dataset="folder:birds", limit_train=None, batch_size=4, epochs=1)
    return train(settings.replace(name="birds", out=Path("runs"))).run


@pytest.mark.slow
def test_a_folder_of_images_hides_no_run_of_its_name(hidden: Path, command: Command) -> None:
    images = {path for path in Path("birds").rglob("*") if path.is_file()}
    for line in (
        "eval birds",
        "plot birds -o a.png",
        "plot filters birds -o a.png",
        "plot batch birds -o a.png",
        "verify birds",
        "runs diff birds birds",
        "predict runs/birds birds/test/owl/0.png",
        "train --resume birds --epochs 2",
        "train lenet --weights birds --dataset folder:birds --epochs 1 --name other -b 4",
        "compare birds other",
    ):
        done = command(*line.split())
        assert (done.code, "is no run" in done.err) == (0, False), (line, done.err)
    assert command("runs", "rm", "birds", "--yes").out == f"Deleted {hidden}\n"
    assert {path for path in Path("birds").rglob("*") if path.is_file()} == images
    for line in ("eval birds", "runs rm birds --yes", "train --resume birds"):
        assert_refused(
            command(*line.split()),
            "birds is no run and holds no run",
            "`cnnzoo runs --out runs` lists those that there are",
            code=2,
        )


def test_a_run_here_goes_before_one_of_the_same_name_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "runs/a", "runs/b", "studies/s/seed-0", "last"):
        Path(folder).mkdir(parents=True)
    for run in ("a", "runs/a", "runs/b", "studies/s/seed-0"):
        Path(run, "config.yaml").touch()
    Path("runs/b/history.csv").touch()
    assert resolve_run("a", Path("runs")) == Path("a")
    assert resolve_run("b", Path("runs")) == Path("runs/b")
    assert resolve_run("s", Path("studies")) == Path("studies/s")
    assert resolve_run("studies", Path("runs")) == Path("studies")  # all that are in it
    assert resolve_run("last", Path("runs")) == Path("runs/b")
    Path("empty").mkdir()
    with pytest.raises(UsageError, match="empty is no run"):
        resolve_run("empty", Path("runs"))
