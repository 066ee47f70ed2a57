"""The loop: epochs, the steps of one, and the pass over images that judges it."""

from typing import cast

import torch
from torch import nn

from cnnzoo.data.loader import MicroBatches
from cnnzoo.runs.run import Run
from cnnzoo.signals import SAVE, RunStop, Stop
from cnnzoo.training.meter import Evaluation, Meter
from cnnzoo.training.reporter import Reporter
from cnnzoo.training.result import InterruptedRunError, RunResult
from cnnzoo.training.setup import Loaders
from cnnzoo.training.state import Scoring, TrainState


def fit(state: TrainState, loaders: Loaders, run: Run, report: Reporter, stop: RunStop) -> RunResult:
    """Train epoch by epoch until all are done or patience is out, saving each into the run's folder.

    Raises:
        NonFiniteLossError: The loss is NaN or infinite; what was saved stays whole.
        CnnzooError: A file cannot be written; likewise.
        InterruptedRunError: All processes agreed to stop; the state after the last step is saved.
    """
    epochs_before = len(state.history)
    model = state.group.wrap(state.network, state.device)
    report.start(state.describe(loaders.train, loaders.val), run.folder)
    while state.limit is None:
        state.start_clock()
        is_trained = train_one_epoch(state, model, loaders.train, report, stop)
        if not is_trained and stop.reason == SAVE:
            state.stop_clock()
            run.save_last(state.checkpoint(resumable=True))
            run.note_saved()
            stop.saved()
            continue
        state.group.broadcast_buffers(state.model)
        val = evaluate(state.network, loaders.val, state.scoring(), report, stop) if is_trained else None
        if val is None:  # a stop, in training or in validation
            state.stop_clock()
            run.save_last(state.checkpoint(resumable=True))
            run.note_saved()
            done = f"epoch {state.epoch} after step {state.meter.steps} of {state.last_step}"
            raise InterruptedRunError.at(done, run.folder, state.config, stop.reason)
        row, is_best, warning = state.end_epoch(val)
        if state.config.keep_epochs:  # first, so that none is missing of those that last.pt tells of
            run.save_epoch(state.checkpoint(resumable=False))
        run.save_last(state.checkpoint(resumable=True))  # the transaction: the rest derives from it
        stop.saved()
        if is_best:
            run.save_best(state.checkpoint(resumable=False), keep_former=state.ending is not None)
        run.write_history(state.rows)
        run.note_saved()
        if (digests := state.images_trained_on(loaders.train)) is not None:
            run.write_trained(state.config, digests)
        report.epoch(row, is_best)
        if warning:
            report.warn(warning)
    return state.result(run.folder, len(state.rows) - epochs_before)


def train_one_epoch(
    state: TrainState, model: nn.Module, loader: MicroBatches, report: Reporter, stop: Stop
) -> bool:
    """Train on what is left of the epoch; return False where it is to be left before its end, to stop or to save.

    Args:
        state: What is trained; its meter says how many steps of the epoch are done.
        model: The network that is called; wrapped where several processes train it.
        loader: Its order and changes are functions of (seed, epoch, position), so that it has no state to restore.
        report: Told of each step, in plain numbers.
        stop: Asked after each step.

    Raises:
        NonFiniteLossError: The loss of a step is NaN or infinite.
    """
    config, meter, optimizer = state.config, state.meter, state.optimizer
    scaler, threads = state.scaler, state.threads
    for_scaler = cast("torch.optim.Optimizer", optimizer)  # as far as it cares
    state.set_training(model)
    stop.begin_phase(may_save=True)
    first, last = (steps * config.grad_accum_steps for steps in (meter.steps, state.last_step))
    for batch in loader.epoch(state.epoch, start=first, end=last):
        optimizer.lr = state.lr()
        threads.begin_step(state.epoch, meter.steps)
        with state.group.sync(model, enabled=batch.ends_step):  # gradients meet once a step
            with state.precision.autocast(state.device):
                logits = model(batch.images)  # (N, num_classes)
                loss = state.criterion(logits, batch.targets)  # ()
            scaler.scale(loss).backward(batch.weight)
        meter.update(loss, logits.argmax(1), batch)
        if not batch.ends_step:
            continue

        if config.grad_clip:
            scaler.unscale_(for_scaler)
            nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        scaler.step(for_scaler)
        scaler.update()
        threads.end_step(state.epoch, meter.steps, len(batch.targets))

        if meter.is_due():  # by the loop's own clock, whoever listens
            meter.read()
        report.step(state.epoch, "train", meter.steps, state.last_step, *meter.figures())
        optimizer.zero_grad()
        if stop.agreed():
            meter.read()  # a loss that is NaN must not be saved as if it were a state to go on from
            return False
    meter.read()
    return True


@torch.inference_mode()
def evaluate(
    model: nn.Module, loader: MicroBatches, scoring: Scoring, report: Reporter, stop: Stop
) -> Evaluation | None:
    """Run the model over every batch once, with dropout off and no gradients; None where a stop was agreed.

    Batches that do not count are left out; one of them has to count.

    Raises:
        NonFiniteLossError: The loss of a batch is NaN or infinite.
    """
    meter = Meter(step_name="validation batch")
    answers, labels = [], []
    model.eval()
    stop.begin_phase()
    with scoring.autocast():  # around all batches, since it casts each weight once
        for batch in loader.epoch():
            logits = model(batch.images)  # (N, num_classes)
            loss = scoring.criterion(logits, batch.labels)  # ()
            meter.update(loss, logits.argmax(1), batch)
            if batch.counts:
                answers.append(logits)
                labels.append(batch.labels)
            if meter.is_due():
                meter.read()
            report.step(scoring.epoch, scoring.phase, meter.steps, loader.num_steps, *meter.figures())
            if stop.agreed():
                meter.read()
                return None
    meter.read()
    return Evaluation(meter, torch.cat(answers), torch.cat(labels))
