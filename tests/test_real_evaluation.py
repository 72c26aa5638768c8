"""Evaluating with published rasters and with the built-in model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.warp import Resampling, calculate_default_transform, reproject
from rasterio.windows import Window, transform

from hyseg_cli.cli.group import cli

WORLDCOVER = "labels_worldcover/ESA_WorldCover_10m_2021_v200_N00E006_Map.tif"


def numbers(*arguments):
    result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def land(shared, tmp_path):
    """Forest and clearings of WorldCover, 900 x 1,100 pixels in degrees, and its legend."""
    path, legend = tmp_path / "land.tif", tmp_path / "legend.json"
    with rasterio.open(shared / WORLDCOVER) as source:
        window = Window(6_300, 33_900, 1_100, 900)
        classes = source.read(1, window=window)
        profile = source.profile | {
            "height": 900, "width": 1_100, "transform": transform(window, source.transform),
            "driver": "GTiff",
        }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(classes, 1)
    values = [int(v) for v in np.unique(classes) if v != 0]
    assert len(values) > 2
    entries = [{"id": v, "name": f"c{v}", "color": f"#0000{v:02x}"} for v in values]
    legend.write_text(json.dumps({"classes": entries}))
    return path, legend


def test_a_map_in_degrees_agrees_with_itself_in_metres(land, tmp_path):
    path, legend = land
    metres = tmp_path / "metres.tif"
    with rasterio.open(path) as source:
        place, width, height = calculate_default_transform(
            source.crs, "EPSG:32632", source.width, source.height, *source.bounds, resolution=3.0
        )
        profile = source.profile | {
            "crs": "EPSG:32632", "transform": place, "width": width, "height": height,
        }  # fmt: skip
        with rasterio.open(metres, "w", **profile) as file:
            reproject(
                rasterio.band(source, 1), rasterio.band(file, 1), resampling=Resampling.nearest
            )
    values = numbers(path, "--reference", metres, "--legend", legend, "--structure")
    # Twice nearest neighbour over pixels a third of the size: only edges may move.
    assert values["overall_accuracy"] > 0.99
    assert values["boundary_f1"] > 0.99
    assert values["cldice"] > 0.9
    assert values["pixels"] > 0.99 * 900 * 1_100


def test_the_confusion_matrix_of_a_real_pair_is_that_of_one_pass_over_arrays(land, tmp_path):
    path, legend = land
    with rasterio.open(path) as source:
        classes, profile = source.read(1), source.profile
    moved = np.roll(classes, 2, axis=0)
    truth = tmp_path / "moved.tif"
    with rasterio.open(truth, "w", **profile) as file:
        file.write(moved, 1)
    ids = [entry["id"] for entry in json.loads(legend.read_text())["classes"]]
    expected = [
        [int(((moved == known) & (classes == found)).sum()) for found in ids] for known in ids
    ]
    values = numbers(path, "--reference", truth, "--legend", legend, "--patch-size", 100)
    assert values["confusion"] == expected


@pytest.mark.slow
def test_the_built_in_model_scores_on_a_scene_it_has_not_seen_as_when_it_was_made(shared):
    scene, examples = shared / "dubai" / "Tile 3", Path(__file__).parents[1] / "examples"
    legend = ["--reference-legend", examples / "dubai.legend.json"]
    joined = ["--map-classes", examples / "dubai.map-classes.json"]
    values = numbers(
        "--images", scene, "--labels", scene, *legend, *joined, "--structure", "-q"
    )  # fmt: skip
    assert values["miou"] == pytest.approx(0.553, abs=0.01)
    assert values["overall_accuracy"] == pytest.approx(0.867, abs=0.01)
    assert 0 < values["overlap_disagreement"] < 0.2
