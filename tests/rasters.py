"""Rasters for tests, from arrays."""

from __future__ import annotations

import numpy as np
import rasterio
from rasterio.transform import from_origin


def write_geotiff(path, array, *, crs="EPSG:32632", transform=None, **profile):
    """Write (bands, height, width) or (height, width); returns the path."""
    array = np.asarray(array)
    if array.ndim == 2:
        array = array[None]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=array.shape[0],
        height=array.shape[1],
        width=array.shape[2],
        dtype=array.dtype,
        crs=crs,
        transform=from_origin(500_000, 5_400_000, 0.5, 0.5) if transform is None else transform,
        **profile,
    ) as file:
        file.write(array)
    return path
