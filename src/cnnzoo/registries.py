"""What is registered by name; the built-in names are known here, without an import of what they name.

A test holds each table of built-in names equal to what is registered.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

from cnnzoo.errors import CnnzooError, UsageError, did_you_mean, one_line

T = TypeVar("T")
Made = TypeVar("Made")

TORCHVISION = "torchvision/"
"""How the names of torchvision's networks begin."""

MODEL_ENTRY_POINTS = "cnnzoo.models"
"""The group of entry points by which an installed package registers its models."""


def import_torchvision() -> Any:  # noqa: ANN401
    """Return the module torchvision.

    Raises:
        CnnzooError: It is not installed, or does not fit the installed torch.
    """
    try:
        import torchvision
    except (ImportError, RuntimeError, AttributeError) as error:
        installed = [f"{name} {version_of(name)}" for name in ("torchvision", "torch")]
        raise CnnzooError(
            f"{installed[0]} cannot be imported beside {installed[1]} ({one_line(error)}). "
            "Install the two that belong together: pip install --upgrade torch torchvision"
        ) from error
    return torchvision


def version_of(package: str) -> str:
    """Return the version of an installed package, which need not be imported; ``(not installed)`` where it is not."""
    with suppress(PackageNotFoundError):
        return version(package)
    return "(not installed)"


class Registry(Generic[T]):
    """Entries by name, built-in ones first.

    Args:
        kind: What an entry is, for errors: ``optimizer``.
        built_in: Names of cnnzoo's own entries, which are registered once their module is imported.
        refused: Names that a person may expect, and why there is no such entry.
        choice: How the names are introduced in an error.
    """

    def __init__(
        self,
        kind: str,
        built_in: tuple[str, ...],
        refused: Mapping[str, str] = MappingProxyType({}),
        *,
        choice: str = "one of",
    ) -> None:
        self.kind, self.built_in, self.refused, self.choice = kind, built_in, refused, choice
        self.entries: dict[str, T] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of registration behind the built-in ones."""
        return (*self.built_in, *(name for name in self.entries if name not in self.built_in))

    def register(self, name: str, entry: T) -> None:
        """Add an entry.

        Raises:
            CnnzooError: The name is taken.
        """
        if name in self.entries:
            raise CnnzooError(f"{self.kind} name {name!r} is taken. Register yours under another name.")
        self.entries[name] = entry

    def registering(self, name: str) -> Callable[[Made], Made]:
        """Return a decorator that registers what it decorates."""

        def register(entry: Made) -> Made:
            self.register(name, cast("T", entry))
            return entry

        return register

    def check(self, name: str) -> None:
        """See that there is an entry of that name.

        Raises:
            UsageError: There is none; the message names the nearest.
        """
        if name in self.refused and name not in self.entries:
            raise UsageError(f"{self.kind} {name} cannot be used: {self.refused[name]}. Choose another.")
        if name not in self.names:
            hint = did_you_mean(name, sorted(self.names))
            raise UsageError(
                f"{self.kind} must be {self.choice} {', '.join(self.names)}, not {name!r}. {hint}".rstrip()
            )


OPTIMIZERS: Registry[object] = Registry(
    "optimizer",
    (
        *("adam", "adamw", "sgd", "adadelta", "adafactor", "adagrad", "adamax", "asgd", "nadam", "radam"),
        *("rmsprop", "rprop"),
    ),
    refused={
        "lbfgs": "its step evaluates the loss several times, by a closure that the training loop does not have",
        "muon": "it takes matrices alone, and networks have biases and kernels of convolutions",
        "sparseadam": "it takes sparse gradients alone, and no network here has them",
    },
)
"""The optimizers of torch.optim that take dense gradients and whose step needs no closure, and registered ones."""

LOSSES: Registry[object] = Registry("loss", ("cross_entropy", "mse"))
"""The losses: functions of logits and targets in training/losses.py, and registered ones."""

AUGMENTATIONS: Registry[object] = Registry(
    "augment",
    ("flip", "crop", "affine", "color-pca", "erasing", "mixup", "cutmix"),
    choice="a list, each one of",
)
"""Random changes to training images: classes in data/augment.py, and registered ones."""
