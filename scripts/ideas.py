"""AlexNet's ideas, taken away or added one by one: is there a difference, and is it more than noise?

``python scripts/ideas.py [--seeds 3] [--jobs N] [--out runs/ideas] [--receipt docs/receipts]`` trains the sweep of
``configs/alexnet-ideas.yaml``, tests its nets on the whole Fashion-MNIST test set, and writes ``alexnet-ideas.md``,
``.json`` and ``.png``. What was done already is not done again.
"""

import argparse
import json
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from matplotlib.figure import Figure

from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.analysis.eval.intervals import t_interval
from cnnzoo.analysis.sweep.study import sweep
from cnnzoo.analysis.sweep.variations import VARIANT
from cnnzoo.cli.studies import parse_jobs
from cnnzoo.config_file import read_sweep
from cnnzoo.device import describe_device, pick_device
from cnnzoo.files import file_sha256
from cnnzoo.training.result import RunResult

CONFIG = Path(__file__).parents[1] / "configs" / "alexnet-ideas.yaml"
BASE, _, VARIANTS = read_sweep(CONFIG)
IDEAS: dict[str, dict[str, Any]] = {idea: settings or {} for idea, settings in VARIANTS.items()}
AS_IT_IS = next(iter(IDEAS))


def figures(run: RunResult) -> dict[str, Any]:
    """Test a net, unless its eval.json says that this very file was tested so already."""
    best = run.run / "best.pt"
    try:
        tested = json.loads((run.run / "eval.json").read_text(encoding="utf-8"))
        known = (tested["checkpoint_sha256"], tested["dataset"]) == (file_sha256(best), "fashionmnist")
    except (OSError, ValueError, KeyError):
        known = False
    if not known:
        tested = evaluate(best, dataset="fashionmnist", precision=run.config.precision).to_dict()
    return {
        "test_acc": tested["accuracy"],
        "train_loss": run.history[-1].train_loss,
        "seconds": sum(row.seconds for row in run.history),
        "checkpoint_sha256": tested["checkpoint_sha256"],
    }


def judge(idea: str, accuracies: dict[str, list[float]]) -> dict[str, Any]:
    """Compare an idea with the net as it is, seed by seed."""
    values = accuracies[idea]
    differences = [a - b for a, b in zip(values, accuracies[AS_IT_IS], strict=True)]
    low, high = t_interval(differences)
    return {
        "idea": idea,
        "settings": IDEAS[idea],
        "test_acc": values,
        "mean": mean(values),
        "std": stdev(values),
        "difference": mean(differences),
        "low": low,
        "high": high,
        "verdict": ""
        if idea == AS_IT_IS
        else "noise"
        if low <= 0 <= high
        else "better"
        if low > 0
        else "worse",
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw each seed's accuracy and the mean, an idea a line."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        axes.plot(
            [100 * a for a in row["test_acc"]], [place] * len(row["test_acc"]), "o", color="C0", alpha=0.6
        )
        axes.plot([100 * row["mean"]], [place], "|", color="black", markersize=18)
    axes.axvline(100 * rows[0]["mean"], color="grey", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(rows)), [row["idea"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("test accuracy, % (dots: seeds, bars: means, dashed: as it is)")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Train, test, and write the receipt."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", help="runs side by side: a number, or auto")
    parser.add_argument("--out", type=Path, default=Path("runs/ideas"))
    parser.add_argument("--receipt", type=Path, default=Path("docs/receipts"))
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("one seed says nothing of noise: --seeds 2 or more.")
    study = sweep(
        {**BASE, "out": arguments.out.parent, "name": arguments.out.name},
        variants=IDEAS,
        seeds=arguments.seeds,
        jobs=parse_jobs(arguments.jobs),
    )
    if error := study.error():
        raise error
    found = {each.label[VARIANT]: [figures(run) for run in each.runs] for each in study.settings}
    accuracies = {idea: [result["test_acc"] for result in results] for idea, results in found.items()}
    rows = [judge(idea, accuracies) for idea in IDEAS]
    machine = describe_device(pick_device("auto"))
    versions = {name: version(name) for name in ("cnnzoo", "torch")}
    minutes = sum(result["seconds"] for results in found.values() for result in results) / 60
    command = f"python scripts/ideas.py --seeds {arguments.seeds}"
    document = {
        "command": command,
        "date": date.today().isoformat(),
        "machine": machine,
        "versions": versions,
        "base": BASE,
        "rows": rows,
        "runs": found,
    }
    arguments.receipt.mkdir(parents=True, exist_ok=True)
    (arguments.receipt / "alexnet-ideas.json").write_text(json.dumps(document, indent=2) + "\n")
    draw(rows, arguments.receipt / "alexnet-ideas.png")
    lines = [
        "# AlexNet's ideas, one by one",
        "",
        f"`alexnet` at 67×67, trained on the 4,800 images of the sample for {BASE['epochs']} epochs (Adam, "
        f"{BASE['lr']:g} falling along half a cosine, batch 32, bf16), as it is and with one idea changed, "
        f"{arguments.seeds} seeds each; accuracy of the best epoch on Fashion-MNIST's 10,000 test images.",
        "",
        "| | test accuracy | std | difference to as it is | 95% interval | |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['idea']} | {row['mean']:.2%} | {row['std']:.2%} "
            + (
                "| | | |"
                if row["idea"] == AS_IT_IS
                else f"| {100 * row['difference']:+.2f} points | "
                f"{100 * row['low']:+.2f} to {100 * row['high']:+.2f} | {row['verdict']} |"
            )
            for row in rows
        ),
        "",
        "![Test accuracy of each seed, an idea a line](alexnet-ideas.png)",
        "",
        "The difference is taken seed by seed: a seed has the same split and the same order of images in every "
        "row. Where its 95% interval (Student's t) holds 0, it is called noise. So few seeds, so few images and so "
        "short a training show large effects only; nothing here says what an idea is worth on ImageNet.",
        "",
        f"Run again: `{command}`",
        "",
        f"Run on {document['date']}: {machine}; "
        f"{', '.join(f'{name} {value}' for name, value in versions.items())}; {minutes:.0f} minutes of training.",
        "",
    ]
    (arguments.receipt / "alexnet-ideas.md").write_text("\n".join(lines))
    print(f"The receipt: {arguments.receipt / 'alexnet-ideas.md'}")


if __name__ == "__main__":
    main()
