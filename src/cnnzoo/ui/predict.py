"""The table of what a net takes pictures for: as full as the screen is wide, and readable down to 40 columns."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnnzoo.errors import named
from cnnzoo.ui.page import Layout, Page

if TYPE_CHECKING:
    from cnnzoo.analysis.predict.predict import Prediction
    from cnnzoo.runs.checkpoint import Checkpoint

INVERTED = "inverted"


def print_predictions(predictions: "Sequence[Prediction]", checkpoint: Path, saved: "Checkpoint") -> None:
    """Print a row for each picture, with its likeliest classes, below the net that was asked.

    Args:
        predictions: At least one.
        checkpoint: That of the net.
        saved: What is in it.
    """
    page = Page()
    page.line(f"{checkpoint}: {saved.model}, epoch {saved.epoch}, trained on {saved.dataset}")
    page.table(*_layouts(predictions))
    if num := sum(each.inverted and each.dark_on_light for each in predictions):
        page.line(
            f"{num:,} of {len(predictions):,} inverted: dark on light, and the net was trained on light on dark "
            "(--invert no leaves them)."
        )
    if explanations := [each.explanation for each in predictions if each.explanation]:
        page.line(f"Explained in {named(explanations, 1)}.")


def _layouts(predictions: "Sequence[Prediction]") -> tuple[Layout, Layout]:
    answers = [
        [f"{name} {share:.2%}" for name, share in zip(each.classes, each.probabilities, strict=True)]
        for each in predictions
    ]
    marks = ["blank" if each.blank else INVERTED if each.inverted else "" for each in predictions]
    headings = ["File", "Prediction", ">Probability", "~Then", ""]
    rows = [
        (each.file, each.classes[0], f"{each.probabilities[0]:.2%}", ", ".join(lines[1:]), mark)
        for each, lines, mark in zip(predictions, answers, marks, strict=True)
    ]
    used = [column for column in range(5) if column < 3 or any(row[column] for row in rows)]
    stacked = [
        ("\n ".join([each.file, *lines, *filter(None, [mark])]),)
        for each, lines, mark in zip(predictions, answers, marks, strict=True)
    ]
    return (
        ([headings[column] for column in used], [tuple(row[column] for column in used) for row in rows]),
        (["~File\n prediction"], stacked),
    )
