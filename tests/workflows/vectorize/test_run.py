"""`hyseg vectorize` from the command line."""

from __future__ import annotations

import json

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio.transform import from_origin
from workflows.vectorizing import read, run


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


def test_a_legend_may_have_numbers_beyond_8_bits(tmp_path, write_raster):
    (tmp_path / "corine.csv").write_text("id,name\n311,broad-leaved forest\n-1,sea\n")
    classes = np.array([[311, 311], [-1, 311]], np.int16)
    out = tmp_path / "map.gpkg"
    result = run(write_raster(classes), "--out", out, "--legend", tmp_path / "corine.csv")
    assert result.exit_code == 0, result.stderr
    assert set(read(out).class_name) == {"broad-leaved forest", "sea"}


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
