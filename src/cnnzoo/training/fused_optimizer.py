"""The fused optimizers: torch's kernels for Adam, AdamW and SGD, and nothing around them.

torch.optim's classes call the same kernels. Around each call they check and group, which for LeNet takes longer
than the update, and their first use imports torch's compiler, which takes as long as torch itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cnnzoo.errors import CnnzooError


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
