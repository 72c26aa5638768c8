"""Pixels and areas of the classes of a map, counted in strips.

Compiled loops replace values in rasters of 8-bit numbers and count them.

`ClassTotals` counts the classes of a map while it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.classes.raster import ClassRaster
from hyseg_cli.geo.compiled import kernel
from hyseg_cli.geo.raster.ground import GroundMeasure
from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.geo.window import Window
from hyseg_cli.legend import NODATA_ID

STRIP_PIXELS = 2**23
"""Pixels read at once at most, unless a row has more."""


def count_classes(
    scene: Raster, advance: Callable[[int], None], *, named: frozenset[int] = frozenset()
) -> tuple[dict[int, tuple[int, float]], int]:
    """Pixels and square metres of each class, and pixels without one.

    The memory does not grow with the rows of the map. Without a CRS a pixel is one square metre.

    Args:
        scene: A class raster.
        advance: Called with the number of rows that are done.
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


Bytes = npt.NDArray[np.uint8]


@kernel
def remap(values: Bytes, table: Bytes) -> None:
    """Replace every value v of (rows, cols) by entry `v` of a table (256,), in place."""
    for row in range(len(values)):
        for col in range(values.shape[1]):
            values[row, col] = table[values[row, col]]


@kernel
def count_rows(
    values: Bytes,
    row_areas: npt.NDArray[np.float64],
    pixels: npt.NDArray[np.int64],
    areas: npt.NDArray[np.float64],
) -> None:
    """Add the pixels of each value of (rows, cols), and their areas, to tables (256,).

    Args:
        values: Any numbers.
        row_areas: Area of one pixel of each row, (rows,).
        pixels: Pixels by value.
        areas: Area by value.
    """
    rows, cols = values.shape
    counts = np.empty((4, 256), np.int64)
    for row in range(rows):
        counts[:] = 0
        # Neighbours are often alike. In four tables they need not wait for each other.
        for col in range(cols):
            counts[col & 3, values[row, col]] += 1
        for value in range(256):
            count = counts[0, value] + counts[1, value] + counts[2, value] + counts[3, value]
            pixels[value] += count
            areas[value] += count * row_areas[row]


@dataclass
class ClassTotals:
    """Pixels and ground by class id, and the time they took; mutable."""

    pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(NODATA_ID + 1, np.int64))
    area_m2: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(NODATA_ID + 1))
    seconds: float = 0.0

    def count(self, ids: npt.NDArray[np.uint8], row_areas_m2: npt.NDArray[np.float64]) -> None:
        """Add rows of class ids, and the area of a pixel of each row."""
        count_rows(ids, row_areas_m2, self.pixels, self.area_m2)

    def add(self, summary: dict[str, Any]) -> None:
        """Add totals that `to_dict` has returned."""
        for key, (pixels, area) in summary["classes"].items():
            self.pixels[int(key)] += pixels
            self.area_m2[int(key)] += area
        self.seconds += summary["seconds"]

    def to_dict(self) -> dict[str, Any]:
        """The numbers of the classes that occur, ready for JSON."""
        found = np.flatnonzero(self.pixels)
        classes = {int(i): (int(self.pixels[i]), float(self.area_m2[i])) for i in found}
        return {"classes": classes, "seconds": self.seconds}
