"""The multiply-adds of a forward pass, module by module, as torch counts them."""

import inspect
import math
import sys
from contextlib import ExitStack
from types import MethodType, TracebackType
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


class Arithmetic:
    """Counts the multiply-adds of what a model computes within the block.

    They are those of convolutions and matrix products, attention included, half of what ``torch.utils.flop_counter``
    gives; biases, and whatever else a net does to each number by itself, count nothing. A net of which a layer leaves
    out connections that its operation has, and says so by ``masks_connections``, is counted by the connections that
    exist: each parameter once for every position of an output.

    Args:
        model: What is run within the block.

    Attributes:
        calls: In the order in which they end, each call of a module with the multiply-adds that are done in it and in
            none of its parts.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.calls: list[tuple[nn.Module, int]] = []
        self._masked = any(getattr(module, "masks_connections", False) for module in model.modules())
        self._counted = 0  # FLOP in calls that have ended
        self._open: list[tuple[int, int]] = []  # at the beginning of each other: FLOP in all, and in those
        self._stack = ExitStack()

    @property
    def mult_adds(self) -> int:
        """All of them."""
        return sum(mult_adds for _, mult_adds in self.calls)

    def __enter__(self) -> Self:
        """Begin to count."""
        # Imported here: training has no need of it before its first net.
        from torch.utils.flop_counter import FlopCounterMode

        for module in self.model.modules():
            self._stack.callback(module.register_forward_pre_hook(self._begin).remove)
            self._stack.callback(module.register_forward_hook(self._end).remove)
        fast = torch.backends.mha.get_fastpath_enabled()
        self._stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)  # it is one operation, and counted by nobody
        self._stack.enter_context(sdpa_kernel(SDPBackend.MATH))  # else it is counted on some devices only
        self._counter = self._stack.enter_context(FlopCounterMode(display=False))
        _leave_dynamo_out(getattr(self._counter, "mode", None))  # which torch may call otherwise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the model as it was."""
        self._stack.__exit__(kind, error, trace)

    def _begin(self, module: nn.Module, _: object) -> None:
        del module
        self._open.append((self._counter.get_total_flops(), self._counted))

    def _end(self, module: nn.Module, _: object, output: object) -> None:
        before, counted = self._open.pop()
        in_it, in_parts = self._counter.get_total_flops() - before, self._counted - counted
        self._counted = counted + in_it
        work = _of_connections(module, output) if self._masked else (in_it - in_parts) // 2
        self.calls.append((module, work))


def _leave_dynamo_out(mode: object) -> None:
    """Take off the wrapper that keeps torch._dynamo from compiling a mode, as long as nobody has imported it.

    The wrapper would import it, which takes a second, longer than to evaluate a small net.
    """
    wrapped = getattr(type(mode), "__torch_dispatch__", None)
    if wrapped is not None and "torch._dynamo" not in sys.modules:
        dispatch = inspect.unwrap(wrapped)
        mode.__torch_dispatch__ = MethodType(dispatch, mode)  # type: ignore[attr-defined]


def _of_connections(module: nn.Module, output: object) -> int:
    parameters = sum(parameter.numel() for parameter in module.parameters(recurse=False))
    if not isinstance(output, Tensor) or not parameters:
        return 0
    positions = math.prod(output.shape[2:]) if isinstance(module, nn.modules.conv._ConvNd) else 1
    return len(output) * positions * parameters
