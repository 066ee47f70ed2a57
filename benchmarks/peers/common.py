"""What every peer needs: its arguments, the images, and the line of JSON that compare.py reads."""

import argparse
import json
import time
from pathlib import Path

import numpy as np

BATCH_SIZE = 32
LR = 0.001
NUM_TRAIN, NUM_VAL = 48_000, 12_000


def arguments() -> argparse.Namespace:
    """Return what compare.py asks for; a limit that is not given is everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=["lenet", "alexnet"])
    parser.add_argument(
        "--data", required=True, help="a root for torchvision: holds FashionMNIST/raw, unpacked"
    )
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--limit-train", type=int, default=NUM_TRAIN)
    parser.add_argument("--limit-val", type=int, default=NUM_VAL)
    parser.add_argument("--limit-test", type=int, default=10_000)
    parser.add_argument("--started", type=float, default=time.time(), help="when the process was started")
    return parser.parse_args()


def read_images(root: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images ``(N, 28, 28)`` and labels ``(N,)``, uint8; ``split`` is train or t10k."""
    raw = Path(root, "FashionMNIST", "raw")
    images = np.fromfile(raw / f"{split}-images-idx3-ubyte", dtype=np.uint8)[16:].reshape(-1, 28, 28)
    return images, np.fromfile(raw / f"{split}-labels-idx1-ubyte", dtype=np.uint8)[8:]


def report(
    *, epoch_seconds: list[float], until_trained: float, val_acc: float, test_acc: float, test_rate: float
) -> None:
    """Print what was measured, on a line of its own.

    Args:
        epoch_seconds: Of each epoch's training and validation.
        until_trained: Seconds from the start of the process to the end of its training.
        val_acc: After the last epoch, as a fraction.
        test_acc: Of the test images, as a fraction.
        test_rate: Test images per second.
    """
    print("\n" + json.dumps(locals()), flush=True)
