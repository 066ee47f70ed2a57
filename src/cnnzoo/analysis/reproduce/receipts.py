"""What a recipe aims at, what its seeds gave, the judgement, and the receipt that says all of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from statistics import mean, stdev
from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Le

from cnnzoo.analysis.eval.intervals import t_interval, wilson_interval
from cnnzoo.errors import UsageError, unknown
from cnnzoo.validation import check

Metric = Literal["test_acc", "test_error", "test_top5_error"]

Verdict = Literal["reproduced", "better", "not reproduced"]

Share = Annotated[float, Ge(0), Le(1)]

WORDS = {"test_acc": "test accuracy", "test_error": "test error", "test_top5_error": "top-5 test error"}

RAN_ON = ("started", "device_name", "threads", "precision", "platform", "python", "torch", "cnnzoo")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A result to be reproduced.

    Attributes:
        metric: What is compared; always of the test images, and of the run's best epoch by its validation images.
        value: As a fraction.
        tolerance: How far from it the mean over the seeds may lie.
        source: Who got it: paper, page, table.
        ten_crop: Whether it was got by averaging over ten squares of each image.
    """

    metric: Metric
    value: Share
    tolerance: Share
    source: str
    ten_crop: bool = False

    @classmethod
    def from_dict(cls, values: object) -> "Target":
        """Build a target from plain values, as YAML holds them.

        Raises:
            UsageError: A key is missing or unknown, or a value does not fit.
        """
        known = get_type_hints(cls, include_extras=True)
        if not isinstance(values, Mapping):
            raise UsageError(
                f"a target has {', '.join(known)}. Write each on a line of its own below `target:`."
            )
        for key in values:
            if key not in known:
                raise unknown("key of a target", str(key), known)
        if missing := [f.name for f in fields(cls) if f.default is MISSING and f.name not in values]:
            raise UsageError(f"the target lacks {', '.join(missing)}. Add it below `target:`.")
        return cls(**{key: check(f"the target's {key}", known[key], value) for key, value in values.items()})

    def judge(self, value: float) -> Verdict:
        """Say whether a result is the target's, better, or not."""
        better_by = (value - self.value) * (1 if self.metric == "test_acc" else -1)
        if abs(better_by) <= self.tolerance + 1e-12:  # 0.1 + 0.2 is no better than 0.3
            return "reproduced"
        return "better" if better_by > 0 else "not reproduced"


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """What one seed gave.

    Attributes:
        seed: Of weights, split, order, augmentation and dropout.
        epochs: Trained in all.
        best_epoch: The one that was tested.
        val_acc: Its validation accuracy.
        test_acc: Its test accuracy.
        test_error: One minus that.
        test_top5_error: Share of the test images whose class is not among the five likeliest.
        num_images: Test images.
        seconds: Of all epochs together.
        ran_on: Started when, and by which versions on which machine.
        checkpoint_sha256: Of ``best.pt``.
        data_sha256: Of the training images.
        test_data_sha256: Of the test images.
    """

    seed: int
    epochs: int
    best_epoch: int
    val_acc: float
    test_acc: float
    test_error: float
    test_top5_error: float
    num_images: int
    seconds: float
    ran_on: Mapping[str, str]
    checkpoint_sha256: str
    data_sha256: str
    test_data_sha256: str


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A target, and what came of it.

    Attributes:
        target: What the recipe aims at.
        mean: Over the seeds.
        std: Standard deviation over the seeds (n - 1); None for a single one.
        low: Lower end of the 95% interval: Student's t for the mean of several seeds, Wilson's for the test
            images of a single one.
        high: Upper end.
        verdict: Of the mean.
    """

    target: Target
    mean: float
    std: float | None
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """All that is needed to check a result.

    Attributes:
        recipe: Name of the file.
        recipe_sha256: Its checksum.
        command: What runs it again.
        judgements: One for each target.
        seeds: One by one.
        config: The settings, without those that are the machine's.
    """

    recipe: str
    recipe_sha256: str
    command: str
    judgements: Sequence[Judgement]
    seeds: Sequence[SeedResult]
    config: Mapping[str, Any]

    @property
    def metrics(self) -> list[Metric]:
        """What the targets compare, each once."""
        return list(dict.fromkeys(judgement.target.metric for judgement in self.judgements))


def judge(target: Target, results: Sequence[SeedResult]) -> Judgement:
    """Hold the mean over the seeds against a target."""
    values = [float(getattr(result, target.metric)) for result in results]
    centre = mean(values)
    if len(values) > 1:
        std = stdev(values)
        low, high = t_interval(values)
    else:
        num, std = results[0].num_images, None
        low, high = wilson_interval(round(centre * num), num)
    return Judgement(
        target=target, mean=centre, std=std, low=low, high=high, verdict=target.judge(round(centre, 12))
    )


def as_json(receipt: Receipt) -> str:
    """Return the receipt as JSON, as receipt.json holds it."""
    return json.dumps(asdict(receipt), indent=2, ensure_ascii=False) + "\n"


def as_markdown(receipt: Receipt, title: str, recipe: str) -> str:
    """Return the receipt as a page: verdict, seeds, how to run it again, and on what it was run."""
    lines = [f"# {title}", ""]
    for judgement in receipt.judgements:
        lines += [_sentence(judgement, len(receipt.seeds)), ""]
    metrics = receipt.metrics
    lines += [
        f"| seed | best epoch | validation accuracy | {' | '.join(WORDS[m] for m in metrics)} | minutes |",
        "|---" * (4 + len(metrics)) + "|",
    ]
    for result in receipt.seeds:
        values = " | ".join(f"{getattr(result, metric):.2%}" for metric in metrics)
        epochs = f"{result.best_epoch} of {result.epochs}"
        lines.append(
            f"| {result.seed} | {epochs} | {result.val_acc:.2%} | {values} | {result.seconds / 60:.1f} |"
        )
    lines += [
        "",
        f"{receipt.seeds[0].num_images:,} test images. What was tested is each run's best epoch by its validation "
        "images; the test images had no part in choosing it.",
        "",
        f"Run again: `{receipt.command}`",
        "",
        *(f"- {line}" for line in _where(receipt.seeds)),
        "",
        f"The recipe (SHA-256 `{receipt.recipe_sha256}`):",
        "",
        "```yaml",
        recipe.rstrip(),
        "```",
        "",
    ]
    return "\n".join(lines)


def _where(seeds: Sequence[SeedResult]) -> Iterator[str]:
    """Yield a line for each day, machine and set of versions: which seeds were run there."""
    places: dict[str, list[int]] = {}
    for result in seeds:
        on = {**dict.fromkeys(RAN_ON, "?"), **result.ran_on}
        place = (
            f"{on['started'][:10]}: {on['device_name']}, {on['precision']}, {on['platform']}; Python {on['python']}, "
            f"torch {on['torch']}, cnnzoo {on['cnnzoo']}"
        )
        places.setdefault(place, []).append(result.seed)
    for place, numbers in places.items():
        yield f"seed{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))} on {place}"


def _sentence(judgement: Judgement, num_seeds: int) -> str:
    """Return a judgement in words."""
    target = judgement.target
    spread = f" ± {judgement.std:.2%} (standard deviation)" if judgement.std is not None else ""
    over = f"{num_seeds} seeds" if num_seeds > 1 else "one seed"
    return (
        f"**{judgement.verdict.capitalize()}**: {WORDS[target.metric]} {judgement.mean:.2%}{spread} over {over}, "
        f"95% interval {judgement.low:.2%} to {judgement.high:.2%}; the target is {target.value:.2%} within "
        f"{target.tolerance:.2%} ({target.source})."
    )
