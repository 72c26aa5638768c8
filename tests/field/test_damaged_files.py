"""What the fuzzers found, one test each: a damaged file is one line, whatever it is asked for."""

import errno
import json
import struct

import click
import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pyproj
import pytest
import rasterio
import shapely
from click.testing import CliRunner
from rasterio.errors import RasterioIOError
from rasterio.transform import from_origin
from rasters import write_geotiff
from shapely.geometry import box

from hyseg_cli.cli.exit import reporting_errors
from hyseg_cli.cli.group import cli

LEGEND = '{"classes": [{"id": 0, "name": "a", "color": "#000000"}]}'


def require_one_line(*words, codes=(1, 4)):
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code in codes, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    assert "unexpected" not in errors[0]
    return result


def test_a_tiff_whose_next_directory_lies_nowhere(tmp_path):
    pixels = np.zeros((40, 40), np.uint8)
    path = write_geotiff(tmp_path / "map.tif", pixels, BIGTIFF="YES", nodata=255)
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<Q", data, 8)
    (entries,) = struct.unpack_from("<Q", data, start)
    struct.pack_into("<Q", data, start + 8 + 20 * entries, 0xFF00000000000000)
    path.write_bytes(data)
    (tmp_path / "legend.json").write_text(LEGEND)
    for words in (
        ("info", path),
        ("vectorize", path, "-o", tmp_path / "o.gpkg"),
        ("evaluate", path, "--reference", path, "--legend", tmp_path / "legend.json"),
    ):
        assert "its header cannot be read" in require_one_line(*words).stderr


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326", ""])
@pytest.mark.parametrize(
    "transform",
    [
        "500000, 0.5, 0, nan, 0, -0.5",
        "inf, 0.5, 0, 5400000, 0, -0.5",
        "500000, 0.5, 0, 5400000, 0, -1.8e-304",
        "500000, 0, 0, 5400000, 0, 0",
        "500000, 0.5, 0.5, 5400000, 0.5, 0.5",
        "1e300, 1e299, 0, 5400000, 0, -1e299",
    ],
)
def test_a_geotransform_that_is_none(tmp_path, tiny_model, crs, transform):
    write_geotiff(tmp_path / "pixels.tif", np.zeros((40, 40), np.uint8), crs=None)
    path = tmp_path / "map.vrt"
    path.write_text(
        f'<VRTDataset rasterXSize="40" rasterYSize="40"><SRS>{crs}</SRS><GeoTransform>{transform}'
        '</GeoTransform><VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename '
        'relativeToVRT="1">pixels.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    (tmp_path / "legend.json").write_text(LEGEND)
    for words in (
        ("info", path),
        ("vectorize", path, "-o", tmp_path / "o.gpkg"),
        ("sample", path, "-o", tmp_path / "s.gpkg"),
        ("evaluate", path, "--reference", path, "--legend", tmp_path / "legend.json"),
        ("predict", path, "-o", tmp_path / "o.tif", "-m", tiny_model),
    ):
        assert "its geotransform is not valid" in require_one_line(*words).stderr


@pytest.mark.parametrize("damage", ["ring", "description"])
def test_a_geoparquet_with_a_ring_that_is_open_or_a_description_that_lacks_something(
    tmp_path, damage
):
    raster = write_geotiff(tmp_path / "map.tif", np.zeros((40, 40), np.uint8))
    (tmp_path / "legend.json").write_text(LEGEND)
    path = tmp_path / "labels.parquet"
    shape = box(500_000, 5_399_990, 500_010, 5_400_000)
    gpd.GeoDataFrame({"class": ["a"]}, geometry=[shape], crs=32632).to_parquet(path)
    table = pyarrow.parquet.read_table(path)
    if damage == "ring":
        wkb = bytearray(shapely.to_wkb(shape))
        wkb[-1] ^= 1
        column = table.schema.get_field_index("geometry")
        table = table.set_column(column, "geometry", pa.array([bytes(wkb)], pa.binary()))
    else:
        described = table.schema.metadata[b"geo"].replace(b"columns", b"calumns")
        table = table.replace_schema_metadata({b"geo": described})
    pyarrow.parquet.write_table(table, path)
    words = ("evaluate", raster, "--legend", tmp_path / "legend.json", "--reference", path)
    assert "cannot be read as a vector file" in require_one_line(*words).stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ESTALE, "Stale file handle", "/share/a.tif"), "/share/a.tif: the system"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (PermissionError(errno.EACCES, "Permission denied", "b.csv"), "b.csv"),
        (MemoryError("cannot allocate 9 GiB"), "not enough memory"),
        (RasterioIOError("Read failed"), "Read failed"),
        (KeyError("x"), "unexpected KeyError"),
    ],
)
def test_what_the_system_refuses_is_not_called_a_defect(error, said):
    def fail():
        raise error

    command = click.Command(
        "fail", callback=lambda: reporting_errors(click.get_current_context(), fail)
    )
    result = CliRunner().invoke(command)
    assert result.exit_code == 1
    assert said in result.stderr
    assert ("defect" in result.stderr) == ("unexpected" in said)


@pytest.mark.parametrize("suffix", [".shp", ".gpkg", ".parquet"])
def test_coordinates_that_are_not_numbers(tmp_path, tiny_model, suffix):
    raster = write_geotiff(tmp_path / "map.tif", np.zeros((40, 40), np.uint8))
    image = np.full((3, 40, 40), 90, np.uint8)
    scene = write_geotiff(tmp_path / "scene.tif", image, photometric="RGB")
    (tmp_path / "legend.json").write_text(LEGEND)
    path = tmp_path / f"labels{suffix}"
    shape = shapely.Polygon([(500_000, 5_400_000), (500_007.25, 5_399_990), (500_010, 5_400_000)])
    frame = gpd.GeoDataFrame({"class": ["a"]}, geometry=[shape], crs=32632)
    if suffix == ".parquet":
        frame.to_parquet(path, compression=None)
    else:
        frame.to_file(path)
    number, nan = struct.pack("<d", 500_007.25), struct.pack("<d", float("nan"))
    path.write_bytes(path.read_bytes().replace(number, nan))
    for words in (
        ("evaluate", raster, "--legend", tmp_path / "legend.json", "--reference", path),
        ("predict", scene, "-m", tiny_model, "-n", "-o", tmp_path / "o.tif", "--aoi", path),
    ):
        assert "not numbers" in require_one_line(*words).stderr


def test_a_local_crs_is_not_laid_over_one_of_the_earth(tmp_path, tiny_model):
    local = 'LOCAL_CS["site",UNIT["metre",1]]'
    pixels = np.random.default_rng(0).integers(0, 2, (40, 40), dtype=np.uint8)
    here = write_geotiff(tmp_path / "here.tif", pixels, crs=local, nodata=255)
    there = write_geotiff(tmp_path / "there.tif", pixels, nodata=255)
    image = np.full((3, 40, 40), 90, np.uint8)
    scene = write_geotiff(tmp_path / "scene.tif", image, crs=local, photometric="RGB")
    labels = tmp_path / "labels.gpkg"
    shape = box(500_000, 5_399_990, 500_010, 5_400_000)
    gpd.GeoDataFrame({"class": ["0"]}, geometry=[shape], crs=4326).to_file(labels)
    legend = tmp_path / "legend.json"
    classes = [{"id": i, "name": str(i), "color": "#000000"} for i in range(2)]
    legend.write_text(json.dumps({"classes": classes}))
    for words in (
        ("evaluate", here, "--legend", legend, "--reference", there),
        ("evaluate", here, "--legend", legend, "--reference", labels),
        ("change", here, there, "--legend", legend),
        ("sample", here, "-o", tmp_path / "s.gpkg", "--strata", there, "--count", 200),
        ("predict", scene, "-m", tiny_model, "-n", "-o", tmp_path / "o.tif", "--aoi", labels),
    ):
        assert "coordinates cannot be transformed from" in require_one_line(*words).stderr


@pytest.mark.parametrize("far", ["1e300", "9e307", "-1e30"])
def test_coordinates_that_no_crs_has(tmp_path, far):
    raster = write_geotiff(tmp_path / "map.tif", np.zeros((40, 40), np.uint8))
    legend, labels = tmp_path / "legend.json", tmp_path / "in.geojsonl"
    legend.write_text(LEGEND)
    ring = f"[[9, 48], [9, {far}], [12, {far}], [9, 48]]"
    labels.write_text(
        '{"type": "Feature", "properties": {"class_id": 0}, '
        f'"geometry": {{"type": "Polygon", "coordinates": [{ring}]}}}}\n'
    )
    flags = ("--reference", labels, "--class-field", "class_id", "--legend", legend)
    result = require_one_line("evaluate", raster, *flags, codes=(1,))
    assert "coordinates that no CRS has" in result.stderr


def test_a_hole_that_lies_far_outside_of_its_polygon(tmp_path):
    place = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_400_000, 0.5, 0.5)}
    raster = write_geotiff(tmp_path / "map.tif", np.zeros((40, 40), np.uint8), **place)
    legend, labels = tmp_path / "legend.json", tmp_path / "in.geojsonl"
    legend.write_text(LEGEND)
    outer = [[9.0001, 48.7529], [9.0002, 48.7529], [9.0002, 48.75299], [9.0001, 48.7529]]
    hole = [[9.0001, 48.7529], [970000544.0, 48.7529], [9.0001, 48.7528], [9.0001, 48.7529]]
    shape = {"type": "Polygon", "coordinates": [outer, hole]}
    feature = {"type": "Feature", "properties": {"class_id": 0}, "geometry": shape}
    labels.write_text(json.dumps(feature) + "\n")
    flags = ("--reference", labels, "--class-field", "class_id", "--legend", legend)
    result = CliRunner().invoke(cli, [str(word) for word in ("evaluate", raster, *flags)])
    assert result.exit_code in (0, 1, 2), result.output
    assert "unexpected" not in result.stderr


def test_a_projection_of_a_shapefile_that_is_not_text(tmp_path, tiny_model):
    image = np.full((3, 40, 40), 90, np.uint8)
    scene = write_geotiff(tmp_path / "scene.tif", image, photometric="RGB")
    shape = box(500_000, 5_399_990, 500_010, 5_400_000)
    gpd.GeoDataFrame({"class": ["a"]}, geometry=[shape], crs=32632).to_file(tmp_path / "l.shp")
    projection = tmp_path / "l.prj"
    text = projection.read_bytes()
    projection.write_bytes(text[:195] + b"\xff\xff\xff\xff" + text[199:])
    words = ("predict", scene, "-m", tiny_model, "-n", "-o", tmp_path / "o.tif")
    result = require_one_line(*words, "--aoi", tmp_path / "l.shp")
    assert "cannot be read as a vector file" in result.stderr


@pytest.mark.parametrize("command", ["info", "predict"])
def test_a_model_of_a_network_that_nobody_knows(tmp_path, tiny_model, command):
    model = tmp_path / "other.safetensors"
    known = tiny_model.read_bytes()
    assert b"resnet10t" in known
    model.write_bytes(known.replace(b"resnet10t", b"reSnet10t"))
    scene = write_geotiff(tmp_path / "scene.tif", np.ones((3, 32, 32), np.uint8))
    words = {"info": (model,), "predict": (scene, "-m", model, "-o", tmp_path / "map.tif")}
    done = CliRunner().invoke(cli, [command, *map(str, words[command])])
    assert done.exit_code == 4, done.output
    assert "unexpected" not in done.stderr
    assert "reSnet10t" in done.stderr
    assert not (tmp_path / "map.tif").exists()


def test_a_crs_that_is_not_what_its_code_stands_for(tmp_path):
    """The layer is named as the map is, and nobody is bothered with what GDAL says of it."""
    path = write_geotiff(tmp_path / "map.tif", np.zeros((40, 40), np.uint8), nodata=255)
    data = bytearray(path.read_bytes())
    # GeogAngularUnitsGeoKey (2054) becomes GeogGeodeticDatumGeoKey (2050): 9102 is no datum
    at = data.find(struct.pack("<HHHH", 2054, 0, 1, 9102))
    assert at > 0
    struct.pack_into("<H", data, at, 2050)
    path.write_bytes(data)
    out = tmp_path / "o.gpkg"
    result = CliRunner().invoke(cli, ["vectorize", str(path), "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert "SRS" not in result.stderr
    with rasterio.open(path) as file:
        damaged = pyproj.CRS(file.crs)
    assert damaged.geodetic_crs.datum.name == "unnamed"
    assert gpd.read_file(out, layer="landcover").crs.name == damaged.name


RAT = """<PAMDataset><PAMRasterBand band="1"><GDALRasterAttributeTable>
<FieldDefn index="0"><Usage>5</Usage></FieldDefn><FieldDefn index="1"><Usage>2</Usage></FieldDefn>
<FieldDefn index="2"><Usage>6</Usage></FieldDefn><FieldDefn index="3"><Usage>7</Usage></FieldDefn>
<FieldDefn index="4"><Usage>8</Usage></FieldDefn><Row index="0">{}</Row>
</GDALRasterAttributeTable></PAMRasterBand></PAMDataset>"""


@pytest.mark.parametrize(
    "cells", ["0 a 4A 2 3", "0 a nan 2 3", "0 a 256 2 3", "0 a -1 2 3", "x a 1 2 3", "inf a 1 2 3",
              "0"],
)  # fmt: skip
def test_an_attribute_table_whose_row_is_no_class(tmp_path, cells):
    path = write_geotiff(tmp_path / "map.tif", np.zeros((4, 4), np.uint8))
    row = "".join(f"<F>{cell}</F>" for cell in cells.split())
    (tmp_path / "map.tif.aux.xml").write_text(RAT.format(row))
    result = require_one_line("vectorize", path, "-o", tmp_path / "o.gpkg", codes=(1,))
    assert "row 1 of its attribute table" in result.stderr
