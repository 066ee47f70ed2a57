"""Drawn figures are centred as MNIST's makers did, and dark ones on light are told from light ones on dark."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cnnzoo.analysis.predict.drawings import BOX, FIELD, crop_to_ink, is_dark_on_light


@st.composite
def sheets(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """A sheet of noisy paper, ``(1, H, W)``, with a figure light on dark, and the figure's longer side."""
    height, width = draw(st.integers(60, 200)), draw(st.integers(60, 200))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    paper, ink = draw(st.integers(0, 60)), draw(st.integers(150, 255))
    sheet = paper + rng.integers(0, 8, (height, width))
    rows, columns = draw(st.integers(height // 4, height // 2)), draw(st.integers(width // 4, width // 2))
    top, left = draw(st.integers(8, height - rows - 8)), draw(st.integers(8, width - columns - 8))
    figure = sheet[top : top + rows, left : left + columns]
    figure[: max(2, rows // 4)] = ink  # a T without its right arm, or the like
    figure[:, : max(2, columns // 3)] = ink
    return sheet.astype(np.uint8)[None], max(rows, columns)


@given(sheets())
def test_a_figure_fills_the_box_and_its_centre_of_mass_is_in_the_middle(
    sheet: tuple[np.ndarray, int],
) -> None:
    pixels, longer_side = sheet
    field = crop_to_ink(pixels)[0].astype(float)
    assert field.shape == (round(longer_side * FIELD / BOX),) * 2
    figure = np.where(field > 127, field, 0)
    middles = np.arange(len(field)) + 0.5
    for axis in (0, 1):
        centre = figure.sum(axis) @ middles / figure.sum()
        assert abs(centre - len(field) / 2) <= 1
    assert field.max() == 255


@given(st.integers(0, 255), st.integers(1, 40), st.integers(1, 40))
def test_a_sheet_without_a_figure_stays_as_it_is(shade: int, height: int, width: int) -> None:
    sheet = np.full((1, height, width), shade, dtype=np.uint8)
    assert np.array_equal(crop_to_ink(sheet), sheet)
    assert not is_dark_on_light(sheet)


@given(sheets())
def test_a_figure_and_its_negative_are_told_apart(sheet: tuple[np.ndarray, int]) -> None:
    pixels, _ = sheet
    assert not is_dark_on_light(pixels)
    assert is_dark_on_light(255 - pixels)
