"""Parts of a scene chosen by location: bounds and areas of interest."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.features import geometry_mask

from hyseg_cli.errors import ElsewhereError, UsageProblemError
from hyseg_cli.geo.raster.ground import step_near
from hyseg_cli.geo.raster.raster import Raster, to_map
from hyseg_cli.geo.window import Window


def window_of_bounds(scene: Raster, bounds: tuple[float, float, float, float], flag: str) -> Window:
    """The pixels of a scene that bounds touch.

    Args:
        scene: The scene; it may be rotated or south-up.
        bounds: Left, bottom, right and top in its CRS.
        flag: Where they come from, for the error.

    Raises:
        ElsewhereError: If they lie outside the scene.
    """
    left, bottom, right, top = bounds
    if scene.is_georeferenced:
        t = scene.transform
        middle = t.c + t.a * scene.width / 2 + t.b * scene.height / 2
        step = step_near((left + right) / 2, middle, scene.crs)
        left, right = left + step, right + step
    x, y = np.array([left, right, right, left]), np.array([bottom, bottom, top, top])
    cols, rows = to_map(~scene.transform, x, y)
    # A point within a millionth of a pixel of an edge is meant to lie on it.
    start_row, stop_row = _cover(rows, scene.height)
    start_col, stop_col = _cover(cols, scene.width)
    if start_row >= stop_row or start_col >= stop_col:
        raise ElsewhereError(
            f"{flag} lies outside {scene.path}",
            hint=f"The scene covers {_extent_text(scene)} (left, bottom, right, top in its CRS).",
        )
    return Window(start_row, start_col, stop_row - start_row, stop_col - start_col)


def _cover(positions: npt.NDArray[np.float64], size: int) -> tuple[int, int]:
    low, high = float(positions.min()), float(positions.max())
    return max(0, math.floor(low + 1e-6)), min(size, math.ceil(high - 1e-6))


class AreaOfInterest:
    """Polygons on the grid of a scene.

    Args:
        path: Any vector file; its first layer is read.
        scene: The scene, which must be georeferenced.

    Raises:
        UsageProblemError: If the file is missing or holds no polygons.
        ElsewhereError: If they lie outside the scene.
        UnusableFileError: If it cannot be read.
    """

    def __init__(self, path: Path, scene: Raster) -> None:
        self._transform: Affine = scene.transform
        self._shapes, strays = _read_polygons(path, scene)
        self.warning = f"`aoi` {path}: {strays} among the polygons mean nothing" if strays else None
        """What the user may not have meant."""
        self.digest = hashlib.sha256(b"".join(self._shapes.to_wkb())).hexdigest()[:16]
        """Identifies the polygons, wherever they are stored."""
        self.window = window_of_bounds(scene, tuple(self._shapes.total_bounds), f"`aoi` {path}")

    def __call__(self, window: Window) -> npt.NDArray[np.bool_]:
        """bool (height, width): which pixels of a window have their centre inside."""
        shape = (window.height, window.width)
        transform = self._transform @ Affine.translation(window.col, window.row)
        inside: npt.NDArray[np.bool_] = geometry_mask(
            list(self._shapes), shape, transform, invert=True
        )
        return inside


def _extent_text(scene: Raster) -> str:
    """The extent of a scene as `bounds` takes it."""
    cols, rows = np.array([0, scene.width] * 2), np.array([0, 0, scene.height, scene.height])
    x, y = to_map(scene.transform, cols, rows)
    digits = 6 if scene.crs is not None and scene.crs.is_geographic else 2
    return ",".join(f"{side:.{digits}f}" for side in (x.min(), y.min(), x.max(), y.max()))


def _read_polygons(path: Path, scene: Raster) -> tuple[Any, str]:
    """The polygons in the CRS of the scene, a GeoSeries, and what else is in the file."""
    # Only who asks for an area waits for pandas.
    from hyseg_cli.geo.vector.onto_raster import polygons_of, polygons_onto, strays_of
    from hyseg_cli.geo.vector.vector_files import read_vector

    name = f"`aoi` {path}"
    found = read_vector(path, flag="`aoi`")
    placed = polygons_onto(found, scene, name).geometry
    if placed.empty:
        if len(polygons_of(found.geometry.to_numpy())[0]) == 0:
            raise UsageProblemError(f"{name} holds no polygons", hint="Draw one around the area.")
        raise ElsewhereError(
            f"{name} lies outside {scene.path}", hint="Check its CRS, for example in QGIS."
        )
    return placed, str(strays_of(found))
