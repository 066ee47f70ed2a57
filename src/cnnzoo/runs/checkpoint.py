"""Checkpoints: one file that is written whole or not at all, and verified before anything in it is read.

The file is torch's own zip (``torch.load(path, weights_only=True)`` opens it) with the SHA-256 of the whole
in the zip's comment, at its very end.
"""

import hashlib
import os
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, cast, get_type_hints

import torch
from torch import Tensor, nn

from cnnzoo.config import TrainConfig
from cnnzoo.data.batches import Preprocessing
from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.files import replacing
from cnnzoo.models.registry import create_model, create_skeleton, get_spec, is_registered
from cnnzoo.validation import check

FORMAT = 1
"""Version of what is in the file; a newer one is refused."""

_MAGIC = b"cnnzoo sha256 "
_COMMENT_BYTES = len(_MAGIC) + 64

_NEEDED = re.compile(r"torch \w+Storage|torch\._utils _rebuild_tensor_v2|collections OrderedDict")
"""All that a checkpoint's pickle has to name. torch allows more, such as a bytearray of a terabyte."""

_SMALL = 1 << 26
"""Bytes that a tensor may take though the file has fewer: one number may stand for a whole tensor."""


_USE_OURS = "Use one that cnnzoo wrote."


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model with all that evaluation needs, and, in ``last.pt``, all that training needs to go on.

    Attributes:
        model: Its registered name.
        model_options: What it was built with.
        num_classes: Outputs.
        in_channels: Channels of its images.
        image_size: Pixels a side.
        mean: What was subtracted from pixels in [0, 1], per channel; empty for nothing.
        std: What they were divided by; likewise.
        resize: Pixels a side that images were resized to before squares of ``image_size`` were cut from them.
        pad: Whether smaller images were laid into a black one and not enlarged.
        dataset: The dataset that was really used.
        data_sha256: Its checksum.
        classes: Names of the classes.
        config: The run's settings, as ``TrainConfig.to_dict`` gives them.
        epoch: Epochs finished when it was saved, from 1.
        metrics: That epoch's row of the history.
        state_dict: The weights.
        training: Optimizer, random states, history and position; empty in ``best.pt``.
    """

    model: str
    model_options: dict[str, Any]
    num_classes: int
    in_channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dataset: str
    data_sha256: str
    classes: tuple[str, ...]
    config: dict[str, Any]
    epoch: int
    metrics: dict[str, float]
    state_dict: dict[str, Tensor]
    training: dict[str, Any]
    resize: int | None = None
    pad: bool = False

    @property
    def preprocessing(self) -> Preprocessing:
        """What makes images what this model was trained on."""
        return Preprocessing(self.image_size, self.mean, self.std, self.resize, self.pad)

    def check_model_is_known(self) -> None:
        """Refuse a model that nothing has registered.

        Raises:
            UsageError: The message names the modules that had registered it when the checkpoint was saved.
        """
        modules = self.config.get("imports")
        if not is_registered(self.model) and isinstance(modules, list) and modules:
            flags = " ".join(f"--import={module}" for module in modules)
            raise UsageError(f"the model {self.model!r} is one of your own. Add {flags}.")
        get_spec(self.model)

    def build_model(self) -> nn.Module:
        """Return the model with its weights, on the CPU.

        Raises:
            UsageError: No such model is registered.
            CnnzooError: The weights do not fit the model as cnnzoo builds it.
        """
        self.check_model_is_known()
        try:
            return self._build()
        except UsageError as error:
            raise CnnzooError(
                f"the checkpoint's model cannot be built: {error} Use the cnnzoo that wrote it."
            ) from error

    def settings(self, path: Path) -> TrainConfig:
        """Return the run's settings.

        Args:
            path: Where the checkpoint is from, for the error.

        Raises:
            CnnzooError: There are some that this cnnzoo does not know.
        """
        try:
            return TrainConfig.from_dict(self.config)
        except UsageError as error:
            raise CnnzooError(
                f"{path} holds settings that this cnnzoo does not take: {error} Use the cnnzoo that wrote it."
            ) from error

    def _build(self) -> nn.Module:
        structure = {
            "num_classes": self.num_classes,
            "in_channels": self.in_channels,
            "image_size": self.image_size,
        }
        options = get_spec(self.model).check_options(self.model_options)
        if self.num_classes != len(self.classes):
            raise CnnzooError(
                f"the checkpoint's weights do not fit {self.model}: it says {self.num_classes} classes and names "
                f"{len(self.classes)}. Use the cnnzoo that wrote it."
            )
        # First without memory: a file of a few bytes may claim a net of terabytes.
        expected = create_skeleton(self.model, **structure, **options).state_dict()
        differ = {
            f"{name} is {_shape(self.state_dict.get(name))} and should be {_shape(expected.get(name))}"
            for name in expected.keys() | self.state_dict.keys()
            if _shape(self.state_dict.get(name)) != _shape(expected.get(name))
        }
        if differ:
            raise CnnzooError(
                f"the checkpoint's weights do not fit {self.model} for {self.num_classes} classes and "
                f"{self.in_channels} channel(s): {min(differ)}. Use the cnnzoo that wrote it."
            )
        model = create_model(self.model, **structure, **options)
        model.load_state_dict(self.state_dict)
        return model


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else "x".join(map(str, tensor.shape)) or "a number"


class _HashingFile:
    """What torch.save writes to: passes bytes on, and keeps their checksum and what went wrong."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that ``path`` holds the old file or the new one, whole, at every moment.

    Raises:
        CnnzooError: The disk is full or not writable; ``path`` is as it was.
    """
    values = {f.name: getattr(checkpoint, f.name) for f in fields(checkpoint)}
    with replacing(path, sum(t.nbytes for t in _tensors(values))) as file:
        hashing = _HashingFile(file)
        try:
            torch.save({"format": FORMAT, **values}, cast("BinaryIO", hashing))
        except RuntimeError:  # of torch's own writer, which says nothing of the write that failed
            if hashing.error is not None:
                raise hashing.error from None
            raise
        comment = _MAGIC + hashing.sha256.hexdigest().encode()
        file.seek(-2, os.SEEK_END)  # the last two bytes of a zip say how long its comment is
        file.write(len(comment).to_bytes(2, "little") + comment)


def _tensors(value: object) -> Iterator[Tensor]:
    waiting, seen = [value], set()
    while (
        waiting
    ):  # no recursion, and each object once: lists that hold themselves or each other cost nothing
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Mapping | list | tuple):
            waiting.extend(value.values() if isinstance(value, Mapping) else value)


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint onto the CPU. Nothing in it runs, and every bit of it is verified first.

    Raises:
        CnnzooError: There is none, it is damaged or foreign, or a newer cnnzoo wrote it.
    """
    path = Path(path)
    try:
        _verify(path)
        _refuse_bombs(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CnnzooError(
            f"cannot read the checkpoint {path} ({one_line(error)}). Check the path."
        ) from error
    except CnnzooError:
        raise
    except Exception as error:
        raise CnnzooError(f"{path} is not a checkpoint that can be read safely. {_USE_OURS}") from error
    if not isinstance(values, Mapping) or not isinstance(values.get("format"), int):
        raise CnnzooError(f"{path} is not a checkpoint of cnnzoo. {_USE_OURS}")
    if values["format"] > FORMAT:
        raise CnnzooError(
            f"{path} has checkpoint format {values['format']}, this cnnzoo reads up to {FORMAT}. Upgrade cnnzoo."
        )
    if max((tensor.nbytes for tensor in _tensors(values)), default=0) > max(path.stat().st_size, _SMALL):
        raise CnnzooError(f"{path} claims a tensor larger than the file. Do not trust where it came from.")
    try:
        if missing := [f.name for f in fields(Checkpoint) if f.name not in values and f.default is MISSING]:
            raise UsageError(f"it lacks {', '.join(missing)}")
        names = [f.name for f in fields(Checkpoint) if f.name in values]
        return Checkpoint(**{name: _checked(name, values[name]) for name in names})
    except UsageError as error:
        raise CnnzooError(
            f"{path} is not a checkpoint as cnnzoo writes it: {one_line(error)}. {_USE_OURS}"
        ) from error


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint, or of a file that ``torch.save(model.state_dict(), ...)`` has made.

    Nothing in it runs. A checkpoint of cnnzoo is verified, any other file is as whole as torch finds it.

    Raises:
        CnnzooError: There is no such file, or it holds no weights.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(4) == b"PK\3\4"
        if is_zip and b"cnnzoo" in zipfile.ZipFile(path).comment:
            return load_checkpoint(path).state_dict
        if is_zip:
            _refuse_bombs(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CnnzooError(
            f"cannot read the weights in {path} ({one_line(error)}). Check the path."
        ) from error
    except CnnzooError:
        raise
    except Exception as error:
        raise CnnzooError(f"{path} holds no weights that can be read safely. Use another file.") from error
    if (
        not isinstance(values, Mapping)
        or not values
        or not all(isinstance(v, Tensor) for v in values.values())
    ):
        raise CnnzooError(f"{path} holds no state dict: no mapping of names to tensors. Use another file.")
    return dict(values)


def _checked(name: str, value: object) -> Any:  # noqa: ANN401
    annotation = get_type_hints(Checkpoint)[name]
    if name == "state_dict":
        if not isinstance(value, Mapping) or not all(isinstance(v, Tensor) for v in value.values()):
            raise UsageError("state_dict must be a mapping of names to tensors")
        return dict(value)
    return check(name, annotation, value)


def _refuse_bombs(path: Path) -> None:
    """Refuse, before torch reads it, what would run code or take far more memory than the file is large.

    torch packs no member of its zip, lets none overlap, and needs few names in the pickle.
    """
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        file.seek(0)
        if file.read(4) != b"PK\3\4":  # else torch would take it for one of its older formats
            raise CnnzooError(
                f"{path} is not a checkpoint of cnnzoo: it does not begin as a zip file does. {_USE_OURS}"
            )
        packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
        if packed or sum(member.file_size for member in members) > path.stat().st_size:
            raise CnnzooError(
                f"{path} is not a checkpoint of cnnzoo: it would unpack to more than its size. {_USE_OURS}"
            )
        for member in members:
            if member.filename.lower().endswith(".pkl"):
                for opcode, name, _ in pickletools.genops(archive.read(member)):
                    if ("GLOBAL" in opcode.name or opcode.name == "INST") and not _NEEDED.fullmatch(
                        str(name)
                    ):
                        asked = ".".join(str(name).split()) if name else "a function"
                        raise CnnzooError(
                            f"{path} asks for {asked}, as no checkpoint of cnnzoo does. "
                            "Nothing in it was run; do not trust where it came from."
                        )


def _verify(path: Path) -> None:
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        remaining = size - _COMMENT_BYTES - 2
        while remaining > 0 and (chunk := file.read(min(remaining, 1 << 20))):
            digest.update(chunk)
            remaining -= len(chunk)
        tail = file.read()
    digest.update(b"\0\0")  # the comment's length, as it was before there was a comment
    if tail != _COMMENT_BYTES.to_bytes(2, "little") + _MAGIC + digest.hexdigest().encode():
        raise CnnzooError(f"{path} is corrupt or not a checkpoint of cnnzoo. Use another, or train anew.")
