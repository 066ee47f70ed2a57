"""Go on with a run: its settings checked, what a crash left undone mended, its state restored."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cnnzoo.config import TrainConfig
from cnnzoo.config_file import differing, in_words, read_recorded
from cnnzoo.data.datasets import full_name
from cnnzoo.data.folders import is_files, is_same_place
from cnnzoo.data.named.catalog import get_dataset_spec
from cnnzoo.device import explain_oom
from cnnzoo.distributed.group import process_group
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.interrupts import Interrupt
from cnnzoo.models.registry import import_models
from cnnzoo.precision import Precision
from cnnzoo.runs.checkpoint import Checkpoint, load_checkpoint
from cnnzoo.runs.history import best_row, write_history
from cnnzoo.runs.run import Run, located
from cnnzoo.runs.sources import changed_sources, imports_advised
from cnnzoo.training.images import own_files, reading_again
from cnnzoo.training.reporter import Reporter
from cnnzoo.training.result import RunResult, as_typed_setting
from cnnzoo.training.schedule import Limit, limit_reached
from cnnzoo.training.settings import resolve
from cnnzoo.training.setup import set_up
from cnnzoo.training.threads import threads_restored
from cnnzoo.training.train import run_loop

CHANGEABLE = {
    "epochs",
    "max_steps",
    "save_every",
    "keep_epochs",
    "device",
    "num_workers",
    "data_dir",
    "out",
    "patience",
}
"""Settings that a resume may change: none has a part in what an epoch computes."""

OF_THE_NET = {"model", "model_options", "image_size"}
"""Settings with others of which a run's weights do not fit."""


def resume(
    run: Path, changes: Mapping[str, Any] | None = None, *, reporter: Reporter | None = None
) -> RunResult:
    """Go on with a run that was interrupted, or give a complete one more epochs.

    What a crash left undone in the folder is mended first: everything follows from ``last.pt``.

    Args:
        run: Its folder.
        changes: Settings to change, of which only CHANGEABLE may differ from the run's own.
        reporter: Told what happens; nobody by default.

    Raises:
        UsageError: A setting that cannot be right, or that would make the rest differ from the beginning.
        CnnzooError: Anything else that a person can mend; what was saved before stays whole.
        InterruptedRunError: A signal of ``signals.STOPS``; the run is saved and can be resumed.
    """
    with Interrupt(), process_group() as group, threads_restored():
        report = reporter if reporter and group.is_first else Reporter()
        if group.is_first and not (run / "last.pt").is_file():
            raise CnnzooError(f"{run} has no last.pt to go on from. Start a new run: cnnzoo train MODEL")
        folder = Run(run, writes=group.is_first)
        with folder.held(report.warn, is_new=False):
            saved = group.broadcast(lambda: load_checkpoint(run / "last.pt"))
            config = _resumed_config(saved, changes or {}, run)
            if group.is_first and (warning := changed_sources(run, config.imports)):
                report.warn(warning)
            training = saved.training
            assert training is not None  # else _resumed_config has refused it
            if training.ending and config.max_steps != saved.config.get("max_steps"):
                training = replace(training, ending=None)
                saved = replace(saved, epoch=len(training.history), training=training)
            limit: Limit | None = "max_steps" if training.ending else limit_reached(training.history, config)
            if limit:
                if group.is_first:
                    repair(folder, saved, config, report)
                    _remember_place(saved, config, folder)
                best = best_row(training.rows, config.monitor)
                return RunResult(run, config, training.rows, best, epochs_trained=0, limit=limit)
            if config.thread_plan is None and training.threads:  # what is computed before the first step, too
                torch.set_num_threads(min(training.threads[0][2], torch.get_num_threads()))
            with explain_oom(config.batch_size):
                state, loaders = set_up(
                    config, report, group, precision=Precision(saved.precision, "as the run began")
                )
            state.restore(saved)
            if group.is_first:
                repair(folder, saved, config, report)
            if state.limit:
                return state.result(run, epochs_trained=0)
            return run_loop(state, loaders, folder, report)


def _resumed_config(saved: Checkpoint, changes: Mapping[str, Any], run: Path) -> TrainConfig:
    """Return the saved settings with those changes that leave what an epoch computes as it is."""
    if not saved.training:
        raise CnnzooError(f"{run / 'last.pt'} holds no optimizer state. Start a new run: cnnzoo train MODEL")
    before = located(saved.settings(run / "last.pt"), run)
    import_models(tuple(changes.get("imports", ())))
    saved.check_model_is_known(run)
    # The modules that registered the model are noted, not imported: what is in a file must not run by itself.
    asked = TrainConfig.from_dict({**before.to_dict(), **changes, "imports": before.imports})
    with imports_advised(run, before.imports):
        asked.check_names()
        asked = asked.replace(dataset=full_name(str(asked.dataset)))
        if not is_files(str(asked.dataset)):
            get_dataset_spec(str(asked.dataset))
    after = resolve(asked.replace(model=before.model), imports=())  # options of the run's model
    settings = {**after.to_dict(), "model": asked.model}
    differ = in_words(
        {
            name: (was, now)
            for name, (was, now) in differing(before.to_dict(), settings, CHANGEABLE).items()
            if not _is_moved_folder(name, was, now)
        }
    )
    if differ:
        told = (
            f"a resumed run keeps its settings; these differ: {', '.join(differ.values())}. Leave them out."
        )
        if not OF_THE_NET & differ.keys():
            told += f" To go on from its weights, start a new run: {_anew(run, changes)}"
        raise UsageError(told)
    return after


def _remember_place(saved: Checkpoint, config: TrainConfig, run: Run) -> None:
    """Note where a complete run's images lie now, of which nothing is loaded.

    Raises:
        CnnzooError: There are none, or others.
    """
    was = located(saved.settings(run.folder / "last.pt"), run.folder)
    now = was.replace(dataset=config.dataset, data_dir=config.data_dir, image_root=config.image_root)
    if now == was:
        return
    if is_files(name := str(now.dataset)):
        own_files(saved, name, reading_again(now, saved))
    run.write_config(now, read_recorded(run.folder))


def _anew(run: Path, changes: Mapping[str, Any]) -> str:
    """Return what a person types for a new run of these settings, changed, that begins with this one's weights."""
    weights = next(run / name for name in ("best.pt", "last.pt") if (run / name).is_file())
    command = ["cnnzoo", "train", "--config", str(run / "config.yaml"), "--weights", str(weights)]
    for name, value in changes.items():
        command += as_typed_setting(name, value)
    return shlex.join(command)


def _is_moved_folder(name: str, was: object, now: object) -> bool:
    """Whether a setting names images of one's own under another path: their checksum says if they are the same."""
    return name == "image_root" or (name == "dataset" and is_same_place(str(was), str(now)))


def repair(run: Run, saved: Checkpoint, config: TrainConfig, reporter: Reporter) -> None:
    """Bring what derives from ``last.pt`` up to it, where a crash came between the two, or a row was withdrawn."""
    assert saved.training is not None
    for stale in run.folder.glob(".*.tmp"):
        stale.unlink(missing_ok=True)
    training = saved.training
    ours = ["last.pt", "history.csv", "former-best.pt"]
    if training.rows:
        write_history(run.folder / "history.csv", training.rows)
        if _repair_best(run, saved, best_row(training.rows, config.monitor).epoch, reporter):
            ours.append("best.pt")
    run.note_saved(*ours)


def _repair_best(run: Run, saved: Checkpoint, epoch: int, reporter: Reporter) -> bool:
    """See to it that the best epoch's weights are there; return whether they are."""
    training = saved.training
    assert training is not None
    if saved.is_after(epoch, run.best):
        return True
    if saved.is_after(epoch, run.former_best):
        run.former_best.replace(run.best)
        return True
    if epoch == saved.epoch and (training.ending or not training.totals.steps):
        run.save_best(
            replace(saved, training=None, weights_sha256=None), keep_former=training.ending is not None
        )
        return True
    reporter.warn(
        f"{run.best} is gone, damaged or of another run, and the weights of epoch {epoch} cannot be made again from "
        "last.pt. The next better epoch will be saved there."
    )
    return False
