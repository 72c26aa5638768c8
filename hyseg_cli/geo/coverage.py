"""Class raster -> polygons that share their edges, and the proof that they do.

GDAL's polygonizer drops a vertex where a straight side of one polygon meets the corner between
two others. Such polygons look right, but they are no edge-matched coverage: simplification and
reprojection move one side and not the other, and slivers open. Here every point where three or
more sides meet is a vertex of every ring through it.

Everything is in pixel coordinates (x = column, y = row) until `features` writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from rasterio.features import shapes

from hyseg_cli.errors import CheckFailedError
from hyseg_cli.legend import NODATA_ID

Coordinates = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Coverage:
    """Polygons without gaps or overlaps."""

    polygons: npt.NDArray[Any]
    """shapely polygons, in pixel coordinates."""
    class_ids: npt.NDArray[np.int64]
    """Class of each polygon."""
    pixels: npt.NDArray[np.int64]
    """Pixels of each polygon's region, before any simplification."""


def trace(classes: npt.NDArray[np.uint8]) -> Coverage:
    """The 4-connected regions of a class raster, along exact pixel edges.

    Args:
        classes: uint8 (height, width); 255 belongs to no polygon.
    """
    found = list(shapes(classes, mask=classes != NODATA_ID, connectivity=4))
    rings = [np.asarray(ring, float) for shape, _ in found for ring in shape["coordinates"]]
    polygon_of_ring = np.repeat(
        np.arange(len(found)), [len(shape["coordinates"]) for shape, _ in found]
    )
    if not found:
        empty = np.empty(0, np.int64)
        return Coverage(np.empty(0, object), empty, empty)
    polygons = _with_junctions(rings, polygon_of_ring, _junctions(classes))
    return Coverage(
        polygons=polygons,
        class_ids=np.array([int(value) for _, value in found]),
        pixels=np.rint(shapely.area(polygons)).astype(np.int64),
    )


def _junctions(classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Lattice points where three or four sides meet: bool (height + 1, width + 1)."""
    padded = np.pad(classes, 1, constant_values=NODATA_ID)
    nw, ne, sw, se = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    sides = (nw != ne).astype(np.int8) + (sw != se) + (nw != sw) + (ne != se)
    junctions: npt.NDArray[np.bool_] = sides >= 3
    return junctions


def _with_junctions(
    rings: list[Coordinates],
    polygon_of_ring: npt.NDArray[np.int64],
    junctions: npt.NDArray[np.bool_],
) -> npt.NDArray[Any]:
    """Polygons from closed rings of corners, with a vertex at every junction they pass."""
    starts = np.concatenate([ring[:-1] for ring in rings]).astype(np.int64)
    stops = np.concatenate([ring[1:] for ring in rings]).astype(np.int64)
    ring_of_side = np.repeat(np.arange(len(rings)), [len(ring) - 1 for ring in rings])
    # Walk each side in unit steps; keep its first point, and junctions on the way.
    lengths = np.abs(stops - starts).sum(axis=1)
    side = np.repeat(np.arange(len(starts)), lengths)
    walked = np.arange(len(side)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    points = starts[side] + np.sign(stops - starts)[side] * walked[:, None]
    kept = (walked == 0) | junctions[points[:, 1], points[:, 0]]
    points, ring_index = points[kept].astype(float), ring_of_side[side[kept]]
    closed = shapely.linearrings(points, indices=ring_index)
    polygons: npt.NDArray[Any] = shapely.polygons(closed, indices=polygon_of_ring)
    return polygons


def simplify(coverage: Coverage, tolerance: float) -> Coverage:
    """Fewer vertices on shared edges: Visvalingam-Whyatt, junctions fixed (GEOS).

    Args:
        coverage: An edge-matched coverage.
        tolerance: Triangles of less than its square, in pixels, go; 0 changes nothing.
    """
    if tolerance == 0:
        return coverage
    simplified = shapely.coverage_simplify(coverage.polygons, tolerance)
    return Coverage(simplified, coverage.class_ids, coverage.pixels)


@dataclass(frozen=True)
class CoverageCheck:
    """The proof: all counts but `edges` must be zero."""

    edges: int
    """Different edges."""
    overused: int
    """Edges of more than two polygons, or used twice in one direction."""
    crossings: int
    """Pairs of edges that cross."""
    unmatched: int
    """Vertices in the middle of an edge of another polygon."""
    invalid: int
    """Polygons that are not valid by themselves."""

    @property
    def passed(self) -> bool:
        return not (self.overused or self.crossings or self.unmatched or self.invalid)

    def require(self) -> None:
        """Raise what `hyseg vectorize` reports when the proof fails.

        Raises:
            CheckFailedError: If anything was found.
        """
        if not self.passed:
            raise CheckFailedError(
                "the polygons are no coverage: "
                f"{self.overused} overused edges, {self.crossings} crossings, "
                f"{self.unmatched} unmatched vertices, {self.invalid} invalid polygons",
                hint="Use a smaller --simplify, and please report this with the raster.",
            )


def check_coverage(coverage: Coverage) -> CoverageCheck:
    """Prove that polygons neither overlap nor miss each other's vertices.

    Inner edges must be used by two polygons in opposite directions, no two edges may cross,
    and no vertex may lie inside another's edge. Together with valid rings this excludes gaps
    and overlaps between neighbours.
    """
    edges = _directed_edges(coverage.polygons)
    _, direction_counts = np.unique(edges, axis=0, return_counts=True)
    backwards = (edges[:, 0] > edges[:, 2]) | (
        (edges[:, 0] == edges[:, 2]) & (edges[:, 1] > edges[:, 3])
    )
    edges[backwards] = edges[backwards][:, [2, 3, 0, 1]]
    different, counts = np.unique(edges, axis=0, return_counts=True)
    lines = shapely.linestrings(different.reshape(-1, 2, 2))
    tree = shapely.STRtree(lines)
    vertices = np.unique(different.reshape(-1, 2), axis=0)
    return CoverageCheck(
        edges=len(different),
        overused=int((direction_counts > 1).sum() + (counts > 2).sum()),
        crossings=tree.query(lines, predicate="crosses").shape[1] // 2,
        unmatched=_points_inside_edges(tree, different, vertices),
        invalid=int((~shapely.is_valid(coverage.polygons)).sum()),
    )


def _directed_edges(polygons: npt.NDArray[Any]) -> Coordinates:
    """Edges (n, 4) as x, y, x, y, exteriors counterclockwise and holes clockwise."""
    rings = shapely.get_rings(shapely.orient_polygons(polygons))
    points, ring = shapely.get_coordinates(rings, return_index=True)
    edges = np.hstack([points[:-1], points[1:]])
    within: Coordinates = edges[ring[:-1] == ring[1:]]
    return within


def _points_inside_edges(tree: shapely.STRtree, edges: Coordinates, vertices: Coordinates) -> int:
    point, edge = tree.query(shapely.points(vertices), predicate="intersects")
    ends = edges[edge].reshape(-1, 2, 2)
    is_end = (ends == vertices[point][:, None, :]).all(axis=2).any(axis=1)
    return int((~is_end).sum())
