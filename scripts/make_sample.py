"""Make the sample that ships with cnnzoo from the full Fashion-MNIST.

``python scripts/make_sample.py SOURCE TARGET``: SOURCE is the folder with the four full IDX files, such
as /usr/share/datasets/fashion-mnist. The first 600 training and 100 test images of each class are taken, in
the official order. The same source gives the same bytes each time.
"""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np

from cnnzoo.data.datasets import IDX_FILES
from cnnzoo.data.sources import read_idx

PER_CLASS = {"train": 600, "test": 100}


def make_sample(source: Path, target: Path) -> None:
    """Write the sample's four ``.gz`` files into ``target``."""
    for split, (images_file, labels_file) in IDX_FILES.items():
        images = read_idx(source / f"{images_file}.gz")
        labels = read_idx(source / f"{labels_file}.gz")
        firsts = [np.flatnonzero(labels == label)[: PER_CLASS[split]] for label in range(10)]
        chosen = np.sort(np.concatenate(firsts))
        for name, array in ((images_file, images[chosen]), (labels_file, labels[chosen])):
            header = struct.pack(f">HBB{array.ndim}I", 0, 0x08, array.ndim, *array.shape)
            # mtime 0 and no file name, so that the same images pack to the same bytes.
            with (
                (target / f"{name}.gz").open("wb") as file,
                gzip.GzipFile("", "wb", 9, file, mtime=0) as packed,
            ):
                packed.write(header + array.tobytes())


if __name__ == "__main__":
    make_sample(Path(sys.argv[1]), Path(sys.argv[2]))
