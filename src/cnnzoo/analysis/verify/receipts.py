"""Whether a receipt says what its seeds gave: what can be told without training."""

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from cnnzoo.analysis.reproduce.receipts import Judgement, Receipt, SeedResult, Target, as_markdown, judge
from cnnzoo.analysis.sweep.sweep import OF_THE_MACHINE
from cnnzoo.analysis.verify.checks import Check
from cnnzoo.config import TrainConfig
from cnnzoo.data.datasets import full_name
from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.files import file_sha256
from cnnzoo.plain_yaml import read_mapping
from cnnzoo.validation import check

Made = TypeVar("Made", SeedResult, Judgement)


def verify_receipt(path: Path) -> list[Check]:
    """Check a receipt of ``cnnzoo reproduce``: its form, its verdicts, its page, its recipe, and the runs beside it.

    Args:
        path: The JSON file. Its page is the ``.md`` file beside it; the recipe is looked for where its command names
            it, from the current folder and from those above the receipt.

    Raises:
        CnnzooError: It cannot be read, or is no receipt of ``cnnzoo reproduce``.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CnnzooError(f"{path} cannot be read: {one_line(error)}. Name a run or a receipt.") from error
    receipt = _read(values, path)
    try:
        return list(_checks(receipt, path))
    except (ValueError, TypeError, ArithmeticError) as error:
        raise CnnzooError(f"{path} is no receipt as cnnzoo writes it: {one_line(error)}.") from error


def _read(values: object, path: Path) -> Receipt:
    names = [field.name for field in fields(Receipt)]
    if not isinstance(values, dict) or not {"judgements", "seeds"} <= values.keys():
        raise CnnzooError(f"{path} is no receipt of `cnnzoo reproduce`. Name one, or a run's folder.")
    try:
        if missing := [name for name in names if name not in values]:
            raise UsageError(f"it lacks {', '.join(missing)}")
        if more := [name for name in values if name not in names]:
            raise UsageError(f"it has {more[0]!r}, which no receipt has")
        judgements = [
            _typed(Judgement, {**each, "target": Target.from_dict(each["target"])})
            for each in values["judgements"]
        ]
        seeds = [_typed(SeedResult, each) for each in values["seeds"]]
        if not seeds or not judgements:
            raise UsageError("it has no seeds, or no judgement")
        texts = {name: check(name, str, values[name]) for name in ("recipe", "recipe_sha256", "command")}
        config = check("config", dict[str, Any], values["config"])
        return Receipt(**texts, judgements=judgements, seeds=seeds, config=config)
    except (UsageError, KeyError, TypeError, AttributeError) as error:
        raise CnnzooError(f"{path} is not a receipt as cnnzoo writes it: {one_line(error)}.") from error


def _typed(kind: type[Made], values: Mapping[str, Any]) -> Made:
    types = get_type_hints(kind)
    if set(values) != set(types):
        raise UsageError(f"a {kind.__name__} has {', '.join(types)}")
    return kind(
        **{
            name: value if name == "target" else check(name, types[name], value)
            for name, value in values.items()
        }
    )


def _checks(receipt: Receipt, path: Path) -> Iterator[Check]:
    yield _seeds(receipt)
    for number, told in enumerate(receipt.judgements, 1):
        yield _judgement(
            told, receipt.seeds, "verdict" if len(receipt.judgements) == 1 else f"verdict {number}"
        )
    recipe = _recipe(receipt, path)
    yield _settings(receipt, recipe)
    yield _page(receipt, path, recipe)
    for seed in receipt.seeds:
        best = path.parent / f"seed-{seed.seed}" / "best.pt"
        if best.is_file():
            same = file_sha256(best) == seed.checkpoint_sha256
            what = "the one that was tested" if same else "it is not the one that was tested"
            yield Check(f"seed-{seed.seed}/best.pt", "ok" if same else "changed", what)


def _seeds(receipt: Receipt) -> Check:
    numbers = [seed.seed for seed in receipt.seeds]
    first = int(receipt.config.get("seed", numbers[0]))
    asked = re.search(r"--seeds (\d+)", receipt.command)
    if numbers != list(range(first, first + len(numbers))) or (asked and int(asked[1]) != len(numbers)):
        told = f"it has the seeds {', '.join(map(str, numbers))}, and its command is {receipt.command}"
        return Check("seeds", "changed", told)
    for seed in receipt.seeds:
        wrong = next((told for is_wrong, told in _impossible(seed) if is_wrong), None)
        if wrong:
            return Check("seeds", "changed", f"seed {seed.seed}: {wrong}")
    return Check("seeds", "ok", f"{len(numbers)}, none left out, with figures that go together")


def _impossible(seed: SeedResult) -> Iterator[tuple[bool, str]]:
    right = seed.test_acc * seed.num_images
    whole = f"test_acc {seed.test_acc} is no share of {seed.num_images:,} images"
    yield abs(right - round(right)) > 1e-4, whole
    yield abs(seed.test_acc + seed.test_error - 1) > 1e-9, "test_acc and test_error do not make up 1"
    yield seed.test_top5_error > seed.test_error + 1e-9, "test_top5_error is above test_error"
    yield not 1 <= seed.best_epoch <= seed.epochs, f"epoch {seed.best_epoch} is none of its {seed.epochs}"


def _judgement(told: Judgement, seeds: Sequence[SeedResult], name: str) -> Check:
    """Judge the seeds again, by the function that made the receipt."""
    found = judge(told.target, seeds)
    then, now = asdict(told), asdict(found)
    for key in ("mean", "std", "low", "high", "verdict"):
        same = then[key] == now[key]
        if isinstance(then[key], float) and isinstance(now[key], float):
            same = abs(then[key] - now[key]) < 1e-12
        if not same:
            return Check(name, "changed", f"{key} is {then[key]}, and {now[key]} by its seeds")
    return Check(name, "ok", f"{told.verdict}, by its seeds")


def _recipe(receipt: Receipt, path: Path) -> tuple[Path, str] | None:
    """Return the recipe's file and text, where one with the receipt's checksum is found."""
    words = shlex.split(receipt.command)
    named = next((word for word in words if word.endswith((".yaml", ".yml"))), receipt.recipe)
    folders = [Path(), *path.resolve().parents]
    for file in (folder / named for folder in folders):
        if file.is_file() and file_sha256(file) == receipt.recipe_sha256:
            return file, file.read_text(encoding="utf-8")
    return None


def _settings(receipt: Receipt, recipe: tuple[Path, str] | None) -> Check:
    """Hold the receipt's settings against those of its recipe."""
    if recipe is None:
        told = f"no {receipt.recipe} of its checksum is here: {receipt.recipe_sha256[:12]}…"
        return Check("recipe", "unknown", told)
    values = read_mapping(recipe[0])
    values.pop("recorded", None)
    targets = values.pop("target", [])
    wanted = [Target.from_dict(each) for each in (targets if isinstance(targets, list) else [targets])]
    if wanted != [judgement.target for judgement in receipt.judgements]:
        return Check("recipe", "changed", f"its targets are not those of {recipe[0]}")
    try:
        config = TrainConfig.from_dict(values)
        there = config.replace(dataset=full_name(config.dataset or "fashionmnist")).to_dict()
        here = TrainConfig.from_dict({"dataset": there["dataset"], **receipt.config}).to_dict()
    except CnnzooError as error:
        return Check("recipe", "changed", f"its settings are none: {one_line(error)}")
    differ = [
        key
        for key in there
        if key not in OF_THE_MACHINE and here[key] != there[key] and (key in receipt.config or key in values)
    ]
    if differ:
        wrong = (f"{key} is {here[key]!r}, and {there[key]!r} in {recipe[0].name}" for key in differ)
        return Check("recipe", "changed", "; ".join(wrong))
    return Check("recipe", "ok", f"{receipt.recipe}, by its checksum, and its settings")


def _page(receipt: Receipt, path: Path, recipe: tuple[Path, str] | None) -> Check:
    """Make the page again and hold it against the one beside the receipt."""
    page = path.with_suffix(".md")
    if not page.is_file():
        return Check(page.name, "unknown", "there is no page beside it")
    found = page.read_text(encoding="utf-8", errors="replace")
    printed = re.search(r"```yaml\n(.*?\n)```\n", found, re.DOTALL)
    if recipe is None and printed:
        is_same = hashlib.sha256(printed[1].encode()).hexdigest() == receipt.recipe_sha256
        recipe = (page, printed[1]) if is_same else None
    if recipe is None:
        return Check(page.name, "changed", "the recipe that it prints is not the one with its checksum")
    title = path.stem if path.name != "receipt.json" else path.parent.name
    if found == as_markdown(receipt, title, recipe[1]):
        return Check(page.name, "ok", "the page that the receipt makes")
    lines = as_markdown(receipt, title, recipe[1]).splitlines()
    there = next((line for line in found.splitlines() if line not in lines), "a line is missing")
    return Check(page.name, "changed", f"it is not the page that the receipt makes: {there[:80]}")
