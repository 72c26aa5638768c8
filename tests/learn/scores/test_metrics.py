import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchmetrics import classification

from hyseg_cli.learn.scores.metrics import ConfusionMatrix

channels = hnp.arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2, 255]))


def count(reference, mapped, classes=3):
    matrix = ConfusionMatrix(classes)
    matrix.update(np.asarray(reference, np.uint8), np.asarray(mapped, np.uint8))
    return matrix


def test_a_3_by_3_map_counted_by_hand():
    matrix = count([[0, 0, 1], [1, 1, 2], [2, 255, 0]], [[0, 1, 1], [1, 1, 0], [2, 2, 255]])
    assert matrix.counts.tolist() == [[1, 1, 0], [0, 3, 0], [1, 0, 1]]
    scores = matrix.scores()
    np.testing.assert_allclose(scores.iou, [1 / 3, 3 / 4, 1 / 2])
    np.testing.assert_allclose(scores.f1, [1 / 2, 6 / 7, 2 / 3])
    np.testing.assert_allclose(scores.precision, [1 / 2, 3 / 4, 1])
    np.testing.assert_allclose(scores.recall, [1 / 2, 1, 1 / 2])
    assert scores.overall_accuracy == pytest.approx(5 / 7)
    assert scores.mean_iou == pytest.approx((1 / 3 + 3 / 4 + 1 / 2) / 3)
    assert scores.pixels == 7


def test_disagreement_and_chance_counted_by_hand():
    # Reference 5 of class 0 and 4 of class 1; the map has 4 and 5; 6 of 9 agree.
    scores = count([0, 0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0, 1, 1, 1], 2).scores()
    assert scores.quantity_disagreement == pytest.approx(1 / 9)
    assert scores.allocation_disagreement == pytest.approx(2 / 9)
    by_chance = (5 * 4 + 4 * 5) / 81
    assert scores.kappa == pytest.approx((6 / 9 - by_chance) / (1 - by_chance))
    assert scores.frequency_weighted_iou == pytest.approx(5 / 9 * 3 / 6 + 4 / 9 * 3 / 6)


def test_a_class_left_out_of_the_means_still_counts_in_accuracy():
    matrix = count([0, 0, 1, 2], [0, 0, 2, 2])
    assert matrix.scores().mean_iou == pytest.approx((1 + 0 + 0.5) / 3)
    assert matrix.scores(excluded=(1,)).mean_iou == pytest.approx((1 + 0.5) / 2)
    assert matrix.scores(excluded=(1,)).overall_accuracy == pytest.approx(3 / 4)


@settings(deadline=None)
@given(reference=channels, mapped=channels)
def test_scores_are_those_of_torchmetrics(reference, mapped):
    known = (reference != 255) & (mapped != 255)
    scores = count(reference, mapped).scores()
    if not known.any():
        return
    target, found = (torch.from_numpy(x[known].astype(int)) for x in (reference, mapped))
    for name, ours in (
        ("JaccardIndex", scores.iou),
        ("F1Score", scores.f1),
        ("Precision", scores.precision),
        ("Recall", scores.recall),
    ):
        metric = getattr(classification, f"Multiclass{name}")(3, average="none")
        theirs = metric(found, target).numpy()
        exists = ~np.isnan(ours)  # theirs is 0 where a class does not occur
        np.testing.assert_allclose(theirs[exists], ours[exists], rtol=1e-6)
    accuracy = classification.MulticlassAccuracy(3, average="micro")(found, target)
    assert scores.overall_accuracy == pytest.approx(float(accuracy), rel=1e-6)
    if not math.isnan(scores.kappa):
        kappa = classification.MulticlassCohenKappa(3)(found, target)
        assert scores.kappa == pytest.approx(float(kappa), rel=1e-5, abs=1e-6)


@settings(deadline=None)
@given(reference=channels, mapped=channels)
def test_both_disagreements_make_up_the_error(reference, mapped):
    scores = count(reference, mapped).scores()
    if scores.pixels:
        both = scores.quantity_disagreement + scores.allocation_disagreement
        assert both == pytest.approx(1 - scores.overall_accuracy)


def test_an_absent_class_is_neither_right_nor_wrong():
    scores = count([0, 0], [0, 0]).scores()
    assert math.isnan(scores.iou[1])
    assert scores.mean_iou == 1.0


def test_nothing_compared_is_no_score():
    scores = count([255], [0]).scores()
    assert math.isnan(scores.mean_iou)
    assert math.isnan(scores.overall_accuracy)


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(channels, channels), min_size=1, max_size=4))
def test_windows_may_come_in_any_order(pairs):
    forwards, backwards = ConfusionMatrix(3), ConfusionMatrix(3)
    for reference, mapped in pairs:
        forwards.update(reference, mapped)
    for reference, mapped in reversed(pairs):
        backwards.update(reference, mapped)
    assert (forwards.counts == backwards.counts).all()


@settings(deadline=None)
@given(reference=channels, mapped=channels)
def test_scores_lie_between_zero_and_one(reference, mapped):
    scores = count(reference, mapped).scores()
    for values in (scores.iou, scores.f1, scores.precision, scores.recall):
        known = values[~np.isnan(values)]
        assert ((known >= 0) & (known <= 1)).all()


@settings(deadline=None)
@given(reference=channels, mapped=channels)
def test_iou_is_that_of_sets(reference, mapped):
    known = (reference != 255) & (mapped != 255)
    iou = count(reference, mapped).scores().iou
    for channel in range(3):
        one, other = (reference == channel) & known, (mapped == channel) & known
        if (one | other).any():
            assert iou[channel] == pytest.approx((one & other).sum() / (one | other).sum())
