"""Runs compared: how they are grouped and named, which test judges them, what it says, and what is refused."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.collections import PolyCollection
from rich.cells import cell_len
from scipy import stats

from cnnzoo.analysis.compare.compare import compare
from cnnzoo.analysis.compare.result import ComparisonResult
from cnnzoo.analysis.compare.significance import compare_nets
from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.config_file import read_recorded, read_yaml
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.ui.compare.picture import plot_comparison
from tests.conftest import Command
from tests.helpers import quick, train

Make = Callable[..., Path]

NUM = 1000
"""Test images of the sample."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained and tested; the others are copies with other settings and other answers."""
    run = train(quick(tmp_path_factory.mktemp("compare"), epochs=1)).run
    evaluate(run / "best.pt")
    return run


@pytest.fixture
def make(trained: Path, tmp_path: Path) -> Make:
    """Make a run of a name, with so many right answers, the first of the images or those that are named."""

    def make(name: str, right: int | Iterable[int] = 500, **changes: Any) -> Path:
        run = tmp_path / name
        shutil.copytree(trained, run)
        change_settings(run, **changes)
        answer(run, set(range(right) if isinstance(right, int) else right))
        return run

    return make


def change_settings(run: Path, **changes: Any) -> None:
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))


def answer(run: Path, right: set[int]) -> None:
    """Have a run's saved answers be right on these images, and as wrong as can be on the others."""
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        heading, *rows = csv.reader(file)
    figures = json.loads((run / "eval.json").read_text())
    names = [row["name"] for row in figures["classes"]]
    confusion = [[0] * len(names) for _ in names]
    for index, row in enumerate(rows):
        label = names.index(row[1])
        place = label if index in right else (label + 1) % len(names)
        row[2] = names[place]
        confusion[label][place] += 1
    with (run / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([heading, *rows])
    change_figures(run, confusion=confusion)


def change_figures(run: Path, **changes: Any) -> None:
    path = run / "eval.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def study(make: Make, name: str, rights: Iterable[int], first: int = 0, **changes: Any) -> Path:
    """Make a run for each seed."""
    runs = [
        make(f"{name}/seed-{seed}", right, seed=seed, **changes)
        for seed, right in zip(count(first), rights, strict=False)
    ]
    return runs[0].parent


# Two nets


def test_two_runs_are_compared_on_the_very_same_images_by_mcnemar(make: Make) -> None:
    one = make("one", range(600), lr=0.1)
    two = make("two", range(40, 700), lr=0.01)
    result = compare([one, two])
    (pair,) = result.pairs
    assert [setting.name for setting in result.settings] == ["lr=0.1", "lr=0.01"]
    assert (pair.only_first, pair.only_second, pair.test) == (40, 100, "McNemar, exact")
    assert pair.difference == pytest.approx(0.06)
    assert pair.p_value == pytest.approx(stats.binomtest(40, 140).pvalue)
    assert pair.verdict == "better"
    assert "about these two trained nets and not about their settings" in pair.in_words()
    rights = [setting.runs[0].predictions.correct for setting in result.settings]
    assert pair.p_value == compare_nets(*rights).p_value


def test_two_nets_that_answer_alike_cannot_be_told_apart(make: Make) -> None:
    (pair,) = compare([make("one", lr=0.1), make("two", lr=0.01)]).pairs
    assert (pair.p_value, pair.verdict) == (1, "the same")
    assert pair.in_words() == "The nets of lr=0.01 and lr=0.1 give the same answer to each of 1,000 images."


def test_of_a_single_run_and_a_study_the_nets_of_the_same_seed_are_compared(make: Make) -> None:
    one = make("one", 500, lr=0.1, seed=2)
    several = study(make, "s", (600, 610, 505), lr=0.01)
    (pair,) = compare([one, several]).pairs
    assert (pair.test, pair.first_seeds, pair.second_seeds) == ("McNemar, exact", (2,), (2,))
    assert (pair.only_second, pair.verdict) == (5, "cannot tell")


def test_a_copy_of_a_run_is_called_by_its_folder(make: Make) -> None:
    result = compare([make("one"), make("two")])
    assert [setting.name for setting in result.settings] == ["one", "two"]
    assert result.pairs[0].p_value == 1
    same_name = compare([make("a/net"), make("b/net")])
    assert [Path(setting.name).parts[-2:] for setting in same_name.settings] == [("a", "net"), ("b", "net")]


# Several seeds


def test_runs_that_differ_in_the_seed_alone_are_one_setting_and_are_compared_by_seed(make: Make) -> None:
    before, after = (500, 520, 530), (520, 545, 548)
    runs = [make(f"a{seed}", right, lr=0.1, seed=seed) for seed, right in enumerate(before)]
    # Settings of the machine, and options that are the default anyway, make no other net.
    runs += [
        make(f"b{seed}", right, lr=0.01, seed=seed, threads=seed + 1, keep_epochs=True)
        for seed, right in enumerate(after)
    ]
    change_settings(runs[-1], model_options={"activation": "tanh", "pooling": "avg"})
    result = compare(runs)
    assert [(s.name, s.seeds, s.accuracies) for s in result.settings] == [
        ("lr=0.1", [0, 1, 2], [0.5, 0.52, 0.53]),
        ("lr=0.01", [0, 1, 2], [0.52, 0.545, 0.548]),
    ]
    first, second = result.settings
    assert second.mean == pytest.approx(mean(second.accuracies))
    assert second.std == pytest.approx(stdev(second.accuracies))
    (pair,) = result.pairs
    expected = stats.ttest_rel(second.accuracies, first.accuracies)
    assert pair.test == "Student's t, paired"
    assert pair.p_value == pytest.approx(expected.pvalue)
    assert (pair.low, pair.high) == pytest.approx(tuple(expected.confidence_interval()), abs=1e-5)
    assert pair.in_words().startswith("lr=0.01 is better than lr=0.1 by 2.10 points (95% interval 1.")


def test_noise_is_called_noise_and_the_seeds_that_it_takes_are_told(make: Make) -> None:
    one = study(make, "one", (500, 520, 530, 510, 540), lr=0.1)
    two = study(make, "two", (505, 530, 510, 530, 535), lr=0.01)
    (pair,) = compare([one, two]).pairs
    assert (pair.verdict, pair.test) == ("cannot tell", "Student's t, paired")
    assert pair.seeds_needed is not None
    assert pair.seeds_needed > 5
    assert pair.in_words().startswith(
        f"5 seeds cannot tell lr=0.01 from lr=0.1; about {pair.seeds_needed} would. Were the true difference the 0.20 "
    )


def test_from_eight_seeds_on_signs_are_flipped(make: Make) -> None:
    one = study(make, "one", range(500, 508), lr=0.1)
    two = study(make, "two", range(520, 536, 2), lr=0.01)
    (pair,) = compare([one, two]).pairs
    assert (pair.test, pair.p_value) == ("sign flips", 2 / 2**8)


def test_other_seeds_are_compared_unpaired_and_fewer_of_the_same_by_those(make: Make) -> None:
    one = study(make, "one", (500, 520, 530, 510), lr=0.1)
    other = study(make, "other", (505, 530, 510), first=9, lr=0.01)
    (pair,) = compare([one, other]).pairs
    accuracies = [0.5, 0.52, 0.53, 0.51], [0.505, 0.53, 0.51]
    assert pair.test == "Welch's t"
    assert pair.p_value == pytest.approx(stats.ttest_ind(*accuracies, equal_var=False).pvalue)
    assert pair.in_words().startswith("3 and 4 seeds cannot tell lr=0.01 from lr=0.1")
    fewer = study(make, "fewer", (505, 530, 510), lr=0.01)
    (pair,) = compare([one, fewer]).pairs
    assert (pair.test, pair.first_seeds) == ("Student's t, paired", (0, 1, 2))


def test_seeds_without_spread_are_never_certain(make: Make) -> None:
    one = study(make, "one", (500, 510, 520), lr=0.1)
    two = study(make, "two", (530, 540, 550), lr=0.01)
    (pair,) = compare([one, two]).pairs
    assert (pair.test, pair.p_value, pair.low) == ("sign flips", 0.25, None)
    assert pair.in_words() == "3 seeds cannot tell lr=0.01 from lr=0.1: so few never can."
    same = study(make, "same", (500, 510, 520), lr=0.001)
    (pair,) = compare([one, same]).pairs
    assert (pair.p_value, pair.in_words()) == (
        1,
        "3 seeds cannot tell lr=0.001 from lr=0.1: they have reached the same.",
    )
    flat = compare([study(make, "flat", (500, 500), lr=0.5), one]).settings[0]
    assert (flat.std, flat.interval) == (0, None)


def test_many_pairs_are_corrected_together_and_a_baseline_has_fewer(make: Make) -> None:
    studies = [
        study(make, "a", (500, 501, 503), lr=0.1),
        study(make, "b", (502, 504, 505), lr=0.01),
        study(make, "c", (520, 522, 529), lr=0.001),
    ]
    result = compare(studies)
    assert len(result.pairs) == 3
    assert all(pair.p_adjusted >= pair.p_value for pair in result.pairs)
    assert min(p.p_adjusted for p in result.pairs) == pytest.approx(3 * min(p.p_value for p in result.pairs))
    fewer = compare(studies, baseline="lr=0.01")
    assert [(pair.first, pair.second) for pair in fewer.pairs] == [
        ("lr=0.01", "lr=0.1"),
        ("lr=0.01", "lr=0.001"),
    ]
    with pytest.raises(UsageError, match=r"unknown setting 'lr=0.02'. Did you mean 'lr=0.01'"):
        compare(studies, baseline="lr=0.02")


def test_what_one_pair_alone_would_show_and_many_do_not_is_said(make: Make) -> None:
    studies = [
        study(make, "a", (500, 510, 520), lr=0.1),
        study(make, "b", (505, 516, 529), lr=0.01),
        study(make, "c", (501, 500, 530), lr=0.001),
    ]
    pair = compare(studies).pairs[0]
    assert pair.p_value < 0.05 < pair.p_adjusted
    assert pair.verdict == "cannot tell"
    assert "would do for one pair alone, but among 3 chance brings that about too easily" in pair.in_words()


# A study


def test_a_study_alone_compares_its_own_settings_by_what_is_unusual_of_them(
    make: Make, tmp_path: Path
) -> None:
    for seed in range(2):
        study(make, f"s/base{seed}", (500,), first=seed)
        study(make, f"s/lr{seed}", (500,), first=seed, lr=0.1)
        study(make, f"s/wd{seed}", (500,), first=seed, weight_decay=0.01, augment=["flip", "crop"])
    result = compare([tmp_path / "s"])
    names = ["base", "lr=0.1", "augment=flip+crop weight_decay=0.01"]
    assert [setting.name for setting in result.settings] == names
    assert result.settings[0].differs == {"augment": "none", "lr": "0.001", "weight_decay": "0"}
    assert result.study == tmp_path / "s"


def test_a_study_of_one_setting_shows_how_far_apart_chance_puts_it(make: Make, command: Command) -> None:
    study(make, "s", (500, 520, 530))
    done = command("compare", "s")
    assert (done.code, done.err) == (0, "")
    assert "differ in nothing but the seed" in done.out
    assert "51.67%" in done.out
    assert done.out.endswith("s/comparison.png\n")


def test_nets_of_other_models_are_called_by_them(make: Make) -> None:
    one = make("one", model="lenet", model_options={"activation": "relu"})
    two = make("two", model="alexnet", model_options={}, image_size=67)
    names = [setting.name for setting in compare([one, two]).settings]
    assert names == ["model=lenet activation=relu image_size=none", "model=alexnet image_size=67"]


def test_what_has_not_ended_is_left_out_of_a_study_and_said_of_a_run(make: Make, tmp_path: Path) -> None:
    whole = study(make, "whole", (500, 510), lr=0.1)
    part = study(make, "part", (500, 510, 520), lr=0.01, epochs=1)
    for seed in (0, 1):
        change_settings(whole / f"seed-{seed}", epochs=1)
    change_settings(part / "seed-2", epochs=9)
    (part / "seed-9").mkdir()
    (part / "seed-9" / "config.yaml").write_text((part / "seed-0" / "config.yaml").read_text())
    result = compare([whole, part])
    assert [len(setting.runs) for setting in result.settings] == [2, 2]
    assert any("seed-2 has not ended: it has 1 of 9 epochs" in note for note in result.notes)
    assert any("Left out: " in note and "seed-9 holds no history.csv" in note for note in result.notes)
    assert "compared as it is" in compare([part / "seed-2", whole / "seed-0"]).notes[0]
    (part / "seed-1" / "best.pt").unlink()
    with pytest.raises(CnnzooError, match=r"seed-1 has no best.pt"):
        compare([part / "seed-1", whole])


def test_runs_with_automatic_precision_are_one_setting_whatever_it_took(make: Make) -> None:
    one, two = make("s/seed-0", 500, seed=0), make("s/seed-1", 510, seed=1)
    assert compare([one.parent]).notes == []
    change_settings(two, recorded={**read_recorded(two), "precision": "bf16"})
    change_figures(two, precision="bf16")
    result = compare([one.parent])
    assert [run.recorded.seed for run in result.settings[0].runs] == [0, 1]
    assert result.notes == [
        "`--precision auto` took bf16 in 1 and fp32 in 1 of the runs; it counts as one setting."
    ]
    change_settings(two, precision="bf16")  # which is a setting that somebody chose
    assert [setting.name for setting in compare([one, two]).settings] == ["precision=auto", "precision=bf16"]


def test_figures_in_another_precision_than_the_runs_own_are_computed_again_and_stay(make: Make) -> None:
    one, two = make("one", 500, lr=0.1), make("two", 500, lr=0.01)
    change_figures(two, precision="bf16")
    saved = (two / "eval.json").read_bytes()
    accuracies = [setting.runs[0].predictions.accuracy for setting in compare([one, two]).settings]
    assert accuracies[0] == 0.5
    assert accuracies[1] == pytest.approx(evaluate(two / "best.pt", save=False).accuracy)
    assert (two / "eval.json").read_bytes() == saved


def test_a_run_that_two_studies_have_counts_once(make: Make) -> None:
    studies = [
        study(make, "rates/base", (500, 510)).parent,
        study(make, "init/base", (500, 510)).parent,
    ]
    study(make, "rates/small", (520, 530), lr=0.01)
    study(make, "init/he", (540, 550), init="he")
    result = compare(studies)
    assert [setting.name for setting in result.settings] == ["base", "lr=0.01", "init=he"]
    assert [len(setting.runs) for setting in result.settings] == [2, 2, 2]
    assert result.notes == ["2 of the runs have settings, seed and results of others here, and count once."]


def test_a_run_with_a_limit_of_steps_is_over_once_they_are_done(tmp_path: Path) -> None:
    done = train(quick(tmp_path, max_steps=3, limit_train=64, seed=1)).run
    other = train(quick(tmp_path, max_steps=3, limit_train=64, lr=0.01)).run
    result = compare([done.parent])
    assert (len(result.settings), result.notes) == (2, [])
    assert other.is_dir()
    stopped = train(quick(tmp_path, max_steps=99, limit_train=64, epochs=1, seed=2)).run
    change_settings(stopped, epochs=99)
    assert "has not ended" in " ".join(compare([done.parent]).notes)


def test_other_numbers_of_epochs_are_said(make: Make) -> None:
    one, two = make("one", lr=0.1), make("two", epochs=2)
    history = (two / "history.csv").read_text()
    second = history.splitlines()[1].replace("1,", "2,", 1)
    (two / "history.csv").write_text(f"{history}{second}\n")
    result = compare([one, two])
    assert "different numbers of epochs, 1 to 2" in result.notes[0]


# What is saved, and what is refused


def test_a_net_is_asked_again_where_what_is_saved_is_not_its_own_or_does_not_fit(
    make: Make, trained: Path
) -> None:
    truth = evaluate(trained / "best.pt", save=False).accuracy
    sound, old, torn, gone, odd = (make(name, 500, lr=lr) for lr, name in enumerate("abcde", 1))
    change_figures(old, checkpoint_sha256="0" * 64)
    lines = (torn / "predictions.csv").read_text().splitlines(keepends=True)
    (torn / "predictions.csv").write_text("".join(lines[:-1]))
    (gone / "eval.json").unlink()
    (odd / "predictions.csv").write_text(
        "".join([lines[0], f'"{lines[1][1:]}', *lines[2:]])
    )  # a cell without end
    result = compare([sound, old, torn, gone, odd])
    assert [setting.mean for setting in result.settings] == [0.5, truth, truth, truth, truth]
    assert json.loads((gone / "eval.json").read_text())["accuracy"] == truth


def test_a_history_that_lost_a_column_is_refused_and_a_resume_mends_it(make: Make, command: Command) -> None:
    make("one", lr=0.1)
    two = make("two", lr=0.2)
    table = two / "history.csv"
    whole = table.read_text()
    table.write_text(whole.replace(",lr,", ",rate,"))
    refused = command("compare", "one", "two", "--out", ".")
    assert refused.code == 1
    assert "history.csv is no history as cnnzoo writes it: no column lr. " in refused.err
    assert f"`cnnzoo train --resume {two.name}`" in refused.err
    assert command("train", "--resume", "two", "--out", ".").code == 0
    assert table.read_text() == whole
    assert command("compare", "one", "two", "--out", ".").code == 0


def test_ten_crops_are_not_taken_for_a_test_and_not_written_over(make: Make, trained: Path) -> None:
    one, two = make("one", lr=0.1), make("two", lr=0.2)
    change_figures(two, ten_crop=True)
    before = (two / "eval.json").read_bytes()
    result = compare([one, two])
    assert result.settings[1].mean == evaluate(trained / "best.pt", save=False).accuracy
    assert (two / "eval.json").read_bytes() == before


def test_other_images_and_other_classes_are_refused(make: Make) -> None:
    one, two = make("one", lr=0.1), make("two", lr=0.2)
    change_figures(two, data_sha256="0123456789abcdef")
    with pytest.raises(CnnzooError, match=r"tested on other images, 1,000 of .* \(01234567\)\. .*--dataset"):
        compare([one, two])
    figures = json.loads((one / "eval.json").read_text())
    classes = [{**row, "name": row["name"].replace("Bag", "Sack")} for row in figures["classes"]]
    change_figures(two, classes=classes)
    text = (two / "predictions.csv").read_text().replace("Bag", "Sack")
    (two / "predictions.csv").write_text(text)
    with pytest.raises(CnnzooError, match=r"other classes apart: Bag only in .*one; Sack only in .*two"):
        compare([one, two])


def test_one_run_is_nothing_to_compare_and_a_run_named_twice_counts_once(make: Make, tmp_path: Path) -> None:
    one = make("s/seed-0")
    with pytest.raises(
        UsageError, match=r"there is one run alone, .*seed-0, .* named twice and counts once\."
    ):
        compare([one, one])
    with pytest.raises(UsageError, match="there is one run alone"):
        compare([one.parent])
    two = make("two", lr=0.1)
    result = compare([one.parent, two, one])
    assert [len(setting.runs) for setting in result.settings] == [1, 1]
    assert result.notes == [f"{one} is named twice and counts once."]
    (tmp_path / "empty").mkdir()
    with pytest.raises(CnnzooError, match="holds no run"):
        compare([tmp_path / "empty", one])


# What is shown


@pytest.fixture
def three(make: Make, tmp_path: Path) -> list[Path]:
    return [
        study(make, "a", (500, 520, 530, 510, 540), lr=0.1),
        study(make, "b", (505, 530, 510, 530, 535), lr=0.01),
        study(make, "c", (600, 640, 660, 650, 660), weight_decay=0.25),
    ]


@pytest.mark.parametrize("columns", ["40", "80"])
def test_the_tables_fit(
    command: Command, monkeypatch: pytest.MonkeyPatch, three: list[Path], columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    done = command("compare", "a", "b", "c", "-o", "picture.svg")
    assert (done.code, done.err) == (0, "")
    assert max(cell_len(line.rstrip()) for line in done.out.splitlines()) <= int(columns)
    for said in ("weight_decay=0.25", "52.00%", "cannot tell", "better", "p (Holm)", "picture.svg"):
        assert said in done.out
    assert Path("picture.svg").is_file()


@pytest.mark.slow
def test_every_format_has_stdout_for_itself(command: Command, three: list[Path]) -> None:
    result = compare(three)
    printed = {
        name: command("compare", "a", "b", "c", "--format", name)
        for name in ("json", "csv", "latex", "markdown")
    }
    assert {(done.code, done.err) for done in printed.values()} == {(0, "")}
    assert not Path("comparison.png").exists()
    document = json.loads(printed["json"].out)
    assert document["pairs"] == json.loads(json.dumps(result.to_dict()["pairs"]))
    assert document["settings"][0]["runs"][0]["test_acc"] == 0.5
    rows = list(csv.DictReader(io.StringIO(printed["csv"].out)))
    assert [float(row["p_value"]) for row in rows] == [pair.p_value for pair in result.pairs]
    assert float(rows[0]["first_mean"]) == pytest.approx(0.52)
    first, second = printed["markdown"].out.split("\n\n")
    assert first.splitlines()[1].count("---") == first.splitlines()[2].count(" | ") + 1
    assert len(second.splitlines()) == 2 + len(result.pairs)
    assert printed["latex"].out.count(r"\begin{tabular}") == 2
    assert r"52.00\%" in printed["latex"].out
    assert r"weight\_decay" in printed["latex"].out


def test_the_picture_has_a_band_for_each_setting_of_several_seeds(make: Make, three: list[Path]) -> None:
    figure = plot_comparison(compare([*three, make("alone", 400, lr=0.5)]))
    loss, accuracy, dots = figure.axes
    for axes in (loss, accuracy):
        assert len([made for made in axes.collections if isinstance(made, PolyCollection)]) == 3
    assert [label.get_text() for label in dots.get_yticklabels()] == [
        "lr=0.1", "lr=0.01", "lr=0.001 weight_decay=0.25", "lr=0.5",
    ]  # fmt: skip
    shown = [sorted(np.asarray(line.get_xdata()).tolist()) for line in dots.lines if line.get_marker() == "o"]
    assert shown == [
        [0.5, 0.51, 0.52, 0.53, 0.54],
        [0.505, 0.51, 0.53, 0.53, 0.535],
        [0.6, 0.64, 0.65, 0.66, 0.66],
        [0.4],
    ]


def test_a_picture_of_another_kind_is_refused_before_anything_is_tested(
    command: Command, three: list[Path]
) -> None:
    (three[0] / "seed-0" / "eval.json").unlink()
    done = command("compare", "a", "b", "-o", "picture.gif")
    assert done.code == 2
    assert "cannot draw picture.gif" in done.err
    assert not (three[0] / "seed-0" / "eval.json").exists()


def test_the_result_is_plain_data(three: list[Path]) -> None:
    result = compare(three)
    assert isinstance(result, ComparisonResult)
    assert json.loads(json.dumps(result.to_dict()))["metric"] == "test_acc"
    assert read_yaml(three[0] / "seed-1" / "config.yaml")["seed"] == 1
