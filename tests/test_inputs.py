"""Scenes of every make and from everywhere: the map lies where the scene lies."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from click.testing import CliRunner
from conftest import make_card
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.transform import from_origin

from hyseg_cli.cli.group import cli
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.learn.model.weights import save_model
from hyseg_models import build

RNG = np.random.default_rng(0)


@pytest.fixture
def image():
    """Bands in which the first says which class the fake network finds: 5 of 40 levels."""
    picture = RNG.integers(30, 200, (3, 150, 170), dtype=np.uint8)
    picture[0] = np.repeat(np.repeat(RNG.integers(0, 5, (15, 17)) * 40 + 20, 10, 0), 10, 1)
    return picture


@pytest.fixture
def model(tmp_path, legend, monkeypatch):
    """A model that finds in each pixel the class that its red band says."""
    path = tmp_path / "model.safetensors"
    card = make_card(legend, resolution_m=None)
    save_model(path, build(card.config), card)

    def classify(self, image, valid, origin):
        import torch

        classes = (image[:, 0].float() / 40).long().clamp(0, 4)
        return torch.nn.functional.one_hot(classes, 5).permute(0, 3, 1, 2).float()

    monkeypatch.setattr("hyseg_cli.learn.inference.predictor.Predictor.__call__", classify)
    return path


@pytest.fixture
def predict(tmp_path, model):
    def run(scene, *flags):
        out = tmp_path / "map.tif"
        words = ["predict", str(scene), "--out", str(out), "-m", str(model), *flags]
        return out, CliRunner().invoke(cli, words)

    return run


def require_classes(out, image, legend):
    expected = np.array(legend.ids)[np.minimum(image[0] // 40, 4)]
    with rasterio.open(out) as found:
        np.testing.assert_array_equal(found.read(1), expected)


MAKES = {
    "striped": ("GTiff", {"blockysize": 7}),
    "one_strip": ("GTiff", {"blockysize": 150, "compress": "deflate"}),
    "tiled": ("GTiff", {"tiled": True, "blockxsize": 32, "blockysize": 64}),
    "band_by_band": ("GTiff", {"interleave": "band", "tiled": True, "compress": "lzw"}),
    "png": ("PNG", {}),
    "jp2": ("JP2OpenJPEG", {"REVERSIBLE": "YES", "QUALITY": "100"}),
    "jpeg": ("JPEG", {"QUALITY": "98"}),
    "jpeg_in_tiff": ("GTiff", {"compress": "jpeg", "photometric": "ycbcr", "jpeg_quality": 98}),
    "erdas": ("HFA", {}),
}


@pytest.mark.parametrize("make", MAKES)
def test_any_make_of_raster_maps_alike(tmp_path, write_raster, image, legend, predict, make):
    driver, options = MAKES[make]
    scene = tmp_path / f"scene.{make}"
    source = write_raster(image, photometric="RGB")
    rasterio.shutil.copy(source, scene, driver=driver, **options)
    out, result = predict(scene)
    assert result.exit_code == 0, result.output
    with rasterio.open(scene) as stored:  # lossy makes change the values
        require_classes(out, stored.read(), legend)
    with rasterio.open(source) as placed, rasterio.open(out) as found:
        assert found.crs == placed.crs
        np.testing.assert_allclose(found.transform[:6], placed.transform[:6], rtol=1e-12)


def test_a_vrt_of_two_files_and_a_file_in_a_zip_map(tmp_path, write_raster, image, legend, predict):
    whole = write_raster(image, photometric="RGB")
    with zipfile.ZipFile(tmp_path / "scenes.zip", "w") as archive:
        archive.write(whole, "inside/scene.tif")
    half = Affine.translation(0, 80)
    place = from_origin(500_000, 5_400_000, 0.5, 0.5)
    write_raster(image[:, :80], "upper.tif", photometric="RGB")
    write_raster(image[:, 80:], "lower.tif", transform=place @ half, photometric="RGB")
    write_vrt(tmp_path / "two.vrt")
    for name in (f"/vsizip/{tmp_path}/scenes.zip/inside/scene.tif", tmp_path / "two.vrt"):
        out, result = predict(name)
        assert result.exit_code == 0, result.output
        require_classes(out, image, legend)
        out.unlink()


def write_vrt(path):
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><ColorInterp>{color}</ColorInterp>'
        + "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{name}.tif</SourceFilename>'
            f'<SourceBand>{band}</SourceBand><SrcRect xOff="0" yOff="0" xSize="170" '
            f'ySize="{rows}"/><DstRect xOff="0" yOff="{top}" xSize="170" ySize="{rows}"/>'
            "</SimpleSource>"
            for name, top, rows in (("upper", 0, 80), ("lower", 80, 70))
        )
        + "</VRTRasterBand>"
        for band, color in enumerate(("Red", "Green", "Blue"), 1)
    )
    path.write_text(
        '<VRTDataset rasterXSize="170" rasterYSize="150">'
        f"<GeoTransform>500000, 0.5, 0, 5400000, 0, -0.5</GeoTransform>{bands}</VRTDataset>"
    )
    return path


@pytest.mark.parametrize(
    "transform",
    [
        Affine.translation(5e5, 5.4e6) @ Affine.rotation(33) @ Affine.scale(0.5, -0.5),
        Affine.translation(5e5, 5.4e6) @ Affine.scale(0.5, 0.5),
    ],
    ids=["rotated", "south_up"],
)
def test_an_unusual_transform_is_that_of_the_map(write_raster, image, legend, predict, transform):
    out, result = predict(write_raster(image, transform=transform, photometric="RGB"))
    assert result.exit_code == 0, result.output
    require_classes(out, image, legend)
    with rasterio.open(out) as found:
        np.testing.assert_allclose(found.transform[:6], transform[:6], rtol=1e-12)


def plain_raster(path, image, **place):
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=image.shape[1], width=image.shape[2],
        dtype="uint8", photometric="RGB", **place,
    ) as file:  # fmt: skip
        file.write(image)
    return path


def test_ground_control_points_are_those_of_the_map(tmp_path, image, legend, predict):
    true = Affine.translation(7.0, 47.0) @ Affine.rotation(10) @ Affine.scale(6e-6, -4e-6)
    points = [
        GroundControlPoint(row, col, *(true @ (col, row)), z=12.0, id=f"p{row}{col}", info="mast")
        for row in (0, 75, 150)
        for col in (0, 60, 170)
    ]
    scene = plain_raster(tmp_path / "gcps.tif", image, gcps=points, crs="EPSG:4326")
    out, result = predict(scene)
    assert result.exit_code == 0, result.output
    assert "not georeferenced" not in result.stderr
    require_classes(out, image, legend)
    with rasterio.open(out) as found:
        kept, crs = found.gcps
    assert crs == CRS.from_epsg(4326)
    for before, after in zip(points, kept, strict=True):
        assert (after.row, after.col, after.x, after.y, after.z) == pytest.approx(
            (before.row, before.col, before.x, before.y, before.z), rel=1e-12
        )
    # 6e-6 degrees at 47 north are 0.456 m, 4e-6 degrees of latitude 0.445 m.
    assert open_raster(scene).resolution_m() == pytest.approx(np.sqrt(0.456 * 0.445), rel=0.02)


def test_rational_polynomials_are_those_of_the_map(tmp_path, image, legend, predict):
    """A camera that looks straight down: rows go with latitude, columns with longitude."""
    one = [1.0] + [0.0] * 19
    rpc = RPC(
        lat_off=47.0, lat_scale=0.01, long_off=7.0, long_scale=0.01, height_off=400.0,
        height_scale=100.0, line_off=1000.0, line_scale=1000.0, samp_off=1000.0,
        samp_scale=1000.0, line_num_coeff=[0.0, 0.0, -1.0] + [0.0] * 17,
        samp_num_coeff=[0.0, 1.0] + [0.0] * 18, line_den_coeff=one, samp_den_coeff=one,
    )  # fmt: skip
    scene = plain_raster(tmp_path / "rpc.tif", image, rpcs=rpc)
    out, result = predict(scene)
    assert result.exit_code == 0, result.output
    assert "not georeferenced" not in result.stderr
    require_classes(out, image, legend)
    with rasterio.open(out) as found:
        kept = found.rpcs.to_dict()
    for key, value in rpc.to_dict().items():
        if value is not None:
            assert kept[key] == pytest.approx(value), key
    # 1e-5 degrees a pixel: 0.760 m across, 1.112 m down.
    assert open_raster(scene).resolution_m() == pytest.approx(np.sqrt(0.760 * 1.112), rel=0.01)


# ---- over a network -------------------------------------------------------------------------


@pytest.fixture
def serve(tmp_path):
    processes = []

    def start(lives=10**6, port=0):
        script = Path(__file__).with_name("range_server.py")
        words = [sys.executable, script, tmp_path, str(lives), str(port)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process, f"/vsicurl/http://127.0.0.1:{process.stdout.readline().strip()}"

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def large_scene(write_raster):
    """2 MB of noise that no range request fetches at once."""
    picture = RNG.integers(30, 200, (3, 800, 900), dtype=np.uint8)
    return picture, write_raster(
        picture, "far.tif", photometric="RGB", tiled=True, blockxsize=128, blockysize=128
    )


def test_a_scene_on_a_server_is_read_by_ranges(write_raster, legend, predict, serve):
    picture, _ = large_scene(write_raster)
    server, address = serve()
    out, result = predict(f"{address}/far.tif")
    assert result.exit_code == 0, result.output
    require_classes(out, picture, legend)
    server.kill()
    assert len(server.stdout.readlines()) > 2


def test_a_server_that_dies_is_one_error_and_nothing_is_left(
    tmp_path, write_raster, predict, serve
):
    large_scene(write_raster)
    before = sorted(tmp_path.iterdir())
    _, address = serve(lives=4)
    _, result = predict(f"{address}/far.tif", "-q")
    assert result.exit_code == 1, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert re.match(r"Error: .*far\.tif: rows \d+ to \d+ cannot be read", lines[0])
    assert lines[1].startswith("Hint: The server or the network failed")
    assert sorted(tmp_path.iterdir()) == before


def test_a_scene_whose_server_died_goes_on_when_it_is_back(tmp_path, write_raster, legend, serve):
    """Each run is a process of its own: GDAL remembers what it has read, and what it could not."""
    large_scene(write_raster)
    model = tmp_path / "tiny.safetensors"
    card = make_card(legend, resolution_m=None)
    save_model(model, build(card.config), card)
    out = tmp_path / "map.tif"
    program = (
        "from hyseg_cli.geo.tiling import blocks; blocks.BLOCK_PIXELS = 50_000; import torch; "
        "torch.set_num_threads(1); from hyseg_cli.cli.group import cli; cli()"
    )

    def predict(out):
        words = ["predict", f"{address}/far.tif", "--out", out, "-m", model]
        words += ["--tile-size", "128", "--collar", "none"]  # a collar is looked for everywhere
        return subprocess.run(
            [sys.executable, "-c", program, *words], check=False, capture_output=True, text=True
        )

    server, address = serve()
    assert predict(tmp_path / "expected.tif").returncode == 0
    server.kill()
    lives, port = len(server.stdout.readlines()) * 3 // 4, int(address.rpartition(":")[2])
    server.wait()
    server, _ = serve(lives, port)
    died = predict(out)
    assert died.returncode == 1, died.stderr
    assert sum(line.startswith("Error: ") for line in died.stderr.splitlines()) == 1
    assert "cannot be read" in died.stderr
    assert "kept in" in died.stderr
    shards = {path: path.stat().st_mtime_ns for path in tmp_path.glob("map.tif.hyseg/row*.tif")}
    assert shards
    server.kill()
    server.wait()
    serve(port=port)
    again = predict(out)
    assert again.returncode == 0, again.stderr
    assert f"resuming: {len(shards)} of" in again.stderr
    assert out.read_bytes() == (tmp_path / "expected.tif").read_bytes()
    assert not out.with_name("map.tif.hyseg").exists()


def test_a_scene_that_a_server_does_not_have_is_one_error(predict, serve):
    _, address = serve()
    _, result = predict(f"{address}/none.tif")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 2
    assert "cannot be opened" in result.stderr
