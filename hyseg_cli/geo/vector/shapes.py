"""Polygons of a batch as well-known binary in map coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.coverage.runs import Int32s, Int64s
from hyseg_cli.geo.coverage.trace import PolygonBatch
from hyseg_cli.geo.coverage.wkb import Bytes, to_wkb
from hyseg_cli.geo.raster.ground import GroundMeasure
from hyseg_cli.geo.raster.raster import Scene, to_map

if TYPE_CHECKING:
    import pyproj

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shapes:
    """Some geometries, each with what is measured of it."""

    features: Int32s
    """Number of the feature that each is the geometry of."""
    geometry: Bytes
    """WKB of all, one behind the other."""
    offsets: Int64s
    """Where each begins, then where the last one ends."""
    perimeters_m: Floats
    """Length of all rings of each."""
    bounds: Floats
    """(n, 4): xmin, ymin, xmax, ymax of each."""

    def __len__(self) -> int:
        return len(self.features)


class ShapeBuilder:
    """Turns polygons in pixels into shapes in map coordinates.

    Every point is transformed by itself, so points shared by neighbours stay bit-identical.

    Args:
        scene: The class raster.
        dst_crs: CRS to transform to; None to stay in the raster's own.
        decimals: Round coordinates to so many; None to keep them.
    """

    def __init__(self, scene: Scene, dst_crs: pyproj.CRS | None, decimals: int | None) -> None:
        self._transform = scene.transform
        self._measure = GroundMeasure(scene)
        self._decimals = decimals
        self._reproject: pyproj.Transformer | None = None
        if dst_crs is not None and scene.crs is not None:
            self._reproject = _transformer(scene.path, scene.crs, dst_crs)
        determinant = self._transform.a * self._transform.e - self._transform.b * self._transform.d
        # Rings run counterclockwise on a north-up map; a south-up one mirrors them.
        self._mirrored = determinant > 0
        self.vertices = 0
        """Points of all rings so far; the repeated first one is not counted."""

    def build(self, batch: PolygonBatch) -> Shapes:
        """The shapes of some polygons; the features are their regions."""
        points = np.column_stack(to_map(self._transform, batch.points[:, 0], batch.points[:, 1]))
        perimeters = self._perimeters(points, batch)
        if self._reproject is not None:
            points = np.column_stack(self._reproject.transform(points[:, 0], points[:, 1]))
            if not np.isfinite(points).all():
                raise HysegError(
                    "some points of the map have no place in the CRS asked for",
                    hint="Choose a --dst-crs that covers the whole map.",
                )
        if self._decimals is not None:
            points = np.round(points, self._decimals)
        geometry, offsets = to_wkb(
            np.ascontiguousarray(points), batch.ring_offsets, batch.polygon_offsets,
            reverse=self._mirrored,
        )  # fmt: skip
        self.vertices += len(points)
        first_points = batch.ring_offsets[batch.polygon_offsets[:-1]]
        least = np.minimum.reduceat(points, first_points)
        greatest = np.maximum.reduceat(points, first_points)
        return Shapes(batch.regions, geometry, offsets, perimeters, np.hstack([least, greatest]))

    def _perimeters(self, points: Floats, batch: PolygonBatch) -> Floats:
        """Length of all rings of each polygon, in metres, before any reprojection."""
        following = np.arange(1, len(points) + 1)
        following[batch.ring_offsets[1:] - 1] = batch.ring_offsets[:-1]
        lengths = self._measure.lengths_m(points, points[following])
        first_points = batch.ring_offsets[batch.polygon_offsets[:-1]]
        perimeters: Floats = np.add.reduceat(lengths, first_points)
        return perimeters


def _transformer(path: str, crs: CRS, dst_crs: pyproj.CRS) -> pyproj.Transformer:
    import pyproj  # takes long to load

    try:
        source = pyproj.CRS.from_wkt(crs.to_wkt())
        return pyproj.Transformer.from_crs(source, dst_crs, always_xy=True)
    except pyproj.exceptions.ProjError as error:
        raise UsageProblemError(
            f"{path} cannot be transformed to {dst_crs.name} ({error})",
            hint="Its CRS may be a local one: write it as it is, as .gpkg.",
        ) from error
