"""Pixels and ground of the classes of a map, counted in strips."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.classes.raster import ClassRaster
from hyseg_cli.geo.raster.ground import GroundMeasure
from hyseg_cli.geo.raster.raster import Scene
from hyseg_cli.geo.window import Window

STRIP_PIXELS = 2**23
"""Pixels read at once at most, unless a row has more."""


def count_classes(
    scene: Scene, advance: Callable[[int], None], *, named: frozenset[int] = frozenset()
) -> tuple[dict[int, tuple[int, float]], int]:
    """Pixels and square metres of each class, and pixels without one.

    The memory does not grow with the rows of the map. Without a CRS a pixel is one square metre.

    Args:
        scene: A class raster.
        advance: Told how many rows are done.
        named: Class ids that its legend names.

    Raises:
        ModelMismatchError: If it is not a class raster.
        UnusableFileError: If a block cannot be read.
    """
    areas = GroundMeasure(scene).row_areas_m2()
    rows = max(1, STRIP_PIXELS // scene.width)
    rows -= rows % scene.block[0] if rows > scene.block[0] else 0
    found: dict[int, tuple[int, float]] = {}
    empty = 0
    with ClassRaster(scene, named=named) as raster:
        for row in range(0, scene.height, rows):
            window = Window(row, 0, min(rows, scene.height - row), scene.width)
            classes = raster.read(window)
            empty += int((~classes.valid).sum())
            values, places = _numbered(classes.ids)
            # A table of value by row: areas of pixels differ between rows only.
            lines = np.arange(window.height)[:, None] * len(values)
            flat = (places + lines)[classes.valid]
            table = np.bincount(flat, minlength=len(values) * window.height)
            table = table.reshape(window.height, len(values))
            ground = areas[row : window.row_stop] @ table
            for value, count, area in zip(values, table.sum(axis=0), ground, strict=True):
                if count:
                    before = found.get(int(value), (0, 0.0))
                    found[int(value)] = (before[0] + int(count), before[1] + float(area))
            advance(window.row_stop)
    return dict(sorted(found.items())), empty


def _numbered(band: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """The values of a band, ascending, and which of them each pixel has."""
    if band.dtype == np.uint8:
        return np.arange(256), band.astype(np.int64)
    values, places = np.unique(band, return_inverse=True)
    return values, places.reshape(band.shape).astype(np.int64)
