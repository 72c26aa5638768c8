"""Polygons as well-known binary, without an object for each."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.compiled import kernel
from hyseg_cli.geo.coverage.runs import Int64s

Bytes = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

POLYGON = 3
"""Geometry type."""
MULTIPOLYGON = 6
"""Geometry type."""
HEADER = 9
"""Bytes of byte order, type and number of rings."""


def to_wkb(
    points: Points, ring_offsets: Int64s, polygon_offsets: Int64s, *, reverse: bool
) -> tuple[Bytes, Int64s]:
    """Little-endian WKB of polygons.

    Args:
        points: (n, 2) x and y; rings are not closed.
        ring_offsets: First point of each ring, then the number of points.
        polygon_offsets: First ring of each polygon, then the number of rings.
        reverse: Write rings backwards, where the transform has mirrored them.

    Returns:
        The bytes of all polygons, and where each begins, then their number.
    """
    rings = np.diff(polygon_offsets)
    points_of_polygon = ring_offsets[polygon_offsets[1:]] - ring_offsets[polygon_offsets[:-1]]
    sizes = HEADER + 4 * rings + 16 * (points_of_polygon + rings)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    out = np.empty(offsets[-1], np.uint8)
    write_polygons(points.view(np.uint8), ring_offsets, polygon_offsets, reverse, out)
    return out, offsets


def collection_header(kind: int, parts: int) -> bytes:
    """The header before the WKB of the parts of a collection."""
    return struct.pack("<BII", 1, kind, parts)


@kernel
def _put_count(out: Bytes, at: int, value: int) -> int:
    """Write an unsigned 32-bit number, least byte first; returns the end."""
    for byte in range(4):
        out[at + byte] = (value >> (8 * byte)) & 0xFF
    return at + 4


@kernel
def write_polygons(
    raw: Bytes,
    ring_offsets: Int64s,
    polygon_offsets: Int64s,
    reverse: bool,  # noqa: FBT001 - compiled code takes no keywords
    out: Bytes,
) -> None:
    """Fill `out`; `raw` are the bytes of the points, (n, 16)."""
    at = 0
    for polygon in range(len(polygon_offsets) - 1):
        first, last = polygon_offsets[polygon], polygon_offsets[polygon + 1]
        out[at] = 1
        at = _put_count(out, at + 1, POLYGON)
        at = _put_count(out, at, last - first)
        for ring in range(first, last):
            start, count = ring_offsets[ring], ring_offsets[ring + 1] - ring_offsets[ring]
            at = _put_count(out, at, count + 1)
            for step in range(count + 1):
                turn = step % count
                point = start + ((count - turn) % count if reverse else turn)
                out[at : at + 16] = raw[point]
                at += 16
