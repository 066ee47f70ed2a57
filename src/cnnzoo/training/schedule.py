"""The learning rate and the end of a run as functions of time and history: nothing more to save or to restore."""

import math
from collections.abc import Sequence

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
    During the warm-up the rate rises in a straight line from 0.
    """
    if epochs_done < config.warmup_epochs:
        return config.lr * epochs_done / config.warmup_epochs
    if config.scheduler == "cosine":
        span = max(config.epochs - config.warmup_epochs, 1e-12)
        done = min((epochs_done - config.warmup_epochs) / span, 1.0)
        return config.lr * (1 + math.cos(math.pi * done)) / 2
    if config.scheduler == "step":
        return config.lr * config.lr_factor ** min(math.floor(3 * epochs_done / config.epochs), 2)
    if config.scheduler == "plateau":
        return config.lr * config.lr_factor ** _stalls(config, history)
    if config.scheduler == "milestones":
        unit = steps_per_epoch if config.milestone_unit == "steps" else 1
        done = math.floor(epochs_done * unit)
        return config.lr * config.lr_factor ** sum(done >= milestone for milestone in config.milestones)
    return config.lr


def is_finished(history: Sequence[HistoryRow], config: TrainConfig) -> bool:
    """Return whether all epochs are done, or as many as patience allows have passed without a better one."""
    if not history:
        return False
    waited = len(history) - best_row(history, config.monitor).epoch
    return len(history) >= config.epochs or (config.patience is not None and waited >= config.patience)


def _stalls(config: TrainConfig, history: Sequence[HistoryRow]) -> int:
    stalls = waited = 0
    best = -math.inf
    for row in history:
        waited = 0 if score(row, config.monitor) > best else waited + 1
        best = max(best, score(row, config.monitor))
        if waited == config.plateau_epochs:
            stalls, waited = stalls + 1, 0
    return stalls
