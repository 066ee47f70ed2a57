"""What a user can mend. Everything else is a bug of cnnzoo and keeps its traceback."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from reprlib import Repr


class CnnzooError(Exception):
    """A fault outside cnnzoo: one line that says what happened and what to do next (exit code 1)."""

    exit_code = 1


class UsageError(CnnzooError):
    """A command, setting or name that cannot be right, whatever the machine (exit code 2)."""

    exit_code = 2


class AlreadyToldError(CnnzooError):
    """This process ends for a reason that another process of the same training tells."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("another process of this training says why it ended")
        self.exit_code = exit_code


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlevel = 2


def shown(value: object) -> str:
    """Return a value as Python writes it, cut short where it is long or deep."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"


def showable(text: str) -> str:
    r"""Return a text that can be printed, drawn and written: bytes of a name that are no UTF-8 become ``\xff``."""
    return re.sub("[\ud800-\udfff]", lambda match: _escaped(match[0]), text)


def _escaped(surrogate: str) -> str:
    number = ord(surrogate)
    # Python has a byte of a file's name that is no UTF-8 as U+DC80 to U+DCFF.
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else f"\\u{number:04x}"


def named(names: Sequence[str], most: int = 3) -> str:
    """Return the first few of some names, and how many more there are: ``ant, bee, cat and 297 more``."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return a question that names the nearest of ``choices``, with a space behind it; nothing where none is near."""
    choices = list(choices)
    meant = meant_setting(name)
    near = [meant] if meant in choices else get_close_matches(name[:60], choices, n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}? " if near else ""


OTHER_NAMES = {
    "model": "arch architecture backbone model_name net network",
    "image_size": "img_size imgsz image_dim input_size resolution size",
    "weights": "checkpoint ckpt init_from pretrained pretrained_weights",
    "dataset": "data dataset_name",
    "data_dir": "data_folder data_path data_root dataset_dir root",
    "val_split": "holdout val_frac val_fraction val_ratio val_size valid_size validation_size validation_split",
    "normalize": "normalise normalization standardize",
    "augment": "aug augmentation augmentations augs data_augmentation transform transforms",
    "limit_train": "max_train num_train train_size train_subset",
    "num_workers": "dataloader_workers n_workers workers",
    "epochs": "epoch max_epochs n_epochs num_epochs nb_epochs num_train_epochs",
    "max_steps": "iterations iters max_iter max_iters num_iterations num_steps total_steps train_steps",
    "batch_size": "batch batchsize bs mini_batch minibatch_size per_device_train_batch_size train_batch_size",
    "grad_accum_steps": "accum_steps accumulate accumulate_grad_batches accumulation_steps grad_accum "
    "gradient_accumulation_steps",
    "lr": "alpha base_lr eta init_lr initial_lr learn_rate learning_rate lr0 lr_rate",
    "optimizer": "algorithm opt optim optimiser solver",
    "weight_decay": "decay l2 l2_reg l2_regularization wd",
    "scheduler": "lr_schedule lr_scheduler lr_scheduler_type sched schedule",
    "lr_factor": "decay_rate gamma lr_decay lr_gamma",
    "plateau_epochs": "lr_patience plateau_patience",
    "warmup_epochs": "warm_up warmup",
    "loss": "cost criterion loss_fn loss_function loss_name objective",
    "label_smoothing": "label_smooth smoothing",
    "grad_clip": "clip clip_grad clip_grad_norm clip_norm clipnorm gradient_clip gradient_clip_val max_grad_norm",
    "seed": "manual_seed random_seed random_state",
    "patience": "early_stop early_stopping early_stopping_patience",
    "monitor": "metric metric_for_best_model",
    "device": "accelerator cuda devices gpu gpus",
    "precision": "amp bf16 dtype fp16 half mixed_precision",
    "save_every": "checkpoint_every save_freq save_interval save_period",
    "out": "log_dir logdir out_dir outdir output output_dir project save_dir",
    "name": "exp_name experiment experiment_name run_name",
}
"""What other tools call the settings, and people who come from them."""


def meant_setting(name: str) -> str | None:
    """Return the setting that other tools call so, in any way of writing it; None where there is none."""
    written = _letters(name)
    return next(
        (s for s, others in OTHER_NAMES.items() if written in map(_letters, [s, *others.split()])), None
    )


def _letters(name: str) -> str:
    return "".join(sign for sign in name[:60].lower() if sign.isalnum())


def unknown(
    kind: str, name: str, choices: Iterable[str], *, more: Iterable[str] = (), listed: str = ""
) -> UsageError:
    """Build the error for a name that does not exist: the nearest match first, then all there are.

    Args:
        kind: What was named, such as ``"model"``.
        name: What was typed.
        choices: What could have been typed.
        more: What could have been typed too, and is too much to list.
        listed: Where all of them are listed, where that is too long for a line.
    """
    known = sorted(choices)
    hint = did_you_mean(name, [*known, *more])
    there_are = f"{listed} lists them" if listed else f"There are: {', '.join(known) or 'none'}"
    return UsageError(f"unknown {kind} {shown(name)}. {hint}{there_are}.")


def one_line(error: BaseException) -> str:
    """Return what an exception says, on one line and without its final stop."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).partition("\nException raised from")[0]  # torch may add the frames of its C++
    return " ".join(text.split()).rstrip(".!") or type(error).__name__
