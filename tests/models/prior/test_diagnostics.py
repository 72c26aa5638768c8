import math

import pytest
import torch

from hyseg_models.prior.diagnostics import (
    affinity_purity,
    binned_means,
    reliability,
    tile_disagreement,
)


def test_right_when_sure_and_unsure_when_guessing_is_calibrated():
    # 80 % confidence, right in 8 of 10 cells
    probabilities = torch.tensor([0.8, 0.2]).view(1, 2, 1, 1).expand(1, 2, 1, 10)
    labels = torch.tensor([0] * 8 + [1] * 2).view(1, 1, 10)
    assert reliability(probabilities, labels).calibration_error() == pytest.approx(0.0, abs=1e-6)


def test_overconfidence_is_the_gap_and_sums_over_batches():
    probabilities = torch.tensor([0.9, 0.1]).view(1, 2, 1, 1).expand(1, 2, 1, 4)
    half_right = torch.tensor([0, 0, 1, 1]).view(1, 1, 4)
    curve = reliability(probabilities, half_right) + reliability(probabilities, half_right)
    assert curve.calibration_error() == pytest.approx(0.4)
    assert curve.cells.sum() == 8


def test_unlabelled_cells_do_not_count():
    curve = reliability(torch.rand(1, 3, 2, 2).softmax(1), torch.full((1, 2, 2), 255))
    assert curve.cells.sum() == 0
    assert curve.calibration_error() == 0.0


def halves():
    labels = torch.zeros(1, 16, 16, dtype=torch.int64)
    labels[..., 8:] = 1
    return labels


def test_an_affinity_that_stays_in_its_class_is_pure():
    affinity = torch.zeros(1, 9, 16, 16)
    affinity[:, 4] = 1.0
    assert affinity_purity(affinity, halves(), 3) == 1.0


def test_a_box_filter_loses_what_crosses_the_border():
    box = torch.full((1, 9, 16, 16), 1 / 9)
    # three columns on each side count; the outermost two see only their own side,
    # rows at the rim of the map lose a third of their neighbours
    inner = [1.0, 1.0, 6 / 9]
    rim = [6 / 9, 6 / 9, 4 / 9]
    expected = (14 * sum(inner) + 2 * sum(rim)) / (16 * 3)
    assert affinity_purity(box, halves(), 3) == pytest.approx(expected)


def test_without_borders_there_is_no_purity():
    box = torch.full((1, 9, 8, 8), 1 / 9)
    assert math.isnan(affinity_purity(box, torch.zeros(1, 8, 8, dtype=torch.int64), 3))


def test_values_are_averaged_by_position():
    means = binned_means(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0.0, 0.1, 1.0]), bins=5)
    assert means[0] == 2.0
    assert means[4] == 5.0
    assert means[1:4].isnan().all()


def test_disagreement_counts_valid_cells():
    first, second = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    second[..., 0, 0] = 0.5
    second[..., 1, 1] = 99.0
    valid = torch.tensor([[True, True], [True, False]]).view(1, 1, 2, 2)
    assert tile_disagreement(first, second, valid) == pytest.approx(0.5 / 3)
