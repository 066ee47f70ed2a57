"""The images behind the confusion matrix and the mistakes, as many of them as a page has room for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from markupsafe import escape

from cnnzoo.ui.eval.pictures import GALLERY_SIZE, read_pixels, surest_mistakes
from cnnzoo.ui.html import image_uri

if TYPE_CHECKING:
    from cnnzoo.analysis.eval.evaluation import EvaluationResult

THUMBNAIL = 64
"""Pixels a side, at most."""

FEW = 10
"""Images that are shown of a cell, the surest first."""


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
        """Those that have images to show, confusions before what is right, the most frequent first."""
        cells = [cell for row in self.matrix for cell in row if cell and cell.images]
        return sorted(cells, key=lambda cell: (cell.label == cell.prediction, -cell.count))


def look_behind(result: "EvaluationResult", room: int, most: int | None = None) -> Behind:
    """Choose the images to show, and make thumbnails of them.

    The gallery comes first, then the surest image of each cell, mistakes before what is right and cells of many images
    before those of few, then the second of each, and so on. Names have at most half of the room, so that some is left
    for thumbnails.

    Args:
        result: How the images were told.
        room: Characters that all of it may have.
        most: How many cells have images at most, the most frequent confusions; None for all of them.
    """
    predictions = result.predictions
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
        for row, counts in enumerate(result.confusion)
    ]

    def shown(index: int) -> Shown:
        name = f"test image {index}" if files is None else files[index]
        return Shown(name, classes[labels[index]], classes[guesses[index]], probabilities[index])

    # Where each image is shown, in the order in which they get thumbnails.
    places = {index: [shown(index)] for index, _, _ in surest_mistakes(predictions, GALLERY_SIZE)}
    mistakes = [image for images in places.values() for image in images]
    room -= sum(map(_length, mistakes))
    room_for_names = room // 2
    for index in _by_turns(labels, guesses, probabilities, most):
        cell, image = matrix[labels[index]][guesses[index]], shown(index)
        assert cell is not None
        length = _length(image) * (1 if cell.images else 2)  # the first comes with a heading
        if length > room_for_names:
            break
        room_for_names, room = room_for_names - length, room - length
        cell.images.append(image)
        places.setdefault(index, []).append(image)
    for images, pixels in zip(places.values(), read_pixels(predictions, list(places)), strict=True):
        address = image_uri(pixels, THUMBNAIL)
        room -= len(address) * len(images)
        if room < 0:
            break
        for image in images:
            image.address = address
    return Behind(matrix, mistakes)


def _by_turns(
    labels: Sequence[int], guesses: Sequence[int], probabilities: Sequence[float], most: int | None
) -> Iterator[int]:
    """Yield images: the surest of each cell, then the second of each; at most FEW of one."""
    members: dict[tuple[int, int], list[int]] = {}
    for index in sorted(range(len(labels)), key=lambda index: -probabilities[index]):
        members.setdefault((labels[index], guesses[index]), []).append(index)
    # Mistakes first, of many images before those of few.
    pairs = sorted(members, key=lambda pair: (pair[0] == pair[1], -len(members[pair])))
    if most is not None:
        pairs = [pair for pair in pairs if pair[0] != pair[1]][:most]
    for rank in range(FEW):
        for pair in pairs:
            if rank < len(members[pair]):
                yield members[pair][rank]


def _length(shown: Shown) -> int:
    """Return how many characters of HTML an image takes without its thumbnail, at most."""
    return 220 + sum(2 * len(escape(text)) for text in (shown.name, shown.label, shown.prediction))
