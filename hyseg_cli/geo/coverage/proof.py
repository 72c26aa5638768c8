"""The proof that polygons form a coverage, in time and memory that grow only with a strip.

Two facts together leave no room for a gap, an overlap or an unmatched vertex:

1. The arcs are planar: no two edges of a strip cross, touch in their middles or coincide
   (`count_conflicts`); strips share nothing but the points on their seams.
2. The rings use these edges and no others: each arc's edges once in the direction that has a
   region on its left and once in the other (`fingerprint`). Instead of keeping millions of edges,
   a 64-bit hash of every directed edge is added up, once over the arcs and once over the rings
   handed out; equal sums mean equal multisets, except for a chance of 2^-64.

The rest is counted: one exterior and a positive area per polygon, and in exact mode the area
of all polygons, which is the number of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hyseg_cli.geo.compiled import inlined_kernel, kernel
from hyseg_cli.geo.coverage.lattice import Arcs
from hyseg_cli.geo.coverage.rings import Rings
from hyseg_cli.geo.coverage.runs import Int32s, Int64s, Seams

CELL = 16
"""Side in half pixels of the squares in which edges are compared."""


@dataclass
class Proof:
    """The findings so far; mutable."""

    seams: Seams
    """Where the seams between strips lie."""
    edges: int = 0
    """Edges of arcs."""
    conflicts: int = 0
    """Pairs of edges that cross, coincide, or touch other than at their ends."""
    polygons: int = 0
    misshapen: int = 0
    """Rings of fewer than three points, and polygons without an exterior or a positive area."""
    doubled_area: int = 0
    """Twice the area of all polygons, in square half pixels."""
    _arc_sum: int = 0
    _ring_sum: int = 0

    def add_arcs(self, arcs: Arcs, top: int, bottom: int, width: int) -> None:
        """Check the arcs of a strip that spans the half-pixel rows `top` to `bottom`."""
        self.edges += int(arcs.offsets[-1]) - len(arcs)
        self.conflicts += count_conflicts(arcs.offsets, arcs.x, arcs.y, top, bottom, 2 * width)
        fresh = fingerprint_arcs(arcs.offsets, arcs.x, arcs.y, arcs.left, arcs.right)
        self._arc_sum = (self._arc_sum + int(fresh)) % (1 << 64)

    def add_rings(self, rings: Rings) -> None:
        """Check rings that are handed out."""
        exteriors = int((rings.doubled_areas > 0).sum())
        # The rings of a region are contiguous.
        firsts = np.flatnonzero(np.diff(rings.regions, prepend=-1))
        totals = np.add.reduceat(rings.doubled_areas, firsts)
        self.polygons += len(firsts)
        self.misshapen += int((np.diff(rings.offsets) < 3).sum()) + abs(exteriors - len(firsts))
        self.misshapen += int((totals <= 0).sum())
        self.doubled_area += int(rings.doubled_areas.sum())
        fresh = fingerprint_rings(rings.offsets, rings.x, rings.y, self.seams.step, self.seams.last)
        self._ring_sum = (self._ring_sum + int(fresh)) % (1 << 64)

    @property
    def is_matched(self) -> bool:
        """Whether the rings use the edges of the arcs and no others."""
        return self._arc_sum == self._ring_sum

    def problems(self, regions: int, pixels: int | None) -> list[str]:
        """The reasons why the polygons are not a coverage; empty if they are one.

        Args:
            regions: The expected number of polygons.
            pixels: The area they must have; None where borders have been generalised.
        """
        found = []
        if not self.is_matched:
            found.append("edges that only one polygon has")
        if self.conflicts:
            found.append(f"{self.conflicts} edges that cross or touch")
        if self.misshapen:
            found.append(f"{self.misshapen} misshapen polygons")
        if self.polygons != regions:
            found.append(f"{self.polygons} polygons instead of {regions}")
        if pixels is not None and self.area_px != pixels:
            found.append(f"an area of {self.area_px} instead of {pixels} pixels")
        return found

    def to_dict(self) -> dict[str, int | float | bool]:
        """The findings, ready for JSON."""
        return {
            "edges": self.edges,
            "conflicts": self.conflicts,
            "matched": self.is_matched,
            "polygons": self.polygons,
            "misshapen": self.misshapen,
            "area_px": self.area_px,
        }

    @property
    def area_px(self) -> float:
        """Area of all polygons, in pixels."""
        return self.doubled_area / 8


@kernel
def _mix(value: np.uint64) -> np.uint64:
    """The splitmix64 finaliser."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel
def _edge_hash(x0: Any, y0: Any, x1: Any, y1: Any) -> np.uint64:
    """Of a directed edge: its reverse has another hash."""
    start = (np.uint64(x0) << np.uint64(32)) | np.uint64(y0)
    stop = (np.uint64(x1) << np.uint64(32)) | np.uint64(y1)
    return _mix(_mix(start + np.uint64(0x9E3779B97F4A7C15)) ^ stop)


@kernel
def fingerprint_arcs(
    offsets: Int64s, x: Int32s, y: Int32s, left: Int32s, right: Int32s
) -> np.uint64:
    """Sum over the arcs' edges, in each direction that has a region on its left."""
    total = np.uint64(0)
    for arc in range(len(left)):
        for point in range(offsets[arc], offsets[arc + 1] - 1):
            if left[arc] != 0:
                total += _edge_hash(x[point], y[point], x[point + 1], y[point + 1])
            if right[arc] != 0:
                total += _edge_hash(x[point + 1], y[point + 1], x[point], y[point])
    return total


@kernel
def fingerprint_rings(
    offsets: Int64s, x: Int32s, y: Int32s, seam_step: int, last_seam: int
) -> np.uint64:
    """Sum over the rings' edges, cut where they cross a seam as the arcs were.

    An arc's point on a seam has whole coordinates; an edge that crosses one elsewhere is not one of
    the arcs', so the sums differ.
    """
    total = np.uint64(0)
    for ring in range(len(offsets) - 1):
        first, end = offsets[ring], offsets[ring + 1]
        for point in range(first, end):
            following = point + 1 if point + 1 < end else first
            total += _cut_edge_hash(
                x[point], y[point], x[following], y[following], seam_step, last_seam
            )
    return total


@kernel
def _cut_edge_hash(x0: int, y0: int, x1: int, y1: int, seam_step: int, last_seam: int) -> np.uint64:
    """The hashes of the parts of an edge between seams, which lie at y = -1 modulo the step."""
    total = np.uint64(0)
    from_x: Any
    from_y: Any
    from_x, from_y = np.int64(x0), np.int64(y0)
    down = 1 if y1 > y0 else -1
    while True:
        if y0 == y1:
            break
        above: int = min((from_y + 1) // seam_step * seam_step - 1, last_seam)  # at or above
        beyond = seam_step if down > 0 else (-seam_step if above == from_y else 0)
        seam = above + beyond
        if (seam - y1) * down >= 0 or seam > last_seam:
            break
        across = np.int64(x1 - x0) * (seam - y0)
        if across % (y1 - y0) != 0:
            return np.uint64(1)
        at_x = x0 + across // (y1 - y0)
        total += _edge_hash(from_x, from_y, at_x, seam)
        from_x, from_y = at_x, seam
    return total + _edge_hash(from_x, from_y, x1, y1)


@kernel
def count_conflicts(
    offsets: Int64s, x: Int32s, y: Int32s, top: int, bottom: int, right: int
) -> int:
    """Pairs of edges of one strip that meet other than at common ends.

    Edges are sorted into squares of `CELL` half pixels, row of squares by row of squares, and
    compared with those in the same square; a pair may be counted in several.
    """
    columns = right // CELL + 1
    rows = (bottom - top) // CELL + 1
    counts = np.zeros(rows * columns + 1, np.int64)
    for stage in range(2):
        if stage == 1:
            for cell in range(1, len(counts)):
                counts[cell] += counts[cell - 1]
            members = np.empty(counts[-1], np.int64)
        for arc in range(len(offsets) - 1):
            for point in range(offsets[arc], offsets[arc + 1] - 1):
                x0, y0, x1, y1 = x[point], y[point] - top, x[point + 1], y[point + 1] - top
                for row in range(min(y0, y1) // CELL, max(y0, y1) // CELL + 1):
                    low, high = _span_in_row(x0, y0, x1, y1, row)
                    for col in range(low // CELL, high // CELL + 1):
                        cell = row * columns + col
                        if stage == 0:
                            counts[cell] += 1
                        else:
                            counts[cell] -= 1
                            members[counts[cell]] = point
    conflicts = 0
    for cell in range(rows * columns):
        for one in range(counts[cell], counts[cell + 1]):
            for other in range(one + 1, counts[cell + 1]):
                conflicts += _conflict(x, y, members[one], members[other])
    return conflicts


@inlined_kernel
def _span_in_row(x0: int, y0: int, x1: int, y1: int, row: int) -> tuple[int, int]:
    """Least and greatest column of an edge within a row of squares, rounded outwards."""
    if row * CELL <= min(y0, y1) and max(y0, y1) <= row * CELL + CELL:
        return min(x0, x1), max(x0, x1)
    low_y, high_y = max(min(y0, y1), row * CELL), min(max(y0, y1), row * CELL + CELL)
    at_low = x0 + (x1 - x0) * (low_y - y0) / (y1 - y0)
    at_high = x0 + (x1 - x0) * (high_y - y0) / (y1 - y0)
    least, greatest = int(np.floor(min(at_low, at_high))), int(np.ceil(max(at_low, at_high)))
    return max(least, min(x0, x1)), min(greatest, max(x0, x1))


@inlined_kernel
def _side(x: Int32s, y: Int32s, edge: int, point: int) -> int:
    """On which side of an edge a point lies: 1, -1, or 0 on its line."""
    along_x, along_y = np.int64(x[edge + 1]) - x[edge], np.int64(y[edge + 1]) - y[edge]
    turn = along_x * (y[point] - y[edge]) - along_y * (x[point] - x[edge])
    return 1 if turn > 0 else (-1 if turn < 0 else 0)


@inlined_kernel
def _conflict(x: Int32s, y: Int32s, one: int, other: int) -> int:
    """1 if two edges meet other than at common ends."""
    a, b = _side(x, y, one, other), _side(x, y, one, other + 1)
    c, d = _side(x, y, other, one), _side(x, y, other, one + 1)
    if a * b > 0 or c * d > 0:
        return 0
    if a == 0 and b == 0:
        return 1 if _overlap(x, y, one, other) else 0
    # They meet in a point: at an end of one and of the other, or it is a conflict.
    if a != 0 and b != 0:
        return 1
    end = other if a == 0 else other + 1
    shared = (x[end] == x[one] and y[end] == y[one]) or (
        x[end] == x[one + 1] and y[end] == y[one + 1]
    )
    return 0 if shared else 1


@kernel
def _overlap(x: Int32s, y: Int32s, one: int, other: int) -> bool:
    """Whether two edges on one line share more than a point."""
    for axis in (x, y):
        low = max(min(axis[one], axis[one + 1]), min(axis[other], axis[other + 1]))
        high = min(max(axis[one], axis[one + 1]), max(axis[other], axis[other + 1]))
        if high < low:
            return False
        if high > low:
            return True
    return False
