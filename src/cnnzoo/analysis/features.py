"""What layers make of images: their outputs, how those and their gradients are distributed, units that do nothing."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cnnzoo.errors import CnnzooError, one_line
from cnnzoo.training.answers import logits_in
from cnnzoo.training.losses import Criterion, criterion_of

SATURATED = 0.01
"""A sigmoid or tanh counts as saturated within this share of its range from either end.

There its slope is below 4% of the steepest: σ' = y(1 − y) is 0.0099 at y = 0.01, and 0.25 at y = 0.5; tanh, which is
2σ(2x) − 1, likewise. What that does to learning: Glorot and Bengio 2010, section 3.
"""

ACTIVATION_BINS = 80
"""Of a distribution."""

HANDS_ON = (  # layers whose numbers, in evaluation, are those of the layer before
    nn.Identity | nn.Flatten | nn.Unflatten
    | nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d | nn.AlphaDropout
)  # fmt: skip


def features(model: nn.Module, image: Tensor) -> list[tuple[str, Tensor]]:
    """Return what each layer makes of an image, in the order in which they run.

    A layer is a module that calls no other one. One that is used twice is there twice. The net runs in evaluation
    mode, and is left as it was.

    Args:
        model: Takes images.
        image: As the net takes it, ``(C, H, W)``.

    Returns:
        ``("input", image)`` and, for each use of a layer, its name and a copy of what it puts out, float32 on the
        CPU: maps ``(C, H, W)`` or a vector ``(D,)``; of a layer that puts out several tensors the first.

    Raises:
        CnnzooError: The net cannot take such an image.
    """
    outputs = [("input", image.detach().to("cpu", torch.float32, copy=True))]

    def keep(name: str, _: nn.Module, output: Tensor) -> None:
        # A copy: the next layer may change the tensor in place, as ReLUs do.
        whole = output.detach().to("cpu", torch.float32, copy=True)
        outputs.append((name, whole[0] if whole.ndim > 1 and len(whole) == 1 else whole))

    with torch.no_grad():
        run_layers(model, image[None], keep)
    return outputs


@dataclass(frozen=True)
class Distribution:
    """A histogram of numbers.

    Attributes:
        low: The lowest of those that are neither 0 nor NaN nor infinite.
        high: The highest of them.
        counts: How many of them are in each of ACTIVATION_BINS equal parts of the range, ``(ACTIVATION_BINS,)``.
        zeros: Share of the finite numbers that are exactly 0.
    """

    low: float
    high: float
    counts: Tensor
    zeros: float


@dataclass(frozen=True, kw_only=True)
class LayerActivity:
    """What a layer put out for a batch, in one use of it.

    Attributes:
        name: Where it is in the model.
        type: Its class.
        activations: What it put out.
        gradients: Decimal logarithms of the absolute gradients of the batch's mean loss by its activations; None
            where no gradient reaches it.
        units: Its maps, or the elements of its vector.
        are_maps: Which of them.
        dead: Of a ReLU: how many units are never above 0, for any image and at any place; else None.
        saturated: Of a sigmoid or tanh: share of the activations at either end of the range, as SATURATED says; else
            None.
    """

    name: str
    type: str
    activations: Distribution
    gradients: Distribution | None
    units: int
    are_maps: bool
    dead: int | None
    saturated: float | None

    @property
    def remark(self) -> str:
        """What is dead or saturated, in words; empty for a layer that can be neither."""
        if self.dead is not None:
            units = "maps" if self.are_maps else "units"
            return f"{self.dead:,} of {self.units:,} {units} dead ({percent(self.dead / max(self.units, 1))})"
        return "" if self.saturated is None else f"{percent(self.saturated)} saturated"


def activations(
    model: nn.Module, images: Tensor, targets: Tensor, criterion: Criterion | None = None
) -> list[LayerActivity]:
    """Return how activations and gradients are distributed in each layer that computes something.

    The net runs in evaluation mode, so that dropout kills nothing, and is left as it was, its gradients too. Layers
    that only hand on numbers, such as ``nn.Flatten``, are left out.

    Args:
        model: Takes images, answers with logits ``(N, num_classes)``.
        images: As the net takes them, ``(N, C, H, W)``.
        targets: Labels ``(N,)``, or probabilities ``(N, num_classes)``.
        criterion: The loss; by default the model's own, else the cross-entropy.

    Raises:
        CnnzooError: The net cannot take such images.
    """
    layers: list[LayerActivity] = []
    gradients: dict[int, Distribution] = {}

    def look(name: str, module: nn.Module, output: Tensor) -> None:
        if isinstance(module, HANDS_ON):
            return
        values, number = output.detach(), len(layers)
        by_unit = values.movedim(1 if values.ndim > 3 else -1, 0).flatten(1)
        layers.append(
            LayerActivity(
                name=name,
                type=type(module).__name__,
                activations=_distribution(values),
                gradients=None,
                units=len(by_unit),
                are_maps=values.ndim > 3,
                dead=int((by_unit <= 0).all(1).sum()) if isinstance(module, nn.ReLU | nn.ReLU6) else None,
                saturated=_saturated(module, values),
            )
        )
        if output.requires_grad:

            def note(gradient: Tensor) -> None:
                gradients[number] = _distribution(gradient.abs(), logarithmic=True)

            # Of the tensor as it is now: torch gives that one's gradient even where it is changed in place later.
            output.register_hook(note)

    with torch.enable_grad():
        start = images.detach().clone().requires_grad_()
        logits = logits_in(
            run_layers(model, start.clone(), look)
        )  # of a clone, which a layer may change in place
        assert isinstance(logits, Tensor)
        loss = (criterion or criterion_of(model))(logits, targets.to(logits.device))
        if loss.requires_grad:
            learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
            torch.autograd.grad(
                loss, [start, *learnt], allow_unused=True
            )  # none of it goes into parameter.grad
    return [replace(layer, gradients=gradients.get(number)) for number, layer in enumerate(layers)]


def percent(share: float) -> str:
    """Return a share in whole percent; what is more than none is never 0%, and what is not all never 100%."""
    if 0 < share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1 else f"{share:.0%}"


def first_convolution(model: nn.Module) -> tuple[str, Tensor]:
    """Return the name of a net's first convolution and its kernels ``(maps, channels, H, W)``.

    Raises:
        CnnzooError: It has none.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            return name or type(module).__name__, module.weight.detach().to("cpu", torch.float32)
    raise CnnzooError("this net has no convolution whose filters could be drawn.")


def _distribution(values: Tensor, *, logarithmic: bool = False) -> Distribution:
    finite = values[values.isfinite()]
    counted = finite[finite != 0].float()
    zeros = 1 - len(counted) / len(finite) if len(finite) else 0.0
    if logarithmic:
        counted = counted.log10()
    if not len(counted):
        return Distribution(0.0, 0.0, torch.zeros(ACTIVATION_BINS), zeros)
    low, high = counted.min().item(), counted.max().item()
    return Distribution(low, high, torch.histc(counted, ACTIVATION_BINS, low, high).cpu(), zeros)


def _saturated(module: nn.Module, values: Tensor) -> float | None:
    """Return the share of what a layer puts out that is near an end of its range; None of a layer without ends."""
    ranges = {nn.Sigmoid: (0.0, 1.0), nn.Tanh: (-1.0, 1.0)}
    ends = next((ends for kind, ends in ranges.items() if isinstance(module, kind)), None)
    ends = ends or getattr(module, "bounds", None)
    if ends is None or not values.numel():
        return None
    margin = SATURATED * (ends[1] - ends[0])
    return ((values < ends[0] + margin) | (values > ends[1] - margin)).float().mean().item()


def run_layers(model: nn.Module, images: Tensor, take: Callable[[str, nn.Module, Tensor], None]) -> object:
    """Run a model in evaluation mode, and have ``take`` told of what each layer puts out."""
    place = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), images.device)
    try:
        with _evaluating(model), _outputs_taken(model, take):
            return model(images.to(place, torch.float32))
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        if "memory" in str(error).lower():
            raise  # explain_oom's to answer
        shape = "x".join(map(str, images.shape[1:]))
        raise CnnzooError(f"the net cannot take images of {shape}: {one_line(error)}.") from error


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its modules back into its own afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _outputs_taken(model: nn.Module, take: Callable[[str, nn.Module, Tensor], None]) -> Iterator[None]:
    """Have ``take`` told of what each layer puts out, each time that it runs, before anything can change it.

    A layer is a module that calls no other: one that has parts and does not call them, as
    ``nn.MultiheadAttention``, is one, too.
    """
    names = {module: name or type(module).__name__ for name, module in model.named_modules()}
    running: list[bool] = []  # for each module that runs now, whether it has called another

    def enter(*_: object) -> None:
        running.append(False)

    def leave(module: nn.Module, _: object, answer: object) -> None:
        has_called = running.pop()
        if running:
            running[-1] = True
        output = _first_tensor(answer)
        if not has_called and output is not None:
            take(names[module], module, output)

    hooks = [
        hook
        for module in names
        for hook in (module.register_forward_pre_hook(enter), module.register_forward_hook(leave))
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _first_tensor(answer: object) -> Tensor | None:
    """Return the first tensor of numbers that can be drawn in what a layer puts out."""
    if isinstance(answer, Mapping):
        answer = tuple(answer.values())
    members = answer if isinstance(answer, tuple | list) else (answer,)
    return next((m for m in members if isinstance(m, Tensor) and m.is_floating_point() and m.ndim), None)
