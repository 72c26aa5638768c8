"""Some pixels of a raster that has no overviews, spread evenly: each block is decoded once.

GDAL's own reading of every so many-th pixel comes back to a block for each of its rows, and its
averages look at all pixels; both take several times as long as decoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import MaskFlags
from rasterio.windows import Window as RasterWindow

from hyseg_cli.geo.window import Window

CHUNK_COLS = 8192
"""Columns of blocks that are read at once, about; rows of blocks are read one by one."""

Ints = npt.NDArray[np.int64]


def read_thinned(
    dataset: rasterio.DatasetReader, bands: tuple[int, ...], part: Window, size: tuple[int, int]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Evenly spread pixels of a part of a raster.

    Args:
        dataset: The raster.
        bands: Indexes from 1.
        part: Which part.
        size: Rows and columns to take, at most as many as the part has.

    Returns:
        (bands, rows, columns) in the raster's data type, and bool (bands, rows, columns): what
        the raster's masks say of them.

    Raises:
        RasterioError: If a block cannot be read.
    """
    rows = part.row + _spread(part.height, size[0])
    cols = part.col + _spread(part.width, size[1])
    image = np.empty((len(bands), *size), np.result_type(*(dataset.dtypes[b - 1] for b in bands)))
    masks = np.ones(image.shape, bool)
    is_masked = any(MaskFlags.all_valid not in dataset.mask_flag_enums[b - 1] for b in bands)
    block_rows, block_cols = dataset.block_shapes[bands[0] - 1]
    for top, row_slice in _runs(rows, block_rows):
        for left, col_slice in _runs(cols, block_cols * max(1, CHUNK_COLS // block_cols)):
            at_rows, at_cols = rows[row_slice], cols[col_slice]
            height, width = at_rows[-1] + 1 - top, at_cols[-1] + 1 - left
            window = RasterWindow(left, top, width, height)
            taken = (slice(None), (at_rows - top)[:, None], at_cols - left)
            image[:, row_slice, col_slice] = dataset.read(list(bands), window=window)[taken]
            if is_masked:
                found = dataset.read_masks(list(bands), window=window)[taken]
                masks[:, row_slice, col_slice] = found > 0
    return image, masks


def _spread(length: int, count: int) -> Ints:
    """The middles of `count` equal parts of `length` pixels."""
    return ((np.arange(count) + 0.5) * length / count).astype(np.int64)


def _runs(places: Ints, side: int) -> Iterator[tuple[int, slice]]:
    """The places, ascending, that lie in one block: the first of them, and which they are."""
    edges = np.flatnonzero(np.diff(places // side, prepend=-1, append=-1))
    for start, stop in pairwise(edges):
        yield int(places[start]), slice(int(start), int(stop))
