"""A recipe trained over several seeds, and judged by the result that it aims at, with a receipt."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.analysis.eval.saved import saved_figures
from cnnzoo.analysis.reproduce.receipts import (
    RAN_ON,
    Receipt,
    SeedResult,
    Target,
    as_json,
    as_markdown,
    judge,
)
from cnnzoo.analysis.sweep.lanes import Fault, LaneReporter, Task, run_lanes
from cnnzoo.analysis.sweep.sweep import (
    OF_THE_MACHINE,
    ORPHAN_SECONDS,
    differences,
    error_of,
    share_of_cores,
    study_held,
)
from cnnzoo.config import TrainConfig
from cnnzoo.config_file import RECORDED, TARGET, read_recorded, read_yaml
from cnnzoo.data.datasets import full_name
from cnnzoo.device import granted_threads
from cnnzoo.errors import UsageError
from cnnzoo.files import as_typed, expanded, replacing
from cnnzoo.models.registry import get_spec
from cnnzoo.plain_yaml import read_mapping
from cnnzoo.precision import decided_once
from cnnzoo.runs.folder import released
from cnnzoo.training.reporter import Reporter
from cnnzoo.training.result import InterruptedRunError, RunResult
from cnnzoo.training.resume import resume
from cnnzoo.training.train import train


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
    jobs: int | str | None = None,
    listener: LaneReporter | None = None,
) -> Receipt:
    """Train a recipe with several seeds, test each, judge the mean, and write the receipt.

    Everything goes into a folder of ``out`` with the recipe's name: a run for each seed, ``receipt.json`` and
    ``receipt.md``. A seed that is there already is not trained again, one that was stopped goes on.

    Args:
        recipe: A YAML file of settings with a ``target``.
        seeds: How many, from the recipe's own on.
        out: Folder that holds the runs.
        changes: Settings of the machine: ``data_dir``, ``device`` and ``threads``.
        reporter: Told what happens; nobody by default.
        jobs: Seeds side by side: a number, or ``auto``; None for one after another.
        listener: Told what happens instead, where there are jobs.

    Raises:
        CnnzooError: The recipe cannot be read, or a run cannot be done.
        InterruptedRunError: A signal of ``signals.STOPS``; the same call goes on.
    """
    reporter = reporter or Reporter()
    if seeds < 1:
        raise UsageError("--seeds 0 leaves nothing to do. Give 1 or more.")
    values, targets = read_recipe(recipe)
    text = recipe.read_bytes()
    folder = expanded(out) / recipe.stem
    config = TrainConfig.from_dict(
        {**values, **(changes or {}), "out": folder, "name": None}, source=f"the settings in {recipe}"
    )
    if config.dataset is not None:  # as the runs are going to note it
        config = config.replace(dataset=full_name(config.dataset))
    ten_crop = _uses_ten_crop(targets, config, recipe)
    again = f"{_command(recipe, seeds)} --out {as_typed(out)}"
    lanes, threads = share_of_cores(config.threads, seeds, jobs)
    if threads == "auto":
        threads = granted_threads()  # and no watch, so that the receipt can name it
    configs = [
        config.replace(seed=seed, name=f"seed-{seed}", threads=threads)
        for seed in range(config.seed, config.seed + seeds)
    ]
    tasks = [
        Task(str(each.name), partial(_train_and_test, each, recipe, again, ten_crop)) for each in configs
    ]
    if jobs is None:
        results = [task.do(reporter) for task in tasks]
    else:
        results = _side_by_side(tasks, lanes, folder, again, listener, measured=jobs == "auto")
    receipt = Receipt(
        recipe=recipe.name,
        recipe_sha256=hashlib.sha256(text).hexdigest(),
        command=_command(Path(recipe.name) if recipe.is_absolute() else recipe, seeds),
        judgements=[judge(target, results) for target in targets],
        seeds=results,
        config={key: value for key, value in config.to_dict().items() if key not in OF_THE_MACHINE},
    )
    page = as_markdown(receipt, recipe.stem, text.decode())
    for name, content in {"receipt.json": as_json(receipt), "receipt.md": page}.items():
        with replacing(folder / name) as file:
            file.write(content.encode())
    return receipt


def _side_by_side(
    tasks: Sequence[Task[SeedResult]],
    lanes: int,
    folder: Path,
    again: str,
    listener: LaneReporter | None,
    *,
    measured: bool,
) -> list[SeedResult]:
    with study_held(folder):
        outcomes, stopped = run_lanes(tasks, lanes, listener or LaneReporter(), measured=measured)
    faults = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Fault)}
    if error := error_of(folder, faults, stopped, again=f"Go on with: {again}"):
        raise error
    return [outcome for outcome in outcomes.values() if isinstance(outcome, SeedResult)]


def _train_and_test(
    config: TrainConfig, recipe: Path, again: str, ten_crop: bool, reporter: Reporter
) -> SeedResult:
    return _test(_train(config, recipe, again, reporter), ten_crop, reporter)


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
        released(run, ORPHAN_SECONDS)
        with decided_once(config.out):
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
    if differ := differences(done, asked, OF_THE_MACHINE):
        raise UsageError(
            f"{run} was not made by {recipe}; these differ: {', '.join(differ)}. Choose another --out."
        )


def _test(result: RunResult, ten_crop: bool, reporter: Reporter) -> SeedResult:
    """Test a run's best epoch, unless this very file was tested so already."""
    best = result.run / "best.pt"
    precision = read_recorded(result.run).get("precision")
    tested = saved_figures(
        result.run, best, dataset=result.config.dataset, ten_crop=ten_crop, precision=precision
    )
    tested = tested or evaluate(
        best,
        ten_crop=ten_crop,
        device=result.config.device,
        data_dir=result.config.data_dir,
        reporter=reporter,
    )
    recorded = read_mapping(result.run / "config.yaml").get(RECORDED, {})
    return SeedResult(
        seed=result.config.seed,
        epochs=len(result.history),
        best_epoch=result.best.epoch,
        val_acc=result.best.val_acc,
        test_acc=tested.accuracy,
        test_error=1 - tested.accuracy,
        test_top5_error=1 - tested.top5_accuracy,
        num_images=tested.num_images,
        seconds=sum(row.seconds for row in result.history),
        ran_on={key: str(recorded[key]) for key in RAN_ON if key in recorded},
        checkpoint_sha256=tested.checkpoint_sha256,
        data_sha256=str(recorded.get("data_sha256", "")),
        test_data_sha256=tested.data_sha256,
    )
