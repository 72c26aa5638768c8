"""What `hyseg vectorize` writes: formats, styles, places and sizes."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
from geo.coverage.coverages import blobs
from rasterio.transform import from_origin
from workflows.vectorizing import read, run

from hyseg_cli.geo.vector import features, formats
from hyseg_cli.workflows.vectorize import polygons


def by_place(features):
    """The order of the features by their bounding boxes; formats may reorder them."""
    keys = features.bounds.round(1).assign(n_px=features.n_px)
    return keys.sort_values(list(keys.columns)).index


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet", ".shp", ".geojson", ".geojsonl"])
def test_every_format_holds_the_same_polygons(tmp_path, land_cover, suffix):
    out = tmp_path / f"map{suffix}"
    result = run(land_cover, "--out", out)
    assert result.exit_code == 0, result.stderr
    expected = tmp_path / "expected.gpkg"
    run(land_cover, "--out", expected)
    found, expected = read(out), read(expected)
    in_degrees = suffix.startswith(".geojson")
    assert found.crs == ("EPSG:4326" if in_degrees else expected.crs)
    assert shapely.coverage_is_valid(found.geometry.values)
    same = found.to_crs(expected.crs) if in_degrees else found
    found, same = found.loc[by_place(same)], same.loc[by_place(same)]
    expected = expected.loc[by_place(expected)]
    columns = ["class_id", "class_name", "n_px"]
    assert found[columns].to_numpy().tolist() == expected[columns].to_numpy().tolist()
    np.testing.assert_allclose(found.area_m2, expected.area_m2)
    # perimeters are those of the map's own CRS, whatever is written
    np.testing.assert_allclose(found.perim_m, expected.perim_m, atol=1e-3)
    distance = shapely.hausdorff_distance(same.geometry.values, expected.geometry.values)
    assert distance.max() < (0.02 if in_degrees else 1e-9)


def test_geojson_follows_rfc_7946(tmp_path, land_cover):
    out = tmp_path / "map.geojson"
    run(land_cover, "--out", out)
    collection = json.loads(out.read_text())
    assert "crs" not in collection
    for feature in collection["features"]:
        exterior, *holes = feature["geometry"]["coordinates"]
        assert shapely.LinearRing(exterior).is_ccw
        assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)
        assert all(round(value, 7) == value for point in exterior for value in point)


def test_a_geopackage_opens_in_the_colors_of_the_legend(tmp_path, land_cover):
    out = tmp_path / "map.gpkg"
    run(land_cover, "--out", out, "--layer", "east")
    with sqlite3.connect(out) as database:
        (row,) = database.execute(
            "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML, styleSLD"
            " FROM layer_styles"
        ).fetchall()
        (registered,) = database.execute(
            "SELECT data_type FROM gpkg_contents WHERE table_name = 'layer_styles'"
        ).fetchone()
        # QGIS passes over a style for another geometry column than the layer's.
        (column,) = database.execute(
            "SELECT column_name FROM gpkg_geometry_columns WHERE table_name = 'east'"
        ).fetchone()
    assert row[:3] == ("east", column, 1)
    assert registered == "attributes"
    assert 'value="61,127,196,255"' in row[3]
    assert 'label="water"' in row[3]
    assert "#3d7fc4" in row[4]
    assert pyogrio.list_layers(out)[:, 0].tolist() == ["east", "layer_styles"]


def test_geoparquet_has_its_crs_and_a_box_around_each_polygon(tmp_path, land_cover):
    import pyarrow.parquet as pq

    out = tmp_path / "map.parquet"
    run(land_cover, "--out", out)
    table = pq.read_table(out)
    geo = json.loads(table.schema.metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    column = geo["columns"][geo["primary_column"]]
    assert pyproj.CRS.from_json_dict(column["crs"]) == "EPSG:32632"
    assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    boxes = np.array([tuple(box.values()) for box in table["bbox"].to_pylist()])
    np.testing.assert_array_equal(boxes, shapely.bounds(read(out).geometry.values))


def test_another_crs_keeps_neighbours_together(tmp_path, land_cover):
    out = tmp_path / "map.fgb"
    assert run(land_cover, "--out", out, "--dst-crs", "EPSG:3035").exit_code == 0
    features = read(out)
    assert features.crs == "EPSG:3035"
    assert shapely.coverage_is_valid(features.geometry.values)


def test_too_large_a_shapefile_is_refused_or_split(tmp_path, land_cover, monkeypatch):
    monkeypatch.setattr(polygons, "SHAPEFILE_LIMIT", 40_000)
    monkeypatch.setattr(formats, "SHAPEFILE_LIMIT", 40_000)
    monkeypatch.setattr(features, "MAX_BATCH_BYTES", 10_000)
    out = tmp_path / "map.shp"
    before = set(tmp_path.iterdir())
    result = run(land_cover, "--out", out)
    assert result.exit_code == 2, result.stderr
    assert "more than a Shapefile can hold" in result.stderr
    assert "--split-files" in result.stderr
    assert set(tmp_path.iterdir()) == before
    result = run(land_cover, "--out", out, "--split-files")
    assert result.exit_code == 0, result.stderr
    parts = [tmp_path / name for name in result.stdout.split() if name.endswith(".shp")]
    assert len(parts) > 1
    assert parts[0] == tmp_path / "map_1.shp"
    together = np.concatenate([gpd.read_file(part).geometry.values for part in parts])
    assert shapely.coverage_is_valid(together)
    run(land_cover, "--out", tmp_path / "whole.gpkg")
    assert len(together) == len(read(tmp_path / "whole.gpkg"))
    assert run(land_cover, "--out", out, "--split-files").exit_code == 3


@pytest.mark.parametrize("flags", [[], ["--smooth", "--simplify", "1.5px"]])
@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson", ".parquet"])
def test_the_expected_size_is_about_right(tmp_path, write_raster, monkeypatch, suffix, flags):
    path = write_raster(blobs(600, 600, roughness=1.5), nodata=255)
    out = tmp_path / f"map{suffix}"
    assert run(path, "--out", out, *flags).exit_code == 0
    size = sum(part.stat().st_size for part in tmp_path.glob("map.*"))
    for share, code in ((0.5, 1), (2.0, 0)):
        free = SimpleNamespace(free=share * size)
        monkeypatch.setattr(polygons.shutil, "disk_usage", lambda _, free=free: free)
        assert run(path, "--out", out, "--overwrite", *flags).exit_code == code


OGRINFO = shutil.which("ogrinfo")


@pytest.mark.skipif(OGRINFO is None, reason="ogrinfo (gdal-bin) is not installed")
def test_gdals_own_tool_reads_layer_and_style(tmp_path, land_cover):
    out = tmp_path / "map.gpkg"
    assert run(land_cover, "--out", out).exit_code == 0

    def told(*arguments):
        done = subprocess.run([OGRINFO, *arguments], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout

    summary = told("-so", str(out), "landcover")
    assert f"Feature Count: {len(read(out))}" in summary
    assert "Geometry: Polygon" in summary
    style = told("-q", str(out), "layer_styles")
    assert "f_table_name (String) = landcover" in style
    assert "useAsDefault (Integer(Boolean)) = 1" in style
    assert "categorizedSymbol" in style


def test_every_file_of_a_shapefile_is_protected_and_replaced(tmp_path, land_cover, write_raster):
    out = tmp_path / "map.shp"
    assert run(land_cover, "--out", out).exit_code == 0
    out.unlink()
    (tmp_path / "map.qix").write_bytes(b"an index of the old polygons")
    result = run(land_cover, "--out", out)
    assert result.exit_code == 3
    assert "exists already" in result.stderr
    nowhere = write_raster(
        np.ones((4, 4), np.uint8), "no.tif", crs=None, transform=rasterio.Affine.scale(2)
    )
    assert run(nowhere, "--out", out, "--overwrite").exit_code == 0
    assert gpd.read_file(out).crs is None
    assert not (tmp_path / "map.qix").exists()


def test_a_local_crs_is_kept(tmp_path, write_raster):
    wkt = 'LOCAL_CS["arbitrary",UNIT["metre",1]]'
    path = write_raster(np.ones((4, 4), np.uint8), crs=rasterio.crs.CRS.from_wkt(wkt))
    out = tmp_path / "map.gpkg"
    result = run(path, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert read(out).area_m2.tolist() == [4.0]
    result = run(path, "--out", tmp_path / "map.geojson")
    assert result.exit_code == 2
    assert "cannot be transformed" in result.stderr


def test_pixels_too_small_for_the_decimals_of_a_format_are_told(tmp_path, write_raster):
    classes = np.random.default_rng(0).integers(0, 3, (60, 60)).astype(np.uint8)
    path = write_raster(classes, transform=from_origin(500_000, 5_400_000, 0.01, 0.01))
    result = run(path, "--out", tmp_path / "map.geojson")
    assert result.exit_code == 5
    assert "write a .gpkg" in result.stderr
    assert not (tmp_path / "map.geojson").exists()
