"""What ``cnnzoo train --dry-run`` expects of a run beside what then happens: the seconds of an epoch, and the memory.

``python benchmarks/plan.py [--models lenet,alexnet]``, on a quiet machine: the plan and the run are each made in a
process of their own. Ends with 1 where one is not within a factor of two of the other.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean

RUNS = {
    "lenet": "--epochs 3",
    "lenet5-1998": "--epochs 2 --limit-train 10000 --limit-val 2000",
    "alexnet": "--epochs 1 --limit-train 640 --limit-val 160",
}
"""Settings of a run of each model."""

BOUND = 2.0
"""By which factor a plan may be wrong."""

PROGRAM = """
import json, sys
import cnnzoo.cli.train
from cnnzoo.cli.train import config_of
from cnnzoo.machine import peak_memory
config = config_of(json.loads(sys.argv[1]))
if sys.argv[2] == "plan":
    from cnnzoo.analysis.plan import make_plan
    plan = make_plan(config)
    print(json.dumps([plan.train_seconds + plan.val_seconds, plan.memory]))
else:
    from cnnzoo.training.train import train
    train(config)
    print(json.dumps(peak_memory()))
"""


def measure(arguments: list[str], what: str) -> list[float] | float:
    """Return what a process says of a plan, or of a run."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(arguments), what],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    said: list[float] | float = json.loads(done.stdout)
    return said


def main() -> None:
    """Make each plan and each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(RUNS))
    within = True
    print("model        what    planned      was   planned/was")
    for model in parser.parse_args().models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            arguments = [model, *RUNS[model].split(), "--out", folder, "--name", "run"]
            plan = measure(arguments, "plan")
            memory = measure(arguments, "run")
            with (Path(folder) / "run" / "history.csv").open(newline="", encoding="utf-8") as file:
                seconds = mean(float(row["seconds"]) for row in csv.DictReader(file))
        assert isinstance(plan, list)
        assert not isinstance(memory, list)
        for what, planned, was in (
            ("s/epoch", plan[0], seconds),
            ("MB", plan[1] / 1e6, memory / 1e6),
        ):
            within = within and 1 / BOUND < planned / was < BOUND
            print(f"{model:<12} {what:<7} {planned:>7.3g}  {was:>7.3g}   {planned / was:.2f}")
    sys.exit(not within)


if __name__ == "__main__":
    main()
