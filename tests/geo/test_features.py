import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from rasterio.transform import from_origin

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.coverage import trace
from hyseg_cli.geo.features import to_features, write_features
from hyseg_cli.geo.scene import open_scene

CLASSES = np.array([[0, 0, 1], [0, 2, 1], [255, 2, 2]], np.uint8)


@pytest.fixture
def features(write_raster, legend):
    scene = open_scene(write_raster(CLASSES, nodata=255))
    return to_features(trace(CLASSES), scene, legend)


def test_each_region_has_its_class_name_and_area(features):
    rows = {row.class_name: row for row in features.itertuples()}
    assert set(rows) == {"building", "land", "road"}
    assert (rows["building"].class_id, rows["building"].n_px) == (0, 3)
    assert rows["building"].area_m2 == pytest.approx(3 * 0.25)
    assert rows["building"].geometry.area == pytest.approx(3 * 0.25)


def test_pixels_land_where_the_transform_says(features):
    assert tuple(features.total_bounds) == (500_000, 5_399_998.5, 500_001.5, 5_400_000)


def test_areas_in_degrees_are_those_on_the_ellipsoid(write_raster, legend):
    transform = from_origin(9, 60, 0.01, 0.01)
    scene = open_scene(write_raster(CLASSES, crs="EPSG:4326", transform=transform))
    features = to_features(trace(CLASSES), scene, legend)
    geod = pyproj.Geod(ellps="WGS84")
    expected, _ = geod.polygon_area_perimeter([9, 9.03, 9.03, 9], [60, 60, 59.97, 59.97])
    nodata, _ = geod.polygon_area_perimeter([9, 9.01, 9.01, 9], [59.98, 59.98, 59.97, 59.97])
    assert features.area_m2.sum() == pytest.approx(abs(expected) - abs(nodata), rel=1e-6)


def test_areas_in_feet_are_given_in_square_metres(write_raster, legend):
    path = write_raster(CLASSES, crs="EPSG:2263", transform=from_origin(1e6, 2e5, 10, 10))
    features = to_features(trace(CLASSES), open_scene(path), legend)
    assert features.area_m2.sum() == pytest.approx(8 * (10 * 1200 / 3937) ** 2)


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".shp"])
def test_what_is_read_back_is_what_was_written(tmp_path, features, suffix):
    out = tmp_path / f"map{suffix}"
    write_features(features, out, layer="landcover")
    back = gpd.read_file(out)
    assert back.crs == features.crs
    assert sorted(back.class_name) == sorted(features.class_name)
    assert back.area_m2.sum() == pytest.approx(2.0)
    assert shapely.equals(
        shapely.union_all(back.geometry.values), shapely.union_all(features.geometry.values)
    )
    assert not list(tmp_path.glob("*.hyseg"))


def test_geojson_is_in_degrees_with_right_hand_rings(tmp_path, features):
    out = tmp_path / "map.geojson"
    write_features(features, out, layer="landcover")
    back = gpd.read_file(out)
    assert back.crs == "EPSG:4326"
    assert all(polygon.exterior.is_ccw for polygon in back.geometry)
    assert shapely.coverage_is_valid(back.geometry.values)


def test_geojson_needs_a_crs(tmp_path, features):
    features = features.set_crs(None, allow_override=True)
    with pytest.raises(UsageProblemError, match="no CRS"):
        write_features(features, tmp_path / "map.geojson", layer="x")
    assert list(tmp_path.glob("map*")) == []


def test_a_folder_that_cannot_be_written_is_an_error(features):
    from pathlib import Path

    with pytest.raises(HysegError, match="cannot be written"):
        write_features(features, Path("/proc/map.gpkg"), layer="x")
