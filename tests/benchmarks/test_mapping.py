"""What mapping costs beside the network, and what others' tiled inference does."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin
from rasterio.windows import Window

from hyseg_cli.geo.picture import read_picture

HERE = Path(__file__).parent
SIDE = 10_000


@pytest.fixture(scope="module")
def large_scene(tmp_path_factory):
    """A scene of 10,000 x 10,000 pixels: an aerial image, mirrored again and again."""
    images = sorted((HERE.parents[2] / "shared" / "data" / "dubai").rglob("*.jpg"))
    if not images:
        pytest.skip("real data of ../shared is not here")
    image = np.maximum(read_picture(images[0]), 1)
    image = np.concatenate([image, image[:, ::-1]], axis=1)
    image = np.concatenate([image, image[:, :, ::-1]], axis=2)
    times = -(-SIDE // image.shape[2])
    wide = np.tile(image, (1, 1, times))[:, :, :SIDE]
    path = tmp_path_factory.mktemp("large") / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=SIDE, height=SIDE, count=3, dtype="uint8",
        crs="EPSG:32640", transform=from_origin(3e5, 2.8e6, 0.3, 0.3), tiled=True,
        blockxsize=512, blockysize=512, compress="deflate", predictor=2, photometric="rgb",
        nodata=0,
    ) as file:  # fmt: skip
        for row in range(0, SIDE, wide.shape[1]):
            rows = min(wide.shape[1], SIDE - row)
            file.write(wide[:, :rows], window=Window(0, row, SIDE, rows))
    return path


@pytest.mark.bench
def test_what_mapping_costs_beside_the_network(large_scene, tiny_model, tmp_path, capsys):
    ways = ["hyseg, shards", "hyseg, COG"]
    ways += [name for name in ("monai", "torchgeo") if find_spec(name) is not None]
    with capsys.disabled():
        print(
            f"\nPython {platform.python_version()}, torch {torch.__version__}, "
            f"GDAL {rasterio.__gdal_version__}, {os.cpu_count()} cores, 1 torch thread; "
            f"{SIDE} x {SIDE} x 3, tiles of 512, overlap 128, 3 classes, fake network"
        )
        print("                wall s    CPU s   MiB above imports   hyseg (shards): CPU, wall")
        shards = None
        for way in ways:
            printed = subprocess.run(
                [
                    *(sys.executable, "-W", "ignore", HERE / "mappers.py"),
                    *(way, large_scene, tmp_path / "out.tif", tiny_model),
                ],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            wall, cpu, peak = map(float, printed.split()[-3:])
            shards = shards or (wall, cpu)
            print(
                f"{way:14} {wall:7.1f}  {cpu:7.1f}   {peak:17.0f}"
                f"   {shards[1] / cpu:.2f} x, {shards[0] / wall:.2f} x",
                flush=True,
            )
