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

from cnnzoo.data.named.catalog import IDX_FILES, get_dataset_spec
from cnnzoo.data.named.locate import verify_dataset

PER_CLASS = {"train": 600, "test": 100}


def make_sample(source: Path, target: Path) -> None:
    """Write the sample's four ``.gz`` files into ``target``.

    Raises:
        CnnzooError: ``source`` does not hold the full Fashion-MNIST.
    """
    full = verify_dataset(get_dataset_spec("fashionmnist"), source)
    for (split, names), arrays in zip(IDX_FILES.items(), full, strict=True):
        firsts = [np.flatnonzero(arrays.labels == label)[: PER_CLASS[split]] for label in range(10)]
        chosen = np.sort(np.concatenate(firsts))
        images, labels = arrays.images[chosen, 0], arrays.labels[chosen].astype(np.uint8)
        for name, array in zip(names, (images, labels), strict=True):
            header = struct.pack(f">HBB{array.ndim}I", 0, 0x08, array.ndim, *array.shape)
            # mtime 0 and no file name, so that the same images pack to the same bytes.
            with (
                (target / f"{name}.gz").open("wb") as file,
                gzip.GzipFile("", "wb", 9, file, mtime=0) as packed,
            ):
                packed.write(header + array.tobytes())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python scripts/make_sample.py SOURCE TARGET")
    make_sample(Path(sys.argv[1]), Path(sys.argv[2]))
