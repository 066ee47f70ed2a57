"""Runs compared: what differs in their settings, what in their results, and whether that is more than chance."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from statistics import mean

from cnnzoo.analysis.compare.result import ComparedPair, ComparedRun, ComparedSetting, ComparisonResult
from cnnzoo.analysis.compare.settings import (
    BASE,
    RecordedRun,
    group_by_settings,
    names_of,
    read_run,
    runs_below,
    what_differs,
)
from cnnzoo.analysis.compare.significance import compare_by_seed, compare_nets, compare_unpaired, holm
from cnnzoo.analysis.eval.saved import run_predictions
from cnnzoo.errors import CnnzooError, UsageError, named, unknown
from cnnzoo.runs.folder import resolve_run
from cnnzoo.runs.history import MEASURES
from cnnzoo.training.reporter import Reporter


def compare(
    runs: Sequence[str | Path],
    *,
    out: Path = Path("runs"),
    baseline: str | None = None,
    dataset: str | None = None,
    data_dir: Path | None = None,
    reporter: Reporter | None = None,
) -> ComparisonResult:
    """Compare runs by their accuracy on the same test images, and test each difference for chance.

    Runs that differ in nothing but the seed, and in settings of the machine, are one setting. Two settings of several
    seeds are compared by seed where the seeds are the same, else unpaired; where one of them has a single run, two nets
    are compared on the images. All p values are corrected together by Holm's method.

    Args:
        runs: Folders of runs or of studies, or their names.
        out: The folder that holds them.
        baseline: Name of a setting that all others are compared with; by default any two are compared.
        dataset: Another data set to test on than the runs' own.
        data_dir: Where named data sets lie; by default where each run found them.
        reporter: Told of progress.

    Raises:
        UsageError: A run is not there, or named twice and alone; or no setting is called like the baseline.
        CnnzooError: The runs have other test images or classes, or one cannot be evaluated.
    """
    reporter = reporter or Reporter()
    notes: list[str] = []
    recorded = _read(runs, out, notes)
    compared = []
    for run in recorded:
        predictions = run_predictions(run.folder, dataset, data_dir=data_dir, reporter=reporter)
        compared.append(ComparedRun(run, predictions))
        _check_same_images(compared[0], compared[-1])
    compared = _without_repeats(compared, notes)
    settings = _as_settings(compared)
    if len({run.recorded.epochs for run in compared}) > 1:
        shortest, longest = (pick(run.recorded.epochs for run in compared) for pick in (min, max))
        notes.append(
            f"The runs were trained for different numbers of epochs, {shortest} to {longest}: a difference may be that "
            "of time."
        )
    taken = Counter(run.recorded.precision for run in compared if run.recorded.config.precision == "auto")
    if len(taken) > 1:
        counts = " and ".join(f"{precision} in {num}" for precision, num in sorted(taken.items()))
        notes.append(f"`--precision auto` took {counts} of the runs; it counts as one setting.")
    if baseline is not None and baseline not in (names := [setting.name for setting in settings]):
        raise unknown("setting", baseline, names)
    pairs = [
        _compared(first, second)
        for first, second in combinations(_first(settings, baseline), 2)
        if baseline in (None, first.name)
    ]
    first = compared[0].predictions
    study = resolve_run(str(runs[0]), out) if len(runs) == 1 else None
    return ComparisonResult(first.dataset, len(first.correct), settings, _corrected(pairs), notes, study)


def _first(settings: list[ComparedSetting], name: str | None) -> list[ComparedSetting]:
    return sorted(settings, key=lambda setting: setting.name != name)


def _read(words: Sequence[str | Path], out: Path, notes: list[str]) -> list[RecordedRun]:
    """Return the runs that are meant, each once; of a study those that are over, the others noted."""
    found: dict[Path, RecordedRun] = {}
    seen: set[Path] = set()
    for word in words:
        folder = resolve_run(str(word), out)
        inside = runs_below(folder)
        if not inside:
            raise CnnzooError(f"{folder} holds no run. Name a folder that `cnnzoo train` made.")
        for path in inside:
            if path.resolve() in seen:
                notes.append(f"{path} is named twice and counts once.")
                continue
            seen.add(path.resolve())
            is_named = path == folder
            try:
                run = read_run(path, is_named=is_named)
            except CnnzooError as error:
                if is_named:
                    raise
                notes.append(f"Left out: {error}")
                continue
            if not run.is_over:
                state = f"{path} has not ended: it has {run.epochs} of {run.config.epochs} epochs"
                if not is_named:
                    notes.append(
                        f"Left out: {state}. If it failed, the others show its setting better than it is."
                    )
                    continue
                notes.append(f"{state}, and is compared as it is.")
            found[path] = run
    if len(found) < 2:
        there = f"there is one run alone, {next(iter(found))}" if found else "there is no run"
        raise UsageError(
            f"{there}, and nothing to compare. Name two, or a study. {' '.join(notes[:3])}".rstrip()
        )
    return list(found.values())


def _check_same_images(first: ComparedRun, other: ComparedRun) -> None:
    """Refuse runs that were tested on other images, or know other classes."""
    one, two = first.predictions, other.predictions
    names = f"{first.recorded.folder} and {other.recorded.folder}"
    if set(one.classes) != set(two.classes):
        only = [
            f"{named(sorted(mine))} only in {run.recorded.folder}"
            for run, mine in (
                (first, set(one.classes) - set(two.classes)),
                (other, set(two.classes) - set(one.classes)),
            )
            if mine
        ]
        raise CnnzooError(
            f"{names} tell other classes apart: {'; '.join(only)}. Compare runs of one data set."
        )
    sizes = ("model", "image_size", "resize")
    decoded_alike = all(
        getattr(first.recorded.config, size) == getattr(other.recorded.config, size) for size in sizes
    )
    if not one.has_images_of(two, decoded_alike=decoded_alike):
        sets = [f"{len(each.correct):,} of {each.dataset} ({each.data_sha256[:8]})" for each in (one, two)]
        raise CnnzooError(
            f"{names} were tested on other images, {sets[0]} and {sets[1]}. Test both on the same with --dataset."
        )


def _without_repeats(runs: list[ComparedRun], notes: list[str]) -> list[ComparedRun]:
    """Return the runs without those of a study that another one has trained, too, to the same figures."""
    kept: dict[str, ComparedRun] = {}
    for run in runs:
        recorded = run.recorded
        measured = [name for name in recorded.history.frame if name in MEASURES]
        figures = recorded.history.frame[measured].to_json(double_precision=15)
        same = json.dumps([recorded.settings, run.seed, figures, run.predictions.accuracy], default=str)
        kept.setdefault(f"{recorded.folder} {same}" if recorded.is_named else same, run)
    if repeats := len(runs) - len(kept):
        notes.append(f"{repeats} of the runs have settings, seed and results of others here, and count once.")
    return list(kept.values())


def _as_settings(runs: list[ComparedRun]) -> list[ComparedSetting]:
    """Return the runs by their settings, with the names of these; the usual one is the first."""
    of = {id(run.recorded): run for run in runs}
    groups = group_by_settings(run.recorded for run in runs)
    differs = what_differs([members[0].settings for members in groups])
    names = names_of(differs)
    if len(set(names)) < len(names):  # the same settings and the same seed
        folders = [each[0].folder.parent if len(each) > 1 else each[0].folder for each in groups]
        plain = [folder.name for folder in folders]
        paths = plain if len(set(plain)) == len(plain) else [str(members[0].folder) for members in groups]
        names = [name if names.count(name) == 1 else path for name, path in zip(names, paths, strict=True)]
    elif not differs[0]:
        names = [groups[0][0].settings["model"]]
    settings = [
        ComparedSetting(name, differing, sorted((of[id(run)] for run in members), key=lambda run: run.seed))
        for name, differing, members in zip(names, differs, groups, strict=True)
    ]
    return _first(settings, BASE)


def _compared(first: ComparedSetting, second: ComparedSetting) -> ComparedPair:
    """Compare two settings by the test that their runs allow."""
    if len(first.runs) == 1 or len(second.runs) == 1:
        one, two = _two_nets(first, second)
        result, before, after = compare_nets(one.predictions.correct, two.predictions.correct), [one], [two]
        same = bool((one.predictions.predicted == two.predictions.predicted).all())
    else:
        shared = set(first.seeds) & set(second.seeds)
        is_paired = len(shared) == min(len(first.runs), len(second.runs))
        before, after = (
            [run for run in side.runs if not is_paired or run.seed in shared] for side in (first, second)
        )
        same = False
        test = compare_by_seed if is_paired else compare_unpaired
        result = test(
            [run.predictions.accuracy for run in before], [run.predictions.accuracy for run in after]
        )
    return ComparedPair(
        **asdict(result),
        first=first.name,
        second=second.name,
        difference=mean(run.predictions.accuracy for run in after)
        - mean(run.predictions.accuracy for run in before),
        first_seeds=tuple(run.seed for run in before),
        second_seeds=tuple(run.seed for run in after),
        num_images=len(before[0].predictions.correct),
        same_answers=same,
    )


def _two_nets(first: ComparedSetting, second: ComparedSetting) -> tuple[ComparedRun, ComparedRun]:
    """Return a run of each: of the same seed if there are such, else the first."""
    shared = [seed for seed in first.seeds if seed in second.seeds]
    one, two = (
        next((run for run in setting.runs if run.seed in shared[:1]), setting.runs[0])
        for setting in (first, second)
    )
    return one, two


def _corrected(pairs: list[ComparedPair]) -> list[ComparedPair]:
    adjusted = holm([pair.p_value for pair in pairs])
    return [
        replace(pair, p_adjusted=p, num_pairs=len(pairs)) for pair, p in zip(pairs, adjusted, strict=True)
    ]
