from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.tiling.grid import ALIGNMENT, TileGrid
from hyseg_cli.geo.window import Window

sizes = st.integers(1, 400)
phases = st.tuples(st.integers(-1000, 10**7), st.integers(-1000, 10**7))


@st.composite
def grids(draw):
    tile = draw(st.sampled_from([64, 96, 128]))
    overlap = draw(st.sampled_from([o for o in (0, 32, 64) if o <= tile // 2]))
    return TileGrid.cover(draw(sizes), draw(sizes), tile=tile, overlap=overlap, phase=draw(phases))


@given(grid=grids())
def test_tiles_cover_every_pixel(grid):
    for span in (grid.rows, grid.cols):
        covered = np.zeros(span.size, bool)
        for start in span.starts:
            covered[max(start, 0) : start + span.length] = True
        assert covered.all()


@given(grid=grids())
def test_no_tile_could_be_left_out(grid):
    for span in (grid.rows, grid.cols):
        assert span.starts[0] <= 0
        if len(span.starts) > 1:
            assert span.starts[-2] + span.length < span.size


@given(grid=grids())
def test_finished_rows_partition_the_scene(grid):
    finished = [row for tile_row in grid.tile_rows() for row in tile_row.finished]
    assert finished == list(range(grid.rows.size))


@given(grid=grids())
def test_finished_rows_are_not_touched_by_later_bands(grid):
    bands = list(grid.tile_rows())
    for tile_row, later in pairwise(bands):
        assert tile_row.finished.stop <= later.row


@given(grid=grids(), phase=phases)
def test_tiles_start_on_the_grid_that_noise_is_keyed_to(grid, phase):
    height, width = grid.rows.size, grid.cols.size
    moved = TileGrid.cover(height, width, tile=128, overlap=32, phase=phase)
    for span, offset in ((moved.rows, phase[0]), (moved.cols, phase[1])):
        assert span.length % ALIGNMENT == 0
        assert all((start + offset) % ALIGNMENT == 0 for start in span.starts)


def test_a_short_scene_gets_a_short_tile():
    grid = TileGrid.cover(1, 1000, tile=512, overlap=128)
    assert grid.rows.length == 32
    assert grid.cols.length == 512


@pytest.mark.parametrize(
    ("tile", "overlap", "flag"),
    [
        (100, 32, "`tile_size`"),
        (32, 0, "`tile_size`"),
        (128, 96, "`overlap`"),
        (128, 20, "`overlap`"),
    ],
)
def test_impossible_tiles_are_refused_with_a_value_that_works(tile, overlap, flag):
    with pytest.raises(UsageProblemError, match=flag) as caught:
        TileGrid.cover(500, 500, tile=tile, overlap=overlap)
    suggested = int(caught.value.hint.rstrip(".").split()[-1])
    values = {"tile": 128, "overlap": 32} | {flag.strip("`").split("_")[0]: suggested}
    TileGrid.cover(500, 500, **values)


def test_an_empty_window_cannot_be_built():
    with pytest.raises(ValueError, match="empty"):
        Window(0, 0, 0, 5)
