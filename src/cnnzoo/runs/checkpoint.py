"""What is in a checkpoint: a model with all that evaluation needs, and all that training needs to go on."""

import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from torch import Tensor, nn

from cnnzoo.config import TrainConfig
from cnnzoo.data.decoding.images import PixelRange
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.models.registry import create_model, create_skeleton, get_spec, is_registered
from cnnzoo.runs.history import HistoryRow
from cnnzoo.runs.net_state import EXTRA_STATE, load_net_state, tensors_of
from cnnzoo.runs.serialization import USE_OURS, read_values, weights_sha256, write_values
from cnnzoo.runs.sources import how_to_import
from cnnzoo.validation import check

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Made = TypeVar("Made", bound="DataclassInstance")

FORMAT = 2
"""Version of what is in the file; others are refused."""


@dataclass(frozen=True, kw_only=True)
class MeterState:
    """What was summed up in an epoch that is not finished.

    Attributes:
        steps: Done.
        images: Seen.
        loss: Sum of their losses.
        correct: How many of them were told right.
    """

    steps: int = 0
    images: int = 0
    loss: float = 0.0
    correct: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """All that training needs to go on, beside the weights. A field that a file lacks has its default.

    Attributes:
        optimizer: As ``Optimizer.state_dict`` gives it.
        history: A row for each finished epoch.
        ending: That of the epoch in which ``max_steps`` has ended the run, if it did within one.
        scaler: As ``torch.amp.GradScaler.state_dict`` gives it; empty where it does nothing.
        random_states: Of each process, by rank: the state of torch's generator of each device type.
        totals: Of the epoch that is not finished.
        seconds: Spent in it.
        threads: From which epoch and step on the run had how many; empty where it is not known.
    """

    optimizer: dict[str, Any]
    history: list[HistoryRow] = field(default_factory=list)
    ending: HistoryRow | None = None
    scaler: dict[str, Any] = field(default_factory=dict)
    random_states: list[dict[str, Tensor]] = field(default_factory=list)
    totals: MeterState = MeterState()
    seconds: float = 0.0
    threads: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def rows(self) -> list[HistoryRow]:
        """The history as ``history.csv`` has it."""
        return [*self.history, self.ending] if self.ending else self.history

    def to_dict(self) -> dict[str, Any]:
        """Return plain values and tensors, as ``last.pt`` holds them; the tensors are those in use, not copies."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        rows = [asdict(row) for row in self.history]
        ending = asdict(self.ending) if self.ending else None
        return {**values, "history": rows, "ending": ending, "totals": asdict(self.totals)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingState":
        """Build it from what ``to_dict`` gives.

        Raises:
            UsageError: Something is missing that has no default, or has another type.
        """
        types = get_type_hints(cls)
        made: dict[str, Any] = {}
        for name in (f.name for f in fields(cls) if f.name in values):
            value = values[name]
            if name == "history":
                made[name] = [_typed(HistoryRow, row) for row in _list(name, value)]
            elif name == "ending":
                made[name] = None if value is None else _typed(HistoryRow, value)
            elif name == "random_states":
                made[name] = [_tensors_by_name(name, state) for state in _list(name, value)]
            elif name == "totals":
                made[name] = _typed(MeterState, value)
            else:
                made[name] = check(name, types[name], value)
        return _made(cls, made)


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
        pixel_range: What was made black and white of images of more than 8 bits a pixel; empty where there were none.
        precision: Name of the number format that the run was trained in.
        listing_sha256: Of the names and sizes of the training images, where they are files of one's own.
        weights_sha256: Of the weights after each epoch that was the best so far or was kept, by its number; None in
            ``best.pt``.
        dataset: The dataset that was really used.
        data_sha256: Its checksum.
        classes: Names of the classes.
        config: The run's settings, as ``TrainConfig.to_dict`` gives them.
        epoch: Epochs finished when it was saved, from 1.
        metrics: That epoch's row of the history.
        state_dict: The weights, as ``nn.Module.state_dict`` gives them, with the versions of the net's modules.
        buffers: Those that the net keeps out of it.
        training: All that training needs to go on; None in ``best.pt``.
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
    metrics: dict[str, float | None]
    state_dict: dict[str, Any]
    precision: str
    training: TrainingState | None = None
    buffers: dict[str, Tensor] = field(default_factory=dict)
    resize: int | None = None
    pad: bool = False
    pixel_range: tuple[float, ...] = ()
    listing_sha256: str = ""
    weights_sha256: dict[str, str] | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """What makes images what this model was trained on."""
        return Preprocessing(self.image_size, self.mean, self.std, self.resize, self.pad)

    @property
    def deep_range(self) -> PixelRange | None:
        """What becomes black and white in images of more than 8 bits a pixel, as ``decode_image`` takes it."""
        return (self.pixel_range[0], self.pixel_range[1]) if len(self.pixel_range) == 2 else None

    def check_model_is_known(self, run: Path | None = None) -> None:
        """Refuse a model that nothing has registered.

        Args:
            run: The folder that it is in, which may have kept the modules' source.

        Raises:
            UsageError: The message names the modules that had registered it when the checkpoint was saved.
        """
        modules = self.config.get("imports")
        if not is_registered(self.model) and isinstance(modules, list) and modules:
            flags = " ".join(f"--import={module}" for module in modules)
            kept = how_to_import(run, modules) if run else ""
            raise UsageError(f"the model {self.model!r} is one of your own. Add {flags}. {kept}".rstrip())
        get_spec(self.model)

    def build_model(self, run: Path | None = None) -> nn.Module:
        """Return the model with its weights, on the CPU.

        Args:
            run: The folder that the checkpoint is in; likewise.

        Raises:
            UsageError: No such model is registered.
            CnnzooError: The weights do not fit the model as cnnzoo builds it.
        """
        self.check_model_is_known(run)
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
        self.check_fits(create_skeleton(self.model, **structure, **options).state_dict())
        model = create_model(self.model, **structure, **options)
        self.give_state(model)
        return model

    def give_state(self, model: nn.Module) -> None:
        """Give a net the weights and buffers that are here.

        Args:
            model: One that they fit, as ``check_fits`` says.

        Raises:
            CnnzooError: The net itself refuses them, as torchvision's MNASNet does those without a version.
        """
        try:
            load_net_state(model, self.state_dict, self.buffers)
        except (RuntimeError, ValueError, TypeError) as error:
            raise CnnzooError(
                f"{self.model} does not take the checkpoint's weights: {one_line(error)}. "
                "Use the cnnzoo, and the code of the net, that wrote them."
            ) from error

    def is_after(self, epoch: int, path: Path) -> bool:
        """Whether a file holds the weights of this ``last.pt``'s run after an epoch, as far as those are known."""
        try:
            other = load_checkpoint(path)
        except CnnzooError:
            return False
        return other.epoch == epoch and self.has_weights(epoch, other)

    def has_weights(self, epoch: int, other: "Checkpoint") -> bool:
        """Whether another checkpoint's weights are those of this ``last.pt``'s run after an epoch, or nobody knows."""
        known = (self.weights_sha256 or {}).get(str(epoch))
        return known is None or weights_sha256(tensors_of(other.state_dict)) == known

    def check_fits(self, expected: Mapping[str, Any]) -> None:
        """See whether a model's weights have the names and shapes of those here.

        Args:
            expected: The model's own state dict.

        Raises:
            CnnzooError: They have not; the message names one that differs.
        """
        differ = {
            f"{name} is {_shape(self.state_dict.get(name))} and should be {_shape(expected.get(name))}"
            for name in expected.keys() | self.state_dict.keys()
            if _shape(self.state_dict.get(name)) != _shape(expected.get(name))
            and not (name.endswith(EXTRA_STATE) and name in expected and name in self.state_dict)
        }
        if differ:
            raise CnnzooError(
                f"the checkpoint's weights do not fit {self.model} for {self.num_classes} classes and "
                f"{self.in_channels} channel(s): {min(differ)}. Use the cnnzoo that wrote it."
            )


def _shape(value: object) -> str:
    if not isinstance(value, Tensor):
        return "missing" if value is None else "something else"
    return "x".join(map(str, value.shape)) or "a number"


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that ``path`` holds the old file or the new one, whole, at every moment.

    Raises:
        CnnzooError: The disk is full or not writable; ``path`` is as it was.
    """
    values = {f.name: getattr(checkpoint, f.name) for f in fields(checkpoint)}
    training = checkpoint.training.to_dict() if checkpoint.training else {}
    write_values(path, {"format": FORMAT, **values, "training": training})


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint onto the CPU. Nothing in it runs, and every bit of it is verified first.

    Raises:
        CnnzooError: There is none, it is damaged or foreign, or of another format.
    """
    path = Path(path)
    values = read_values(path)
    if not isinstance(values, Mapping) or not isinstance(values.get("format"), int):
        raise CnnzooError(f"{path} is not a checkpoint of cnnzoo. {USE_OURS}")
    if values["format"] > FORMAT:
        raise CnnzooError(
            f"{path} has checkpoint format {values['format']}, this cnnzoo reads up to {FORMAT}. Upgrade cnnzoo."
        )
    if values["format"] < FORMAT:
        raise CnnzooError(
            f"{path} is not a checkpoint that this cnnzoo reads: its format is {values['format']}, not {FORMAT}. "
            f"{USE_OURS}"
        )
    try:
        names = [f.name for f in fields(Checkpoint) if f.name in values]
        return _made(Checkpoint, {name: _checked(name, values[name]) for name in names})
    except UsageError as error:
        raise CnnzooError(
            f"{path} is not a checkpoint as cnnzoo writes it: {one_line(error)}. {USE_OURS}"
        ) from error


def epoch_of(path: Path) -> int | None:
    """Return the epoch that a checkpoint was saved after; None where there is no whole one."""
    try:
        return load_checkpoint(path).epoch
    except CnnzooError:
        return None


def _checked(name: str, value: object) -> Any:  # noqa: ANN401
    annotation = get_type_hints(Checkpoint)[name]
    if name == "state_dict":
        return _state_dict(name, value)
    if name == "buffers":
        return _tensors_by_name(name, value)
    if name == "training":
        state = check(name, dict[str, Any] | None, value)
        return TrainingState.from_dict(state) if state else None
    return check(name, annotation, value)


def _state_dict(name: str, value: object) -> dict[str, Any]:
    """Return a state dict that was read as it is: a copy would have lost its modules' versions."""
    if not isinstance(value, dict):
        raise UsageError(f"{name} must be a mapping of names to tensors")
    _tensors_by_name(name, tensors_of(value))
    versions = getattr(value, "_metadata", {})
    if not isinstance(versions, dict) or not all(isinstance(each, dict) for each in versions.values()):
        raise UsageError(f"the versions in {name} must be a mapping of names to mappings")
    return value


def _tensors_by_name(name: str, value: object) -> dict[str, Tensor]:
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items()
    ):
        raise UsageError(f"{name} must be a mapping of names to tensors")
    return dict(value)


def _list(name: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise UsageError(f"{name} must be a list")
    return value


def _typed(kind: type[Made], value: object) -> Made:
    """Build a dataclass of numbers from a mapping; what that lacks has its default."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{kind.__name__} must be a mapping of names to numbers")
    types = get_type_hints(kind)
    return _made(kind, {name: check(name, types[name], value[name]) for name in types if name in value})


def _made(kind: type[Made], values: Mapping[str, Any]) -> Made:
    """Build a dataclass, or say what has no default and is missing."""
    needed = [f for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    if missing := [f.name for f in needed if f.name not in values]:
        raise UsageError(f"it lacks {', '.join(missing)}")
    return kind(**values)
