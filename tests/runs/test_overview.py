"""``cnnzoo runs``: what there is, in what order, what is wrong; what is deleted and what never is; what differs."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cnnzoo.config import TrainConfig
from cnnzoo.runs.folder import locked
from tests.conftest import Command
from tests.helpers import contents

HEAD = "epoch,train_loss,train_acc,val_loss,val_acc,lr,seconds,images_per_second\n"


def make_run(
    folder: Path, *, acc: tuple[float, ...] = (0.5,), started: str = "2026-11-01", **settings: object
) -> Path:
    """Write what a run leaves; its weights hold nothing."""
    folder.mkdir(parents=True)
    config = TrainConfig.from_dict({"model": "lenet", "dataset": "fashionmnist", "epochs": 3, **settings})
    recorded = {"started": f"{started}T10:00:00+00:00"}
    (folder / "config.yaml").write_text(yaml.safe_dump({**config.to_dict(), "recorded": recorded}))
    rows = [f"{i},1.5,{a},{2 - a},{a},0.001,1.0,100.0\n" for i, a in enumerate(acc, 1)]
    (folder / "history.csv").write_text(HEAD + "".join(rows))
    (folder / "best.pt").write_bytes(bytes(1000))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Four runs, two of them of a study, and two that are broken."""
    out = tmp_path / "runs"
    make_run(out / "lenet-9", acc=(0.5, 0.9, 0.8), started="2026-11-02", lr=0.01)
    make_run(out / "lenet-10", acc=(0.7,), started="2026-11-03", model="alexnet")
    for seed in (0, 1):
        make_run(out / "study" / f"seed-{seed}", acc=(0.6,), seed=seed)
    (out / "lenet-9" / "eval.json").write_text('{"split": "test", "accuracy": 0.88}')
    (make_run(out / "bad-history") / "history.csv").write_text(f"{HEAD}1,2\n")
    (out / "empty").mkdir()
    (out / ".x.deleted").mkdir()
    return out


def listed(command: Command, *args: str) -> list[dict[str, object]]:
    done = command("runs", "--format", "json", *args)
    assert (done.code, done.err) == (0, "")
    found: list[dict[str, object]] = json.loads(done.out)
    return found


def names(command: Command, *args: str) -> list[object]:
    return [run["name"] for run in listed(command, *args)]


def test_a_run_is_listed_with_what_its_files_say(command: Command, runs: Path) -> None:
    by_name = {run["name"]: run for run in listed(command)}
    assert by_name.keys() == {"lenet-9", "lenet-10", "study/seed-0", "study/seed-1", "bad-history", "empty"}
    assert by_name["lenet-9"] == {
        "name": "lenet-9",
        "model": "lenet",
        "dataset": "fashionmnist",
        "epochs": 3,
        "best_epoch": 2,
        "train_loss": 1.5,
        "train_acc": 0.9,
        "val_loss": 1.1,
        "val_acc": 0.9,
        "test_acc": 0.88,
        "date": "2026-11-02T10:00:00+00:00",
        "bytes": sum(map(len, contents(runs / "lenet-9").values())),
        "fault": "",
    }
    assert by_name["lenet-10"]["test_acc"] is None


def test_what_other_weights_reached_on_the_test_images_is_not_the_best_ones(
    command: Command, runs: Path
) -> None:
    for epoch, shown in ((2, 0.88), (1, None)):
        (runs / "lenet-9" / "eval.json").write_text(
            f'{{"split": "test", "accuracy": 0.88, "epoch": {epoch}}}'
        )
        assert {run["name"]: run["test_acc"] for run in listed(command)}["lenet-9"] == shown


def test_what_is_wrong_with_a_run_is_said_and_the_others_are_listed(command: Command, runs: Path) -> None:
    faults = {run["name"]: run["fault"] for run in listed(command) if run["fault"]}
    assert faults == {"bad-history": "history.csv: train_acc is None", "empty": "no config.yaml"}
    (runs / "lenet-9" / "config.yaml").write_text("lr: [1")
    (runs / "lenet-9" / "history.csv").write_bytes(b"\xff\0")
    (runs / "lenet-9" / "eval.json").write_text("[" * 100_000)
    (runs / "lenet-10" / "best.pt").unlink()
    by_name = {run["name"]: str(run["fault"]) for run in listed(command)}
    parts = [part.partition(" ")[0].rstrip(":") for part in by_name["lenet-9"].split("; ")]
    assert parts == ["config.yaml", "history.csv", "eval.json"]
    assert by_name["lenet-10"] == "no weights"


def test_runs_are_sorted_the_best_newest_and_largest_first(command: Command, runs: Path) -> None:
    assert names(command)[:2] == ["lenet-10", "lenet-9"]  # the newest
    assert names(command)[-1] == "empty"  # which has no date
    assert names(command, "--sort", "best")[:2] == ["lenet-9", "lenet-10"]
    assert names(command, "--sort", "val_loss")[0] == "lenet-9"
    by_name = ["bad-history", "empty", "lenet-9", "lenet-10", "study/seed-0", "study/seed-1"]
    assert names(command, "--sort", "name") == by_name
    by_seed = ["study/seed-1", "study/seed-0"]
    assert names(command, "--sort", "seed", "--filter", "name=study/*", "--reverse") == by_seed


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        (["model=alexnet"], {"lenet-10"}),
        (["val_acc>60%", "model!=alexnet"], {"lenet-9"}),
        (["best >= 0.7"], {"lenet-9", "lenet-10"}),
        (["lr=0.01"], {"lenet-9"}),
        (["name=study/*", "seed=1"], {"study/seed-1"}),
        (["date>2026-11-02"], {"lenet-9", "lenet-10"}),
        (["test="], {"lenet-10", "study/seed-0", "study/seed-1", "bad-history", "empty"}),
        (["fault!="], {"bad-history", "empty"}),
        (["val_acc<0.1"], set()),
    ],
)
def test_runs_are_chosen_by_what_they_are(
    command: Command, runs: Path, conditions: list[str], found: set[str]
) -> None:
    flags = [word for condition in conditions for word in ("--filter", condition)]
    assert set(names(command, *flags)) == found


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--sort", "vall_acc"), "unknown key 'vall_acc'. Did you mean 'val_acc'?"),
        (("--filter", "modl=lenet"), "unknown key 'modl'. Did you mean 'model'?"),
        (("--filter", "val_acc>good"), "val_acc is a number, and 'good' is none."),
        (
            ("--filter", "lenet"),
            "--filter 'lenet' is no condition. Write it as in model=lenet or 'val_acc>0.9'.",
        ),
        (("diff", "lenet-9", "study"), "study holds several runs. Name one of them"),
        (("diff", "lenet-9", "lenet-8"), "unknown run 'lenet-8'. Did you mean 'lenet-9'?"),
    ],
)
def test_wrong_usage_is_one_line(command: Command, runs: Path, args: tuple[str, ...], says: str) -> None:
    done = command("runs", *args)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert len(done.err.splitlines()) == 1


def test_other_formats_hold_every_run(command: Command, runs: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(command("runs", "--format", "csv").out)))
    assert {row["name"]: row["val_acc"] for row in rows}["lenet-9"] == "0.9"
    assert len(rows) == 6
    lines = command("runs", "--format", "markdown").out.splitlines()
    assert len(lines) == 2 + 6
    assert {line.count("|") for line in lines} == {9}
    assert any("| lenet-9 | lenet | fashionmnist | 3/3 | 90.00% | 88.00% |" in line for line in lines)


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_table_fits_the_screen(
    command: Command, runs: Path, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for args in ((), ("diff", "lenet-9", "lenet-10"), ("--help",), ("rm", "--help"), ("diff", "--help")):
        done = command("runs", *args)
        assert done.code == 0
        assert max(map(len, done.out.splitlines())) <= columns
    table = command("runs").out
    for part in ("lenet-9", "90.00%", "88.00%", "2026-11-02", "3/3", "no config.yaml"):
        assert part in table


def test_an_empty_folder_and_none_are_no_fault(command: Command, tmp_path: Path) -> None:
    says = "There is no run in runs yet. Make one with `cnnzoo train lenet`.\n"
    assert command("runs").out == says
    (tmp_path / "runs").mkdir()
    assert command("runs").out == says
    assert listed(command) == []


def test_the_list_imports_neither_torch_nor_pandas(runs: Path) -> None:
    program = (
        "import sys\nfrom cnnzoo.cli import main\nsys.argv = ['cnnzoo', 'runs']\n"
        "try:\n    main()\nexcept SystemExit:\n    print({'torch', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=runs.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("set()\n")


def test_the_difference_of_two_runs_is_that_of_their_settings_and_results(
    command: Command, runs: Path
) -> None:
    lines = [line.split() for line in command("runs", "diff", "lenet-9", "lenet-10").out.splitlines()]
    assert ["model", "lenet", "alexnet"] in lines
    assert ["lr", "0.01", "0.001"] in lines
    assert ["val_acc", "90.00%", "70.00%"] in lines
    assert ["test_acc", "88.00%", "none"] in lines
    assert not any(line[:1] == ["dataset"] for line in lines)
    same = command("runs", "diff", "study/seed-0", "study/seed-0").out
    assert same == "Settings: no difference.\n\nResults: no difference.\n"


# Deletion


def test_runs_and_studies_are_deleted_and_nothing_else_is(command: Command, runs: Path) -> None:
    before = contents(runs)
    done = command("runs", "rm", "lenet-9", "study", "study/seed-0", "--yes")
    assert (done.code, done.out) == (0, "Deleted runs/lenet-9\nDeleted runs/study\n")
    gone = ("lenet-9/", "study/")
    assert contents(runs) == {name: data for name, data in before.items() if not name.startswith(gone)}
    assert not (runs / ".x.deleted").exists()  # what a deletion that was interrupted had left


def test_without_a_person_who_answers_nothing_is_deleted(
    command: Command, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(runs)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    done = command("runs", "rm", "lenet-9")
    assert (done.code, done.out) == (2, "")
    assert "Add --yes" in done.err
    assert contents(runs) == before


@pytest.mark.parametrize(("answer", "is_deleted"), [("y", True), ("n", False), ("", False)])
def test_a_person_is_asked(
    command: Command, runs: Path, monkeypatch: pytest.MonkeyPatch, answer: str, is_deleted: bool
) -> None:
    typed = io.StringIO(f"{answer}\n")
    monkeypatch.setattr(typed, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", typed)
    done = command("runs", "rm", "lenet-9", "study")
    assert done.code == 0
    assert "runs/lenet-9: 4 files, 0.0 MB\nruns/study: 2 runs, 6 files, 0.0 MB\n" in done.out
    assert "Delete all 2 for good?" in done.out
    assert (runs / "lenet-9").exists() != is_deleted


@pytest.mark.parametrize("name", ["lenet-9", "study"])
def test_a_run_that_is_training_is_never_deleted(command: Command, runs: Path, name: str) -> None:
    before = contents(runs)
    with locked(runs / ("study/seed-1" if name == "study" else name)):
        done = command("runs", "rm", name, "--yes")
    assert (done.code, done.out) == (1, "")
    assert "another process is training in" in done.err
    assert "It is not deleted." in done.err
    assert {path: data for path, data in contents(runs).items() if not path.endswith(".lock")} == before


def test_what_is_no_run_is_never_deleted(command: Command, runs: Path, tmp_path: Path) -> None:
    elsewhere = make_run(tmp_path / "other" / "lenet-1")
    (runs / "link").symlink_to(elsewhere)
    (runs / "study" / "notes").mkdir()
    (runs / "photos").mkdir()
    (runs / "photos" / "cat.png").write_bytes(b"cat")
    before = contents(tmp_path)
    for name, says in (
        (str(elsewhere), "is not in runs. Name the folder that holds it with --out."),
        ("link", "is a link to"),
        ("study", "is no run"),
        ("photos", "is no run"),
        ("runs", "is not in runs."),
        (".", "is not in runs."),
    ):
        done = command("runs", "rm", name, "--yes")
        assert (done.code, done.out) == (2, ""), name
        assert says in done.err
    assert contents(tmp_path) == before


def test_links_in_a_run_are_not_followed(command: Command, runs: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_bytes(b"kept")
    (runs / "lenet-9" / "data").symlink_to(kept)
    assert command("runs", "rm", "lenet-9", "--yes").code == 0
    assert contents(kept) == {"file": b"kept"}


def test_a_deletion_that_is_interrupted_leaves_no_run(
    command: Command, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "best.pt").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", interrupted)
        assert command("runs", "rm", "study/seed-0", "--yes").code == 130
    assert names(command, "--filter", "name=study*") == ["study/seed-1"]
    assert command("runs", "rm", "study/seed-1", "--yes").code == 0
    assert not [path for path in (runs / "study").iterdir() if path.name.endswith(".deleted")]
