import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hyseg_cli.geo.raster.reflect import (
    inner_part,
    mirror_edges,
    read_reflected,
    reflected_positions,
)
from hyseg_cli.geo.window import Window


@given(size=st.integers(2, 40), before=st.integers(0, 39), after=st.integers(0, 39))
def test_reflection_is_numpys(size, before, after):
    before, after = min(before, size - 1), min(after, size - 1)
    expected = np.pad(np.arange(size), (before, after), mode="reflect")
    positions = reflected_positions(-before, before + size + after, size)
    np.testing.assert_array_equal(positions, expected)


@given(start=st.integers(-500, 500), length=st.integers(1, 300), size=st.integers(1, 20))
def test_any_window_is_filled_from_inside(start, length, size):
    positions = reflected_positions(start, length, size)
    assert len(positions) == length
    assert positions.min() >= 0
    assert positions.max() < size


@given(
    row=st.integers(-30, 30),
    col=st.integers(-30, 30),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
def test_reading_a_window_equals_indexing_the_whole(row, col, height, width):
    scene = np.arange(12 * 17).reshape(1, 12, 17)

    def read(window):
        assert window.row >= 0
        assert window.col >= 0
        return (scene[(slice(None), *window.slices)],)

    (found,) = read_reflected(read, 12, 17, Window(row, col, height, width))
    rows = reflected_positions(row, height, 12)
    cols = reflected_positions(col, width, 17)
    np.testing.assert_array_equal(found, scene[:, rows][:, :, cols])


@given(
    row=st.integers(-30, 30),
    col=st.integers(-30, 30),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
def test_edges_are_mirrored_in_place_where_nothing_else_is_needed(row, col, height, width):
    scene = np.arange(1, 12 * 17 + 1).reshape(1, 12, 17)
    expected = scene[:, reflected_positions(row, height, 12)]
    expected = expected[:, :, reflected_positions(col, width, 17)]
    inner = inner_part(12, 17, Window(row, col, height, width))
    inside = (
        np.isin(np.arange(row, row + height), range(12)),
        np.isin(np.arange(col, col + width), range(17)),
    )
    if inner is None:
        # A pixel is needed that the window does not show.
        shown = scene[:, np.arange(row, row + height)[inside[0]]]
        assert not np.isin(expected, shown[:, :, np.arange(col, col + width)[inside[1]]]).all()
        return
    array = np.zeros_like(expected)
    array[:, inner[0], inner[1]] = expected[:, inner[0], inner[1]]
    mirror_edges(array, *inner)
    np.testing.assert_array_equal(array, expected)
