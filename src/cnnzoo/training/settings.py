"""A run's settings, checked before anything of it is loaded."""

from pathlib import Path

import torch

from cnnzoo.config import TrainConfig
from cnnzoo.data.augment import make_augmentations
from cnnzoo.data.datasets import open_images
from cnnzoo.data.folders import is_files
from cnnzoo.data.named.catalog import DEFAULT_DATASET, get_dataset_spec
from cnnzoo.device import pick_device
from cnnzoo.errors import UsageError
from cnnzoo.files import expanded
from cnnzoo.models.registry import create_skeleton, get_spec, import_models
from cnnzoo.training.images import reading_of, wanted_channels
from cnnzoo.training.initialization import check_rule
from cnnzoo.training.losses import BALANCED, CROSS_ENTROPY, class_weights_of, criterion_of
from cnnzoo.training.optimizers import make_optimizer
from cnnzoo.training.pretrained import DEFAULT_WEIGHTS, load_pretrained
from cnnzoo.training.transfer import freeze


def resolve(config: TrainConfig, *, imports: tuple[str, ...] | None = None) -> TrainConfig:
    """Return settings with their names known and the model's options as its builder takes them.

    Args:
        config: The settings.
        imports: Modules to import first; by default those of the settings. A run's file is not to run modules by
            itself: who takes settings from there names those that a person named.

    Raises:
        UsageError: An unknown name, or an option that the model does not take.
        CnnzooError: A module cannot be imported.
    """
    import_models(config.imports if imports is None else imports)
    config.check_names()
    return config.replace(model_options=get_spec(config.model).check_options(config.model_options))


def check_settings(config: TrainConfig) -> TrainConfig:
    """Return settings as a run notes them, checked as far as can be without images: for many, before the first run.

    The net is built without memory for its weights, for as many classes as a registered dataset has.

    Raises:
        UsageError: A setting that cannot be right.
        CnnzooError: Its modules cannot be imported, or its device is not there.
    """
    config = resolve(config)
    check_beginning(config)
    check_resize(config)
    make_augmentations(config.augment)
    pick_device(config.device)
    structure: dict[str, int | None] = {"in_channels": wanted_channels(config)}
    name = DEFAULT_DATASET if config.dataset is None else config.dataset
    if not is_files(name):
        dataset = get_dataset_spec(name)
        structure["num_classes"] = len(dataset.classes)
        structure["in_channels"] = structure["in_channels"] or dataset.channels
    elif _is_missing(name.partition(":")[2]):
        open_images(name, reading_of(config))  # which says so
    model = create_skeleton(config.model, image_size=config.image_size, **structure, **config.model_options)
    if config.weights and config.weights != DEFAULT_WEIGHTS and _is_missing(config.weights):
        load_pretrained(model, get_spec(config.model), config.weights)  # which says so
    if config.class_weights and config.class_weights != BALANCED and _is_missing(config.class_weights):
        class_weights_of(config.class_weights, torch.zeros(1, dtype=torch.long), ("",))  # likewise
    if config.loss != CROSS_ENTROPY:
        criterion_of(model, loss=config.loss)
    freeze(model, config.freeze)
    make_optimizer(model, config)
    return config


def _is_missing(path: str) -> bool:
    try:
        return not expanded(Path(path)).exists()
    except OSError:  # a name too long, say
        return True


def check_beginning(config: TrainConfig) -> None:
    """See that the first weights are given in one way.

    Raises:
        UsageError: They are given in two, or by a rule that there is not.
    """
    check_rule(config.init)
    if config.weights is not None and config.init != "default":
        raise UsageError("--weights and --init both say with which weights to begin. Leave one out.")


def check_resize(config: TrainConfig) -> int:
    """Return how many pixels a side the net takes.

    Raises:
        UsageError: Images are to be resized to less than that.
    """
    image_size = config.image_size or get_spec(config.model).image_size
    if config.resize is not None and config.resize < image_size:
        raise UsageError(
            f"--resize {config.resize} leaves less than the {image_size} pixels a side that the net takes. "
            "Make it larger, or leave it out."
        )
    return image_size
