"""Names of classes, files and folders as disks have them, in every picture and on every page."""

import json
import os
import re
import subprocess
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnzoo.analysis.explore.explorer import Explorer
from cnnzoo.analysis.trained_net import load_net
from cnnzoo.errors import showable
from cnnzoo.files import as_typed
from cnnzoo.ui.screen import distinct_names
from cnnzoo.ui.style import picture_names, picture_text
from tests.conftest import Command
from tests.helpers import quick, train

NFD = unicodedata.normalize("NFD", "Ä")
NAMES = (b"caf\xe9", b"$x_1$ $", b"l" * 117 + b"end", "حيوان".encode(), NFD.encode())
"""Not UTF-8, with dollars, of 120 letters, right to left, with accents on their own."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run called by bytes, trained on a folder, classes and files that are called so, too."""
    folder = tmp_path_factory.mktemp("names")
    data = folder / os.fsdecode(b"d\xff$ta")
    for label, name in enumerate(NAMES):
        for number in range(5):
            part = data / ("train" if number < 3 else "test") / os.fsdecode(name)
            path = part / os.fsdecode(NAMES[(label + number) % 5] + b".png")
            try:
                part.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((28, 28), 40 * label + number, np.uint8)).save(path)
            except OSError:
                pytest.skip("the file system takes no such names")
    settings = quick(folder, dataset=f"folder:{data}", limit_train=None, batch_size=8, epochs=1)
    return train(settings.replace(name=os.fsdecode(b"r\xfcn$"))).run


@pytest.mark.parametrize(
    "kind", ["curves", "confusion", "errors", "calibration", "filters", "features", "activations", "batch"]
)
def test_row_63_every_picture_of_a_run_is_drawn_whatever_it_is_called(
    run: Path, command: Command, tmp_path: Path, kind: str
) -> None:
    done = command("plot", kind, run, "-o", "a.png")
    assert (done.code, "Traceback" in done.err) == (0, False)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", range(len(NAMES)))
def test_row_63_an_image_file_is_drawn_whatever_it_is_called(
    run: Path, command: Command, tmp_path: Path, name: int
) -> None:
    image = tmp_path / os.fsdecode(NAMES[name] + b".png")
    Image.new("L", (28, 28), 90).save(image)
    assert command("plot", "features", run, "--image", image, "-o", "a.png").code == 0


def test_row_63_training_images_are_drawn_whatever_their_folder_is_called(
    run: Path, command: Command
) -> None:
    dataset = load_net(run / "best.pt").saved.dataset
    done = command("plot", "batch", "lenet", "--dataset", dataset, "--augment", "mixup", "-o", "a.png")
    assert done.code == 0


def test_row_63_the_range_tests_picture_is_drawn_too(run: Path, command: Command, tmp_path: Path) -> None:
    dataset = load_net(run / "best.pt").saved.dataset
    assert command("lr-find", "lenet", "--dataset", dataset, "-b", "8", "--output", "lr.png").code == 0
    assert (tmp_path / "lr.png").is_file()


def test_row_63_a_report_has_each_name_once_in_full(run: Path, command: Command, tmp_path: Path) -> None:
    assert command("report", run, "-o", "page.html").code == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for name in NAMES:
        assert showable(os.fsdecode(name)) in page
    assert r"caf\xe9" in page
    assert r"d\xff$ta" in page


def test_row_63_the_explorers_page_gets_names_that_json_can_hold(run: Path) -> None:
    pytest.importorskip("starlette")
    from cnnzoo.ui.explore.app import Desk

    net = Desk(Explorer(load_net(run / "best.pt", precision="fp32"))).net()
    json.dumps(net, ensure_ascii=False).encode()
    assert r"caf\xe9" in net["classes"]
    assert max(map(len, net["short"])) <= 14


def test_row_63_a_name_is_printed_as_it_is_drawn(
    run: Path, cnnzoo: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = cnnzoo("runs", "--out", run.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"r\xfcn$" in done.stdout


def test_row_63_a_command_that_is_printed_is_typed_by_the_letter() -> None:
    name = os.fsdecode(b"r\xfc'n\\x $")
    typed = as_typed(Path(name))
    assert typed == r"$'r\xfc\'n\\x $'"
    said = subprocess.run(["bash", "-c", f"printf %s {typed}"], capture_output=True, check=True)
    assert said.stdout == os.fsencode(name)
    assert as_typed(Path("a b")) == "'a b'"


# Text of a picture


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
        (NFD, "Ä"),
        ("a\nb\tc", "a b c"),
        ("\u202eabc\u200b", "abc"),
        ("$x$", "$x$"),
        ("حيوان", "حيوان"),
    ],
)
def test_row_63_a_text_is_made_fit_to_be_drawn(name: str, shown: str) -> None:
    assert picture_text(name, 40) == shown


# Names that begin alike


LONG = [f"Canis_lupus_familiaris_breed_{number:03d}_of_the_collection_A" for number in range(100)]


@pytest.mark.parametrize("length", [6, 14, 24, 40])
@pytest.mark.parametrize(
    "names",
    [
        LONG,
        [f"{name}{number:02d}" for number, name in enumerate(["a" * 60] * 100)],
        [f"class_{number:03d}" for number in range(101)],
    ],
)
def test_labels_of_100_classes_that_begin_alike_differ(names: list[str], length: int) -> None:
    short = picture_names(names, length)
    assert len(set(short)) == len(names)
    assert max(map(len, short)) <= length


def test_a_label_loses_its_middle_where_its_ends_tell_it_apart() -> None:
    assert distinct_names(["a" * 10 + "1", "a" * 10 + "2", "b"], 7) == ["aaa…aa1", "aaa…aa2", "b"]
    assert distinct_names([LONG[0], LONG[1]], 14) == ["Cani…0…ction_A", "Cani…1…ction_A"]
    assert distinct_names(["x", "x"], 5) == ["x (1)", "x (2)"]


@pytest.mark.slow
def test_a_report_of_classes_that_begin_alike_has_headings_that_differ(
    command: Command, tmp_path: Path
) -> None:
    for label, name in enumerate(LONG[:12]):
        for part in ("train", "test"):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for number in range(3):
                Image.new("L", (28, 28), 20 * label + number).save(folder / f"{part}{number}.png")
    run = train(quick(tmp_path, dataset=f"folder:{tmp_path / 'data'}", limit_train=None, epochs=1)).run
    assert command("report", run, "-o", "page.html").code == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    headings = re.findall(r'<th scope="col" title="([^"]+)"><span>([^<]+)</span>', page)
    assert [full for full, _ in headings] == LONG[:12]
    assert len({short for _, short in headings}) == 12
