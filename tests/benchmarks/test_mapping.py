"""What mapping costs beside the network, and what others' tiled inference does."""

from __future__ import annotations

import os
import platform
import statistics
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

from hyseg_cli.geo.raster.picture import read_picture

HERE = Path(__file__).parent
SIDE = 10_000
RUNS = 3


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


def measure(way, scene, model, out):
    """Wall and CPU seconds and MiB above the imports, of a process of its own."""
    printed = subprocess.run(
        [sys.executable, "-W", "ignore", HERE / "mappers.py", way, scene, out, model],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return tuple(map(float, printed.split()[-3:]))


def describe():
    return (
        f"\nPython {platform.python_version()}, torch {torch.__version__}, "
        f"GDAL {rasterio.__gdal_version__}, {os.cpu_count()} cores, 1 torch thread; "
        f"{SIDE} x {SIDE} x 3, tiles of 512, overlap 128, 3 classes, fake network"
    )


@pytest.mark.bench
def test_what_mapping_costs_beside_the_network(large_scene, tiny_model, tmp_path, capsys):
    ways = ["hyseg, shards", "hyseg, COG"]
    ways += [name for name in ("monai", "torchgeo", "patchly") if find_spec(name) is not None]
    with capsys.disabled():
        print(describe(), f"; medians of {RUNS}; only hyseg masks nodata; the peers write no COG")
        print("                wall s    CPU s   MiB above imports   hyseg (shards): CPU, wall")
        # One way after the other, again and again: a busy machine is busy for all of them.
        runs = {way: [] for way in ways}
        for _ in range(RUNS):
            for way in ways:
                runs[way].append(measure(way, large_scene, tiny_model, tmp_path / "out.tif"))
        shards = None
        for way in ways:
            wall, cpu, peak = map(statistics.median, zip(*runs[way], strict=True))
            shards = shards or (wall, cpu)
            print(
                f"{way:14} {wall:7.1f}  {cpu:7.1f}   {peak:17.0f}"
                f"   {shards[1] / cpu:.2f} x, {shards[0] / wall:.2f} x",
                flush=True,
            )


@pytest.mark.bench
def test_memory_is_flat_in_the_height_of_the_scene(large_scene, tiny_model, tmp_path, capsys):
    tall = tmp_path / "tall.vrt"
    with rasterio.open(large_scene) as file:
        bands = "".join(
            f'<VRTRasterBand dataType="Byte" band="{band}" blockXSize="512" blockYSize="512">'
            f"<NoDataValue>0</NoDataValue><ColorInterp>{color.name.title()}</ColorInterp>"
            + "".join(
                f"<SimpleSource><SourceFilename>{large_scene}</SourceFilename>"
                f"<SourceBand>{band}</SourceBand>"
                f'<SrcRect xOff="0" yOff="0" xSize="{SIDE}" ySize="{SIDE}"/>'
                f'<DstRect xOff="0" yOff="{row}" xSize="{SIDE}" ySize="{SIDE}"/></SimpleSource>'
                for row in range(0, 4 * SIDE, SIDE)
            )
            + "</VRTRasterBand>"
            for band, color in enumerate(file.colorinterp, 1)
        )
        place = ",".join(map(str, file.transform.to_gdal()))
        tall.write_text(
            f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{4 * SIDE}">'
            f"<SRS>{file.crs.to_string()}</SRS><GeoTransform>{place}</GeoTransform>{bands}"
            "</VRTDataset>"
        )
    out = tmp_path / "out.tif"
    peaks = [measure("hyseg, shards", scene, tiny_model, out)[2] for scene in (large_scene, tall)]
    with capsys.disabled():
        print(describe())
        print(f"MiB above imports, {SIDE} and {4 * SIDE} rows: {peaks[0]:.0f}, {peaks[1]:.0f}")
