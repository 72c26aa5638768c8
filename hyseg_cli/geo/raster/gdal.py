"""GDAL's settings while rasters are read or written."""

from __future__ import annotations

import rasterio

MIB = 2**20


def gdal_env(cache_mib: int, **options: str) -> rasterio.Env:
    """GDAL with a block cache of some size; its own default is 5 % of the machine's memory.

    Args:
        cache_mib: The size in MiB. rasterio takes bytes here, unlike GDAL, and a cache of 64 bytes
            keeps nothing.
        options: Other options of GDAL.
    """
    return rasterio.Env(GDAL_CACHEMAX=cache_mib * MIB, **options)
