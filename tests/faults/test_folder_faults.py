"""Rows 54 to 57: folders of images as people have them, on machines as people have them."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from cnnzoo.config_file import read_yaml
from cnnzoo.data.folders import list_files
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.data.reading import Reading
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.runs.run import read_trained
from tests.conftest import Command
from tests.faults.shared import assert_refused
from tests.helpers import StopAfter, forget_models, patch_internal, quick, rows, same_state, train
from tests.helpers import resume as go_on

STREAM = (
    "from cnnzoo.data import reading; reading.MAX_RESIDENT_BYTES = 0; from cnnzoo.cli import main; main()"
)
"""The command line where any folder is too large for memory."""


def picture(path: Path, shade: int = 0, size: tuple[int, int] = (16, 12)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade % 256, 255 - shade % 256, 9)).save(path)
    return path


def tree(root: Path, num: int = 10, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """``num`` images of each class, no two of them the same."""
    for label, name in enumerate(classes):
        for number in range(num):
            picture(root / name / f"{number}.png", 97 * label + number, (16 + label, 12))
    return root


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
@pytest.mark.parametrize("limit", ["ulimit -n 30", "mount -t tmpfs -o size=4k tmpfs /dev/shm"])
def test_row_54_streaming_needs_neither_shared_memory_nor_file_handles(tmp_path: Path, limit: str) -> None:
    tree(tmp_path / "pets", 40)
    if limit.startswith("mount") and (os.getuid() != 0 or shutil.which("unshare") is None):
        pytest.skip("only root can give a process a small /dev/shm")
    train = [sys.executable, "-c", STREAM, "train", "lenet", "--dataset", "folder:pets", "--workers", "2"]
    within = ["unshare", "--mount"] if limit.startswith("mount") else []
    ended = subprocess.run(
        [*within, "bash", "-c", f'{limit} && exec "$@"', "bash", *train, "--epochs", "2", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if within and "unshare" in ended.stderr:
        pytest.skip("this container does not let even root mount")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len((tmp_path / "runs" / "lenet-pets-1" / "history.csv").read_text().splitlines()) == 3


TRAIN = ("train", "lenet", "--epochs", "1", "--name", "r")


def evaluated(command: Command, *args: str) -> dict[str, object]:
    done = command("eval", *args, "--format", "json")
    assert done.code == 0, done
    found = json.loads(done.out)
    assert isinstance(found, dict)
    return found


def told(command: Command, *args: str) -> str:
    """What a command that works says on stderr."""
    done = command(*args)
    assert done.code == 0, done
    return done.err


# How a folder is named


@pytest.mark.slow
def test_row_55_a_path_needs_no_folder_in_front_of_it_and_a_registered_name_wins(
    command: Command, tmp_path: Path
) -> None:
    tree(tmp_path / "pets", 10)
    done = command(*TRAIN, "--dataset", "pets")
    assert (done.code, done.err) == (0, "")
    assert "data: folder:pets" in done.out
    assert "classes: 2: cat, dog" in done.out
    assert command("train", "--resume", "r", "--epochs", "2", "--dataset", str(tmp_path / "pets")).code == 0
    (tmp_path / "labels.csv").write_text("file,kind\n" + "".join(f"{n},cat\n" for n in range(3)))
    assert_refused(command(*TRAIN[:2], "--dataset", "labels.csv"), "names images in")
    tree(tmp_path / "fashionmnist-sample", 3)
    named = command(*TRAIN[:2], "--dataset", "fashionmnist-sample", "--epochs", "1", "--limit-train", "64")
    assert "data: fashionmnist-sample, 64 to train on" in named.out
    assert_refused(command(*TRAIN[:2], "--dataset", "petz"), "unknown dataset 'petz'", "folder:PATH", code=2)


def test_row_55_a_moved_folder_is_named_by_the_error(command: Command, tmp_path: Path) -> None:
    tree(tmp_path / "pets", 10)
    assert command(*TRAIN, "--dataset", "folder:pets").code == 0
    before = evaluated(command, "r")
    (tmp_path / "pets").rename(tmp_path / "there")
    for args in (("eval", "r"), ("train", "--resume", "r", "--epochs", "2")):
        assert_refused(command(*args), "the folder pets cannot be read", "--dataset folder:NEW")
    again = evaluated(command, "r", "--dataset", "folder:there")
    assert again["data_sha256"] == before["data_sha256"]  # its test part, and not all of it
    assert again["num_images"] == before["num_images"] != 20


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "intel", "link", "jfif"])
def test_row_55_row_56_folders_as_people_have_them_train_and_are_evaluated(
    command: Command, tmp_path: Path, form: str
) -> None:
    root = tmp_path / "data"
    if form == "csv":
        for number in range(30):
            picture(root / "train" / f"{number}.png", 8 * number)
        (root / "train.csv").write_text("id,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(30)))
        name = "csv:data/train.csv"
    else:
        name = "folder:data"
        tree(root / ("seg_train/seg_train" if form == "intel" else ""), 20)
        if form == "intel":
            for file in sorted(tree(root / "seg_test/seg_test", 5).rglob("*.png")):
                Image.open(file).rotate(180).save(file)
        if form == "link":
            (root / "cat").rename(tmp_path / "cats")
            (root / "cat").symlink_to(tmp_path / "cats")
        if form == "jfif":
            for file in root.rglob("*.png"):
                Image.open(file).save(file.with_suffix(".jfif"), "JPEG")
                file.unlink()
    done = command(*TRAIN, "--dataset", name)
    assert done.code == 0, done
    assert "classes: 2: " in done.out
    assert command("eval", "r").code == 0
    assert command("train", "--resume", "r", "--epochs", "2").code == 0


def test_row_63_a_run_is_tested_on_another_folder_whose_letters_are_taken_apart(
    command: Command, tmp_path: Path
) -> None:
    tree(tmp_path / "pets", 10, ("Bär", "Kätzchen"))
    (tmp_path / "weights.yaml").write_text(unicodedata.normalize("NFD", "Bär: 2\nKätzchen: 1\n"))
    done = command(*TRAIN, "--dataset", "pets", "--class-weights", "weights.yaml")
    assert (done.code, done.err) == (0, "")
    before = evaluated(command, "r")
    shutil.copytree(tmp_path / "pets", tmp_path / "copy")
    for file in (tmp_path / "copy").iterdir():
        file.rename(file.with_name(unicodedata.normalize("NFD", file.name)))
    again = evaluated(command, "r", "--dataset", "copy")
    assert (again["num_images"], again["data_sha256"]) == (before["num_images"], before["data_sha256"])
    picture(tmp_path / "copy" / unicodedata.normalize("NFD", "Bär") / "new.png", 77, (50, 50))
    other = evaluated(command, "r", "--dataset", "copy", "--include-trained")
    assert other["num_images"] == 21


# What a run was trained on


def test_row_57_images_in_training_and_test_are_told_before_training(
    command: Command, tmp_path: Path
) -> None:
    tree(tmp_path / "pets" / "train", 8)
    for label in ("cat", "dog"):
        shutil.copytree(tmp_path / "pets" / "train" / label, tmp_path / "pets" / "test" / label)
        picture(tmp_path / "pets" / "train" / label / "other.png", 222, (30 + len(label), 30))
        picture(tmp_path / "pets" / "train" / label / "more.png", 222, (40, 30 + ord(label[0])))
    said = told(command, *TRAIN, "--dataset", "folder:pets")
    assert "16 training images are in the test part too: train/cat/0.png and test/cat/0.png; " in said
    assert said.count("\n") == 1
    done = command(*TRAIN[:-2], "--dataset", "folder:pets", "--drop-duplicates", "--name", "s")
    assert "(left out)" in done.err
    assert "2 to train on, 2 to validate" in done.out


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
def test_images_that_a_run_was_trained_on_are_left_out_of_another_folder(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    if streamed:
        patch_internal(monkeypatch, "MAX_RESIDENT_BYTES", 0)
    tree(tmp_path / "pets" / "train", 10)
    tree(tmp_path / "pets" / "test", 3, ("dog", "cat"))
    assert command(*TRAIN, "--dataset", "folder:pets").code == 0
    trained = read_trained(tmp_path / "runs" / "r")
    assert trained is not None
    assert len(trained) == 16  # of 20, four validated
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "pets" / "train", other)
    picture(other / "cat" / "new.png", 77, (50, 50))
    found = evaluated(command, "r", "--dataset", "folder:other")
    assert (found["num_images"], found["num_left_out"]) == (5, 16)
    assert "left out 16 images that the run was trained on" in command("eval", "r", "-d", "other").out
    assert evaluated(command, "r", "--dataset", "folder:other", "--include-trained")["num_images"] == 21
    for file in other.rglob("*.png"):
        if file.name != "new.png":
            file.rename(file.with_name(f"renamed-{file.name}"))  # it is what is in them that counts
    assert evaluated(command, "r", "--dataset", "folder:other")["num_left_out"] == 16

    (tmp_path / "runs" / "r" / "trained.npy").write_bytes(b"damaged")
    assert "It is not known which of the images in other" in told(command, "eval", "r", "-d", "folder:other")


def test_a_run_of_which_all_images_are_trained_on_says_so(command: Command, tmp_path: Path) -> None:
    tree(tmp_path / "pets" / "train", 5)
    tree(tmp_path / "pets" / "test", 2)
    assert command(*TRAIN, "--dataset", "folder:pets").code == 0
    trained = read_trained(tmp_path / "runs" / "r")
    assert trained
    import hashlib

    for file in (tmp_path / "pets" / "train").rglob("*.png"):
        if hashlib.sha256(file.read_bytes()).digest() in trained:
            (tmp_path / "same" / file.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, tmp_path / "same" / file.parent.name)
    assert_refused(
        command("eval", "r", "--dataset", "folder:same"),
        "trained on all 8 images in same",
        "--include-trained",
    )


def test_a_streamed_run_that_was_stopped_knows_what_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_internal(monkeypatch, "MAX_RESIDENT_BYTES", 0)
    tree(tmp_path / "pets", 30)
    settings = {"dataset": f"folder:{tmp_path / 'pets'}", "batch_size": 4, "limit_train": None, "epochs": 1}
    whole = train(quick(tmp_path, **settings, name="whole")).run
    with pytest.raises(Exception, match="saved"):
        train(quick(tmp_path, **settings, name="r"), reporter=StopAfter(3))
    run = tmp_path / "runs" / "r"
    assert read_trained(run) is None
    go_on(run)
    assert read_trained(run) == read_trained(whole) is not None
    assert same_state(run, whole)
    assert rows(run) == rows(whole)


# Another folder as a test


def test_all_of_another_folder_is_a_test_or_all_of_its_test_part(command: Command, tmp_path: Path) -> None:
    tree(tmp_path / "pets", 10, ("ant", "bee", "cat"))
    assert command(*TRAIN, "--dataset", "folder:pets").code == 0
    for number in range(8):
        for name in ("bee", "cat"):
            picture(tmp_path / "alone" / name / f"{number}.png", 31 * number + len(name), (33, 44 + number))
    shutil.copytree(tmp_path / "alone", tmp_path / "parts" / "test_set" / "test_set")
    tree(tmp_path / "parts" / "training_set", 4, ("x", "y"))
    for folder in ("alone", "parts"):
        found = evaluated(command, "r", "--dataset", f"folder:{folder}")
        assert found["num_images"] == 16
        confusion = np.array(found["confusion"])
        assert confusion.sum(1).tolist() == [0, 8, 8]
        assert np.trace(confusion) / 16 == pytest.approx(found["accuracy"])
    shown = command("eval", "r", "--dataset", "folder:alone").out
    assert "no images of ant" in shown
    assert not [line for line in shown.splitlines() if line.startswith("ant ")]
    picture(tmp_path / "alone" / "dingo" / "0.png")
    assert_refused(command("eval", "r", "--dataset", "folder:alone"), "does not know dingo")


@pytest.mark.parametrize(("trained_on", "tested_on"), [("L", "RGB"), ("RGB", "L")])
def test_row_23_grey_and_colour_images_are_made_what_the_net_takes(
    command: Command, tmp_path: Path, trained_on: str, tested_on: str
) -> None:
    for folder, mode in (("one", trained_on), ("other", tested_on)):
        for label in ("cat", "dog"):
            for number in range(10):
                path = picture(tmp_path / folder / label / f"{number}.png", 20 * number + len(folder))
                Image.open(path).convert(mode).save(path)
    assert command(*TRAIN, "--dataset", "folder:one").code == 0
    found = evaluated(command, "r", "--dataset", "folder:other")
    assert found["num_images"] == 20
    sample = evaluated(command, "r", "--dataset", "folder:one", "--split", "val")
    assert sample["split"] == "val"


# Unequal classes


def unequal(root: Path) -> Path:
    tree(root, 40, ("cat",))
    for number in range(8):
        picture(root / "dog" / f"{number}.png", 3 * number, (20, 30))
    return root


def test_row_57_copies_that_reach_validation_and_other_classes_are_named_before_training(
    command: Command, tmp_path: Path
) -> None:
    pets = tmp_path / "pets"
    cats = tree(pets / "train") / "cat"
    for number in range(10):
        shutil.copy(cats / f"{number}.png", cats / f"c{number}.png")
    for number in range(3):
        picture(pets / "test" / "cat" / f"{number}.png", 50 + number, (9, 9))
        picture(pets / "test" / "dog" / f"{number}.png", 80 + number, (9, 9))
    done = command(*TRAIN, "--dataset", "folder:pets")
    assert done.code == 0
    assert re.fullmatch(
        r"Warning: \d+ validation images have a copy among the images to train on, which makes validation look "
        r"better: train/cat/c?(\d)\.png and train/cat/c?\1\.png; .* \(keep one copy of each\)\.\n",
        done.err,
    )
    few = (*TRAIN[:-1], "few", "--dataset", "folder:pets", "--limit-val", "1", "--limit-train", "2")
    assert command(*few).err == ""  # what is not used is no copy
    shutil.copytree(pets / "train", pets / "val")
    own = command(*TRAIN[:-1], "own", "--dataset", "folder:pets")
    assert own.err.startswith("Warning: 30 validation images have a copy among the images to train on")
    shutil.rmtree(pets / "val")
    for number in range(10):
        (cats / f"c{number}.png").unlink()
    shutil.copy(cats / "3.png", pets / "test" / "dog" / "x.png")
    shutil.copy(pets / "test" / "cat" / "1.png", pets / "test" / "dog" / "y.png")
    assert command(*TRAIN[:-1], "two", "--dataset", "folder:pets").err == (
        "Warning: 1 training image is in the test part too: train/cat/3.png and test/dog/x.png (--drop-duplicates "
        "leaves the training copies out). 2 images are there under two classes: train/cat/3.png and test/dog/x.png; "
        "test/cat/1.png and test/dog/y.png (keep each under the class that it is of).\n"
    )


def test_row_55_two_parts_of_one_kind_are_refused_with_a_command_that_works(
    command: Command, cnnzoo: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    for part in ("train", "val", "valid", "test"):
        tree(tmp_path / "my pets" / part, 6)
    (tmp_path / "my pets-valid").mkdir()
    for folder, root in ((".", "my pets"), ("my pets", ".")):
        refused = cnnzoo("train", "lenet", "--dataset", f"folder:{root}", cwd=tmp_path / folder)
        said, _, advice = refused.stderr.strip().partition(", such as: ")
        assert (
            "has val/ and valid/, and both look like its val part. Move the one that is not meant out" in said
        )
        subprocess.run(advice, shell=True, cwd=tmp_path / folder, check=True)
        assert (tmp_path / "my pets-valid-2").is_dir()
        done = command(*TRAIN[:-1], f"r{len(root)}", "--dataset", f"folder:{tmp_path / 'my pets'}")
        assert (done.code, "12 to train on, 12 to validate" in done.out) == (0, True)
        (tmp_path / "my pets-valid-2").rename(tmp_path / "my pets" / "valid")


def test_the_header_and_eval_say_that_classes_were_weighed(command: Command, tmp_path: Path) -> None:
    unequal(tmp_path / "pets")
    done = command(*TRAIN, "--dataset", "folder:pets", "--class-weights", "balanced", "--sampler", "balanced")
    assert done.code == 0
    assert "weights: balanced (of classes, in training; validation and eval are unweighted)" in done.out
    assert "sampler: balanced" in done.out
    assert done.err == (
        "Warning: --sampler balanced and --class-weights balanced each make up for unequal classes: with both, the "
        "rarest class counts 4.6 times as much as the most frequent one. Leave one of them out.\n"
    )
    for one in (("--class-weights", "balanced"), ("--sampler", "balanced")):
        assert command(*TRAIN[:-1], one[0][2:], "--dataset", "folder:pets", *one).err == ""
    assert "unweighted, though training weighed classes (balanced)" in command("eval", "r").out
    (tmp_path / "w.yaml").write_text("cat: 1\ndgo: 5\n")
    args = (*TRAIN[:2], "--dataset", "folder:pets", "--class-weights")
    assert_refused(
        command(*args, "w.yaml"),
        "unknown class 'dgo' in w.yaml. Did you mean 'dog'? There are: cat, dog.",
        code=2,
    )
    (tmp_path / "w.yaml").write_text("cat: 1\n")
    assert_refused(command(*args, "w.yaml"), "w.yaml has no weight for dog", code=2)
    (tmp_path / "w.yaml").write_text("cat: 1\ndog: -3\n")
    assert_refused(command(*args, "w.yaml"), "the weight of dog must be a number of at least 0", code=2)
    assert_refused(command(*args, "nowhere.yaml"), "cannot read nowhere.yaml")
    assert_refused(
        command("train", "lenet5-1998", *args[2:], "balanced"), "a loss of its own", "--class-weights", code=2
    )


def test_validation_has_an_image_of_each_class_that_has_two(command: Command, tmp_path: Path) -> None:
    tree(tmp_path / "train", 3, tuple("abcdefghij"))
    tree(tmp_path / "test", 1, tuple("abcdefghij"))
    done = command(*TRAIN, "--dataset", f"folder:{tmp_path}")
    assert "20 to train on, 10 to validate" in done.out


# Grey or colour


@pytest.mark.slow
def test_row_41_channels_overrule_what_the_images_are_and_a_resume_keeps_them(
    command: Command, tmp_path: Path
) -> None:
    for label in ("cat", "dog"):
        for number in range(10):
            path = picture(tmp_path / "grey" / label / f"{number}.png", 20 * number + len(label))
            Image.open(path).convert("L").save(path)
    done = command(*TRAIN, "--dataset", "folder:grey", "--channels", "3")
    assert done.code == 0
    run = tmp_path / "runs" / "r"
    assert load_checkpoint(run / "last.pt").in_channels == 3
    assert read_yaml(run / "config.yaml")["channels"] == 3
    assert evaluated(command, "r")["num_images"]
    assert_refused(command("train", "--resume", "r", "--channels", "1"), "these differ: channels", code=2)
    assert command("train", "--resume", "r", "--channels", "3", "--epochs", "2").code == 0
    done = command(
        "train", "lenet", "--dataset", SAMPLE, "--channels", "3", "--limit-train", "64", "--name", "s"
    )
    assert done.code == 0
    assert load_checkpoint(tmp_path / "runs" / "s" / "last.pt").in_channels == 3


def test_row_45_channels_that_cannot_be_are_refused(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_models(monkeypatch)
    tree(tmp_path / "pets")
    args = ("--dataset", "folder:pets", "--channels")
    assert_refused(command("train", "lenet", *args, "2"), "channels must be one of 1, 3, not '2'", code=2)
    (tmp_path / "greyscale_net.py").write_text(
        "import cnnzoo\nfrom torch import nn\n"
        "@cnnzoo.register_model('greyscale-net', image_size=8, in_channels=1)\n"
        "def net(num_classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    says = "greyscale-net takes grey images only, into which all others are made. Leave --channels out."
    for name, *more in (("train",), ("sweep", "--vary", "lr=0.1,0.2")):
        refused = command(name, "greyscale-net", "--import", "greyscale_net", *args, "3", *more)
        assert_refused(refused, says, code=2)


@pytest.mark.slow
def test_row_41_a_colour_image_that_nobody_looked_at_is_told_once_in_training(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_internal(monkeypatch, "MAX_RESIDENT_BYTES", 0)
    stream = io.BytesIO()
    Image.new("L", (8, 8), 7).save(stream, "PNG")
    for label in ("cat", "dog"):
        for number in range(800):
            path = tmp_path / "pets" / label / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(stream.getvalue() + label.encode() + bytes([number // 256, number % 256]))
    images = list_files(f"folder:{tmp_path / 'pets'}", Reading()).listing.parts["train"].files
    assert len(images) > 1100
    looked_at = {*np.linspace(0, len(images) - 1, 1000).astype(int).tolist()}
    for index in sorted({*range(len(images))} - looked_at)[:5]:
        picture(images[index])
    done = command("train", "lenet", "--dataset", "folder:pets", "--epochs", "2", "--name", "r")
    assert done.code == 0
    assert done.err.count("is in colour and is read as grey") == 1
    assert "start again with --channels 3" in " ".join(done.err.split())
