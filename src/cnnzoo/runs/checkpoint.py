"""What is in a checkpoint: a model with all that evaluation needs, and all that training needs to go on."""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn

from cnnzoo.config import TrainConfig
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.models.registry import create_model, create_skeleton, get_spec, is_registered
from cnnzoo.runs.serialization import USE_OURS, read_values, refuse_bombs, write_values
from cnnzoo.validation import check

FORMAT = 1
"""Version of what is in the file; a newer one is refused."""


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


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that ``path`` holds the old file or the new one, whole, at every moment.

    Raises:
        CnnzooError: The disk is full or not writable; ``path`` is as it was.
    """
    values = {f.name: getattr(checkpoint, f.name) for f in fields(checkpoint)}
    write_values(path, {"format": FORMAT, **values})


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint onto the CPU. Nothing in it runs, and every bit of it is verified first.

    Raises:
        CnnzooError: There is none, it is damaged or foreign, or a newer cnnzoo wrote it.
    """
    path = Path(path)
    values = read_values(path)
    if not isinstance(values, Mapping) or not isinstance(values.get("format"), int):
        raise CnnzooError(f"{path} is not a checkpoint of cnnzoo. {USE_OURS}")
    if values["format"] > FORMAT:
        raise CnnzooError(
            f"{path} has checkpoint format {values['format']}, this cnnzoo reads up to {FORMAT}. Upgrade cnnzoo."
        )
    try:
        if missing := [f.name for f in fields(Checkpoint) if f.name not in values and f.default is MISSING]:
            raise UsageError(f"it lacks {', '.join(missing)}")
        names = [f.name for f in fields(Checkpoint) if f.name in values]
        return Checkpoint(**{name: _checked(name, values[name]) for name in names})
    except UsageError as error:
        raise CnnzooError(
            f"{path} is not a checkpoint as cnnzoo writes it: {one_line(error)}. {USE_OURS}"
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
            refuse_bombs(path)
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
