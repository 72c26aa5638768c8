import math

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from hyseg_cli.errors import HysegError, ModelMismatchError, UsageProblemError
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.window import Window

RNG = np.random.default_rng(0)


def read_all(path, bands=None):
    scene = open_raster(path)
    with SceneReader(scene, bands or scene.data_bands) as reader:
        return reader.read(Window(0, 0, scene.height, scene.width))


def test_describes_what_rasterio_says(write_raster):
    path = write_raster(RNG.integers(1, 255, (3, 7, 11), dtype=np.uint8), photometric="RGB")
    scene = open_raster(path)
    with rasterio.open(path) as file:
        assert (scene.height, scene.width) == file.shape
        assert scene.crs == file.crs
        assert scene.transform == file.transform
    assert scene.colors == ("red", "green", "blue")
    assert scene.dtypes == ("uint8",) * 3


def test_reads_the_window_that_rasterio_reads(write_raster):
    array = RNG.integers(0, 65535, (4, 60, 70), dtype=np.uint16)
    scene = open_raster(write_raster(array, tiled=True, blockxsize=16, blockysize=16))
    with SceneReader(scene, (4, 1)) as reader:
        pixels = reader.read(Window(13, 29, 31, 20))
    np.testing.assert_array_equal(pixels.image, array[[3, 0], 13:44, 29:49])
    assert pixels.valid.all()


def test_a_window_across_the_edge_is_reflected_with_its_mask(write_raster):
    array = RNG.integers(1, 255, (1, 20, 20), dtype=np.uint8)
    array[0, 3, 4] = 0
    scene = open_raster(write_raster(array, nodata=0))
    with SceneReader(scene, (1,)) as reader:
        pixels = reader.read(Window(-5, -5, 30, 30))
    np.testing.assert_array_equal(pixels.image[0], np.pad(array[0], 5, mode="reflect"))
    np.testing.assert_array_equal(pixels.valid, pixels.image[0] != 0)


def test_an_alpha_band_is_a_mask_and_no_data_band(write_raster):
    array = RNG.integers(1, 255, (4, 8, 8), dtype=np.uint8)
    array[3] = 255
    array[3, :, :3] = 0
    path = write_raster(array, photometric="RGB", alpha="yes")
    assert open_raster(path).data_bands == (1, 2, 3)
    valid = read_all(path).valid
    assert not valid[:, :3].any()
    assert valid[:, 3:].all()


def test_a_mask_band_of_the_dataset_is_honoured(write_raster):
    path = write_raster(RNG.integers(0, 255, (3, 8, 8), dtype=np.uint8), photometric="RGB")
    mask = np.full((8, 8), 255, np.uint8)
    mask[2:4] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(mask)
    np.testing.assert_array_equal(read_all(path).valid, mask > 0)


def test_8_bit_nodata_needs_all_bands(write_raster):
    array = np.full((3, 4, 4), 90, np.uint8)
    array[0, 0, 0] = 0
    array[:, 1, 1] = 0
    valid = read_all(write_raster(array, nodata=0)).valid
    assert valid[0, 0]
    assert not valid[1, 1]


def test_wider_nodata_needs_one_band(write_raster):
    array = np.full((3, 4, 4), 900, np.int16)
    array[0, 0, 0] = -9999
    valid = read_all(write_raster(array, nodata=-9999)).valid
    assert not valid[0, 0]
    assert valid.sum() == 15


def test_pixels_that_are_not_finite_are_empty(write_raster):
    array = np.ones((2, 3, 3), np.float32)
    array[1, 1, 1] = np.nan
    array[0, 2, 2] = np.inf
    valid = read_all(write_raster(array)).valid
    assert valid.sum() == 7


@pytest.mark.parametrize(
    ("crs", "transform", "metres"),
    [
        ("EPSG:32632", from_origin(500_000, 5_400_000, 0.5, 0.5), 0.5),
        # US survey feet
        ("EPSG:2263", from_origin(1_000_000, 200_000, 10, 10), 3.048),
        # One degree of latitude is about 111.2 km at 47 degrees, of longitude 76.1 km.
        ("EPSG:4326", from_origin(9, 47, 1e-4, 1e-4), math.sqrt(11.118 * 7.604)),
        # Web Mercator stretches by 1 / cos(latitude): here 2.
        ("EPSG:3857", from_origin(0, 8_399_737.9, 10, 10), 5.0),
    ],
)
def test_resolution_is_measured_on_the_ground(write_raster, crs, transform, metres):
    array = np.zeros((1, 4, 4), np.uint8)
    scene = open_raster(write_raster(array, crs=crs, transform=transform))
    assert scene.resolution_m() == pytest.approx(metres, rel=5e-3)


def test_scenes_cut_from_one_grid_share_their_noise_grid(write_raster):
    array = np.zeros((1, 40, 40), np.uint8)
    whole = from_origin(500_000.25, 5_400_000.25, 0.5, 0.5)
    part = whole * Affine.translation(17, 5)
    first = open_raster(write_raster(array, "a.tif", transform=whole)).noise_origin
    second = open_raster(write_raster(array, "b.tif", transform=part)).noise_origin
    assert (second[0] - first[0], second[1] - first[1]) == (5, 17)


def test_a_raster_without_place_has_none(tmp_path):
    path = tmp_path / "plain.png"
    with rasterio.open(
        path,
        "w",
        driver="PNG",
        width=4,
        height=4,
        count=3,
        dtype="uint8",
        transform=Affine.scale(2),
    ) as file:
        file.write(np.ones((3, 4, 4), np.uint8))
    path.with_suffix(".png.aux.xml").unlink(missing_ok=True)
    scene = open_raster(path)
    assert not scene.is_georeferenced
    assert scene.resolution_m() is None
    assert scene.noise_origin == (0, 0)


def test_a_missing_file_is_a_usage_problem(tmp_path):
    with pytest.raises(UsageProblemError, match="no such file"):
        open_raster(tmp_path / "none.tif")


def test_text_is_not_a_raster(tmp_path):
    path = tmp_path / "notes.tif"
    path.write_text("not a raster")
    with pytest.raises(HysegError, match="cannot be opened as a raster"):
        open_raster(path)


@pytest.mark.parametrize("dtype", ["complex64", "complex_int16"])
def test_complex_pixels_are_refused(tmp_path, dtype):
    path = tmp_path / "sar.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=4,
        height=4,
        count=1,
        dtype=dtype,
        crs="EPSG:32632",
        transform=from_origin(500, 500, 1, 1),
    ):
        pass
    with pytest.raises(ModelMismatchError, match="complex"):
        open_raster(path)


def test_a_damaged_block_is_named_by_its_rows(write_raster):
    array = RNG.integers(0, 255, (1, 256, 256), dtype=np.uint8)
    path = write_raster(array, compress="deflate", tiled=True, blockxsize=64, blockysize=64)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(data)
    with pytest.raises(HysegError, match="rows 0 to 255 cannot be read"):
        read_all(path)


def test_color_interpretation_survives_in_order(write_raster):
    path = write_raster(np.zeros((3, 4, 4), np.uint8))
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    assert open_raster(path).colors == ("blue", "green", "red")
