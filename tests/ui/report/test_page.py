"""The page that tells a run: what is in it, whatever the net, the run and the names; tests/browser opens it."""

import json
import re
import shutil
from itertools import product
from pathlib import Path

import pytest
from PIL import Image

from cnnzoo.analysis import report as run_report
from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.errors import CnnzooError
from cnnzoo.ui.report.page import report
from tests.conftest import Command
from tests.helpers import quick, train

NO_CONVOLUTION = """
import cnnzoo
from torch import nn

@cnnzoo.register_model("flat", image_size=28)
def flat(num_classes, in_channels):
    return nn.Sequential(nn.Flatten(), nn.Linear(784 * in_channels, num_classes))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = train(quick(tmp_path_factory.mktemp("report"), epochs=2)).run
    evaluate(run / "best.pt")
    return run


def test_it_has_every_part_and_the_figures_that_eval_saved(
    run: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_report, "evaluate", lambda *_, **__: pytest.fail("computed what was saved"))
    done = command("report", run, "-o", "page.html")
    assert (done.code, done.out, done.err) == (0, "page.html\n", "")
    page = Path("page.html").read_text(encoding="utf-8")
    said = json.loads((run / "eval.json").read_text(encoding="utf-8"))
    assert f"<dd>{said['accuracy']:.2%}</dd>" in page
    for part in (
        "recipe",
        "curves",
        "classes",
        "confusion",
        "mistakes",
        "filters",
        "features",
        "activations",
        "again",
    ):
        assert f'<section id="{part}"' in page
    assert "There are none" not in page
    assert "cannot be shown" not in page
    assert page.count("<script") == 1
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", page)
    assert not (run / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["another checkpoint", "half a file", "nothing"])
def test_what_was_saved_of_another_checkpoint_is_computed_again(run: Path, tmp_path: Path, what: str) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    figures, predictions = copy / "eval.json", copy / "predictions.csv"
    said = json.loads(figures.read_text(encoding="utf-8"))
    if what == "another checkpoint":
        figures.write_text(
            json.dumps({**said, "checkpoint_sha256": "0" * 64, "accuracy": 0.123}), encoding="utf-8"
        )
    elif what == "half a file":
        figures.write_text(json.dumps({**said, "accuracy": 0.123}), encoding="utf-8")
        predictions.write_bytes(predictions.read_bytes()[:20_000])
    else:
        figures.unlink()
    page = report(copy).read_text(encoding="utf-8")
    assert f"<dd>{said['accuracy']:.2%}</dd>" in page


def test_a_net_without_convolution_and_a_run_without_history_say_so(tmp_path: Path) -> None:
    (tmp_path / "flat.py").write_text(NO_CONVOLUTION, encoding="utf-8")
    run = train(
        quick(tmp_path, model="flat", model_options={}, imports=(str(tmp_path / "flat.py"),), epochs=1)
    ).run
    (run / "history.csv").unlink()
    page = report(run).read_text(encoding="utf-8")
    assert "There are none to see: this net has no convolution" in page
    assert re.search(r"<p>There are none: [^<]*history", page)


@pytest.mark.slow
def test_a_broken_test_image_is_left_out_where_eval_left_it_out(command: Command, tmp_path: Path) -> None:
    for part, label in product(("train", "test"), ("cat", "dog")):
        folder = tmp_path / "pets" / part / label
        folder.mkdir(parents=True)
        for number in range(5):
            Image.new("L", (16, 12), 40 * number + 20 * (part == "test") + 10 * (label == "dog")).save(
                folder / f"{number}.png"
            )
    run = train(quick(tmp_path, dataset="folder:pets", epochs=1)).run
    (tmp_path / "pets" / "test" / "cat" / "3.png").write_bytes(b"")
    refused = command("report", run, "-o", "page.html")
    assert refused.code == 1
    assert "--skip-bad-images" in refused.err
    says = "1 of 10 test images cannot be read and is left out: test/cat/3.png."
    assert command("eval", run, "--skip-bad-images").err == f"Warning: {says}\n"
    done = command("report", run, "-o", "page.html")
    assert (done.code, done.out, done.err) == (0, "page.html\n", f"Warning: {says}\n")
    assert "Left out is 1 test image that cannot be read: test/cat/3.png." in Path("page.html").read_text(
        "utf-8"
    )
    assert "cannot be shown" not in Path("page.html").read_text(encoding="utf-8")
    assert "✓ test images: 9 in " in command("verify", run).out


def test_a_checkpoint_alone_has_a_page_too(run: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "mailed").mkdir()
    shutil.copy(run / "best.pt", tmp_path / "mailed")
    done = command("report", tmp_path / "mailed" / "best.pt", "-o", "page.html")
    assert (done.code, done.out, done.err) == (0, "page.html\n", "")


@pytest.mark.slow
def test_where_it_cannot_be_written_one_line_says_so(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CnnzooError, match=r"^cannot write .*nowhere.*cnnzoo report -o FILE`\.$"):
        report(run, output=tmp_path / "nowhere" / "page.html")
