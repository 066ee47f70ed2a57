"""cnnzoo beside what people would pick instead: the tutorial's script, Lightning, fastai, Keras on JAX.

``sh benchmarks/make_peers.sh`` installs the peers, once; then ``python benchmarks/compare.py [--models lenet]
[--peers tutorial,keras] [--rounds 3]``. Everybody trains the same net on Fashion-MNIST by the same recipe: batch 32,
Adam at 0.001, pixels in [0, 1], a fifth of the training images for validation. Each round starts every contestant
once, one after the other, each in a process of its own, as its documentation would have it written.

Images per second are over training and validation, without the writing of checkpoints, from the median of the epochs
after the first, which is shown beside it (JAX compiles in it). ``trained s`` is all that a person waits for: from the
start of the process to the end of training, imports, reading and checkpoints included. The tutorial tests one image at
a time and leaves its AlexNet's dropout on. cnnzoo always tests on all 10,000 images, and takes bf16 where its ``auto``
does; the peers' default is fp32, which ``--precision fp32`` makes cnnzoo's too.
"""

import argparse
import csv
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
PEERS = {
    "tutorial": "tutorial.py",
    "lightning": "lightning_loop.py",
    "fastai": "fastai_loop.py",
    "keras": "keras_loop.py",
}
IDX_FILES = [
    f"{split}-{part}" for split in ("train", "t10k") for part in ("images-idx3-ubyte", "labels-idx1-ubyte")
]
IMAGES = {"train": 48_000, "val": 12_000, "test": 10_000}
DEFAULTS = {
    "lenet": {"epochs": 3, **IMAGES},
    "alexnet": {"epochs": 2, "train": 960, "val": 240, "test": 1_000},  # the peers make 20 images a second
}
"""What is asked of everybody, by model."""

ABOUT_CNNZOO = """
import json
from importlib.metadata import version
import torch
from cnnzoo.data.named.catalog import DATASETS, DEFAULT_DATASET
from cnnzoo.data.named.locate import locate
from cnnzoo.device import describe_device
found = locate(DATASETS[DEFAULT_DATASET], None)
print(json.dumps({
    "folder": found and str(found[0]),
    "machine": describe_device(torch.device("cpu")),
    "versions": {name: version(name) for name in ("cnnzoo", "torch")},
}))
"""
ABOUT_PEERS = """
import json
from importlib.metadata import version
print(json.dumps({name: version(name) for name in ("torch", "lightning", "fastai", "keras", "jax")}))
"""

Result = dict[str, Any]
"""What a run, or the median of several, gave: seconds, fractions, images per second, MB."""


def unpack(folder: Path, raw: Path) -> None:
    """Put the IDX files where torchvision looks for them, unpacked, as it wants them."""
    raw.mkdir(parents=True)
    for name in IDX_FILES:
        packed = folder / f"{name}.gz"
        content = gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / name).read_bytes()
        (raw / name).write_bytes(content)


def run(command: list[str], folder: Path) -> tuple[str, float]:
    """Run a command in ``folder``; return what it printed and its peak memory in MB."""
    # This process stays small (it imports neither torch nor cnnzoo), since a child inherits its parent's peak.
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONUTF8": "1"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout
    output = process.stdout.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{output[-3000:]}\n{' '.join(command)} failed with {process.returncode}.")
    return output, usage.ru_maxrss / 1024


def run_cnnzoo(model: str, asked: dict[str, int], precision: str, folder: Path) -> Result:
    """Train and evaluate as a user would, in a folder of its own."""
    cnnzoo = [sys.executable, "-m", "cnnzoo"]
    train = f"train {model} --epochs {asked['epochs']} --batch-size 32 --no-normalize --precision {precision}"
    where = f"--limit-train {asked['train']} --limit-val {asked['val']} --quiet --out . --name run"
    started = time.perf_counter()
    _, training_memory = run([*cnnzoo, *train.split(), *where.split()], folder)
    until_trained = time.perf_counter() - started
    _, testing_memory = run([*cnnzoo, "eval", "run", "--format", "json", "--precision", precision], folder)
    with (folder / "run" / "history.csv").open(newline="", encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    test = json.loads((folder / "run" / "eval.json").read_text(encoding="utf-8"))
    config = yaml.safe_load((folder / "run" / "config.yaml").read_text(encoding="utf-8"))
    return {
        "precision": config["recorded"]["precision"],
        "epoch_seconds": [float(row["seconds"]) for row in history],
        "until_trained": until_trained,
        "val_acc": float(history[-1]["val_acc"]),
        "test_acc": test["accuracy"],
        "test_rate": test["images_per_second"],
        "memory": max(training_memory, testing_memory),
    }


def run_peer(python: Path, name: str, model: str, asked: dict[str, int], data: Path, folder: Path) -> Result:
    """Run a peer's script, which trains, validates and tests."""
    limits = f"--limit-train {asked['train']} --limit-val {asked['val']} --limit-test {asked['test']}"
    options = f"--epochs {asked['epochs']} {limits} --started {time.time()}"
    command = [str(python), str(HERE / "peers" / PEERS[name]), model, "--data", str(data), *options.split()]
    output, memory = run(command, folder)
    result = next(line for line in reversed(output.splitlines()) if line.startswith('{"epoch_seconds"'))
    return {"precision": "fp32", **json.loads(result), "memory": memory}


def medians(results: list[Result], images: int) -> Result:
    """Return each figure's median over the rounds, and the rate of an epoch that is not the first."""
    epochs = [result["epoch_seconds"] for result in results]
    keys = ("until_trained", "val_acc", "test_acc", "test_rate", "memory")
    return {
        "precision": results[0]["precision"],
        "rate": images / statistics.median(statistics.median(seconds[1:] or seconds) for seconds in epochs),
        "first_epoch": statistics.median(seconds[0] for seconds in epochs),
        **{key: statistics.median(result[key] for result in results) for key in keys},
    }


def print_table(model: str, asked: dict[str, int], rows: dict[str, Result]) -> None:
    """Print a model's medians and what cnnzoo's come to."""
    print(f"\n{model}, {asked['epochs']} epochs of {asked['train']:,} + {asked['val']:,} images")
    print("                 images/s  1st epoch s  trained s  memory MB  val acc  test acc  test images/s")
    for name, row in rows.items():
        print(
            f"{name:<10}{row['precision']:<5}{row['rate']:>10,.0f}{row['first_epoch']:>13.1f}{row['until_trained']:>11.1f}"
            f"{row['memory']:>11,.0f}{row['val_acc']:>9.2%}{row['test_acc']:>10.2%}{row['test_rate']:>15,.0f}"
        )
    ours, *others = rows.values()
    if others:
        fastest = max(list(rows)[1:], key=lambda name: rows[name]["rate"])
        print(f"cnnzoo's speed: {ours['rate'] / rows[fastest]['rate']:.2f} of {fastest}'s, the fastest other")
    if tutorial := rows.get("tutorial"):
        ratios = {key: ours[key] / tutorial[key] for key in ("rate", "test_rate", "memory")}
        print(
            "of the tutorial's: speed {rate:.2f}, test speed {test_rate:.2f}, memory {memory:.2f}".format_map(
                ratios
            )
        )


def main() -> None:
    """Run everybody in turns and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="lenet,alexnet")
    parser.add_argument("--peers", default=",".join(PEERS), help=f"any of {', '.join(PEERS)}")
    parser.add_argument("--venv", type=Path, default=HERE / ".venv", help="where make_peers.sh has put them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="by default 3 for LeNet, 2 for AlexNet")
    for split in IMAGES:
        parser.add_argument(
            f"--limit-{split}", type=int, dest=split, metavar="N", help=f"{split} on N images"
        )
    parser.add_argument("--precision", default="auto", help="cnnzoo's; the peers compute in fp32")
    parser.add_argument("--format", choices=["table", "json"], default="table")
    arguments = parser.parse_args()
    models, peers = (list(filter(None, names.split(","))) for names in (arguments.models, arguments.peers))
    if unknown := [*(set(models) - set(DEFAULTS)), *(set(peers) - set(PEERS))]:
        parser.error(f"unknown: {', '.join(unknown)}")
    python = arguments.venv.absolute() / "bin" / "python"
    if peers and not python.exists():
        sys.exit(f"{python} is missing. Make the peers: sh {HERE / 'make_peers.sh'} {arguments.venv}")

    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch, "data")
        about = json.loads(run([sys.executable, "-c", ABOUT_CNNZOO], Path(scratch))[0])
        images = about.pop("folder")
        if not images:
            sys.exit("Fashion-MNIST is not on this machine. Get it: cnnzoo data fetch fashionmnist")
        unpack(Path(images), data / "FashionMNIST" / "raw")
        about["peers"] = json.loads(run([str(python), "-c", ABOUT_PEERS], Path(scratch))[0]) if peers else {}
        about |= {
            "date": date.today().isoformat(),
            "cores": os.cpu_count(),
            "rounds": arguments.rounds,
            "models": {},
        }
        for model in models:
            given = {key: value for key in DEFAULTS[model] if (value := getattr(arguments, key)) is not None}
            asked = DEFAULTS[model] | given
            results: dict[str, list[Result]] = {name: [] for name in ("cnnzoo", *peers)}
            for number in range(1, arguments.rounds + 1):
                for name, done in results.items():
                    with tempfile.TemporaryDirectory(dir=scratch) as folder:
                        if name == "cnnzoo":
                            done.append(run_cnnzoo(model, asked, arguments.precision, Path(folder)))
                        else:
                            done.append(run_peer(python, name, model, asked, data, Path(folder)))
                    seconds = ", ".join(f"{seconds:.1f}" for seconds in done[-1]["epoch_seconds"])
                    print(f"round {number}: {model}, {name}: epochs of {seconds} s", file=sys.stderr)
            rows = {name: medians(done, asked["train"] + asked["val"]) for name, done in results.items()}
            about["models"][model] = {"asked": asked, "medians": rows, "rounds": results}

    if arguments.format == "json":
        print(json.dumps(about, indent=2))
        return
    print(f"{about['date']}, {about['machine']}, {about['cores']} cores, rounds: {arguments.rounds}")
    for versions in filter(None, (about["versions"], about["peers"])):
        print(", ".join(f"{name} {version}" for name, version in versions.items()))
    for model, result in about["models"].items():
        print_table(model, result["asked"], result["medians"])


if __name__ == "__main__":
    main()
