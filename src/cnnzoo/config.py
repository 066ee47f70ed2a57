"""TrainConfig: the one description of a run. Flags, YAML, checkpoints and resume all go through it."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Gt, Lt

from cnnzoo.errors import UsageError, shown, unknown
from cnnzoo.registries import AUGMENTATIONS, LOSSES, OPTIMIZERS
from cnnzoo.validation import as_seconds, as_thread_plan, check


@dataclass(frozen=True)
class Setting:
    """How a field of TrainConfig is shown to a person: its help, its group and its flags.

    Without ``flags`` the field ``val_split`` is ``--val-split``. A default in square brackets at the
    end of ``help`` stands for None.
    """

    help: str
    group: str
    flags: tuple[str, ...] = ()


Count = Annotated[int, Ge(1)]
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole training run, checked when it is made.

    Raises:
        UsageError: A value has the wrong type or lies outside its range.
    """

    model: Annotated[str, Setting("Which network to train; `cnnzoo models` lists them.", "Model")]
    model_options: Annotated[
        dict[str, Any],
        Setting("An option of the model, such as dropout=0.3. May be repeated.", "Model", ("-o", "--option")),
    ] = field(default_factory=dict)
    image_size: Annotated[
        Count | None, Setting("Pixels a side that images are resized to [the model's own].", "Model")
    ] = None
    resize: Annotated[
        Count | None,
        Setting(
            "Pixels a side that images get first; squares of the net's size are cut from them [none].",
            "Model",
        ),
    ] = None
    weights: Annotated[
        str | None,
        Setting("Begin with those of a file, a run, or `default`: torchvision's download [random].", "Model"),
    ] = None
    init: Annotated[
        str, Setting("First weights: default (the net's own), xavier, he, normal:STD or zero.", "Model")
    ] = "default"
    freeze: Annotated[
        tuple[str, ...],
        Setting(
            "Parts that are not trained, such as features; backbone: all but the last layer [none].", "Model"
        ),
    ] = ()
    lr_scale: Annotated[
        dict[str, Annotated[float, Ge(0), Lt(math.inf)]],
        Setting("A part's own factor of the learning rate, such as features=0.1. May be repeated.", "Model"),
    ] = field(default_factory=dict)
    imports: Annotated[
        tuple[str, ...],
        Setting(
            "A Python module, or the path of its file, to import first: it registers models of your own.",
            "Model",
            ("--import",),
        ),
    ] = ()

    dataset: Annotated[
        str | None,
        Setting(
            "A name that `cnnzoo data` lists, folder:PATH or csv:FILE [fashionmnist].",
            "Data",
            ("-d", "--dataset"),
        ),
    ] = None
    data_dir: Annotated[
        Path | None, Setting("Where datasets lie [$CNNZOO_DATA, else the user's cache folder].", "Data")
    ] = None
    csv_columns: Annotated[
        tuple[str, ...],
        Setting(
            "Of csv:FILE the headings of the images and of their labels, such as id,breed; or of one-hot labels, such "
            "as id,cat,dog [found].",
            "Data",
        ),
    ] = ()
    image_root: Annotated[
        Path | None, Setting("Where the images of csv:FILE lie [beside it, or in a folder there].", "Data")
    ] = None
    channels: Annotated[
        Literal[1, 3] | None,
        Setting(
            "Read images in 1 channel (grey) or 3 (RGB) [what 1,000 training images of a folder are].", "Data"
        ),
    ] = None
    val_split: Annotated[
        float, Gt(0), Lt(1), Setting("Share of the training images kept for validation.", "Data")
    ] = 0.2
    normalize: Annotated[
        bool, Setting("Subtract the data's mean, divide by its deviation; without: pixels in [0, 1].", "Data")
    ] = True
    augment: Annotated[
        tuple[str, ...],
        Setting(
            f"Random changes to training images, such as flip,crop or mixup:0.2: any of "
            f"{', '.join(AUGMENTATIONS.built_in)} [none].",
            "Data",
        ),
    ] = ()
    skip_bad_images: Annotated[
        bool, Setting("Leave out images of a folder that cannot be read, and say how many.", "Data")
    ] = False
    drop_duplicates: Annotated[
        bool, Setting("Leave out images of a folder that are in its test part too.", "Data")
    ] = False
    check_duplicates: Annotated[
        bool, Setting("Look for such images in folders of more than 200,000 files, too.", "Data")
    ] = False
    record_images: Annotated[
        bool, Setting("Note which images were trained on, of more than 200,000 files, too.", "Data")
    ] = False
    sampler: Annotated[
        Literal["shuffle", "balanced"],
        Setting(
            "Order of training images: shuffle (each once an epoch) or balanced (every class as often).",
            "Data",
        ),
    ] = "shuffle"
    limit_train: Annotated[
        Count | None, Setting("Train on so many images only, for a quick look [all].", "Data")
    ] = None
    limit_val: Annotated[Count | None, Setting("Validate on so many images only [all].", "Data")] = None
    num_workers: Annotated[
        Annotated[int, Ge(0)] | None,
        Setting(
            "Threads that decode a folder too large for memory [one per core].", "Data", ("-j", "--workers")
        ),
    ] = None

    epochs: Annotated[Count, Setting("Epochs in total, those before a resume included.", "Training")] = 10
    max_steps: Annotated[
        Count | None,
        Setting("Steps in total, where they are done before the epochs are [no limit].", "Training"),
    ] = None
    batch_size: Annotated[
        Count, Setting("Images per batch, over all processes.", "Training", ("-b", "--batch-size"))
    ] = 32
    grad_accum_steps: Annotated[
        Count,
        Setting(
            "Batches whose gradients are added up for one step.",
            "Training",
            ("--grad-accum",),
        ),
    ] = 1
    lr: Annotated[float, Gt(0), Lt(math.inf), Setting("Learning rate.", "Training")] = 1e-3
    optimizer: Annotated[
        str, Setting(f"How weights are updated: {', '.join(OPTIMIZERS.built_in)}.", "Training")
    ] = "adam"
    optimizer_options: Annotated[
        dict[str, Any],
        Setting(
            "Another argument of the optimizer, as torch.optim has it, such as betas=0.9,0.99. May be repeated.",
            "Training",
            ("--optimizer-option",),
        ),
    ] = field(default_factory=dict)
    momentum: Annotated[
        Annotated[float, Ge(0), Lt(1)] | None,
        Setting(
            "Momentum of sgd, rmsprop or another that has one [sgd: 0.9, else the optimizer's own].",
            "Training",
        ),
    ] = None
    weight_decay: Annotated[
        float, Ge(0), Lt(math.inf), Setting("Pull of the weights towards zero.", "Training")
    ] = 0.0
    scheduler: Annotated[
        Literal["none", "cosine", "step", "plateau", "milestones"],
        Setting(
            "Learning rate over the run: none (constant), cosine (half of one, down to 0), step (a tenth after each "
            "third), plateau (a tenth when validation stalls) or milestones (a tenth at each of --milestones).",
            "Training",
        ),
    ] = "none"
    milestones: Annotated[
        tuple[Count, ...],
        Setting("Steps or epochs after which milestones lowers the rate, such as 32000,48000.", "Training"),
    ] = ()
    milestone_unit: Annotated[Literal["steps", "epochs"], Setting("What --milestones count.", "Training")] = (
        "epochs"
    )
    lr_factor: Annotated[
        float,
        Gt(0),
        Lt(math.inf),
        Setting("By what step, plateau and milestones multiply the rate.", "Training"),
    ] = 0.1
    plateau_epochs: Annotated[
        Count, Setting("Epochs without a better one after which plateau lowers the rate.", "Training")
    ] = 3
    warmup_epochs: Annotated[
        float, Ge(0), Lt(math.inf), Setting("Epochs in which the learning rate rises from 0.", "Training")
    ] = 0.0
    loss: Annotated[
        str, Setting(f"Loss, where the net has none of its own: {', '.join(LOSSES.built_in)}.", "Training")
    ] = "cross_entropy"
    label_smoothing: Annotated[
        float, Ge(0), Lt(1), Setting("Share of each target that is spread over all classes.", "Training")
    ] = 0.0
    class_weights: Annotated[
        str | None,
        Setting(
            "What each class counts in the loss: balanced, or a file of lines such as `cat: 2.0` [all the same].",
            "Training",
        ),
    ] = None
    grad_clip: Annotated[
        float, Ge(0), Lt(math.inf), Setting("Largest norm of the gradient; 0: no limit.", "Training")
    ] = 0.0
    seed: Annotated[
        int, Ge(0), Lt(2**63), Setting("Seed of weights, split, order, augmentation and dropout.", "Training")
    ] = 0

    monitor: Annotated[
        Literal["val_acc", "val_loss"],
        Setting("What makes an epoch the best, and what --patience and plateau watch.", "Stopping"),
    ] = "val_acc"
    patience: Annotated[
        Count | None, Setting("Stop after so many epochs without a better one [never].", "Stopping")
    ] = None

    threads: Annotated[
        int | str,
        Setting(
            "On the CPU: a number, auto (all that there are, one where that is faster), or the record of a run.",
            "Machine",
        ),
    ] = "auto"
    device: Annotated[str, Setting("auto, cpu, cuda, cuda:1, mps or xpu.", "Machine")] = "auto"
    precision: Annotated[
        PrecisionName,
        Setting("Number format of the forward and backward pass.", "Machine"),
    ] = "auto"
    deterministic: Annotated[
        bool, Setting("On CUDA: the same numbers each time, at the cost of speed.", "Machine")
    ] = False
    compile: Annotated[bool, Setting("Have torch.compile translate the net first.", "Machine")] = False

    save_every: Annotated[
        str,
        Setting("How often last.pt is saved in the middle of an epoch, too: 90s, 10m, 2h or off.", "Output"),
    ] = "10m"
    keep_epochs: Annotated[
        bool, Setting("Keep the weights of every epoch, as epoch-1.pt and on.", "Output")
    ] = False
    out: Annotated[Path, Setting("Folder that holds the runs.", "Output")] = Path("runs")
    name: Annotated[
        str | None, Setting("The run's folder in it [MODEL-DATASET-NUMBER, the next free number].", "Output")
    ] = None

    def __post_init__(self) -> None:
        for name, annotation in field_types().items():
            object.__setattr__(self, name, check(name, annotation, getattr(self, name)))
        if (self.scheduler == "milestones") != bool(self.milestones):
            raise UsageError(
                "--scheduler milestones and --milestones go together, as in --scheduler milestones --milestones 3,6."
            )
        if list(self.milestones) != sorted(set(self.milestones)):
            raise UsageError(f"milestones must rise, not {', '.join(map(str, self.milestones))}.")
        for name in ("label_smoothing", "class_weights"):
            if self.loss != "cross_entropy" and getattr(self, name):
                raise UsageError(f"{name} only applies with the loss cross_entropy. Leave it out.")
        if isinstance(self.threads, str) and self.threads.isdecimal():
            object.__setattr__(self, "threads", int(self.threads))
        _ = self.save_seconds, self.thread_plan  # are checked by being read
        if not self.imports:
            self.check_names()

    @property
    def save_seconds(self) -> float:
        """Seconds from one save in an epoch to the next; infinity for ``off``.

        Raises:
            UsageError: ``save_every`` is no such time.
        """
        return as_seconds("save_every", self.save_every)

    @property
    def thread_plan(self) -> list[tuple[int, int, int]] | None:
        """From which epoch and step on the run is to have how many threads; None for ``auto``.

        Raises:
            UsageError: ``threads`` is no such plan.
        """
        return as_thread_plan(self.threads)

    def check_names(self) -> None:
        """See that what is named is registered; where modules are to be imported, once they are.

        Raises:
            UsageError: Something is not; the message names the nearest.
        """
        OPTIMIZERS.check(self.optimizer)
        LOSSES.check(self.loss)
        for text in self.augment:
            AUGMENTATIONS.check(text.partition(":")[0])

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str = "the settings") -> "TrainConfig":
        """Build a config from plain values, as YAML and checkpoints hold them.

        Args:
            values: Field names to values; what is missing takes its default.
            source: Where they come from, for an error.

        Raises:
            UsageError: A key that is no setting, a value out of its range, or no model.
        """
        known = field_types()
        values = dict(values)
        if values.get("save_every") is False:  # what YAML makes of an off without quotes
            values["save_every"] = "off"
        if type(values.get("device")) is int:  # what YAML makes of a 0
            values["device"] = str(values["device"])
        for key in values:
            if key not in known:
                name = key if isinstance(key, str) else shown(key)
                raise unknown("setting", name, known, listed="`cnnzoo train --help`")
        if "model" not in values:
            raise UsageError(f"{source} name no model. Name one, as in `cnnzoo train lenet`.")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that YAML and checkpoints can hold; ``from_dict`` reads them back."""
        return {name: _plain(getattr(self, name)) for name in field_types()}

    def replace(self, **changes: Any) -> "TrainConfig":  # noqa: ANN401
        """Return a copy with some settings changed, checked again."""
        return dataclasses.replace(self, **changes)


@cache
def field_types() -> dict[str, Any]:
    """Return each field of TrainConfig with its annotation, bounds and Setting included."""
    return get_type_hints(TrainConfig, include_extras=True)


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value
