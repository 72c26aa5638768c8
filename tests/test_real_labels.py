"""Published class rasters, each vectorized exactly and generalised."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import rasterio
from click.testing import CliRunner

from hyseg_cli.cli.group import cli

LABELS = {
    "crops_of_a_county": "labels_cdl/2021_30m_cdls.tif",
    "crops_of_a_region": "labels_cdl/CDL_2016_19_train.tif",
    "chesapeake_land_use": "labels_chesapeake/BayWide_1m_LU_E1300000_N1770000.tif",
    "chesapeake_13_classes": "labels_chesapeake/Baywide_13Class_20132014_E1300000_N1770000.tif",
    "chesapeake_7_classes": "labels_chesapeake/Baywide_7class_20132014_E1300000_N1770000.tif",
    "colour_table_of_13": "labels_chesapeake/cog_cmap_13class_rio-tiler.tif",
    "nlcd": "labels_nlcd/nlcd2011.tif",
    "worldcover_36000": "labels_worldcover/ESA_WorldCover_10m_2021_v200_N00E006_Map.tif",
}
MODES = {"exact": [], "generalised": ["--smooth", "--simplify", "1.5px"]}
CASES = [
    pytest.param(
        path, mode, id=f"{name}-{mode}", marks=[pytest.mark.slow] if "36000" in name else []
    )
    for name, path in LABELS.items()
    for mode in MODES
]


@pytest.mark.parametrize(("path", "mode"), CASES)
def test_a_real_class_raster_becomes_a_proved_coverage(shared, tmp_path, path, mode):
    out = tmp_path / "polygons.gpkg"
    flags = ["--json", "-q", *MODES[mode]]
    result = CliRunner().invoke(cli, ["vectorize", str(shared / path), "--out", str(out), *flags])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    check = told["check"]
    assert check["matched"]
    assert (check["conflicts"], check["misshapen"]) == (0, 0)
    assert check["polygons"] == told["polygons"]
    pixels = valid_pixels(shared / path)
    assert sum(entry["pixels"] for entry in told["classes"]) == pixels
    assert check["area_px"] == pytest.approx(pixels, rel=0 if mode == "exact" else 1e-4)


def valid_pixels(path: Path) -> int:
    count = 0
    with rasterio.open(path) as file:
        for _, window in file.block_windows(1):
            count += int((file.read_masks(1, window=window) > 0).sum())
    return count
