"""Parts of rasters read at a small size, from overviews if there are any.

Without overviews, evenly spread pixels are read and each block is decoded once.

When GDAL reads every n-th pixel itself, it returns to a block for each of its rows, and its
averages read all pixels; both take several times as long as decoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import MaskFlags, Resampling
from rasterio.windows import Window as RasterWindow

from hyseg_cli.geo.raster.gdal import gdal_env, naming_the_cause
from hyseg_cli.geo.raster.raster import Raster, open_dataset
from hyseg_cli.geo.raster.reader import REMOTE_OPTIONS
from hyseg_cli.geo.window import Window

CHUNK_COLS = 8192
"""Columns of blocks that are read at once, about; rows of blocks are read one by one."""

Ints = npt.NDArray[np.int64]


def read_thinned(
    dataset: rasterio.DatasetReader,
    bands: tuple[int, ...],
    part: Window,
    size: tuple[int, int],
    *,
    chunk_cols: int = CHUNK_COLS,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Evenly spread pixels of a part of a raster.

    Args:
        dataset: The raster.
        bands: Indexes from 1.
        part: Which part.
        size: Rows and columns to take, at most as many as the part has.
        chunk_cols: Columns to read at once, about.

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
        for left, col_slice in _runs(cols, block_cols * max(1, chunk_cols // block_cols)):
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
    """The positions, ascending, that lie in one block: the first of them, and their indices."""
    edges = np.flatnonzero(np.diff(places // side, prepend=-1, append=-1))
    for start, stop in pairwise(edges):
        yield int(places[start]), slice(int(start), int(stop))


CACHE_MIB = 64
"""Cache of GDAL's blocks: the only memory that grows with a raster without overviews."""
LEAST_SIDE = 16
"""Pixels of the shorter side of a picture, however long the other is."""
THINNED_FROM, THINNED_TO = 8, 3
"""Without overviews, pictures smaller than this part of a raster average 3 x 3 of its pixels, not
all of them."""
STRETCH = (2.0, 98.0)
"""Percentiles that become black and white if the values are not colours yet."""
MOST_UNEQUAL = 4.0
"""Largest ratio of pixel sides for which pictures show the shape on the ground."""

Colors = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def picture_size(scene: Raster, side: int, *, enlarge: bool = False) -> tuple[int, int]:
    """Height and width of a picture of a raster, in the shape that it has on the ground.

    Args:
        scene: The raster.
        side: Pixels of the longer side at most.
        enlarge: Make the longer side that long, also of a raster that has fewer pixels.
    """
    across, down = scene.pixel_sides_m() or (1.0, 1.0)
    if not 1 / MOST_UNEQUAL <= across / max(down, 1e-12) <= MOST_UNEQUAL:
        across = down = 1.0
    finer = min(across, down)
    height, width = scene.height * down / finer, scene.width * across / finer
    scale = side / max(height, width)
    if not enlarge:
        scale = min(scale, 1.0)
    least = min(LEAST_SIDE, side) if enlarge else 1
    return max(least, round(height * scale)), max(least, round(width * scale))


def read_reduced(
    path: str,
    bands: tuple[int, ...],
    size: tuple[int, int],
    *,
    window: Window | None = None,
    is_classes: bool = False,
) -> tuple[npt.NDArray[Any], Mask]:
    """Bands of a raster at another size.

    A raster without overviews is read block by block: the memory does not grow with it.

    Args:
        path: The raster.
        bands: Indexes from 1.
        size: Height and width to read at.
        window: The part to read; None for all of it.
        is_classes: Values are classes, so they are picked and not averaged.

    Returns:
        (bands, height, width) in the raster's data type, and bool (height, width): where it
        declares data.

    Raises:
        UnusableFileError: If a block cannot be read.
    """
    with gdal_env(CACHE_MIB, **REMOTE_OPTIONS), open_dataset(path) as dataset:
        part = window or Window(0, 0, *dataset.shape)
        place = RasterWindow(part.col, part.row, part.width, part.height)
        factor = min(part.height / size[0], part.width / size[1])
        is_thinned = factor > THINNED_FROM and not (is_classes or dataset.overviews(bands[0]))
        how = Resampling.average if factor >= 1 and not is_classes else Resampling.nearest
        shape = (len(bands), *size)
        with naming_the_cause(f"{path}: cannot be read for a picture"):
            if is_thinned:
                dense = (THINNED_TO * size[0], THINNED_TO * size[1])
                image, masks = read_thinned(dataset, bands, part, dense)
            else:
                image = dataset.read(list(bands), window=place, out_shape=shape, resampling=how)
                masks = dataset.read_masks(list(bands), window=place, out_shape=shape) > 0
    valid: Mask = np.asarray(masks.any(axis=0))
    if image.dtype.kind == "f":
        valid &= np.isfinite(image).all(axis=0)
    return _averaged(image, valid, THINNED_TO) if is_thinned else (image, valid)


def _averaged(image: npt.NDArray[Any], valid: Mask, side: int) -> tuple[npt.NDArray[Any], Mask]:
    """Means of the valid pixels of squares, and which squares have any."""
    height, width = valid.shape[0] // side, valid.shape[1] // side
    cut = (height, side, width, side)
    counts = valid.reshape(cut).sum(axis=(1, 3))
    means = np.empty((len(image), height, width), image.dtype)
    for band, mean in zip(image, means, strict=True):
        sums = np.where(valid, band, 0).reshape(cut).sum(axis=(1, 3), dtype=np.float64)
        found = sums / np.maximum(counts, 1)
        mean[:] = found if image.dtype.kind == "f" else np.rint(found)
    return means, counts > 0


def to_colors(image: npt.NDArray[Any], valid: Mask) -> Colors:
    """One band or three as colours (height, width, 3); 8-bit values count as colours.

    Other types are stretched band by band between percentiles of the pixels that are valid.
    """
    if len(image) not in (1, 3):
        message = f"{len(image)} bands are not colours"
        raise ValueError(message)
    if image.dtype != np.uint8:
        image = np.stack([_stretched(band, valid) for band in image])
    colors = np.moveaxis(np.broadcast_to(image, (3, *image.shape[1:])), 0, -1)
    return np.ascontiguousarray(colors)


def _stretched(band: npt.NDArray[Any], valid: Mask) -> Colors:
    known = band[valid].astype(np.float64)
    if known.size == 0:
        return np.zeros(band.shape, np.uint8)
    low, high = np.percentile(known, STRETCH)
    values = np.where(valid, band, low).astype(np.float64)
    scaled = (values - low) / max(high - low, 1e-12) * 255.0
    found: Colors = np.rint(scaled.clip(0.0, 255.0)).astype(np.uint8)
    return found
