"""Figures over labelled images: those that scikit-learn gives, and those counted by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from cnnzoo.analysis.eval.scores import calibration_bins, scores_of


def test_figures_per_class_count_what_was_put_where() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    predictions = torch.tensor([0, 0, 1, 1, 0, 0])
    scores = scores_of(torch.nn.functional.one_hot(predictions, 3).float(), labels, ("cat", "dog", "eel"))
    assert scores.confusion == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
    cat, dog, eel = scores.classes
    assert (cat.precision, cat.recall, cat.count) == pytest.approx((2 / 4, 2 / 3, 3))
    assert cat.f1 == pytest.approx(2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3))
    assert (dog.precision, dog.recall) == (1 / 2, 1 / 2)
    assert (eel.precision, eel.recall, eel.f1, eel.count) == (0, 0, 0, 1)
    assert [(c.label, c.prediction, c.count) for c in scores.confusions()] == [
        ("cat", "dog", 1),
        ("dog", "cat", 1),
        ("eel", "cat", 1),
    ]
    assert scores.confusions(1)[0].share == pytest.approx(1 / 3)


@given(st.integers(2, 12), st.integers(1, 60), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_they_are_what_scikit_learn_gives(num_classes: int, num: int, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(num, num_classes, generator=chance)
    labels = torch.randint(num_classes, (num,), generator=chance)
    names = tuple(map(str, range(num_classes)))
    scores = scores_of(logits, labels, names, top_k=3)
    truth, guess = labels.numpy(), logits.argmax(1).numpy()
    every = list(range(num_classes))
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(truth, guess))
    assert scores.confusion == metrics.confusion_matrix(truth, guess, labels=every).tolist()
    ours = np.array([[c.precision, c.recall, c.f1, c.count] for c in scores.classes]).T
    theirs = metrics.precision_recall_fscore_support(truth, guess, labels=every, zero_division=0)
    np.testing.assert_allclose(ours, np.array(theirs, dtype=float), atol=1e-12)
    for average, means in (("macro", scores.macro), ("weighted", scores.weighted)):
        present = sorted(set(truth.tolist()))
        expected = metrics.precision_recall_fscore_support(
            truth, guess, labels=present, average=average, zero_division=0
        )
        assert (means.precision, means.recall, means.f1) == pytest.approx(expected[:3], abs=1e-12)
    if num_classes > 3:
        expected_top = metrics.top_k_accuracy_score(truth, logits.numpy(), k=3, labels=every)
        assert scores.top_k_accuracy == pytest.approx(expected_top)
    else:
        assert scores.top_k_accuracy == 1


def test_the_calibration_error_is_the_mean_distance_of_the_bins() -> None:
    chance = torch.Generator().manual_seed(1)
    logits = 4 * torch.randn(500, 6, generator=chance)
    labels = torch.randint(6, (500,), generator=chance)
    bins = calibration_bins(logits.softmax(1), labels)
    by_hand = sum(num * abs(confidence - right) for confidence, right, num in bins) / 500
    assert scores_of(logits, labels, tuple("abcdef")).calibration_error == pytest.approx(by_hand, abs=1e-12)
    sure = torch.nn.functional.one_hot(labels, 6) * 50.0
    assert scores_of(sure, labels, tuple("abcdef")).calibration_error == pytest.approx(0, abs=1e-6)


@given(st.integers(2, 12), st.integers(1, 60), st.integers(0, 2**31), st.sampled_from((0.5, 4.0, 100.0)))
@settings(max_examples=40, deadline=None)
def test_the_calibration_error_is_what_a_count_image_by_image_gives(
    num_classes: int, num: int, seed: int, sureness: float
) -> None:
    chance = torch.Generator().manual_seed(seed)
    logits = sureness * torch.randn(
        num, num_classes, generator=chance
    )  # probabilities of 1, with the largest
    labels = torch.randint(num_classes, (num,), generator=chance)
    bins: dict[int, list[float]] = {}
    for probabilities, label in zip(logits.softmax(1).tolist(), labels.tolist(), strict=True):
        confidence = max(probabilities)
        hit = probabilities.index(confidence) == label
        bins.setdefault(min(int(confidence * 15), 14), []).append(confidence - hit)
    expected = sum(abs(sum(differences)) for differences in bins.values()) / num
    error = scores_of(logits, labels, tuple(map(str, range(num_classes)))).calibration_error
    assert error == pytest.approx(expected, abs=1e-12)


def test_a_bin_begins_with_its_lower_end_and_the_last_one_has_its_upper_end_too() -> None:
    ends = torch.tensor([5 / 15, 6 / 15, 14 / 15, 1.0])
    bins = calibration_bins(
        torch.stack([ends, (1 - ends) / 4, (1 - ends) / 4], 1), torch.tensor([0, 1, 0, 0])
    )
    assert [num for _, _, num in bins] == [1, 1, 2]
    assert [right for _, right, _ in bins] == [1, 0, 1]
    assert [sure for sure, _, _ in bins] == pytest.approx([5 / 15, 6 / 15, 29 / 30])


def test_figures_are_plain_numbers() -> None:
    scores = scores_of(torch.eye(3), torch.tensor([0, 1, 1]), ("cat", "dog", "eel"))
    cat = scores.classes[0]
    figures = scores.accuracy, scores.calibration_error, scores.macro.f1, cat.precision, cat.recall, cat.f1
    assert {type(figure) for figure in figures} == {float}
    assert {type(count) for row in scores.confusion for count in row} == {int}
