"""Real images of many makes, each mapped by the bare command with the built-in model."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.errors import NotGeoreferencedWarning
from rio_cogeo.cogeo import cog_validate

from hyseg_cli.cli import cli

SCENES = {
    "netherlands": ("scene_netherlands_25cm/test_tiled.tif", []),
    "manila_white_areas": ("scenes_oam/5b90f92da0d7280005fab355_4310.tif", []),
    "spain_black_areas": ("scenes_oam/5c15321f63d9810007f8b06f_10_00000.tif", []),
    "south_africa_north_degrees": ("scenes_za_ngi/3320D_2010_315_RGB_LATLNG.tif", []),
    "south_africa_south_degrees": ("scenes_za_ngi/3420B_2010_328_RGB_LATLNG.tif", []),
    "bali_drone_rotated_footprint": ("scene_pix4d_drone/pix4d_alpha_nodata.tif", []),
    "dakota_four_bands_of_2014": (
        "scenes_naip_nd_4band/m_4709963_se_14_1_20140720.tif",
        ["--band", "1,2,3"],
    ),
    "dubai_jpeg_without_place": ("dubai/Tile 7/images/image_part_005.jpg", []),
}


def open_quietly(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)


@pytest.mark.parametrize("name", SCENES)
def test_a_real_scene_maps_in_one_command(shared, tmp_path, name):
    path, flags = SCENES[name]
    out = tmp_path / "landcover.tif"
    result = CliRunner().invoke(
        cli, ["predict", str(shared / path), "--out", str(out), "-q", *flags]
    )
    assert result.exit_code == 0, result.output
    with open_quietly(shared / path) as scene, open_quietly(out) as found:
        assert found.shape == scene.shape
        assert found.crs == scene.crs
        assert found.transform == scene.transform
        assert found.nodata == 255
        assert found.dtypes == ("uint8",)
        classes = found.read(1)
        np.testing.assert_array_equal(classes == 255, scene.dataset_mask() == 0)
        legend = json.loads(found.tags()["HYSEG_LEGEND"])
        colors = found.colormap(1)
        is_placed = scene.crs is not None
    assert {c["name"] for c in legend["classes"]} == {
        "building",
        "land",
        "road",
        "vegetation",
        "water",
    }
    for entry in legend["classes"]:
        assert "#{:02x}{:02x}{:02x}".format(*colors[entry["id"]][:3]) == entry["color"]
    # A map of one class would be a broken network, not a place on earth.
    assert len(np.unique(classes[classes != 255])) >= 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        valid, errors, _ = cog_validate(out)
    assert valid, errors
    polygons = tmp_path / "landcover.gpkg"
    flags = ["--smooth", "--simplify", "1.5px", "--mmu", "9px", "--json", "-q"]
    vectorized = CliRunner().invoke(cli, ["vectorize", str(out), "--out", str(polygons), *flags])
    assert vectorized.exit_code == 0, vectorized.output
    told = json.loads(vectorized.stdout)
    assert told["check"]["matched"]
    assert sum(entry["pixels"] for entry in told["classes"]) == (classes != 255).sum()
    about_place = [line for line in result.stderr.splitlines() if "no place" in line]
    assert len(about_place) == (0 if is_placed else 1)


def test_four_bands_without_colors_ask_which_they_are(shared, tmp_path):
    path = shared / SCENES["dakota_four_bands_of_2014"][0]
    result = CliRunner().invoke(cli, ["predict", str(path), "--out", str(tmp_path / "x.tif")])
    assert result.exit_code == 4
    assert "--band 1,2,3" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_built_in_model_is_small_and_says_what_it_is():
    from hyseg_cli.learn.card import built_in_model, read_card

    assert built_in_model().stat().st_size <= 40e6
    card = read_card(built_in_model())
    assert card.data.attribution == "Humans in the Loop / MBRSC"
    assert card.data.licence
    assert set(card.data.training_scenes).isdisjoint(card.data.validation_scenes)
    assert card.data.validation_scenes
    assert 0 < card.metrics["miou"] < 1
    assert card.training["settings"]["steps"] > 0
