"""`hyseg info` on rasters that others made."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from hyseg_cli.cli.group import cli

NAIP = "scenes_naip_nd_4band/m_4709963_se_14_1_20140720.tif"


def told(path, *more):
    result = CliRunner().invoke(cli, ["info", str(path), "--json", *more])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("awkward/rio-tiler/cog_rgba.tif", True),
        ("scene_netherlands_25cm/test_tiled.tif", True),
        ("scenes_za_ngi/3320D_2010_315_RGB_LATLNG.tif", True),
        (NAIP, False),  # four bands without names
        ("awkward/rio-tiler/rgb.tif", False),  # 16 bits
        ("awkward/rasterio/RGB.byte.tif", False),  # pixels of 300 m
        ("awkward/rio-tiler/cog_gcps.tif", False),  # one band
        ("labels_chesapeake/Baywide_7class_20132014_E1300000_N1770000.tif", False),  # gray
    ],
)
def test_scenes_are_told_from_maps_and_held_against_the_model(shared, name, fits):
    found = told(shared / name)
    assert found["kind"] == "scene"
    assert found["fit"]["fits"] is fits


def test_bands_that_are_named_make_a_scene_fit(shared):
    fit = told(shared / NAIP, "--band", "1,2,3")["fit"]
    assert fit["bands"] == {"red": 1, "green": 2, "blue": 3}
    assert fit["network_pixel_m"] == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [("labels_nlcd/nlcd2011.tif", 1359 * 1073), ("labels_cdl/2021_30m_cdls.tif", 1000 * 1000)],
)
def test_maps_of_others_are_counted_in_full(shared, name, pixels):
    found = told(shared / name)
    assert found["kind"] == "map"
    assert sum(entry["pixels"] for entry in found["classes"]) + found["empty_pixels"] == pixels
    # Of an equal-area or a UTM grid, pixels are worth about their sides.
    across, down = found["pixel_m"]
    hectares = sum(entry["hectares"] for entry in found["classes"])
    known = pixels - found["empty_pixels"]
    assert hectares == pytest.approx(known * across * down / 1e4, rel=0.01)
