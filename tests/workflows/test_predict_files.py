"""What `hyseg predict` writes beside its rasters, and what it tells in them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.transform import from_origin

from hyseg_cli.cli.group import cli
from hyseg_cli.learn.model.card import TrainingData, digest_of
from hyseg_cli.learn.model.weights import load_model, save_model
from hyseg_cli.legend import format_color

TILES = ("--tile-size", 64, "--batch-size", 2)


def run(command, *arguments):
    result = CliRunner().invoke(cli, [command, *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result


def counts_of(path):
    with rasterio.open(path) as file:
        ids, counts = np.unique(file.read(1), return_counts=True)
    return dict(zip(ids.tolist(), counts.tolist(), strict=True))


@pytest.fixture
def scene(write_raster):
    """A projected scene with pixels of half a metre and a corner without data."""
    image = np.random.default_rng(5).integers(1, 255, (3, 90, 110), np.uint8)
    image[:, :20, :30] = 0
    path = write_raster(image, "a scene.tif", nodata=0, photometric="rgb")
    with rasterio.open(path, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2021:07:03 10:20:30")
    return path


def test_the_attribute_table_counts_the_pixels_of_the_map(
    tmp_path, scene, lively_model, legend, gdalinfo
):
    out = tmp_path / "map.tif"
    run("predict", scene, "--out", out, "-m", lively_model, *TILES)
    found, told = counts_of(out), gdalinfo(out)
    assert len(found) > 2
    names = told["bands"][0]["categories"]
    assert tuple(names) == legend.names
    table = told["rat"]
    assert [c["name"] for c in table["fieldDefn"]][-2:] == ["Count", "Area_ha"]
    assert [row["f"] for row in table["row"]] == [
        [c.id, c.name, *c.color, found.get(c.id, 0), pytest.approx(found.get(c.id, 0) * 0.25e-4)]
        for c in legend.classes
    ]
    valid = float(told["bands"][0]["metadata"][""]["STATISTICS_VALID_PERCENT"])
    assert valid == pytest.approx(100 * (1 - found[255] / 9900))


def test_areas_in_degrees_are_those_of_the_ellipsoid(
    tmp_path, write_raster, lively_model, gdalinfo
):
    image = np.random.default_rng(5).integers(1, 255, (3, 64, 64), np.uint8)
    place = from_origin(9.0, 47.0, 1e-5, 1e-5)
    scene = write_raster(image, "s.tif", crs="EPSG:4326", transform=place, photometric="rgb")
    out = tmp_path / "map.tif"
    run("predict", scene, "--out", out, "-m", lively_model, *TILES)
    # A hundred-thousandth of a degree at 47 degrees north: 1.1118 m by 0.7609 m on the ellipsoid.
    hectares = sum(row["f"][-1] for row in gdalinfo(out)["rat"]["row"])
    assert hectares * 1e4 == pytest.approx(64 * 64 * 1.11177 * 0.76088, rel=1e-3)


def test_areas_that_a_projection_blows_up_are_warned_of(tmp_path, write_raster, lively_model):
    image = np.random.default_rng(5).integers(1, 255, (3, 64, 64), np.uint8)
    # At 60 degrees north Web Mercator shows all lengths twice as long.
    place = from_origin(1_000_000, 8_399_738, 1, 1)
    scene = write_raster(image, "s.tif", crs="EPSG:3857", transform=place, photometric="rgb")
    result = run("predict", scene, "--out", tmp_path / "map.tif", "-m", lively_model, *TILES)
    factor = re.search(r"the CRS of s.tif shows areas (\S+) times as large", result.stderr)
    assert float(factor[1]) == pytest.approx(4, rel=0.02)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_scene_without_place_has_counts_and_no_areas(
    tmp_path, write_raster, lively_model, gdalinfo
):
    image = np.random.default_rng(5).integers(1, 255, (3, 64, 64), np.uint8)
    place = rasterio.Affine.identity()
    scene = write_raster(image, "s.tif", crs=None, transform=place, photometric="rgb")
    out = tmp_path / "map.tif"
    result = run("predict", scene, "--out", out, "-m", lively_model, *TILES, "--json")
    assert [c["hectares"] for c in json.loads(result.stdout)["classes"]] == [None] * (
        len(counts_of(out))
    )
    table = gdalinfo(out)["rat"]
    assert table["fieldDefn"][-1]["name"] == "Count"
    assert sum(row["f"][-1] for row in table["row"]) == 64 * 64


def test_probabilities_and_confidence_name_and_scale_their_bands(
    tmp_path, scene, lively_model, legend, gdalinfo
):
    sure, shares = tmp_path / "sure.tif", tmp_path / "shares.tif"
    run(
        "predict", scene, "--out", tmp_path / "map.tif", "-m", lively_model, *TILES,
        "--confidence", sure, "--probabilities", shares,
    )  # fmt: skip
    for path, names in ((sure, ("confidence",)), (shares, legend.names)):
        bands = gdalinfo(path)["bands"]
        assert tuple(band["description"] for band in bands) == names
        with rasterio.open(path) as file:
            for band, levels in zip(bands, file.read(masked=True), strict=True):
                assert (band["offset"], band["noDataValue"]) == (0, 255)
                assert band["scale"] * 254 == pytest.approx(1)
                told = band["metadata"][""]
                assert float(told["STATISTICS_MEAN"]) == pytest.approx(levels.mean())
                assert float(told["STATISTICS_MAXIMUM"]) == levels.max()


def test_the_map_tells_where_it_comes_from(tmp_path, scene, lively_model):
    model = load_model(lively_model)
    data = TrainingData(name="fields", licence="CC-BY-4.0", attribution="A. Surveyor")
    path = tmp_path / "my model.safetensors"
    save_model(path, model.network, replace(model.card, data=data))
    out = tmp_path / "map.tif"
    run("predict", scene, "--out", out, "-m", path, *TILES, "--seed", 7, "-b", "3,2,1")
    with rasterio.open(out) as file:
        tags = file.tags()
    settings = json.loads(tags["HYSEG_SETTINGS"])
    assert (settings["seed"], settings["bands"]) == (7, [3, 2, 1])
    told = {key: tags[f"HYSEG_{key}"] for key in ("MODEL", "MODEL_NAME", "INPUT", "INPUT_SIZE")}
    assert told == {
        "MODEL": digest_of(path),
        "MODEL_NAME": "my model",
        "INPUT": "a scene.tif",
        "INPUT_SIZE": "110 x 90",
    }
    told = {key: tags[f"HYSEG_{key}"] for key in ("DATA", "LICENCE", "ATTRIBUTION")}
    assert told == {"DATA": "fields", "LICENCE": "CC-BY-4.0", "ATTRIBUTION": "A. Surveyor"}
    assert tags["TIFFTAG_SOFTWARE"] == f"hyseg {tags['HYSEG_VERSION']}"
    assert tags["TIFFTAG_DATETIME"] == "2021:07:03 10:20:30"


def test_styles_stand_beside_the_map(tmp_path, scene, lively_model, legend):
    out = tmp_path / "map.tif"
    result = run("predict", scene, "--out", out, "-m", lively_model, *TILES, "--style", "--json")
    beside = {str(tmp_path / "map.qml"), str(tmp_path / "map.sld")}
    assert set(json.loads(result.stdout)["beside"]) == beside
    expected = [(str(c.id), c.name, format_color(c.color)) for c in legend.classes]
    entries = ET.fromstring((tmp_path / "map.qml").read_bytes()).iter("paletteEntry")  # noqa: S314
    assert [(e.get("value"), e.get("label"), e.get("color")) for e in entries] == expected
    entries = ET.fromstring((tmp_path / "map.sld").read_bytes()).iterfind(".//{*}ColorMapEntry")  # noqa: S314
    assert [(e.get("quantity"), e.get("label"), e.get("color")) for e in entries] == expected


def test_a_style_that_exists_is_kept_unless_told_otherwise(tmp_path, scene, lively_model):
    out, style = tmp_path / "map.tif", tmp_path / "map.qml"
    style.write_text("mine")
    words = ["predict", str(scene), "--out", str(out), "-m", str(lively_model), "--style"]
    result = CliRunner().invoke(cli, [*words, *map(str, TILES)])
    assert result.exit_code == 3
    assert "map.qml exists already" in result.stderr
    assert style.read_text() == "mine"
    assert not out.exists()
    run(*words, *TILES, "--overwrite")
    assert "paletteEntry" in style.read_text()
    # Without --style, what it told of the old map goes with it.
    run(*words[:-1], *TILES, "--overwrite")
    assert not style.exists()


def test_polygons_find_the_classes_in_the_side_car(tmp_path, scene, lively_model, legend):
    out, bare = tmp_path / "map.tif", tmp_path / "bare.tif"
    run("predict", scene, "--out", out, "-m", lively_model, *TILES)
    with rasterio.open(out) as file, rasterio.open(bare, "w", **file.profile) as copy:
        copy.write(file.read())
    out.with_name("map.tif.aux.xml").rename(tmp_path / "bare.tif.aux.xml")
    result = run("vectorize", bare, "--out", tmp_path / "p.gpkg", "--json")
    names = {c["class_id"]: c["class_name"] for c in json.loads(result.stdout)["classes"]}
    assert names
    assert names.items() <= dict(zip(legend.ids, legend.names, strict=True)).items()
