"""Units cover every pixel once, wherever a scene is cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hyseg_cli.geo.tiling.blocks import block_runs, cut_blocks, share_of, whole_scene
from hyseg_cli.geo.tiling.grid import TileGrid
from hyseg_cli.geo.window import Window


@st.composite
def grids(draw):
    tile = 32 * draw(st.integers(2, 5))
    overlap = 32 * draw(st.integers(0, tile // 64))
    height, width = draw(st.integers(1, 700)), draw(st.integers(1, 700))
    phase = draw(st.integers(0, 31)), draw(st.integers(0, 31))
    return TileGrid.cover(height, width, tile=tile, overlap=overlap, phase=phase)


@settings(max_examples=200, deadline=None)
@given(grids(), st.integers(1, 6), st.integers(1, 200_000), st.data())
def test_units_cover_a_window_exactly_once(grid, columns, pixels, data):
    height, width = grid.rows.size, grid.cols.size
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    within = Window(
        row,
        col,
        data.draw(st.integers(1, height - row)),
        data.draw(st.integers(1, width - col)),
    )
    seen = np.zeros((height, width), int)
    blocks = cut_blocks(grid, within, columns, pixels=pixels)
    for block in blocks:
        seen[block.window.slices] += 1
        assert len(block.tile_cols) <= columns
        assert block.window.intersection(within) is not None
    assert seen.max() == 1
    assert (seen[within.slices] == 1).all()
    assert len({block.name for block in blocks}) == len(blocks)


@settings(max_examples=100, deadline=None)
@given(grids(), st.integers(1, 6), st.integers(1, 200_000), st.integers(1, 9))
def test_parts_are_neighbours_and_leave_nothing_out(grid, columns, pixels, parts):
    window = Window(0, 0, grid.rows.size, grid.cols.size)
    blocks = cut_blocks(grid, window, columns, pixels=pixels)
    shares = [share_of(blocks, part, parts) for part in range(1, parts + 1)]
    assert sum(shares, ()) == blocks
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    for share in shares:
        found = tuple(block for block_run in block_runs(share) for block in block_run.blocks)
        assert found == share


def test_a_run_of_blocks_runs_the_tiles_that_reach_into_it():
    grid = TileGrid.cover(1000, 1000, tile=128, overlap=32)
    blocks = cut_blocks(grid, Window(200, 300, 300, 200), 3)
    for block_run in block_runs(blocks):
        window = block_run.window
        tiles = [
            (tile_row, column)
            for tile_row, row in enumerate(grid.rows.starts)
            for column, col in enumerate(grid.cols.starts)
            if window.intersection(Window(row, col, 128, 128)) is not None
        ]
        run = {
            (tile_row, column) for tile_row in block_run.tile_rows for column in block_run.tile_cols
        }
        assert set(tiles) <= run


def test_a_gap_parts_two_runs_of_blocks():
    grid = TileGrid.cover(4000, 100, tile=128, overlap=32)
    blocks = cut_blocks(grid, Window(0, 0, 4000, 100), 9, pixels=10_000)
    assert len(list(block_runs(blocks))) == 1
    assert len(list(block_runs(blocks[:3] + blocks[4:]))) == 2


def test_parts_share_many_scenes_of_one_unit_evenly():
    """Without turning, the last part would get them all."""
    block = whole_scene(TileGrid.cover(64, 64, tile=64, overlap=32)).blocks
    shares = [
        sum(len(share_of(block, part, 4, turn=turn)) for turn in range(100)) for part in range(1, 5)
    ]
    assert shares == [25, 25, 25, 25]
