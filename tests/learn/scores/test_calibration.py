"""Reliability against hand counts and torchmetrics; temperatures that are known are found."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from hyseg_cli.learn.scores.calibration import (
    BINS,
    PixelSample,
    ReliabilityCounts,
    fit_temperature,
)


def quantised(probabilities):
    return np.round(probabilities * 254).astype(np.uint8)


def random_case(classes=4, pixels=50_000, temperature=1.0, spread=1.5, seed=0):
    """Levels of a softmax, and outcomes of the same logits over a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (classes, pixels))
    shown, true = (np.exp(z) / np.exp(z).sum(axis=0) for z in (logits, logits / temperature))
    reference = (rng.random(pixels) > true.cumsum(axis=0)).sum(axis=0).clip(max=classes - 1)
    return quantised(shown), reference.astype(np.uint8)


def count(levels, reference):
    counts = ReliabilityCounts()
    counts.update(levels, reference)
    return counts.reliability()


def test_four_pixels_counted_by_hand():
    # Confidences 1, 1, 0.5 and 127/254 = 0.5; the second and the third are wrong.
    levels = np.array([[254, 0, 127, 64], [0, 254, 63, 127], [0, 0, 64, 63]], np.uint8)
    found = count(levels, np.array([0, 0, 1, 1], np.uint8))
    by_confidence = {b.high: b for b in found.bins if b.pixels}
    assert sorted(by_confidence) == [8 / 15, 1.0]
    assert by_confidence[1.0].pixels == 2
    assert by_confidence[1.0].confidence == 1.0
    assert by_confidence[1.0].accuracy == 0.5
    assert by_confidence[8 / 15].confidence == pytest.approx(0.5)
    assert by_confidence[8 / 15].accuracy == 0.5
    assert found.ece == pytest.approx(2 / 4 * 0.5 + 2 / 4 * 0.0)
    # (p - y)^2: 0, 2, and twice squares of levels over 254.
    third = (127**2 + (254 - 63) ** 2 + 64**2) / 254**2
    fourth = (64**2 + (254 - 127) ** 2 + 63**2) / 254**2
    assert found.brier == pytest.approx((0 + 2 + third + fourth) / 4)
    assert found.saturated == 0.5
    assert math.isnan(found.bins[0].accuracy)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_calibration_error_is_that_of_torchmetrics(temperature):
    levels, reference = random_case(temperature=temperature)
    # torchmetrics sums in single precision, and gives confidences of exactly 1 a bin of their own.
    below_one = levels.max(axis=0) < 254
    levels, reference = levels[:, below_one], reference[below_one]
    metric = MulticlassCalibrationError(num_classes=4, n_bins=BINS, norm="l1")
    expected = metric(
        torch.from_numpy(levels.T.astype(np.float64) / 254), torch.from_numpy(reference).long()
    )
    assert count(levels, reference).ece == pytest.approx(float(expected), abs=1e-5)


def test_windows_may_come_in_any_order():
    levels, reference = random_case(pixels=1_000)
    parts = [slice(0, 300), slice(300, 301), slice(301, 1_000)]
    forwards, backwards = ReliabilityCounts(), ReliabilityCounts()
    for part in parts:
        forwards.update(levels[:, part], reference[part])
    for part in reversed(parts):
        backwards.update(levels[:, part], reference[part])
    # As text: empty bins hold NaN.
    assert repr(forwards.reliability()) == repr(backwards.reliability())
    assert repr(forwards.reliability()) == repr(count(levels, reference))


def test_the_brier_score_is_that_of_its_definition():
    levels, reference = random_case(pixels=500)
    truth = np.eye(4)[reference].T
    expected = ((levels / 254 - truth) ** 2).sum(axis=0).mean()
    assert count(levels, reference).brier == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7, 3.0])
def test_a_known_temperature_is_found(temperature):
    levels, reference = random_case(temperature=temperature, seed=2)
    found = fit_temperature(levels, reference)
    assert found.value == pytest.approx(temperature, rel=0.03)
    assert found.log_loss <= found.log_loss_before
    assert found.ece < 0.01
    if temperature != 1.0:
        assert found.ece < found.ece_before / 3


def test_the_temperature_is_where_the_log_loss_is_least():
    levels, reference = random_case(temperature=2.0, pixels=2_000)
    found = fit_temperature(levels, reference)
    logits = torch.log(torch.from_numpy(levels.T.astype(np.float64)).clamp(min=0.5))
    losses = {
        t: torch.nn.functional.cross_entropy(logits / t, torch.from_numpy(reference).long())
        for t in (found.value * 0.99, found.value, found.value * 1.01)
    }
    assert min(losses, key=losses.get) == found.value
    assert float(losses[found.value]) == pytest.approx(found.log_loss)


def test_the_sample_does_not_depend_on_the_windows():
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 255, (3, 40, 30), dtype=np.uint8)
    reference = rng.integers(0, 3, (40, 30), dtype=np.uint8)
    usable = rng.random((40, 30)) < 0.7
    taken = []
    for step in (1, 7, 40):
        sample = PixelSample(100)
        for row in range(0, 40, step):
            rows = slice(row, row + step)
            sample.update(row, levels[:, rows], reference[rows], usable[rows])
        taken.append(sample.take())
    for found in taken[1:]:
        np.testing.assert_array_equal(found[0], taken[0][0])
        np.testing.assert_array_equal(found[1], taken[0][1])
    assert taken[0][0].shape == (3, 100)


def test_each_pixel_is_sampled_as_often_as_any():
    hits = np.zeros(60)
    values = np.arange(60, dtype=np.uint8).reshape(6, 10)
    for seed in range(500):
        sample = PixelSample(12, seed=seed)
        for row in range(6):
            line = slice(row, row + 1)
            sample.update(row, values[None, line], values[line], np.ones((1, 10), bool))
        hits[sample.take()[1]] += 1
    # Five standard errors of a count with a chance of a fifth.
    assert abs(hits - 100).max() < 5 * math.sqrt(500 * 0.2 * 0.8)


def test_few_pixels_are_all_taken():
    sample = PixelSample(100)
    levels = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    sample.update(0, levels, levels[0], levels[0] % 2 == 0)
    assert sorted(sample.take()[1].tolist()) == [0, 2, 4, 6, 8, 10]


def curve_by_hand(confidence, is_right):
    """Mean risk over all coverages, each pixel one step; ties in the order they come."""
    order = np.argsort(-confidence, kind="stable")
    return np.cumsum(~is_right[order]) / np.arange(1, len(order) + 1)


def test_risk_over_coverage_is_that_of_pixels_sorted_one_by_one():
    levels, reference = random_case(pixels=20_000, temperature=2.0)
    found = count(levels, reference).certainty
    confidence, is_right = levels.max(axis=0).astype(int), levels.argmax(axis=0) == reference
    curves = []
    for seed in range(20):  # ties in random order
        order = np.random.default_rng(seed).permutation(len(reference))
        curves.append(curve_by_hand(confidence[order], is_right[order]))
    curve = np.mean(curves, axis=0)
    assert found.aurc == pytest.approx(curve.mean(), abs=1e-3)
    for share, risk in found.risk.items():
        assert risk == pytest.approx(curve[round(share * len(curve)) - 1], abs=2e-3)
    assert found.risk[1.0] == pytest.approx(1 - is_right.mean())
    best = curve_by_hand(is_right.astype(float), is_right)
    assert found.ideal == pytest.approx(best.mean(), abs=1e-3)
    assert found.ideal < found.aurc < found.risk[1.0]


@pytest.mark.parametrize("share_wrong", [0.0, 1.0])
def test_maps_that_are_all_right_or_all_wrong_have_a_curve(share_wrong):
    levels = np.array([[254, 200, 200], [0, 54, 54]], np.uint8)
    found = count(levels, np.full(3, int(share_wrong), np.uint8)).certainty
    assert found.aurc == found.ideal == share_wrong
