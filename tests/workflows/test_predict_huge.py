"""A scene of 10^10 pixels, one part of 200 of it, and what the forecast said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

SCRIPT = Path(__file__).parent / "fake_network_run.py"
SIDE, BLOCK = 100_000, 5_000


@pytest.fixture(scope="module")
def huge_scene(tmp_path_factory):
    """A VRT of 100,000 x 100,000 pixels that repeats one raster."""
    folder = tmp_path_factory.mktemp("huge")
    rng = np.random.default_rng(0)
    block = np.kron(rng.integers(1, 255, (3, 50, 50)), np.ones((1, 100, 100))).astype(np.uint8)
    with rasterio.open(
        folder / "block.tif", "w", driver="GTiff", width=BLOCK, height=BLOCK, count=3,
        dtype="uint8", crs="EPSG:32632", transform=from_origin(5e5, 5.4e6, 0.3, 0.3),
        tiled=True, blockxsize=512, blockysize=512, compress="deflate", photometric="rgb",
    ) as file:  # fmt: skip
        file.write(block)
        wkt = file.crs.to_wkt()
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><ColorInterp>{color}</ColorInterp>'
        + "".join(
            '<SimpleSource><SourceFilename relativeToVRT="1">block.tif</SourceFilename>'
            f"<SourceBand>{band}</SourceBand>"
            f'<SrcRect xOff="0" yOff="0" xSize="{BLOCK}" ySize="{BLOCK}"/>'
            f'<DstRect xOff="{col}" yOff="{row}" xSize="{BLOCK}" ySize="{BLOCK}"/></SimpleSource>'
            for row in range(0, SIDE, BLOCK)
            for col in range(0, SIDE, BLOCK)
        )
        + "</VRTRasterBand>"
        for band, color in enumerate(("Red", "Green", "Blue"), 1)
    )
    path = folder / "huge.vrt"
    path.write_text(
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><SRS>{wkt}</SRS>'
        f"<GeoTransform>500000, 0.3, 0, 5400000, 0, -0.3</GeoTransform>{bands}</VRTDataset>"
    )
    return path


def run(*arguments):
    printed = subprocess.run(
        [sys.executable, "-W", "ignore", SCRIPT, "predict", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ).stdout.splitlines()
    code, peak = map(int, printed[-1].split())
    return code, peak, "\n".join(printed[:-1])


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["1.5GB", "4GB"])
def test_a_part_of_a_huge_scene_keeps_to_its_memory(
    tmp_path, huge_scene, tiny_model, memory, capsys
):
    common = (
        huge_scene, "--out", tmp_path / "map.tif", "-m", tiny_model, "--device", "cpu",
        "--max-memory", memory, "--shard", "1/200", "--json",
    )  # fmt: skip
    code, _, printed = run(*common, "--dry-run")
    assert code == 0
    told = json.loads(printed)["forecast"]
    code, peak, _ = run(*common)
    assert code == 0
    with capsys.disabled():
        print(  # noqa: T201 - the figures are what the test is for
            f"\n{memory}: peak {peak / 2**20:.0f} MiB, told {told['peak_memory'] / 2**20:.0f} MiB"
        )
    assert peak < min(2 * 2**30, {"1.5GB": 1.5e9, "4GB": 4e9}[memory])
    assert told["peak_memory"] == pytest.approx(peak, rel=0.2)
    done = list((tmp_path / "map.tif.hyseg").glob("row*.tif"))
    assert len(done) == pytest.approx(told["parts"] / 200, abs=1)
