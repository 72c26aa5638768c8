"""Fewer points on the arcs of a strip, without touching a neighbour.

Visvalingam and Whyatt: a point whose triangle with its two neighbours is small matters little and
is removed. Here it is removed only if that triangle holds no other point of any arc: then no arc is
crossed, because an arc that crosses the new side must have entered through the old ones. Junctions,
seam points and raster corners are ends of arcs and stay, so neighbours keep meeting there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hyseg_cli.geo.compiled import inlined_kernel, kernel
from hyseg_cli.geo.coverage.lattice import Arcs, Bytes
from hyseg_cli.geo.coverage.runs import Int32s, Int64s

SWEEPS = 4
"""Sweeps with doubling limits come close to removing the smallest triangle first."""


def simplify_arcs(arcs: Arcs, tolerance: float, taken: Bytes, top: int) -> Arcs:
    """Thin the arcs of one strip.

    An arc keeps one point between its ends if it has any, and a loop keeps three, so that no
    region collapses and no two arcs become the same.

    Args:
        arcs: As `trace_strip` made them.
        tolerance: Points with triangles of at most its square are removed, in pixels.
        taken: Zeros for every half pixel of the strip, (rows or more, columns); left as they were.
        top: Half-pixel row of the first row of `taken`.
    """
    offsets = np.zeros_like(arcs.offsets)
    x, y = np.empty_like(arcs.x), np.empty_like(arcs.y)
    longest = int(np.diff(arcs.offsets).max(initial=0))
    links = np.empty((2, longest), np.int32)
    mark_points(arcs.offsets, arcs.x, arcs.y, taken, top, 1)
    end = thin(arcs.offsets, arcs.x, arcs.y, taken, top, 8.0 * tolerance**2, links, offsets, x, y)
    mark_points(arcs.offsets, arcs.x, arcs.y, taken, top, 0)
    return replace(arcs, offsets=offsets, x=x[:end], y=y[:end])


@kernel
def mark_points(offsets: Int64s, x: Int32s, y: Int32s, taken: Bytes, top: int, value: int) -> None:
    """Set the half pixel of every point."""
    for point in range(offsets[-1]):
        taken[y[point] - top, x[point]] = value


@kernel
def thin(
    offsets: Int64s,
    x: Int32s,
    y: Int32s,
    taken: Bytes,
    top: int,
    limit: float,
    links: Int32s,
    new_offsets: Int64s,
    new_x: Int32s,
    new_y: Int32s,
) -> int:
    """Copy the points that remain; `limit` is for twice the area in square half pixels."""
    end = 0
    for arc in range(len(offsets) - 1):
        first, count = offsets[arc], offsets[arc + 1] - offsets[arc]
        last = first + count - 1
        is_loop = x[first] == x[last] and y[first] == y[last]
        fewest = 4 if is_loop else 3
        for at in range(count):
            links[0, at], links[1, at] = at - 1, at + 1
        left = count
        for sweep in range(SWEEPS):
            if left > fewest:
                part = limit / 2.0 ** (SWEEPS - 1 - sweep)
                left = _sweep(x, y, first, count, left, fewest, taken, top, part, links)
        at = 0
        while at < count:
            new_x[end], new_y[end] = x[first + at], y[first + at]
            end += 1
            at = links[1, at]
        new_offsets[arc + 1] = end
    return end


@inlined_kernel
def _sweep(
    x: Int32s,
    y: Int32s,
    first: int,
    count: int,
    left: int,
    fewest: int,
    taken: Bytes,
    top: int,
    limit: float,
    links: Int32s,
) -> int:
    """Walk along an arc once and unlink points with small, empty triangles; returns those left."""
    at = links[1, 0]
    while at < count - 1 and left > fewest:
        before, after = links[0, at], links[1, at]
        x0, y0 = x[first + before], y[first + before]
        x1, y1 = x[first + at], y[first + at]
        x2, y2 = x[first + after], y[first + after]
        area = abs(np.int64(x1 - x0) * (y2 - y0) - np.int64(y1 - y0) * (x2 - x0))
        goes = area <= limit and not (x0 == x2 and y0 == y2)
        if goes and _is_empty(taken, top, x0, y0, x1, y1, x2, y2, area):
            links[1, before], links[0, after] = after, before
            taken[y1 - top, x1] = 0
            left -= 1
            # Its neighbour now has a larger triangle: leave it for the next sweep.
            at = links[1, after] if after < count - 1 else after
        else:
            at = after
    return left


@kernel
def _is_empty(
    taken: Bytes, top: int, x0: int, y0: int, x1: int, y1: int, x2: int, y2: int, area: int
) -> bool:
    """Whether a triangle holds no point besides its corners, nor on its sides.

    Pick's theorem covers the small ones: twice an `area` of 1 leaves no room for a point, 2 for one
    that halves a side.
    """
    if area <= 2:
        return area <= 1 or not (
            _is_halved(taken, top, x0, y0, x1, y1)
            or _is_halved(taken, top, x1, y1, x2, y2)
            or _is_halved(taken, top, x2, y2, x0, y0)
        )
    for row in range(min(y0, y1, y2), max(y0, y1, y2) + 1):
        low, high = np.inf, -np.inf
        for from_x, from_y, to_x, to_y in (
            (x0, y0, x1, y1), (x1, y1, x2, y2), (x2, y2, x0, y0),
        ):  # fmt: skip
            if from_y == to_y:
                if row == from_y:
                    low, high = min(low, from_x, to_x), max(high, from_x, to_x)
            elif min(from_y, to_y) <= row <= max(from_y, to_y):
                cut = from_x + (to_x - from_x) * (row - from_y) / (to_y - from_y)
                low, high = min(low, cut), max(high, cut)
        for col in range(int(np.ceil(low - 1e-9)), int(np.floor(high + 1e-9)) + 1):
            if taken[row - top, col] == 0:
                continue
            is_corner = (
                (col == x0 and row == y0) or (col == x1 and row == y1) or (col == x2 and row == y2)
            )
            if not is_corner:
                return False
    return True


@kernel
def _is_halved(taken: Bytes, top: int, x0: int, y0: int, x1: int, y1: int) -> bool:
    """Whether a point lies in the middle of a side."""
    x, y = x0 + x1, y0 + y1
    return ((x | y) & 1) == 0 and taken[(y >> 1) - top, x >> 1] != 0
