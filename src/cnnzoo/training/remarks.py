"""Remarks on a run that is not wrong, and hardly what a person wants."""

import math

from torch import Tensor

from cnnzoo.config import TrainConfig
from cnnzoo.runs.history import HistoryRow
from cnnzoo.training.losses import BALANCED, Guess

HUGE, HUGE_OF_GUESS = 1e6, 100
"""Losses above which training has gone astray: of any loss, and as a multiple of that of guessing."""


def remark_on_epoch(
    row: HistoryRow, previous: HistoryRow | None, before: int, steps: int, num_classes: int, guess: Guess
) -> str | None:
    """Return a warning if a loss is huge, or the epoch of a run's 200th step has taught nothing but class frequencies.

    Args:
        row: The epoch's row.
        previous: The row before, with which nothing is said twice.
        before: Steps of the run before the epoch.
        steps: Steps of the epoch.
        num_classes: Classes.
        guess: What guessing comes to.
    """
    if (loss := _huge(row, guess)) and not (previous and _huge(previous, guess)):
        than = (
            f", and guessing among {num_classes} classes has {guess.loss:.3g}"
            if guess.loss < math.inf
            else ""
        )
        return (
            f"the loss is {loss:.3g} in epoch {row.epoch}{than}: training has gone astray. It goes on; start a new run "
            "with a lower --lr, or try --grad-clip 1 or --warmup-epochs 1."
        )
    due = before < 200 <= before + steps
    # From equal odds for all classes, as nets begin, down to what is known without a look at an image.
    guesses = guess.loss - 0.02 < row.train_loss < max(guess.loss, math.log(num_classes)) + 0.02
    if due and guesses and row.train_acc < guess.accuracy + 0.5 / num_classes:
        return (
            f"the loss is still that of guessing among {num_classes} classes. Training goes "
            "on; if it stays there, change --lr, -o activation=relu or --optimizer."
        )
    return None


def _huge(row: HistoryRow, guess: Guess) -> float | None:
    """Return the larger loss of an epoch where it is huge."""
    loss = max(row.train_loss, row.val_loss)
    return loss if loss > min(HUGE, HUGE_OF_GUESS * max(guess.loss, 1)) else None


def remark_on_balance(config: TrainConfig, labels: Tensor) -> str | None:
    """Return a warning if classes that are unequal among ``labels`` ``(N,)`` are balanced twice."""
    counts = labels.cpu().bincount()
    counts = counts[counts > 0]
    if config.sampler != "balanced" or config.class_weights != BALANCED or (counts == counts[0]).all():
        return None
    ratio = float(counts.max() / counts.min())
    return (
        "--sampler balanced and --class-weights balanced each make up for unequal classes: with both, the rarest "
        f"class counts {ratio:.3g} times as much as the most frequent one. Leave one of them out."
    )
