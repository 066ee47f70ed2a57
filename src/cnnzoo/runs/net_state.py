"""What a checkpoint keeps of a net: its state dict as torch gives it, and the buffers that are not in there."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

EXTRA_STATE = "_extra_state"
"""How a name in a state dict ends under which a module keeps what it likes (``nn.Module.get_extra_state``)."""


def tensors_of(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the parameters and buffers of a state dict, without the extra state of modules."""
    return {name: value for name, value in state_dict.items() if not str(name).endswith(EXTRA_STATE)}


def unlisted_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that a net's state dict leaves out, those with ``persistent=False``, by name.

    Some can be made again from the net's options; random or running ones cannot, and nobody can tell them apart.
    """
    listed = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name not in listed}


def load_net_state(model: nn.Module, state_dict: Mapping[str, Any], buffers: Mapping[str, Tensor]) -> None:
    """Give a net the state that another one of its kind had.

    Args:
        model: On any device.
        state_dict: The other one's, with the versions of its modules (``_metadata``), which some of them need.
        buffers: Its ``unlisted_buffers``. Those that the net does not have are passed over.

    Raises:
        RuntimeError, ValueError, TypeError: The net does not take them.
    """
    model.load_state_dict(state_dict)
    device = next(model.parameters()).device
    modules = dict(model.named_modules())
    for name, buffer in buffers.items():
        parent, _, attribute = name.rpartition(".")
        if parent in modules and attribute in modules[parent]._buffers:
            setattr(modules[parent], attribute, buffer.to(device, copy=True))


def unsavable(value: object) -> str | None:
    """Return the name of the first type in a module's extra state that a checkpoint cannot hold; None if it can."""
    if isinstance(value, Mapping | list | tuple) and type(value) in (dict, list, tuple):
        parts = [*value, *value.values()] if isinstance(value, Mapping) else value
        return next(filter(None, map(unsavable, parts)), None)
    return None if value is None or type(value) in (bool, int, float, str, Tensor) else type(value).__name__
