"""The learning rate as a function of the time trained: nothing to save, nothing to restore."""

import math

from cnnzoo.config import TrainConfig


def lr_at(config: TrainConfig, epochs_done: float) -> float:
    """Return the learning rate after ``epochs_done`` epochs, fractions of an epoch included.

    ``cosine`` falls along half a cosine from ``lr`` to 0 (Loshchilov & Hutter, "SGDR", ICLR 2017, eq. 5,
    without restarts); ``step`` is ``lr`` in the first third of the epochs, then a tenth, then a hundredth.
    During the warm-up the rate rises in a straight line from 0.
    """
    if epochs_done < config.warmup_epochs:
        return config.lr * epochs_done / config.warmup_epochs
    if config.scheduler == "cosine":
        span = max(config.epochs - config.warmup_epochs, 1e-12)
        done = min((epochs_done - config.warmup_epochs) / span, 1.0)
        return config.lr * (1 + math.cos(math.pi * done)) / 2
    if config.scheduler == "step":
        return config.lr * 0.1 ** min(math.floor(3 * epochs_done / config.epochs), 2)
    return config.lr
