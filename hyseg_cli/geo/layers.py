"""Vector files: each format with its driver, its options and its limits."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pyogrio.errors
import pyproj

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.features import BBOX, GEOMETRY


@dataclass(frozen=True)
class VectorFormat:
    """How one kind of vector file is written."""

    driver: str
    options: dict[str, str] = field(default_factory=dict)
    crs: str | None = None
    """CRS the format prescribes."""
    decimals: int | None = None
    """Decimals the format keeps of coordinates."""
    polygon_bytes: float = 160
    """About what a polygon takes beside its points, with its attributes and its index entry."""
    point_bytes: float = 16
    """About what a point takes."""


FORMATS = {
    # What is new in later versions is not used, and older programs warn of them.
    ".gpkg": VectorFormat("GPKG", {"VERSION": "1.2"}),
    ".fgb": VectorFormat("FlatGeobuf"),
    # Compressed.
    ".parquet": VectorFormat("Parquet", polygon_bytes=20, point_bytes=3),
    # RFC 7946: longitude and latitude, right-hand rings; seven decimals are a centimetre.
    ".geojson": VectorFormat(
        "GeoJSON", {"RFC7946": "YES", "COORDINATE_PRECISION": "7"}, "EPSG:4326", 7, 200, 27
    ),
    ".geojsonl": VectorFormat("GeoJSONSeq", {"COORDINATE_PRECISION": "7"}, "EPSG:4326", 7, 200, 27),
    ".shp": VectorFormat("ESRI Shapefile", {"ENCODING": "UTF-8"}),
}
"""By suffix of the file name."""

SHAPEFILE_LIMIT = 2**31 - 1
"""Bytes of one file of a Shapefile that all readers can address."""
SHAPE_BYTES = 64
"""Bytes of a polygon beside its points: index, header, bounding box, one ring."""
POINT_BYTES = 16
TABLE_ROW_BYTES = 180
"""Attributes of one polygon: two numbers of 18 places, a name of 80, the rest below that."""

SHAPEFILE_SUFFIXES = frozenset(
    {".shp", ".shx", ".dbf", ".prj", ".cpg", ".qix", ".qpj", ".sbn", ".sbx", ".xml"}
)
"""Of the files that make up one Shapefile."""

WRITING_ERRORS = (OSError, pyogrio.errors.DataSourceError, pyogrio.errors.FeatureError)


def files_of_layer(out: Path, *, numbered: bool = False) -> list[Path]:
    """Files that stand where a layer would be written, side-cars and journals among them.

    Args:
        out: The layer's file.
        numbered: The layer is written as several files, `NAME_1.shp` and so on.
    """
    if out.suffix == ".shp":
        stem = re.compile(re.escape(out.stem) + (r"_\d+" if numbered else ""))
        return sorted(
            path
            for path in out.parent.iterdir()
            if path.suffix in SHAPEFILE_SUFFIXES
            and stem.fullmatch(path.name.removesuffix(".xml").rpartition(".")[0] or path.stem)
        )
    names = [out.name, *(f"{out.name}-{journal}" for journal in ("wal", "shm", "journal"))]
    return [path for name in names if (path := out.with_name(name)).exists()]


def write_layer(
    records: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    out: Path,
    *,
    layer: str,
    geometry_type: str,
    crs: pyproj.CRS | None,
) -> None:
    """Write records to a file of the format that its suffix names.

    Args:
        records: The features, geometry as WKB in the column `geometry`.
        schema: Their columns.
        out: The file; nothing else may stand there.
        layer: Name of the layer, where a format has layers.
        geometry_type: Polygon or MultiPolygon.
        crs: CRS of the geometry.

    Raises:
        HysegError: If the file cannot be written.
    """
    form = FORMATS[out.suffix.lower()]
    records = _Watched(records)
    try:
        if form.driver == "Parquet":
            _write_parquet(records, schema, out, geometry_type, crs)
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided")  # the map has none either
            pyogrio.write_arrow(
                pa.RecordBatchReader.from_batches(schema, records),
                out,
                layer=layer if form.driver == "GPKG" else out.stem,
                driver=form.driver,
                geometry_name=GEOMETRY,
                geometry_type=geometry_type,
                crs=None if crs is None else crs.to_wkt(),
                **form.options,
            )
    except Exception as error:
        if records.failure is not None:
            raise records.failure from None
        if not isinstance(error, WRITING_ERRORS):
            raise
        raise HysegError(
            f"{out.name}: the layer cannot be written ({' '.join(str(error).split())})",
            hint="Check the folder's permissions and the free space.",
        ) from error


class _Watched(Iterator[pa.RecordBatch]):
    """Records as they are; what stops them is kept, since Arrow streams do not pass it on."""

    def __init__(self, records: Iterator[pa.RecordBatch]) -> None:
        self._records = records
        self.failure: BaseException | None = None

    def __next__(self) -> pa.RecordBatch:
        try:
            return next(self._records)
        except StopIteration:
            raise
        except BaseException as error:
            self.failure = error
            raise


def shapefile_bytes(polygons: int, points: int) -> int:
    """Size of the largest file of a Shapefile, its shapes or its table."""
    return max(polygons * SHAPE_BYTES + points * POINT_BYTES, polygons * TABLE_ROW_BYTES)


def shapefile_parts(records: Iterator[pa.RecordBatch]) -> Iterator[Iterator[pa.RecordBatch]]:
    """The records of one Shapefile after the other, each below the limit of the format.

    Each part must be used up before the next is asked for.
    """
    waiting = next(records, None)

    def part() -> Iterator[pa.RecordBatch]:
        nonlocal waiting
        size = 0
        while waiting is not None:
            grown = size + max(waiting.nbytes, waiting.num_rows * TABLE_ROW_BYTES)
            if size and grown > SHAPEFILE_LIMIT:
                return
            size = grown
            yield waiting
            waiting = next(records, None)

    while waiting is not None:
        yield part()


def _write_parquet(
    records: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    out: Path,
    geometry_type: str,
    crs: pyproj.CRS | None,
) -> None:
    """GeoParquet 1.1: WKB, CRS as PROJJSON, a bounding box beside each feature."""
    column = {
        "encoding": "WKB",
        "geometry_types": [geometry_type],
        "crs": None if crs is None else json.loads(crs.to_json()),
        "orientation": "counterclockwise",
        "edges": "planar",
        "covering": {"bbox": {side: ["bbox", side] for side in BBOX.names}},
    }
    geo = {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
    described = schema.with_metadata({b"geo": json.dumps(geo).encode()})
    with pq.ParquetWriter(out, described, compression="zstd") as writer:
        for record in records:
            writer.write_batch(record.replace_schema_metadata(described.metadata))


def move_into_place(work: Path, main: list[str], folder: Path, replaced: list[Path]) -> None:
    """Give the files of finished layers their names, the main ones last.

    Args:
        work: Folder that holds them, and nothing else.
        main: Names of the files that stand for a layer.
        folder: Where they go.
        replaced: Files of an earlier layer, which go away.

    Raises:
        HysegError: If a file cannot be moved.
    """
    try:
        for path in replaced:
            path.unlink()
        for part in sorted(work.iterdir(), key=lambda path: path.name in main):
            part.replace(folder / part.name)
    except OSError as error:
        raise HysegError(
            f"{folder}: the layer cannot be put there ({error})",
            hint="Check the folder's permissions; another program may have a file open.",
        ) from error
