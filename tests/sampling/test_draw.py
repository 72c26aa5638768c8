"""Drawing pixels: the right strata, any strip height, equal chances by area."""

import numpy as np
import pytest
from rasterio.transform import from_origin

from hyseg_cli.errors import ModelMismatchError, UsageProblemError
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.sampling.draw import Spacing, draw_pixels, in_pixels, on_ground
from hyseg_cli.sampling.population import PopulationReader


def reader_of(path, strata=None, **options):
    return PopulationReader(open_raster(path), strata and open_raster(strata), **options)


def count(reader):
    return reader.count(lambda _: None)


@pytest.fixture
def classes():
    classes = np.random.default_rng(3).choice([0, 1, 4, 255], (70, 53), p=[0.6, 0.2, 0.1, 0.1])
    return classes.astype(np.uint8)


def test_the_population_is_counted_by_row(write_raster, classes):
    with reader_of(write_raster(classes, nodata=255), strip_rows=16) as reader:
        population = count(reader)
    assert population.strata == (0, 1, 4)
    for index, value in enumerate(population.strata):
        assert (population.counts[index] == (classes == value).sum(axis=1)).all()
    assert population.areas_m2 == pytest.approx(population.pixels * 0.25)
    assert population.has_equal_areas


def test_the_draw_does_not_depend_on_the_strip_height(write_raster, classes):
    path = write_raster(classes, nodata=255)
    found = []
    for strip_rows in (1, 16, 512):
        with reader_of(path, strip_rows=strip_rows) as reader:
            population = count(reader)
            drawn = draw_pixels(reader, population, [30, 20, 10], seed=7)
        found.append((population.digest, drawn.rows.tolist(), drawn.cols.tolist()))
    assert found[0] == found[1] == found[2]


def test_drawn_pixels_are_distinct_and_of_their_strata(write_raster, classes):
    with reader_of(write_raster(classes)) as reader:
        population = count(reader)
        drawn = draw_pixels(reader, population, [300, 50, 40], seed=0)
    assert np.bincount(drawn.strata).tolist() == [300, 50, 40]
    values = np.array(population.strata)[drawn.strata]
    assert (classes[drawn.rows, drawn.cols] == values).all()
    assert (drawn.mapped == values).all()
    assert len(set(zip(drawn.rows.tolist(), drawn.cols.tolist(), strict=True))) == 390


def test_all_pixels_can_be_drawn(write_raster, classes):
    with reader_of(write_raster(classes)) as reader:
        population = count(reader)
        drawn = draw_pixels(reader, population, population.pixels.tolist(), seed=0)
    assert len(drawn.rows) == (classes != 255).sum()


def test_strata_of_another_raster_leave_the_map_class_alone(write_raster, classes):
    zones = (np.arange(70 * 53).reshape(70, 53) // 53 // 35 + 300).astype(np.int16)
    path, strata = write_raster(classes), write_raster(zones, "zones.tif")
    with reader_of(path, strata, strip_rows=9) as reader:
        population = count(reader)
        drawn = draw_pixels(reader, population, [40, 40], seed=1)
    assert population.strata == (300, 301)
    assert (zones[drawn.rows, drawn.cols] == 300 + drawn.strata).all()
    assert (classes[drawn.rows, drawn.cols] == drawn.mapped).all()


def test_every_pixel_has_the_same_chance_where_areas_are_equal(write_raster):
    classes = np.zeros((6, 5), np.uint8)
    classes[1, 2] = 1
    hits = np.zeros((6, 5))
    with reader_of(write_raster(classes)) as reader:
        population = count(reader)
        for seed in range(1_000):
            drawn = draw_pixels(reader, population, [6, 1], seed=seed)
            hits[drawn.rows, drawn.cols] += 1
    expected = np.where(classes == 1, 1_000, 1_000 * 6 / 29)
    # Five standard errors of a count.
    assert (abs(hits - expected) <= 5 * np.sqrt(expected * (1 - 6 / 29)) * (classes == 0)).all()


def test_chances_follow_the_area_on_a_grid_of_degrees(write_raster):
    # One column from the equator to 80 degrees north.
    path = write_raster(
        np.zeros((80, 20), np.uint8), crs="EPSG:4326", transform=from_origin(10, 80, 1, 1)
    )
    with reader_of(path) as reader:
        population = count(reader)
        assert not population.has_equal_areas
        rows = [draw_pixels(reader, population, [8], seed=seed).rows for seed in range(400)]
    is_northern = np.concatenate(rows) < 40
    # The zone between parallels on a sphere; the ellipsoid moves it by less than 0.5 %.
    sine = np.sin(np.radians([40, 80]))
    share = (sine[1] - sine[0]) / sine[1]
    error = np.sqrt(share * (1 - share) / len(is_northern))
    assert abs(is_northern.mean() - share) < 4 * error + 0.005


def test_the_digest_is_of_the_classes_not_of_the_file(write_raster, classes):
    digests = set()
    for name, options in (("a.tif", {}), ("b.tif", {"compress": "deflate", "nodata": 255})):
        with reader_of(write_raster(classes, name, **options)) as reader:
            digests.add(count(reader).digest)
    assert len(digests) == 1
    classes[3, 3] ^= 1
    with reader_of(write_raster(classes, "c.tif")) as reader:
        assert count(reader).digest not in digests


@pytest.mark.parametrize(("unit", "least"), [("px", 6.0), ("m", 3.0)])
def test_points_keep_their_distance(write_raster, classes, unit, least):
    path = write_raster(classes)
    place = in_pixels if unit == "px" else on_ground(open_raster(path))
    with reader_of(path) as reader:
        population = count(reader)
        drawn = draw_pixels(reader, population, [25, 10, 5], seed=2, apart=Spacing(least, place))
    assert np.bincount(drawn.strata).tolist() == [25, 10, 5]
    x, y = drawn.cols, drawn.rows
    squares = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    assert squares[~np.eye(40, dtype=bool)].min() >= 36  # 6 pixels, or 3 m of half a metre


def test_distances_in_degrees_are_metres_on_the_ground(write_raster):
    path = write_raster(
        np.zeros((50, 50), np.uint8), crs="EPSG:4326", transform=from_origin(10, 60, 1e-3, 1e-3)
    )
    positions = on_ground(open_raster(path))(np.array([0, 0, 10]), np.array([0, 10, 0]))
    across, down = (np.linalg.norm(positions[i] - positions[0]) for i in (1, 2))
    # A hundredth of a degree: 1,115 m along the meridian, half as much along 60 degrees north.
    assert down == pytest.approx(1_114, rel=2e-3)
    assert across == pytest.approx(558, rel=2e-3)


def test_a_distance_that_does_not_fit_is_told(write_raster, classes):
    with reader_of(write_raster(classes)) as reader:
        population = count(reader)
        with pytest.raises(UsageProblemError, match=r"of 100 points fit into stratum 0"):
            draw_pixels(reader, population, [100, 0, 0], seed=0, apart=Spacing(30.0, in_pixels))


def test_classes_at_places_on_and_off_the_map(write_raster, classes):
    with reader_of(write_raster(classes), strip_rows=16) as reader:
        rows, cols = np.array([69, -1, 0, 5, 5]), np.array([52, 0, 53, 7, -3])
        mapped, has_class = reader.classes_at(rows, cols)
    assert has_class.tolist() == [classes[69, 52] != 255, False, False, classes[5, 7] != 255, False]
    assert (mapped[has_class] == classes[rows[has_class], cols[has_class]]).all()


def test_rasters_that_cannot_be_sampled_are_told(write_raster):
    with pytest.raises(ModelMismatchError, match="not a class raster"):
        reader_of(write_raster(np.zeros((3, 9, 9), np.uint8), "rgb.tif"))
    fractions = reader_of(write_raster(np.full((9, 9), 0.5, np.float32), "float.tif"))
    with fractions, pytest.raises(ModelMismatchError, match="not a class raster"):
        count(fractions)
    empty = reader_of(write_raster(np.full((9, 9), 255, np.uint8), "empty.tif"))
    with empty, pytest.raises(ModelMismatchError, match="no pixel"):
        count(empty)
