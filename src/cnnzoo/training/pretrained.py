"""Weights to begin with: from a file, or those that a network's makers have trained."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnzoo.errors import CnnzooError, one_line
from cnnzoo.files import expanded
from cnnzoo.models.registry import ModelSpec, create_model
from cnnzoo.runs.checkpoint import load_state_dict
from cnnzoo.training.transfer import last_layer

DEFAULT = "default"
"""Stands for the weights that the model's makers offer for download."""


def load_pretrained(model: nn.Module, spec: ModelSpec, source: str) -> bool:
    """Give a model the weights of a trained one of its kind.

    It may have been trained for other channels and classes. The first convolution's weights are then averaged over
    its channels, and scaled so that grey images bring the same sums; the last layer stays as it is.

    Args:
        model: The one to be given them.
        spec: What it is.
        source: A state dict or checkpoint, or ``default``.

    Returns:
        Whether the last layer has them too.

    Raises:
        CnnzooError: There are none, or they are of another network.
    """
    state = dict(_fetch(spec) if source == DEFAULT else load_state_dict(expanded(Path(source))))
    expected = model.state_dict()
    for name in [name for name in state if name.lower().startswith("aux") and name not in expected]:
        del state[name]  # of classifiers that only help in training
    if expected.keys() != state.keys():
        state = _renamed(spec, source, state)
    layers = (name for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear))
    first, last = (f"{name}." if name else "" for name in (next(layers, ""), last_layer(model)))
    learnt = dict(model.named_parameters())
    is_whole = True
    for name, mine in expected.items():
        given = state[name]
        if given.shape[:1] != mine.shape[:1] and (name.startswith(last) or name not in learnt):
            is_whole = False
            continue
        if name == f"{first}weight" and given.dim() == 4 and given.shape[1] != mine.shape[1]:
            given = given.mean(1, keepdim=True) * (given.shape[1] / mine.shape[1])
            given = given.expand(-1, mine.shape[1], -1, -1)
        if given.shape != mine.shape:
            raise _misfit(spec, source, f"{name} is {tuple(given.shape)}, and should be {tuple(mine.shape)}")
        with torch.no_grad():
            mine.copy_(given)
    return is_whole


def _renamed(spec: ModelSpec, source: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict by the names that the net has today, as its own loading makes them of older ones."""
    reference = create_model(spec.name)
    try:
        reference.load_state_dict(state)
    except RuntimeError as error:
        differ = min(reference.state_dict().keys() ^ state.keys(), default="the shape of a layer")
        raise _misfit(spec, source, f"{differ} is in one of them only") from error
    return dict(reference.state_dict())


def _fetch(spec: ModelSpec) -> Mapping[str, Tensor]:
    if spec.pretrained is None:
        raise CnnzooError(f"nobody offers weights of {spec.name}. Name a file: --weights FILE")
    try:
        return spec.pretrained()
    except Exception as error:  # of the network, the disk, or the checksum
        folder = error.filename if isinstance(error, OSError) else None
        why = f"{one_line(error)}: {folder}" if folder else one_line(error)
        place = "Set TORCH_HOME to a folder that can be written, or get" if folder else "Get"
        raise CnnzooError(
            f"cannot download the weights of {spec.name} ({why}). {place} the file another way, and name it: "
            "--weights FILE"
        ) from error


def _misfit(spec: ModelSpec, source: str, why: str) -> CnnzooError:
    return CnnzooError(f"the weights in {source} are not those of {spec.name}: {why}. Choose others.")
