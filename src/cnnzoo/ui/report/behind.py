"""The images behind the confusion matrix and the mistakes, as many of them as a page has room for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from markupsafe import escape

from cnnzoo.ui.eval_pictures import pixels_of, surest_mistakes
from cnnzoo.ui.html import image_uri

if TYPE_CHECKING:
    from cnnzoo.analysis.evaluation import Predictions

THUMBNAIL = 64
"""Pixels a side, at most."""

FEW = 10
"""Images that are shown of a cell, the surest first."""

MISTAKES = 24
"""In the gallery."""


@dataclass
class Shown:
    """An image, or where there is no room for that its name.

    Attributes:
        name: Its file, or its number among the test images.
        label: Its class.
        prediction: What it was taken for.
        probability: Of that.
        address: The thumbnail; empty where there is no room.
    """

    name: str
    label: str
    prediction: str
    probability: float
    address: str = ""


@dataclass
class Cell:
    """A cell of the confusion matrix.

    Attributes:
        count: Images in it.
        share: Of the images of its class.
        label: Their class.
        prediction: What they were taken for.
        anchor: Where the images behind it are shown.
        images: Those that there is room for; of none of them, the cell is a plain number.
    """

    count: int
    share: float
    label: str
    prediction: str
    anchor: str
    images: list[Shown] = field(default_factory=list)


@dataclass(frozen=True)
class Behind:
    """What stands behind the figures.

    Attributes:
        matrix: A row for each class; None in a row where a cell is empty.
        mistakes: Those of which the net was surest.
    """

    matrix: list[list[Cell | None]]
    mistakes: list[Shown]

    @property
    def cells(self) -> list[Cell]:
        """Those that have images to show."""
        return [cell for row in self.matrix for cell in row if cell and cell.images]


def look_behind(confusion: Sequence[Sequence[int]], predictions: "Predictions", room: int) -> Behind:
    """Choose the images to show, and make thumbnails of them.

    The gallery comes first, then the surest image of each cell, mistakes before what is right and cells of many images
    before those of few, then the second of each, and so on. Thumbnails have at most half of the room, so that names
    are left for those without.

    Args:
        confusion: Images of each class, by what they were taken for.
        predictions: Of each image.
        room: Characters that all of it may have.
    """
    classes, files = predictions.classes, predictions.images.file_names
    labels = predictions.labels.tolist()
    probabilities, guesses = (values.tolist() for values in predictions.probabilities.max(1))
    matrix = [
        [
            Cell(count, count / sum(counts), classes[row], classes[column], f"cell-{row}-{column}")
            if count
            else None
            for column, count in enumerate(counts)
        ]
        for row, counts in enumerate(confusion)
    ]
    places: dict[
        int, list[Shown]
    ] = {}  # where each image is shown, in the order in which they get thumbnails

    def show(index: int) -> Shown:
        name = f"test image {index}" if files is None else files[index]
        shown = Shown(name, classes[labels[index]], classes[guesses[index]], probabilities[index])
        places.setdefault(index, []).append(shown)
        return shown

    mistakes = [show(index) for index, _, _ in surest_mistakes(predictions, MISTAKES)]
    room -= sum(_length(shown) for shown in mistakes)
    for_names = room // 2
    for index in _by_turns(labels, guesses, probabilities):
        cell = matrix[labels[index]][guesses[index]]
        assert cell is not None
        shown = show(index)
        length = _length(shown) + (0 if cell.images else _length(shown))  # the first comes with a heading
        for_names, room = for_names - length, room - length
        if for_names < 0:
            places[index].remove(shown)
            break
        cell.images.append(shown)
    for everywhere, pixels in zip(places.values(), pixels_of(predictions, list(places)), strict=True):
        address = image_uri(pixels, THUMBNAIL)
        room -= len(address) * len(everywhere)
        if room < 0:
            break
        for shown in everywhere:
            shown.address = address
    return Behind(matrix, mistakes)


def _by_turns(labels: Sequence[int], guesses: Sequence[int], probabilities: Sequence[float]) -> Iterator[int]:
    """Yield images: the surest of each cell, then the second of each; at most FEW of one."""
    members: dict[tuple[int, int], list[int]] = {}
    for index in sorted(range(len(labels)), key=lambda index: -probabilities[index]):
        members.setdefault((labels[index], guesses[index]), []).append(index)
    # Mistakes first, of many images before those of few.
    cells = sorted(members.values(), key=lambda cell: (labels[cell[0]] == guesses[cell[0]], -len(cell)))
    for rank in range(FEW):
        for cell in cells:
            if rank < len(cell):
                yield cell[rank]


def _length(shown: Shown) -> int:
    """Return how many characters of HTML an image takes without its thumbnail, at most."""
    return 220 + sum(2 * len(escape(text)) for text in (shown.name, shown.label, shown.prediction))
