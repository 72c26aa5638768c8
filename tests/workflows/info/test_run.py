"""`hyseg info` of models, scenes and maps."""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner

from hyseg_cli.cli.group import cli
from hyseg_cli.learn.model.card import read_card
from hyseg_cli.learn.model.weights import replace_card
from hyseg_models.cost import measure_cost

cost_of = functools.cache(measure_cost)


@pytest.fixture(autouse=True)
def _costs_once(monkeypatch, tiny_model):
    """Counting takes seconds: it is done for the tiny model alone, and once."""
    tiny = read_card(tiny_model).config
    monkeypatch.setattr("hyseg_models.cost.measure_cost", lambda _, side: cost_of(tiny, side))


def run(*arguments, **options):
    return CliRunner().invoke(cli, ["info", *map(str, arguments)], **options)


def told(*arguments, code=0):
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


# ---- models -------------------------------------------------------------------------------------


def test_a_model_is_summed_up_in_ten_lines(tiny_model):
    result = run(tiny_model)
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) <= 10
    assert "building, land, road, vegetation, water" in result.stdout
    assert "head.p2a.kernel" not in result.stdout


def test_a_model_is_told_with_its_legend_and_cost(tiny_model):
    result = run(tiny_model, "--all")
    assert result.exit_code == 0, result.output
    cost = cost_of(read_card(tiny_model).config, 512)
    rows = {line[:16].strip(): line[16:].split() for line in result.stdout.splitlines()}
    for name in ("host", "condition", "prior", "P2A + DAS"):
        part = cost.parts[name]
        assert rows[name][0] == f"{part.parameters / 1e6:.2f}"
        assert rows[name][2] == f"{part.macs / 1e9:.2f}"
    assert "#5fa04e  vegetation" in result.stdout
    assert "head.p2a.kernel = 7" in result.stdout
    assert "red, green, blue (uint8)" in result.stdout


def test_scores_of_another_model_are_told_as_such(tmp_path, tiny_model):
    own = {"miou": 0.5, "iou": {"road": 0.25}}
    model = shutil.copy(tiny_model, tmp_path)
    replace_card(Path(model), replace(read_card(tiny_model), metrics=own))
    assert "metrics       miou 0.500\n" in run(model).stdout
    replace_card(Path(model), replace(read_card(tiny_model), metrics=own | {"of": "its teacher"}))
    assert "metrics       miou 0.500 (its teacher)\n" in run(model).stdout
    assert "by pixel size" not in run(model).stdout
    sizes = [{"metres": m, "miou": 0.4, "overall_accuracy": a} for m, a in ((0.6, 0.9), (1.2, 0.8))]
    card = read_card(tiny_model)
    replace_card(Path(model), replace(card, metrics=own | {"by_pixel_size": sizes}))
    assert "by pixel size 0.90 at 0.6 m, 0.80 at 1.2 m\n" in run(model).stdout


def test_json_holds_card_and_cost(tiny_model):
    values = told(tiny_model)
    assert values["kind"] == "model"
    assert values["card"]["config"]["classes"] == 5
    parts = values["cost"]["1024"]["parts"]
    assert sum(part["macs"] for part in parts.values()) == values["cost"]["1024"]["whole"]["macs"]


def test_without_a_path_it_is_the_built_in_model():
    assert told()["path"].endswith("default.safetensors")


def test_what_is_no_model_is_refused(tmp_path):
    assert run(tmp_path / "none.safetensors").exit_code == 2
    (tmp_path / "text.safetensors").write_text("hello")
    assert run(tmp_path / "text.safetensors").exit_code == 1


def test_colours_are_shown_in_a_terminal_only(tiny_model):
    swatch = "\x1b[48;2;95;160;78m"
    assert swatch in run(tiny_model, "--all", color=True).stdout
    assert "\x1b" not in run(tiny_model, "--all").stdout
    assert "\x1b" not in run(tiny_model, "--all", color=True, env={"NO_COLOR": "1"}).stdout


# ---- which of the three -------------------------------------------------------------------------


def test_the_kind_is_found_in_the_file_whatever_its_name(tmp_path, tiny_model, write_raster):
    model, scene = tmp_path / "model.tif", tmp_path / "scene.safetensors.tif"
    shutil.copyfile(tiny_model, model)
    shutil.copyfile(write_raster(np.zeros((3, 32, 40), np.uint8)), scene)
    assert told(model)["kind"] == "model"
    assert told(scene)["kind"] == "scene"


def test_outputs_of_predict_are_known_for_what_they_are(tmp_path, scene_folder, lively_model):
    out, sure = tmp_path / "map.tif", tmp_path / "sure.tif"
    scene = scene_folder / "images" / "east.tif"
    arguments = ["predict", str(scene), "-m", str(lively_model), "-o", str(out), "--json"]
    done = CliRunner().invoke(cli, [*arguments, "--confidence", str(sure), "--tile-size", "256"])
    assert done.exit_code == 0, done.output
    found = told(out)
    assert found["kind"] == "map"
    assert [entry["name"] for entry in found["classes"]] == list(
        read_card(lively_model).legend.names
    )
    occurring = [
        (entry["id"], entry["pixels"], pytest.approx(entry["hectares"]))
        for entry in found["classes"]
        if entry["pixels"]
    ]
    counted = json.loads(done.stdout)["classes"]
    assert occurring == [(c["id"], c["pixels"], c["hectares"]) for c in counted if c["id"] < 255]
    assert found["empty_pixels"] == sum(c["pixels"] for c in counted if c["id"] == 255)
    assert found["origin"]["made from"] == "east.tif"
    assert found["overviews"] == []
    assert told(sure)["kind"] == "probabilities"


def test_a_foreign_class_raster_is_a_map_by_its_palette(write_raster):
    values = np.repeat(np.uint8([[7, 7, 7, 9], [0, 7, 9, 9]]), 10, axis=0)
    path = write_raster(values, nodata=0)
    assert told(path)["kind"] == "scene"
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {7: (1, 2, 3, 255), 9: (9, 8, 7, 255)})
    found = told(path)
    assert found["kind"] == "map"
    # Pixels of half a metre: a quarter of a square metre each.
    assert found["classes"] == [
        {"id": 7, "name": "7", "color": "#010203", "pixels": 40, "hectares": 0.001},
        {"id": 9, "name": "9", "color": "#090807", "pixels": 30, "hectares": 0.00075},
    ]
    assert found["empty_pixels"] == 10
    assert "no class      10 px" in run(path).stdout


# ---- scenes -------------------------------------------------------------------------------------


def test_a_scene_is_told_as_it_is_stored_and_as_it_would_be_mapped(scene_folder, tiny_model):
    path = scene_folder / "images" / "east.tif"
    found = told(path, "-m", tiny_model)
    assert (found["height"], found["width"]) == (256, 256)
    assert found["crs"].endswith("(EPSG:32632)")
    assert [band["color"] for band in found["bands"]] == ["red", "green", "blue"]
    dry = ["predict", str(path), "-m", str(tiny_model), "-o", "map.tif", "--dry-run", "--json"]
    planned = json.loads(CliRunner().invoke(cli, dry).stdout)
    fit = found["fit"]
    assert fit["fits"]
    assert fit["bands"] == {"red": 1, "green": 2, "blue": 3}
    assert (fit["tiles"], fit["parts"]) == tuple(planned["forecast"][k] for k in ("tiles", "parts"))
    assert fit["disk"] == planned["forecast"]["disk"]
    assert fit["warnings"] == planned["warnings"]
    text = run(path, "-m", tiny_model).stdout
    assert "yes, with bands red = 1, green = 2, blue = 3" in text
    assert "in one part, under 10 MB of disk" in text
    assert "trained on" in text


def test_a_scene_of_other_resolution_is_told_what_the_network_sees(write_raster, tiny_model):
    transform = Affine(0.05, 0, 500_000, 0, -0.05, 5_400_000)
    path = write_raster(np.full((3, 64, 64), 90, np.uint8), transform=transform)
    fit = told(path, "-m", tiny_model)["fit"]
    assert fit["network_pixel_m"] == pytest.approx(0.25, rel=0.01)
    assert any("0.05 m" in warning for warning in fit["warnings"])


def test_a_scene_that_does_not_fit_is_told_and_fails_only_if_a_model_was_asked_for(
    write_raster, tiny_model
):
    path = write_raster(np.zeros((3, 32, 32), np.uint16))
    found = told(path)
    assert not found["fit"]["fits"]
    assert "uint16" in found["fit"]["error"]["message"]
    assert told(path, "-m", tiny_model, code=4)["fit"] == {
        **found["fit"],
        "model": str(tiny_model),
    }
    assert "no: " in run(path).stdout
    errors = [line for line in run(path, "-m", tiny_model).stderr.splitlines() if "Error" in line]
    assert len(errors) == 1
    assert "uint16" in errors[0]


@pytest.mark.filterwarnings("ignore:The given matrix is equal:Warning")
def test_a_scene_without_place_or_with_nan_as_nodata_is_told(write_raster):
    path = write_raster(
        np.zeros((2, 30, 20), np.float32), crs=None, transform=Affine.identity(), nodata=np.nan
    )
    found = told(path)
    assert found["crs"] is None
    assert found["pixel_m"] is None
    assert [band["nodata"] for band in found["bands"]] == ["nan", "nan"]
    text = run(path).stdout
    assert "size on the ground not known" in text
    assert "nodata nan" in text


@pytest.mark.parametrize("name", ["missing.tif", "/vsizip/missing.zip/x.tif"])
def test_what_is_not_there_is_one_error(name):
    result = run(name)
    assert result.exit_code in {1, 2}
    assert result.stderr.startswith("Error: ")
    assert "Hint: " in result.stderr


# ---- the prior of a model -----------------------------------------------------------------------


def test_the_prior_of_a_model_is_measured_on_images(tiny_model, scene_folder):
    where = ("--images", scene_folder / "images", "--labels", scene_folder / "labels")
    found = told(tiny_model, *where)["prior"]
    assert found["chips"] > 0
    assert found["use"]["use"] == found["use"]["miou"] - found["use"]["miou_other_prior"]
    assert found["knows"]["noise_variance_of_mean"] == pytest.approx(0, abs=1e-6)
    result = run(tiny_model, *where)
    assert "prior use" in result.stdout
    assert "variance over the noise" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows if len(row) == 9 and row[0].isdigit()] == ["8", "16", "32"]


@pytest.mark.parametrize("alone", ["--images", "--labels"])
def test_images_and_labels_go_together(tiny_model, scene_folder, alone):
    result = run(tiny_model, alone, scene_folder / alone[2:])
    assert result.exit_code == 2
    assert "--images and --labels go together" in result.stderr


def test_a_prior_is_measured_of_a_model_alone(scene_folder):
    where = ("--images", scene_folder / "images", "--labels", scene_folder / "labels")
    result = run(scene_folder / "images/west.tif", *where)
    assert result.exit_code == 2
    assert "measures the prior of a model" in result.stderr
