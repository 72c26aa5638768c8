"""Shapes with their attributes, as Arrow record batches ready to be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.coverage.regions import Regions
from hyseg_cli.geo.coverage.runs import Int32s, Int64s
from hyseg_cli.geo.vector.confidence import RegionConfidence
from hyseg_cli.geo.vector.formats import GEOMETRY
from hyseg_cli.geo.vector.groups import Grouping
from hyseg_cli.geo.vector.shapes import Floats, Shapes

BBOX = pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])
MAX_BATCH_BYTES = 1 << 28
"""Geometry of one record batch; far below the 2 GB that 32-bit offsets can address."""
MOST_GEOMETRY_BYTES = 10**9
"""Of one geometry: a GeoPackage holds no more."""


@dataclass(frozen=True)
class Attributes:
    """What is known of each feature, by its number; entry 0 is none."""

    class_ids: Int32s
    pixels: Int64s
    areas_m2: Floats
    """Area of the pixels on the ground, before any smoothing."""
    uncut: Int32s | None = None
    """Number of the region before it was cut at tile lines."""
    confidence: RegionConfidence | None = None


def attributes_of(
    regions: Regions, grouping: Grouping, confidence: RegionConfidence | None = None
) -> Attributes:
    """Attributes of features made of regions."""
    features, size = grouping.feature_of_region, len(grouping.members)
    class_ids = np.zeros(size, np.int32)
    class_ids[features] = regions.class_ids
    pixels = np.zeros(size, np.int64)
    np.add.at(pixels, features, regions.pixels)
    areas = np.zeros(size)
    np.add.at(areas, features, regions.areas_m2)
    return Attributes(class_ids, pixels, areas, regions.uncut if regions.tile else None, confidence)


@dataclass
class Summary:
    """What has been written; mutable."""

    polygons: int = 0
    """Features; multipolygons count once."""
    vertices: int = 0
    """Points of all rings; the repeated first one is not counted."""
    pixels_by_class: dict[int, int] = field(default_factory=dict)
    area_m2_by_class: dict[int, float] = field(default_factory=dict)


class RecordBuilder:
    """Joins shapes with their attributes.

    Columns: geometry, class_id, class_name, area_m2 (of the pixels, on the ground), perim_m (of
    the border as written), n_px; region_id where regions were cut, conf_mean and conf_p10 where
    the confidence is known. Without a CRS, lengths are in units of the raster.

    Args:
        attributes: By feature number.
        names: Class names by id; a class without one gets its number.
        bounds: Add a column `bbox` with the bounding box of each shape.
        fixed_point: Write measures with so many decimals as fit, for formats that need a width.
    """

    def __init__(
        self,
        attributes: Attributes,
        names: Mapping[int, str],
        *,
        bounds: bool = False,
        fixed_point: bool = False,
    ) -> None:
        self._attributes = attributes
        self._names = names
        self._bounds = bounds
        self.summary = Summary()
        measure = pa.decimal128(18, 3) if fixed_point else pa.float64()
        share = pa.decimal128(6, 4) if fixed_point else pa.float64()
        columns = [
            (GEOMETRY, pa.binary()),
            ("class_id", pa.int32()),
            ("class_name", pa.string()),
            ("area_m2", measure),
            ("perim_m", measure),
            ("n_px", pa.int64()),
        ]
        if attributes.uncut is not None:
            columns.append(("region_id", pa.int32()))
        if attributes.confidence is not None:
            columns += [("conf_mean", share), ("conf_p10", share)]
        self.schema = pa.schema([*columns, *([("bbox", BBOX)] if bounds else [])])

    def build(self, shapes: Shapes) -> Iterator[pa.RecordBatch]:
        """The records of some shapes."""
        self._count(shapes.features)
        for part in _parts(shapes.offsets):
            yield self._record(shapes, part)

    def _record(self, shapes: Shapes, part: slice) -> pa.RecordBatch:
        features, known = shapes.features[part], self._attributes
        ids, index = np.unique(known.class_ids[features], return_inverse=True)
        names = [self._names.get(i, str(i)) for i in ids.tolist()]
        columns = {
            GEOMETRY: _binary(shapes, part),
            "class_id": _column(known.class_ids[features]),
            "class_name": _texts(names, index),
            "area_m2": self._measured("area_m2", known.areas_m2[features]),
            "perim_m": self._measured("perim_m", shapes.perimeters_m[part]),
            "n_px": _column(known.pixels[features]),
        }
        if known.uncut is not None:
            columns["region_id"] = _column(known.uncut[features])
        if known.confidence is not None:
            columns["conf_mean"] = self._measured("conf_mean", known.confidence.mean[features])
            columns["conf_p10"] = self._measured("conf_p10", known.confidence.p10[features])
        if self._bounds:
            sides = [_column(side) for side in shapes.bounds[part].T]
            columns["bbox"] = pa.StructArray.from_arrays(sides, fields=list(BBOX))
        return pa.record_batch(columns, schema=self.schema)

    def _measured(self, column: str, values: Floats) -> pa.Array:
        target = self.schema.field(column).type
        if pa.types.is_decimal(target):
            return _column(np.round(values, target.scale)).cast(target)
        return _column(values)

    def _count(self, features: npt.NDArray[np.int32]) -> None:
        summary, known = self.summary, self._attributes
        summary.polygons += len(features)
        for class_id in np.unique(known.class_ids[features]).tolist():
            chosen = features[known.class_ids[features] == class_id]
            pixels, area = known.pixels[chosen].sum(), known.areas_m2[chosen].sum()
            before = summary.pixels_by_class.get(class_id, 0)
            summary.pixels_by_class[class_id] = before + int(pixels)
            area_before = summary.area_m2_by_class.get(class_id, 0.0)
            summary.area_m2_by_class[class_id] = area_before + float(area)


# `pa.array` would make the columns below, but loads pandas to ask whether what it gets is one of
# its own; that takes longer than tracing ten thousand polygons.


def _column(values: npt.NDArray[Any]) -> pa.Array:
    """Numbers as Arrow has them, NaN as null."""
    values = np.ascontiguousarray(values)
    validity = None
    if np.issubdtype(values.dtype, np.floating) and np.isnan(values).any():
        validity = pa.py_buffer(np.packbits(~np.isnan(values), bitorder="little"))
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(values)])


def _texts(texts: Sequence[str], index: npt.NDArray[np.intp]) -> pa.Array:
    """One of the texts for each entry of `index`."""
    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(index) + 1, np.int32)
    np.cumsum(np.array([len(text) for text in encoded])[index], out=offsets[1:])
    data = b"".join([encoded[i] for i in index.tolist()])
    return pa.Array.from_buffers(
        pa.string(), len(index), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )


def _binary(shapes: Shapes, part: slice) -> pa.Array:
    begin, end = shapes.offsets[part.start], shapes.offsets[part.stop]
    if end - begin > MOST_GEOMETRY_BYTES:
        raise HysegError(
            f"one geometry takes {(end - begin) / 1e9:.1f} GB, more than a file can hold",
            hint="Cut large regions with --split-tiles 1024, without --dissolve.",
        )
    offsets = (shapes.offsets[part.start : part.stop + 1] - begin).astype(np.int32)
    data = pa.py_buffer(shapes.geometry[begin:end])
    return pa.Array.from_buffers(
        pa.binary(), part.stop - part.start, [None, pa.py_buffer(offsets), data]
    )


def _parts(offsets: Int64s) -> Iterator[slice]:
    """Consecutive shapes of at most `MAX_BATCH_BYTES`, or one if it is larger alone."""
    start, count = 0, len(offsets) - 1
    while start < count:
        limit = offsets[start] + MAX_BATCH_BYTES
        stop = int(np.searchsorted(offsets, limit, side="right")) - 1
        stop = min(max(stop, start + 1), count)
        yield slice(start, stop)
        start = stop
