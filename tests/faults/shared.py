"""What the tests of faults assert again and again."""

import hashlib
import io
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.models.registry import create_model
from cnnzoo.runs.checkpoint import Checkpoint
from tests.processes import Ended

SMALL = (
    *("train", "lenet", "--dataset", SAMPLE, "-o", "activation=tanh"),
    *("--limit-train", "96", "--limit-val", "32", "--name", "r"),
)
"""A run of three steps an epoch, as a person types it."""


def assert_refused(ended: Ended, *parts: str, code: int = 1) -> None:
    """One line on stderr, ``Error: …``, that has all of ``parts`` and ends as a sentence or with a command."""
    assert ended.code == code, ended
    assert ended.err.startswith("Error: "), ended
    assert ended.err.count("\n") == 1, ended
    assert ended.err.endswith("\n"), ended
    for part in parts:
        assert part in ended.err, ended
    assert "Traceback" not in ended.err + ended.out


def left(folder: Path) -> set[str]:
    """Names of what lies in a folder, those that begin with a dot included and the lock left out."""
    return {path.name for path in folder.iterdir() if path.name not in (".lock", ".manifest.lock")}


def escape_codes(text: str) -> list[str]:
    """What a terminal would take for a command."""
    return re.findall(r"\x1b\[?[0-9;?]*.", text)


def make_checkpoint(**changes: object) -> Checkpoint:
    """A checkpoint of a LeNet as evaluation needs it, 250 kB large."""
    values: dict[str, Any] = {
        "model": "lenet",
        "model_options": {"pooling": "max"},
        "num_classes": 10,
        "in_channels": 1,
        "image_size": 28,
        "mean": (0.25,),
        "std": (0.5,),
        "dataset": SAMPLE,
        "data_sha256": "0" * 64,
        "classes": tuple("0123456789"),
        "config": {"model": "lenet"},
        "epoch": 3,
        "metrics": {"val_acc": 0.5},
        "precision": "fp32",
        "state_dict": create_model("lenet", pooling="max").state_dict(),
    }
    return Checkpoint(**{**values, **changes})


def seal(path: Path) -> Path:
    """Give any zip file the comment with which a checkpoint of cnnzoo ends: a stranger can compute it, too."""
    whole = path.read_bytes()
    assert whole.endswith(b"\0\0"), "no comment yet"
    comment = b"cnnzoo sha256 " + hashlib.sha256(whole).hexdigest().encode()
    path.write_bytes(whole[:-2] + len(comment).to_bytes(2, "little") + comment)
    return path


def forge(
    path: Path, content: object, *, record: bytes = bytes(4), members: Mapping[str, bytes] | None = None
) -> Path:
    """Write a sealed checkpoint with any pickle in it; ``Stored`` in ``content`` refers to ``record``."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return (
                ("storage", torch.FloatStorage, "0", "cpu", value.num) if isinstance(value, Stored) else None
            )

    pickled = io.BytesIO()
    Pickler(pickled, protocol=2).dump(content)
    files = {"data.pkl": pickled.getvalue(), "version": b"3\n", "byteorder": b"little", "data/0": record}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**files, **(members or {})}.items():
            archive.writestr(f"archive/{name}", data)
    return seal(path)


@dataclass(frozen=True)
class Stored:
    """A storage of ``num`` float32, as a pickle claims it."""

    num: int


@dataclass(frozen=True)
class Claimed:
    """A tensor of any size and stride over a storage of any size."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    num: int = 1

    def __reduce__(self) -> tuple[Any, ...]:
        arguments: tuple[Any, ...] = (Stored(self.num), 0, self.size, self.stride, False, OrderedDict())
        return torch._utils._rebuild_tensor_v2, arguments


@dataclass(frozen=True)
class Calls:
    """Something that calls ``function`` when it is unpickled."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments
