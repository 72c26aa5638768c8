import numpy as np
import shapely
from geo.coverage.coverages import regions_of, trace
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import label

from hyseg_cli.geo.vector.features import Gatherer, Shapes, by_class, by_corners, one_of_each

rasters = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([0, 1, 2, 255]),
)


def shapes_of(polygons, numbers):
    parts = [shapely.to_wkb(polygon) for polygon in polygons]
    return Shapes(
        np.array(numbers, np.int32),
        np.frombuffer(b"".join(parts), np.uint8),
        np.cumsum([0, *map(len, parts)]),
        shapely.length(polygons),
        shapely.bounds(polygons).reshape(-1, 4),
    )


@settings(deadline=None)
@given(classes=rasters)
def test_corners_join_regions_as_8_connectivity_does(classes):
    source, regions = regions_of(classes)
    grouping = by_corners(source, regions)
    eight = label(classes.astype(int) + 1, connectivity=2)
    eight[classes == 255] = 0
    sizes = np.bincount(grouping.feature_of_region, weights=regions.pixels)[1:]
    assert sorted(sizes) == sorted(np.bincount(eight.ravel())[np.unique(eight[eight > 0])])
    assert grouping.members[1:].sum() == len(regions)


@settings(deadline=None)
@given(classes=rasters, dissolve=st.booleans())
def test_features_are_complete_and_handed_out_once(classes, dissolve):
    traced = trace(classes)
    source, regions = regions_of(classes)
    grouping = by_class(regions) if dissolve else by_corners(source, regions)
    gatherer = Gatherer(grouping)
    found = {}
    for number, polygon in enumerate(traced.polygons, 1):
        shapes = gatherer.add(shapes_of([polygon], [number]))
        for i, feature in enumerate(shapes.features.tolist()):
            assert feature not in found
            begin, end = shapes.offsets[i], shapes.offsets[i + 1]
            found[feature] = shapely.from_wkb(shapes.geometry[begin:end].tobytes())
            np.testing.assert_allclose(shapes.bounds[i], found[feature].bounds)
            np.testing.assert_allclose(shapes.perimeters_m[i], found[feature].length)
    assert set(found) == set(grouping.feature_of_region[1:].tolist())
    for feature, geometry in found.items():
        members = traced.polygons[grouping.feature_of_region[1:] == feature]
        assert geometry.geom_type == "MultiPolygon"
        assert geometry.is_valid
        assert geometry.equals(shapely.multipolygons(members))


def test_one_feature_for_each_region_changes_nothing():
    _, regions = regions_of(np.array([[0, 1, 0]], np.uint8))
    assert one_of_each(regions).feature_of_region.tolist() == [0, 1, 2, 3]
