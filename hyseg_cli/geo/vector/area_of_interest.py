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
from rasterio.warp import transform_bounds

from hyseg_cli.errors import ElsewhereError, UnusableFileError, UsageProblemError
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
    x, y = np.array([left, right, right, left]), np.array([bottom, bottom, top, top])
    cols, rows = to_map(~scene.transform, x, y)
    # A point within a millionth of a pixel of an edge is meant to lie on it.
    start_row, stop_row = _cover(rows, scene.height)
    start_col, stop_col = _cover(cols, scene.width)
    if start_row >= stop_row or start_col >= stop_col:
        raise ElsewhereError(
            f"{flag} lies outside {scene.path}",
            hint="Give coordinates in the CRS of the scene; `hyseg info` and `rio info` show it.",
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
        self._shapes = _read_polygons(path, scene)
        self.digest = hashlib.sha256(b"".join(self._shapes.to_wkb())).hexdigest()[:16]
        """Identifies the polygons, wherever they are stored."""
        self.window = window_of_bounds(scene, tuple(self._shapes.total_bounds), f"--aoi {path}")

    def __call__(self, window: Window) -> npt.NDArray[np.bool_]:
        """bool (height, width): which pixels of a window have their centre inside."""
        shape = (window.height, window.width)
        transform = self._transform @ Affine.translation(window.col, window.row)
        inside: npt.NDArray[np.bool_] = geometry_mask(
            list(self._shapes), shape, transform, invert=True
        )
        return inside


def _read_polygons(path: Path, scene: Raster) -> Any:
    """The polygons in the CRS of the scene, a GeoSeries."""
    import geopandas as gpd  # only runs with an area of interest wait for pandas

    from hyseg_cli.geo.vector.formats import geometry_layer

    if not path.exists():
        raise UsageProblemError(f"--aoi {path}: no such file", hint="Check the path.")
    if not scene.is_georeferenced:
        raise UsageProblemError(
            f"{scene.path} is not georeferenced, so --aoi cannot be used",
            hint="Leave --aoi out, or georeference the scene first.",
        )
    try:
        found = gpd.read_file(path, layer=geometry_layer(path))
    except (OSError, RuntimeError) as error:
        raise UnusableFileError(
            f"--aoi {path} cannot be read ({' '.join(str(error).split())})",
            hint="Give a vector file such as a GeoPackage or GeoJSON.",
        ) from error
    shapes = found.geometry[[shape is not None and not shape.is_empty for shape in found.geometry]]
    shapes = shapes[shapes.geom_type.isin(["Polygon", "MultiPolygon"])]
    if shapes.empty:
        raise UsageProblemError(f"--aoi {path} holds no polygons", hint="Draw one around the area.")
    if shapes.crs is None:
        raise UsageProblemError(
            f"--aoi {path} does not state its CRS", hint="Assign one, for example in QGIS."
        )
    # A projection is meaningless far from its zone: UTM puts the poles somewhere, but not there.
    near = shapes.clip_by_rect(*_surroundings(scene, shapes.crs.to_wkt()))
    placed = near[~near.is_empty].to_crs(scene.crs.to_wkt() if scene.crs else None)
    if placed.empty:
        raise ElsewhereError(
            f"--aoi {path} lies outside {scene.path}", hint="Check its CRS, for example in QGIS."
        )
    return placed


def _surroundings(scene: Raster, crs: str) -> tuple[float, float, float, float]:
    """Left, bottom, right and top in a CRS of a scene and a tenth of its size around it."""
    cols, rows = np.array([-0.1, 1.1, 1.1, -0.1]), np.array([-0.1, -0.1, 1.1, 1.1])
    x, y = to_map(scene.transform, cols * scene.width, rows * scene.height)
    found: tuple[float, float, float, float] = transform_bounds(
        scene.crs, crs, x.min(), y.min(), x.max(), y.max()
    )
    return found
