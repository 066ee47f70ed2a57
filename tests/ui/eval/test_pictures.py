"""Pictures of an evaluation: what is in them, at few and at many classes, and whatever the classes are called."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnzoo.analysis.eval.evaluation import EvaluationResult, evaluate
from cnnzoo.ui.eval.pictures import plot_calibration, plot_confusion, plot_errors, surest_mistakes
from cnnzoo.ui.style import save_figure
from tests.helpers import quick, train

NAMES = ("猫", "<script>", "$x^2$", "a rather long name of a class of images", "e", "f")


@pytest.fixture(scope="module", params=[6, 100])
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EvaluationResult:
    """A net that has hardly learned to tell greys apart."""
    folder = tmp_path_factory.mktemp("pictures")
    num = request.param
    assert isinstance(num, int)
    names = NAMES if num == 6 else tuple(f"class {label}" for label in range(num))
    for label, name in enumerate(names):
        for part, each in (("train", 3), ("test", 2)):
            for number in range(each):
                path = folder / "images" / part / name.replace("/", "-") / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                grey = 2 * label + number + (7 if part == "test" else 0)
                Image.new("L", (28, 28), grey % 256).save(path)
    run = train(quick(folder, dataset=f"folder:{folder / 'images'}", limit_train=None, epochs=1)).run
    return evaluate(run / "best.pt", save=False)


def test_the_confusion_matrix_shows_each_count_or_each_share(
    result: EvaluationResult, tmp_path: Path
) -> None:
    figure = plot_confusion(result)
    axes = figure.axes[0]
    shown = np.asarray(axes.images[0].get_array())
    counts = np.array(result.confusion)
    np.testing.assert_allclose(shown, counts / counts.sum(1, keepdims=True))
    texts = [text.get_text().partition("\n")[0] for text in axes.texts]
    assert texts == ([str(count) for count in counts.flatten() if count] if len(counts) <= 20 else [])
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == [
        row.name[:24] for row in result.classes[:2]
    ]
    assert f"{result.accuracy:.2%}" in axes.get_title()
    save_figure(figure, tmp_path / "a.svg")


def test_the_surest_mistakes_are_shown_with_their_images(result: EvaluationResult) -> None:
    predictions = result.predictions
    mistakes = surest_mistakes(predictions, 5)
    wrong = int((predictions.logits.argmax(1) != predictions.labels).sum())
    assert len(mistakes) == min(5, wrong)
    assert [share for _, _, share in mistakes] == sorted((share for *_, share in mistakes), reverse=True)
    figure = plot_errors(result, most=5)
    drawn = [axes for axes in figure.axes if axes.images]
    files = predictions.images.source.files
    assert files is not None
    for axes, (index, guess, share) in zip(drawn, mistakes, strict=True):
        assert int(predictions.labels[index]) != guess
        assert f"{share:.1%}" in axes.get_title()
        grey = np.asarray(Image.open(files[index]))[0, 0]
        assert np.asarray(axes.images[0].get_array()).flatten()[0] == grey


def test_the_reliability_diagram_has_a_bar_for_each_bin(result: EvaluationResult, tmp_path: Path) -> None:
    figure = plot_calibration(result)
    upper, lower = figure.axes
    assert sum(bar.get_height() for bar in lower.patches) == pytest.approx(1)  # type: ignore[attr-defined]
    assert len(upper.patches) == len(lower.patches)
    assert f"{result.calibration_error:.2%}" in upper.get_title()
    save_figure(figure, tmp_path / "a.pdf")
