"""STAC Items beside maps and of models."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime

import jsonschema
import numpy as np
import pyproj
import pystac
import pytest
import rasterio
import shapely
from click.testing import CliRunner
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.mlm import MLMExtension
from pystac.extensions.projection import ProjectionExtension
from rasterio.transform import from_origin
from stac import read_item, require_valid

from hyseg_cli.cli.group import cli
from hyseg_cli.geo.output.stac import class_objects, crs_fields
from hyseg_cli.learn.model.card import digest_of
from hyseg_cli.learn.model.weights import load_model, save_model
from hyseg_cli.legend import Legend, format_color
from hyseg_models.cost import measure_cost

TILES = ("--tile-size", 64, "--batch-size", 2)


def run(*words):
    result = CliRunner().invoke(cli, [*map(str, words)])
    assert result.exit_code == 0, result.output
    return result


def make_scene(write_raster, name="a scene.tif", **tags):
    image = np.random.default_rng(5).integers(1, 255, (3, 70, 90), np.uint8)
    image[:, :20, :30] = 0
    path = write_raster(image, name, nodata=0, photometric="rgb")
    with rasterio.open(path, "r+") as file:
        file.update_tags(**tags)
    return path


@pytest.fixture(scope="module")
def mapped(tmp_path_factory, lively_model):
    """A folder with a map of a scene, all that may stand beside it, and its Item."""
    folder = tmp_path_factory.mktemp("stac")
    scene = folder / "a scene.tif"
    image = np.random.default_rng(5).integers(1, 255, (3, 70, 90), np.uint8)
    image[:, :20, :30] = 0
    profile = {"count": 3, "height": 70, "width": 90, "dtype": "uint8", "photometric": "rgb"}
    place = from_origin(500_000, 5_400_000, 0.5, 0.5)
    with rasterio.open(scene, "w", crs="EPSG:32632", transform=place, nodata=0, **profile) as file:
        file.write(image)
        file.update_tags(TIFFTAG_DATETIME="2021:07:03 10:20:30")
    (folder / "extra").mkdir()
    run(
        "predict", scene, "--out", folder / "map.tif", "-m", lively_model, *TILES, "--stac",
        "--style", "--confidence", folder / "extra" / "sure 1.tif",
        "--probabilities", folder / "extra" / "p.tif",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def item(mapped):
    return read_item(mapped / "map.tif.stac.json")


def test_the_item_lies_where_the_map_lies(mapped, item):
    found = ProjectionExtension.ext(item)
    with rasterio.open(mapped / "map.tif") as file:
        assert found.code == "EPSG:32632"
        assert tuple(found.shape) == file.shape
        assert found.transform == pytest.approx(list(file.transform[:6]))
        bounds = rasterio.warp.transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    assert item.bbox == pytest.approx(bounds, abs=1e-7)
    assert shapely.geometry.shape(item.geometry).bounds == pytest.approx(bounds, abs=1e-7)


def test_the_item_holds_the_legend_with_the_pixels_of_the_map(mapped, item, legend):
    with rasterio.open(mapped / "map.tif") as file:
        counts = np.bincount(file.read(1).ravel(), minlength=256)
    *classes, nodata = ClassificationExtension.ext(item.assets["map"]).classes
    assert [(c.value, c.name, c.properties["title"]) for c in classes] == [
        (c.id, c.name, c.name) for c in legend.classes
    ]
    assert [f"#{c.color_hint.lower()}" for c in classes] == [
        format_color(c.color) for c in legend.classes
    ]
    assert (nodata.value, nodata.properties["nodata"]) == (255, True)
    assert [c.properties["count"] for c in (*classes, nodata)] == [
        counts[c.value] for c in (*classes, nodata)
    ]
    assert sum(c.properties["percentage"] for c in (*classes, nodata)) == pytest.approx(100)


def test_every_file_is_there_and_as_told(mapped, item):
    assert set(item.assets) == {
        "map", "confidence", "probabilities", "attribute-table", "style-qml", "style-sld"
    }  # fmt: skip
    for asset in item.assets.values():
        href = asset.get_absolute_href().replace("%20", " ")
        content = (mapped / href).read_bytes()
        told = FileExtension.ext(asset)
        if "data" in asset.roles:
            assert told.size == len(content)
            assert told.checksum == "1220" + hashlib.sha256(content).hexdigest()
    assert item.assets["confidence"].href == "./extra/sure%201.tif"
    (link,) = item.get_links("derived_from")
    assert link.href == "./a%20scene.tif"


def test_bands_tell_names_and_scale(item, legend):
    shares = item.assets["probabilities"].extra_fields
    assert [band["name"] for band in shares["bands"]] == list(legend.names)
    assert shares["raster:scale"] * 254 == pytest.approx(1)
    assert (shares["nodata"], shares["data_type"], shares["raster:offset"]) == (255, "uint8", 0)
    assert item.assets["map"].extra_fields["raster:spatial_resolution"] == pytest.approx(
        0.5, rel=1e-3
    )


def test_the_time_is_that_of_the_scene(item, lively_model):
    assert item.datetime == datetime(2021, 7, 3, 10, 20, 30, tzinfo=UTC)
    assert "does not tell" not in item.properties["description"]
    assert item.properties["hyseg:model"] == digest_of(lively_model)
    assert item.properties["hyseg:settings"]["tile_size"] == 64


def test_what_json_has_no_number_for_is_told_in_words(tmp_path, write_raster, lively_model):
    model = load_model(lively_model)
    path = tmp_path / "floats.safetensors"
    save_model(path, model.network, replace(model.card, dtype="float32"))
    image = np.random.default_rng(5).uniform(1, 255, (3, 64, 64)).astype(np.float32)
    image[:, :9] = np.nan
    scene = write_raster(image, photometric="rgb")
    out = tmp_path / "map.tif"
    run("predict", scene, "-o", out, "-m", path, *TILES, "--stac", "--src-nodata", "nan")
    item = read_item(tmp_path / "map.tif.stac.json")
    assert item.properties["hyseg:settings"]["src_nodata"] == ["nan"]


@pytest.mark.parametrize("taken", ["0000:00:00 00:00:00", "yesterday", None])
def test_a_scene_that_tells_no_time_has_that_of_the_run(
    tmp_path, write_raster, lively_model, taken
):
    scene = make_scene(write_raster, **({} if taken is None else {"TIFFTAG_DATETIME": taken}))
    before = datetime.now(UTC).replace(microsecond=0)
    run("predict", scene, "--out", tmp_path / "map.tif", "-m", lively_model, *TILES, "--stac")
    item = read_item(tmp_path / "map.tif.stac.json")
    assert before <= item.datetime <= datetime.now(UTC)
    assert "does not record when it was taken" in item.properties["description"]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_map_without_place_has_an_item_without_place(tmp_path, write_raster, lively_model):
    image = np.random.default_rng(5).integers(1, 255, (3, 64, 64), np.uint8)
    place = rasterio.Affine.identity()
    scene = write_raster(image, "s.tif", crs=None, transform=place, photometric="rgb")
    run("predict", scene, "--out", tmp_path / "map.tif", "-m", lively_model, *TILES, "--stac")
    item = read_item(tmp_path / "map.tif.stac.json")
    assert item.geometry is None
    assert item.bbox is None
    assert "proj:code" not in item.properties
    assert item.properties["proj:shape"] == [64, 64]


@pytest.mark.parametrize(
    ("suffix", "code"), [(".gpkg", "EPSG:32632"), (".geojson", "EPSG:4326"), (".shp", "EPSG:32632")]
)
def test_polygons_have_an_item_that_leads_to_their_map(mapped, tmp_path, suffix, code):
    out = tmp_path / f"p{suffix}"
    result = run("vectorize", mapped / "map.tif", "-o", out, "--stac", "--json", "--quiet")
    told, path = json.loads(result.stdout), tmp_path / f"p{suffix}.stac.json"
    assert told["out"] == [str(out), str(path)]
    item = read_item(path)
    asset = item.assets["polygons"]
    assert ProjectionExtension.ext(item).code == code
    found = FileExtension.ext(asset)
    assert found.size == out.stat().st_size
    assert found.checksum == "1220" + hashlib.sha256(out.read_bytes()).hexdigest()
    assert item.datetime == datetime(2021, 7, 3, 10, 20, 30, tzinfo=UTC)
    assert item.bbox == read_item(mapped / "map.tif.stac.json").bbox
    assert item.properties["hyseg:polygons"] == told["polygons"]
    assert item.properties["hyseg:classes"] == told["classes"]
    (link,) = item.get_links("derived_from")
    assert (tmp_path / link.href).resolve() == mapped / "map.tif"
    # What told of polygons that are replaced goes with them.
    run("vectorize", mapped / "map.tif", "-o", out, "--overwrite", "--quiet")
    assert not path.exists()


def test_each_scene_of_a_folder_has_its_own(tmp_path, write_raster, lively_model):
    scenes = [make_scene(write_raster, f"{name}.tif") for name in ("a", "b")]
    run(
        "predict", *scenes, "-o", tmp_path / "maps", "-m", lively_model, *TILES, "--stac", "--style"
    )
    suffixes = (".tif", ".tif.aux.xml", ".tif.stac.json", ".qml", ".sld")
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {
        f"{name}_hyseg{suffix}" for name in "ab" for suffix in suffixes
    }
    item = read_item(tmp_path / "maps" / "b_hyseg.tif.stac.json")
    assert item.id == "b_hyseg"
    assert item.assets["style-qml"].href == "./b_hyseg.qml"
    (link,) = item.get_links("derived_from")
    assert link.href == "../b.tif"


def test_a_crs_without_code_is_told_in_full():
    assert crs_fields("EPSG:4326") == {"proj:code": "EPSG:4326"}
    own = "+proj=laea +lat_0=47.3 +lon_0=8.1 +x_0=20 +y_0=30 +ellps=bessel +units=m"
    told = crs_fields(own)
    assert told["proj:code"] is None
    assert pyproj.CRS.from_wkt(told["proj:wkt2"]) == pyproj.CRS(own)


def test_names_of_classes_become_words_that_machines_read():
    legend = Legend.from_dict(
        {
            "classes": [
                {"id": 1, "name": "Wald & Wiese", "color": "#0a0b0c"},
                {"id": 7, "name": "水", "color": "#000000"},
            ]
        }
    )
    assert class_objects(legend) == [
        {"value": 1, "name": "Wald-Wiese", "title": "Wald & Wiese", "color_hint": "0A0B0C"},
        {"value": 7, "name": "class-7", "title": "水", "color_hint": "000000"},
    ]


def test_a_model_has_an_item_that_tells_how_to_feed_it(tmp_path, lively_model, legend):
    model = load_model(lively_model)
    path = tmp_path / "my model.safetensors"
    limits = ((0.0, 1.0, 2.0), (200.0, 201.0, 202.0))
    scores = {"miou": 0.5, "of": "its teacher"}
    metrics = {**scores, "iou": {"road": 0.25}}
    card = replace(model.card, limits=limits, temperature=1.5, metrics=metrics)
    save_model(path, model.network, card)
    out = tmp_path / "model.json"
    out.write_text(run("info", path, "--stac").stdout)
    item = read_item(out)
    found = MLMExtension.ext(item)
    assert found.mlm_name == "HySeg-my-model"
    assert found.total_parameters == measure_cost(model.card.config, 512).whole.parameters
    assert found.hyperparameters.to_dict() == {"temperature": 1.5}
    assert item.properties["hyseg:metrics"] == scores
    (given,), (made,) = found.input, found.output
    assert [band if isinstance(band, str) else band.name for band in given.bands] == [
        band["name"] for band in item.assets["mlm:model"].extra_fields["bands"]
    ]
    # pystac takes it for one object; the extension has one for each band.
    assert given.to_dict()["value_scaling"] == [
        {"type": "z-score", "mean": mean, "stddev": std}
        for mean, std in ((120, 50), (110, 45), (100, 40))
    ]
    assert "blue to 2 and 202" in given.description
    assert given.input.shape == [-1, 3, -1, -1]
    assert made.result.shape == [-1, 5, -1, -1]
    assert [c.value for c in made.classes] == list(legend.ids)
    asset = item.assets["mlm:model"]
    assert asset.href == "./my%20model.safetensors"
    assert FileExtension.ext(asset).checksum.startswith(f"1220{digest_of(path)}")


@pytest.fixture(scope="module")
def model_item(tmp_path_factory, tiny_model):
    out = tmp_path_factory.mktemp("item") / "model.json"
    out.write_text(run("info", tiny_model, "--stac").stdout)
    return out


def test_what_is_no_model_has_no_item_here(mapped):
    result = CliRunner().invoke(cli, ["info", str(mapped / "map.tif"), "--stac"])
    assert result.exit_code == 2
    assert "is not a model" in result.stderr
    assert result.stdout == ""


BREAKS = {
    "core": lambda item: item.pop("links"),
    "projection": lambda item: item["properties"].update({"proj:shape": [70]}),
    "file": lambda item: item["assets"]["map"].update({"file:checksum": "XYZ"}),
    "raster": lambda item: item["assets"]["map"].update({"raster:sampling": "pixel"}),
    "classification": lambda item: item["assets"]["map"]["classification:classes"][0].update(
        {"color_hint": "#ffffff"}
    ),
    "unknown field": lambda item: item["properties"].update({"proj:epsg": 32632}),
}


@pytest.mark.parametrize("name", BREAKS)
def test_the_schemas_find_what_is_broken(mapped, name):
    item = json.loads((mapped / "map.tif.stac.json").read_text())
    require_valid(copy.deepcopy(item))
    BREAKS[name](item)
    with pytest.raises((pystac.STACValidationError, jsonschema.ValidationError)):
        require_valid(item)


@pytest.mark.parametrize(
    "name", ["mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"]
)
def test_the_schemas_find_what_a_model_lacks(model_item, name):
    item = json.loads(model_item.read_text())
    require_valid(copy.deepcopy(item))
    del item["properties"][name]
    with pytest.raises(pystac.STACValidationError, match=f"{name}' is a required property"):
        require_valid(item)
