"""cnnzoo: train, evaluate and plot the classic convolutional networks.

The public names are imported on first use, so that ``import cnnzoo`` costs nothing.
"""

from importlib import import_module

from cnnzoo.version import __version__ as __version__

TYPE_CHECKING = False  # as typing has it, whose import takes longer than all else before Ctrl-C is answered
if TYPE_CHECKING:
    from typing import Any

    from cnnzoo.analysis.compare.compare import compare
    from cnnzoo.analysis.eval.evaluation import EvaluationResult, evaluate
    from cnnzoo.analysis.features import activations, features
    from cnnzoo.analysis.lr_find import find_lr
    from cnnzoo.analysis.predict.predict import predict
    from cnnzoo.analysis.sweep.sweep import sweep
    from cnnzoo.config import TrainConfig
    from cnnzoo.data.augment import register_augmentation
    from cnnzoo.data.augmentation import Augmentation
    from cnnzoo.data.named.catalog import register_dataset
    from cnnzoo.errors import CnnzooError
    from cnnzoo.models.registry import create_model, list_models, register_model
    from cnnzoo.runs.checkpoint import load_checkpoint
    from cnnzoo.runs.histories.read import read_histories, read_history
    from cnnzoo.training.losses import register_loss
    from cnnzoo.training.optimizers import register_optimizer
    from cnnzoo.training.reporter import Reporter
    from cnnzoo.training.result import RunResult
    from cnnzoo.training.resume import resume
    from cnnzoo.training.train import train
    from cnnzoo.ui.eval.pictures import plot_calibration, plot_confusion, plot_errors
    from cnnzoo.ui.plot import plot_activations, plot_batch, plot_features, plot_filters
    from cnnzoo.ui.report.page import report

__all__ = [
    "Augmentation",
    "CnnzooError",
    "EvaluationResult",
    "Reporter",
    "RunResult",
    "TrainConfig",
    "activations",
    "compare",
    "create_model",
    "evaluate",
    "features",
    "find_lr",
    "list_models",
    "load_checkpoint",
    "plot_activations",
    "plot_batch",
    "plot_calibration",
    "plot_confusion",
    "plot_errors",
    "plot_features",
    "plot_filters",
    "predict",
    "read_histories",
    "read_history",
    "register_augmentation",
    "register_dataset",
    "register_loss",
    "register_model",
    "register_optimizer",
    "report",
    "resume",
    "sweep",
    "train",
]

_HOME = {
    "Augmentation": "data.augmentation",
    "CnnzooError": "errors",
    "EvaluationResult": "analysis.eval.evaluation",
    "Reporter": "training.reporter",
    "RunResult": "training.result",
    "TrainConfig": "config",
    "activations": "analysis.features",
    "compare": "analysis.compare.compare",
    "create_model": "models.registry",
    "evaluate": "analysis.eval.evaluation",
    "features": "analysis.features",
    "find_lr": "analysis.lr_find",
    "list_models": "models.registry",
    "load_checkpoint": "runs.checkpoint",
    "plot_activations": "ui.plot",
    "plot_batch": "ui.plot",
    "plot_calibration": "ui.eval.pictures",
    "plot_confusion": "ui.eval.pictures",
    "plot_errors": "ui.eval.pictures",
    "plot_features": "ui.plot",
    "plot_filters": "ui.plot",
    "predict": "analysis.predict.predict",
    "read_histories": "runs.histories.read",
    "read_history": "runs.histories.read",
    "register_augmentation": "data.augment",
    "register_dataset": "data.named.catalog",
    "register_loss": "training.losses",
    "register_model": "models.registry",
    "register_optimizer": "training.optimizers",
    "report": "ui.report.page",
    "resume": "training.resume",
    "sweep": "analysis.sweep.sweep",
    "train": "training.train",
}


def __getattr__(name: str) -> "Any":  # noqa: ANN401  (what a module attribute may be)
    if name not in _HOME:
        raise AttributeError(f"module 'cnnzoo' has no attribute {name!r}")
    return getattr(import_module(f"cnnzoo.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
