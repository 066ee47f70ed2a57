"""How long a person waits for what the net makes of a stroke, over HTTP as the page asks for it.

``python benchmarks/explore.py [--models lenet alexnet] [--rounds 100]``: trains each net a little on the sample
that ships with cnnzoo, starts ``cnnzoo explore`` and prints medians: of a new drawing, of the same with a map switched
off, of the arithmetic of one number, and of what a unit sees.
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import torch
from PIL import Image, ImageDraw

from cnnzoo.config import TrainConfig
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.device import describe_device
from cnnzoo.training.train import train


def drawing() -> bytes:
    """Return a figure as the page's pad has it: white on black, 280 pixels a side."""
    image = Image.new("L", (280, 280))
    ImageDraw.Draw(image).line([(70, 70), (210, 70), (130, 220)], fill=255, width=22)
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def milliseconds(
    client: httpx.Client, kind: str, asked: dict[str, object], content: bytes, rounds: int
) -> list[float]:
    """Ask for the same so often; return how long each answer took."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        answer = client.post(f"api/{kind}", params={"asked": json.dumps(asked)}, content=content)
        times.append(1000 * (time.perf_counter() - started))
        answer.raise_for_status()
    return times


def main() -> None:
    """Time each net."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["lenet", "alexnet"])
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {describe_device(torch.device('cpu'))}, {arguments.rounds} rounds")
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as out:
            config = TrainConfig(
                model=model, dataset=SAMPLE, epochs=1, limit_train=64, limit_val=32, out=Path(out), name="run"
            )
            run = train(config).run
            command = [sys.executable, "-m", "cnnzoo", "explore", str(run), "--no-browser"]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as server:
                assert server.stdout is not None
                try:
                    time_net(model, server.stdout.readline().strip(), arguments.rounds)
                finally:
                    server.terminate()


def time_net(model: str, address: str, rounds: int) -> None:
    """Ask the page's questions, and print medians."""
    content = drawing()
    asked: dict[str, dict[str, object]] = {
        "a drawing": {},
        "with a map off": {"off": [[1, 0]]},
        "a number": {"layer": 4, "unit": [1, 5, 5]},
        "what a unit sees": {"layer": 4, "unit": [1, 5, 5]},
    }
    kinds = {"a number": "unit", "what a unit sees": "field"}
    with httpx.Client(base_url=address, timeout=60) as client:
        milliseconds(client, "look", {}, content, 5)  # the first ones set up what later ones use
        medians = {
            name: statistics.median(milliseconds(client, kinds.get(name, "look"), it, content, rounds))
            for name, it in asked.items()
        }
    print(f"{model}: " + ", ".join(f"{name} {median:.0f} ms" for name, median in medians.items()))


if __name__ == "__main__":
    main()
