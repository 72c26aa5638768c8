"""Vectors laid over rasters: far beyond them, around the earth, and no polygons."""

import json

import geopandas as gpd
import numpy as np
import pytest
from click.testing import CliRunner
from rasterio.transform import from_origin
from rasters import write_geotiff
from shapely.geometry import GeometryCollection, LineString, Point, box

from hyseg_cli.cli.group import cli

PX = 2.5e-6
"""Degrees: about 28 cm."""


def run(*words, code=0):
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def legend_file(tmp_path):
    classes = [
        {"id": 0, "name": "land", "color": "#aa8844"},
        {"id": 1, "name": "water", "color": "#2244cc"},
    ]
    path = tmp_path / "legend.json"
    path.write_text(json.dumps({"classes": classes}))
    return path


@pytest.fixture
def compared(tmp_path, legend_file):
    """Confusion of a map with a reference."""

    def compare(raster, reference):
        words = ("--legend", legend_file, "--reference", reference, "--json", "-q")
        return json.loads(run("evaluate", raster, *words).stdout)

    return compare


def save(path, classes, geometry, crs):
    gpd.GeoDataFrame({"class": classes}, geometry=geometry, crs=crs).to_file(path)
    return path


def write_map(path, transform, crs, classes=None):
    pixels = np.ones((100, 100), np.uint8) if classes is None else classes
    return write_geotiff(path, pixels, crs=crs, transform=transform, nodata=255)


@pytest.mark.parametrize("sea_crs", [4326, 3857])
@pytest.mark.parametrize(
    ("crs", "x", "y"),
    [(32631, 636_000.0, 5_745_000.0), (3413, 100_000.0, -900_000.0), (28992, 127_400.0, 428_225.0)],
)
def test_a_sea_around_the_earth_reaches_every_pixel_of_an_island(
    tmp_path, compared, sea_crs, crs, x, y
):
    classes = np.ones((100, 100), np.uint8)
    classes[30:70, 30:70] = 0
    raster = write_map(tmp_path / "map.tif", from_origin(x, y, 0.5, 0.5), crs, classes)
    island = gpd.GeoSeries([box(x + 15, y - 35, x + 35, y - 15)], crs=crs).to_crs(4326)[0]
    sea = box(-180, -85, 180, 85).difference(island)
    shapes = gpd.GeoSeries([sea, island], crs=4326).to_crs(sea_crs)
    labels = save(tmp_path / "labels.gpkg", ["water", "land"], list(shapes), sea_crs)
    found = compared(raster, labels)
    assert found["pixels"] == 10_000
    assert found["overall_accuracy"] == 1.0


RANGES = {
    "antimeridian": (180 - 50 * PX, [(180 - 50 * PX, 180), (-180, -180 + 50 * PX)]),
    "beyond 180": (355.0, [(-5, -5 + 100 * PX)]),
    "before -180": (-190.0, [(170, 170 + 100 * PX)]),
    "as it is": (12.0, [(12, 12 + 100 * PX)]),
}


@pytest.mark.parametrize("case", RANGES)
def test_longitudes_are_the_same_modulo_360_for_references_areas_and_bounds(
    tmp_path, compared, tiny_model, case
):
    left, spans = RANGES[case]
    low = 48 - 100 * PX
    place = from_origin(left, 48, PX, PX)
    raster = write_map(tmp_path / "map.tif", place, 4326)
    image = np.random.default_rng(6).integers(30, 220, (3, 100, 100), dtype=np.uint8)
    scene = write_geotiff(
        tmp_path / "scene.tif", image, crs=4326, transform=place, photometric="RGB"
    )
    pieces = [box(start, low, stop, 48) for start, stop in spans]
    labels = save(tmp_path / "labels.geojson", ["water"] * len(pieces), pieces, 4326)
    assert compared(raster, labels)["pixels"] == 10_000
    area = save(tmp_path / "area.gpkg", ["water"], pieces[-1:], 4326)
    words = ("predict", scene, "-o", tmp_path / "m.tif", "-m", tiny_model, "-n", "-q")
    run(*words, "--aoi", area)
    start, stop = spans[-1]
    run(*words, f"--bounds={start},{low},{stop},48")


def test_a_reference_raster_of_another_turn_is_compared_whole(tmp_path, compared):
    left = 180 - 50 * PX
    raster = write_map(tmp_path / "map.tif", from_origin(left, -17, PX, PX), 4326)
    rows, cols = 200, 120
    coarse = from_origin(-180 - 60 * PX, -17 + 50 * PX, PX, PX)
    reference = write_map(tmp_path / "reference.tif", coarse, 4326, np.ones((rows, cols), np.uint8))
    assert compared(raster, reference)["pixels"] == 10_000


def test_lines_and_points_are_counted_and_collections_taken_apart(tmp_path, legend_file):
    x, y = 500_000.0, 5_400_000.0
    raster = write_map(tmp_path / "map.tif", from_origin(x, y, 1, 1), 32632)
    half = GeometryCollection([box(x, y - 100, x + 50, y), LineString([(x, y), (x + 9, y - 9)])])
    shapes = [half, LineString([(x + 60, y - 1), (x + 99, y - 1)]), Point(x + 70, y - 70)]
    labels = save(tmp_path / "labels.gpkg", ["water"] * 3, shapes, 32632)
    words = ("--legend", legend_file, "--reference", labels, "--json")
    result = run("evaluate", raster, *words)
    assert json.loads(result.stdout)["pixels"] == 5_000
    assert result.stderr.count("1 line and 1 point among the polygons label nothing") == 1


def test_a_collection_is_an_area_of_interest(tmp_path, tiny_model):
    x, y = 500_000.0, 5_400_000.0
    image = np.random.default_rng(0).integers(30, 220, (3, 80, 80), dtype=np.uint8)
    scene = write_geotiff(tmp_path / "scene.tif", image, photometric="RGB")
    inside = GeometryCollection([box(x, y - 20, x + 20, y), Point(x, y)])
    area = save(tmp_path / "area.gpkg", [1], [inside], 32632)
    run("predict", scene, "-o", tmp_path / "m.tif", "-m", tiny_model, "--aoi", area, "-n")


@pytest.mark.parametrize("suffix", [".parquet", ".geojsonl", ".geojson", ".fgb", ".shp", ".gpkg"])
def test_whatever_vectorize_writes_is_read_as_reference_and_area(
    tmp_path, compared, tiny_model, suffix
):
    classes = np.kron([[0, 1], [1, 0]], np.ones((50, 50))).astype(np.uint8)
    place = from_origin(500_000, 5_400_000, 0.5, 0.5)
    raster = write_map(tmp_path / "map.tif", place, 32632, classes)
    polygons = tmp_path / f"polygons{suffix}"
    run("vectorize", raster, "-o", polygons)
    legend = tmp_path / "legend.json"
    entries = [{"id": i, "name": f"class {i}", "color": f"#{i}{i}{i}{i}{i}{i}"} for i in (0, 1)]
    legend.write_text(json.dumps({"classes": entries}))
    words = (
        "--reference", polygons, "--class-field", "class_id", "--legend", legend, "--json", "-q",
    )  # fmt: skip
    found = json.loads(run("evaluate", raster, *words).stdout)
    assert found["pixels"] == 10_000
    assert found["overall_accuracy"] == 1.0


def test_a_format_that_is_not_read_is_refused_with_those_that_are(tmp_path, tiny_model):
    image = np.random.default_rng(0).integers(30, 220, (3, 80, 80), dtype=np.uint8)
    scene = write_geotiff(tmp_path / "scene.tif", image, photometric="RGB")
    labels = tmp_path / "labels.kml"
    labels.write_text("<kml/>")
    words = ("predict", scene, "-o", tmp_path / "o.tif", "-m", tiny_model, "-n")
    result = run(*words, "--aoi", labels, code=2)
    assert "GeoPackage" in result.stderr
