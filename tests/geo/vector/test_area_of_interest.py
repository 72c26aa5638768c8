"""Areas and bounds on the grid of a scene, sensible or not."""

from __future__ import annotations

import re

import geopandas as gpd
import numpy as np
import pytest
import shapely

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.vector.area_of_interest import AreaOfInterest, window_of_bounds
from hyseg_cli.geo.window import Window


@pytest.fixture
def scene(write_raster):
    """100 x 80 pixels of half a metre, UTM 32 north."""
    return open_raster(write_raster(np.zeros((1, 80, 100), np.uint8)))


def area(tmp_path, shapes, crs="EPSG:32632"):
    path = tmp_path / "area.geojson"
    gpd.GeoDataFrame(geometry=shapes, crs=crs).to_file(path)
    return path


def test_an_area_of_the_whole_world_is_all_of_the_scene(tmp_path, scene):
    """The poles have no place in UTM, nor has the other side of the earth."""
    found = AreaOfInterest(area(tmp_path, [shapely.box(-180, -90, 180, 90)], "EPSG:4326"), scene)
    assert found.window == Window(0, 0, 80, 100)
    assert found(Window(0, 0, 80, 100)).all()


def test_an_area_on_the_other_side_of_the_earth_lies_beside(tmp_path, scene):
    with pytest.raises(UsageProblemError, match="lies outside"):
        AreaOfInterest(area(tmp_path, [shapely.box(-175, -89, -170, -85)], "EPSG:4326"), scene)


def test_bounds_outside_are_answered_with_bounds_that_are_inside(scene):
    with pytest.raises(UsageProblemError) as caught:
        window_of_bounds(scene, (1, 2, 3, 4), "--bounds")
    text = re.search(r"[\d.]+(?:,[\d.]+){3}", caught.value.hint)[0]
    found = window_of_bounds(scene, tuple(map(float, text.split(","))), "--bounds")
    assert found == Window(0, 0, 80, 100)


def test_empty_polygons_are_none(tmp_path, scene):
    with pytest.raises(UsageProblemError, match="no polygons"):
        AreaOfInterest(area(tmp_path, [shapely.Polygon()]), scene)
    corner = shapely.box(500_000, 5_399_990, 500_010, 5_400_000)
    found = AreaOfInterest(area(tmp_path, [shapely.Polygon(), corner]), scene)
    assert found.window == Window(0, 0, 20, 20)


@pytest.mark.parametrize("crs", [32632, 4326, 3857, 3035])
def test_both_halves_of_a_polygon_that_crosses_itself_count_in_every_crs(tmp_path, scene, crs):
    left, bottom, right, top = 500_003.3, 5_399_962.1, 500_041.2, 5_399_993.7
    bow = shapely.Polygon([(right, bottom), (left, top), (right, top), (left, bottom)])
    path = tmp_path / "bow.gpkg"
    gpd.GeoDataFrame(geometry=[bow], crs=32632).to_crs(crs).to_file(path)
    area = AreaOfInterest(path, scene)
    window = area.window
    y, x = np.mgrid[window.row : window.row + window.height, window.col : window.col + window.width]
    east, north = 500_000 + (x + 0.5) / 2, 5_400_000 - (y + 0.5) / 2
    # Above and below the crossing, not left and right of it.
    apart = np.abs((north - (bottom + top) / 2) / (top - bottom))
    expected = np.abs((east - (left + right) / 2) / (right - left)) < apart
    expected &= apart < 0.5
    differ = area(window) != expected
    assert expected.sum() > 2_000
    assert differ.mean() < 0.002  # pixels whose centre lies on a border


def test_the_same_polygons_in_another_file_are_the_same_area(tmp_path, scene):
    shapes = [shapely.box(500_000, 5_399_990, 500_010, 5_400_000)]
    first = AreaOfInterest(area(tmp_path, shapes), scene)
    gpd.GeoDataFrame({"n": [7]}, geometry=shapes, crs=32632).to_file(tmp_path / "same.gpkg")
    assert AreaOfInterest(tmp_path / "same.gpkg", scene).digest == first.digest
    assert AreaOfInterest(area(tmp_path, [shapes[0].buffer(1)]), scene).digest != first.digest
