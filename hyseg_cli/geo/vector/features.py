"""Shapes with their attributes, as Arrow record batches ready to be written.

Polygons become well-known binary in map coordinates. A feature is one region, all regions of a
class, or regions that touch at corners.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rasterio.crs import CRS

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.coverage.regions import Regions
from hyseg_cli.geo.coverage.runs import Int32s, Int64s
from hyseg_cli.geo.coverage.trace import PolygonBatch
from hyseg_cli.geo.coverage.wkb import Bytes, to_wkb
from hyseg_cli.geo.crs import horizontal
from hyseg_cli.geo.raster.ground import GroundMeasure
from hyseg_cli.geo.raster.raster import Raster, to_map
from hyseg_cli.geo.vector.confidence import RegionConfidence
from hyseg_cli.geo.vector.formats import GEOMETRY

if TYPE_CHECKING:
    import pyproj
from hyseg_cli.geo.compiled import kernel
from hyseg_cli.geo.coverage.regions import number_sets, unite_all
from hyseg_cli.geo.coverage.runs import ClassRows, Labeller, strips
from hyseg_cli.geo.coverage.wkb import MULTIPOLYGON, collection_header

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shapes:
    """Some geometries with their measures."""

    features: Int32s
    """Number of the feature that each is the geometry of."""
    geometry: Bytes
    """WKB of all geometries, one after the other."""
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
        decimals: Round coordinates to this many decimals; None to keep them.
    """

    def __init__(self, scene: Raster, dst_crs: pyproj.CRS | None, decimals: int | None) -> None:
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
        first_points = batch.ring_offsets[batch.polygon_offsets[:-1]]
        if self._reproject is not None:
            points = np.column_stack(self._reproject.transform(points[:, 0], points[:, 1]))
            if not np.isfinite(points).all():
                raise HysegError(
                    "some points of the map cannot be transformed to the requested CRS",
                    hint="Choose a `dst_crs` that covers the whole map.",
                )
        if self._decimals is not None:  # formats in longitude and latitude
            points = np.round(_on_one_turn(points, first_points), self._decimals)
        geometry, offsets = to_wkb(
            np.ascontiguousarray(points), batch.ring_offsets, batch.polygon_offsets,
            reverse=self._mirrored,
        )  # fmt: skip
        self.vertices += len(points)
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


def _on_one_turn(points: Floats, first_points: Int64s) -> Floats:
    """Longitudes and latitudes (n, 2) with each polygon in one piece, most of it in -180 to 180.

    Raises:
        HysegError: If they are not longitudes and latitudes.
    """
    if not (np.abs(points[:, 1]) <= 90.0 + 1e-9).all():
        raise HysegError(
            f"the polygons reach latitudes of {np.abs(points[:, 1]).max():.6g} degrees",
            hint="Check the CRS of the map: `hyseg info` shows it.",
        )
    lon, sizes = points[:, 0], np.diff(np.append(first_points, len(points)))
    lon = lon - 360.0 * np.round((lon - np.repeat(lon[first_points], sizes)) / 360.0)
    middle = np.minimum.reduceat(lon, first_points) + np.maximum.reduceat(lon, first_points)
    # Just off 180 on both sides, so that what lies along it is not moved.
    turns = np.round(middle / 2.0 / 360.0 * (1.0 - 1e-12))
    return np.column_stack([lon - 360.0 * np.repeat(turns, sizes), points[:, 1]])


def _transformer(path: str, crs: CRS, dst_crs: pyproj.CRS) -> pyproj.Transformer:
    import pyproj  # takes long to load

    try:
        source = horizontal(crs)
        return pyproj.Transformer.from_crs(source, dst_crs, always_xy=True)
    except pyproj.exceptions.ProjError as error:
        raise UsageProblemError(
            f"{path} cannot be transformed to {dst_crs.name} ({error})",
            hint="Its CRS may be a local one: write it as it is, as .gpkg.",
        ) from error


@dataclass(frozen=True)
class Grouping:
    """Which feature each region belongs to."""

    feature_of_region: Int32s
    """By region number; 0 for region 0."""
    members: Int64s
    """Regions of each feature."""


def one_of_each(regions: Regions) -> Grouping:
    """A feature for each region."""
    size = len(regions) + 1
    return Grouping(np.arange(size, dtype=np.int32), np.ones(size, np.int64))


def by_class(regions: Regions) -> Grouping:
    """A feature for each class."""
    _, index = np.unique(regions.class_ids[1:], return_inverse=True)
    return _grouping(np.concatenate([[0], index + 1]).astype(np.int32))


def by_corners(source: ClassRows, regions: Regions) -> Grouping:
    """A feature for regions of one class that touch, if only at corners; reads the raster."""
    parents = np.arange(len(regions) + 1, dtype=np.int32)
    labeller = Labeller(source.width, source.no_class, regions.tile)
    for row, count in strips(source.height):
        runs = labeller.label(source.read(row, count))
        pairs = np.empty((2 * len(runs.starts), 2), np.int32)
        found = find_corner_pairs(
            runs.offsets, runs.starts, runs.stops, runs.classes, runs.labels,
            regions.number_of_label, pairs,
        )  # fmt: skip
        unite_all(parents, pairs[:found])
    features = np.zeros(len(parents), np.int32)
    number_sets(parents, features)
    return _grouping(features)


def _grouping(feature_of_region: Int32s) -> Grouping:
    return Grouping(feature_of_region, np.bincount(feature_of_region))


@kernel
def find_corner_pairs(
    offsets: Int64s,
    starts: Int32s,
    stops: Int32s,
    classes: Int32s,
    labels: Int32s,
    number_of_label: Int32s,
    pairs: Int32s,
) -> int:
    """Fill `pairs` with regions of one class that meet at a corner; returns how many."""
    found = 0
    for row in range(1, len(offsets) - 1):
        above, end = offsets[row - 1], offsets[row]
        for run in range(end, offsets[row + 1]):
            while above < end and stops[above] < starts[run]:
                above += 1
            touching = above
            while touching < end and starts[touching] <= stops[run]:
                is_corner = stops[touching] == starts[run] or starts[touching] == stops[run]
                if is_corner and labels[run] > 0 and labels[touching] > 0:
                    here, there = number_of_label[labels[run]], number_of_label[labels[touching]]
                    if classes[run] == classes[touching] and here != there:
                        pairs[found, 0], pairs[found, 1] = here, there
                        found += 1
                touching += 1
    return found


@dataclass
class _Unfinished:
    """A feature with members still missing."""

    missing: int
    polygons: list[bytes] = field(default_factory=list)
    perimeter_m: float = 0.0
    bounds: list[Floats] = field(default_factory=list)


class Gatherer:
    """Collects the polygons of each feature until all have arrived; mutable."""

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping
        self._unfinished: dict[int, _Unfinished] = {}

    def add(self, shapes: Shapes) -> Shapes:
        """Take the shapes of some regions; returns multipolygons of the features now complete."""
        finished: dict[int, _Unfinished] = {}
        features = self._grouping.feature_of_region[shapes.features].tolist()
        for i, feature in enumerate(features):
            known = self._unfinished.get(feature)
            if known is None:
                known = _Unfinished(int(self._grouping.members[feature]))
                self._unfinished[feature] = known
            begin, end = shapes.offsets[i], shapes.offsets[i + 1]
            known.polygons.append(shapes.geometry[begin:end].tobytes())
            known.perimeter_m += shapes.perimeters_m[i]
            known.bounds.append(shapes.bounds[i])
            known.missing -= 1
            if known.missing == 0:
                finished[feature] = self._unfinished.pop(feature)
        return _multipolygons(finished)


def _multipolygons(finished: dict[int, _Unfinished]) -> Shapes:
    parts, sizes = [], [0]
    for feature in finished.values():
        header = collection_header(MULTIPOLYGON, len(feature.polygons))
        parts += [header, *feature.polygons]
        sizes.append(len(header) + sum(map(len, feature.polygons)))
    bounds = [np.vstack(feature.bounds) for feature in finished.values()]
    return Shapes(
        np.fromiter(finished, np.int32),
        np.frombuffer(b"".join(parts), np.uint8),
        np.cumsum(sizes).astype(np.int64),
        np.array([feature.perimeter_m for feature in finished.values()]),
        np.array([[*b[:, :2].min(axis=0), *b[:, 2:].max(axis=0)] for b in bounds]).reshape(-1, 4),
    )


BBOX = pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])
MAX_BATCH_BYTES = 1 << 28
"""Geometry of one record batch; far below the 2 GB that 32-bit offsets can address."""
MOST_GEOMETRY_BYTES = 10**9
"""Of one geometry: a GeoPackage holds no more."""


@dataclass(frozen=True)
class Attributes:
    """The attributes of each feature, by its number; entry 0 is unused."""

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
    """Counts of what has been written; mutable."""

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
        fixed_point: Write measures with as many decimals as fit, for formats that need a width.
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


# `pa.array` would make the columns below, but it loads pandas to check whether its argument is a
# pandas object; that takes longer than tracing ten thousand polygons.


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
            hint="Cut large regions with `split_tiles` 1024, without `dissolve`.",
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
