"""The learning rate and the end of a run as functions of time and history: nothing more to save or to restore."""

import math
from collections.abc import Sequence
from typing import Literal

from cnnzoo.config import TrainConfig
from cnnzoo.runs.history import HistoryRow, best_row, score


def lr_at(
    config: TrainConfig,
    epochs_done: float,
    history: Sequence[HistoryRow] = (),
    *,
    steps_per_epoch: int = 1,
) -> float:
    """Return the learning rate after ``epochs_done`` epochs, fractions of an epoch included.

    ``cosine`` falls along half a cosine from ``lr`` to 0 (Loshchilov & Hutter, "SGDR", ICLR 2017, eq. 5,
    without restarts); ``step`` is ``lr`` in the first third of the epochs, then a tenth, then a hundredth;
    ``plateau`` is divided by 10 whenever ``plateau_epochs`` have passed since the best one of ``history`` or the last
    division (Krizhevsky et al. 2012, section 5: when validation stopped improving at the current rate).
    ``milestones`` multiplies by ``lr_factor`` at each of them, once that many steps or epochs are done, as torch's
    MultiStepLR does (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2: by 10 at 32k
    and 48k steps); for ``step`` and ``plateau`` that factor stands in place of a tenth.
    During the warm-up the rate rises in a straight line from 0. ``cosine`` and ``step`` span the run up to whichever of
    its limits comes first.
    """
    total = epochs_in_all(config, steps_per_epoch)
    if epochs_done < config.warmup_epochs:
        return config.lr * epochs_done / config.warmup_epochs
    if config.scheduler == "cosine":
        span = max(total - config.warmup_epochs, 1e-12)
        done = min((epochs_done - config.warmup_epochs) / span, 1.0)
        return config.lr * (1 + math.cos(math.pi * done)) / 2
    if config.scheduler == "step":
        return config.lr * config.lr_factor ** min(math.floor(3 * epochs_done / total), 2)
    if config.scheduler == "plateau":
        return config.lr * config.lr_factor ** _stalls(config, history)
    if config.scheduler == "milestones":
        unit = steps_per_epoch if config.milestone_unit == "steps" else 1
        done = math.floor(epochs_done * unit)
        return config.lr * config.lr_factor ** sum(done >= milestone for milestone in config.milestones)
    return config.lr


def epochs_in_all(config: TrainConfig, steps_per_epoch: int) -> float:
    """Return the epochs, and the part of one, at which ``epochs`` or ``max_steps`` ends the run."""
    if config.max_steps is None:
        return config.epochs
    return min(config.epochs, config.max_steps / steps_per_epoch)


Limit = Literal["epochs", "patience", "max_steps", "last_epoch"]
"""What ends a run: the setting of that name, or the argument ``last_epoch`` of ``train``."""


def limit_reached(
    history: Sequence[HistoryRow], config: TrainConfig, steps_per_epoch: int | None = None
) -> Limit | None:
    """Return which limit whole epochs have reached, if one.

    Args:
        history: A row for each of them.
        config: The run's settings.
        steps_per_epoch: Steps of an epoch; None leaves ``max_steps`` out of account.
    """
    if not history:
        return None
    if len(history) >= config.epochs:
        return "epochs"
    if config.patience is not None:
        waited = len(history) - best_row(history, config.monitor).epoch
        if waited >= config.patience:
            return "patience"
    if config.max_steps is not None and steps_per_epoch is not None:
        return "max_steps" if len(history) * steps_per_epoch >= config.max_steps else None
    return None


def _stalls(config: TrainConfig, history: Sequence[HistoryRow]) -> int:
    stalls = waited = 0
    best = -math.inf
    for row in history:
        waited = 0 if score(row, config.monitor) > best else waited + 1
        best = max(best, score(row, config.monitor))
        if waited == config.plateau_epochs:
            stalls, waited = stalls + 1, 0
    return stalls
