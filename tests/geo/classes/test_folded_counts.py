import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hyseg_cli.geo.classes.counts import count_rows, remap

MAPS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))


@settings(deadline=None)
@given(MAPS, st.integers(0, 2**32 - 1))
def test_rows_are_counted_as_numpy_does(values, seed):
    row_areas = np.random.default_rng(seed).random(len(values))
    pixels, areas = np.ones(256, np.int64), np.ones(256)
    expected_pixels, expected_areas = pixels.copy(), areas.copy()
    for row, area in zip(values, row_areas, strict=True):
        counts = np.bincount(row, minlength=256)
        expected_pixels += counts
        expected_areas += counts * area
    count_rows(values, row_areas, pixels, areas)
    np.testing.assert_array_equal(pixels, expected_pixels)
    np.testing.assert_array_equal(areas, expected_areas)


@settings(deadline=None)
@given(MAPS, st.permutations(range(256)))
def test_values_are_exchanged_by_the_table(values, order):
    table = np.array(order, np.uint8)
    expected = table[values]
    remap(values, table)
    np.testing.assert_array_equal(values, expected)
