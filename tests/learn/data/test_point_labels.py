"""Points as labels: CSV tables and vector files."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chip import PointRules
from hyseg_cli.learn.data.labelled_scene import open_pair
from hyseg_cli.learn.data.pairs import find_pairs
from hyseg_cli.learn.data.point_labels import PointLabels
from hyseg_cli.legend import Legend, LegendClass

LEGEND = Legend(
    (
        LegendClass(id=0, name="house", color=(200, 0, 0)),
        LegendClass(id=1, name="trees", color=(0, 100, 0)),
    )
)
TREES = PointRules(radius=2.0, point_class="trees")


def whole(scene):
    return scene.read(Window(0, 0, scene.height, scene.width)).labels


def discs(height, width, points, radius):
    """The channel of the nearest point within reach, of every pixel, the slow way."""
    found = np.full((height, width), 255, np.uint8)
    for row in range(height):
        for col in range(width):
            near = [
                (np.hypot(col + 0.5 - x, row + 0.5 - y), i) for i, (x, y, _) in enumerate(points)
            ]
            if near and min(near)[0] <= radius:
                found[row, col] = points[min(near)[1]][2]
    return found


@pytest.fixture
def image(write_raster):
    # Pixels of half a metre: a radius of 2 m is 4 pixels.
    return write_raster(np.zeros((3, 40, 50), np.uint8), "a.tif")


def test_a_table_of_pixels_labels_discs(image, tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n10,12\n45.5,3\n")
    [pair] = find_pairs(image, tmp_path / "a.csv")
    labels = whole(open_pair(pair, LEGEND, None, "class", TREES))
    np.testing.assert_array_equal(labels, discs(40, 50, [(10, 12, 1), (45.5, 3, 1)], 4.0))


def test_a_table_names_classes_and_places_on_the_map(image, tmp_path):
    # The image begins at (500000, 5400000): 5 m east and 6 m south are 10 and 12 pixels.
    text = "Class,East,North\nhouse,500005,5399994\ntrees,500020,5399990\n"
    (tmp_path / "a.csv").write_text(text)
    [pair] = find_pairs(image, tmp_path / "a.csv")
    labels = whole(open_pair(pair, LEGEND, None, "class", PointRules(radius=2.0)))
    np.testing.assert_array_equal(labels, discs(40, 50, [(10, 12, 0), (40, 20, 1)], 4.0))


def test_points_of_a_vector_file_are_where_they_are_on_earth(image, tmp_path):
    places = gpd.GeoSeries.from_xy([500005.0], [5399994.0], crs="EPSG:32632").to_crs(4326)
    gpd.GeoDataFrame({"class": ["trees"]}, geometry=places).to_file(tmp_path / "p.gpkg")
    (tmp_path / "a.csv").write_text(f"lon,lat\n{places.x[0]:.9f},{places.y[0]:.9f}\n")
    expected = discs(40, 50, [(10, 12, 1)], 4.0)
    for name, rules in (("p.gpkg", PointRules(radius=2.0)), ("a.csv", TREES)):
        [pair] = find_pairs(image, tmp_path / name)
        labels = whole(open_pair(pair, LEGEND, None, "class", rules))
        np.testing.assert_array_equal(labels, expected)


def test_tables_in_a_folder_belong_to_images_of_their_name(write_raster, tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b", "c"):
        write_raster(np.zeros((3, 8, 8), np.uint8), f"images/{name}.tif")
    for name in ("a", "c"):
        (tmp_path / "labels" / f"{name}.csv").write_text("x,y\n")
    pairs = find_pairs(tmp_path / "images", tmp_path / "labels")
    assert [pair.scene for pair in pairs] == ["a", "c"]
    labels = whole(open_pair(pairs[0], LEGEND, None, "class", TREES))
    assert (labels == 255).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "does not say where its points lie"),
        ("x,y\n1,up\n", "could not convert string to float"),
        ("x,y\n1\n", "argument must be a string or a real number"),
        ("x,y,class\n1,2,lake\n", "'lake' is not in the legend"),
        ("x,y\n1,2\n", "class '' is not in the legend"),
    ],
)
def test_tables_that_cannot_be_used_say_why(image, tmp_path, text, words):
    (tmp_path / "a.csv").write_text(text)
    [pair] = find_pairs(image, tmp_path / "a.csv")
    with pytest.raises(HysegError, match=words):
        open_pair(pair, LEGEND, None, "class", PointRules(radius=2.0))


@given(
    st.lists(
        st.tuples(st.floats(-5, 35), st.floats(-5, 35), st.integers(0, 3)),
        max_size=6,
        unique_by=lambda point: point[:2],
    ),
    st.floats(0.5, 6.0),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_any_window_shows_what_the_whole_shows(points, radius, row, col):
    positions = np.array([point[:2] for point in points], float).reshape(-1, 2)
    labels = PointLabels(positions, np.array([p[2] for p in points], np.uint8), radius)
    full = labels.read(Window(0, 0, 30, 30))
    np.testing.assert_array_equal(
        labels.read(Window(row, col, 10, 8)), full[row : row + 10, col : col + 8]
    )
