"""All that a page says of a run: what it was trained with, how well it does, what its net sees."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from cnnzoo.analysis.eval.evaluation import EvaluationResult, evaluate
from cnnzoo.analysis.eval.saved import saved_result
from cnnzoo.analysis.features import features
from cnnzoo.analysis.plot import Activity, see_activity, see_test_image
from cnnzoo.analysis.trained_net import TrainedNet, load_net
from cnnzoo.config_file import read_recorded
from cnnzoo.data.decoding.images import BrokenImageError
from cnnzoo.device import explain_oom
from cnnzoo.errors import CnnzooError
from cnnzoo.runs.histories.read import read_history
from cnnzoo.runs.history import History
from cnnzoo.training.reporter import Reporter

SEEN = 3
"""Test images whose way through the net is shown, each of another class."""

Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class RunReport:
    """A run as a page tells it.

    Attributes:
        net: The trained net.
        result: How well it does on its test images.
        is_saved: Whether that is what ``cnnzoo eval`` had saved.
        history: Its epochs; None where the run has no history.csv.
        recorded: What the run noted of its command, its machine and its images.
        seen: For a few test images, which one it is and what each layer makes of it.
        activity: How activations and gradients are distributed; None where that cannot be known.
        faults: Why something is not there, by ``history``, ``seen`` or ``activity``.
    """

    net: TrainedNet
    result: EvaluationResult
    is_saved: bool
    history: History | None
    recorded: Mapping[str, Any]
    seen: list[tuple[str, list[tuple[str, Tensor]]]]
    activity: Activity | None
    faults: dict[str, str] = field(default_factory=dict)


def gather_report(
    checkpoint: Path,
    *,
    dataset: str | None = None,
    data_dir: Path | None = None,
    device: str = "auto",
    precision: str | None = None,
    reporter: Reporter | None = None,
) -> RunReport:
    """Gather what a page says of a run; nothing is written.

    How well the net does is read where ``cnnzoo eval`` has saved it of this very checkpoint, else computed. What beside
    that cannot be had, such as a history that is not there, is a fault that the page tells.

    Args:
        checkpoint: A ``best.pt`` or ``last.pt``.
        dataset: Where its folder or table of images lies now; by default where the run was last told.
        data_dir: Where named datasets lie; likewise.
        device: As for training.
        precision: As for training; by default the one that the run was trained in.
        reporter: Told of progress.

    Raises:
        CnnzooError: The checkpoint or its test images cannot be used.
    """
    reporter = reporter or Reporter()
    net = load_net(
        checkpoint,
        dataset=dataset,
        data_dir=data_dir,
        device=device,
        precision=precision,
        reporter=reporter,
    )
    try:
        saved = saved_result(net, reporter)
    except BrokenImageError:
        net = replace(net, config=net.config.replace(skip_bad_images=True))
        saved = saved_result(net, reporter)
        if saved is None:  # else `eval --skip-bad-images` has left it out
            raise
    result = saved or evaluate(
        checkpoint,
        dataset=dataset,
        data_dir=data_dir,
        device=device,
        precision=precision,
        save=False,
        reporter=reporter,
    )
    faults: dict[str, str] = {}

    def tried(what: str, find: Callable[[], Found]) -> Found | None:
        try:
            return find()
        except CnnzooError as error:
            faults[what] = str(error)
            return None

    return RunReport(
        net=net,
        result=result,
        is_saved=saved is not None,
        history=tried("history", lambda: read_history(net.run / "history.csv")),
        recorded=read_recorded(net.run),
        seen=tried("seen", lambda: _see(net, result)) or [],
        activity=tried("activity", lambda: see_activity(net, reporter)),
        faults=faults,
    )


def _see(net: TrainedNet, result: EvaluationResult) -> list[tuple[str, list[tuple[str, Tensor]]]]:
    """Return what the net's layers make of the first test images of the first classes that there are."""
    firsts: dict[int, int] = {}
    for index, label in enumerate(result.predictions.labels.tolist()):
        firsts.setdefault(label, index)
        if len(firsts) == SEEN:
            break
    images = [see_test_image(net, result.predictions.images, index) for index in firsts.values()]
    with explain_oom(1):
        return [(seen.name, features(net.model, seen.image)) for seen in images]
