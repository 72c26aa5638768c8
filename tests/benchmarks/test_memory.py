"""Memory of mapping does not grow with the height of the scene."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin
from rasterio.windows import Window

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
WIDTH = 4000
HEIGHTS = (5000, 20000)


def write_tall_scene(path, height):
    rng = np.random.default_rng(0)
    block = np.kron(rng.integers(1, 255, (3, 64, 500)), np.ones((1, 8, 8))).astype(np.uint8)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=WIDTH,
        height=height,
        count=3,
        dtype="uint8",
        crs="EPSG:32632",
        transform=from_origin(5e5, 5.4e6, 0.5, 0.5),
        tiled=True,
        blockxsize=512,
        blockysize=512,
        compress="deflate",
        zlevel=1,
    ) as file:
        for row in range(0, height, 512):
            rows = min(512, height - row)
            file.write(np.roll(block, row, axis=2)[:, :rows], window=Window(0, row, WIDTH, rows))


@pytest.mark.bench
def test_memory_does_not_grow_with_the_height_of_the_scene(tmp_path, tiny_model, capsys):
    found = {}
    for height in HEIGHTS:
        scene = tmp_path / f"{height}.tif"
        write_tall_scene(scene, height)
        printed = subprocess.run(
            [sys.executable, "-W", "ignore", HERE / "memory_of_mapping.py", scene, tiny_model],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(EXAMPLES)},
        ).stdout
        found[height] = dict(
            zip(("base", "peak", "wall", "cpu"), map(float, printed.split()), strict=True)
        )
    low, high = (found[height] for height in HEIGHTS)
    with capsys.disabled():
        print(
            f"\nPython {platform.python_version()}, torch {torch.__version__}, "
            f"GDAL {rasterio.__gdal_version__}, {os.cpu_count()} cores, 1 torch thread; "
            f"{WIDTH} columns, tile 512, overlap 128, 5 classes, fake network"
        )
        print("  rows     base MiB  peak MiB   wall s    CPU s   Mpx/s (wall)")
        for height, run in found.items():
            speed = WIDTH * height / 1e6 / run["wall"]
            print(
                f"{height:6d}   {run['base']:8.0f}  {run['peak']:8.0f}  {run['wall']:7.1f}"
                f"  {run['cpu']:7.1f}   {speed:6.1f}"
            )
        print(f"peak of {HEIGHTS[1]} rows over {HEIGHTS[0]} rows: {high['peak'] / low['peak']:.3f}")
    assert high["peak"] < 1.10 * low["peak"]
