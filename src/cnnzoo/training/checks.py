"""What a net is tried with before its first step: two black images, there and back, and a batch of one."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cnnzoo.data.loader import Loader, smallest_share
from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.runs.net_state import EXTRA_STATE, tensors_of, unsavable
from cnnzoo.training.answers import settle_answer
from cnnzoo.training.arithmetic import Arithmetic


def has_batch_norm(model: nn.Module) -> bool:
    """Return whether a layer of the model normalises over the images of a batch."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def check_single_image(model: nn.Module, image: tuple[int, int, int], train: Loader) -> None:
    """See whether the model can be trained on one image: a last batch, or a share of one, may have no more.

    Args:
        model: On the loader's device; a copy of it runs.
        image: Shape ``(C, H, W)``.
        train: What it is to be trained on.

    Raises:
        UsageError: Batch normalisation finds a single value a channel, which has no variance; the message names the
            nearest batch sizes that work.
    """
    if train.fewest_images > 1 or not has_batch_norm(model):
        return
    try:
        with torch.no_grad(), _random_numbers_kept(train.device):
            _twin(model).train()(torch.zeros(1, *image, device=train.device))
    except ValueError as error:
        sizes = _sizes_that_work(train)
        advice = (
            f"Change --batch-size: {' or '.join(map(str, sizes))} will do." if sizes else "Use more images."
        )
        raise UsageError(
            "the last batch of an epoch has one image, or one for a process, and this net's batch normalisation "
            f"needs two or more. {advice}"
        ) from error


def _sizes_that_work(train: Loader) -> list[int]:
    """Return the nearest batch sizes, below and above the loader's, that leave no process with a single image."""
    num, size, processes = train.num_images, train.batch_size, train.world_size
    below = range(size - processes, 0, -processes)
    above = range(size + processes, max(num, size) + 2 * processes, processes)
    firsts = (
        next((n for n in sizes if smallest_share(num, n, processes) > 1), None) for sizes in (below, above)
    )
    return [first for first in firsts if first]


def _twin(model: nn.Module) -> nn.Module:
    """Return a copy of a model that has its very parameters, and all else anew."""
    held = [
        value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)
    ]
    made = {id(tensor): tensor.detach() for tensor in held if not tensor.is_leaf}  # which cannot be copied
    return copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()} | made)


@contextmanager
def _random_numbers_kept(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else None):
        yield


class Work(NamedTuple):
    """What a net does for an image.

    Attributes:
        mult_adds: Multiply-adds, as ``Arithmetic`` counts them.
        outputs: Numbers that its innermost layers put out.
    """

    mult_adds: int
    outputs: int


def dry_run(
    model: nn.Module,
    num_classes: int,
    image: tuple[int, int, int],
    device: torch.device,
    *,
    trains: bool = False,
) -> Work:
    """Run the model on two black images, and count what it does. Where it makes more than logits, a hook takes them.

    Args:
        model: On ``device``.
        num_classes: How many logits an image should have.
        image: Shape ``(C, H, W)``.
        device: Where the model is.
        trains: Whether it is to be trained: then a copy is tried in training mode too.

    Raises:
        CnnzooError: The model fails on such images, or there are no logits in what it makes, one a class.
    """
    outputs = 0

    def count(_: nn.Module, __: object, output: object) -> None:
        nonlocal outputs
        outputs += output.numel() if isinstance(output, Tensor) else 0

    layers = [module for module in model.modules() if not any(module.children())]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    images = torch.zeros(2, *image, device=device)
    try:
        # Not inference_mode: in it the counter cannot follow a parametrization, such as spectral_norm.
        with torch.no_grad(), _random_numbers_kept(device), Arithmetic(model) as arithmetic:
            answer = _answer(model.eval(), images)
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        if "memory" in str(error).lower():
            raise  # explain_oom's to answer
        raise CnnzooError(
            f"the net cannot take images of {'x'.join(map(str, image))}: {one_line(error)}. Change --image-size."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    settle_answer(model, answer, num_classes, "")
    if trains:  # what fails now is no matter of the images any more
        with _random_numbers_kept(device):
            settle_answer(model, _answer(_twin(model).train(), images), num_classes, " in training")
    return Work(arithmetic.mult_adds // 2, outputs // 2)


def _answer(model: nn.Module, images: Tensor) -> Any:  # noqa: ANN401
    """Run the model, and see that a checkpoint of it could be read again.

    Raises:
        CnnzooError: It makes or resizes tensors of its state dict, or keeps what no checkpoint holds.
    """
    before = _shapes(model)
    answer = model(images)
    after = _shapes(model)
    if late := after.keys() - before.keys():
        raise CnnzooError(
            f"the net makes {min(late)} while it runs, too late to be trained and read from a checkpoint. Make it "
            "where the net is built; where its size is not known there, of a lazy layer such as nn.LazyLinear."
        )
    if resized := [name for name, shape in before.items() if after.get(name, shape) != shape]:
        raise CnnzooError(
            f"the net changes the shape of {resized[0]} while it runs, so that no checkpoint would fit it. Give it its "
            "last shape where the net is built, or register it with persistent=False."
        )
    for name, value in model.state_dict().items():
        if name.endswith(EXTRA_STATE) and (kind := unsavable(value)):
            raise CnnzooError(
                f"{name} of the net holds a {kind}, which a checkpoint does not. Return numbers, text, tensors, and "
                "lists, tuples and dicts of those from get_extra_state."
            )
    return answer


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors_of(model.state_dict()).items()}
