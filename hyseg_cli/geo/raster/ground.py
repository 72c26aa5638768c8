"""A raster on the ground: areas, lengths, directions, its footprint, and others laid over it.

Areas of pixels follow from a closed formula, borders are measured edge by edge. Warnings say where
areas of the map differ from those on the ground.

Of rasters that are laid over each other, two with a CRS meet on the ground. Two that have a
transform and not both a CRS, as world files give it, share one frame, whatever it is. What has no
place at all is laid over pixel by pixel. Longitudes are the same modulo 360: a raster from 0 to 360
meets one from -180 to 180.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.crs import CRS

from hyseg_cli.errors import UnusableFileError
from hyseg_cli.geo.crs import horizontal, turn_of, way_between
from hyseg_cli.geo.raster.raster import Raster, to_map

Floats = npt.NDArray[np.float64]

TURNS = (0, 1, -1, 2, -2)
"""How far two rasters may be apart, in turns around the earth."""
SEGMENTS = 64
PLANE = CRS.from_epsg(3857)
"""Stands for a frame that nobody has named; nothing is projected in it."""


class GroundMeasure:
    """How large the pixels and borders of a raster are, in metres.

    In a projected CRS the map's own units count; in degrees, the ellipsoid. Without a CRS a
    pixel is one unit long.
    """

    def __init__(self, scene: Raster) -> None:
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

        crs = horizontal(scene.crs)
        if crs.is_geographic:
            geod = crs.get_geod() or pyproj.Geod(ellps="WGS84")
            self._ellipsoid = (geod.a, geod.es)
            self._unit = crs.axis_info[0].unit_conversion_factor  # radians
        else:
            self._unit = crs.axis_info[0].unit_conversion_factor

    def row_areas_m2(self, rows: range | None = None) -> Floats:
        """Area of one pixel of each of some rows, (rows,); of all rows if none are named.

        On the ellipsoid the pixel's share of the zone between its parallels; where rows do not
        follow parallels, the area of a pixel in the middle of the row.
        """
        t = self._transform
        rows = range(self._height) if rows is None else rows
        determinant = abs(t.a * t.e - t.b * t.d)
        if self._ellipsoid is None:
            return np.full(len(rows), determinant * self._unit**2)
        if t.b == 0 and t.d == 0:
            edges = (t.f + t.e * np.arange(rows.start, rows.stop + 1.0)) * self._unit
            zones = np.abs(np.diff(_area_from_equator(edges, *self._ellipsoid)))
            return zones * abs(t.a) * self._unit
        middles = np.arange(rows.start + 0.5, rows.stop)
        latitudes = (t.f + t.d * self._width / 2.0 + t.e * middles) * self._unit
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


def area_distortion(scene: Raster) -> float:
    """How many times its area on the ground the CRS gives the middle pixel; 1 if not known."""
    side_m = scene.resolution_m()
    if side_m is None:
        return 1.0
    middle = range(scene.height // 2, scene.height // 2 + 1)
    return float(GroundMeasure(scene).row_areas_m2(middle)[0]) / side_m**2


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


_STEP = 0.5
"""Pixels on each side of the middle over which a direction is measured."""


def north_of(scene: Raster) -> tuple[float, float] | None:
    """Where true north is in the middle of a raster.

    Returns:
        Pixels to the right and pixels down of a step to the north, of length one; None if the
        raster is not georeferenced, or lies over a pole.
    """
    col, row = scene.width / 2, scene.height / 2
    cols = np.array([col - _STEP, col + _STEP, col, col])
    rows = np.array([row, row, row - _STEP, row + _STEP])
    place = scene.to_degrees(cols, rows)
    if place is None or not np.isfinite(place).all():
        return None
    lon, lat = place
    # Over the antimeridian a degree of longitude is not the difference of two.
    across = (np.array([lon[1] - lon[0], lon[3] - lon[2]]) + 180.0) % 360.0 - 180.0
    slopes = np.array([across, [lat[1] - lat[0], lat[3] - lat[2]]])  # (lon, lat) x (col, row)
    if abs(float(np.linalg.det(slopes))) < 1e-30:
        return None
    right, down = np.linalg.solve(slopes, [0.0, 1.0])
    length = math.hypot(right, down)
    return float(right / length), float(down / length)


def round_length(limit: float) -> float:
    """The longest of 1, 2 and 5 times a power of ten that is not above a limit > 0."""
    power = 10.0 ** math.floor(math.log10(limit) + 1e-9)
    factor = next(f for f in (5.0, 2.0, 1.0) if f * power <= limit * (1 + 1e-9))
    return float(f"{factor * power:.12g}")


def length_text(metres: float) -> str:
    """A length in a readable unit: `20 cm`, `500 m`, `2 km`."""
    if metres >= 1000:
        return f"{metres / 1000:g} km"
    return f"{metres:g} m" if metres >= 1 else f"{metres * 100:g} cm"


POINTS_OF_A_SIDE = 16
"""Straight sides of a map are curves on the globe."""
DECIMALS = 7
"""Of degrees: a centimetre."""
TURN = 360.0

Geometry = dict[str, Any]
Box = list[float]


def footprint(scene: Raster) -> tuple[Geometry, Box] | None:
    """The outline of a raster in longitude and latitude, and its box; None if it is not known.

    As RFC 7946 wants it: right-handed, cut in two at the antimeridian, where the box begins further
    east than it ends. An outline around a pole becomes the cap from its lowest latitude.
    """
    place = scene.to_degrees(*_outline(scene))
    if place is None or not all(np.isfinite(part).all() for part in place):
        return None
    # Two neighbouring points are never half the globe apart: a leap is the antimeridian.
    lon, lat = np.unwrap(place[0], period=TURN), place[1]
    if abs(lon[-1] - lon[0]) > TURN / 2:
        south, north = (lat.min(), 90.0) if lat.mean() > 0 else (-90.0, lat.max())
        return _told(shapely.box(-180.0, south, 180.0, north)), _rounded([-180, south, 180, north])
    lon = lon - TURN * np.floor((lon.min() + TURN / 2) / TURN)
    area = shapely.Polygon(np.column_stack([lon, lat]))
    west, south, east, north = area.bounds
    if east <= TURN / 2:
        return _told(area), _rounded([west, south, east, north])
    halves = [area.intersection(shapely.box(x, -90, x + TURN, 90)) for x in (-180.0, 180.0)]
    halves[1] = shapely.transform(halves[1], lambda points: points - [TURN, 0.0])
    both = shapely.MultiPolygon(halves)
    return _told(both), _rounded([west, south, east - TURN, north])


def _outline(scene: Raster) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Columns and rows of points around a raster, closed."""
    share = np.linspace(0.0, 1.0, POINTS_OF_A_SIDE)[:-1]
    none, all_ = np.zeros_like(share), np.ones_like(share)
    cols = np.concatenate([share, all_, 1.0 - share, none, [0.0]]) * scene.width
    rows = np.concatenate([none, share, all_, 1.0 - share, [0.0]]) * scene.height
    return cols, rows


def _told(area: shapely.Geometry) -> Geometry:
    # On a small map the sides are straight: points that lie on them to the last digit are left out.
    area = area.simplify(10.0**-DECIMALS)
    rounded = shapely.transform(area, lambda points: np.round(points, DECIMALS))
    geometry: Geometry = shapely.geometry.mapping(shapely.orient_polygons(rounded))
    return geometry


def _rounded(box: list[float]) -> Box:
    return [round(float(side), DECIMALS) for side in box]


MOST_DISTORTION = 0.02


def distorted_areas(scene: Raster, concerned: str = "hectares") -> str | None:
    """A warning if areas in a raster's CRS differ from those on the ground, else None.

    Args:
        scene: The raster.
        concerned: The figures that use these areas.
    """
    factor = area_distortion(scene)
    if abs(factor - 1.0) <= MOST_DISTORTION:
        return None
    return (
        f"the CRS of {Path(scene.path).name} shows areas {factor:.2f} times as large as they "
        f"are in the middle of the map: {concerned} are those of the CRS; "
        "an equal-area CRS gives true ones"
    )


def grid_for(first: Raster, other: Raster, *, may_be_bare: bool) -> Raster | None:
    """The grid that a raster is read on to lie over another; None for its own pixels.

    Args:
        first: The raster that gives the grid.
        other: What is laid over it.
        may_be_bare: Whether one of them may have no place where the other has; then both must be
            of one size.

    Raises:
        UnusableFileError: If they do not meet, or cannot be laid over each other.
    """
    if other is first:
        return None
    same_size = (first.height, first.width) == (other.height, other.width)
    if first.is_georeferenced and other.is_georeferenced:
        _require_meeting(overlap(first, other), first, other, may_be_bare=may_be_bare)
        return first
    if first.has_frame and other.has_frame:
        own, theirs = _four_corners(first), _four_corners(other)
        meets = own.intersects(theirs) and not own.touches(theirs)
        _require_meeting(meets, first, other, may_be_bare=may_be_bare)
        return first
    is_even = may_be_bare or first.is_georeferenced == other.is_georeferenced
    _require(is_even, first, other, "cannot be laid over each other: one is not georeferenced")
    sizes = f"{first.height} x {first.width} and {other.height} x {other.width} pixels"
    _require(same_size, first, other, f"cannot be laid over each other: they have {sizes}")
    return None


def overlap(one: Raster, other: Raster) -> bool:
    """Whether two georeferenced rasters meet, seen in the CRS of the second, the larger one.

    Raises:
        UnusableFileError: If nothing leads from one CRS to the other.
    """
    theirs = _four_corners(other)
    x, y = _around(one)
    if one.crs != other.crs:
        names = f"{one.path} and {other.path}"
        way = way_between(horizontal(one.crs), horizontal(other.crs), names)
        x, y = map(np.asarray, way.transform(x, y))
        is_there = np.isfinite(x) & np.isfinite(y)
        x, y = x[is_there], y[is_there]
    if len(x) < 3:
        return False
    if shapely.Polygon(np.column_stack([x, y])).intersects(theirs):
        return True
    turn = turn_of(horizontal(other.crs))
    if turn is None:
        return False
    x = np.unwrap(x, period=turn)
    own = shapely.Polygon(np.column_stack([x, y]))
    return any(_moved(own, number * turn).intersects(theirs) for number in TURNS)


def steps_onto(scene: Raster, grid: Raster) -> tuple[float, ...]:
    """By how much x of a raster is to be moved for it to lie on the turn of a grid.

    Several steps if parts of it lie on several turns; (0.0,) where there are no turns.
    """
    if scene.crs is None or scene.crs != grid.crs:
        return (0.0,)
    (left, right), (start, stop) = _span(scene), _span(grid)
    if left <= start and right >= stop:
        return (0.0,)
    turn = turn_of(horizontal(scene.crs))
    if turn is None:
        return (0.0,)
    found = [n * turn for n in TURNS if left + n * turn < stop and right + n * turn > start]
    return tuple(found) or (0.0,)


def step_near(x: float, wanted: float, crs: CRS | None) -> float:
    """By how many whole turns x is to be moved to come as near as can be to another."""
    turn = None if crs is None or abs(wanted - x) < 1.0 else turn_of(horizontal(crs))
    return 0.0 if turn is None else turn * round((wanted - x) / turn)


def moved(transform: Affine, step: float) -> Affine:
    """A transform to coordinates whose x is larger by a step."""
    return Affine.translation(step, 0.0) @ transform if step else transform


def _require_meeting(meets: bool, first: Raster, other: Raster, *, may_be_bare: bool) -> None:  # noqa: FBT001 - a condition
    if not meets:
        text = f"{first.path} and {other.path} do not overlap"
        if may_be_bare:
            text = f"{other.path} does not overlap the image {first.path}"
        raise UnusableFileError(text, hint="Check that both are of one place, and the CRS of each.")


def _require(holds: bool, first: Raster, other: Raster, problem: str) -> None:  # noqa: FBT001 - a condition
    if not holds:
        raise UnusableFileError(
            f"{first.path} and {other.path} {problem}",
            hint="Check that both are of one place, and the CRS of each.",
        )


def _span(scene: Raster) -> tuple[float, float]:
    x, _ = _around(scene)
    return float(x.min()), float(x.max())


def _around(scene: Raster) -> tuple[Floats, Floats]:
    """x and y of points around a raster, dense enough for bent projections."""
    share = np.linspace(0.0, 1.0, SEGMENTS + 1)
    none, all_ = np.zeros_like(share), np.ones_like(share)
    cols = np.concatenate([share, all_, share[::-1], none]) * scene.width
    rows = np.concatenate([none, share, all_, share[::-1]]) * scene.height
    return to_map(scene.transform, cols, rows)


def _four_corners(scene: Raster) -> shapely.Polygon:
    t, width, height = scene.transform, scene.width, scene.height
    return shapely.Polygon([t @ (0, 0), t @ (width, 0), t @ (width, height), t @ (0, height)])


def _moved(shape: shapely.Polygon, step: float) -> shapely.Polygon:
    return shapely.transform(shape, lambda points: points + np.array([step, 0.0]))
