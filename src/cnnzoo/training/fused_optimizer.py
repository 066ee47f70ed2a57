"""The fused optimizers: torch's kernels for Adam, AdamW and SGD, and nothing around them.

torch.optim's classes call the same kernels. Around each call they check and group, which for LeNet takes longer
than the update, and their first use imports torch's compiler, which takes as long as torch itself.
"""

import weakref
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cnnzoo.errors import CnnzooError
from cnnzoo.models.layers import Linear

LARGE_TENSOR = 2**20
"""Numbers of a parameter from which it is updated within the backward pass: a call for a smaller one costs more than
its gradient's way to memory and back."""

AT_ONCE = 2**20
"""Numbers that are updated at once where a gradient is bf16: what is made of them stays in the cache."""


class Optimizer:
    """Changes parameters in place, by their gradients.

    ``adam`` is Algorithm 1 of Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, with their
    β₁ = 0.9, β₂ = 0.999, ε = 1e-8 and weight decay as an addition to the gradient; ``adamw`` decays the weights
    themselves (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, Algorithm 2); ``sgd``
    has momentum as Sutskever et al. write it, the rate outside of the velocity, as torch.optim.SGD does.

    Args:
        parameters: All of them on one device.
        name: ``adam``, ``adamw`` or ``sgd``.
        lr: Learning rate; may be set anew before each step.
        momentum: Of ``sgd``.
        weight_decay: Strength of the decay.
        lr_scales: By what the rate of each parameter that is trained is multiplied; 1 for all by default.

    Raises:
        CnnzooError: There is nothing to train.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        name: str,
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        lr_scales: Sequence[float] = (),
    ) -> None:
        self.parameters = trained_of(parameters)
        self.param_groups = [{"params": self.parameters}]  # what torch.amp.GradScaler reads
        self.name = name
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        # A parameter's moving averages: of gradients, and for Adam of their squares.
        self.averages = [
            [torch.zeros_like(parameter) for parameter in self.parameters]
            for _ in range(1 if name == "sgd" else 2)
        ]
        self.step_number = torch.ones((), device=self.parameters[0].device)  # the next one's
        self._hooks: list[RemovableHandle] = []
        self._copying: list[Linear] = []
        self._updated: set[int] = set()  # in the backward pass of this step
        # One kernel updates all parameters of a rate.
        scales = lr_scales or (1.0,) * len(self.parameters)
        self.groups = [
            (scale, [i for i, other in enumerate(scales) if other == scale])
            for scale in dict.fromkeys(scales)
        ]

    def zero_grad(self) -> None:
        """Forget the gradients: the next backward pass then has nothing to add to."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for scale, indices in self.groups:
            if live := [i for i in indices if self.parameters[i].grad is not None]:
                parameters: list[Tensor] = [self.parameters[i] for i in live]
                gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
                averages = [[average[i] for i in live] for average in self.averages]
                self._update(parameters, gradients, averages, self.lr * scale)
        self.step_number += 1
        self._updated.clear()

    def update_in_backward(self, model: nn.Module, *, in_bf16: bool) -> None:
        """Update each large parameter as soon as its gradient is whole, within the backward pass, and forget it.

        The results are the same. A gradient is still in the cache, as far as it fits, and there is only one of a
        large layer at a time, which takes AlexNet 0.2 GB less. For steps of a single backward pass, whose gradients
        nobody else reads.

        A weight gets no copy in bf16 where its gradient may come by another way than its layer: where two modules
        hold it, or the net has a loss of its own.

        Args:
            model: Whose parameters these are.
            in_bf16: Whether products are computed in bf16: then large ``layers.Linear`` keep a copy of their weight in
                it, which is written here, and its gradient stays in bf16 until it is read here.
        """
        scales = {i: scale for scale, indices in self.groups for i in indices}
        copies = in_bf16 and getattr(model, "criterion", None) is None
        holders: Counter[Tensor] = Counter(
            p for module in model.modules() for p in module.parameters(recurse=False)
        )
        of_weight = {
            module.weight: module
            for module in model.modules()
            if copies and isinstance(module, Linear) and holders[module.weight] == 1
        }
        mine = weakref.ref(
            self
        )  # torch's hooks are no garbage that Python finds, and would keep all this for ever
        for i, parameter in enumerate(self.parameters):
            if parameter.numel() >= LARGE_TENSOR:
                layer = of_weight.get(parameter)
                leaf = layer.keep_copy() if layer else parameter
                update = partial(_update_leaf, mine, i, scales[i], weakref.ref(layer) if layer else None)
                self._hooks.append(leaf.register_post_accumulate_grad_hook(update))
                self._copying += [layer] if layer else []

    def update_at_once(self) -> None:
        """Update all parameters in ``step`` again."""
        for hook in self._hooks:
            hook.remove()
        for layer in self._copying:
            layer.copy = None
        self._hooks, self._copying = [], []

    @torch.no_grad()
    def _update_one(self, i: int, scale: float, layer: Linear | None, leaf: Tensor) -> None:
        """Update parameter ``i`` by the gradient of a leaf: of itself, or of the layer's copy of it.

        Raises:
            CnnzooError: That is a part of its gradient, of which another part has been taken for the whole.
        """
        assert leaf.grad is not None
        if i in self._updated:
            raise CnnzooError(
                "a large layer of this net gets its gradient in several parts, as reentrant checkpoints give it. "
                "Use checkpoint(..., use_reentrant=False), or train with --grad-clip, which waits for all parts."
            )
        self._updated.add(i)
        gradient, leaf.grad = leaf.grad, None
        averages = [average[i] for average in self.averages]
        if layer is None:
            self._update(
                [self.parameters[i]], [gradient], [[average] for average in averages], self.lr * scale
            )
            return
        numbers = (self.parameters[i], leaf, gradient, *averages)
        for part, copy, slope, *means in zip(
            *(n.detach().view(-1).split(AT_ONCE) for n in numbers), strict=True
        ):
            self._update([part], [slope.float()], [[mean] for mean in means], self.lr * scale)
            copy.copy_(part)
        layer.note_copied()

    def _update(
        self, parameters: list[Tensor], gradients: list[Tensor], averages: list[list[Tensor]], lr: float
    ) -> None:
        if self.name == "sgd":
            torch._fused_sgd_(
                parameters,
                gradients,
                averages[0] if self.momentum else [],  # which torch then wants so
                weight_decay=self.weight_decay,
                momentum=self.momentum,
                lr=lr,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=False,  # a velocity of zero, to which the gradient is added
            )
            return
        update = torch._fused_adamw_ if self.name == "adamw" else torch._fused_adam_
        update(
            parameters,
            gradients,
            averages[0],
            averages[1],
            [],
            [self.step_number] * len(parameters),
            lr=lr,
            beta1=0.9,
            beta2=0.999,
            weight_decay=self.weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` goes on from; the tensors are those in use, not copies."""
        return {"lr": self.lr, "num_steps": self.step_number - 1, "averages": self.averages}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the rate and the averages of another optimizer of the same parameters.

        Raises:
            CnnzooError: They are not such averages.
        """
        if structure_of(state) != structure_of(self.state_dict()):
            raise misfit(self.name)
        self.lr = state["lr"]
        self.step_number.copy_(state["num_steps"] + 1)
        for mine, saved in zip(self.averages, state["averages"], strict=True):
            for average, value in zip(mine, saved, strict=True):
                average.copy_(value)


def _update_leaf(
    optimizer: "weakref.ref[Optimizer]",
    i: int,
    scale: float,
    layer: "weakref.ref[Linear] | None",
    leaf: Tensor,
) -> None:
    """Have the optimizer update parameter ``i``, unless it is gone."""
    if (living := optimizer()) is not None:
        living._update_one(i, scale, layer() if layer else None, leaf)


def trained_of(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Return the parameters that need a gradient.

    Raises:
        CnnzooError: There is none.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise CnnzooError("the net has no parameters to train. Train one that has.")
    return trained


def structure_of(value: object) -> object:
    """Return what a state is made of: names, lengths, shapes and types, without the numbers."""
    if isinstance(value, Mapping):
        return {name: structure_of(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [structure_of(member) for member in value]
    return tuple(value.shape) if isinstance(value, Tensor) else type(value)


def misfit(name: str) -> CnnzooError:
    """Return the error about a saved state that does not fit."""
    return CnnzooError(f"the optimizer's state in last.pt is none of {name} for this net. Start a new run.")
