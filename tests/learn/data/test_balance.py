import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hyseg_cli.learn.data.chip import Chip
from hyseg_cli.learn.data.chips import Augmentation, TrainingChips
from hyseg_cli.learn.data.statistics import (
    CELL_PX,
    MAX_RATIO,
    Places,
    class_weights,
    occurrence,
)
from hyseg_models import HySegOutput, segmentation_loss


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 200), width=st.integers(1, 200), seed=st.integers(0, 99))
def test_a_class_occurs_in_a_cell_if_one_of_its_pixels_does(height, width, seed):
    rng = np.random.default_rng(seed)
    labels = np.full((height, width), 255, np.uint8)
    for channel in (0, 2):
        row, col = rng.integers(height), rng.integers(width)
        labels[row : row + 3, col : col + 3] = channel
    found = occurrence(labels, 3)
    assert found.shape == (3, -(-height // CELL_PX), -(-width // CELL_PX))
    for channel, row, col in np.ndindex(found.shape):
        cell = labels[row * CELL_PX : (row + 1) * CELL_PX, col * CELL_PX : (col + 1) * CELL_PX]
        assert found[channel, row, col] == (cell == channel).any()


def test_weights_by_hand():
    assert class_weights((100, 100), "none") is None
    # 90 and 10 pixels: weights in the ratio 1 to 9 (1 to 3), one on average over the pixels.
    inverse = class_weights((90, 10, 0), "inverse")
    np.testing.assert_allclose(inverse, (100 / 180, 900 / 180, 1.0))
    root = class_weights((90, 10), "sqrt")
    np.testing.assert_allclose(root, np.array((1.0, 3.0)) * 100 / 120)


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=8).filter(any))
def test_weights_are_one_on_average_and_bounded(labelled):
    for weighting in ("sqrt", "inverse"):
        weights, counts = np.array(class_weights(labelled, weighting)), np.array(labelled)
        assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
        present = weights[counts > 0]
        assert present.max() / present.min() <= MAX_RATIO * (1 + 1e-9)


def test_the_weighted_loss_is_the_weighted_mean_over_the_pixels():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    labels[:, :2] = 255
    output = HySegOutput(logits=logits, aux=None, prior=None)
    weights = torch.tensor([0.5, 1.0, 4.0])
    difference = segmentation_loss(output, labels, weights=weights) - segmentation_loss(
        output, labels
    )
    expected = [
        F.cross_entropy(logits, labels, weight=w, ignore_index=255, label_smoothing=0.05)
        for w in (weights, None)
    ]
    torch.testing.assert_close(difference, expected[0] - expected[1])
    nothing = torch.full_like(labels, 255)
    assert segmentation_loss(output, nothing, weights=weights) == 0


class Rare:
    """A scene of one class, with another in one corner of 20 x 20 pixels."""

    height, width, name, dtype, bands = 1000, 1500, "rare", "uint8", 3

    def __init__(self, *, has_it):
        self.labels = np.zeros((self.height, self.width), np.uint8)
        if has_it:
            self.labels[-20:, -20:] = 1

    def read(self, window):
        rows, cols = window.slices
        labels = self.labels[rows, cols]
        return Chip(np.zeros((3, *labels.shape), np.uint8), np.ones(labels.shape, bool), labels)


def test_a_rare_class_is_in_its_share_of_the_chips():
    scenes = [Rare(has_it=False), Rare(has_it=True)]
    places = Places.of([occurrence(scene.labels, 3) for scene in scenes])
    assert places.channels == (0, 1)
    plain = Augmentation(scale=(1.0, 1.0), color=False, collar=0.0)
    shares = []
    for given_places in (None, places):
        chips = TrainingChips(
            scenes, size=64, count=200, seed=0, augmentation=plain, places=given_places
        )
        shares.append(np.mean([bool((chip["labels"] == 1).any()) for chip in chips]))
    # A quarter: half of the chips are drawn by class, and there are two classes.
    assert shares[0] < 0.15
    assert 0.2 < shares[1] < 0.45
