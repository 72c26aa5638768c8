"""Where rasters lie: contradictions, CRS with heights, frames that nobody names."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.crs import CRS
from rasterio.transform import from_origin
from rasters import write_geotiff

from hyseg_cli.cli.group import cli

IMAGE = np.random.default_rng(3).integers(30, 220, (3, 64, 64), dtype=np.uint8)
CLASSES = np.kron([[0, 1], [1, 0]], np.ones((32, 32))).astype(np.uint8)
LEGEND = {
    "classes": [
        {"id": 0, "name": "land", "color": "#aa8844"},
        {"id": 1, "name": "water", "color": "#2244cc"},
    ]
}
ROTATED_POLE = (
    "+proj=ob_tran +o_proj=longlat +o_lon_p=-162 +o_lat_p=39.25 +lon_0=180"
    " +to_meter=0.0174532925199433"
)
WITH_HEIGHTS = {
    "rd_nap": ("EPSG:7415", 127_400, 428_225, 0.25),
    "ny_navd88_ft": ("EPSG:8767", 980_000, 200_000, 0.25),
    "utm_3d": ("EPSG:32651+4979", 500_000, 400_000, 0.25),
    "rotated_pole": (ROTATED_POLE, 5, 50, 3e-6),
    "north_first": ("EPSG:2193", 1_600_000, 5_400_000, 0.25),
}


def run(*words, code=0, env=None):
    result = CliRunner().invoke(cli, [str(word) for word in words], env=env)
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize("case", WITH_HEIGHTS)
def test_maps_layers_and_catalogues_keep_the_crs_of_the_scene(tmp_path, tiny_model, case):
    text, x, y, size = WITH_HEIGHTS[case]
    crs, place = CRS.from_user_input(text), from_origin(x, y, size, size)
    scene = write_geotiff(
        tmp_path / "scene.tif", IMAGE, crs=crs, transform=place, photometric="RGB"
    )
    out, sure = tmp_path / "map.tif", tmp_path / "sure.tif"
    run("predict", scene, "-o", out, "-m", tiny_model, "--confidence", sure, "--stac", "-q")
    for path in (out, sure):
        with rasterio.open(path) as file:
            assert file.crs == crs
            assert file.transform == place
    item = json.loads((tmp_path / "map.tif.stac.json").read_text())
    epsg = crs.to_epsg()
    assert item["properties"]["proj:code"] == (None if epsg is None else f"EPSG:{epsg}")
    classes = write_geotiff(tmp_path / "c.tif", CLASSES, crs=crs, transform=place, nodata=255)
    sieved = tmp_path / "sieved.tif"
    run("vectorize", classes, "-o", tmp_path / "layer.gpkg", "--sieve-out", sieved, "--mmu", "2px")
    with rasterio.open(sieved) as file:
        assert file.crs == crs
    layer = gpd.read_file(tmp_path / "layer.gpkg", layer="landcover")
    assert layer.crs.to_epsg() == epsg


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (from_origin(500_000, 5_400_000, 0.25, 0.25), "its CRS is in degrees"),
        (from_origin(51.84, 149.8, 3e-6, 3e-6), "swapped"),
    ],
)
def test_coordinates_that_contradict_the_crs_are_named(tmp_path, tiny_model, place, said):
    scene = write_geotiff(
        tmp_path / "scene.tif", IMAGE, crs=4326, transform=place, photometric="RGB"
    )
    classes = write_geotiff(tmp_path / "map.tif", CLASSES, crs=4326, transform=place, nodata=255)
    assert said in run("info", scene).stdout
    before = sorted(tmp_path.iterdir())
    for words in (
        ("predict", scene, "-m", tiny_model, "-o", tmp_path / "o.tif"),
        ("vectorize", classes, "-o", tmp_path / "o.geojson"),
        ("vectorize", classes, "-o", tmp_path / "o.gpkg"),
        ("sample", classes, "-o", tmp_path / "p.gpkg", "--count", 100),
    ):
        assert said in run(*words, code=4).stderr
    assert sorted(tmp_path.iterdir()) == before


def test_degrees_in_a_crs_of_metres_are_named(tmp_path):
    place = from_origin(4.9, 51.8, 3e-6, 3e-6)
    classes = write_geotiff(tmp_path / "map.tif", CLASSES, crs=32631, transform=place, nodata=255)
    result = run("vectorize", classes, "-o", tmp_path / "o.gpkg", code=4)
    assert "look like degrees" in result.stderr


def test_polygons_of_a_map_beyond_180_degrees_are_written_where_they_lie(tmp_path):
    place = from_origin(355, 48, 1e-5, 1e-5)
    classes = write_geotiff(tmp_path / "map.tif", CLASSES, crs=4326, transform=place, nodata=255)
    run("vectorize", classes, "-o", tmp_path / "o.geojson")
    bounds = gpd.read_file(tmp_path / "o.geojson").total_bounds
    assert bounds == pytest.approx([-5, 48 - 64e-5, -5 + 64e-5, 48])


def test_a_sieved_raster_does_not_take_over_the_side_car_of_the_one_that_it_replaces(tmp_path):
    crs = CRS.from_user_input("EPSG:32651+4979")
    classes = write_geotiff(tmp_path / "c.tif", CLASSES, crs=crs, nodata=255)
    plain = write_geotiff(tmp_path / "p.tif", CLASSES, crs=32632, nodata=255)
    sieved = tmp_path / "sieved.tif"
    for raster in (classes, plain):
        run("vectorize", raster, "-o", tmp_path / "l.gpkg", "--sieve-out", sieved, "--mmu", "2px",
            "--overwrite")  # fmt: skip
        with rasterio.open(raster) as before, rasterio.open(sieved) as after:
            assert after.crs == before.crs
    assert not (tmp_path / "sieved.tif.aux.xml").exists()


@pytest.mark.parametrize("apart", [True, False])
def test_rasters_with_a_transform_and_no_crs_share_one_frame(tmp_path, apart):
    legend = tmp_path / "legend.json"
    legend.write_text(json.dumps(LEGEND))
    first = write_geotiff(
        tmp_path / "map.tif", CLASSES, crs=None, transform=from_origin(1000, 2000, 1, 1)
    )
    left = 1064 if apart else 1032
    second = write_geotiff(
        tmp_path / "truth.tif", CLASSES, crs=None, transform=from_origin(left, 2000, 1, 1)
    )
    words = ("evaluate", first, "--reference", second, "--legend", legend, "--json", "-q")
    result = run(*words, code=1 if apart else 0)
    if apart:
        assert "do not overlap" in result.stderr
    else:
        assert json.loads(result.stdout)["pixels"] == 32 * 64


@pytest.mark.parametrize("variable", ["PROJ_LIB", "PROJ_DATA"])
def test_the_database_of_another_proj_is_not_used_and_that_is_said(tmp_path, tiny_model, variable):
    place = from_origin(127_400, 428_225, 0.25, 0.25)
    scene = write_geotiff(
        tmp_path / "scene.tif", IMAGE, crs=28992, transform=place, photometric="RGB"
    )
    folder = tmp_path / "other"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "proj.db")) as database, database:
        database.execute("CREATE TABLE metadata (key TEXT PRIMARY KEY, value TEXT)")
        rows = [("DATABASE.LAYOUT.VERSION.MAJOR", "1"), ("DATABASE.LAYOUT.VERSION.MINOR", "0")]
        database.executemany("INSERT INTO metadata VALUES (?, ?)", rows)
    words = ("predict", scene, "-o", tmp_path / "map.tif", "-m", tiny_model)
    result = run(*words, env={variable: str(folder)})
    assert result.stderr.count(f"{variable}={folder}") == 1
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.crs.to_epsg() == 28992


def test_the_database_of_another_proj_is_not_used_by_functions_either(tmp_path, tiny_model):
    place = from_origin(127_400, 428_225, 0.25, 0.25)
    scene = write_geotiff(
        tmp_path / "scene.tif", IMAGE, crs=28992, transform=place, photometric="RGB"
    )
    (tmp_path / "proj.db").write_bytes(b"")
    program = """
import sys
import hyseg_cli as hyseg
hyseg.predict(sys.argv[1], sys.argv[2], model=sys.argv[3])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, scene, tmp_path / "map.tif", tiny_model],
        check=False, capture_output=True, text=True, env=os.environ | {"PROJ_DATA": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"RuntimeWarning: PROJ_DATA={tmp_path}" in done.stderr
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.crs.to_epsg() == 28992


def test_a_missing_tile_of_a_mosaic_is_named(tmp_path, tiny_model):
    scene = write_geotiff(tmp_path / "t0.tif", IMAGE, photometric="RGB")
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><ColorInterp>{color}</ColorInterp>'
        + "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename>'
            f"<SourceBand>{band}</SourceBand>"
            '<SrcRect xOff="0" yOff="0" xSize="64" ySize="64"/>'
            f'<DstRect xOff="{i * 64}" yOff="0" xSize="64" ySize="64"/></SimpleSource>'
            for i, name in enumerate((scene.name, "gone.tif"))
        )
        + "</VRTRasterBand>"
        for band, color in ((1, "Red"), (2, "Green"), (3, "Blue"))
    )
    vrt = tmp_path / "tiles.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="128" rasterYSize="64"><SRS>EPSG:32632</SRS>'
        f"<GeoTransform>500000, 0.5, 0, 5400000, 0, -0.5</GeoTransform>{bands}</VRTDataset>"
    )
    out = tmp_path / "map.tif"
    result = run("predict", vrt, "-o", out, "-m", tiny_model, code=1)
    assert "gone.tif" in result.stderr
    assert not out.exists()
