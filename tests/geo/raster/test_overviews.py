"""Rasters read small enough to look at."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine

from hyseg_cli.errors import UnusableFileError
from hyseg_cli.geo.raster import overviews as thinned
from hyseg_cli.geo.raster.overviews import picture_size, read_reduced, to_colors
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.window import Window


def test_images_are_averaged_and_classes_are_picked(write_raster):
    rng = np.random.default_rng(1)
    values = rng.choice(np.uint8([3, 200]), (2, 40, 60))
    path = str(write_raster(values))
    means, _ = read_reduced(path, (2,), (10, 15))
    blocks = values[1].reshape(10, 4, 15, 4).mean(axis=(1, 3))
    assert np.abs(means[0] - blocks).max() <= 0.5
    classes, _ = read_reduced(path, (2,), (10, 15), is_classes=True)
    assert set(np.unique(classes)) == {3, 200}


def test_large_rasters_without_overviews_are_thinned_out_before_they_are_averaged(write_raster):
    rng = np.random.default_rng(2)
    blocks = rng.integers(1, 60_000, (2, 9, 12), np.uint16)
    values = np.kron(blocks, np.ones((1, 30, 30), np.uint16))
    values[:, ::3, ::2] = 0  # nodata, which no mean may hold
    blocks[:, 4, 5] = 0
    values[:, 120:150, 150:180] = 0
    found, valid = read_reduced(str(write_raster(values, nodata=0)), (1, 2), (9, 12))
    np.testing.assert_array_equal(found, blocks)
    assert np.argwhere(~valid).tolist() == [[4, 5]]
    noise = rng.normal(100, 10, (1, 900, 900)).astype(np.float32)
    means, _ = read_reduced(str(write_raster(noise, "noise.tif")), (1,), (30, 30))
    assert means.std() == pytest.approx(10 / 3, rel=0.15)


@pytest.mark.parametrize(
    "storage",
    [
        {"tiled": True, "blockxsize": 16, "blockysize": 32},
        {"blockysize": 1},
        {"blockysize": 7, "interleave": "band"},
    ],
    ids=["tiles", "rows", "strips"],
)
def test_thinned_pixels_are_those_of_the_whole_array(write_raster, storage):
    values = np.random.default_rng(3).integers(0, 4, (2, 131, 173), np.uint8)
    part = Window(10, 7, 100, 150)
    with rasterio.open(write_raster(values, nodata=3, **storage)) as dataset:
        image, masks = thinned.read_thinned(dataset, (2, 1), part, (13, 31), chunk_cols=40)
    rows = 10 + ((np.arange(13) + 0.5) * 100 / 13).astype(int)
    cols = 7 + ((np.arange(31) + 0.5) * 150 / 31).astype(int)
    expected = values[[1, 0]][:, rows][:, :, cols]
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(masks, expected != 3)


def test_a_window_is_read_as_it_stands_in_the_raster(write_raster):
    values = np.arange(30 * 50, dtype=np.uint16).reshape(1, 30, 50)
    path = str(write_raster(values))
    found, valid = read_reduced(path, (1,), (7, 11), window=Window(20, 30, 7, 11))
    np.testing.assert_array_equal(found, values[:, 20:27, 30:41])
    assert valid.all()


def test_small_rasters_are_enlarged_without_new_values(write_raster):
    values = np.uint8([[[0, 255], [255, 0]]])
    found, _ = read_reduced(str(write_raster(values)), (1,), (20, 20))
    np.testing.assert_array_equal(found, np.kron(values, np.ones((1, 10, 10), np.uint8)))


def test_pixels_without_data_are_told_and_not_averaged_in(write_raster):
    values = np.full((1, 20, 20), 0, np.uint16)
    values[:, 10:] = 500
    values[:, 15:, ::2] = 0
    found, valid = read_reduced(str(write_raster(values, nodata=0)), (1,), (4, 4))
    assert not valid[:2].any()
    assert valid[2].all()
    assert set(found[0, 2:].ravel()) <= {0, 500}
    values = np.full((1, 8, 8), np.nan, np.float32)
    assert not read_reduced(str(write_raster(values, "nan.tif")), (1,), (4, 4))[1].any()


@pytest.mark.parametrize(
    ("transform", "crs", "size"),
    [
        (Affine(1, 0, 500_000, 0, -1, 5_400_000), "EPSG:32632", (50, 100)),
        (Affine(1, 0, 500_000, 0, -3, 5_400_000), "EPSG:32632", (100, 67)),
        # At 60 degrees a degree of longitude is half as long as one of latitude.
        (Affine(1e-5, 0, 10, 0, -1e-5, 60), "EPSG:4326", (99, 100)),
        # Ten times as long as wide is no shape to show.
        (Affine(1, 0, 500_000, 0, -10, 5_400_000), "EPSG:32632", (50, 100)),
    ],
)
def test_pictures_have_the_shape_of_the_ground(write_raster, transform, crs, size):
    path = write_raster(np.zeros((200, 400), np.uint8), crs=crs, transform=transform)
    assert picture_size(open_raster(path), 100) == pytest.approx(size, abs=1)


def test_only_who_asks_gets_more_pixels_than_there_are(write_raster):
    scene = open_raster(write_raster(np.zeros((20, 40), np.uint8)))
    assert picture_size(scene, 400) == (20, 40)
    assert picture_size(scene, 400, enlarge=True) == (200, 400)
    thin = open_raster(write_raster(np.zeros((1, 4000), np.uint8), "thin.tif"))
    assert picture_size(thin, 100) == (1, 100)
    assert picture_size(thin, 100, enlarge=True) == (16, 100)


def test_eight_bits_are_colours_and_other_types_are_stretched():
    gray = np.uint8([[[10, 200]]])
    np.testing.assert_array_equal(to_colors(gray, np.ones((1, 2), bool)), [[[10] * 3, [200] * 3]])
    deep = np.linspace(1000, 3000, 300).reshape(1, 10, 30).repeat(3, axis=0)
    valid = np.ones((10, 30), bool)
    deep[:, 0, 0], valid[0, 0] = 1e9, False
    shown = to_colors(deep, valid)
    assert shown[0, 1].max() == 0
    assert shown[-1, -1].min() == 255
    assert 100 < shown[5, 0, 0] < 155
    assert (to_colors(deep, np.zeros_like(valid)) == 0).all()
    with pytest.raises(ValueError, match="2 bands"):
        to_colors(deep[:2], valid)


def test_a_damaged_raster_is_one_error(write_raster):
    path = write_raster(np.random.default_rng(0).integers(0, 255, (1, 200, 200), np.uint8))
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(UnusableFileError, match="cannot be read for a picture"):
        read_reduced(str(path), (1,), (200, 200))
