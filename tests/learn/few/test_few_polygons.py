"""What somebody drew, good and bad, as pixels of a scene."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from rasterio.transform import from_origin
from rasters import write_geotiff

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.learn.few.polygons import MOST, looked_at, read_drawing
from hyseg_cli.legend import Legend, LegendClass

CRS = "EPSG:32640"
PLACE = from_origin(300_000, 2_780_000, 0.5, 0.5)
LEGEND = Legend(
    (
        LegendClass(id=1, name="water", color=(0, 0, 255)),
        LegendClass(id=2, name="land", color=(200, 200, 0)),
    )
)


def square(row, col, side):
    """A square of pixels, in map coordinates."""
    left, top = PLACE * (col, row)
    right, bottom = PLACE * (col + side, row + side)
    return shapely.box(left, bottom, right, top)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "scene.tif"
    write_geotiff(path, np.ones((3, 200, 300), np.uint8), crs=CRS, transform=PLACE)
    return open_raster(path)


@pytest.fixture
def draw(tmp_path, image):
    """Write polygons with classes and read them back as a drawing."""

    def make(classes, shapes, crs=CRS, field="kind", suffix=".gpkg"):
        path = tmp_path / f"drawn{suffix}"
        frame = gpd.GeoDataFrame({"kind": classes}, geometry=shapes, crs=CRS)
        (frame if crs is None else frame.to_crs(crs)).to_file(path)
        return read_drawing(path, image, LEGEND, field, seed=0)

    return make


def test_pixels_that_are_looked_at_lie_inside_their_polygon(draw):
    drawing = draw(["water", "land"], [square(10, 20, 15), square(100, 200, 30)])
    first, second = drawing.polygons
    assert (first.channel, second.channel) == (0, 1)
    assert first.rows.min() >= 10
    assert first.rows.max() < 25
    assert first.cols.min() >= 20
    assert first.cols.max() < 35
    assert len(second.rows) == looked_at(900) == 60
    assert drawing.problems == {}


def test_a_polygon_keeps_its_pixels_when_others_are_drawn(draw):
    alone = draw(["water"], [square(10, 20, 15)]).polygons[0]
    among = draw(["water", "land"], [square(10, 20, 15), square(100, 200, 30)]).polygons[0]
    assert (alone.rows == among.rows).all()
    assert (alone.cols == among.cols).all()


def test_a_large_polygon_counts_no_more_than_some_hundred_pixels(draw):
    assert len(draw(["land"], [square(0, 0, 200)]).polygons[0].rows) == MOST


def test_a_polygon_in_another_crs_lies_where_it_was_drawn(draw):
    here = draw(["land"], [square(50, 60, 20)]).polygons[0]
    there = draw(["land"], [square(50, 60, 20)], crs="EPSG:4326").polygons[0]
    assert abs(here.rows.mean() - there.rows.mean()) < 3
    assert 59 <= there.cols.min() < there.cols.max() <= 80


def test_a_polygon_that_crosses_itself_is_mended_and_reported(draw):
    left, bottom, right, top = square(10, 10, 20).bounds
    bow = shapely.Polygon([(left, bottom), (right, top), (right, bottom), (left, top)])
    drawing = draw(["land"], [bow])
    assert len(drawing.polygons) == 1
    assert drawing.problems == {"touch or cross themselves and were mended": 1}


def test_what_lies_outside_is_named_by_its_row(draw):
    drawing = draw(["land", "water"], [square(10, 10, 20), square(5_000, 5_000, 20)])
    assert [polygon.row for polygon in drawing.polygons] == [0]
    assert drawing.outside == {1}


def test_a_polygon_across_the_edge_counts_inside_it(draw):
    polygon = draw(["land"], [square(-10, 290, 20)]).polygons[0]
    assert polygon.rows.max() < 10
    assert polygon.cols.max() < 300


def test_pixels_under_two_classes_count_for_neither(draw):
    drawing = draw(["land", "water"], [square(10, 10, 20), square(10, 20, 20)])
    land, water = drawing.polygons
    assert land.cols.max() < 20
    assert water.cols.min() >= 30
    (problem,) = drawing.problems
    assert "another class" in problem
    assert drawing.problems[problem] == 2


def test_polygons_of_one_class_may_overlap(draw):
    drawing = draw(["land", "land"], [square(10, 10, 20), square(10, 20, 20)])
    assert drawing.problems == {}


def test_empty_and_missing_geometries_are_reported(draw):
    drawing = draw(["land", "land", "water"], [shapely.Polygon(), None, square(10, 10, 9)])
    assert len(drawing.polygons) == 1
    assert drawing.problems == {"are empty": 2}


def test_points_and_lines_are_not_areas(draw):
    left, bottom, right, top = square(10, 10, 9).bounds
    line = shapely.LineString([(left, bottom), (right, top)])
    drawing = draw(["land", "land"], [line, shapely.Point(left, top)], suffix=".geojson")
    assert drawing.polygons == ()
    assert drawing.problems == {"are not areas": 2}


@pytest.mark.parametrize("numbers", [["1", "2"], [1, 2], [1.0, 2.0], ["1.0", " 2 "]])
def test_numbers_are_class_ids_whether_text_or_not(draw, numbers):
    drawing = draw(numbers, [square(10, 10, 9), square(40, 40, 9)])
    assert [polygon.channel for polygon in drawing.polygons] == [0, 1]


def test_a_missing_class_is_left_out_and_reported(draw):
    drawing = draw(["land", None, "", "moon"], [square(r, 10, 9) for r in (10, 40, 70, 100)])
    assert len(drawing.polygons) == 1
    assert drawing.problems == {"have no class of the legend": 3}


def test_a_column_that_is_not_there_is_an_error_with_those_that_are(draw):
    with pytest.raises(UsageProblemError, match="no column 'sort'") as error:
        draw(["land"], [square(10, 10, 9)], field="sort")
    assert "kind" in error.value.hint


def test_a_file_without_crs_is_an_error(tmp_path, image):
    path = tmp_path / "drawn.shp"
    gpd.GeoDataFrame({"kind": ["land"]}, geometry=[square(10, 10, 9)], crs=CRS).to_file(path)
    path.with_suffix(".prj").unlink()
    with pytest.raises(HysegError, match="has no CRS"):
        read_drawing(path, image, LEGEND, "kind", seed=0)
