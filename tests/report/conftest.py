"""Maps, probabilities and points that reports are made of."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from hyseg_cli.cli import cli

NAMES = ('open <water> & "ice"', "land", "road", "never seen")
COLORS = ("#2060c0", "#c0a060", "#707070", "#ff00ff")
LEGEND = json.dumps(
    {
        "classes": [
            {"id": i, "name": name, "color": color}
            for i, (name, color) in enumerate(zip(NAMES, COLORS, strict=True))
        ]
    }
)


@pytest.fixture
def evaluate():
    """Run `hyseg evaluate ... --json` and return its numbers."""

    def run(*arguments):
        result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments), "--json"])
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return run


@pytest.fixture
def classes():
    """A blocky truth and a map that is wrong in places, with unknown pixels in each."""
    rng = np.random.default_rng(4)
    truth = np.kron(rng.integers(0, 3, (30, 40)), np.ones((10, 9), int)).astype(np.uint8)
    found = np.roll(truth, 1, axis=1)
    found[rng.random(found.shape) < 0.05] = 0
    truth[20:30, 50:80], found[100:110, :40] = 255, 255
    return found, truth


@pytest.fixture
def write_map(write_raster):
    """A class raster that carries its legend."""

    def write(array, name, **tags):
        path = write_raster(array, name, nodata=255)
        with rasterio.open(path, "r+") as file:
            file.update_tags(HYSEG_LEGEND=LEGEND, **tags)
        return path

    return write


@pytest.fixture
def pair(write_map, classes):
    """Paths of a map and of the truth."""
    found = write_map(classes[0], "map.tif", HYSEG_MODEL="0123456789abcdef")
    return found, write_map(classes[1], "truth.tif")


@pytest.fixture
def probabilities(write_raster, classes):
    """Probabilities of the map, too sure of themselves."""
    found, _ = classes
    rng = np.random.default_rng(5)
    sure = rng.integers(150, 255, found.shape)
    levels = np.stack([np.where(found == c, sure, (254 - sure) // 3) for c in range(len(NAMES))])
    path = write_raster(levels.astype(np.uint8), "p.tif")
    with rasterio.open(path, "r+") as file:
        file.descriptions = NAMES
        file.update_tags(HYSEG_LEGEND=LEGEND)
    return path


@pytest.fixture
def points(tmp_path, pair, classes):
    """Points drawn from the map and labelled as the truth has it."""
    path = tmp_path / "points.gpkg"
    result = CliRunner().invoke(cli, ["sample", str(pair[0]), "--out", str(path), "--count", "300"])
    assert result.exit_code == 0, result.stderr
    frame = gpd.read_file(path)
    with rasterio.open(pair[0]) as file:
        places = frame.to_crs(file.crs).geometry
        left, top, side = file.bounds.left, file.bounds.top, file.res[0]
    rows, cols = (top - places.y) // side, (places.x - left) // side
    truth = classes[1][rows.astype(int), cols.astype(int)]
    frame["ref_class"] = [None if value == 255 else NAMES[value] for value in truth]
    frame.to_file(path, layer="samples")
    return path
