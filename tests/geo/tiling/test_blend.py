import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyseg_cli.geo.tiling.blend import TRIM_SHARE, blend_weights
from hyseg_cli.geo.tiling.grid import Span


@given(
    size=st.integers(1, 900),
    tile=st.sampled_from([64, 128, 256]),
    share=st.sampled_from([0, 1, 2]),
    phase=st.integers(0, 10**6),
)
def test_weights_of_all_tiles_sum_to_one_at_every_pixel(size, tile, share, phase):
    span = Span.cover(size, tile=tile, overlap=tile // 4 // 32 * 32 * share, phase=phase)
    weights = blend_weights(span)
    total = np.zeros(span.starts[-1] + span.length - span.first)
    for start, weight in zip(span.starts, weights, strict=True):
        total[start - span.first : start - span.first + span.length] += weight
    np.testing.assert_allclose(total, 1.0, atol=1e-6)


def test_weights_lie_between_zero_and_one():
    weights = blend_weights(Span.cover(1000, tile=256, overlap=64, phase=0))
    assert weights.min() == 0.0
    assert weights.max() == 1.0


def test_the_outer_eighth_of_an_overlap_has_no_weight():
    span = Span.cover(1000, tile=256, overlap=64, phase=0)
    weights = blend_weights(span)
    assert (weights[1][: 64 // TRIM_SHARE] == 0).all()
    assert (weights[0][-64 // TRIM_SHARE :] == 0).all()
    assert weights[1][64 // TRIM_SHARE] > 0


def test_weights_fall_monotonically_across_the_overlap():
    weights = blend_weights(Span.cover(1000, tile=256, overlap=128, phase=0))
    assert (np.diff(weights[0][-128:]) <= 0).all()
    assert (np.diff(weights[1][:128]) >= 0).all()


@pytest.mark.parametrize("size", [1, 200])
def test_a_lone_tile_counts_fully(size):
    assert (blend_weights(Span.cover(size, tile=256, overlap=64, phase=0)) == 1).all()
