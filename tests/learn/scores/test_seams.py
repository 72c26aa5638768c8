import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hyseg_cli.geo.tiling.grid import TileGrid
from hyseg_cli.learn.scores.evaluation import PatchGrid
from hyseg_cli.learn.scores.seams import SeamScores, TileLines, count_changes

channels = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
    elements=st.sampled_from([0, 1, 255]),
)


def test_without_overlap_a_line_runs_where_each_tile_but_the_first_begins():
    lines = TileLines.of(TileGrid.cover(200, 130, tile=64, overlap=0))
    assert np.flatnonzero(lines.rows).tolist() == [64, 128, 192]
    assert np.flatnonzero(lines.cols).tolist() == [64, 128]


def test_with_overlap_lines_run_where_a_tile_begins_takes_over_and_is_alone():
    lines = TileLines.of(TileGrid.cover(160, 64, tile=96, overlap=32))
    # The second tile begins at 64, an eighth of the overlap trimmed on both sides.
    assert np.flatnonzero(lines.rows).tolist() == [68, 80, 92]
    assert not lines.cols.any()


def test_lines_follow_the_phase_of_the_grid():
    lines = TileLines.of(TileGrid.cover(128, 128, tile=64, overlap=0, phase=(10, 32)))
    assert np.flatnonzero(lines.rows).tolist() == [54, 118]
    assert np.flatnonzero(lines.cols).tolist() == [64]  # 32 is a phase of zero


def test_changes_counted_by_hand():
    raster = np.array([[0, 0, 1, 1], [0, 1, 1, 255], [1, 1, 0, 0]], np.uint8)
    lines = TileLines(rows=np.array([False, False, True]), cols=np.array([False] * 2 + [True] * 2))
    window = next(iter(PatchGrid.cover(3, 4, side=64, rim=1)))
    counts = count_changes(raster, window.inner, window.window, lines)
    # Across the row line: 0|1, 1|1, 1|0 are known, two change. Across the column lines:
    # 0|1, 1|1 | 1|1, - | 1|0, 0|0: five known, two change.
    # Elsewhere: rows 0 and 1: 0|0, 0|1, 1|1: one of three; column 1: 0|0, 0|1, 1|1: one of three.
    assert counts.tolist() == [4, 8, 2, 6]


@settings(deadline=None)
@given(raster=channels, side=st.integers(1, 7), data=st.data())
def test_patches_with_a_rim_of_one_count_every_pair_once(raster, side, data):
    height, width = raster.shape
    lines = TileLines(
        data.draw(hnp.arrays(np.bool_, height)), data.draw(hnp.arrays(np.bool_, width))
    )
    whole = PatchGrid.cover(height, width, side=10_000, rim=1)
    cut = PatchGrid.cover(height, width, side=side, rim=1)

    def total(patches):
        return sum(
            count_changes(raster[patch.read.slices], patch.inner, patch.window, lines)
            for patch in patches
        )

    np.testing.assert_array_equal(total(cut), total(whole))


def test_a_map_without_lines_has_no_score():
    assert SeamScores.of(np.array([[0, 0, 5, 100]])) is None


def test_lines_like_elsewhere_have_a_ratio_around_one():
    rng = np.random.default_rng(0)
    pairs = np.full(300, 1000)
    blocks = np.column_stack([rng.binomial(pairs, 0.1), pairs, rng.binomial(pairs, 0.1), pairs])
    scores = SeamScores.of(blocks)
    assert scores.interval.low < 1 < scores.interval.high
    assert scores.ratio == pytest.approx(1, abs=0.05)
    assert scores.pairs == 300_000
