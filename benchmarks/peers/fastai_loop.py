"""The comparison's training as fastai's documentation would have it written: DataLoaders, Learner, fit."""

import time

from common import BATCH_SIZE, LR, arguments, report
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from torch_nets import NETS, datasets


class Clock(Callback):
    """Times each epoch's training and validation."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def before_epoch(self) -> None:  # noqa: D102
        self.started = time.perf_counter()

    def after_epoch(self) -> None:  # noqa: D102
        self.seconds.append(time.perf_counter() - self.started)


def main() -> None:
    """Train, validate and test."""
    asked = arguments()
    train, val, test = datasets(asked)
    dls = DataLoaders.from_dsets(train, val, bs=BATCH_SIZE)
    clock = Clock()
    # fastai's Adam decays weights by 0.01 unless told otherwise; nobody else here does.
    learner = Learner(
        dls, NETS[asked.model](), loss_func=CrossEntropyLossFlat(), metrics=accuracy, lr=LR, wd=0, cbs=clock
    )
    learner.fit(asked.epochs)
    epoch_seconds = list(clock.seconds)  # validate() below calls the clock too
    until_trained = time.time() - asked.started
    _, _, val_acc = learner.recorder.values[-1]

    started = time.perf_counter()
    _, test_acc = learner.validate(dl=dls.valid.new(test))
    report(
        epoch_seconds=epoch_seconds,
        until_trained=until_trained,
        val_acc=val_acc,
        test_acc=test_acc,
        test_rate=asked.limit_test / (time.perf_counter() - started),
    )


if __name__ == "__main__":
    main()
