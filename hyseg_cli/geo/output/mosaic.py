"""One map of many: on a common grid, with the more confident class where maps overlap."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import CRSError
from rasterio.vrt import WarpedVRT
from rasterio.warp import calculate_default_transform, transform_bounds
from rasterio.windows import Window as RasterWindow

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.crs import horizontal, turn_of
from hyseg_cli.geo.raster.gdal import READ_ERRORS, cause_of, naming_the_cause
from hyseg_cli.geo.raster.ground import moved, step_near
from hyseg_cli.geo.raster.raster import Raster, open_dataset
from hyseg_cli.geo.tiling.blocks import Block
from hyseg_cli.geo.window import Window
from hyseg_cli.legend import NODATA_ID

BLOCK = 4096
"""Side of the parts in which a mosaic is computed, in pixels."""
SLACK = 1e-6
"""Part of a pixel by which edges may miss a grid line through rounding."""
TOLERANCE = 1e-3
"""Part of a pixel by which a position may be off; small enough for blocks to fit at their edges."""
MAX_SIDE = 2**31 - 1

Resample = Literal["nearest", "mode"]


@dataclass(frozen=True)
class Layer:
    """The map of a scene."""

    scene: Raster
    """The map as a raster."""
    confidence: str | None
    """Its confidence, quantised; None if there is none."""


@dataclass(frozen=True)
class Frame:
    """The grid of a mosaic."""

    crs: CRS
    transform: Affine
    height: int
    width: int
    windows: tuple[Window, ...]
    """Pixels of the mosaic that each map may reach."""


def find_frame(scenes: Sequence[Raster], crs: CRS | None, resolution: float | None) -> Frame:
    """A grid that holds all maps.

    Args:
        scenes: The maps.
        crs: CRS of the mosaic; None for that of the first.
        resolution: Side of its pixels in units of the CRS; None for the finest of the maps.

    Raises:
        UsageProblemError: If a map is not georeferenced, or the mosaic would be too large.
    """
    for scene in scenes:
        if not scene.is_georeferenced:
            raise UsageProblemError(
                f"{scene.path} has no transform and CRS, so it cannot be part of a mosaic",
                hint="Leave out `mosaic`, or map such scenes in a run of their own.",
            )
    first = scenes[0]
    crs = crs or first.crs
    sizes = [_pixel_in(scene, crs) for scene in scenes]
    across, down = (resolution, resolution) if resolution else map(min, zip(*sizes, strict=True))
    # On the grid of the first map, the nearest neighbours are the pixels themselves.
    is_own = first.crs == crs and first.transform.b == first.transform.d == 0
    x0, y0 = (first.transform.c, first.transform.f) if is_own else (0.0, 0.0)
    edges: list[tuple[int, int, int, int]] = []
    middle = 0.0
    for scene in scenes:
        left, bottom, right, top = _bounds_in(scene, crs)
        middle = middle if edges else (left + right) / 2
        step = step_near((left + right) / 2, middle, crs)
        left, right = left + step, right + step
        edges.append(
            (
                math.floor((y0 - top) / down + SLACK),
                math.floor((left - x0) / across + SLACK),
                math.ceil((y0 - bottom) / down - SLACK),
                math.ceil((right - x0) / across - SLACK),
            )
        )
    rows, cols, row_stops, col_stops = zip(*edges, strict=True)
    row, col = min(rows), min(cols)
    height, width = max(row_stops) - row, max(col_stops) - col
    if max(height, width) > MAX_SIDE:
        raise UsageProblemError(
            f"the mosaic would have {width} x {height} pixels",
            hint="Use a coarser `mosaic_resolution`; it is in units of the CRS.",
        )
    transform = Affine(across, 0.0, x0 + col * across, 0.0, -down, y0 - row * down)
    windows = tuple(
        Window(top - row, left - col, bottom - top, right - left)
        for top, left, bottom, right in edges
    )
    return Frame(crs, transform, height, width, windows)


def blocks_of(frame: Frame, side: int = BLOCK) -> Iterator[tuple[Block, tuple[int, ...]]]:
    """Parts of a mosaic and the numbers of the maps that reach them; empty parts are left out."""
    found: dict[tuple[int, int], list[int]] = {}
    for number, window in enumerate(frame.windows):
        for row in range(window.row // side, -(-window.row_stop // side)):
            for col in range(window.col // side, -(-window.col_stop // side)):
                found.setdefault((row, col), []).append(number)
    for (row, col), numbers in sorted(found.items()):
        top, left = row * side, col * side
        height, width = min(side, frame.height - top), min(side, frame.width - left)
        window = Window(top, left, height, width)
        yield Block(range(row, row + 1), range(col, col + 1), window), tuple(numbers)


def compose(
    frame: Frame, layers: Sequence[Layer], window: Window, resample: Resample
) -> npt.NDArray[np.uint8]:
    """Class ids (height, width) of a window of a mosaic.

    Where maps overlap, the class with the highest confidence counts. If confidences are equal or
    missing, the class of the first map counts.

    Args:
        frame: The grid.
        layers: The maps that may reach the window, the first to count first.
        window: Pixels of the mosaic.
        resample: How classes are resampled to the grid.

    Raises:
        UnusableFileError: If a map cannot be read.
    """
    ids = np.full((window.height, window.width), NODATA_ID, np.uint8)
    best = np.full(ids.shape, -1, np.int16)
    for layer in layers:
        found = _read(layer.scene.path, frame, window, Resampling[resample])
        level = np.zeros(ids.shape, np.int16)
        if layer.confidence is not None:
            # Where the most frequent class represents several pixels, their mean confidence counts.
            way = Resampling.nearest if resample == "nearest" else Resampling.average
            sure = _read(layer.confidence, frame, window, way)
            level = np.where(sure == NODATA_ID, 0, sure).astype(np.int16)
        is_better = (found != NODATA_ID) & (level > best)
        ids[is_better] = found[is_better]
        best[is_better] = level[is_better]
    return ids


def _read(path: str, frame: Frame, window: Window, resampling: Resampling) -> npt.NDArray[np.uint8]:
    place = RasterWindow(window.col, window.row, window.width, window.height)
    name, hint = _name(frame.crs), "Map it again with `overwrite`, or use another `mosaic_crs`."
    with (
        naming_the_cause(f"{path} cannot be reprojected to {name}", hint=hint),
        open_dataset(path) as dataset,
        WarpedVRT(
            dataset,
            src_transform=_on_turn_of(frame, dataset),
            crs=frame.crs,
            transform=frame.transform,
            height=frame.height,
            width=frame.width,
            resampling=resampling,
            src_nodata=NODATA_ID,
            nodata=NODATA_ID,
            tolerance=TOLERANCE,
        ) as warped,
    ):
        found: npt.NDArray[np.uint8] = warped.read(1, window=place)
    return found


def _on_turn_of(frame: Frame, dataset: rasterio.DatasetReader) -> Affine:
    """The transform of a map, as many turns further as the grid of a mosaic is."""
    if dataset.crs != frame.crs:
        return Affine(*dataset.transform[:6])
    own, whole = Affine(*dataset.transform[:6]), frame.transform
    middle = own.c + own.a * dataset.width / 2 + own.b * dataset.height / 2
    return moved(own, step_near(middle, whole.c + whole.a * frame.width / 2, frame.crs))


def _pixel_in(scene: Raster, crs: CRS) -> tuple[float, float]:
    """Width and height of a pixel in units of a CRS, as exact as one value can be."""
    t = scene.transform
    if scene.crs == crs:
        return math.hypot(t.a, t.d), math.hypot(t.b, t.e)
    found: Any = calculate_default_transform(
        scene.crs, crs, scene.width, scene.height, *_bounds_in(scene, scene.crs)
    )[0]
    return found.a, -found.e


def _bounds_in(scene: Raster, crs: CRS) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a scene in a CRS."""
    corners = [
        scene.transform @ (col, row) for col in (0, scene.width) for row in (0, scene.height)
    ]
    xs, ys = zip(*corners, strict=True)
    bounds = (min(xs), min(ys), max(xs), max(ys))
    if scene.crs == crs:
        return bounds
    try:
        left, bottom, right, top = transform_bounds(scene.crs, crs, *bounds)
    except (*READ_ERRORS, CRSError) as error:
        raise UsageProblemError(
            f"{scene.path} cannot be brought to the CRS of the mosaic ({cause_of(error)})",
            hint="Its CRS may be a local one; map it in a run of its own.",
        ) from error
    if right < left:  # across the antimeridian
        right += turn_of(horizontal(crs)) or 0.0
    return left, bottom, right, top


def _name(crs: CRS) -> str:
    return str(crs.to_string())
