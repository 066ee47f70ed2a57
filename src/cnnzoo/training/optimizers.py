"""Optimizers by name: torch's fused kernels for Adam, AdamW and SGD (``fused_optimizer.py``) and torch.optim's."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from cnnzoo.config import TrainConfig
from cnnzoo.errors import UsageError, one_line, unknown
from cnnzoo.registries import OPTIMIZERS
from cnnzoo.training.fused_optimizer import Optimizer, misfit, structure_of, trained_of
from cnnzoo.training.transfer import lr_scales
from cnnzoo.validation import check

Builder = TypeVar("Builder", bound=Callable[..., torch.optim.Optimizer])

NOTES = {"adadelta": "its paper's rate is 1.0 (Zeiler 2012)"}
"""What a person should know who uses one of them."""

_HOW = {"foreach", "fused", "capturable", "differentiable"}
_NO_OPTIONS = {"params", "lr", "maximize"} | _HOW
"""Arguments of torch.optim's classes that change how or whither they compute, and not what is trained."""


def register_optimizer(name: str) -> Callable[[Builder], Builder]:
    """Register the decorated class or function as optimizer ``name``.

    It is called with the parameters that are trained, ``lr``, and those of ``momentum``, ``weight_decay`` and its own
    keywords (``--optimizer-option``) that were given; it returns a ``torch.optim.Optimizer`` whose ``step`` needs no
    closure.

    Raises:
        CnnzooError: The name is taken.
    """
    return OPTIMIZERS.registering(name)


class OptimizerLike(Protocol):
    """What the loop and the checkpoint know of an optimizer."""

    lr: float

    def zero_grad(self) -> None:
        """Forget the gradients."""

    def step(self) -> None:
        """Update every parameter that has a gradient."""

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` goes on from."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the state of another optimizer of the same parameters."""


def make_optimizer(model: nn.Module, config: TrainConfig) -> OptimizerLike:
    """Build the optimizer that a run asks for, of the model's parameters that need a gradient.

    Raises:
        UsageError: There is none of that name, or it does not take one of its settings.
        CnnzooError: There is nothing to train.
    """
    name, options = config.optimizer, config.optimizer_options
    OPTIMIZERS.check(name)
    scales = lr_scales(model, config.lr_scale)
    trained = {
        parameter: scales[key] for key, parameter in model.named_parameters() if parameter.requires_grad
    }
    if name in ("adam", "adamw", "sgd") and not options:
        momentum = 0.9 if config.momentum is None else config.momentum
        return Optimizer(
            trained,
            name,
            lr=config.lr,
            momentum=momentum,
            weight_decay=config.weight_decay,
            lr_scales=tuple(trained.values()),
        )
    return TorchOptimizer(trained, name, config)


class TorchOptimizer:
    """An optimizer of torch.optim, or one that was registered, behind the face of the fused ones.

    What is not given has the class's own default, but for the learning rate.

    Args:
        parameters: All of them on one device, each with the factor of its rate.
        name: A registered name.
        config: Its lr, momentum, weight decay and options.

    Raises:
        UsageError: It takes no such option, or not such a value.
        CnnzooError: There is nothing to train.
    """

    def __init__(self, parameters: Mapping[nn.Parameter, float], name: str, config: TrainConfig) -> None:
        self.name = name
        trained_of(parameters)
        self.scales = tuple(dict.fromkeys(parameters.values()))
        of_scale = [[p for p, other in parameters.items() if other == scale] for scale in self.scales]
        self.parameters = [parameter for group in of_scale for parameter in group]
        build = cast("Callable[..., torch.optim.Optimizer]", OPTIMIZERS.entries[name])
        taken = inspect.signature(build).parameters
        given: dict[str, Any] = {}
        if config.momentum is not None or name == "sgd":
            given["momentum"] = 0.9 if config.momentum is None else config.momentum
        if config.weight_decay or name in ("adamw", "sgd"):  # of which torch's default is not this one's
            given["weight_decay"] = config.weight_decay
        for setting in given.keys() - taken.keys() - ({"momentum"} if name in ("adam", "adamw") else set()):
            raise UsageError(f"{name} takes no {setting}. Leave --{setting.replace('_', '-')} out.")
        options = {key: value for key, value in given.items() if key in taken} | kernels(
            name, self.parameters[0].device
        )
        known = {key: p for key, p in taken.items() if key not in _NO_OPTIONS}
        for key, value in config.optimizer_options.items():
            if key not in known:
                raise unknown(f"option of {name}:", key, known)
            options[key] = _as_default(f"{name}'s {key}", value, known[key].default)
        try:
            self.torchs = build([{"params": group} for group in of_scale], lr=config.lr, **options)
        except ValueError as error:
            raise UsageError(
                f"{name} does not take these options: {one_line(error)}. Change them."
            ) from error
        self.param_groups = self.torchs.param_groups
        self.lr = config.lr

    @property
    def lr(self) -> float:
        """Learning rate; may be set anew before each step."""
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._lr = lr
        for group, scale in zip(self.param_groups, self.scales, strict=True):
            group["lr"] = lr * scale

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.torchs.zero_grad()

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        self.torchs.step()

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` goes on from; the tensors are those in use, not copies."""
        return {"lr": self.lr, **self.torchs.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the state of another optimizer of the same class and parameters.

        Raises:
            CnnzooError: It is none of such a one.
        """
        mine = self.torchs.state_dict()
        groups = state.get("param_groups")
        shapes = {i: parameter.shape for i, parameter in enumerate(self.parameters)}
        moments, lr = state.get("state"), state.get("lr")
        num_groups = len(mine["param_groups"])
        if (
            isinstance(groups, list)
            and [isinstance(group, Mapping) for group in groups] == [True] * num_groups
        ):
            # Of another device, perhaps.
            groups = [
                {**theirs, **{key: own[key] for key in own.keys() & _HOW}}
                for theirs, own in zip(groups, mine["param_groups"], strict=True)
            ]
        if (
            not isinstance(lr, float)
            or structure_of(groups) != structure_of(mine["param_groups"])
            or not isinstance(moments, Mapping)
            or not all(
                isinstance(of_one, Mapping)
                and all(
                    not isinstance(v, Tensor) or v.dim() == 0 or _fits(v, shapes.get(i))
                    for v in of_one.values()
                )
                for i, of_one in moments.items()
            )
        ):
            raise misfit(self.name)
        self.torchs.load_state_dict({"state": moments, "param_groups": groups})
        self.param_groups = self.torchs.param_groups
        self.lr = lr


def kernels(name: str, device: torch.device) -> dict[str, bool]:
    """Return with which kernels an optimizer of torch.optim updates: fused ones, on CUDA, where it has them.

    A fused one counts its steps on the device, and one kernel does what torch's default does in several. What
    ``capturable`` is for, an update within a CUDA graph, there is not: the graphs of ``--compile`` hold the net alone.
    """
    return {"fused": True} if device.type == "cuda" and name in ("adam", "adamw", "sgd") else {}


def _fits(value: Tensor, shape: torch.Size | None) -> bool:
    """Return whether a moment belongs to a parameter: of its shape, or (Adafactor) of its rows or columns."""
    return (
        shape is not None
        and value.dim() == len(shape)
        and all(mine in (1, theirs) for mine, theirs in zip(value.shape, shape, strict=True))
    )


def _as_default(name: str, value: object, default: object) -> Any:  # noqa: ANN401
    """Return an option's value as its default has it: ``"0.9,0.99"`` becomes (0.9, 0.99)."""
    if isinstance(default, tuple):
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or len(parts) != len(default):
            raise UsageError(f"{name} must be {len(default)} numbers, such as {','.join(map(str, default))}.")
        return tuple(
            None if part in (None, "none") else check(name, float, part)
            for part in (p.strip() if isinstance(p, str) else p for p in parts)
        )
    kind = bool if isinstance(default, bool) else float if isinstance(default, int | float) else Any
    if kind is Any and isinstance(value, str):  # its default is None, or it has none
        return value if value.isidentifier() else check(name, float, value)
    return check(name, kind, value)


for _name in OPTIMIZERS.built_in:
    _by_name = {known.lower(): known for known in dir(torch.optim)}
    OPTIMIZERS.register(_name, getattr(torch.optim, _by_name[_name]))
