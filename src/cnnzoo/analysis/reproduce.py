"""A recipe trained over several seeds, and judged by the result that it aims at, with a receipt."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Le

from cnnzoo.analysis.evaluation import evaluate
from cnnzoo.analysis.metrics import t_interval, wilson_interval
from cnnzoo.config import RECORDED, TARGET, TrainConfig, read_mapping, read_yaml
from cnnzoo.errors import UsageError, unknown
from cnnzoo.files import as_typed, file_sha256, replacing
from cnnzoo.models.registry import get_spec
from cnnzoo.trainer import InterruptedRunError, Reporter, RunResult, Silent, resume, train
from cnnzoo.validation import check

Metric = Literal["test_acc", "test_error", "test_top5_error"]
Verdict = Literal["reproduced", "better", "not reproduced"]
Share = Annotated[float, Ge(0), Le(1)]

WORDS = {"test_acc": "test accuracy", "test_error": "test error", "test_top5_error": "top-5 test error"}

_RAN_ON = ("started", "device_name", "precision", "platform", "python", "torch", "cnnzoo")

_OF_THE_MACHINE = ("data_dir", "device", "workers", "out", "name", "seed")
"""Settings that are no part of a recipe, and no receipt's business."""


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


def read_recipe(path: Path) -> tuple[dict[str, Any], tuple[Target, ...]]:
    """Read a recipe: its settings, and its targets, of which it may list several.

    Raises:
        CnnzooError: It cannot be read, or names no target.
    """
    values = read_mapping(path)
    values.pop(RECORDED, None)
    given = values.pop(TARGET, None)
    if given is None:
        raise UsageError(
            f"{path} names no target. Add one (metric, value, tolerance, source), or use cnnzoo train --config."
        )
    blocks = given if isinstance(given, list) and given else [given]
    return values, tuple(Target.from_dict(block) for block in blocks)


def reproduce(
    recipe: Path,
    *,
    seeds: int = 1,
    out: Path = Path("runs"),
    changes: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> Receipt:
    """Train a recipe with several seeds, test each, judge the mean, and write the receipt.

    Everything goes into a folder of ``out`` with the recipe's name: a run for each seed, ``receipt.json`` and
    ``receipt.md``. A seed that is there already is not trained again, one that was stopped goes on.

    Args:
        recipe: A YAML file of settings with a ``target``.
        seeds: How many, from the recipe's own on.
        out: Folder that holds the runs.
        changes: Settings of the machine: ``data_dir`` and ``device``.
        reporter: Told what happens; nobody by default.

    Raises:
        CnnzooError: The recipe cannot be read, or a run cannot be done.
        InterruptedRunError: Ctrl-C or SIGTERM; the same call goes on.
    """
    reporter = reporter or Silent()
    if seeds < 1:
        raise UsageError("--seeds 0 leaves nothing to do. Give 1 or more.")
    values, targets = read_recipe(recipe)
    text = recipe.read_bytes()
    folder = out.expanduser() / recipe.stem
    config = TrainConfig.from_dict(
        {**values, **(changes or {}), "out": folder, "name": None}, source=f"the settings in {recipe}"
    )
    ten_crop = _uses_ten_crop(targets, config, recipe)
    again = f"{_command(recipe, seeds)} --out {as_typed(out)}"
    results = []
    for seed in range(config.seed, config.seed + seeds):
        run = _train(config.replace(seed=seed, name=f"seed-{seed}"), recipe, again, reporter)
        results.append(_test(run, ten_crop, reporter))
    receipt = Receipt(
        recipe=recipe.name,
        recipe_sha256=hashlib.sha256(text).hexdigest(),
        command=_command(Path(recipe.name) if recipe.is_absolute() else recipe, seeds),
        judgements=[_judge(target, results) for target in targets],
        seeds=results,
        config={key: value for key, value in config.to_dict().items() if key not in _OF_THE_MACHINE},
    )
    page = _as_markdown(receipt, recipe.stem, text.decode())
    for name, content in {"receipt.json": _as_json(receipt), "receipt.md": page}.items():
        with replacing(folder / name) as file:
            file.write(content.encode())
    return receipt


def _command(recipe: Path, seeds: int) -> str:
    return f"cnnzoo reproduce {as_typed(recipe)} --seeds {seeds}"


def _uses_ten_crop(targets: Sequence[Target], config: TrainConfig, recipe: Path) -> bool:
    """Return whether the runs are to be tested on ten squares of each image.

    Raises:
        UsageError: The targets do not agree on it, or images are no larger than the net's.
    """
    asked = {target.ten_crop for target in targets}
    if len(asked) > 1:
        raise UsageError(f"the targets in {recipe} do not agree on ten_crop. Give all of them the same.")
    if asked == {True} and (config.resize or 0) <= (config.image_size or get_spec(config.model).image_size):
        raise UsageError(f"ten_crop cuts from images larger than the net's. Add `resize:` to {recipe}.")
    return asked == {True}


def _train(config: TrainConfig, recipe: Path, again: str, reporter: Reporter) -> RunResult:
    """Train a seed, or go on where it was stopped; of a complete one nothing is trained."""
    assert config.name is not None
    run = config.out / config.name
    try:
        if not (run / "last.pt").is_file():
            return train(config, reporter=reporter)
        _check_same(TrainConfig.from_dict(read_yaml(run / "config.yaml")), config, run, recipe)
        moved = {"data_dir": config.data_dir} if config.data_dir else {}  # else where the run found them
        return resume(run, {"device": config.device, **moved}, reporter=reporter)
    except InterruptedRunError as stopped:
        raise InterruptedRunError(
            f"stopped at seed {config.seed}, and saved. Go on with: {again}", run, stopped.exit_code
        ) from None


def _check_same(done: TrainConfig, asked: TrainConfig, run: Path, recipe: Path) -> None:
    """Refuse a run that was made by other settings than the recipe's."""
    before, now = done.to_dict(), asked.to_dict()
    loose = {name for name in ("dataset", "precision") if now[name] in (None, "auto")}  # the run found out
    differ = [
        f"{name} (was {before[name]!r}, now {now[name]!r})"
        for name in now
        if name not in (*_OF_THE_MACHINE, *loose) and before[name] != now[name]
    ]
    if differ:
        raise UsageError(
            f"{run} was not made by {recipe}; these differ: {', '.join(differ)}. Choose another --out."
        )


def _test(result: RunResult, ten_crop: bool, reporter: Reporter) -> SeedResult:
    """Test a run's best epoch, unless ``eval.json`` says that this very file was tested so already."""
    best = result.run / "best.pt"
    try:
        tested = json.loads((result.run / "eval.json").read_text(encoding="utf-8"))
        asked = {
            "checkpoint_sha256": file_sha256(best),
            "dataset": result.config.dataset,
            "split": "test",
            "ten_crop": ten_crop,
        }
        known = {**tested, **asked} == tested
    except (OSError, ValueError, TypeError):  # there is none, or it is damaged
        known = False
    if not known:
        tested = evaluate(
            best,
            ten_crop=ten_crop,
            device=result.config.device,
            data_dir=result.config.data_dir,
            reporter=reporter,
        ).to_dict()
    recorded = read_mapping(result.run / "config.yaml").get(RECORDED, {})
    return SeedResult(
        seed=result.config.seed,
        epochs=len(result.history),
        best_epoch=result.best.epoch,
        val_acc=result.best.val_acc,
        test_acc=tested["accuracy"],
        test_error=1 - tested["accuracy"],
        test_top5_error=1 - tested["top5_accuracy"],
        num_images=tested["num_images"],
        seconds=sum(row.seconds for row in result.history),
        ran_on={key: str(recorded[key]) for key in _RAN_ON if key in recorded},
        checkpoint_sha256=tested["checkpoint_sha256"],
        data_sha256=str(recorded.get("data_sha256", "")),
        test_data_sha256=tested["data_sha256"],
    )


def _judge(target: Target, results: Sequence[SeedResult]) -> Judgement:
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


def _as_json(receipt: Receipt) -> str:
    return json.dumps(asdict(receipt), indent=2, ensure_ascii=False) + "\n"


def _as_markdown(receipt: Receipt, title: str, recipe: str) -> str:
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
        on = {**dict.fromkeys(_RAN_ON, "?"), **result.ran_on}
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
