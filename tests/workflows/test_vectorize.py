"""`hyseg vectorize` from the command line."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
from click.testing import CliRunner
from geo.arcs.coverages import blobs
from PIL import Image
from rasterio.transform import from_origin

from hyseg_cli.cli import cli
from hyseg_cli.errors import HysegError
from hyseg_cli.geo import features, formats
from hyseg_cli.geo.arcs import rings
from hyseg_cli.geo.mosaic import MapSpec
from hyseg_cli.workflows import polygons


def run(*arguments):
    return CliRunner().invoke(cli, ["vectorize", *map(str, arguments)])


@pytest.fixture
def land_cover(tmp_path, scene_folder, legend, write_map):
    """A map such as `hyseg predict` writes."""
    with rasterio.open(scene_folder / "labels" / "east.tif") as file:
        labels = file.read(1)
        spec = MapSpec(
            height=file.height,
            width=file.width,
            crs=file.crs,
            transform=file.transform,
            legend=legend,
            tags={},
        )
    write_map(tmp_path / "map.tif", spec, labels)
    return tmp_path / "map.tif"


def read(path, layer="landcover"):
    if path.suffix == ".parquet":
        return gpd.read_parquet(path)
    return gpd.read_file(path, layer=layer) if path.suffix == ".gpkg" else gpd.read_file(path)


@pytest.mark.parametrize(
    "flags", [[], ["--smooth"], ["--simplify", "1.5px"], ["--smooth", "--simplify", "1m"]]
)
def test_a_map_becomes_a_coverage_of_named_polygons(tmp_path, land_cover, flags):
    out = tmp_path / "map.gpkg"
    result = run(land_cover, "--out", out, *flags)
    assert result.exit_code == 0, result.stderr
    features = read(out)
    assert shapely.coverage_is_valid(features.geometry.values)
    with rasterio.open(land_cover) as file:
        valid = int((file.read(1) != 255).sum())
        assert features.crs == file.crs
    assert features.n_px.sum() == valid
    assert features.area_m2.sum() == pytest.approx(valid * 0.25)
    if not flags:
        np.testing.assert_allclose(features.geometry.area, features.area_m2)
        np.testing.assert_allclose(features.geometry.length, features.perim_m)
    assert set(features.class_name) == {"building", "land", "road", "vegetation", "water"}
    assert result.stdout.startswith(f"{len(features)} polygons")
    assert {p.name for p in tmp_path.iterdir()} == {"map.tif", "map.tif.aux.xml", "map.gpkg"}


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
    assert 'value="226,169,41,255"' in row[3]
    assert 'label="water"' in row[3]
    assert "#e2a929" in row[4]
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


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", from_origin(9.0, 47.0, 1e-4, 1e-4)),
        ("EPSG:32632", rasterio.Affine(1, 0, 5e5, 0, 1, 5.4e6)),
        ("EPSG:32632", rasterio.Affine(0.8, 0.3, 5e5, 0.3, -0.8, 5.4e6)),
        (None, rasterio.Affine(2, 0, 0, 0, 2, 0)),
    ],
    ids=["degrees", "south-up", "rotated", "no CRS"],
)
def test_every_placing_of_a_raster_is_kept(tmp_path, write_raster, crs, transform):
    classes = np.kron(np.arange(12).reshape(3, 4) % 5, np.ones((7, 6), int)).astype(np.uint8)
    path = write_raster(classes, crs=crs, transform=transform)
    out = tmp_path / "map.gpkg"
    result = run(path, "--out", out)
    assert result.exit_code == 0, result.stderr
    features = read(out)
    assert all(polygon.exterior.is_ccw for polygon in features.geometry)
    corners = [transform @ (col, row) for col in (0, 24) for row in (0, 21)]
    hull = shapely.MultiPoint(corners).convex_hull
    union = shapely.union_all(features.geometry.values)
    assert union.symmetric_difference(hull).area < 1e-9 * hull.area
    assert shapely.coverage_is_valid(features.geometry.values)
    if crs == "EPSG:4326":
        geod = pyproj.Geod(ellps="WGS84")
        expected = [abs(geod.geometry_area_perimeter(g)[0]) for g in features.geometry]
        np.testing.assert_allclose(features.area_m2, expected, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32"])
def test_wide_class_numbers_are_written(tmp_path, write_raster, dtype):
    classes = np.array([[300, 300], [7, 300]], dtype)
    out = tmp_path / "map.gpkg"
    assert run(write_raster(classes, nodata=7), "--out", out).exit_code == 0
    features = read(out)
    assert features.class_id.tolist() == [300]
    assert features.class_name.tolist() == ["300"]


def test_names_come_from_the_side_car_of_other_programs(tmp_path, write_raster):
    path = write_raster(np.array([[1, 2], [2, 2]], np.uint8))
    (tmp_path / "raster.tif.aux.xml").write_text(
        "<PAMDataset><PAMRasterBand band='1'><GDALRasterAttributeTable>"
        "<FieldDefn index='0'><Name>Value</Name><Type>0</Type><Usage>5</Usage></FieldDefn>"
        "<FieldDefn index='1'><Name>Class</Name><Type>2</Type><Usage>2</Usage></FieldDefn>"
        "<Row index='0'><F>1</F><F>lake</F></Row><Row index='1'><F>2</F><F>shore</F></Row>"
        "</GDALRasterAttributeTable></PAMRasterBand></PAMDataset>"
    )
    out = tmp_path / "map.gpkg"
    assert run(path, "--out", out).exit_code == 0
    assert sorted(read(out).class_name) == ["lake", "shore"]


@pytest.mark.parametrize(
    ("mmu", "smallest"),
    [(["10m2"], 40), (["0.001ha"], 40), (["40px"], 40), (["10m2", "building=100m2"], 40)],
)
def test_no_polygon_is_smaller_than_the_mapping_unit(tmp_path, land_cover, mmu, smallest):
    out, sieved = tmp_path / "map.gpkg", tmp_path / "sieved.tif"
    flags = [part for amount in mmu for part in ("--mmu", amount)]
    result = run(land_cover, "--out", out, "--sieve-out", sieved, "--json", *flags)
    assert result.exit_code == 0, result.stderr
    features = read(out)
    assert features.n_px.min() >= smallest
    if len(mmu) > 1:
        assert features[features.class_name == "building"].n_px.min() >= 400
    assert json.loads(result.stdout)["merged"] > 0
    assert shapely.coverage_is_valid(features.geometry.values)
    with rasterio.open(land_cover) as before, rasterio.open(sieved) as after:
        old, new = before.read(1), after.read(1)
        assert after.colormap(1) == before.colormap(1)
        assert (after.crs, after.transform, after.nodata) == (before.crs, before.transform, 255)
    assert ((new == 255) == (old == 255)).all()
    counts = np.bincount(new.ravel(), minlength=256)
    by_class = features.groupby("class_id").n_px.sum()
    assert {int(c): int(n) for c, n in by_class.items()} == {
        c: int(counts[c]) for c in range(5) if counts[c]
    }


def test_a_kept_class_is_not_merged_away(tmp_path, land_cover):
    out = tmp_path / "map.gpkg"
    run(land_cover, "--out", out, "--mmu", "5000px", "--keep", "building")
    plain = tmp_path / "plain.gpkg"
    run(land_cover, "--out", plain)
    kept, before = (f[f.class_name == "building"] for f in (read(out), read(plain)))
    assert kept.n_px.sum() >= before.n_px.sum()


def test_only_the_classes_asked_for_are_written(tmp_path, land_cover):
    out = tmp_path / "map.gpkg"
    assert run(land_cover, "--out", out, "--classes", "road", "--classes", "4").exit_code == 0
    assert set(read(out).class_name) == {"road", "water"}


def test_the_summary_can_be_read_by_programs(tmp_path, land_cover):
    out = tmp_path / "map.gpkg"
    values = json.loads(run(land_cover, "--out", out, "--json").stdout)
    features = read(out)
    assert values["polygons"] == len(features)
    assert values["vertices"] == sum(
        len(ring.coords) - 1
        for polygon in features.geometry
        for ring in (polygon.exterior, *polygon.interiors)
    )
    areas = {entry["class_name"]: entry["area_m2"] for entry in values["classes"]}
    assert areas == pytest.approx(features.groupby("class_name").area_m2.sum().to_dict())
    assert values["check"]["matched"]
    assert values["check"]["conflicts"] == 0


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--out", "map.txt"], 2, "does not end in"),
        (["--out", "nowhere/map.gpkg"], 2, "no such folder"),
        (["--out", "map.gpkg", "--simplify", "5"], 2, "is not an amount in px or m"),
        (["--out", "map.gpkg", "--simplify", "-1px"], 2, "is not an amount"),
        (["--out", "map.gpkg", "--mmu", "5m"], 2, "is not an amount in px or m2 or ha"),
        (["--out", "map.gpkg", "--mmu", "5px", "--mmu", "road=5m2"], 2, "mixes pixels and areas"),
        (["--out", "map.gpkg", "--mmu", "swamp=5px"], 2, "The classes are building, land"),
        (["--out", "map.gpkg", "--classes", "swamp"], 2, "no such class"),
        (["--out", "map.gpkg", "--mmu", "5px", "--keep", "9"], 2, "no such class"),
        (["--out", "map.gpkg", "--fill-nodata"], 2, "needs a minimum mapping unit"),
        (["--out", "map.gpkg", "--split-tiles", "3"], 2, "less than 16"),
        (["--out", "map.gpkg", "--split-tiles", "64", "--dissolve"], 2, "Leave one of them out"),
        (["--out", "map.gpkg", "--split-files"], 2, "is for Shapefiles"),
        (["--out", "map.gpkg", "--confidence", "none.tif"], 2, "no such file"),
        (["--out", "map.SHP"], 2, "write .shp"),
        (["--out", "map.geojson", "--dst-crs", "EPSG:3857"], 2, "longitude and latitude"),
        (["--out", "map.gpkg", "--sieve-out", "s.png"], 2, "--sieve-out s.png does not end"),
        (["--out", "map.gpkg", "--dst-crs", "Mars"], 2, "is no CRS"),
        (["--out", "map.gpkg", "--legend", "none.json"], 2, "no such legend"),
        (["--out", "/proc/map.gpkg"], 1, "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_told_and_leaves_nothing(tmp_path, land_cover, flags, code, words):
    out = flags[1] if flags[1].startswith("/") else str(tmp_path / flags[1])
    before = set(tmp_path.iterdir())
    result = run(land_cover, "--out", out, *flags[2:])
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda w: w(np.zeros((3, 9, 9), np.uint8)), 4, "no class raster"),
        (lambda w: w(np.zeros((1, 9, 9), np.float32)), 4, "no class raster"),
        (lambda w: w(np.full((1, 9, 9), 255, np.uint8), nodata=255), 1, "holds no class"),
    ],
)
def test_rasters_that_hold_no_classes_are_refused(tmp_path, write_raster, make, code, words):
    result = run(make(write_raster), "--out", tmp_path / "map.gpkg")
    assert result.exit_code == code
    assert words in result.stderr


def test_without_place_there_are_no_metres_and_no_degrees(tmp_path, write_raster):
    path = write_raster(np.zeros((1, 9, 9), np.uint8), crs=None, transform=rasterio.Affine.scale(2))
    for flags in (
        ["m.gpkg", "--simplify", "2m"],
        ["m.geojson"],
        ["m.gpkg", "--dst-crs", "EPSG:4326"],
    ):
        result = run(path, "--out", tmp_path / flags[0], *flags[1:])
        assert result.exit_code == 2, flags


def test_polygons_that_exist_are_kept(tmp_path, land_cover):
    out = tmp_path / "map.gpkg"
    out.write_text("mine")
    assert run(land_cover, "--out", out).exit_code == 3
    assert out.read_text() == "mine"
    assert run(land_cover, "--out", out, "--overwrite").exit_code == 0
    assert len(read(out)) > 1


def test_a_failed_check_writes_nothing(tmp_path, land_cover, monkeypatch):
    close = rings.OpenArcs.close

    def spoil(self, *arguments):
        found = close(self, *arguments)
        found.x[0] += 1
        return found

    monkeypatch.setattr(rings.OpenArcs, "close", spoil)
    result = run(land_cover, "--out", tmp_path / "map.gpkg")
    assert result.exit_code == 5
    assert "no coverage" in result.stderr
    assert not list(tmp_path.glob("map.gpkg*"))
    # The same polygons without the check: it is the check that refused them.
    assert run(land_cover, "--out", tmp_path / "map.gpkg", "--no-check").exit_code == 0


def test_a_damaged_raster_leaves_nothing(tmp_path, write_raster):
    rng = np.random.default_rng(0)
    path = write_raster(rng.integers(0, 4, (1, 600, 300), dtype=np.uint8), compress="deflate")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    path.write_bytes(data)
    result = run(path, "--out", tmp_path / "map.gpkg")
    assert result.exit_code == 1
    assert "cannot be read" in result.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"raster.tif"}


def test_large_regions_are_cut_and_keep_what_they_were(tmp_path, land_cover):
    out = tmp_path / "map.gpkg"
    result = run(land_cover, "--out", out, "--smooth", "--split-tiles", 64)
    assert result.exit_code == 0, result.stderr
    pieces = read(out)
    whole = tmp_path / "whole.gpkg"
    run(land_cover, "--out", whole)
    whole = read(whole)
    assert len(pieces) > len(whole) == pieces.region_id.nunique()
    assert shapely.coverage_is_valid(pieces.geometry.values)
    sums = pieces.groupby("region_id").agg({"n_px": "sum", "class_id": "first"})
    assert sorted(map(tuple, sums.to_numpy().tolist())) == sorted(
        zip(whole.n_px.tolist(), whole.class_id.tolist(), strict=True)
    )
    assert (pieces.bounds.maxx - pieces.bounds.minx <= 64 * 0.5).sum() > 0.9 * len(pieces)


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet", ".shp", ".geojson"])
def test_dissolving_gives_one_multipolygon_for_each_class(tmp_path, land_cover, suffix):
    out = tmp_path / f"map{suffix}"
    result = run(land_cover, "--out", out, "--dissolve")
    assert result.exit_code == 0, result.stderr
    features = read(out)
    assert sorted(features.class_name) == ["building", "land", "road", "vegetation", "water"]
    assert features.geometry.is_valid.all()
    with rasterio.open(land_cover) as file:
        counts = np.bincount(file.read(1).ravel(), minlength=256)
    assert features.n_px.tolist() == [counts[i] for i in features.class_id]
    if suffix != ".geojson":
        np.testing.assert_allclose(features.area, features.area_m2)


def test_regions_can_be_joined_at_corners(tmp_path, write_raster):
    classes = np.indices((20, 30)).sum(axis=0).astype(np.uint8) % 2
    out = tmp_path / "map.gpkg"
    result = run(write_raster(classes), "--out", out, "--connectivity", 8)
    assert result.exit_code == 0, result.stderr
    features = read(out)
    assert features.n_px.tolist() == [300, 300]
    assert set(features.geom_type) == {"MultiPolygon"}


def test_confidence_becomes_an_attribute(tmp_path, write_raster):
    classes = np.repeat(np.array([[0, 1]], np.uint8), 10, axis=1).repeat(10, axis=0)
    levels = np.full_like(classes, 254)
    levels[:, 10:] = 127
    levels[0, 10:] = 0
    confidence = write_raster(levels, name="conf.tif", nodata=255)
    for suffix in (".gpkg", ".shp"):
        out = tmp_path / f"map{suffix}"
        result = run(write_raster(classes), "--out", out, "--confidence", confidence)
        assert result.exit_code == 0, result.stderr
        features = read(out).sort_values("class_id")
        np.testing.assert_allclose(features.conf_mean, [1.0, 0.45], atol=1e-4)
        np.testing.assert_allclose(features.conf_p10, [1.0, 0.0], atol=1e-4)


def test_a_hole_in_the_map_is_filled_when_asked_for(tmp_path, write_raster):
    classes = np.ones((30, 30), np.uint8)
    classes[10:12, 10:12] = 255
    classes[20:, 20:] = 255
    path = write_raster(classes, nodata=255)
    for flags, expected in (([], 796), (["--fill-nodata"], 800)):
        out = tmp_path / "map.gpkg"
        result = run(path, "--out", out, "--mmu", "9px", "--overwrite", *flags)
        assert result.exit_code == 0, result.stderr
        assert read(out).n_px.sum() == expected


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


def test_a_disk_that_would_fill_up_is_told_before(tmp_path, land_cover, monkeypatch):
    before = set(tmp_path.iterdir())
    monkeypatch.setattr(polygons.shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    result = run(land_cover, "--out", tmp_path / "map.gpkg")
    assert result.exit_code == 1
    assert "are free" in result.stderr
    assert set(tmp_path.iterdir()) == before


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


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet", ".shp"])
@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "Interrupted"),
        (HysegError("the disk has gone", hint="Find it."), 1, "the disk has gone"),
    ],
)
def test_what_stops_the_tracing_is_told_as_it_is(
    tmp_path, land_cover, monkeypatch, suffix, error, code, words
):
    before = set(tmp_path.iterdir())
    trace = polygons.trace_polygons

    def interrupted(*arguments):
        yield next(trace(*arguments))
        raise error

    monkeypatch.setattr(polygons, "trace_polygons", interrupted)
    result = run(land_cover, "--out", tmp_path / f"map{suffix}")
    assert result.exit_code == code, result.stderr
    assert words in result.stderr
    assert "defect" not in result.stderr
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint16"])
def test_the_least_number_of_a_type_can_be_nodata(tmp_path, write_raster, dtype):
    least = int(np.iinfo(dtype).min)
    classes = np.array([[1, 2], [least, 1]], dtype)
    out = tmp_path / "map.gpkg"
    assert run(write_raster(classes, nodata=least), "--out", out).exit_code == 0
    assert sorted(read(out).class_id) == [1, 1, 2]


def test_a_mask_band_survives_sieving(tmp_path, write_raster):
    classes = np.full((20, 20), 7, np.uint8)
    classes[5:7, 5:7] = 3
    path = write_raster(classes)
    with rasterio.open(path, "r+") as file:
        mask = np.full((20, 20), 255, np.uint8)
        mask[:4] = 0
        file.write_mask(mask)
    sieved = tmp_path / "sieved.tif"
    flags = ["--mmu", "9px", "--sieve-out", sieved]
    assert run(path, "--out", tmp_path / "map.gpkg", *flags).exit_code == 0
    with rasterio.open(sieved) as file:
        assert ((file.dataset_mask() > 0) == (mask > 0)).all()
        assert (file.read(1)[4:] == 7).all()


def test_an_island_in_a_filled_hole_is_merged_too(tmp_path, write_raster):
    classes = np.ones((20, 20), np.uint8)
    classes[8:11, 8:11] = 255
    classes[9, 9] = 2
    out = tmp_path / "map.gpkg"
    result = run(write_raster(classes, nodata=255), "--out", out, "--mmu", "20px", "--fill-nodata")
    assert result.exit_code == 0, result.stderr
    assert read(out).n_px.tolist() == [400]


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


def test_a_legend_may_have_numbers_beyond_8_bits(tmp_path, write_raster):
    (tmp_path / "corine.csv").write_text("id,name\n311,broad-leaved forest\n-1,sea\n")
    classes = np.array([[311, 311], [-1, 311]], np.int16)
    out = tmp_path / "map.gpkg"
    result = run(write_raster(classes), "--out", out, "--legend", tmp_path / "corine.csv")
    assert result.exit_code == 0, result.stderr
    assert set(read(out).class_name) == {"broad-leaved forest", "sea"}


def test_pixels_too_small_for_the_decimals_of_a_format_are_told(tmp_path, write_raster):
    classes = np.random.default_rng(0).integers(0, 3, (60, 60)).astype(np.uint8)
    path = write_raster(classes, transform=from_origin(500_000, 5_400_000, 0.01, 0.01))
    result = run(path, "--out", tmp_path / "map.geojson")
    assert result.exit_code == 5
    assert "write a .gpkg" in result.stderr
    assert not (tmp_path / "map.geojson").exists()


def test_points_without_a_place_in_the_new_crs_are_told(tmp_path, write_raster):
    place = from_origin(95, 10, 1, 1)
    path = write_raster(np.ones((10, 10), np.uint8), crs="EPSG:4326", transform=place)
    result = run(path, "--out", tmp_path / "map.gpkg", "--dst-crs", "EPSG:32632")
    assert result.exit_code == 1
    assert "no place in the CRS" in result.stderr


def test_classes_that_do_not_occur_are_told(tmp_path, write_raster):
    (tmp_path / "legend.csv").write_text("id,name\n1,land\n2,water\n")
    path = write_raster(np.ones((4, 4), np.uint8))
    flags = ["--legend", tmp_path / "legend.csv", "--classes", "water"]
    result = run(path, "--out", tmp_path / "map.gpkg", *flags)
    assert result.exit_code == 2
    assert "has no pixel of water" in result.stderr


def test_areas_need_a_place(tmp_path, write_raster):
    path = write_raster(np.ones((4, 4), np.uint8), crs=None, transform=rasterio.Affine.scale(2))
    result = run(path, "--out", tmp_path / "map.gpkg", "--mmu", "100m2")
    assert result.exit_code == 2
    assert "Give the unit in px" in result.stderr


def test_a_map_of_a_picture_has_no_place_and_no_warnings(tmp_path):
    picture = tmp_path / "map.png"
    Image.fromarray(np.kron(np.eye(3, dtype=np.uint8), np.ones((9, 9), np.uint8))).save(picture)
    confidence = tmp_path / "sure.png"
    Image.fromarray(np.full((27, 27), 200, np.uint8)).save(confidence)
    out = tmp_path / "map.gpkg"
    flags = ["--mmu", "5px", "--sieve-out", tmp_path / "s.tif", "--confidence", confidence, "-q"]
    result = run(picture, "--out", out, *flags)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert sorted(read(out).class_id) == [0, 0, 1, 1, 1]


# A shell may start the tests in the background, where Ctrl-C is ignored.
TOLD_OF_SIGNALS = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from hyseg_cli.cli import cli; cli()"
)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing_half_made(tmp_path, write_raster, sign, code):
    random = np.random.default_rng(0)
    path = write_raster(random.integers(1, 5, (900, 900), dtype=np.uint8))
    out = tmp_path / "out" / "polygons.gpkg"
    out.parent.mkdir()
    command = [sys.executable, "-c", TOLD_OF_SIGNALS, "vectorize", path, "--out", out, "-q"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        half_made = out.parent / "polygons.gpkg.hyseg" / "layer" / "polygons.gpkg"
        while not half_made.exists() and running.poll() is None:
            time.sleep(0.01)
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        writers = children.read_text().split() if children.exists() else []
        running.send_signal(sign)
        _, told = running.communicate(timeout=60)
    assert running.returncode == code, told
    assert told == ("Interrupted.\n" if sign == signal.SIGINT else "Terminated.\n")
    assert list(out.parent.iterdir()) == []
    assert not any(Path(f"/proc/{writer}").exists() for writer in writers)
