"""What a comparison gives: settings with their runs, pairs of them with what a test says, in numbers and in words."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from cnnzoo.analysis.compare.settings import RecordedRun
from cnnzoo.analysis.compare.significance import (
    ALPHA,
    MAX_SEEDS,
    MCNEMAR,
    PERMUTATION,
    POWER,
    WELCH,
    Significance,
)
from cnnzoo.analysis.eval.intervals import t_interval
from cnnzoo.analysis.eval.saved import RunPredictions


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """A run and its test predictions.

    Attributes:
        recorded: The run as its folder has it.
        predictions: Those of its best.pt.
    """

    recorded: RecordedRun
    predictions: RunPredictions

    @property
    def seed(self) -> int:
        """The seed that it was trained with."""
        return self.recorded.seed

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        history = self.recorded.history
        at_best = history.frame[history.frame["epoch"] == history.best_epoch].to_dict("records")
        val_acc = at_best[0].get("val_acc", math.nan) if at_best else math.nan
        return {
            "run": str(self.recorded.folder),
            "seed": self.seed,
            "epochs": self.recorded.epochs,
            "best_epoch": history.best_epoch,
            "val_acc": val_acc if math.isfinite(val_acc) else None,
            "test_acc": self.predictions.accuracy,
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
        return [run.predictions.accuracy for run in self.runs]

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
        return self.runs[0].predictions.interval

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
            return f"{apart}, nor would {MAX_SEEDS:,}: the difference seen is next to nothing."
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


def points_between(low: float | None, high: float | None) -> str:
    """Return an interval of a difference in percentage points: ``-0.10 to 0.42``."""
    return "" if low is None or high is None else f"{100 * low:.2f} to {100 * high:.2f}"


def written_p(p_value: float) -> str:
    """Return a p value as papers write it: ``0.034``, ``<0.001``."""
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}" if p_value < 0.1 else f"{p_value:.2f}"
