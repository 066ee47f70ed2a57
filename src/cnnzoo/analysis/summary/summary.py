"""What a network is made of: every layer's shapes, parameters, multiply-adds, and how they come about.

The rows are torchinfo's. They are taken from a copy of the model that has its structure but, unless a real
device is named, none of its data: on PyTorch's meta device a pass computes shapes only.
"""

import copy
import math
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torchinfo
from torch import Tensor, nn
from torchinfo.layer_info import LayerInfo
from torchinfo.torchinfo import clear_cached_forward_pass

from cnnzoo.analysis.summary.receptive_field import (
    AdaptivePool,
    Conv,
    Field,
    FieldTracker,
    Norm,
    Pool,
    Sizes,
    TransposedConv,
    Window,
    equation,
    windows_of,
)
from cnnzoo.errors import CnnzooError, one_line
from cnnzoo.training.arithmetic import Arithmetic


@dataclass(frozen=True, kw_only=True)
class LayerSummary:
    """One layer, or one more use of it.

    Attributes:
        name: Where it is in the model, such as ``features.C1``.
        type: Its class.
        kernel_size: Of a convolution or pooling, else None; likewise the next two. An adaptive pooling has
            what it comes to with this input.
        stride: Pixels from one window to the next.
        padding: Pixels added on either side; ``"same"`` where the two sides differ.
        input_size: Shape of what comes in, batch included.
        output_size: Shape of what goes out, batch included.
        parameters: Numbers that it learns. What an earlier row counted (a layer used twice, a shared weight)
            counts 0 here, so that the rows add up to the model's parameters.
        mult_adds: Multiply-adds for the batch; None for a block that does none outside its parts.
        connections: Inputs of all units together, biases included, for one image, as LeCun et al. 1998 count them;
            None for layers of which that is not known.
        traffic: Bytes that a forward pass of the batch reads and writes at least: input, parameters and output; None
            for a block with parameters of its own.
        receptive_field: Pixels of the image, a side, that one output depends on. A kernel k makes
            r + (k − 1)·j of r. Padding counts as pixels. None where it is not known: behind branches that
            join, and behind operations that are no layers.
        jump: Pixels of the image from one output to the next: j, the product of the strides so far. None
            where the field is, and where outputs have no neighbours any more.
        parameter_arithmetic: How the parameters come about: ``(5·5·1 + 1)·6 = 156``.
        output_arithmetic: How the output's side comes about: ``(28 + 2·2 − 5)/1 + 1 = 28``.
    """

    name: str
    type: str
    kernel_size: Sizes | None = None
    stride: Sizes | None = None
    padding: Sizes | Literal["same"] | None = None
    input_size: Sizes = ()
    output_size: Sizes = ()
    parameters: int
    mult_adds: int | None = None
    connections: int | None = None
    traffic: int | None = None
    receptive_field: Sizes | None = None
    jump: Sizes | None = None
    parameter_arithmetic: str | None = None
    output_arithmetic: str | None = None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory for the batch, in bytes, as torchinfo estimates it.

    Attributes:
        input: The images.
        forward_backward: Outputs of the layers that have parameters, twice: values and gradients.
        parameters: The weights, without their gradients and the optimizer's state.
        total: The sum.
    """

    input: int
    forward_backward: int
    parameters: int
    total: int


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """A whole model.

    Attributes:
        type: Its class.
        device: Where the pass ran; ``meta`` computes shapes only.
        input_size: Shape of the images ``(N, C, H, W)``.
        layers: In the order of the pass.
        parameters: Of all layers, a shared one once.
        trainable: Those of them that training changes.
        mult_adds: Multiply-adds of one forward pass of the batch.
        memory: For the batch.
    """

    type: str
    device: str
    input_size: Sizes
    layers: tuple[LayerSummary, ...]
    parameters: int
    trainable: int
    mult_adds: int
    memory: Memory


def summarize(
    model: nn.Module, input_size: tuple[int, int, int, int], device: torch.device | str = "meta"
) -> ModelSummary:
    """Summarize a model for a batch of images.

    The model stays as it is and where it is: the pass runs on a copy, in evaluation mode, without the hooks
    that somebody put on the model. Torch's random state stays as it is too.

    Multiply-adds are counted as ``Arithmetic`` says.

    Args:
        model: Takes images, and has no lazy layers left.
        input_size: Shape of the images ``(N, C, H, W)``.
        device: Where the pass runs. On ``meta`` it takes no memory, however large the batch; a model that
            looks at values needs a real one.

    Raises:
        CnnzooError: The model cannot be copied, or cannot take such images.
    """
    device = torch.device(device)
    forked = [] if device.type in ("cpu", "meta") else [device]
    tracker = FieldTracker()
    try:
        with (
            torch.inference_mode(False),  # its tensors have no version for the tracker to look at
            torch.random.fork_rng(forked, device_type=device.type if forked else "cpu"),
        ):
            twin = _copy(model, device)
            dtype = next((p.dtype for p in twin.parameters() if p.is_floating_point()), torch.float32)
            images = torch.rand(input_size, device=device).to(dtype)
            tracker.follow(images, twin)
            with Arithmetic(twin) as arithmetic:
                statistics = torchinfo.summary(twin, input_data=images, device=device, verbose=0)
    except Exception as error:  # a model is anybody's code: it may fail in any way
        cause = error.__cause__ or error  # torchinfo hides it behind "Failed to run torchinfo"
        hint = " It needs values: name a device, such as cpu." if "meta" in str(cause) else ""
        raise CnnzooError(
            f"cannot run {type(model).__name__} on images of shape {'×'.join(map(str, input_size))}: "
            f"{one_line(cause)}.{hint}"
        ) from error
    finally:
        clear_cached_forward_pass()  # else torchinfo keeps the last copy of every class alive

    parameters = list(model.parameters())
    input_bytes = images.numel() * images.element_size()
    parameter_bytes = sum(p.numel() * p.element_size() for p in parameters)
    return ModelSummary(
        type=type(model).__name__,
        device=str(device),
        input_size=tuple(input_size),
        layers=_layers(twin, statistics.summary_list, tracker.fields, arithmetic, images.element_size()),
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        mult_adds=arithmetic.mult_adds,
        memory=Memory(
            input=input_bytes,
            forward_backward=statistics.total_output_bytes,
            parameters=parameter_bytes,
            total=input_bytes + statistics.total_output_bytes + parameter_bytes,
        ),
    )


def _copy(model: nn.Module, device: torch.device) -> nn.Module:
    """Return a copy whose tensors are on ``device`` and which has none of the model's hooks."""
    copies: dict[int, Any] = {}  # deepcopy takes from here what it would copy itself
    for module in model.modules():
        attributes = vars(module)
        for value in (
            *module.parameters(recurse=False),
            *module.buffers(recurse=False),
            *attributes.values(),
        ):
            if isinstance(value, Tensor):
                moved = value.detach().to(device, copy=True)
                is_parameter = isinstance(value, nn.Parameter)
                copies[id(value)] = nn.Parameter(moved, value.requires_grad) if is_parameter else moved
        for name, value in attributes.items():
            if name.endswith("_hooks") and isinstance(value, dict):
                copies[id(value)] = OrderedDict()
    return copy.deepcopy(model, copies)


def _layers(
    model: nn.Module,
    rows: list[LayerInfo],
    fields: list["Field | None"],
    arithmetic: Arithmetic,
    element_size: int,
) -> tuple[LayerSummary, ...]:
    """Make the summary's rows: the layers that ran, and whatever else has parameters or does arithmetic of its own."""
    names = {id(module): name for name, module in model.named_modules()}
    ran = [row.is_leaf_layer and row.executed for row in rows]
    # Layers claim their parameters first; then each block, the inner before the outer, what is left in it.
    claimed: set[int] = set()
    parameters: dict[int, int] = {}
    for index in sorted(range(len(rows)), key=lambda i: (not ran[i], i if ran[i] else -i)):
        mine = {id(p): p.numel() for p in rows[index].module.parameters() if id(p) not in claimed}
        claimed.update(mine)
        parameters[index] = sum(mine.values())

    layers = []
    remaining = iter(fields)
    by_layers = iter([work for module, work in arithmetic.calls if not any(module.children())])
    by_blocks = Counter[int]()
    for module, work in arithmetic.calls:
        if any(module.children()):
            by_blocks[id(module)] += work
    for index, row in enumerate(rows):
        name = names[id(row.module)] or row.class_name
        if ran[index]:
            layers.append(
                _layer(row, name, parameters[index], next(by_layers), next(remaining), element_size)
            )
        elif (work := by_blocks.pop(id(row.module), 0)) or parameters[index]:
            layers.append(
                LayerSummary(
                    name=name, type=row.class_name, parameters=parameters[index], mult_adds=work or None
                )
            )
    return tuple(layers)


def _layer(
    row: LayerInfo, name: str, parameters: int, mult_adds: int, seen: "Field | None", element_size: int
) -> LayerSummary:
    windows = windows_of(row.module, row.input_size[2:], row.output_size[2:])
    padding = tuple(w.padding // 2 for w in windows) or None
    return LayerSummary(
        name=name,
        type=row.class_name,
        kernel_size=tuple(w.kernel for w in windows) or None,
        stride=tuple(w.stride for w in windows) or None,
        padding="same" if any(w.padding % 2 for w in windows) else padding,
        input_size=tuple(row.input_size),
        output_size=tuple(row.output_size),
        parameters=parameters,
        mult_adds=mult_adds,
        connections=_connections(row, windows),
        traffic=element_size * (math.prod(row.input_size) + math.prod(row.output_size) + parameters),
        receptive_field=seen.size if seen else None,
        jump=seen.jump if seen and not seen.flattened else None,
        parameter_arithmetic=_parameter_arithmetic(row.module, parameters),
        output_arithmetic=_output_arithmetic(row, windows),
    )


def _connections(row: LayerInfo, windows: "tuple[Window, ...]") -> int | None:
    """Return the inputs of all units for one image, biases included."""
    module, outputs = row.module, math.prod(row.output_size[1:])
    per_output: int | None = getattr(module, "connections_per_output", None)
    if per_output is None and isinstance(module, Pool | AdaptivePool):
        per_output = math.prod(window.kernel for window in windows) if windows else None
    if per_output is not None:
        return per_output * outputs
    if isinstance(module, Conv | TransposedConv | nn.Linear):
        positions = outputs // row.output_size[1]  # each parameter takes part in every one
        return positions * sum(p.numel() for p in module.parameters())
    return None


def _parameter_arithmetic(module: nn.Module, parameters: int) -> str | None:
    """Write out how a layer's parameters come about; None if it is not known or not that many."""
    if isinstance(module, Conv | TransposedConv):
        inputs = (*module.kernel_size, module.in_channels // module.groups)
        outputs = [module.out_channels // module.groups, module.groups][: 1 + (module.groups > 1)]
    elif isinstance(module, nn.Linear):
        inputs, outputs = (module.in_features,), [module.out_features]
    elif isinstance(module, Norm) and module.weight is not None and module.bias is not None:
        channels = module.weight.numel()
        return equation(f"2·{channels:,}", 2 * channels, parameters)
    else:
        return None
    weights = "·".join(f"{n:,}" for n in inputs)
    bias = module.bias is not None
    factors = [f"({weights} + 1)" if bias else weights, *(f"{n:,}" for n in outputs)]
    return equation("·".join(factors), (math.prod(inputs) + bias) * math.prod(outputs), parameters)


def _output_arithmetic(row: LayerInfo, windows: tuple[Window, ...]) -> str | None:
    """Write out how the side of a layer's output comes about, each direction if they differ."""
    if isinstance(row.module, nn.Flatten) and len(row.output_size) == 2 < len(row.input_size):
        features = row.input_size[1:]
        return equation("·".join(f"{n:,}" for n in features), math.prod(features), row.output_size[1])
    sides = [
        window.arithmetic(before, after)
        for window, before, after in zip(windows, row.input_size[2:], row.output_size[2:], strict=False)
    ]
    return "; ".join(dict.fromkeys(side for side in sides if side)) if sides and all(sides) else None
