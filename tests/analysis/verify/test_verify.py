"""``cnnzoo verify`` finds what was changed by hand, and nothing where nothing was."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from filelock import FileLock

from tests.conftest import Command
from tests.faults.shared import SMALL, assert_refused
from tests.helpers import contents, draw_images
from tests.processes import REPOSITORY, Ended, Processes
from tests.runs.test_sources import NET

FILES = ("config.yaml", "history.csv", "best.pt", "last.pt", "eval.json", "predictions.csv", "confusion.csv")


@pytest.fixture(scope="module")
def project(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a net of one's own, images, and two runs of that net on them, evaluated."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "mine.py").write_text(NET.format(dot=""))
    (folder / "helper.py").write_text("WIDTH = 4\n")
    draw_images(folder / "images")
    for name, seed in (("r", "0"), ("other", "1")):
        line = (
            "train",
            "mine",
            "-d",
            "images",
            "--epochs",
            "3",
            "--monitor",
            "val_loss",
            "--lr",
            "0.0003",
            "--seed",
            seed,
            "--name",
            name,
            "--import=mine",
        )
        assert processes.run(*line, cwd=folder).code == 0
    assert processes.run("eval", "r", "--import=mine", cwd=folder).code == 0
    return folder


@pytest.fixture
def copied(project: Path, tmp_path: Path) -> Path:
    """A copy of it, in the folder where ``command`` runs."""
    shutil.copytree(project, tmp_path, dirs_exist_ok=True)
    return tmp_path


def flip(path: Path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert re.search(old, text)
    path.write_text(re.sub(old, new, text, count=1))


def redraw(image: Path) -> None:
    from PIL import Image

    with Image.open(image) as opened:
        pixels = opened.copy()
    pixels.paste(255, (3, 3, 6, 6))
    pixels.save(image)


RUN = Path("runs/r")

CHANGES: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "a bit of best.pt": (lambda f: flip(f / RUN / "best.pt"), "best.pt: it is damaged"),
    "a bit of last.pt": (lambda f: flip(f / RUN / "last.pt"), "last.pt: it is damaged"),
    "a value in history.csv": (
        lambda f: edit(f / RUN / "history.csv", r"\n2,[^,]+", "\n2,0.5"),
        "history.csv: train_loss of epoch 2 is 0.5, and ",
    ),
    "a time in history.csv": (
        lambda f: edit(f / RUN / "history.csv", r"(\n1,.*),[^,\n]+,([^,\n]+\n2)", r"\1,1.5,\2"),
        "history.csv: seconds of epoch 1 is 1.5, and ",
    ),
    "a setting in config.yaml": (
        lambda f: edit(f / RUN / "config.yaml", "\nlr: 0.0003", "\nlr: 0.01"),
        "config.yaml: lr is 0.01, and 0.0003 in last.pt.",
    ),
    "a setting that may change in config.yaml": (
        lambda f: edit(f / RUN / "config.yaml", "\nepochs: 3", "\nepochs: 4"),
        "config.yaml: epochs is 4, and 3 in last.pt.",
    ),
    "what config.yaml has recorded": (
        lambda f: edit(f / RUN / "config.yaml", "  started: .*", "  started: '2020-01-01T00:00:00+00:00'"),
        "config.yaml: something under `recorded:`, or its wording, is not as cnnzoo wrote it.",
    ),
    "a value in eval.json": (
        lambda f: edit(f / RUN / "eval.json", '"accuracy": [0-9.]+', '"accuracy": 0.99'),
        "eval.json: it is not as cnnzoo wrote it.",
    ),
    "a time in eval.json": (
        lambda f: edit(f / RUN / "eval.json", '"images_per_second": [0-9.]+', '"images_per_second": 9.5'),
        "eval.json: it is not as cnnzoo wrote it.",
    ),
    "a row of predictions.csv": (
        lambda f: edit(f / RUN / "predictions.csv", "\n([^,]+),down,", r"\n\1,up,"),
        "predictions.csv: it is not as cnnzoo wrote it.",
    ),
    "a pixel of a training image": (
        lambda f: redraw(f / "images/train/up/03.png"),
        "images: those in images are not those that it was trained on: ",
    ),
    "a pixel of a test image": (
        lambda f: redraw(f / "images/test/up/13.png"),
        "test images: those in images are not those that eval.json tells of",
    ),
    "an image more": (
        lambda f: shutil.copy(f / "images/train/up/03.png", f / "images/train/up/99.png"),
        "images: those in images are not those that it was trained on: others, or of other sizes",
    ),
    "best.pt of another run": (
        lambda f: shutil.copy(f / "runs/other/best.pt", f / RUN / "best.pt"),
        "best.pt: it is of",
    ),
    "last.pt of another run": (
        lambda f: shutil.copy(f / "runs/other/last.pt", f / RUN / "last.pt"),
        "last.pt: it is whole, and not the one that manifest.json tells of",
    ),
    "the imported source": (
        lambda f: edit(f / RUN / "imported/helper.py", "4", "5"),
        "imported/helper.py: its checksum is not the one in config.yaml.",
    ),
    "an epoch left out": (
        lambda f: edit(f / RUN / "history.csv", r"\n2,[^\n]+", ""),
        "history.csv: epoch 2 is left out.",
    ),
    "the last epoch left out": (
        lambda f: edit(f / RUN / "history.csv", r"\n3,[^\n]+", ""),
        "history.csv: epoch 3 is left out.",
    ),
    "the list of images": (lambda f: flip(f / RUN / "trained.npy"), "trained.npy: its checksum is not"),
    "the manifest": (lambda f: (f / RUN / "manifest.json").write_text("{}"), "manifest.json: "),
    "no manifest": (lambda f: (f / RUN / "manifest.json").unlink(), "manifest.json: it is missing"),
    **{
        f"no {name}": (lambda f, name=name: (f / RUN / name).unlink(), f"{name}: it is missing")  # type: ignore[misc]
        for name in FILES
    },
}


def found(ended: Ended) -> list[str]:
    """What a verification has found, a line each."""
    return [line.removeprefix("✗ ") for line in ended.out.splitlines() if line.startswith("✗ ")]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_by_hand_is_found_with_its_name(copied: Path, command: Command, change: str) -> None:
    do, says = CHANGES[change]
    do(copied)
    ended = command("verify", "r")
    assert (ended.code, ended.err) == (1, "")
    assert any(line.startswith(says) for line in found(ended)), ended.out
    # A last.pt of another run is not the one that anything beside it follows from.
    if change != "last.pt of another run":
        assert len(found(ended)) == 1, ended.out


def assert_whole(ended: Ended) -> None:
    assert (ended.code, ended.err, found(ended)) == (0, "", []), ended
    assert re.search(r"^All \d+ checks hold\.$", ended.out, re.MULTILINE), ended


def test_nothing_is_found_in_a_run_as_it_was_made(copied: Path, command: Command) -> None:
    before = contents(copied / RUN)
    assert_whole(command("verify", "r", "other"))
    assert contents(copied / RUN) == before, "verify writes nothing"
    with FileLock(copied / RUN / ".lock"):
        assert_refused(command("verify", "r"), "another process is training in runs/r. Verify it when")


@pytest.mark.slow
def test_nothing_is_found_where_cnnzoo_alone_has_changed_it(
    copied: Path, command: Command, processes: Processes
) -> None:
    for line in (
        ("train", "--resume", "r", "--import=mine"),
        ("train", "--resume", "r", "--epochs", "5", "--keep-epochs", "--import=mine"),
        ("eval", "r", "--import=mine", "--split", "val"),
        ("plot", "r"),
        ("eval", "r", "--import=mine"),
    ):
        assert processes.run(*line, cwd=copied).code == 0
        assert_whole(command("verify", "r"))
    (copied / "elsewhere").mkdir()
    (copied / RUN).rename(copied / "elsewhere" / "moved")
    (copied / "images").rename(copied / "pictures")
    moved = command("verify", "elsewhere/moved")
    assert moved.code == 0
    assert "? images: folder:images is not here. Say where it lies now with --dataset." in moved.out
    assert_whole(command("verify", "elsewhere/moved", "--dataset", "pictures"))
    assert_whole(command("verify", "elsewhere/moved", "--no-images"))
    again = ("train", "--resume", "elsewhere/moved", "-d", "pictures", "--epochs", "6", "--import=mine")
    assert processes.run(*again, cwd=copied).code == 0
    assert_whole(command("verify", "elsewhere/moved"))


def test_without_a_manifest_an_evaluation_is_held_against_the_predictions_beside_it(
    copied: Path, command: Command
) -> None:
    (copied / RUN / "manifest.json").unlink()
    edit(copied / RUN / "predictions.csv", "\n([^,]+),down,", r"\n\1,up,")
    other = next(
        line for line in found(command("verify", "r", "--no-images")) if line.startswith("eval.json")
    )
    assert re.search(
        r"it tells of .*% of \d+ images, and predictions.csv beside it of \d+ right of \d+\.", other
    )
    edit(copied / RUN / "predictions.csv", "file,label", "file,class")
    ended = command("verify", "r", "--no-images")
    says = "eval.json: predictions.csv beside it is not as cnnzoo writes it: its columns are file, class, prediction"
    assert any(line.startswith(says) for line in found(ended)), ended.out


def test_a_folder_that_cannot_be_written_to_can_be_verified(copied: Path, command: Command) -> None:
    run = copied / RUN
    for path in (*run.rglob("*"), run):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert_whole(command("verify", "r"))
    for path in (run, *run.rglob("*")):
        path.chmod(0o755)


# Killed


SAVES = ("last.pt", "best.pt", "history.csv", "manifest.json")


@pytest.mark.slow
@pytest.mark.parametrize("point", [f"{file}:{point}" for file in SAVES for point in ("written", "replaced")])
def test_what_a_kill_leaves_is_whole_or_said_to_be_cut_short_and_a_resume_mends_it(
    copied: Path, command: Command, processes: Processes, point: str
) -> None:
    line = ("train", "--resume", "r", "--epochs", "5", "--import=mine")
    assert processes.run(*line, cwd=copied, env={"CNNZOO_FAULT_POINT": point}).code < 0
    killed = command("verify", "r", "--no-images")
    for each in found(killed):
        assert "a save was cut short. `cnnzoo train --resume runs/r` mends it." in each, killed.out
    assert processes.run(*line, cwd=copied).code == 0
    assert_whole(command("verify", "r"))


@pytest.mark.slow
@pytest.mark.parametrize("point", [f"{file}:written" for file in SAVES[1:]])
def test_so_it_is_with_a_kill_at_the_first_save(
    tmp_path: Path, command: Command, processes: Processes, point: str
) -> None:
    assert processes.run(*SMALL, "--epochs", "2", cwd=tmp_path, env={"CNNZOO_FAULT_POINT": point}).code < 0
    assert all("save was cut short" in each for each in found(command("verify", "r", "--no-images")))
    assert processes.run("train", "--resume", "r", cwd=tmp_path).code == 0
    assert_whole(command("verify", "r"))


@pytest.mark.slow
def test_so_it_is_with_an_end_that_a_larger_max_steps_withdraws(
    tmp_path: Path, command: Command, processes: Processes
) -> None:
    line = (*SMALL, "--epochs", "4", "--max-steps", "5", "--monitor", "val_loss")
    assert processes.run(*line, cwd=tmp_path).code == 0
    assert_whole(command("verify", "r"))
    more = ("train", "--resume", "r", "--max-steps", "8")
    for point in ("history.csv:replaced", "manifest.json:written", "last.pt:written", "last.pt:replaced"):
        assert processes.run(*more, cwd=tmp_path, env={"CNNZOO_FAULT_POINT": point}).code < 0
        ended = command("verify", "r", "--no-images")
        assert all("save was cut short" in each for each in found(ended)), (point, ended.out)
    assert processes.run(*more, cwd=tmp_path).code == 0
    assert_whole(command("verify", "r", "--replay", "3"))


@pytest.mark.slow
@pytest.mark.parametrize("point", ["eval.json:replaced", "predictions.csv:written", "manifest.json:replaced"])
def test_an_evaluation_that_was_cut_short_is_no_change_by_hand(
    copied: Path, command: Command, processes: Processes, point: str
) -> None:
    line = ("eval", "runs/r/last.pt", "--import=mine")
    assert processes.run(*line, cwd=copied, env={"CNNZOO_FAULT_POINT": point}).code < 0
    for each in found(command("verify", "r", "--no-images")):
        assert "an evaluation was cut short. `cnnzoo eval runs/r` mends it." in each
    assert processes.run(*line, cwd=copied).code == 0
    assert_whole(command("verify", "r"))


@pytest.mark.slow
def test_a_replay_is_the_run_to_the_last_bit(copied: Path, processes: Processes) -> None:
    before = contents(copied / RUN)
    for epochs, says in (
        ("3", ", and the weights, to the last bit"),
        ("1", "1 epoch: every loss and accuracy"),
    ):
        ended = processes.run("verify", "r", "--replay", epochs, "--import=mine", cwd=copied)
        assert_whole(ended)
        assert says in ended.out
    assert contents(copied / RUN) == before
    refused = processes.run("verify", "r", "--replay", "4", "--import=mine", cwd=copied)
    assert_refused(refused, "runs/r has 3 finished epochs. Replay 1 to 3 of them.", code=2)
    unknown = processes.run("verify", "r", "--replay", "1", cwd=copied)
    assert_refused(unknown, "is one of your own. Add --import=mine.", code=2)


@pytest.mark.slow
def test_a_record_that_its_settings_do_not_give_is_found_by_a_replay(
    copied: Path, processes: Processes
) -> None:
    # All of it changed alike, manifest included, by somebody who knows how: only training tells.
    (copied / "forge.py").write_text(
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from cnnzoo.runs.checkpoint import load_checkpoint, save_checkpoint\n"
        "from cnnzoo.runs.history import write_history\n"
        "from cnnzoo.runs.manifest import note_files\n"
        "run = Path('runs/r')\n"
        "last = load_checkpoint(run / 'last.pt')\n"
        "first, *rest = last.training.history\n"
        "rows = [replace(first, train_loss=first.train_loss * 0.9), *rest]\n"
        "save_checkpoint(run / 'last.pt', replace(last, training=replace(last.training, history=rows)))\n"
        "write_history(run / 'history.csv', rows)\n"
        "note_files(run, ['last.pt', 'history.csv'])\n"
    )
    subprocess.run([sys.executable, "forge.py"], cwd=copied, check=True)
    ended = processes.run("verify", "r", "--replay", "1", "--import=mine", cwd=copied)
    assert ended.code == 1
    (line,) = found(ended)
    assert line.startswith("replay: train_loss of epoch 1 is ")


def test_without_a_manifest_the_settings_are_held_against_last_pt(copied: Path, command: Command) -> None:
    run = copied / "runs" / "r"
    (run / "manifest.json").unlink()
    ended = command("verify", "r", "--no-images")
    assert [line.partition(":")[0] for line in found(ended)] == ["manifest.json"]
    assert "? eval.json: " in ended.out
    edit(run / "config.yaml", "\nlr: .*", "\nlr: 0.5")
    changed = command("verify", "r", "--no-images")
    assert changed.code == 1
    assert found(changed)[0].startswith("config.yaml: lr is 0.5, and ")


def test_of_a_file_that_the_manifest_does_not_have_is_said_so(copied: Path, command: Command) -> None:
    shutil.copy(copied / "runs" / "r" / "best.pt", copied / "runs" / "r" / "epoch-3.pt")
    ended = command("verify", "r", "--no-images")
    assert (ended.code, found(ended)) == (0, [])
    assert (
        "? epoch-3.pt: it is not in manifest.json: a save was cut short, or it was put there.\n" in ended.out
    )


def test_of_a_study_a_run_of_which_nothing_is_saved_yet_is_said(copied: Path, command: Command) -> None:
    study = copied / "runs" / "study"
    shutil.copytree(copied / "runs" / "r", study / "seed-0")
    (study / "seed-1").mkdir()
    shutil.copy(study / "seed-0" / "config.yaml", study / "seed-1")
    ended = command("verify", "study", "--no-images")
    assert (ended.code, ended.err, found(ended)) == (0, "", [])
    assert "nothing is saved of it yet" in ended.out


def test_what_is_no_run_is_one_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "runs" / "empty").mkdir(parents=True)
    (tmp_path / "a.json").write_text("[]")
    assert_refused(command("verify", "empty"), "runs/empty is no run and holds no run", code=2)
    (tmp_path / "runs" / "empty" / "config.yaml").touch()
    assert_refused(command("verify", "empty"), "runs/empty has no last.pt: there is no run to verify.")
    assert_refused(command("verify", "emty"), "Did you mean 'empty'?", code=2)
    assert_refused(command("verify", "a.json"), "a.json is no receipt of `cnnzoo reproduce`.")
    assert_refused(command("verify", "b.json"), "b.json cannot be read: No such file or directory.")
    text = (RECEIPTS / "lenet-tutorial.json").read_text().replace("--seeds 5", "--seeds '5")
    (tmp_path / "c.json").write_text(text)
    assert_refused(
        command("verify", "c.json"), "c.json is no receipt as cnnzoo writes it: No closing quotation"
    )


# Receipts

RECEIPTS = REPOSITORY / "docs" / "receipts"


def test_the_receipts_of_this_repository_are_what_they_say(command: Command) -> None:
    receipts = sorted(RECEIPTS.glob("*.json"))
    assert len(receipts) >= 4
    ended = command("verify", *receipts)
    assert (ended.code, ended.err, found(ended)) == (0, "", [])
    assert len(re.findall(r"^(All \d checks hold|It holds)\.$", ended.out, re.MULTILINE)) == len(receipts)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            '"test_acc": 0.8536',
            '"test_acc": 0.8836',
            "seeds: seed 0: test_acc and test_error do not make up 1.",
        ),
        ('"mean": 0.85184', '"mean": 0.8565', "verdict: mean is 0.8565, and 0.85184 by its seeds."),
        ('"verdict": "reproduced"', '"verdict": "better"', "verdict: verdict is better, and reproduced by"),
        ('"best_epoch": 9', '"best_epoch": 11', "seeds: seed 1: epoch 11 is none of its 10."),
        ('"lr": 0.001', '"lr": 0.002', "recipe: lr is 0.002, and 0.001 in lenet-tutorial.yaml."),
        ('"seed": 4,', '"seed": 5,', "seeds: it has the seeds 0, 1, 2, 3, 5, and its command is "),
        (
            '"python": "3.11.7"',
            '"python": "3.12.0"',
            "lenet-tutorial.md: it is not the page that the receipt",
        ),
        ('"tolerance": 0.0053', '"tolerance": 0.05', "recipe: its targets are not those of "),
    ],
)
def test_a_change_in_a_receipt_is_found(
    command: Command, tmp_path: Path, old: str, new: str, says: str
) -> None:
    for name in ("lenet-tutorial.json", "lenet-tutorial.md"):
        shutil.copy(RECEIPTS / name, tmp_path)
    (tmp_path / "configs").mkdir()
    shutil.copy(REPOSITORY / "configs" / "lenet-tutorial.yaml", tmp_path / "configs")
    edit(tmp_path / "lenet-tutorial.json", re.escape(old), new)
    ended = command("verify", "lenet-tutorial.json")
    assert (ended.code, ended.err) == (1, "")
    assert any(line.startswith(says) for line in found(ended)), ended.out
