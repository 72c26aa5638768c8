"""GDAL's settings. What they do is asked of GDAL itself, for rasterio changes what it is handed."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hyseg_cli.geo.raster.gdal import MIB, gdal_env


def block_cache():
    """Bytes of blocks that GDAL may keep, and that it keeps."""
    wheels = Path(rasterio.__file__).parents[1] / "rasterio.libs"
    found = list(wheels.glob("libgdal*")) if wheels.is_dir() else []
    if not found:
        pytest.skip("this rasterio brings no GDAL of its own")
    library = ctypes.CDLL(str(found[0]))
    most, used = library.GDALGetCacheMax64, library.GDALGetCacheUsed64
    most.restype = used.restype = ctypes.c_int64
    return most(), used()


def test_a_cache_has_the_size_that_was_asked_for_as_long_as_it_is_asked_for():
    before, _ = block_cache()
    with gdal_env(64):
        assert block_cache()[0] == 64 * MIB
        with gdal_env(128):
            assert block_cache()[0] == 128 * MIB
        assert block_cache()[0] == 64 * MIB
    assert block_cache()[0] == before


def test_a_block_of_which_a_part_was_read_is_kept(write_raster):
    array = np.zeros((1, 256, 256), np.uint8)
    path = write_raster(array, tiled=True, blockxsize=256, blockysize=256)
    # Room beside what other tests still hold: in a full cache one block drives out another.
    with gdal_env(block_cache()[1] // 2**20 + 2), rasterio.open(path) as dataset:
        before = block_cache()[1]
        dataset.read(1, window=((0, 10), (0, 10)))
        assert block_cache()[1] - before >= 256 * 256
