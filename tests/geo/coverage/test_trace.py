import itertools

import numpy as np
import pytest
import shapely
from geo.coverage.coverages import assert_coverage, assert_proved, blobs, burn, regions_of, trace
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.features import shapes

from hyseg_cli.geo.coverage.trace import Generalisation, trace_polygons

rasters = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([0, 1, 2, 255]),
)
heights = st.sampled_from([1, 2, 3, 5, 256])


def assert_exact(classes, strip_rows=256):
    traced = trace(classes, strip_rows=strip_rows)
    assert_proved(traced)
    assert traced.proof.area_px == (classes != 255).sum()
    assert (burn(traced, classes.shape) == classes).all()
    np.testing.assert_array_equal(np.rint(shapely.area(traced.polygons)), traced.regions.pixels[1:])
    if len(traced.polygons):
        assert_coverage(traced)


@pytest.mark.slow
def test_all_3_by_3_rasters_of_three_values_become_coverages():
    for values in itertools.product([0, 1, 255], repeat=9):
        assert_exact(np.array(values, np.uint8).reshape(3, 3))


@pytest.mark.slow
def test_all_3_by_3_rasters_of_three_classes_become_smooth_coverages():
    for values in itertools.product([0, 1, 2], repeat=9):
        assert_coverage(trace(np.array(values, np.uint8).reshape(3, 3), smooth=True))


@settings(deadline=None, max_examples=200)
@given(classes=rasters, strip_rows=heights)
def test_random_rasters_become_coverages_and_back_at_any_strip_height(classes, strip_rows):
    assert_exact(classes, strip_rows)


@settings(deadline=None)
@given(classes=rasters, strip_rows=heights)
def test_the_strip_height_changes_nothing_in_exact_mode(classes, strip_rows):
    one, other = trace(classes), trace(classes, strip_rows=strip_rows)
    assert shapely.equals_exact(
        shapely.normalize(one.polygons), shapely.normalize(other.polygons)
    ).all()


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    roughness=st.floats(0.5, 3),
    strip_rows=heights,
    smooth=st.booleans(),
    tolerance=st.sampled_from([0.0, 0.7, 1.5, 4.0, 20.0]),
)
def test_generalised_coverages_are_valid_at_any_strip_height(
    seed, roughness, strip_rows, smooth, tolerance
):
    classes = blobs(40, 33, seed=seed, roughness=roughness)
    traced = trace(classes, smooth=smooth, tolerance=tolerance, strip_rows=strip_rows)
    if len(traced.polygons):
        assert_coverage(traced)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(
    "classes",
    [
        np.zeros((1, 1), np.uint8),
        np.zeros((30, 20), np.uint8),
        np.arange(9, dtype=np.uint8)[None] % 3,
        np.arange(9, dtype=np.uint8)[:, None] % 3,
        np.indices((20, 20)).sum(axis=0).astype(np.uint8) % 2,
        np.pad(np.pad(np.pad(np.ones((1, 1)), 2), 2, constant_values=2), 2).astype(np.uint8),
    ],
    ids=["one pixel", "one class", "one row", "one column", "checkerboard", "nested islands"],
)
def test_odd_rasters_become_coverages(classes, smooth):
    assert_coverage(trace(classes, smooth=smooth))


def spiral(turns):
    side = 4 * turns
    classes = np.zeros((side, side), np.uint8)
    row, col, length = 1, 0, side - 2
    steps = itertools.cycle([(0, 1), (1, 0), (0, -1), (-1, 0)])
    while length > 0:
        for _ in range(2):
            down, right = next(steps)
            for _ in range(length):
                if 0 <= row < side and 0 <= col < side:
                    classes[row, col] = 1
                row, col = row + down, col + right
        length -= 2
    return classes


@pytest.mark.parametrize("smooth", [False, True])
def test_a_spiral_becomes_a_coverage(smooth):
    assert_coverage(trace(spiral(6), smooth=smooth, strip_rows=5))


def test_nothing_but_nodata_gives_no_polygon():
    assert len(trace(np.full((5, 5), 255, np.uint8)).polygons) == 0


def test_the_polygons_are_gdals_with_the_vertices_it_lacks():
    classes = blobs(60, 50)
    found = list(shapes(classes, mask=classes != 255, connectivity=4))
    gdal = np.array([shapely.geometry.shape(geometry) for geometry, _ in found])
    ours = trace(classes).polygons
    assert not shapely.coverage_is_valid(gdal)
    assert len(ours) == len(gdal)
    tree = shapely.STRtree(gdal)
    for polygon in ours:
        assert any(gdal[i].equals(polygon) for i in tree.query(polygon))


def test_exteriors_run_counterclockwise_on_a_map_that_points_north():
    polygons = shapely.transform(trace(blobs(40, 40)).polygons, lambda points: points * [1, -1])
    assert all(polygon.exterior.is_ccw for polygon in polygons)
    assert not any(ring.is_ccw for polygon in polygons for ring in polygon.interiors)


def test_smoothing_takes_the_stairs_away_and_keeps_the_corners_of_the_raster():
    stairs = np.tri(20, dtype=np.uint8)
    polygons = trace(stairs, smooth=True).polygons
    border = shapely.intersection(*[shapely.boundary(p) for p in polygons])
    # a straight diagonal but for its two ends at the rim
    assert shapely.length(border) == pytest.approx(19 * np.sqrt(2), abs=1.0)
    assert shapely.bounds(shapely.union_all(polygons)).tolist() == [0, 0, 20, 20]


@pytest.mark.parametrize("smooth", [False, True])
def test_simplifying_removes_vertices_and_no_region(smooth):
    classes = blobs(200, 200, roughness=3)
    counts = [
        shapely.get_num_coordinates(trace(classes, smooth=smooth, tolerance=t).polygons).sum()
        for t in (0.0, 1.5, 4.0)
    ]
    assert counts[0] > counts[1] > counts[2]
    assert counts[0] > 2 * counts[2]


def test_results_do_not_change_from_run_to_run():
    classes = blobs(80, 70)
    one, other = (trace(classes, smooth=True, tolerance=2.0).polygons for _ in range(2))
    assert shapely.equals_exact(one, other).all()


def test_reprojecting_opens_no_slivers():
    import geopandas as gpd

    polygons = trace(blobs(120, 120), smooth=True, tolerance=1.5).polygons
    placed = shapely.transform(polygons, lambda points: points * [10, -10] + [5e5, 5.4e6])
    degrees = gpd.GeoSeries(placed, crs="EPSG:32632").to_crs("EPSG:4326")
    assert shapely.coverage_is_valid(degrees.values)


@settings(deadline=None)
@given(
    classes=rasters,
    strip_rows=heights,
    tile=st.integers(1, 13),
    smooth=st.booleans(),
    tolerance=st.sampled_from([0.0, 1.5, 4.0]),
)
def test_large_regions_are_cut_along_straight_tile_lines(
    classes, strip_rows, tile, smooth, tolerance
):
    cut = trace(classes, tile=tile, strip_rows=strip_rows, smooth=smooth, tolerance=tolerance)
    if not len(cut.polygons):
        return
    assert_coverage(cut)
    whole = trace(classes)
    uncut = cut.regions.uncut[1:]
    assert set(uncut) == set(range(1, len(whole.regions) + 1))
    for region in range(1, len(whole.regions) + 1):
        pieces = cut.polygons[uncut == region]
        if not smooth and tolerance == 0:
            assert shapely.union_all(pieces).equals(whole.polygons[region - 1])
        if whole.regions.pixels[region] <= tile * tile:
            assert len(pieces) == 1
            continue
        left, top, right, bottom = shapely.bounds(pieces).T
        assert (right <= np.floor(left / tile) * tile + tile).all()
        assert (bottom <= np.floor(top / tile) * tile + tile).all()


@pytest.mark.parametrize("tile", [0, 64])
def test_runs_that_were_kept_give_the_polygons_of_runs_that_were_not(tile):
    classes = blobs(600, 70, seed=3)
    options = {"smooth": True, "tolerance": 1.5, "tile": tile}
    kept = trace(classes, **options)
    found_again = trace(classes, **options, kept_runs=kept.regions.runs - 1)
    assert (len(kept.regions.strips), len(found_again.regions.strips)) == (3, 0)
    assert_coverage(kept)
    assert shapely.equals_exact(kept.polygons, found_again.polygons).all()


def test_a_raster_whose_runs_were_kept_is_not_read_again():
    source, found = regions_of(blobs(300, 20, seed=1))
    source._classes = None
    assert sum(len(batch) for batch in trace_polygons(source, found, Generalisation())) > 1
