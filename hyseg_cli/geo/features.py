"""Polygons with their attributes, as Arrow record batches ready to be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyproj

from hyseg_cli.geo.arcs.polygons import PolygonBatch
from hyseg_cli.geo.arcs.regions import Regions
from hyseg_cli.geo.arcs.wkb import to_wkb
from hyseg_cli.geo.measure import GroundMeasure
from hyseg_cli.geo.scene import Scene, to_map

GEOMETRY = "geometry"
BBOX = pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])
MAX_BATCH_BYTES = 1 << 28
"""Geometry of one record batch; far below the 2 GB that 32-bit offsets can address."""

Points = npt.NDArray[np.float64]


@dataclass
class Summary:
    """What has been written; mutable."""

    polygons: int = 0
    vertices: int = 0
    """Points of all rings; the repeated first one is not counted."""
    pixels_by_class: dict[int, int] = field(default_factory=dict)
    area_m2_by_class: dict[int, float] = field(default_factory=dict)


class FeatureBuilder:
    """Turns polygons in pixels into records in map coordinates.

    Every point is transformed by itself, so points shared by neighbours stay bit-identical.

    Attributes: class_id, class_name, area_m2 (of the pixels, on the ground), perim_m (of the
    border as written), n_px. Without a CRS, lengths are in units of the raster.

    Args:
        scene: The class raster.
        regions: Its regions.
        names: Class names by id; a class without one gets its number.
        dst_crs: CRS to write in; None for the raster's own.
        decimals: Round coordinates to so many; None to keep them.
        bounds: Add a column `bbox` with the bounding box of each polygon.
        fixed_point: Write areas and lengths with three decimals, for formats that need a width.
    """

    def __init__(
        self,
        scene: Scene,
        regions: Regions,
        names: Mapping[int, str],
        *,
        dst_crs: pyproj.CRS | None = None,
        decimals: int | None = None,
        bounds: bool = False,
        fixed_point: bool = False,
    ) -> None:
        self._transform = scene.transform
        self._measure = GroundMeasure(scene)
        self._regions = regions
        self._names = names
        self._decimals = decimals
        self._bounds = bounds
        self._reproject: pyproj.Transformer | None = None
        if dst_crs is not None and scene.crs is not None:
            self._reproject = pyproj.Transformer.from_crs(
                pyproj.CRS.from_wkt(scene.crs.to_wkt()), dst_crs, always_xy=True
            )
        determinant = self._transform.a * self._transform.e - self._transform.b * self._transform.d
        # Rings run counterclockwise on a north-up map; a south-up one mirrors them.
        self._mirrored = determinant > 0
        self.summary = Summary()
        measure = pa.decimal128(18, 3) if fixed_point else pa.float64()
        self.schema = pa.schema(
            [
                (GEOMETRY, pa.binary()),
                ("class_id", pa.int32()),
                ("class_name", pa.string()),
                ("area_m2", measure),
                ("perim_m", measure),
                ("n_px", pa.int64()),
                *([("bbox", BBOX)] if bounds else []),
            ]
        )

    def build(self, batch: PolygonBatch) -> Iterator[pa.RecordBatch]:
        """The records of some polygons."""
        points = np.column_stack(to_map(self._transform, batch.points[:, 0], batch.points[:, 1]))
        perimeters = self._perimeters(points, batch)
        if self._reproject is not None:
            points = np.column_stack(self._reproject.transform(points[:, 0], points[:, 1]))
        if self._decimals is not None:
            points = np.round(points, self._decimals)
        geometry, offsets = to_wkb(
            np.ascontiguousarray(points), batch.ring_offsets, batch.polygon_offsets,
            reverse=self._mirrored,
        )  # fmt: skip
        self._count(batch)
        boxes = _bounding_boxes(points, batch) if self._bounds else None
        for part in _parts(offsets):
            yield self._record(batch, perimeters, boxes, geometry, offsets, part)

    def _record(
        self,
        batch: PolygonBatch,
        perimeters: Points,
        boxes: Points | None,
        geometry: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.int64],
        part: slice,
    ) -> pa.RecordBatch:
        regions = batch.regions[part]
        class_ids = self._regions.class_ids[regions]
        begin, end = offsets[part.start], offsets[part.stop]
        bounds = (offsets[part.start : part.stop + 1] - begin).astype(np.int32)
        binary = pa.Array.from_buffers(
            pa.binary(),
            len(regions),
            [None, pa.py_buffer(bounds), pa.py_buffer(geometry[begin:end])],
        )
        ids, index = np.unique(class_ids, return_inverse=True)
        names = pa.array([self._names.get(int(i), str(i)) for i in ids], pa.string())
        columns = [
            binary,
            pa.array(class_ids, pa.int32()),
            names.take(pa.array(index)),
            self._measured(self._regions.areas_m2[regions]),
            self._measured(perimeters[part]),
            pa.array(self._regions.pixels[regions]),
        ]
        if boxes is not None:
            sides = [pa.array(side[part]) for side in boxes.T]
            columns.append(pa.StructArray.from_arrays(sides, fields=list(BBOX)))
        return pa.record_batch(columns, schema=self.schema)

    def _measured(self, values: Points) -> pa.Array:
        target = self.schema.field("area_m2").type
        if pa.types.is_decimal(target):
            values = np.round(values, 3)
        return pa.array(values).cast(target)

    def _perimeters(self, points: Points, batch: PolygonBatch) -> Points:
        """Length of all rings of each polygon, in metres."""
        following = np.arange(1, len(points) + 1)
        following[batch.ring_offsets[1:] - 1] = batch.ring_offsets[:-1]
        lengths = self._measure.lengths_m(points, points[following])
        first_points = batch.ring_offsets[batch.polygon_offsets[:-1]]
        perimeters: Points = np.add.reduceat(lengths, first_points)
        return perimeters

    def _count(self, batch: PolygonBatch) -> None:
        summary, regions = self.summary, self._regions
        summary.polygons += len(batch)
        summary.vertices += len(batch.points)
        for class_id in np.unique(regions.class_ids[batch.regions]).tolist():
            chosen = batch.regions[regions.class_ids[batch.regions] == class_id]
            pixels, area = regions.pixels[chosen].sum(), regions.areas_m2[chosen].sum()
            known = summary.pixels_by_class.get(class_id, 0)
            summary.pixels_by_class[class_id] = known + int(pixels)
            known_area = summary.area_m2_by_class.get(class_id, 0.0)
            summary.area_m2_by_class[class_id] = known_area + float(area)


def _bounding_boxes(points: Points, batch: PolygonBatch) -> Points:
    """Least and greatest x and y of each polygon: (n, 4) as xmin, ymin, xmax, ymax."""
    first_points = batch.ring_offsets[batch.polygon_offsets[:-1]]
    return np.hstack(
        [np.minimum.reduceat(points, first_points), np.maximum.reduceat(points, first_points)]
    )


def _parts(offsets: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Consecutive polygons of at most `MAX_BATCH_BYTES`, or one if it is larger alone."""
    start, count = 0, len(offsets) - 1
    while start < count:
        limit = offsets[start] + MAX_BATCH_BYTES
        stop = int(np.searchsorted(offsets, limit, side="right")) - 1
        stop = min(max(stop, start + 1), count)
        yield slice(start, stop)
        start = stop
