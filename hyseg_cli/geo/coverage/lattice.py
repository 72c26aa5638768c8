"""The arcs of a strip: borders between regions, cut at junctions and at the strip's seams.

Pixel corners are *vertices* (i, j) of a lattice; borders run along its edges. Points are whole
numbers of half pixels: vertex (i, j) is the point (x, y) = (2 j, 2 i). A *junction* is a vertex
where three or more edges meet; it ends the arcs that reach it, and it never moves.

A strip holds the vertices above each of its rows. Between two strips runs a *seam*, halfway
between vertices; where it cuts an edge, both strips put the same point and end their arcs. So
each edge lies in one strip or is halved by a seam, and no edge lies along one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.compiled import kernel
from hyseg_cli.geo.coverage.runs import Int32s, Int64s

EAST, SOUTH, WEST, NORTH = range(4)
"""Headings; as bits of a vertex, the edges that leave it."""

LOOP = -1
"""Heading at the end of an arc that closes on itself without a junction."""

_RIGHT, _DOWN = np.array([1, 0, -1, 0]), np.array([0, 1, 0, -1])
"""Columns and rows to the next vertex, by heading."""

_HEADING = np.array([{1: EAST, 2: SOUTH, 4: WEST, 8: NORTH}.get(mark, LOOP) for mark in range(9)])
"""The one edge that leaves a vertex, by its mark."""

JUNCTION = 16
"""Bit of a vertex that ends arcs."""

Bytes = npt.NDArray[np.uint8]
Headings = npt.NDArray[np.int8]


@dataclass
class Arcs:
    """Some arcs; walking along one, `left` lies on its left and `right` on its right."""

    offsets: Int64s
    """First point of each arc, then the number of points."""
    x: Int32s
    """Half pixels from the left edge of the raster."""
    y: Int32s
    """Half pixels from its upper edge."""
    left: Int32s
    """Region on the left, 0 for none."""
    right: Int32s
    start_nodes: Int64s
    """Number of the point where each arc begins; equal for all arcs that meet there."""
    end_nodes: Int64s
    start_headings: Headings
    """Heading of the first edge."""
    end_headings: Headings
    """Heading of the last edge, `LOOP` for a closed arc."""

    def __len__(self) -> int:
        return len(self.left)


def trace_strip(
    numbers: Int32s, first_row: int, *, smooth: bool, is_first: bool, is_last: bool
) -> Arcs:
    """The arcs of one strip.

    Args:
        numbers: Region numbers (rows + 1, width + 2), 0 for none: the row above the strip, then
            its rows, with an empty column on either side.
        first_row: Row of the raster that `numbers[1]` is.
        smooth: Put points on the middles of edges instead of on corners. Each stays in the
            dual cell of its vertex, so arcs cannot cross.
        is_first: No strip lies above this one.
        is_last: No strip lies below; `numbers` then ends with an empty row.
    """
    vertices, places = mark_vertices(numbers, is_first=is_first, is_last=is_last)
    # Each edge is counted at both of its ends.
    edges = int(np.bitwise_count(vertices.ravel()[places] & 0xF).sum(dtype=np.int64))
    arcs = edges + 1
    # Every edge gives one point or two, and every arc one more.
    points = 2 * edges + 2 * arcs
    offsets = np.zeros(arcs + 1, np.int64)
    x, y = np.empty(points, np.int32), np.empty(points, np.int32)
    left, right = np.empty(arcs, np.int32), np.empty(arcs, np.int32)
    nodes = np.empty((2, arcs), np.int64)
    headings = np.empty((2, arcs), np.int8)
    base = 2 * (first_row - 1)
    found = trace_arcs(
        numbers, vertices, places, base, smooth, offsets, x, y, left, right,
        nodes, headings,
    )  # fmt: skip
    end = offsets[found]
    return Arcs(
        offsets[: found + 1], x[:end], y[:end], left[:found], right[:found],
        nodes[0, :found], nodes[1, :found], headings[0, :found], headings[1, :found],
    )  # fmt: skip


def mark_vertices(numbers: Int32s, *, is_first: bool, is_last: bool) -> tuple[Bytes, Int64s]:
    """Mark each vertex of a strip with its edges, and what ends arcs.

    Vertex (i, j) lies between rows i - 1 and i and columns j and j + 1 of `numbers`; the first
    and the last row of the result stand for the seams.

    Returns:
        The marks (rows + 2, width + 1), and where they are not zero in the flattened array.
    """
    height, width = numbers.shape[0] - 1, numbers.shape[1] - 2
    vertices = np.zeros((height + 2, width + 1), np.uint8)
    inner = vertices[1:-1]
    mark_edges(numbers, inner)
    for row, is_rim in ((inner[0], is_first), (inner[-1], is_last)):
        if is_rim:
            # The corners of the raster are kept whatever is smoothed or simplified.
            corners = row[:: max(1, width)]
            corners[corners != 0] |= JUNCTION
    # Where a seam cuts an edge, an arc ends and another begins.
    vertices[0] = np.where(inner[0] & (1 << NORTH), JUNCTION | (1 << SOUTH), 0)
    vertices[-1] = np.where(inner[-1] & (1 << SOUTH), JUNCTION | (1 << NORTH), 0)
    places = np.flatnonzero(vertices != 0)
    marks = vertices.ravel()
    marks[places] = _WITH_JUNCTIONS[marks[places]]
    return vertices, places


@kernel
def mark_edges(numbers: Int32s, marks: Bytes) -> None:
    """Mark vertices with their edges; without a branch, so that many are done at once."""
    for i in range(marks.shape[0]):
        above, below, row = numbers[i], numbers[i + 1], marks[i]
        for j in range(marks.shape[1]):
            nw, ne, sw, se = above[j], above[j + 1], below[j], below[j + 1]
            row[j] = (
                ((ne != se) << EAST)
                | ((sw != se) << SOUTH)
                | ((nw != sw) << WEST)
                | ((nw != ne) << NORTH)
            )


_WITH_JUNCTIONS = np.array(
    [mark | (JUNCTION if (mark & 0xF).bit_count() > 2 else 0) for mark in range(32)], np.uint8
)
"""A mark with its junction bit, where three or more edges meet."""


@kernel
def trace_arcs(
    numbers: Int32s,
    vertices: Bytes,
    places: Int64s,
    base: int,
    smooth: bool,  # noqa: FBT001 - compiled code takes no keywords
    offsets: Int64s,
    x: Int32s,
    y: Int32s,
    left: Int32s,
    right: Int32s,
    nodes: Int64s,
    headings: Headings,
) -> int:
    """Walk every edge once; returns the number of arcs.

    First come the arcs that begin at a junction or at a seam, then the remaining loops. `places`
    are the vertices with edges, row by row.
    """
    height, width = numbers.shape[0] - 1, numbers.shape[1] - 2
    marks = vertices.ravel()
    arcs = 0
    for wanted in (JUNCTION, 0):
        for place in places:
            if marks[place] & JUNCTION != wanted or marks[place] == wanted:
                continue
            i, j = place // (width + 1), place % (width + 1)
            for heading in range(4):
                if vertices[i, j] & (1 << heading) == 0:
                    continue
                left[arcs], right[arcs] = _sides(numbers, i, j, heading, height)
                headings[0, arcs] = heading
                end, headings[1, arcs] = walk(
                    vertices, i, j, heading, height, base, smooth, x, y, offsets[arcs]
                )
                start = offsets[arcs]
                nodes[0, arcs] = np.int64(y[start]) * (2 * width + 3) + x[start]
                nodes[1, arcs] = np.int64(y[end - 1]) * (2 * width + 3) + x[end - 1]
                arcs += 1
                offsets[arcs] = end
    return arcs


@kernel
def _sides(numbers: Int32s, i: int, j: int, heading: int, height: int) -> tuple[int, int]:
    """The regions on the left and on the right of the edge that leaves a vertex."""
    above, below = max(i - 1, 0), min(i, height)
    if i == 0:
        below = 0
    if i == height + 1:
        above = height
    if heading == EAST:
        return numbers[above, j + 1], numbers[below, j + 1]
    if heading == SOUTH:
        return numbers[below, j + 1], numbers[below, j]
    if heading == WEST:
        return numbers[below, j], numbers[above, j]
    return numbers[above, j], numbers[above, j + 1]


@kernel
def walk(
    vertices: Bytes,
    i: int,
    j: int,
    heading: int,
    height: int,
    base: int,
    smooth: bool,  # noqa: FBT001
    x: Int32s,
    y: Int32s,
    first: int,
) -> tuple[int, int]:
    """Follow the border from a vertex to a junction, a seam, or back, and erase it behind.

    Returns:
        The end of its points and the heading on arrival.
    """
    end = first
    is_loop = vertices[i, j] & JUNCTION == 0
    if not (is_loop and smooth):
        end = _put(x, y, first, end, 2 * j, _level(i, height, base))
    while True:
        vertices[i, j] &= ~(1 << heading) & 0xFF
        from_i, from_j = i, j
        i, j = i + _DOWN[heading], j + _RIGHT[heading]
        inside = 0 < i <= height
        if smooth and inside and 0 < from_i <= height:
            end = _put(x, y, first, end, from_j + j, from_i + i + base)
        vertices[i, j] &= ~(1 << ((heading + 2) & 3)) & 0xFF
        if vertices[i, j] & JUNCTION:
            return _put(x, y, first, end, 2 * j, _level(i, height, base)), heading
        if vertices[i, j] == 0:
            return _put(x, y, first, end, x[first], y[first]), LOOP
        turned = _HEADING[vertices[i, j]]
        if not smooth and turned != heading:
            end = _put(x, y, first, end, 2 * j, 2 * i + base)
        heading = turned


@kernel
def _level(i: int, height: int, base: int) -> int:
    """Half pixels down to a vertex; a seam lies half a pixel beyond the strip's vertices."""
    if i == 0:
        return base + 1
    if i == height + 1:
        return base + 2 * height + 1
    return base + 2 * i


@kernel
def _put(x: Int32s, y: Int32s, first: int, end: int, to_x: int, to_y: int) -> int:
    """Append a point; one that lies on the line through its neighbours is overwritten."""
    if end - first >= 2:
        back_x, back_y = x[end - 1] - x[end - 2], y[end - 1] - y[end - 2]
        on_x, on_y = to_x - x[end - 1], to_y - y[end - 1]
        if np.int64(back_x) * on_y == np.int64(back_y) * on_x:
            end -= 1
    x[end], y[end] = to_x, to_y
    return end + 1
