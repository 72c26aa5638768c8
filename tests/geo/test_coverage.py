import itertools

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.features import rasterize
from skimage.measure import label

from hyseg_cli.errors import CheckFailedError
from hyseg_cli.geo.coverage import Coverage, check_coverage, simplify, trace

rasters = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([0, 1, 2, 255]),
)


def burn(coverage, shape):
    pairs = list(zip(coverage.polygons, coverage.class_ids.tolist(), strict=True))
    if not pairs:
        return np.full(shape, 255, np.uint8)
    return rasterize(pairs, out_shape=shape, fill=255, dtype="uint8")


def assert_is_exact_coverage(classes):
    coverage = trace(classes)
    assert (burn(coverage, classes.shape) == classes).all()
    assert shapely.is_valid(coverage.polygons).all()
    assert shapely.coverage_is_valid(coverage.polygons)
    assert check_coverage(coverage).passed
    assert coverage.pixels.sum() == (classes != 255).sum()


@pytest.mark.slow
def test_all_3_by_3_rasters_of_two_classes_and_nodata_become_coverages():
    for values in itertools.product([0, 1, 255], repeat=9):
        assert_is_exact_coverage(np.array(values, np.uint8).reshape(3, 3))


@settings(deadline=None)
@given(classes=rasters)
def test_random_rasters_become_coverages_and_back(classes):
    assert_is_exact_coverage(classes)


@settings(deadline=None)
@given(classes=rasters)
def test_polygons_are_the_4_connected_regions(classes):
    regions = label(classes.astype(int) + 1, connectivity=1)
    expected = len(np.unique(regions[classes != 255]))
    assert len(trace(classes).polygons) == expected


def blobs(size, seed=0):
    from scipy.ndimage import gaussian_filter

    fields = gaussian_filter(
        np.random.default_rng(seed).standard_normal((4, size, size)), (0, 3, 3)
    )
    return fields.argmax(axis=0).astype(np.uint8)


def test_simplified_polygons_are_still_a_coverage_with_fewer_vertices():
    coverage = trace(blobs(120))
    simplified = simplify(coverage, 1.5)
    before, after = (shapely.get_num_coordinates(c.polygons).sum() for c in (coverage, simplified))
    assert after < before / 2
    assert shapely.coverage_is_valid(simplified.polygons)
    assert check_coverage(simplified).passed


def test_no_tolerance_changes_nothing():
    coverage = trace(blobs(30))
    assert simplify(coverage, 0) is coverage


def test_the_check_agrees_with_geos_on_what_gdal_makes():
    # GDAL's own polygons lack vertices at T-junctions: the reason for tracing with junctions.
    from rasterio.features import shapes

    found = list(shapes(blobs(60), connectivity=4))
    polygons = np.array([shapely.geometry.shape(geometry) for geometry, _ in found])
    zeros = np.zeros(len(polygons), np.int64)
    check = check_coverage(Coverage(polygons, zeros, zeros))
    assert not shapely.coverage_is_valid(polygons)
    assert check.unmatched > 0


@pytest.mark.parametrize(
    ("second", "field"),
    [
        # overlaps the first
        ([(1, 1), (3, 1), (3, 3), (1, 3)], "crossings"),
        # twice the first
        ([(0, 0), (2, 0), (2, 2), (0, 2)], "overused"),
        # touches the middle of its side
        ([(2, 0.5), (3, 0.5), (3, 1.5), (2, 1.5)], "unmatched"),
        # crosses itself
        ([(5, 0), (7, 2), (7, 0), (5, 2)], "invalid"),
    ],
)
def test_each_defect_is_found(second, field):
    first = [(0, 0), (2, 0), (2, 2), (0, 2)]
    polygons = np.array([shapely.Polygon(first), shapely.Polygon(second)])
    zeros = np.zeros(2, np.int64)
    check = check_coverage(Coverage(polygons, zeros, zeros))
    assert getattr(check, field) > 0
    with pytest.raises(CheckFailedError):
        check.require()


def test_nodata_alone_gives_no_polygon():
    coverage = trace(np.full((5, 5), 255, np.uint8))
    assert len(coverage.polygons) == 0
