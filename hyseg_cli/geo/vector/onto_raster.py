"""Vectors brought into the frame of a raster: labels, references, areas of interest, points.

A projection means something near its place only: the poles are somewhere in UTM, but not there.
So what lies beyond the raster and its surroundings is cut off before anything is projected, in the
CRS of the vectors, where their sides are straight. Long sides get points on the way, since what is
straight there is bent here. Longitudes are the same modulo 360: a raster in degrees may run from 0
to 360 or across the antimeridian, and vectors are brought to the turn that it is on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from hyseg_cli.errors import UnusableFileError, UsageProblemError
from hyseg_cli.geo.crs import horizontal, turn_of, way_between
from hyseg_cli.geo.raster.raster import Raster, to_map

Floats = npt.NDArray[np.float64]
Shapes = npt.NDArray[np.object_]

TURNS = (-2, -1, 0, 1, 2)
"""How far vectors and raster may be apart, in turns around the earth."""
FARTHEST = 1e15
"""No coordinate of any CRS is that large, in whatever unit."""
MARGIN = 0.1
"""Of the raster's size, kept around it."""
SEGMENTS = 64
"""Parts of a line across the surroundings: on a raster of a hundred kilometres a chord of them
misses its arc by less than a decimetre."""


class Kinds(NamedTuple):
    """How many features of a file are not polygons."""

    lines: int
    points: int

    def __str__(self) -> str:
        counted = (("line", self.lines), ("point", self.points))
        return " and ".join(f"{n} {what}{'s' * (n > 1)}" for what, n in counted if n)


@dataclass(frozen=True)
class _Way:
    """From the CRS of some vectors to that of a raster."""

    scene: Raster
    source: pyproj.CRS
    target: pyproj.CRS

    @property
    def is_none(self) -> bool:
        """Whether both are the same."""
        return bool(self.source.equals(self.target, ignore_axis_order=True))

    @cached_property
    def _transformer(self) -> pyproj.Transformer:
        return way_between(self.source, self.target, self.scene.path)

    @cached_property
    def around(self) -> tuple[Floats, Floats]:
        """Points around the raster and its surroundings in the source CRS, those that it has.

        Raises:
            UnusableFileError: If it has none of them.
        """
        share = np.linspace(-MARGIN, 1.0 + MARGIN, SEGMENTS + 1)
        low, high = np.full_like(share, -MARGIN), np.full_like(share, 1.0 + MARGIN)
        cols = np.concatenate([share, high, share[::-1], low]) * self.scene.width
        rows = np.concatenate([low, share, high, share[::-1]]) * self.scene.height
        x, y = to_map(self.scene.transform, cols, rows)
        if self.target.is_geographic:
            right = turn_of(self.target) / 4  # type: ignore[operator] # degrees repeat
            y = np.clip(y, -right, right)
        x, y = self.back(x, y)
        is_there = np.isfinite(x) & np.isfinite(y)
        if not is_there.any():
            raise UnusableFileError(
                f"{self.scene.path}: its coordinates have no place in {self.source.name}",
                hint="Its CRS may be wrong: `hyseg info` shows what it says.",
            )
        return x[is_there], y[is_there]

    def back(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Points of the raster's CRS in that of the vectors, infinite where it does not reach."""
        if self.is_none:
            return x, y
        found = self._transformer.transform(x, y, direction="INVERSE")
        return np.asarray(found[0]), np.asarray(found[1])

    @cached_property
    def middle(self) -> tuple[float, float]:
        """x of the raster's middle: that of the vectors, on the turn of `boxes`, and its own."""
        scene = self.scene
        x, y = to_map(scene.transform, np.array([scene.width / 2]), np.array([scene.height / 2]))
        theirs = float(self.back(x, y)[0][0])
        turn = turn_of(self.source)
        if turn is not None and np.isfinite(theirs):
            left, right = self.span
            theirs += turn * round(((left + right) / 2 - theirs) / turn)
        return theirs, float(x[0])

    @cached_property
    def span(self) -> tuple[float, float]:
        """Least and greatest x around the raster, on one turn or all of it."""
        turn = turn_of(self.source)
        x = self.around[0]
        if turn is None:
            return float(x.min()), float(x.max())
        x = np.unwrap(x, period=turn)
        if abs(x[-1] - x[0]) > turn / 2:  # around a pole
            return -turn / 2, turn / 2
        return float(x.min()), float(x.max())

    @property
    def has_pole(self) -> bool:
        """Whether the surroundings go all around the earth, seen from the CRS of the vectors."""
        turn = turn_of(self.source)
        return turn is not None and self.span == (-turn / 2, turn / 2)

    def boxes(self) -> Iterator[tuple[tuple[float, float, float, float], float]]:
        """The surroundings as rectangles where vectors may lie, and the step in x from each."""
        (left, right), y = self.span, self.around[1]
        bottom, top = float(y.min()), float(y.max())
        turn = turn_of(self.source)
        if self.has_pole and turn is not None:
            bottom, top = (bottom, turn) if y.mean() > 0 else (-turn, top)
        for number in (0,) if turn is None else TURNS:
            step = 0.0 if turn is None else number * turn
            yield (left - step, bottom, right - step, top), step

    def there(self, points: Floats) -> Floats:
        """Points (n, 2) of the vectors in the CRS of the raster, on its turn."""
        x, y = points[:, 0], points[:, 1]
        turns, turn = np.zeros(len(x)), turn_of(self.source)
        if turn is not None:
            turns = (x - self.middle[0]) / turn
        if not self.is_none:
            x, y = map(np.asarray, self._transformer.transform(x, y))
        turn = turn_of(self.target)
        if turn is not None and not self.is_none:
            x = x + turn * np.round(turns - (x - self.middle[1]) / turn)
        return np.column_stack([x, y])


def polygons_onto(shapes: gpd.GeoDataFrame, scene: Raster, name: str) -> gpd.GeoDataFrame:
    """The polygons that touch a raster, in its CRS, in the order they had.

    What is not a polygon is left out; collections are taken apart.

    Args:
        shapes: Polygons with attributes.
        scene: The raster.
        name: What to call the shapes in errors.

    Raises:
        UsageProblemError: If the raster is not georeferenced, or the shapes have no CRS.
        UnusableFileError: If they have no place in the CRS of the raster.
    """
    way = _way_to(shapes, scene, name)
    numbers, polygons = polygons_of(shapes.geometry.to_numpy())
    _require_of_some_crs(polygons, name)
    found_numbers, found = [numbers[:0]], [polygons[:0]]
    for box, step in way.boxes():
        chosen = np.flatnonzero(_meets(shapely.bounds(polygons), box))
        near = polygons[chosen]
        if not way.is_none:
            part, near = _cut(near, box)
            chosen = chosen[part]
        found.append(_shifted(near, step))
        found_numbers.append(numbers[chosen])
    numbers, polygons = np.concatenate(found_numbers), np.concatenate(found)
    order = np.argsort(numbers, kind="stable")
    numbers, polygons = numbers[order], polygons[order]
    if not way.is_none:
        longest = max(np.ptp(way.around[1]), way.span[1] - way.span[0]) / SEGMENTS
        polygons = shapely.transform(shapely.segmentize(polygons, longest), way.there)
    is_placed = np.isfinite(shapely.bounds(polygons)).all(axis=1)
    if not is_placed.all():
        raise UnusableFileError(
            f"{name}: {int((~is_placed).sum())} of its polygons have no place in the CRS of "
            f"{scene.path}",
            hint="Check the CRS of both, for example in QGIS.",
        )
    touching = shapely.intersects(polygons, outline(scene))
    rows = shapes.iloc[numbers[touching]]
    return rows.set_geometry(
        gpd.GeoSeries(
            polygons[touching], index=rows.index, crs=shapes.crs if way.is_none else way.target
        )
    )


def polygons_of(shapes: Shapes) -> tuple[npt.NDArray[np.int64], Shapes]:
    """The polygons in some shapes and the number of the shape that each is from, in order."""
    numbers = np.flatnonzero(~(shapely.is_missing(shapes) | shapely.is_empty(shapes)))
    parts = shapely.force_2d(shapes[numbers])
    while (shapely.get_type_id(parts) == 7).any():
        is_collection = shapely.get_type_id(parts) == 7
        inner, of = shapely.get_parts(parts[is_collection], return_index=True)
        numbers = np.concatenate([numbers[~is_collection], numbers[is_collection][of]])
        parts = np.concatenate([parts[~is_collection], inner])
        order = np.argsort(numbers, kind="stable")
        numbers, parts = numbers[order], parts[order]
    chosen = np.isin(shapely.get_type_id(parts), (3, 6)) & ~shapely.is_empty(parts)
    return numbers[chosen], parts[chosen]


def points_onto(x: Floats, y: Floats, crs: pyproj.CRS, scene: Raster) -> tuple[Floats, Floats]:
    """Points in the CRS of a raster, on its turn; infinite where they have no place in it."""
    way = _Way(scene, horizontal(crs), horizontal(scene.crs))
    turn = turn_of(way.source)
    if turn is not None:
        x = x + turn * np.round((way.middle[0] - x) / turn)
    found = way.there(np.column_stack([x, y]))
    return found[:, 0], found[:, 1]


def strays_of(shapes: gpd.GeoDataFrame) -> Kinds:
    """What of some shapes is neither a polygon nor a collection of them."""
    kinds = shapely.get_type_id(shapes.geometry.to_numpy())
    return Kinds(int(np.isin(kinds, (1, 2, 5)).sum()), int(np.isin(kinds, (0, 4)).sum()))


def outline(scene: Raster) -> shapely.Polygon:
    """The outline of a raster in its CRS."""
    t, width, height = scene.transform, scene.width, scene.height
    return shapely.Polygon([t @ (0, 0), t @ (width, 0), t @ (width, height), t @ (0, height)])


def _way_to(shapes: gpd.GeoDataFrame, scene: Raster, name: str) -> _Way:
    if scene.crs is None or not scene.is_georeferenced:
        raise UsageProblemError(
            f"{scene.path} is not georeferenced, so polygons cannot be laid over it",
            hint="Georeference it first, or give rasters of its size.",
        )
    if shapes.crs is None:
        raise UsageProblemError(
            f"{name} has no CRS", hint="Assign one, or write a GeoPackage, which keeps it."
        )
    way = _Way(scene, horizontal(shapes.crs), horizontal(scene.crs))
    if not way.is_none:
        way_between(way.source, way.target, f"{name} and {scene.path}")
    return way


def _meets(bounds: Floats, box: tuple[float, float, float, float]) -> npt.NDArray[np.bool_]:
    left, bottom, right, top = bounds.T
    found: npt.NDArray[np.bool_] = (
        (left <= box[2]) & (right >= box[0]) & (bottom <= box[3]) & (top >= box[1])
    )
    return found


def _bounds_of_rings(polygons: Shapes) -> Floats:
    """Left, bottom, right and top of all rings: a hole of a damaged polygon may lie anywhere."""
    return np.asarray(shapely.bounds(shapely.boundary(polygons)))


def _require_of_some_crs(polygons: Shapes, name: str) -> None:
    """Refuse coordinates with which geometry cannot be computed."""
    is_far = (np.abs(_bounds_of_rings(polygons)) > FARTHEST).any(axis=1)
    if is_far.any():
        raise UnusableFileError(
            f"{name}: {int(is_far.sum())} of its polygons have coordinates that no CRS has",
            hint="The file is damaged; look at it in QGIS.",
        )


def _cut(
    polygons: Shapes, box: tuple[float, float, float, float]
) -> tuple[npt.NDArray[np.int64], Shapes]:
    """What of some polygons lies in a box, and which polygon each part is of.

    Polygons that cross themselves are mended: GEOS loses parts of them where it adds vertices.
    """
    left, bottom, right, top = _bounds_of_rings(polygons).T
    sticks_out = (left < box[0]) | (right > box[2]) | (bottom < box[1]) | (top > box[3])
    parts = polygons.copy()
    crosses_itself = ~shapely.is_valid(parts)
    parts[crosses_itself] = shapely.make_valid(parts[crosses_itself])
    parts[sticks_out] = shapely.intersection(parts[sticks_out], shapely.box(*box))
    return polygons_of(parts)


def _shifted(polygons: Shapes, step: float) -> Shapes:
    if step == 0.0 or len(polygons) == 0:
        return polygons
    return np.asarray(shapely.transform(polygons, lambda points: points + np.array([step, 0.0])))
