"""The learning-rate range test: one short training in which the rate rises, and the rate that its losses suggest."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from cnnzoo.config import TrainConfig
from cnnzoo.data.loader import Endless
from cnnzoo.device import deterministic, explain_oom
from cnnzoo.distributed.group import process_group
from cnnzoo.errors import UsageError
from cnnzoo.training.loop import train_one_epoch
from cnnzoo.training.meter import Meter, NonFiniteLossError
from cnnzoo.training.reporter import Reporter
from cnnzoo.training.threads import threads_restored
from cnnzoo.training.train import begin

SMOOTHING = 10
"""The share of a step's loss in the smoothed one, times the number of steps: a longer test is smoothed over more."""

DIVERGED = 4
"""Times the lowest smoothed loss at which the test ends."""

MIN_FALL = 0.05
"""Share of the first loss by which the smoothed loss has to fall, so that a rate can be suggested."""

BELOW_LOWEST = 10
"""By what the rate at the lowest smoothed loss, or at the first that rose, is divided for the suggestion."""

RISEN, BEGINNING = 1.5, 0.1
"""Times the largest loss of the first tenth of the steps, whose rates change little, above which a loss has risen."""

MAX_PASSES = 50
"""How often the test may show each image. Beyond, the loss falls because few images are learnt by heart."""

LEARNT, LEARNT_STEPS = 0.01, 2
"""Share of the first loss below which so many steps in a row have nothing left to learn: no gradient is large enough
to let a rate diverge that would do so from the start."""

End = Literal["steps", "diverged", "not finite"]
Obstacle = Literal["too few images", "learnt", "no fall"]


@dataclass(frozen=True)
class LRFinderResult:
    """What a range test gave.

    Attributes:
        config: The settings, with the dataset that was really used.
        lrs: The learning rate of each step, rising.
        losses: Mean loss over the images of each step, before its update.
        smoothed: The same, smoothed.
        num_images: Images to train on.
        passes: How often the test has shown each of them.
        end: What ended the test: all steps were done, the smoothed loss had risen to four times its lowest, or a loss
            was NaN or infinite.
    """

    config: TrainConfig
    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    num_images: int
    passes: float
    end: End

    @property
    def suggestion(self) -> float | None:
        """A tenth of the rate at the lowest smoothed loss, or at one that rose before; None with an obstacle."""
        if self.obstacle:
            return None
        return self.lrs[self.lowest if self.risen is None else self.risen] / BELOW_LOWEST

    @property
    def obstacle(self) -> Obstacle | None:
        """Why no rate can be suggested, if so.

        Each image was shown more than 50 times, the loss has come down to a hundredth of the first, or it has not
        fallen by a twentieth.
        """
        if self.passes > MAX_PASSES:
            return "too few images"
        if self.learnt is not None:
            return "learnt"
        if not self.smoothed or min(self.smoothed) > (1 - MIN_FALL) * self.smoothed[0]:
            return "no fall"
        return None

    @property
    def risen(self) -> int | None:
        """The first step, from 0, whose own loss was far above those of the beginning, while the smoothed one fell."""
        begun = max(LEARNT_STEPS, round(BEGINNING * len(self.losses)))
        limit = RISEN * max(self.losses[:begun], default=0)
        return next((step for step in range(begun, self.lowest) if self.losses[step] > limit), None)

    @property
    def learnt(self) -> int | None:
        """The step, from 0, from which on there was next to nothing left to learn; None where there always was."""
        small = [abs(loss) < LEARNT * self.losses[0] for loss in self.losses]
        starts = range(len(small) - LEARNT_STEPS + 1)
        return next((step for step in starts if all(small[step : step + LEARNT_STEPS])), None)

    @property
    def lowest(self) -> int:
        """The step, from 0, with the lowest smoothed loss."""
        return min(range(len(self.smoothed)), key=self.smoothed.__getitem__)

    @property
    def falls_to_the_end(self) -> bool:
        """Whether the lowest smoothed loss is that of the last steps: larger rates may be as good."""
        return self.end == "steps" and self.lowest >= len(self.smoothed) - 2


def find_lr(
    config: TrainConfig,
    *,
    lr_min: float = 1e-6,
    lr_max: float = 10.0,
    steps: int = 200,
    reporter: Reporter | None = None,
) -> LRFinderResult:
    """Train for a few steps while the learning rate rises, and suggest a rate. Nothing is written.

    The range test of Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3, in the form
    that has become usual: the rate rises exponentially instead of in a straight line, from step to step instead of over
    epochs, and the loss of each step's images is looked at instead of the accuracy. The loss is smoothed by an
    exponential moving average, which keeps 1 - 10/steps of itself at each step and is corrected for its beginning at
    zero as Kingma and Ba, "Adam", ICLR 2015, section 3, correct theirs. The test ends where the smoothed loss is above
    four times its lowest. The suggestion is a tenth of the rate at which the smoothed loss is lowest: there, it falls
    no more. Where the images are so few or so easy that they are learnt before the rate is large, nothing is suggested.

    Net, data, augmentation, optimizer and precision are those that ``train`` would begin with. Its own ``lr`` and
    schedule have no part in it.

    Args:
        config: The run's settings.
        lr_min: Rate of the first step.
        lr_max: Rate of the last one.
        steps: How many; images come again where an epoch has fewer.
        reporter: Told of each step.

    Raises:
        UsageError: A setting that cannot be right, or there is no range.
        CnnzooError: Anything else that a person can mend.
    """
    if not (0 < lr_min < lr_max < math.inf):
        raise UsageError(f"the rate has to rise, from above 0: it cannot from {lr_min:g} to {lr_max:g}.")
    if steps < SMOOTHING:
        raise UsageError(f"{steps} steps are too few to see a rise. Take {SMOOTHING} or more.")
    report = reporter or Reporter()
    with process_group() as group, threads_restored():
        if group.world_size > 1:
            raise UsageError("the range test is done in one process. Start no others.")
        state, loaders = begin(config, report, group)
        lrs = tuple(lr_min * (lr_max / lr_min) ** (step / (steps - 1)) for step in range(steps))
        rising = replace(
            state,
            config=state.config.replace(max_steps=None),
            steps_per_epoch=steps,
            lr_at_step=lrs.__getitem__,
        )
        losses = _Losses(rising.meter, steps)
        with explain_oom(config.batch_size), deterministic(config.deterministic):
            try:
                train_one_epoch(rising, rising.network, Endless(loaders.train), report, losses)
                end: End = "diverged" if losses.diverged else "steps"
            except NonFiniteLossError:
                end = "not finite"
    smoothed = tuple(losses.smoothed)
    return LRFinderResult(
        config=state.config,
        lrs=lrs[: len(smoothed)],
        losses=tuple(losses.raw),
        smoothed=smoothed,
        num_images=loaders.train.num_images,
        passes=len(smoothed) / loaders.train.num_steps,
        end=end,
    )


class _Losses:
    """The loss of each step, and the end of the test: after the last step, or where the loss diverges."""

    def __init__(self, meter: Meter, steps: int) -> None:
        self.meter, self.steps = meter, steps
        self.raw: list[float] = []
        self.smoothed: list[float] = []
        self.average = self.loss_before = 0.0
        self.images_before = 0
        self.diverged = False

    def begin_phase(self, *, may_save: bool = False) -> None:
        """Begin: the test is one phase."""

    def agreed(self) -> bool:
        """Note a step; return whether it was the last."""
        mean, _ = self.meter.read()
        total = mean * self.meter.images
        loss = (total - self.loss_before) / (self.meter.images - self.images_before)
        self.loss_before, self.images_before = total, self.meter.images
        kept = 1 - SMOOTHING / self.steps
        self.average = kept * self.average + (1 - kept) * loss
        self.raw.append(loss)
        self.smoothed.append(self.average / (1 - kept ** len(self.raw)))
        self.diverged = self.smoothed[-1] > DIVERGED * min(self.smoothed)
        return self.diverged or len(self.raw) == self.steps
