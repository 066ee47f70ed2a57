"""The comparison's training as Lightning's documentation would have it written: module, loaders, Trainer."""

import time

import torch
from common import BATCH_SIZE, LR, arguments, report
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch_nets import NETS, datasets
from torchmetrics.classification import MulticlassAccuracy

Batch = tuple[Tensor, Tensor]


class Classifier(LightningModule):
    """A net with its loss, metrics and optimizer."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.train_acc = MulticlassAccuracy(10, average="micro")
        self.val_acc = MulticlassAccuracy(10, average="micro")
        self.test_acc = MulticlassAccuracy(10, average="micro")

    def _step(self, batch: Batch, stage: str, accuracy: MulticlassAccuracy) -> Tensor:
        images, labels = batch
        logits = self.net(images)
        loss = F.cross_entropy(logits, labels)
        accuracy(logits, labels)
        self.log(f"{stage}_loss", loss, prog_bar=True)
        self.log(f"{stage}_acc", accuracy, prog_bar=True, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch: Batch) -> Tensor:  # noqa: D102
        return self._step(batch, "train", self.train_acc)

    def validation_step(self, batch: Batch) -> None:  # noqa: D102
        self._step(batch, "val", self.val_acc)

    def test_step(self, batch: Batch) -> None:  # noqa: D102
        self._step(batch, "test", self.test_acc)

    def configure_optimizers(self) -> torch.optim.Optimizer:  # noqa: D102
        return torch.optim.Adam(self.parameters(), lr=LR)


class Clock(Callback):
    """Times each epoch's training and validation, without the checkpoint that follows, and the test."""

    def __init__(self) -> None:
        self.epoch_seconds: list[float] = []
        self.test_seconds = 0.0

    def on_train_epoch_start(self, *_: object) -> None:  # noqa: D102
        self.started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, *_: object) -> None:  # noqa: D102
        if not trainer.sanity_checking:
            self.epoch_seconds.append(time.perf_counter() - self.started)

    def on_test_start(self, *_: object) -> None:  # noqa: D102
        self.started = time.perf_counter()

    def on_test_end(self, *_: object) -> None:  # noqa: D102
        self.test_seconds = time.perf_counter() - self.started


def main() -> None:
    """Train, validate and test."""
    asked = arguments()
    train, val, test = datasets(asked)
    clock = Clock()
    # Lightning's own bar is tqdm's. It would take rich's here only because Keras has brought rich along.
    trainer = Trainer(max_epochs=asked.epochs, callbacks=[clock, TQDMProgressBar()])
    model = Classifier(NETS[asked.model]())
    trainer.fit(
        model, DataLoader(train, batch_size=BATCH_SIZE, shuffle=True), DataLoader(val, batch_size=BATCH_SIZE)
    )
    until_trained = time.time() - asked.started
    val_acc = trainer.callback_metrics["val_acc"].item()
    (results,) = trainer.test(model, DataLoader(test, batch_size=BATCH_SIZE))
    report(
        epoch_seconds=clock.epoch_seconds,
        until_trained=until_trained,
        val_acc=val_acc,
        test_acc=results["test_acc"],
        test_rate=asked.limit_test / clock.test_seconds,
    )


if __name__ == "__main__":
    main()
