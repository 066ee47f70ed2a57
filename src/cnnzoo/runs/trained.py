"""Which images a run was trained on, by the checksums of their files: ``trained.npy`` in its folder."""

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnnzoo.config_file import read_recorded

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRAINED = "trained.npy"
"""The file: uint8 ``(N, 32)``, the SHA-256 of each image file's bytes, sorted."""

TRAINED_SHA256 = "trained_sha256"
"""The key under which config.yaml notes the file's own checksum."""


def as_npy(digests: "NDArray[np.uint8]") -> bytes:
    """Return the checksums of the images that a run is trained on as the file holds them."""
    stream = io.BytesIO()
    np.save(stream, np.unique(digests, axis=0), allow_pickle=False)
    return stream.getvalue()


def read_trained(folder: Path) -> set[bytes] | None:
    """Return the checksums of the images that a run was trained on; None where that is not known."""
    try:
        content = (folder / TRAINED).read_bytes()
        if read_recorded(folder).get(TRAINED_SHA256) != hashlib.sha256(content).hexdigest():
            return None
        digests = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError):
        return None
    if digests.dtype != np.uint8 or digests.shape[1:] != (32,):
        return None
    return {row.tobytes() for row in digests}
