"""`hyseg info` says what a raster is, whatever GDAL says of it; and reads no more than it must."""

import json
import subprocess
import sys

import numpy as np
import rasterio
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.transform import from_origin

from hyseg_cli.cli.group import cli

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
TAGS = st.sampled_from(
    ["HYSEG_LEGEND", "HYSEG_TILES", "TIFFTAG_DATETIME", "AREA_OR_POINT", "ACQUISITIONDATETIME"]
)
RPC = {
    "LINE_OFF": "x", "SAMP_OFF": "", "LAT_OFF": "nan", "LONG_OFF": "1e999", "HEIGHT_OFF": "0",
    "LINE_SCALE": "0", "SAMP_SCALE": "0", "LAT_SCALE": "0", "LONG_SCALE": "0", "HEIGHT_SCALE": "0",
    "LINE_NUM_COEFF": "1 2", "LINE_DEN_COEFF": "", "SAMP_NUM_COEFF": "a", "SAMP_DEN_COEFF": "0",
}  # fmt: skip


def info(path, *words):
    return CliRunner().invoke(cli, ["info", str(path), *map(str, words)])


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    tags=st.dictionaries(TAGS, TEXTS, max_size=3),
    bands=st.integers(1, 4),
    driver=st.sampled_from(["GTiff", "MRF"]),
    dtype=st.sampled_from(["uint8", "uint16"]),
    has_rpc=st.booleans(),
    description=TEXTS,
    scale=st.sampled_from([1.0, 0.0, float("nan"), 1e300]),
)
def test_odd_tags_are_no_defect(
    tmp_path, tiny_model, tags, bands, driver, dtype, has_rpc, description, scale
):
    path = tmp_path / {"GTiff": "a.tif", "MRF": "a.mrf"}[driver]
    place = from_origin(500_000, 5_400_000, 0.5, 0.5)
    with rasterio.open(
        path, "w", driver=driver, height=16, width=16, count=bands, dtype=dtype,
        crs="EPSG:32632", transform=place,
    ) as file:  # fmt: skip
        file.write(np.zeros((bands, 16, 16), dtype))
        if driver == "GTiff":
            file.update_tags(**tags)
            file.scales = [scale] * bands
            file.descriptions = [description] * bands
            if has_rpc:
                file.update_tags(ns="RPC", **RPC)
    result = info(path, "-m", tiny_model, "--json")
    assert result.exit_code in (0, 1, 4), result.output
    assert "unexpected" not in result.stderr, result.stderr
    if result.exit_code != 1:
        assert json.loads(result.stdout)["kind"] in ("scene", "map", "probabilities")


def test_a_compression_that_a_driver_gives_as_text_is_shown(tmp_path, tiny_model):
    path = tmp_path / "a.mrf"
    with rasterio.open(
        path, "w", driver="MRF", height=16, width=16, count=3, dtype="uint8", compress="LERC",
        crs="EPSG:32632", transform=from_origin(500_000, 5_400_000, 0.5, 0.5),
    ) as file:  # fmt: skip
        file.write(np.zeros((3, 16, 16), np.uint8))
    result = info(path, "-m", tiny_model)
    assert result.exit_code == 0, result.output
    assert "lerc" in result.stdout


IN_LITTLE_MEMORY = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (3_000_000_000, 3_000_000_000))
from hyseg_cli.cli.group import cli
cli(sys.argv[1:])
"""


def in_little_memory(folder, *words):
    return subprocess.run(
        [sys.executable, "-c", IN_LITTLE_MEMORY, *map(str, words)],
        check=False, capture_output=True, text=True, timeout=250, cwd=folder,
    )  # fmt: skip


HALF = 20_037_508.342789244


def test_a_tile_service_of_the_whole_earth_takes_little_memory(tmp_path, tiny_model):
    zoom, col, row = 20, 537_000, 345_000
    for x in (0, 1):
        folder = tmp_path / "tiles" / str(zoom) / str(col + x)
        folder.mkdir(parents=True)
        for y in (0, 1):
            pixels = np.full((256, 256, 3), 90 + x + y, np.uint8)
            Image.fromarray(pixels).save(folder / f"{row + y}.png")
    service = tmp_path / "service.xml"
    service.write_text(f"""<GDAL_WMS><Service name="TMS">
<ServerUrl>file://{tmp_path}/tiles/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service>
<DataWindow><UpperLeftX>-{HALF}</UpperLeftX><UpperLeftY>{HALF}</UpperLeftY>
<LowerRightX>{HALF}</LowerRightX><LowerRightY>-{HALF}</LowerRightY><TileLevel>{zoom}</TileLevel>
<TileCountX>1</TileCountX><TileCountY>1</TileCountY><YOrigin>top</YOrigin></DataWindow>
<Projection>EPSG:3857</Projection><BlockSizeX>256</BlockSizeX><BlockSizeY>256</BlockSizeY>
<BandsCount>3</BandsCount><ZeroBlockOnServerException>true</ZeroBlockOnServerException>
<ZeroBlockHttpCodes>404,204</ZeroBlockHttpCodes></GDAL_WMS>""")
    side = 2 * HALF / 2**zoom
    left, top = -HALF + col * side, HALF - row * side
    bounds = f"{left + 1},{top - side + 1},{left + side - 1},{top - 1}"
    for words in (
        ("info", service, "-m", tiny_model),
        ("predict", service, "-o", tmp_path / "map.tif", "-m", tiny_model, f"--bounds={bounds}",
         "--max-memory", "2GB"),
    ):  # fmt: skip
        done = in_little_memory(tmp_path, *words)
        assert done.returncode in (0, 4), done.stderr
    assert (tmp_path / "map.tif").exists()


def sparse_map(path, height, width, block):
    """A class raster without a block on the disk."""
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype="uint8", nodata=255,
        crs="EPSG:32632", transform=from_origin(500_000, 5_400_000, 0.5, 0.5), tiled=True,
        blockxsize=block, blockysize=block, SPARSE_OK=True, BIGTIFF="YES", compress="deflate",
    ) as file:  # fmt: skip
        file.write_colormap(1, {1: (9, 9, 9), 2: (80, 80, 80)})
    return path


def test_a_class_raster_of_any_size_is_described_in_little_memory_and_time(tmp_path):
    path = sparse_map(tmp_path / "map.tif", 3_000_000, 3_000_000, 16_384)
    done = in_little_memory(tmp_path, "info", path, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kind"] == "map"
    assert 0 < found["pixels_read"] <= 2**28
    assert found["empty_pixels"] == 3_000_000**2
