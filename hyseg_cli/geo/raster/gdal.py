"""GDAL's settings while rasters are read or written.

`trim_heap` returns free memory to the system.
"""

from __future__ import annotations

import ctypes
import sys

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


def trim_heap() -> bool:
    """Return freed memory to the system; say whether there was any, False if unsupported.

    Readers, writers and networks allocate and free large arrays of different sizes in several
    threads. glibc keeps the gaps between them, and over many strips these grow larger than all the
    memory in use.
    """
    if sys.platform != "linux":
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    return trim is not None and bool(trim(0))
