"""AlexNet's ideas, taken away or added one by one: is there a difference, and is it more than noise?

``python scripts/ideas.py [--seeds 3] [--out runs/ideas] [--receipt docs/receipts]`` trains AlexNet at 67×67 on the
sample that ships with cnnzoo, as it is and with one idea changed, with each seed, tests on the whole Fashion-MNIST
test set, and writes ``alexnet-ideas.md``, ``.json`` and ``.png``. What was done already is not done again.
"""

import argparse
import json
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from matplotlib.figure import Figure

from cnnzoo.analysis.evaluation import evaluate
from cnnzoo.analysis.intervals import t_interval
from cnnzoo.config import TrainConfig
from cnnzoo.device import describe_device, pick_device
from cnnzoo.training.resume import resume
from cnnzoo.training.train import train

BASE: dict[str, Any] = {
    "model": "alexnet",
    "dataset": "fashionmnist-sample",
    "image_size": 67,
    "epochs": 3,
    "lr": 0.0003,
    "scheduler": "cosine",
    "precision": "bf16",
}
AS_IT_IS = "as it is"
IDEAS: dict[str, dict[str, Any]] = {
    AS_IT_IS: {},
    "without dropout (section 4.2)": {"model_options": {"dropout": 0.0}},
    "plain pooling (section 3.4)": {"model_options": {"overlap": False}},
    "with response normalisation (section 3.3)": {"model_options": {"lrn": True}},
    "tanh for ReLU (section 3.1)": {"model_options": {"activation": "tanh"}},
    "flips and crops (section 4.1)": {"augment": ["flip", "crop"]},
    "fp32 for bf16 (no idea of the paper's)": {"precision": "fp32"},
}


def test_accuracy(idea: str, seed: int, out: Path) -> dict[str, Any]:
    """Train one net, unless it is there already, and test it."""
    name = f"{idea.partition(' (')[0].replace(' ', '-')}-{seed}"
    result = out / name / "idea.json"
    if not result.exists():
        if (out / name / "last.pt").exists():
            run = resume(out / name)
        else:
            run = train(
                TrainConfig.from_dict({**BASE, **IDEAS[idea], "seed": seed, "out": out, "name": name})
            )
        tested = evaluate(run.run / "best.pt", dataset="fashionmnist", precision=run.config.precision)
        row = run.history[-1]
        figures = {
            "test_acc": tested.accuracy,
            "train_loss": row.train_loss,
            "seconds": sum(row.seconds for row in run.history),
            "checkpoint_sha256": tested.checkpoint_sha256,
        }
        result.write_text(json.dumps(figures))
        print(f"{idea}, seed {seed}: {tested.accuracy:.2%}", flush=True)
    found: dict[str, Any] = json.loads(result.read_text())
    return found


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
    parser.add_argument("--out", type=Path, default=Path("runs/ideas"))
    parser.add_argument("--receipt", type=Path, default=Path("docs/receipts"))
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("one seed says nothing of noise: --seeds 2 or more.")
    found: dict[str, list[dict[str, Any]]] = {idea: [] for idea in IDEAS}
    for seed in range(arguments.seeds):
        for idea, results in found.items():
            results.append(test_accuracy(idea, seed, arguments.out))
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
