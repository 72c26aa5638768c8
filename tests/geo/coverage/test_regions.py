import numpy as np
import pytest
from geo.coverage.coverages import regions_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import label

from hyseg_cli.geo.coverage.regions import Table, find_regions
from hyseg_cli.geo.coverage.runs import ArrayRows, Labeller, paint_runs, strips

rasters = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=14),
    elements=st.sampled_from([0, 1, 2, 255]),
)


def painted(source, regions, strip_rows):
    labeller = Labeller(source.width, source.no_class)
    out = np.zeros((source.height, source.width), np.int32)
    for row, count in strips(source.height, strip_rows):
        runs = labeller.label(source.read(row, count))
        paint_runs(
            runs.offsets,
            runs.starts,
            runs.stops,
            runs.labels,
            regions.number_of_label,
            out[row : row + count],
        )
    return out


@settings(deadline=None)
@given(classes=rasters, strip_rows=st.integers(1, 5))
def test_regions_are_those_of_skimage_at_any_strip_height(classes, strip_rows):
    source, regions = regions_of(classes)
    ours = painted(source, regions, strip_rows)
    theirs = label(classes.astype(int) + 1, connectivity=1)
    theirs[classes == 255] = 0
    pairs = set(zip(ours.ravel().tolist(), theirs.ravel().tolist(), strict=True))
    assert len(pairs) == len(set(ours.ravel())) == len(set(theirs.ravel()))


@settings(deadline=None)
@given(classes=rasters)
def test_regions_are_measured(classes):
    source, regions = regions_of(classes)
    numbers = painted(source, regions, 4)
    for region in range(1, len(regions) + 1):
        rows, cols = np.nonzero(numbers == region)
        assert regions.pixels[region] == len(rows)
        assert regions.last_rows[region] == rows.max()
        assert regions.class_ids[region] == classes[rows[0], cols[0]]


def test_areas_are_those_of_the_rows(tmp_path):
    classes = np.array([[1, 1], [1, 2]], np.uint8)
    regions = find_regions(ArrayRows(classes, no_class=255), np.array([10.0, 1.0]), tmp_path)
    assert regions.areas_m2[1:].tolist() == [21.0, 1.0]


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.int64])
def test_wide_class_numbers_are_kept(dtype):
    classes = np.array([[300, 300, 7]], dtype)
    _, regions = regions_of(classes, no_class=7)
    assert regions.class_ids[1:].tolist() == [300]


def test_more_regions_than_16_bits_can_count():
    rows, cols = np.mgrid[:300, :300]
    _, regions = regions_of(((rows + cols) % 2).astype(np.uint8))
    assert len(regions) == 90000


def test_a_large_table_moves_to_disk_and_keeps_what_it_holds(tmp_path):
    table = Table((np.int32, np.float64), tmp_path, spill_bytes=2000)
    table.require(10)
    table.columns[0][:10] = range(10)
    table.columns[1][9] = 2.5
    for length in (100, 1000, 5000):
        table.require(length)
        assert len(table.columns[0]) >= length
        assert table.columns[0][:10].tolist() == list(range(10))
        assert table.columns[1][9] == 2.5
        assert not table.columns[0][10:].any()
        table.columns[0][length - 1] = 0
    assert {path.name for path in tmp_path.iterdir()} == {"column0.bin", "column1.bin"}
