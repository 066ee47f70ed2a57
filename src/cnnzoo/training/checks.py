"""What a net is tried with before its first step: two black images, and a batch of one."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.training.arithmetic import Arithmetic


def has_batch_norm(model: nn.Module) -> bool:
    """Return whether a layer of the model normalises over the images of a batch."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def check_single_image(model: nn.Module, image: tuple[int, int, int], device: torch.device) -> None:
    """See whether the model can be trained on one image: a last batch, or a share of one, may have no more.

    Args:
        model: On ``device``; a copy of it runs.
        image: Shape ``(C, H, W)``.
        device: Where the model is.

    Raises:
        UsageError: Batch normalisation finds a single value a channel, which has no variance.
    """
    if not has_batch_norm(model):
        return
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[] if device.type == "cpu" else None):
            copy.deepcopy(model).train()(torch.zeros(1, *image, device=device))
    except ValueError as error:
        raise UsageError(
            "the last batch of an epoch has one image, or one for a process, and this net's batch normalisation "
            "needs two or more. Change --batch-size."
        ) from error


class Work(NamedTuple):
    """What a net does for an image.

    Attributes:
        mult_adds: Multiply-adds, as ``Arithmetic`` counts them.
        outputs: Numbers that its innermost layers put out.
    """

    mult_adds: int
    outputs: int


def dry_run(model: nn.Module, num_classes: int, image: tuple[int, int, int], device: torch.device) -> Work:
    """Run the model on two black images, and count what it does.

    Args:
        model: On ``device``.
        num_classes: How many logits an image should have.
        image: Shape ``(C, H, W)``.
        device: Where the model is.

    Raises:
        CnnzooError: The model fails on such images, or its outputs are not one logit a class.
    """
    outputs = 0

    def count(_: nn.Module, __: object, output: object) -> None:
        nonlocal outputs
        outputs += output.numel() if isinstance(output, Tensor) else 0

    layers = [module for module in model.modules() if not any(module.children())]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    images = torch.zeros(2, *image, device=device)
    with torch.inference_mode(), torch.random.fork_rng(devices=[] if device.type == "cpu" else None):
        try:
            with Arithmetic(model) as arithmetic:
                shape = tuple(model.eval()(images).shape)
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            if "memory" in str(error).lower():
                raise  # explain_oom's to answer
            raise CnnzooError(
                f"the net cannot take images of {'x'.join(map(str, image))}: {one_line(error)}. Change --image-size."
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
    if shape != (2, num_classes):
        raise CnnzooError(
            f"the net makes {shape} of two images, and should make {(2, num_classes)}: a logit for each class."
        )
    return Work(arithmetic.mult_adds // 2, outputs // 2)
