"""Files of one grid seen as one: the same pixels as their mosaic, however it was made."""

from __future__ import annotations

import shutil
import subprocess
import warnings

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.transform import from_origin

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.output.context import find_neighbourhood, vrt_of
from hyseg_cli.geo.raster.raster import open_raster

RNG = np.random.default_rng(0)
PLACE = from_origin(500_000, 5_400_000, 0.5, 0.5)


def seen_as_one(tmp_path, paths):
    """All bands of the whole, and which pixels hold data."""
    path = tmp_path / "whole.vrt"
    path.write_text(vrt_of(find_neighbourhood([open_raster(path) for path in paths])))
    with rasterio.open(path) as whole:
        return whole.read(), whole.dataset_mask() > 0


def layers(bands=3, kind="plain"):
    """Two overlapping images (bands, 60, 50) with holes, and what each says of its holes."""
    images = RNG.integers(1, 255, (2, bands, 60, 50), dtype=np.uint8)
    holes = np.zeros((2, 60, 50), bool)
    if kind != "plain":
        holes[0, 40:55, 5:40], holes[1, 5:25, 10:30] = True, True
    return images, holes


def write_pair(write_raster, images, holes, kind):
    paths = []
    for number, hole in enumerate(holes):
        image = np.where(hole & (kind == "nodata"), np.uint8(0), images[number])
        transform = PLACE @ Affine.translation(7 * number, 31 * number)
        profile = {"transform": transform}
        if kind == "nodata":
            profile["nodata"] = 0
        if kind == "alpha":
            profile |= {"photometric": "RGB", "alpha": "yes"}
        alpha = np.where(hole, 0, 255)[None].astype(np.uint8)
        stored = np.concatenate([image, alpha]) if kind == "alpha" else image
        path = write_raster(stored, f"{number}.tif", **profile)
        if kind == "mask":
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
                file.write_mask(~hole)
        paths.append(path)
    return paths


@pytest.mark.parametrize("kind", ["plain", "nodata", "alpha", "mask"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_data_lies_on_data_and_holes_show_what_is_below(tmp_path, write_raster, kind, order):
    images, holes = layers(kind=kind)
    paths = write_pair(write_raster, images, holes, kind)
    whole, valid = seen_as_one(tmp_path, [paths[number] for number in order])
    expected, is_there = np.zeros((3, 91, 57), np.uint8), np.zeros((91, 57), bool)
    for number in order:
        place = slice(31 * number, 31 * number + 60), slice(7 * number, 7 * number + 50)
        data = ~holes[number]
        expected[:, *place][:, data] = images[number][:, data]
        is_there[place] |= data
    np.testing.assert_array_equal(valid, is_there)
    np.testing.assert_array_equal(whole[:3, is_there], expected[:, is_there])


@pytest.mark.skipif(not shutil.which("gdalbuildvrt"), reason="gdalbuildvrt is not installed")
@pytest.mark.parametrize("kind", ["plain", "nodata", "alpha"])
def test_the_whole_is_that_of_gdalbuildvrt(tmp_path, write_raster, kind):
    paths = write_pair(write_raster, *layers(kind=kind), kind)
    subprocess.run([shutil.which("gdalbuildvrt"), "-q", tmp_path / "their.vrt", *paths], check=True)
    whole, valid = seen_as_one(tmp_path, paths)
    with rasterio.open(tmp_path / "their.vrt") as their:
        np.testing.assert_array_equal(whole[:3, valid], their.read([1, 2, 3])[:, valid])
        if kind != "plain":  # theirs takes what nobody covers for black ground
            np.testing.assert_array_equal(valid, their.dataset_mask() > 0)


def test_a_shift_is_told_and_snapped_to_the_nearest_pixel(write_raster):
    image = RNG.integers(1, 255, (3, 20, 30), dtype=np.uint8)
    paths = [
        write_raster(image, f"{i}.tif", transform=PLACE @ Affine.translation(*shift))
        for i, shift in enumerate([(0, 0), (29.746, 0.2), (-30.1, 19.9)])
    ]
    found = find_neighbourhood([open_raster(path) for path in paths])
    assert [(window.row, window.col) for window in found.windows] == [(0, 30), (0, 60), (20, 0)]
    assert found.shift == pytest.approx(0.254, abs=1e-6)
    assert found.transform.almost_equals(PLACE @ Affine.translation(-30, 0), precision=1e-6)


def test_scenes_whose_nodata_is_nan_share_a_grid(tmp_path, write_raster):
    image = np.ones((1, 20, 30), np.float32)
    image[0, 5, 5] = np.nan
    paths = [
        write_raster(image, f"{i}.tif", nodata=np.nan, transform=PLACE @ Affine.translation(i, 0))
        for i in range(2)
    ]
    _, valid = seen_as_one(tmp_path, paths)
    assert valid.all()  # each has data where the other has its hole


def test_64_bit_integers_are_a_type(tmp_path, write_raster):
    path = write_raster(np.full((1, 20, 30), 2**40), "wide.tif")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole, _ = seen_as_one(tmp_path, [path, path])
    assert (whole == 2**40).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"crs": "EPSG:32633"}, "CRS differ"),
        ({"transform": PLACE @ Affine.scale(1.001)}, "differ in size"),
        ({"nodata": 3}, "nodata values differ"),
    ],
)
def test_other_grids_are_refused(write_raster, change, words):
    image = np.ones((3, 20, 30), np.uint8)
    scenes = [
        open_raster(write_raster(image, "a.tif")),
        open_raster(write_raster(image, "b.tif", **change)),
    ]
    with pytest.raises(UsageProblemError, match=words):
        find_neighbourhood(scenes)
