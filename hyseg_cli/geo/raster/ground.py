"""Areas and lengths on the ground: of pixels by closed formula, of borders edge by edge."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from affine import Affine

from hyseg_cli.geo.raster.raster import Scene

Floats = npt.NDArray[np.float64]


class GroundMeasure:
    """How large the pixels and borders of a raster are, in metres.

    In a projected CRS the map's own units count; in degrees, the ellipsoid. Without a CRS a
    pixel is one unit long.
    """

    def __init__(self, scene: Scene) -> None:
        self._transform: Affine = scene.transform
        self._height, self._width = scene.height, scene.width
        self._unit = 1.0
        self._ellipsoid: tuple[float, float] | None = None
        if scene.crs is None:
            return
        if scene.crs.is_projected:
            self._unit = scene.crs.linear_units_factor[1]
            return
        import pyproj  # takes long to load

        crs = pyproj.CRS.from_wkt(scene.crs.to_wkt())
        if crs.is_geographic:
            geod = crs.get_geod() or pyproj.Geod(ellps="WGS84")
            self._ellipsoid = (geod.a, geod.es)
            self._unit = crs.axis_info[0].unit_conversion_factor  # radians
        else:
            self._unit = crs.axis_info[0].unit_conversion_factor

    def row_areas_m2(self) -> Floats:
        """Area of one pixel of each row, (height,).

        On the ellipsoid the pixel's share of the zone between its parallels; where rows do not
        follow parallels, the area of a pixel in the middle of the row.
        """
        t = self._transform
        determinant = abs(t.a * t.e - t.b * t.d)
        if self._ellipsoid is None:
            return np.full(self._height, determinant * self._unit**2)
        if t.b == 0 and t.d == 0:
            edges = (t.f + t.e * np.arange(self._height + 1.0)) * self._unit
            zones = np.abs(np.diff(_area_from_equator(edges, *self._ellipsoid)))
            return zones * abs(t.a) * self._unit
        rows = np.arange(0.5, self._height)
        latitudes = (t.f + t.d * self._width / 2.0 + t.e * rows) * self._unit
        along, across = _metres_per_radian(latitudes, *self._ellipsoid)
        return determinant * self._unit**2 * along * across

    def lengths_m(self, start: Floats, stop: Floats) -> Floats:
        """Lengths of short straight edges between map points (n, 2)."""
        step = (stop - start) * self._unit
        if self._ellipsoid is None:
            return np.hypot(step[:, 0], step[:, 1])
        latitudes = (start[:, 1] + stop[:, 1]) / 2.0 * self._unit
        along, across = _metres_per_radian(latitudes, *self._ellipsoid)
        return np.hypot(step[:, 0] * across, step[:, 1] * along)


def area_distortion(scene: Scene) -> float:
    """How many times its area on the ground the CRS gives the middle pixel; 1 if not known."""
    side_m = scene.resolution_m()
    if side_m is None:
        return 1.0
    return float(GroundMeasure(scene).row_areas_m2()[scene.height // 2]) / side_m**2


def _area_from_equator(latitudes: Floats, semi_major: float, eccentricity2: float) -> Floats:
    """Area of the ellipsoid between the equator and parallels, per radian of longitude."""
    sine = np.sin(latitudes)
    if eccentricity2 == 0:
        return semi_major**2 * sine
    e = np.sqrt(eccentricity2)
    bulge = sine / (1.0 - eccentricity2 * sine**2) + np.arctanh(e * sine) / e
    area: Floats = semi_major**2 * (1.0 - eccentricity2) / 2.0 * bulge
    return area


def _metres_per_radian(
    latitudes: Floats, semi_major: float, eccentricity2: float
) -> tuple[Floats, Floats]:
    """Metres per radian along the meridian and along the parallel."""
    sine2 = np.sin(latitudes) ** 2
    across_radius = semi_major / np.sqrt(1.0 - eccentricity2 * sine2)
    along = semi_major * (1.0 - eccentricity2) / (1.0 - eccentricity2 * sine2) ** 1.5
    return along, across_radius * np.cos(latitudes)
