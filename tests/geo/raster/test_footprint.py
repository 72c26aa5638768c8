"""Outlines of rasters on the globe."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import Affine, from_origin

from hyseg_cli.geo.raster.ground import footprint
from hyseg_cli.geo.raster.raster import GroundControl, open_raster


@pytest.fixture
def outline(write_raster):
    def find(crs, transform, height=40, width=60):
        scene = open_raster(write_raster(np.zeros((height, width)), crs=crs, transform=transform))
        geometry, box = footprint(scene)
        return shapely.geometry.shape(geometry), box, scene

    return find


PLACES = {
    "projected": ("EPSG:32632", from_origin(500_000, 5_400_000, 500, 500)),
    "degrees": ("EPSG:4326", from_origin(9, 47, 0.1, 0.1)),
    "south-up": ("EPSG:32632", Affine(500, 0, 5e5, 0, 500, 5.4e6)),
    "rotated": ("EPSG:32632", Affine(400, 300, 5e5, 300, -400, 5.4e6)),
    "southern": ("EPSG:32733", from_origin(500_000, 6_000_000, 500, 500)),
}


@pytest.mark.parametrize("name", PLACES)
def test_what_lies_in_the_raster_lies_in_its_outline(outline, name):
    area, box, scene = outline(*PLACES[name])
    assert area.is_valid
    assert area.exterior.is_ccw
    assert box == pytest.approx(area.bounds)
    to_degrees = pyproj.Transformer.from_crs(scene.crs.to_wkt(), "EPSG:4326", always_xy=True)
    for col, row, is_inside in [(30, 20, True), (1, 1, True), (59, 39, True), (61, 20, False)]:
        place = to_degrees.transform(*(scene.transform @ (col, row)))
        assert area.contains(shapely.Point(place)) == is_inside


def test_an_outline_of_straight_sides_has_four_corners(outline):
    area, *_ = outline("EPSG:4326", from_origin(9, 47, 0.1, 0.1))
    assert len(area.exterior.coords) == 5


def test_an_outline_over_the_antimeridian_is_cut_there(outline):
    # Zone 60 ends at 180 degrees east; 60 columns of 10 km reach beyond.
    area, box, _ = outline("EPSG:32660", from_origin(500_000, 200_000, 10_000, 10_000))
    west, south, east, north = box
    assert 176 < west < 180
    assert -180 < east < -176
    assert south < 0 < north
    assert area.geom_type == "MultiPolygon"
    assert area.is_valid
    assert all(part.exterior.is_ccw for part in area.geoms)
    assert sorted(round(side, 6) for part in area.geoms for side in part.bounds[::2]) == (
        pytest.approx([-180, east, west, 180], abs=1e-5)
    )


def test_an_outline_around_the_pole_is_its_cap(outline):
    area, box, _ = outline("EPSG:3413", from_origin(-30_000, 20_000, 1000, 1000))
    assert box[0::2] == [-180, 180]
    assert 89 < box[1] < 90
    assert box[3] == 90
    assert area.contains(shapely.Point(20, 89.99))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_raster_without_place_has_none(write_raster):
    path = write_raster(np.zeros((4, 6)), crs=None, transform=Affine.identity())
    assert footprint(open_raster(path)) is None


def test_ground_control_places_an_outline(write_raster):
    from dataclasses import replace

    scene = open_raster(write_raster(np.zeros((40, 60))))
    points = [
        GroundControlPoint(row=row, col=col, x=9 + col / 100, y=47 - row / 100)
        for row in (0, 40)
        for col in (0, 60)
    ]
    control = GroundControl(tuple(points), CRS.from_epsg(4326), {})
    placed = replace(scene, crs=None, transform=Affine.identity(), control=control)
    assert footprint(placed)[1] == pytest.approx([9, 46.6, 9.6, 47])
