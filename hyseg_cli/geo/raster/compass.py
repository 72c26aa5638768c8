"""Directions and round lengths: what a picture of a map needs beside its pixels."""

from __future__ import annotations

import math

import numpy as np

from hyseg_cli.geo.raster.raster import Scene

_STEP = 0.5
"""Pixels on each side of the middle over which a direction is measured."""


def north_of(scene: Scene) -> tuple[float, float] | None:
    """Where true north is in the middle of a raster.

    Returns:
        Pixels to the right and pixels down of a step to the north, of length one; None if the
        raster has no place, or lies over a pole.
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
    """A length in the unit in which it is told: `20 cm`, `500 m`, `2 km`."""
    if metres >= 1000:
        return f"{metres / 1000:g} km"
    return f"{metres:g} m" if metres >= 1 else f"{metres * 100:g} cm"
