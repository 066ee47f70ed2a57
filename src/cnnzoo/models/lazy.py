"""Layers that take their sizes from the first images that they see, such as nn.LazyLinear."""

import torch
from torch import nn
from torch.nn.parameter import is_lazy


def give_sizes(model: nn.Module, shape: tuple[int, int, int, int]) -> None:
    """Have lazy layers take their sizes and first weights from black images; a net without any is not run.

    Its mode stays as it is, and its batch normalisation learns nothing of those images.

    Args:
        model: On torch's default device; on the meta device it takes sizes without memory.
        shape: Of the images that it is for, ``(2, C, H, W)``.

    Raises:
        ValueError: There is a layer that images do not reach.
    """
    if not _without_size(model):
        return
    images = torch.zeros(shape)
    modes = {module: module.training for module in model.modules()}
    with torch.no_grad():
        model.eval()(images)
        if _without_size(model):  # a classifier that helps in training only, say
            for module in model.train().modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
            model(images)
    for module, training in modes.items():
        module.training = training
    if names := _without_size(model):
        raise ValueError(f"{names[0]} is lazy, and no image reaches it that could give it a size")


def _without_size(model: nn.Module) -> list[str]:
    named = [*model.named_parameters(), *model.named_buffers()]
    return [name for name, tensor in named if is_lazy(tensor)]
