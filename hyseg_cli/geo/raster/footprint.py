"""Where a raster lies on the earth, as GeoJSON has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from hyseg_cli.geo.raster.raster import Scene

POINTS_OF_A_SIDE = 16
"""Straight sides of a map are curves on the globe."""
DECIMALS = 7
"""Of degrees: a centimetre."""
TURN = 360.0

Geometry = dict[str, Any]
Box = list[float]


def footprint(scene: Scene) -> tuple[Geometry, Box] | None:
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


def _outline(scene: Scene) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Columns and rows of points around a raster, closed."""
    share = np.linspace(0.0, 1.0, POINTS_OF_A_SIDE)[:-1]
    none, all_ = np.zeros_like(share), np.ones_like(share)
    cols = np.concatenate([share, all_, 1.0 - share, none, [0.0]]) * scene.width
    rows = np.concatenate([none, share, all_, 1.0 - share, [0.0]]) * scene.height
    return cols, rows


def _told(area: shapely.Geometry) -> Geometry:
    # On a small map the sides are straight: what lies on them to the last digit is left out.
    area = area.simplify(10.0**-DECIMALS)
    rounded = shapely.transform(area, lambda points: np.round(points, DECIMALS))
    told: Geometry = shapely.geometry.mapping(shapely.orient_polygons(rounded))
    return told


def _rounded(box: list[float]) -> Box:
    return [round(float(side), DECIMALS) for side in box]
