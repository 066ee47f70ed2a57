"""Write the receipts in docs/receipts anew from what they hold, as today's ``cnnzoo reproduce`` writes them.

``python scripts/rewrite_receipts.py``. Nothing is trained: each seed's figures, the checksums and the command stay. The
settings are made from the recipe as TrainConfig has them now, the mean, its interval and the verdict are computed from
the seeds, and the page is made of all that.
"""

import json
import shlex
from pathlib import Path

from cnnzoo.analysis.reproduce.receipts import Receipt, SeedResult, as_json, as_markdown, judge
from cnnzoo.analysis.reproduce.reproduce import read_recipe
from cnnzoo.analysis.sweep.sweep import OF_THE_MACHINE
from cnnzoo.config import TrainConfig
from cnnzoo.data.datasets import full_name
from cnnzoo.files import file_sha256

REPOSITORY = Path(__file__).parents[1]


def rewrite(path: Path) -> None:
    """Write a receipt and its page anew.

    Raises:
        SystemExit: Its recipe is not the one that it was made by.
    """
    held = json.loads(path.read_text(encoding="utf-8"))
    file = next(word for word in shlex.split(held["command"]) if word.endswith(".yaml"))
    recipe = REPOSITORY / file
    if file_sha256(recipe) != held["recipe_sha256"]:
        raise SystemExit(
            f"{file} is not the recipe that {path.name} was made by. Train it again: {held['command']}"
        )
    values, targets = read_recipe(recipe)
    config = TrainConfig.from_dict(values)
    if config.dataset is not None:
        config = config.replace(dataset=full_name(config.dataset))
    seeds = [SeedResult(**seed) for seed in held["seeds"]]
    receipt = Receipt(
        recipe=held["recipe"],
        recipe_sha256=held["recipe_sha256"],
        command=held["command"],
        judgements=[judge(target, seeds) for target in targets],
        seeds=seeds,
        config={key: value for key, value in config.to_dict().items() if key not in OF_THE_MACHINE},
    )
    path.write_text(as_json(receipt), encoding="utf-8")
    page = as_markdown(receipt, path.stem, recipe.read_text(encoding="utf-8"))
    path.with_suffix(".md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    for each in sorted((REPOSITORY / "docs" / "receipts").glob("*.json")):
        rewrite(each)
