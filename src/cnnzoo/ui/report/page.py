"""The page that tells a run, as one file without network or server."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cnnzoo.analysis.report import RunReport, gather_report
from cnnzoo.config import TrainConfig
from cnnzoo.data.datasets import short_name
from cnnzoo.errors import CnnzooError
from cnnzoo.files import as_typed, replacing
from cnnzoo.training.reporter import Reporter
from cnnzoo.ui.eval.pictures import MAX_WRITTEN_CLASSES
from cnnzoo.ui.html import figure_uri, render
from cnnzoo.ui.report.behind import THUMBNAIL, look_behind
from cnnzoo.ui.screen import distinct_names
from cnnzoo.ui.tables import NONE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_REPORT_BYTES = 5_000_000
"""Maximum size of the file, so that it can be mailed."""

MATRIX = 100
"""Classes up to which the confusion matrix is drawn; of more, the most frequent confusions."""

CONFUSIONS = 50
"""That are shown with their images, of more classes than MATRIX."""

_NAME = 18
"""Characters of a class's name beside the matrix, at most."""

_LINK = 60  # characters of HTML that make a number of the matrix a link


class ReportPicture(NamedTuple):
    """A figure on the page.

    Attributes:
        address: What it looks like.
        says: The same for who does not see it.
        caption: What stands below it.
    """

    address: str
    says: str
    caption: str = ""


def report(
    run: Path,
    *,
    output: Path | None = None,
    dataset: str | None = None,
    data_dir: Path | None = None,
    device: str = "auto",
    precision: str | None = None,
    reporter: Reporter | None = None,
) -> Path:
    """Write one page that tells a run: recipe, curves, figures, mistakes with their images, what the net sees.

    It is a single file of HTML of at most MAX_REPORT_BYTES that needs neither network nor server, and can be mailed.

    Args:
        run: A run's folder, whose best.pt counts, or a ``.pt`` file.
        output: The file; by default ``report.html`` in the run.
        dataset: Where its folder or table of images lies now; by default where the run was last told.
        data_dir: Where named datasets lie; likewise.
        device: As for training.
        precision: As for training; by default the one that the run was trained in.
        reporter: Told of progress.

    Returns:
        The file.

    Raises:
        CnnzooError: The run or its test images cannot be used, or the file cannot be written.
    """
    return write_report(
        gather_report(
            run / "best.pt" if run.is_dir() else run,
            dataset=dataset,
            data_dir=data_dir,
            device=device,
            precision=precision,
            reporter=reporter,
        ),
        output,
    )


def write_report(found: RunReport, output: Path | None = None) -> Path:
    """Write the page into ``output``, by default ``report.html`` in the run.

    Raises:
        CnnzooError: It cannot be written.
    """
    path = output or found.net.run / "report.html"
    content = as_html(found).encode()
    with replacing(path, len(content), otherwise="write it elsewhere with `cnnzoo report -o FILE`") as file:
        file.write(content)
    return path


def as_html(found: RunReport) -> str:
    """Return the page, of at most MAX_REPORT_BYTES."""
    net, result = found.net, found.result
    drawn = len(result.classes) <= MATRIX
    values: dict[str, object] = {
        "title": f"{net.saved.model} on {short_name(net.saved.dataset)}",
        "found": found,
        "drawn": drawn,
        "names": distinct_names([row.name for row in result.classes], _NAME),
        "written": len(result.classes) <= MAX_WRITTEN_CLASSES,
        "thumbnail": THUMBNAIL,
        "confusions": result.confusions(5),
        "recipe": list(settings(net.config)),
        "config": _config_text(found),
        "command": _command(found),
        "run": as_typed(net.run),
        "num_parameters": sum(parameter.numel() for parameter in net.model.parameters()),
        "columns": [],
        "rows": [],
        **_pictures(found),
    }
    if found.history is not None:
        frame = found.history.frame
        values["columns"] = list(frame.columns)
        values["rows"] = [
            [_cell(name, value) for name, value in zip(frame.columns, row, strict=True)]
            for row in frame.itertuples(index=False)
        ]
    # What is left beside a page without any images behind its cells is for these.
    most = None if drawn else CONFUSIONS
    bare = look_behind(result, 0, most)
    length = len(render("report/report.html", **values, behind=bare).encode())
    links = _LINK * sum(cell is not None for row in bare.matrix for cell in row) if drawn else 0
    behind = look_behind(result, MAX_REPORT_BYTES - length - links, most)
    return render("report/report.html", **values, behind=behind)


def settings(config: TrainConfig) -> Iterator[tuple[str, str]]:
    """Yield the settings that matter: those that every recipe names, and those that are not the usual ones."""
    always = ("model", "dataset", "epochs", "batch_size", "lr", "optimizer", "seed")
    machine = ("data_dir", "out", "name", "save_every", "keep_epochs", "num_workers", "threads", "device")
    for setting in fields(config):
        value = getattr(config, setting.name)
        factory = setting.default_factory
        usual = setting.default if factory is MISSING else factory()
        if setting.name in always or (setting.name not in machine and value != usual):
            yield setting.name.replace("_", " "), _in_words(value)


def _in_words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={member}" for name, member in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(column: str, value: float) -> str:
    """Return a number of the history as people write it."""
    if not math.isfinite(value):
        return NONE
    if column == "epoch":
        return f"{value:.0f}"
    return f"{value:.2%}" if column.endswith("_acc") else f"{value:.4g}"


def _config_text(found: RunReport) -> str:
    """Return the run's config.yaml, or where there is none its settings as the checkpoint has them."""
    import yaml

    try:
        return (found.net.run / "config.yaml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return yaml.safe_dump(found.net.config.to_dict(), sort_keys=False, allow_unicode=True)


def _command(found: RunReport) -> str:
    """Return the command that trained the run; empty where it was trained from Python."""
    command = str(found.recorded.get("command", ""))
    return command if command.startswith("cnnzoo ") else ""


def _pictures(found: RunReport) -> dict[str, object]:
    """Draw the figures, with the functions of `cnnzoo plot`."""
    from cnnzoo.ui.curves import plot_histories
    from cnnzoo.ui.plot import plot_activations, plot_features, plot_filters

    net = found.net
    curves = activations = None
    if found.history is not None:
        num = len(found.history.frame)
        says = f"Loss and accuracy of {num:,} {'epoch' if num == 1 else 'epochs'}; {found.history.describe_best()}."
        curves = _picture(plot_histories([found.history]), 300_000, says)
    filters, no_filters = None, ""
    try:
        filters = _picture(
            plot_filters(net.model), 300_000, "The kernels of the first convolution, as grey pixels."
        )
    except CnnzooError as error:
        no_filters = str(error)
    seen = [
        _picture(
            plot_features(layers, classes=net.classes, preprocessing=net.preprocessing, title=name),
            400_000,
            f"What each layer makes of {name}, as rows of small pictures.",
            name,
        )
        for name, layers in found.seen
    ]
    if found.activity is not None:
        figure = plot_activations(
            found.activity.layers, title=f"{found.activity.num_images:,} training images"
        )
        activations = _picture(
            figure, 400_000, "Distributions of activations and gradients, a row for each layer."
        )
    return {
        "curves": curves,
        "filters": filters,
        "no_filters": no_filters,
        "seen": seen,
        "activations": activations,
    }


def _picture(figure: "Figure", most: int, says: str, caption: str = "") -> ReportPicture:
    return ReportPicture(figure_uri(figure, most), says, caption)
