"""What cnnzoo itself has written into a folder of images: never a class, never an image."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from cnnzoo.data.folders import list_files
from cnnzoo.data.reading import Reading
from tests.conftest import Command
from tests.faults.shared import SMALL


def picture(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 12), (shade, 255 - shade, 9)).save(path)
    return path


def tree(root: Path, *classes: str) -> Path:
    for label, name in enumerate(classes or ("cat", "dog")):
        for number in range(10):
            picture(root / name / f"{number}.png", 97 * label + number)
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its curves, an evaluation of other images, and an explanation, as the command line leaves them."""
    from cnnzoo.analysis.eval.evaluation import evaluate
    from cnnzoo.ui.curves import draw_run
    from tests.helpers import quick, train

    folder = tmp_path_factory.mktemp("made")
    run = train(quick(folder, epochs=1, name="lenet-1")).run
    draw_run(run)
    evaluate(run / "best.pt")
    (run / "eval-other").mkdir()
    for name in ("eval.json", "confusion.csv", "predictions.csv"):
        shutil.copy(run / name, run / "eval-other" / name)
    picture(run / "eval-other" / "confusion.png")
    picture(run / "explanations" / "pets" / "1.png.gradcam.png")
    return run


STUDY = {f"seed-{seed}": "run" for seed in (0, 1)} | {"results.csv": "text", "results.png": "picture"}

LAYOUTS = {
    "runs": {"runs/lenet-1": "run"},
    "a picture of several runs": {"runs/lenet-1": "run", "runs/both.png": "picture"},
    "no run yet": {"runs/lenet-1": "folder"},
    "another folder": {"out/today/lenet-1": "run"},
    "beside the classes": {"lenet-1": "run"},
    "within a class": {"cat/runs/lenet-1": "run"},
    "a run in a class": {"cat/lenet-1": "run"},
    "a study": {f"out/study/{name}": what for name, what in STUDY.items()},
    "a study in runs": {"runs/a.png": "picture"}
    | {f"runs/study/{name}": what for name, what in STUDY.items()},
    "a study that begins": {"out/study/.lock": "text"},
    "an evaluation": {"eval-other": "run/eval-other"},
    "a tracker's copy": {f"mlruns/1/artifacts/{name}": f"run/{name}" for name in ("history.png", "config.yaml")},
    "explanations": {f"cat/{n}.png.{method}.png": "picture" for n in (1, 2) for method in ("gradcam", "occlusion")},
    "a folder of explanations": {"maps/cat/1.png.gradcam.png": "picture"},
}  # fmt: skip


def put(what: str, path: Path, run: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if what == "picture":
        picture(path)
    elif what == "text":
        path.write_text("")
    elif what == "folder":
        path.mkdir()
    elif (source := run.parent / what.replace("run", run.name, 1)).is_dir():
        shutil.copytree(source, path)
    else:
        shutil.copy(source, path)


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_row_61_own_outputs_are_no_class_and_no_images(
    tmp_path: Path, run: Path, layout: str, parts: bool
) -> None:
    tree(tmp_path / "train" if parts else tmp_path)
    if parts:
        tree(tmp_path / "test")
    before = list_files(f"folder:{tmp_path}", Reading())
    assert before.notes == ()
    for name, what in LAYOUTS[layout].items():
        put(what, (tmp_path / "train" if parts else tmp_path) / name, run)
    for all_for_test in (False, True):
        after = list_files(f"folder:{tmp_path}", Reading(), all_for_test=all_for_test)
        assert after.classes == ("cat", "dog")
        (note,) = after.notes
        assert note.startswith(f"What cnnzoo itself has written in {tmp_path} is not used: ")
        if not all_for_test:
            assert {part: samples.sha256() for part, samples in after.listing.parts.items()} == {
                part: samples.sha256() for part, samples in before.listing.parts.items()
            }


def test_row_61_classes_that_only_look_like_outputs_stay(tmp_path: Path) -> None:
    tree(tmp_path, "cat", "runs", "explanations", "eval-1")
    (tmp_path / "cat" / "config.yaml").write_text("a: 1\n")
    (tmp_path / "runs" / "results.csv").write_text("a,b\n")
    images = list_files(f"folder:{tmp_path}", Reading())
    assert images.classes == ("cat", "eval-1", "explanations", "runs")
    assert not any("cnnzoo itself" in note for note in images.notes)


def test_row_61_a_table_beside_runs_finds_its_images(tmp_path: Path, run: Path) -> None:
    tree(tmp_path)
    shutil.copytree(run, tmp_path / "runs" / "lenet-1")
    (tmp_path / "labels.csv").write_text(
        "file,label\n" + "".join(f"{name}/{n}.png,{name}\n" for name in ("cat", "dog") for n in range(10))
    )
    images = list_files(f"csv:{tmp_path / 'labels.csv'}", Reading())
    assert "does not name" not in " ".join(images.notes)


def test_row_61_training_and_explaining_in_a_folder_leaves_its_images_as_they_were(
    command: Command, tmp_path: Path
) -> None:
    tree(tmp_path)
    train = (*SMALL[:2], "--dataset", ".", "--epochs", "1")
    first = command(*train)
    assert (first.code, first.err) == (0, "")
    for to in ((), ("--explain-to", ".")):
        assert command("predict", ".", "--explain", "occlusion", *to).code == 0
    again = command(*train)
    assert again.code == 0
    assert "What cnnzoo itself has written in . is not used: runs/, 20 explanations." in again.err

    def header(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith(("data:", "classes:"))]

    assert header(again.out) == header(first.out)
    assert len(command("predict", ".", "--format", "csv").out.splitlines()) == 21
