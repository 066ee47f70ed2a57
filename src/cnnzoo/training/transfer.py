"""Which parts of a net are trained, and how fast: frozen ones, and learning rates of their own."""

from collections.abc import Iterable, Mapping

from torch import nn

from cnnzoo.errors import UsageError, unknown

BACKBONE = "backbone"
"""Stands for all but the last layer."""

_BatchNorm = nn.modules.batchnorm._BatchNorm


def last_layer(model: nn.Module) -> str:
    """Return the name of the last convolution or fully connected layer, which a net for other classes has anew."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return names[-1] if names else ""


def freeze(model: nn.Module, prefixes: Iterable[str]) -> frozenset[str]:
    """Keep parts of a model as they are: no gradient, no decay, and batch normalisation as in evaluation.

    Args:
        model: Its parameters are told that they need no gradient.
        prefixes: Names of modules or parameters, such as ``features``; ``backbone``: all but the last layer.

    Returns:
        The names of the modules that ``keep_frozen`` has to look after.

    Raises:
        UsageError: Nothing in the model has such a name.
    """
    frozen: set[str] = set()
    for prefix in prefixes:
        if prefix == BACKBONE:
            last = last_layer(model)
            names = {name for name, _ in _named(model) if not _is_under(name, last)}
        else:
            names = _matching(model, prefix, "freeze")
        frozen |= names
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    batch_norms = (name for name, module in model.named_modules() if isinstance(module, _BatchNorm))
    return frozenset(frozen.intersection(batch_norms))


def keep_frozen(model: nn.Module, batch_norms: frozenset[str]) -> None:
    """Have frozen batch normalisation use its running statistics, and leave them, after ``model.train()``."""
    if batch_norms:
        for name, module in model.named_modules():
            if name in batch_norms:
                module.eval()


def lr_scales(model: nn.Module, scales: Mapping[str, float]) -> dict[str, float]:
    """Return by what the learning rate of each parameter is multiplied; of several prefixes the longest counts.

    Raises:
        UsageError: Nothing in the model has such a name.
    """
    by_name: dict[str, float] = {name: 1.0 for name, _ in model.named_parameters()}
    for prefix in sorted(scales, key=len):
        matching = _matching(model, prefix, "lr_scale")
        by_name.update({name: scales[prefix] for name in by_name if name in matching})
    return by_name


def _named(model: nn.Module) -> list[tuple[str, object]]:
    return [*((name, module) for name, module in model.named_modules() if name), *model.named_parameters()]


def _is_under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _matching(model: nn.Module, prefix: str, setting: str) -> set[str]:
    named = [name for name, _ in _named(model)]
    names = {name for name in named if _is_under(name, prefix)}
    if not names:
        tops = [BACKBONE] if setting == "freeze" else []
        modules = [name for name, _ in model.named_modules() if name]
        raise UsageError(f"{setting}: {unknown('part of this net', prefix, [*tops, *modules[:20]])}")
    return names
