"""Pictures of a net that `cnnzoo plot` draws: each kind is one function of what was asked."""

import shutil
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cnnzoo.cli.options import find_checkpoint
from cnnzoo.errors import CnnzooError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cnnzoo.analysis.eval.evaluation import EvaluationResult
    from cnnzoo.analysis.plot import TrainingBatch
    from cnnzoo.analysis.trained_net import TrainedNet


class Request(NamedTuple):
    """What a person asks of `cnnzoo plot`.

    Attributes:
        words: Behind the kind of picture.
        output: Where the picture goes, if that was said.
        show: Whether a window is to show it, too.
        out: Folder that holds the runs.
        image: Which one, if that was said.
        dataset: Where the run's images lie, or which to take, if that was said.
        data_dir: Where named datasets lie, likewise.
    """

    words: list[str]
    output: Path | None
    show: bool
    out: Path
    image: str | None
    dataset: str | None
    data_dir: Path | None

    def checkpoint(self) -> Path:
        """Return the checkpoint of the one run that is named, or else of the newest.

        Raises:
            CnnzooError: There is none.
        """
        if len(self.words) > 1:
            raise UsageError(f"one run is drawn at a time, and not {len(self.words)}. Name one.")
        return find_checkpoint(self.words[0] if self.words else None, self.out)

    def net(self) -> "TrainedNet":
        """Load the net of that checkpoint.

        Raises:
            CnnzooError: It cannot be used.
        """
        from cnnzoo.analysis.trained_net import load_net
        from cnnzoo.ui.screen import QuietScreen

        return load_net(
            self.checkpoint(), dataset=self.dataset, data_dir=self.data_dir, reporter=QuietScreen()
        )


def draw_filters(asked: Request) -> None:
    """Draw the kernels of the first convolution."""
    from cnnzoo.ui.plot import plot_filters

    net = asked.net()
    finish(
        asked,
        net.run / "filters.png",
        lambda figure: plot_filters(net.model, title=_title(net), figure=figure),
    )


def draw_features(asked: Request) -> None:
    """Draw what each layer makes of one image (--image), and how much of the image a unit sees."""
    from cnnzoo.analysis.features import features
    from cnnzoo.analysis.fields import receptive_fields
    from cnnzoo.analysis.plot import see_image
    from cnnzoo.ui.plot import MAX_LAYERS, plot_features
    from cnnzoo.ui.screen import QuietScreen

    net = asked.net()
    seen = see_image(net, asked.image or "0", QuietScreen())
    layers = features(net.model, seen.image)
    fields = receptive_fields(net.model, seen.image, MAX_LAYERS)
    finish(
        asked,
        net.run / "features.png",
        lambda figure: plot_features(
            layers,
            classes=net.classes,
            preprocessing=net.preprocessing,
            fields=fields,
            title=f"{_title(net)}, {seen.name}",
            figure=figure,
        ),
    )


def draw_activations(asked: Request) -> None:
    """Draw how activations and gradients are distributed in each layer, with dead and saturated units."""
    from cnnzoo.analysis.plot import see_activity
    from cnnzoo.ui.plot import plot_activations
    from cnnzoo.ui.screen import QuietScreen

    net = asked.net()
    seen = see_activity(net, QuietScreen())
    title = f"{_title(net)}, {seen.num_images:,} training images"
    finish(
        asked,
        net.run / "activations.png",
        lambda figure: plot_activations(seen.layers, title=title, figure=figure),
        seen.remarks,
    )


def draw_batch(asked: Request) -> None:
    """Draw training images as the network sees them, of a run or of the arguments of `cnnzoo train`."""
    from cnnzoo.ui.plot import MAX_IMAGES, plot_batch

    seen, path = _batch_of(asked, MAX_IMAGES)
    changes = f"augment {', '.join(seen.config.augment)}" if seen.config.augment else "no augmentation"
    few = f"the first {len(seen.images)} of " if len(seen.images) < seen.batch_size else ""
    which = f"{few}{seen.batch_size:,} images of the first batch"
    title = f"{seen.config.model} on {seen.config.dataset}: {which}, {changes}"
    finish(
        asked,
        path,
        lambda figure: plot_batch(
            seen.images,
            seen.targets,
            seen.classes,
            preprocessing=seen.preprocessing,
            title=title,
            figure=figure,
        ),
    )


def draw_confusion(asked: Request) -> None:
    """Draw the test images of each class, by their predicted class."""
    from cnnzoo.ui.eval.pictures import plot_confusion

    result = _evaluated(asked)
    finish(asked, _beside(result, "confusion.png"), lambda figure: plot_confusion(result, figure))


def draw_errors(asked: Request) -> None:
    """Draw the mistakes with the highest probability."""
    from cnnzoo.ui.eval.pictures import plot_errors

    result = _evaluated(asked)
    finish(asked, _beside(result, "errors.png"), lambda figure: plot_errors(result, figure))


def draw_calibration(asked: Request) -> None:
    """Draw how often the network is right at each probability that it gives."""
    from cnnzoo.ui.eval.pictures import plot_calibration

    result = _evaluated(asked)
    finish(asked, _beside(result, "calibration.png"), lambda figure: plot_calibration(result, figure))


def _evaluated(asked: Request) -> "EvaluationResult":
    """Evaluate the one run that is named, or else the newest, on its test images; nothing is written."""
    from cnnzoo.analysis.eval.evaluation import evaluate
    from cnnzoo.ui.screen import Screen

    screen = Screen()
    try:
        return evaluate(
            asked.checkpoint(), dataset=asked.dataset, data_dir=asked.data_dir, save=False, reporter=screen
        )
    finally:
        screen.close()


def _beside(result: "EvaluationResult", name: str) -> Path:
    return Path(result.checkpoint).with_name(name)


def _batch_of(asked: Request, most: int) -> "tuple[TrainingBatch, Path]":
    """Return the batch that is meant, and where its picture goes."""
    from cnnzoo.analysis.plot import see_batch
    from cnnzoo.cli.train import config_of
    from cnnzoo.models.registry import is_registered
    from cnnzoo.training.settings import resolve
    from cnnzoo.ui.screen import QuietScreen

    screen = QuietScreen()
    words = asked.words
    if not words or _names_run(words[0], asked.out):
        # A run may be called like its model: then what follows tells that the model is meant.
        if len(words) > 1 and not is_registered(words[0]):
            raise UsageError(
                f"{words[0]} is a run, whose batches are as its own settings make them. For others: "
                "cnnzoo plot batch --config RUN/config.yaml OPTIONS"
            )
        if len(words) < 2:
            net = asked.net()
            return see_batch(net.config, most, screen, saved=net.saved), net.run / "batch.png"
    told = [("--dataset", asked.dataset), ("--data-dir", asked.data_dir)]
    config = resolve(config_of([*words, *(f"{flag}={value}" for flag, value in told if value is not None)]))
    return see_batch(config, most, screen), Path("batch.png")


def _names_run(word: str, out: Path) -> bool:
    """Whether a word names a run or a checkpoint; else it is a model, or an option."""
    from cnnzoo.runs.folder import resolve_run

    if word.startswith("-"):
        return False
    with suppress(CnnzooError, OSError):
        return word.endswith(".pt") or bool(resolve_run(word, out))
    return word == "last"


def _title(net: "TrainedNet") -> str:
    return f"{net.saved.model} on {net.saved.dataset}"


def finish(
    asked: Request, path: Path, draw: "Callable[[Figure | None], Figure]", lines: list[str] | None = None
) -> None:
    """Write a picture, say where it is, and show it if that was asked.

    Args:
        asked: What a person said.
        path: Where it goes unless they said otherwise.
        draw: Makes it, on a figure if it is given one.
        lines: To be printed below the path.

    Raises:
        CnnzooError: It cannot be written or shown.
    """
    from cnnzoo.ui.screen import print_warning
    from cnnzoo.ui.sheet import unknown_signs
    from cnnzoo.ui.style import save_figure, show

    path = asked.output or path
    figure = draw(None)
    save_figure(figure, path)
    if signs := unknown_signs(figure):
        print_warning(
            f"no font here can draw {signs[:20]}: the picture has boxes instead. Install one that can, such as "
            "Noto Sans CJK."
        )
    for line in (str(path), *(lines or ())):
        say(line)
    if asked.show:
        show(draw)


def say(line: str, *, err: bool = False) -> None:
    """Print a line; on a terminal folded between words alone, so that a path stays whole and can be copied."""
    # Rich folds within words, too.
    if (sys.stderr if err else sys.stdout).isatty():
        line = textwrap.fill(
            line, shutil.get_terminal_size().columns, break_long_words=False, break_on_hyphens=False
        )
    print(line, file=sys.stderr if err else sys.stdout)
