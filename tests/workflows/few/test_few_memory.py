"""Polygons in a corner of a huge scene: only the corner is worth memory and time."""

from __future__ import annotations

import json
import subprocess
import sys

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import torch
from conftest import make_card, probe_config
from rasterio.transform import from_origin
from rasterio.windows import Window

from hyseg_cli.learn.model.weights import save_model
from hyseg_models import build

PLACE = from_origin(300_000, 2_780_000, 0.5, 0.5)
CHILD = """
import json, resource, sys, time
from hyseg_cli.cli.group import cli
start = time.process_time()
try:
    cli(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"mib": kib / 1024, "s": time.process_time() - start}))
"""


@pytest.fixture(scope="module")
def donor(tmp_path_factory, legend):
    """A model file with a tiny transformer of random weights."""
    config = probe_config(classes=len(legend))
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("donor") / "donor.safetensors"
    save_model(path, build(config), make_card(legend, config=config))
    return path


def scene(path, side):
    """A scene of which only the corner was written; the rest takes no space."""
    rng = np.random.default_rng(0)
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=3, dtype="uint8",
        crs="EPSG:32640", transform=PLACE, tiled=True, blockxsize=512, blockysize=512,
        sparse_ok=True, nodata=0, bigtiff="YES",
    ) as file:  # fmt: skip
        pixels = rng.integers(1, 255, (3, 400, 400), np.uint8)
        pixels[:, :, 200:] //= 3
        file.write(pixels, window=Window(0, 0, 400, 400))
    return path


def squares(path):
    shapes, kinds = [], []
    for row in (40, 200, 300):
        for col, kind in ((40, "bright"), (300, "dark")):
            left, top = PLACE * (col, row)
            shapes.append(shapely.box(left, top - 10, left + 10, top))
            kinds.append(kind)
    gpd.GeoDataFrame({"kind": kinds}, geometry=shapes, crs="EPSG:32640").to_file(path)
    return path


def cost(*arguments):
    """Peak memory and processor time of a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_huge_scene_costs_what_its_corner_costs(donor, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    labels, found = squares(tmp_path / "drawn.gpkg"), {}
    for side in (512, 50_000):
        image, model = scene(tmp_path / f"{side}.tif", side), tmp_path / f"{side}.safetensors"
        trained = cost(
            "train", "--images", image, "--labels", labels, "--class-field", "kind",
            "--from", donor, "--out", model,
        )  # fmt: skip
        suggested = cost(
            "suggest", image, "--model", model, "--labels", labels, "--class-field", "kind",
            "--out", tmp_path / f"{side}.gpkg",
        )  # fmt: skip
        found[side] = trained, suggested
    for small, large in zip(found[512], found[50_000], strict=True):
        assert large["mib"] < small["mib"] + 500
        assert large["s"] < small["s"] + 60
