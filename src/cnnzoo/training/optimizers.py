"""Adam, AdamW and SGD: torch's fused kernels, and nothing around them.

torch.optim's classes call the same kernels. Around each call they check and group, which for LeNet takes longer
than the update, and their first use imports torch's compiler, which takes as long as torch itself.
"""

from collections.abc import Iterable, Mapping
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
    ) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        if not self.parameters:
            raise CnnzooError("the net has no parameters to train. Train one that has.")
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
        self.num_steps = torch.zeros((), device=self.parameters[0].device)

    def zero_grad(self) -> None:
        """Forget the gradients: the next backward pass then has nothing to add to."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        self.num_steps += 1
        live = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        parameters: list[Tensor] = [self.parameters[i] for i in live]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        averages = [[average[i] for i in live] for average in self.averages]
        if self.name == "sgd":
            torch._fused_sgd_(
                parameters,
                gradients,
                averages[0],
                weight_decay=self.weight_decay,
                momentum=self.momentum,
                lr=self.lr,
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
            [self.num_steps] * len(live),
            lr=self.lr,
            beta1=0.9,
            beta2=0.999,
            weight_decay=self.weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` goes on from; the tensors are those in use, not copies."""
        return {"lr": self.lr, "num_steps": self.num_steps, "averages": self.averages}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the rate and the averages of another optimizer of the same parameters.

        Raises:
            CnnzooError: They are not such averages.
        """
        if _structure(state) != _structure(self.state_dict()):
            raise CnnzooError(
                f"the optimizer's state in last.pt is none of {self.name} for this net. Start a new run."
            )
        self.lr = state["lr"]
        self.num_steps.copy_(state["num_steps"])
        for mine, saved in zip(self.averages, state["averages"], strict=True):
            for average, value in zip(mine, saved, strict=True):
                average.copy_(value)


def _structure(value: object) -> object:
    """Return what a state is made of: names, lengths, shapes and types, without the numbers."""
    if isinstance(value, Mapping):
        return {name: _structure(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_structure(member) for member in value]
    return tuple(value.shape) if isinstance(value, Tensor) else type(value)
