"""Runs compared: what differs in their settings, what in their results, and whether that is more than chance."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from cnnzoo.analysis.intervals import t_interval
from cnnzoo.analysis.run_settings import (
    BASE,
    RecordedRun,
    group_by_settings,
    names_of,
    read_run,
    runs_below,
    settings_of,
    what_differs,
)
from cnnzoo.analysis.significance import (
    ALPHA,
    MCNEMAR,
    MOST_SEEDS,
    PERMUTATION,
    POWER,
    WELCH,
    Significance,
    compare_by_seed,
    compare_nets,
    compare_unpaired,
    holm,
)
from cnnzoo.analysis.tested import Tested, answers_of
from cnnzoo.errors import CnnzooError, UsageError, named, unknown
from cnnzoo.models.registry import import_models
from cnnzoo.runs.folder import resolve_run
from cnnzoo.runs.history import MEASURES
from cnnzoo.training.reporter import Reporter


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """A run and what its net says of the test images.

    Attributes:
        recorded: The run as its folder has it.
        tested: The answers of its best.pt.
    """

    recorded: RecordedRun
    tested: Tested

    @property
    def seed(self) -> int:
        """The seed that it was trained with."""
        return self.recorded.seed

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        best = self.recorded.history.best
        return {
            "run": str(self.recorded.folder),
            "seed": self.seed,
            "epochs": self.recorded.epochs,
            "best_epoch": best.epoch if best else None,
            "val_acc": best.value if best and best.measure == "val_acc" else None,
            "test_acc": self.tested.accuracy,
        }


@dataclass(frozen=True, eq=False)
class ComparedSetting:
    """Runs that differ in nothing but the seed.

    Attributes:
        name: What tells it from the others.
        differs: What of its settings is not the same in all, as a person writes it.
        runs: By seed.
    """

    name: str
    differs: dict[str, str]
    runs: list[ComparedRun]

    @property
    def seeds(self) -> list[int]:
        """Of its runs."""
        return [run.seed for run in self.runs]

    @property
    def accuracies(self) -> list[float]:
        """On the test images, by seed."""
        return [run.tested.accuracy for run in self.runs]

    @property
    def mean(self) -> float:
        """Of the accuracies."""
        return mean(self.accuracies)

    @property
    def std(self) -> float | None:
        """Their standard deviation (n - 1); None of a single one."""
        return stdev(self.accuracies) if len(self.runs) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% interval: of the mean over seeds (Student's t); of a single run, over the test images (Wilson).

        None where several seeds have reached the very same, which gives no spread to reckon with.
        """
        if len(self.runs) > 1:
            if len(set(self.accuracies)) == 1:
                return None
            low, high = t_interval(self.accuracies)
            return max(low, 0.0), min(high, 1.0)  # beyond which there is no accuracy
        return self.runs[0].tested.low, self.runs[0].tested.high

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        low, high = self.interval or (None, None)
        return {
            "name": self.name,
            "settings": self.differs,
            "seeds": self.seeds,
            "mean": self.mean,
            "std": self.std,
            "low": low,
            "high": high,
            "runs": [run.to_dict() for run in self.runs],
        }


@dataclass(frozen=True, kw_only=True)
class ComparedPair(Significance):
    """Two settings, and whether they differ.

    Attributes:
        first: Name of the one.
        second: Name of the other.
        difference: Mean test accuracy of the second less that of the first, as a fraction, over the seeds compared.
        first_seeds: Seeds of the first that were compared.
        second_seeds: Those of the second.
        num_images: Test images.
        same_answers: Whether both nets say the same of every image; of McNemar's test.
        p_adjusted: The p value corrected for the number of pairs (Holm); the verdict goes by it.
        num_pairs: How many pairs there are.
    """

    first: str
    second: str
    difference: float
    first_seeds: tuple[int, ...]
    second_seeds: tuple[int, ...]
    num_images: int
    same_answers: bool
    p_adjusted: float = 1.0
    num_pairs: int = 1

    @property
    def is_real(self) -> bool:
        """Whether the difference is more than chance, as far as these numbers go."""
        return self.p_adjusted < ALPHA

    @property
    def verdict(self) -> str:
        """What the test says of the second beside the first, in a word or two."""
        if self.is_real:
            return "better" if self.difference > 0 else "worse"
        return "the same" if self.same_answers else "cannot tell"

    def in_words(self) -> str:
        """Say what the test says, and what it does not."""
        better, worse = (self.second, self.first) if self.difference > 0 else (self.first, self.second)
        points = f"{100 * abs(self.difference):.2f} points"
        if not self.is_real and self.p_value < ALPHA:
            return (
                f"{self._who} cannot tell {self.second} from {self.first}: p = {written_p(self.p_value)} would do for "
                f"one pair alone, but among {self.num_pairs} chance brings that about too easily "
                f"({written_p(self.p_adjusted)} by Holm's correction)."
            )
        if self.test == MCNEMAR:
            return self._nets_in_words(better, worse, points)
        if self.is_real:
            interval = "" if self.low is None else f" (95% interval {points_between(self.low, self.high)})"
            return f"{self.second} is {self.verdict} than {self.first} by {points}{interval}."
        apart = f"{self._who} cannot tell {self.second} from {self.first}"
        if self.effect_size is None:
            return f"{apart}: {'so few never can' if self.difference else 'they have reached the same'}."
        if self.seeds_needed is None:
            return f"{apart}, nor would {MOST_SEEDS:,}: the difference seen is next to nothing."
        each = "" if self.is_paired else " of each"
        return (
            f"{apart}; about {self.seeds_needed:,}{each} would. Were the true difference the {points} seen "
            f"({abs(self.effect_size):.2f} standard deviations), so many seeds would find it in {POWER:.0%} of the "
            f"cases (t test, alpha {ALPHA})."
        )

    @property
    def is_paired(self) -> bool:
        """Whether runs of the same seed were set against each other."""
        return self.test not in (WELCH, PERMUTATION)

    @property
    def _who(self) -> str:
        first, second = len(self.first_seeds), len(self.second_seeds)
        if self.test == MCNEMAR:
            return f"{self.num_images:,} images"
        return f"{first} seeds" if first == second else f"{second} and {first} seeds"

    def _nets_in_words(self, better: str, worse: str, points: str) -> str:
        few, many = sorted((self.only_first or 0, self.only_second or 0))
        if self.same_answers:
            return f"The nets of {self.second} and {self.first} give the same answer to each of {self._who}."
        if not many:
            return f"The nets of {self.second} and {self.first} are right on the very same images."
        alone = f"{better} alone is right on {many:,}, {worse} alone on {few:,}"
        if not self.is_real:
            return f"{self._who} cannot tell the net of {self.second} from that of {self.first}: {alone}."
        return (
            f"The net of {better} is better than that of {worse} by {points}: of {self._who}, {alone}. That is about "
            "these two trained nets and not about their settings: another seed may turn it round. Train several."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        values = asdict(self)
        names = ("first", "second", "difference", *values)
        return {
            **{name: values[name] for name in names},
            "verdict": self.verdict,
            "in_words": self.in_words(),
        }


@dataclass(frozen=True, eq=False)
class ComparisonResult:
    """Settings compared by the test accuracy of their runs.

    Attributes:
        dataset: What they were tested on.
        num_images: How many test images.
        settings: Each with its runs.
        pairs: Any two of them, or each with the baseline.
        notes: What a person should know of how it came about.
        study: The study's folder, where one alone was named.
    """

    dataset: str
    num_images: int
    settings: list[ComparedSetting]
    pairs: list[ComparedPair]
    notes: list[str]
    study: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``cnnzoo compare --format json`` prints them."""
        return {
            "metric": "test_acc",
            "dataset": self.dataset,
            "num_images": self.num_images,
            "alpha": ALPHA,
            "power": POWER,
            "settings": [setting.to_dict() for setting in self.settings],
            "pairs": [pair.to_dict() for pair in self.pairs],
            "notes": self.notes,
        }


def compare(
    runs: Sequence[str | Path],
    *,
    out: Path = Path("runs"),
    baseline: str | None = None,
    dataset: str | None = None,
    data_dir: Path | None = None,
    imports: tuple[str, ...] = (),
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
        imports: Modules that register models.
        reporter: Told of progress.

    Raises:
        UsageError: A run is not there, or named twice and alone; or no setting is called like the baseline.
        CnnzooError: The runs have other test images or classes, or one cannot be evaluated.
    """
    reporter = reporter or Reporter()
    import_models(imports)
    notes: list[str] = []
    recorded = _read(runs, out, notes)
    tested = []
    for run in recorded:
        answers = answers_of(run.folder, dataset, data_dir=data_dir, imports=imports, reporter=reporter)
        tested.append(ComparedRun(run, answers))
        _check_same_images(tested[0], tested[-1])
    tested = _without_repeats(tested, notes)
    settings = _as_settings(tested)
    if len({run.recorded.epochs for run in tested}) > 1:
        shortest, longest = (pick(run.recorded.epochs for run in tested) for pick in (min, max))
        notes.append(
            f"The runs were trained for different numbers of epochs, {shortest} to {longest}: a difference may be that "
            "of time."
        )
    if baseline is not None and baseline not in (names := [setting.name for setting in settings]):
        raise unknown("setting", baseline, names)
    pairs = [
        _compared(first, second)
        for first, second in combinations(_first(settings, baseline), 2)
        if baseline in (None, first.name)
    ]
    first = tested[0].tested
    study = resolve_run(str(runs[0]), out) if len(runs) == 1 else None
    return ComparisonResult(first.dataset, len(first.right), settings, _corrected(pairs), notes, study)


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
    one, two = first.tested, other.tested
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
        sets = [f"{len(each.right):,} of {each.dataset} ({each.data_sha256[:8]})" for each in (one, two)]
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
        same = json.dumps([settings_of(recorded), run.seed, figures, run.tested.accuracy], default=str)
        kept.setdefault(f"{recorded.folder} {same}" if recorded.is_named else same, run)
    if repeats := len(runs) - len(kept):
        notes.append(f"{repeats} of the runs have settings, seed and results of others here, and count once.")
    return list(kept.values())


def _as_settings(runs: list[ComparedRun]) -> list[ComparedSetting]:
    """Return the runs by their settings, with the names of these; the usual one is the first."""
    of = {id(run.recorded): run for run in runs}
    groups = group_by_settings(run.recorded for run in runs)
    differs = what_differs([settings for settings, _ in groups])
    names = names_of(differs)
    made = []
    for name, differing, (_, members) in zip(names, differs, groups, strict=True):
        own = name
        if names.count(name) > 1 or not differing:  # the same settings and the same seed
            own = members[0].folder.name if len(members) == 1 else members[0].folder.parent.name
        ordered = sorted((of[id(run)] for run in members), key=lambda run: run.seed)
        made.append(ComparedSetting(own, differing, ordered))
    return _first(made, BASE)


def _compared(first: ComparedSetting, second: ComparedSetting) -> ComparedPair:
    """Compare two settings by the test that their runs allow."""
    if len(first.runs) == 1 or len(second.runs) == 1:
        one, two = _two_nets(first, second)
        result, before, after = compare_nets(one.tested.right, two.tested.right), [one], [two]
        same = bool((one.tested.answers == two.tested.answers).all())
    else:
        shared = set(first.seeds) & set(second.seeds)
        is_paired = len(shared) == min(len(first.runs), len(second.runs))
        before, after = (
            [run for run in side.runs if not is_paired or run.seed in shared] for side in (first, second)
        )
        same = False
        test = compare_by_seed if is_paired else compare_unpaired
        result = test([run.tested.accuracy for run in before], [run.tested.accuracy for run in after])
    return ComparedPair(
        **asdict(result),
        first=first.name,
        second=second.name,
        difference=mean(run.tested.accuracy for run in after) - mean(run.tested.accuracy for run in before),
        first_seeds=tuple(run.seed for run in before),
        second_seeds=tuple(run.seed for run in after),
        num_images=len(before[0].tested.right),
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


def points_between(low: float | None, high: float | None) -> str:
    """Return an interval of a difference in percentage points: ``-0.10 to 0.42``."""
    return "" if low is None or high is None else f"{100 * low:.2f} to {100 * high:.2f}"


def written_p(p_value: float) -> str:
    """Return a p value as papers write it: ``0.034``, ``<0.001``."""
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}" if p_value < 0.1 else f"{p_value:.2f}"
