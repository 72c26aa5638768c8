"""`hyseg evaluate` from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.transform import from_origin

from hyseg_cli.cli import cli


def run(*arguments):
    return CliRunner().invoke(cli, [str(part) for part in arguments])


@pytest.fixture
def truth(scene_folder):
    return scene_folder / "labels" / "east.tif"


@pytest.fixture
def legend_file(scene_folder):
    return scene_folder / "legend.json"


# ---- evaluate -------------------------------------------------------------------------------


def test_a_map_agrees_with_itself(truth, legend_file):
    result = run("evaluate", truth, "--reference", truth, "--legend", legend_file, "--json")
    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
    assert values["miou"] == 1.0
    assert values["overall_accuracy"] == 1.0
    with rasterio.open(truth) as file:
        assert values["pixels"] == (file.read(1) != 255).sum()


def test_the_reference_is_read_on_the_grid_of_the_map(tmp_path, truth, legend_file):
    # The same labels at twice the pixel size and in another CRS, shifted out on one side.
    with rasterio.open(truth) as file:
        labels = file.read(1)
        west, north = file.bounds.left, file.bounds.top
    coarse = tmp_path / "coarse.tif"
    with rasterio.open(
        coarse,
        "w",
        driver="GTiff",
        width=100,
        height=128,
        count=1,
        dtype="uint8",
        nodata=255,
        crs="EPSG:32632",
        transform=from_origin(west, north, 1.0, 1.0),
    ) as file:
        file.write(labels[::2, 0:200:2], 1)
    result = run("evaluate", truth, "--reference", coarse, "--legend", legend_file, "--json")
    values = json.loads(result.stdout)
    # Only where the coarse reference lies, and every even pixel agrees.
    expected = np.kron(labels[::2, 0:200:2], np.ones((2, 2), np.uint8))
    known = (expected != 255) & (labels[:, :200] != 255)
    agreement = (expected == labels[:, :200])[known].mean()
    assert values["pixels"] == known.sum()
    assert values["overall_accuracy"] == pytest.approx(agreement)


def test_absent_classes_are_not_scored(tmp_path, write_raster, legend_file):
    path = write_raster(np.ones((1, 9, 9), np.uint8))
    result = run("evaluate", path, "--reference", path, "--legend", legend_file)
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
    assert rows["land"] == ["1.000"] * 4
    assert rows["water"] == ["n/a"] * 4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda w: w(np.full((1, 9, 9), 77, np.uint8), "r.tif"), "77 is not in the legend"),
        (lambda w: w(np.ones((3, 9, 9), np.uint8), "r.tif"), "has 3 bands"),
        (
            lambda w: w(np.ones((1, 9, 9), np.uint8), "r.tif", transform=from_origin(0, 9e5, 1, 1)),
            "no labelled pixel in common",
        ),
    ],
)
def test_references_that_cannot_be_compared_are_told(write_raster, legend_file, make, words):
    path = write_raster(np.ones((1, 9, 9), np.uint8))
    result = run("evaluate", path, "--reference", make(write_raster), "--legend", legend_file)
    assert result.exit_code == 1
    assert words in result.stderr


def test_a_map_without_legend_asks_for_one(write_raster):
    path = write_raster(np.ones((1, 9, 9), np.uint8))
    result = run("evaluate", path, "--reference", path)
    assert result.exit_code == 1
    assert "--legend" in result.stderr
