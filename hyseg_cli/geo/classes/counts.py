"""Pixels and areas of the classes of a map, counted in strips, or estimated from a few blocks.

Compiled loops replace values in rasters of 8-bit numbers and count them.

`ClassTotals` counts the classes of a map while it is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
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
"""Pixels read at once at most."""
ESTIMATE_WINDOWS = 256
"""Windows of a raster from which its classes are estimated, at most."""
ESTIMATE_SIDE = 512
"""Largest side of such a window."""
ESTIMATE_PIXELS = 2**28
"""Pixels that may be unpacked for them; GDAL unpacks whole blocks."""


def count_classes(
    scene: Raster,
    advance: Callable[[int], None],
    *,
    named: frozenset[int] = frozenset(),
    strip_pixels: int = STRIP_PIXELS,
) -> tuple[dict[int, tuple[int, float]], int]:
    """Pixels and square metres of each class, and pixels without one.

    The memory does not grow with the map. Without a CRS a pixel is one square metre.

    Args:
        scene: A class raster.
        advance: Called with the number of rows that are done.
        named: Class ids that its legend names.
        strip_pixels: Pixels to read at once at most, unless a row has more.

    Raises:
        ModelMismatchError: If it is not a class raster.
        UnusableFileError: If a block cannot be read.
    """
    measure = GroundMeasure(scene)
    found: dict[int, tuple[int, float]] = {}
    empty = 0
    with ClassRaster(scene, named=named) as raster:
        for window in strips_of(scene, strip_pixels):
            areas = measure.row_areas_m2(range(window.row, window.row_stop))
            classes = raster.read(window)
            empty += int((~classes.valid).sum())
            values, places = _numbered(classes.ids)
            # A table of value by row: areas of pixels differ between rows only.
            lines = np.arange(window.height)[:, None] * len(values)
            flat = (places + lines)[classes.valid]
            table = np.bincount(flat, minlength=len(values) * window.height)
            table = table.reshape(window.height, len(values))
            ground = areas @ table
            for value, count, area in zip(values, table.sum(axis=0), ground, strict=True):
                if count:
                    before = found.get(int(value), (0, 0.0))
                    found[int(value)] = (before[0] + int(count), before[1] + float(area))
            advance(window.row_stop)
    return dict(sorted(found.items())), empty


def strips_of(scene: Raster, pixels: int) -> Iterator[Window]:
    """Whole rows, of which there are as many as may be read at once; parts of very long ones."""
    rows = max(1, pixels // scene.width)
    rows -= rows % scene.block[0] if rows > scene.block[0] else 0
    for row in range(0, scene.height, rows):
        for col in range(0, scene.width, pixels):
            height, width = min(rows, scene.height - row), min(pixels, scene.width - col)
            yield Window(row, col, height, width)


def estimate_classes(
    scene: Raster, *, named: frozenset[int] = frozenset()
) -> tuple[dict[int, tuple[int, float]], int, int]:
    """The numbers of `count_classes`, estimated from windows spread evenly over the raster.

    Memory and time do not grow with the raster.

    Args:
        scene: A class raster.
        named: Class ids that its legend names.

    Returns:
        Pixels and square metres of each class that occurs in the windows, pixels without one, and
        the number of pixels that were read.

    Raises:
        ModelMismatchError: If it is not a class raster.
        UnusableFileError: If a block cannot be read.
    """
    measure = GroundMeasure(scene)
    found: dict[int, tuple[float, float]] = {}
    empty = seen = 0
    with ClassRaster(scene, named=named) as raster:
        for window in _spread(scene):
            classes = raster.read(window)
            seen += window.height * window.width
            empty += int((~classes.valid).sum())
            areas = measure.row_areas_m2(range(window.row, window.row_stop))
            for value in np.unique(classes.ids[classes.valid]):
                lines = ((classes.ids == value) & classes.valid).sum(axis=1)
                count, area = found.get(int(value), (0.0, 0.0))
                found[int(value)] = (count + float(lines.sum()), area + float(areas @ lines))
    factor = scene.height * scene.width / max(1, seen)
    classes_found = {v: (round(n * factor), a * factor) for v, (n, a) in sorted(found.items())}
    return classes_found, round(empty * factor), seen


def _spread(scene: Raster) -> Iterator[Window]:
    """Windows of equal size, each within a block, in the middles of the cells of a grid."""
    height = min(scene.block[0], scene.height, ESTIMATE_SIDE)
    width = min(scene.block[1], scene.width, ESTIMATE_SIDE)
    windows = min(ESTIMATE_WINDOWS, max(1, ESTIMATE_PIXELS // (scene.block[0] * scene.block[1])))
    side = max(1, math.isqrt(windows))
    for row in _starts(scene.height, height, scene.block[0], side):
        for col in _starts(scene.width, width, scene.block[1], windows // side):
            yield Window(row, col, height, width)


def _starts(length: int, window: int, block: int, count: int) -> list[int]:
    """Where windows along an axis start: with a block, and inside the raster."""
    middles = [length * (2 * cell + 1) // (2 * count) for cell in range(count)]
    return sorted({min(middle // block * block, length - window) for middle in middles})


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
