"""Sweeps: every combination an ordinary run, refused before the first one or gone on with after the last kill."""

import os
import random
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cnnzoo
from cnnzoo.analysis.sweep.sweep import SettingResult, StudyResult
from cnnzoo.analysis.sweep.variations import Combination, combinations_of, dimensions_of, parse_vary
from cnnzoo.config_file import read_sweep
from cnnzoo.errors import UsageError
from cnnzoo.runs.folder import resolve_run, runs_of
from cnnzoo.runs.history import HistoryRow
from cnnzoo.training.result import RunResult
from tests.analysis.sweep.test_seeds import SAMPLE, has_trained, lanes_of, results, until
from tests.conftest import Command
from tests.faults.shared import assert_refused, left
from tests.helpers import quick, same_state, train
from tests.processes import REPOSITORY, Ended, Processes

TINY = (
    "sweep",
    "lenet",
    *SAMPLE,
    "-o",
    "dropout=0.1",
    "--limit-train",
    "96",
    "--limit-val",
    "50",
    "--epochs",
    "1",
    "--name",
    "s",
)
TWO_BY_TWO = ("--vary", "batch-size=16,32", "--vary", "augment=none,flip+crop")
NAMES = [
    f"batch_size={size}-augment={augment}-seed-0" for size in (16, 32) for augment in ("none", "flip+crop")
]


def combinations(*vary: str, **given: Any) -> list[Combination]:
    return combinations_of({"model": "lenet", **given}, dimensions_of(parse_vary(vary)), {}, "the settings")


def names(*vary: str, **given: Any) -> list[str]:
    return [each.name for each in combinations(*vary, **given)]


@pytest.fixture(scope="module")
def swept(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """Two values of two settings."""
    folder = tmp_path_factory.mktemp("swept")
    return folder, processes.run(*TINY, *TWO_BY_TWO, "--jobs", "2", cwd=folder)


def test_every_combination_is_an_ordinary_run(swept: tuple[Path, Ended], tmp_path: Path) -> None:
    folder, done = swept
    assert (done.code, done.err) == (0, "")
    rows = results(folder / "s")
    assert [row["run"] for row in rows] == NAMES
    columns = ["seed", "run", "batch_size", "augment", "epochs", "best_epoch", "train_loss", "train_acc"]
    assert list(rows[0]) == [*columns, "val_loss", "val_acc", "seconds"]
    assert [(row["seed"], row["batch_size"], row["augment"]) for row in rows[:3]] == [
        ("0", "16", "none"),
        ("0", "16", "flip+crop"),
        ("0", "32", "none"),
    ]
    changes: dict[str, object] = {"limit_train": 96, "limit_val": 50, "epochs": 1, "threads": 1}
    changes["model_options"] = {"activation": "tanh", "dropout": 0.1}
    alone = train(quick(tmp_path, batch_size=16, augment="flip,crop", **changes))
    assert same_state(folder / "s" / NAMES[1], alone.run)
    assert {run.name for run in runs_of(folder / "s")} == set(NAMES)
    assert resolve_run("last", folder).parent == folder / "s"
    assert (folder / "s" / "results.png").is_file()
    assert (folder / "s" / NAMES[0] / "history.png").is_file()


@pytest.mark.slow
def test_the_same_command_trains_nothing_again_and_more_seeds_are_added(
    swept: tuple[Path, Ended], processes: Processes, command: Command
) -> None:
    folder, _ = swept
    study = folder / "s"
    other = command(*TINY, *TWO_BY_TWO, "--lr", "0.1", "--out", folder)
    assert_refused(other, "was made by other settings; these differ: lr (was 0.001, now 0.1)", code=2)
    before = {path: path.read_bytes() for path in study.rglob("*.pt")}
    spelt = (
        "--vary",
        "batch_size=16,32",
        "--vary",
        'augment=none,"flip, crop"',
    )  # as it is typed has no part in it
    again = processes.run(*TINY, *spelt, "--seeds", "2", "--jobs", "2", cwd=folder)
    assert (again.code, again.out.count("(complete already)")) == (0, 4)
    assert {path: path.read_bytes() for path in before} == before
    found = [float(row["val_acc"]) for row in results(study)]
    assert len(found) == 8
    (line,) = (line for line in again.out.splitlines() if re.match(r" *16 +flip", line))
    assert line.split()[2:5] == ["2", f"{mean(found[2:4]):.2%}", f"{stdev(found[2:4]):.2%}"]
    fewer = processes.run(*TINY, *spelt, "--jobs", "2", cwd=folder)
    assert (fewer.code, len(results(study))) == (0, 8)  # what has ended stays
    assert_refused(
        command(*TINY, *TWO_BY_TWO, "--out", study, "--name", NAMES[0]),
        "is a single run, and no study",
        code=2,
    )


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--vary", "learning_rate=1"), "unknown setting 'learning_rate'. Did you mean 'lr'?"),
        (("--vary", "opton.dropout=1"), "Did you mean 'option.NAME'?"),
        (("--vary", "lr.x=1"), "Did you mean 'lr'?"),
        (("--vary", "option=dropout"), "Write it as in option.NAME=A,B"),
        (("--vary", "option.dropot=0,1"), "Did you mean 'dropout'?"),
        (("--vary", "option.pooling=max,mix"), "lenet's pooling must be one of avg, max, not 'mix'"),
        (("--vary", "optimizer_option.bets=1"), "Did you mean 'betas'?"),
        (("--vary", "optimizer=sgd,adan"), "Did you mean 'adam'?"),
        (("--vary", "lr=0.1,fast"), "with lr=fast: lr must be a number above 0, not 'fast'"),
        (("--vary", "augment=flip+crp"), "Did you mean 'crop'?"),
        (("--vary", "init=he,xavierr"), "init must be default, xavier, he"),
        (("--vary", "freeze=none,fetures"), "Did you mean 'features'?"),
        (("--vary", "model=lenet"), "model is varied, and given besides"),
        (("--vary", "lr"), "Write it as in --vary lr=0.1,0.01"),
        (("--vary", "lr="), "lr has an empty value"),
        (("--vary", "lr=1,,2"), "lr has an empty value"),
        (("--vary", "lr=1,"), "lr has an empty value"),
        (("--vary", "lr=0.1,1e-1"), "two runs would be the same: lr=0.1. Leave one out."),
        (("--vary", "lr=1", "--vary", "lr=2"), "lr is varied twice"),
        (("--vary", "grad-accum=1", "--vary", "grad_accum_steps=2"), "grad_accum_steps is varied twice"),
        (("--vary", "lr=1", "--lr", "2"), "lr is varied, and given besides"),
        (("--vary", "seed=0,0"), "two runs would be the same: seed=0"),
        (("--vary", "seed=0,1", "--seeds", "2"), "seed is varied, and --seeds given besides"),
        (("--vary", "name=a,b"), "name says where the study is, and cannot be varied"),
        (("--vary", "option.dropout=0,0.5"), "option.dropout is varied, and given besides"),
        (("--name", ".", "--vary", "lr=1,2"), "--name '.' names no folder of its own"),
        ((), "nothing is varied. Add --vary lr=0.1,0.01 and the like, or --seeds 5."),
    ],
)
def test_what_cannot_be_right_is_refused_before_the_first_run(
    command: Command, tmp_path: Path, flags: Sequence[str], says: str
) -> None:
    assert_refused(command(*TINY, *flags), says, code=2)
    assert left(tmp_path) == set()


def test_settings_are_varied_by_any_of_their_names() -> None:
    assert names("batch-size=8") == names("batch_size=8") == names("b=8") == ["batch_size=8"]
    assert (
        names("option.dropout=0,0.5") == names("model_options.dropout=0.0,.5") == ["dropout=0", "dropout=0.5"]
    )
    assert names("lr_scale.features=0.1", "optimizer-option.eps=1e-6") == ["features=0.1-eps=1e-6"]
    assert names("optimizer_option.momentum=0.1", "momentum=0.2", optimizer="sgd") == [
        "optimizer_option.momentum=0.1-momentum=0.2"
    ]


def test_values_may_be_lists_quoted_and_none() -> None:
    found = combinations("milestones=10+20,30,'5,6'", scheduler="milestones")
    assert [each.config.milestones for each in found] == [(10, 20), (30,), (5, 6)]
    assert [each.name for each in found] == ["milestones=10+20", "milestones=30", "milestones=5+6"]
    found = combinations("augment=none,flip+crop,mixup:0.2")
    assert [each.config.augment for each in found] == [(), ("flip", "crop"), ("mixup:0.2",)]
    assert [each.config.patience for each in combinations("patience=none,3")] == [None, 3]
    assert [each.config.lr for each in combinations("lr=1e+0,1e-3")] == [1.0, 0.001]
    betas = combinations('optimizer_option.betas="0.9,0.99",0.8+0.9')
    assert [each.config.optimizer_options["betas"] for each in betas] == ["0.9,0.99", "0.8,0.9"]
    assert names("normalize=true,no") == ["normalize=true", "normalize=false"]
    assert names("scheduler=none,cosine", "init=default,he")[0] == "scheduler=none-init=default"


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@settings(max_examples=25, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=6, unique_by=lambda text: str(Path(text))))
def test_any_values_have_names_of_their_own_that_a_file_system_takes(values: list[str]) -> None:
    (dimension,) = dimensions_of({"image_root": [value for value in values if value != "none"] or ["a"]})
    found = combinations_of({"model": "lenet"}, [dimension], {}, "the settings")
    folders = [each.run_name(0) for each in found]
    assert len({folder.casefold() for folder in folders}) == len(dimension.values)
    assert all(re.fullmatch(r"image_root=[A-Za-z0-9_.+-]+-seed-0", folder) for folder in folders)
    assert all(len(folder) <= 120 for folder in folders)


def test_long_and_strange_names_are_readable_still() -> None:
    (found,) = names("data_dir=/my data/Größe/of ten")
    assert re.fullmatch(r"data_dir=data-Gr-e-of-ten-[0-9a-f]{8}", found)
    vary = [
        f"lr_scale.{part}=0.12345"
        for part in ("features.C1", "features.C3", "classifier.C5", "classifier.F6")
    ]
    (found,) = names(*vary, "optimizer_option.eps=1e-12", "label_smoothing=0.123456")
    assert found.startswith("features.C1-")
    assert len(found) <= 100


def test_a_file_may_hold_the_sweep(command: Command, tmp_path: Path) -> None:
    base, vary, variants = read_sweep(REPOSITORY / "configs" / "alexnet-ideas.yaml")
    assert not vary
    found = combinations_of(base, [], variants, "the settings")
    assert [each.name for each in found][:2] == ["as-it-is", "without-dropout-section-4.2"]
    assert [each.config.model_options for each in found][:2] == [{}, {"dropout": 0.0}]
    both = combinations_of(
        {**base, "model_options": {"lrn": True}}, dimensions_of({"lr": [1, 2]}), variants, ""
    )
    assert len(both) == 14
    assert both[3].name == "without-dropout-section-4.2-lr=2"
    assert both[3].config.model_options == {"lrn": True, "dropout": 0.0}
    assert both[3].label == {"variant": "without dropout (section 4.2)", "lr": "2"}

    file = tmp_path / "s.yaml"
    file.write_text("model: lenet\nvary:\n  lr: [0.1, x]\n")
    assert_refused(command("sweep", "s.yaml"), "with lr=x: lr must be a number above 0, not 'x'", code=2)
    assert_refused(command("sweep", "s.yaml", "--vary", "lr=y"), "with lr=y", code=2)
    assert_refused(command("train", "--config", "s.yaml"), "Train them with `cnnzoo sweep s.yaml`", code=2)
    for text, says in (
        ("vary: [lr]", "vary in s.yaml is no list of names"),
        ("variants: {a: 3}", "variant 'a' has no settings"),
        ("variants: {a: {seed: 3}}", "variant 'a' sets seed"),
        ("variants: {a b: {lr: 1}, a-b: {lr: 2}}", "variants 'a b' and 'a-b' would have one folder"),
        ("variants: {a: {lrr: 1}}", "with a: unknown setting 'lrr'. Did you mean 'lr'?"),
    ):
        file.write_text(f"model: lenet\n{text}\n")
        assert_refused(command("sweep", "s.yaml"), says, code=2)
    assert left(tmp_path) == {"s.yaml"}


def test_from_python(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="with lr=-1: lr must be a number above 0"):
        cnnzoo.sweep(quick(tmp_path), {"lr": [0.1, -1]})
    with pytest.raises(UsageError, match="lr has an empty value"):
        cnnzoo.sweep(quick(tmp_path), {"lr": []})
    with pytest.raises(UsageError, match="Give 1 or more"):
        cnnzoo.sweep(quick(tmp_path), {"lr": [0.1]}, seeds=0)


def study_of(labels: Sequence[dict[str, str]], seeds: int) -> StudyResult:
    """A study whose runs were never trained."""
    numbers = random.Random(1)

    def run(seed: int) -> RunResult:
        row = HistoryRow(1, 0.5, 0.8, 0.5, numbers.uniform(0.7, 0.9), 0.001, 1.0, 1.0)
        return RunResult(Path(f"seed-{seed}"), quick(Path(), seed=seed), [row], row, 1, "epochs")

    return StudyResult(
        Path("s"), [SettingResult(label, [run(s) for s in range(seeds)], seeds) for label in labels], {}, None
    )


@pytest.mark.parametrize("num", [1, 30])
def test_the_picture_has_a_line_for_each_setting(num: int) -> None:
    from cnnzoo.ui.sweep import plot_study

    labels = [{"lr": f"{place % 3}", "option.dropout": f"{place}"} for place in range(num)]
    (axes,) = plot_study(study_of(labels, 3)).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        f"lr={place % 3}, dropout={place}" for place in range(num)
    ]


# Kills

EIGHT = ("--vary", "lr=0.01,0.001", "--vary", "option.pooling=max,avg", "--seeds", "2", "--jobs", "2")
LONGER = (
    "sweep",
    "lenet",
    *SAMPLE,
    "--limit-train",
    "1600",
    "--epochs",
    "2",
    "--save-every",
    "1s",
    "--name",
    "s",
)


def tree(pid: int) -> list[int]:
    """A process and all that it has started."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def without_times(study: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in results(study)]


@pytest.mark.slow
def test_row_53_a_sweep_killed_ten_times_ends_with_the_same_results(
    processes: Processes, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert processes.run(*LONGER, *EIGHT, cwd=whole).code == 0
    moments = random.Random(2026)
    kills = 0
    for _ in range(10):
        started = processes.start(*LONGER, *EIGHT, cwd=killed)
        time.sleep(moments.uniform(0.5, 6))
        for pid in tree(started.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        kills += started.wait().code == -signal.SIGKILL
    assert kills >= 5  # the last ones may have had nothing left to do
    done = processes.run(*LONGER, *EIGHT, cwd=killed)
    assert (done.code, done.err) == (0, "")
    assert len(without_times(whole / "s")) == 8
    assert without_times(killed / "s") == without_times(whole / "s")
    for run in runs_of(whole / "s"):
        assert same_state(run, killed / "s" / run.name)


@pytest.mark.slow
def test_ctrl_c_stops_and_saves_a_sweep(processes: Processes, tmp_path: Path) -> None:
    first = "lr=0.01-pooling=max-seed-0"
    line = ("sweep", "lenet", *SAMPLE, "--epochs", "3", "--name", "s", *EIGHT[:4], "--jobs", "2")
    started = processes.start(*line, cwd=tmp_path)
    until(lambda: has_trained(tmp_path / "s", first))
    os.kill(started.pid, signal.SIGINT)
    ended = started.wait()
    assert ended.code == 130
    assert ended.err == "Error: the runs in s are stopped, and saved. The same command goes on.\n"
    assert lanes_of(tmp_path / "s") == []
    assert processes.run(*line, cwd=tmp_path).code == 0
    assert len(results(tmp_path / "s")) == 4
