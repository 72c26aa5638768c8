"""What the tests of commands share."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from workflows.evaluating import legend_of

from hyseg_cli.geo.output.cog import MapSpec


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


@pytest.fixture
def named_map(write_raster):
    """A class raster that carries its legend, classes as name=id."""

    def write(array, name="map.tif", tags=None, *, place=None, **names):
        names = names or {"land": 1, "water": 2, "road": 3}
        place = {} if place is None else place
        path = write_raster(np.asarray(array, np.uint8), name, nodata=255, **place)
        with rasterio.open(path, "r+") as file:
            legend = json.dumps(legend_of(names.items()))
            file.update_tags(HYSEG_LEGEND=legend, **(tags or {}))
        return path

    return write


@pytest.fixture
def pair(named_map):
    """A blocky truth and a map that is wrong in places, with some unknown pixels in each."""
    rng = np.random.default_rng(4)
    truth = np.kron(rng.integers(1, 4, (30, 40)), np.ones((10, 9), int))
    found = np.roll(truth, 1, axis=1)
    found[rng.random(found.shape) < 0.01] = 1
    truth[20:30, 50:80], found[100:110, :40] = 255, 255
    return named_map(found), named_map(truth, "truth.tif")


@pytest.fixture
def scene(scene_folder):
    """One of two scenes, of 3 bands."""
    return scene_folder / "images" / "east.tif"
