"""Formats of vector files: the driver, options and limits of each, and the files it consists of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.atomic import move
from hyseg_cli.geo.suffixes import STAC_SUFFIX

if TYPE_CHECKING:
    import pyarrow as pa


GEOMETRY = "geometry"
"""Column of the geometry."""


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
    """Approximate bytes of a polygon besides its points: attributes and index entry."""
    point_bytes: float = 16
    """Approximate bytes of a point."""
    media: str = ""
    """Its media type."""


FORMATS = {
    # hyseg uses no feature of later versions, and older programs warn of those versions.
    ".gpkg": VectorFormat("GPKG", {"VERSION": "1.2"}, media="application/geopackage+sqlite3"),
    ".fgb": VectorFormat("FlatGeobuf", media="application/vnd.flatgeobuf"),
    # Compressed.
    ".parquet": VectorFormat(
        "Parquet", polygon_bytes=20, point_bytes=3, media="application/vnd.apache.parquet"
    ),
    # RFC 7946: longitude and latitude, right-hand rings; seven decimals are a centimetre.
    ".geojson": VectorFormat(
        "GeoJSON",
        {"RFC7946": "YES", "COORDINATE_PRECISION": "7"},
        "EPSG:4326",
        7,
        200,
        27,
        media="application/geo+json",
    ),
    ".geojsonl": VectorFormat(
        "GeoJSONSeq",
        {"COORDINATE_PRECISION": "7"},
        "EPSG:4326",
        7,
        200,
        27,
        media="application/geo+json-seq",
    ),
    ".shp": VectorFormat("ESRI Shapefile", {"ENCODING": "UTF-8"}, media="application/vnd.shp"),
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


def files_of_layer(out: Path, *, numbered: bool = False) -> list[Path]:
    """Existing files in the place of a layer, including side-cars and journals.

    Args:
        out: The layer's file.
        numbered: The layer is written as several files, `NAME_1.shp` and so on.
    """
    item = out.with_name(out.name + STAC_SUFFIX)
    if out.suffix == ".shp":
        stem = re.compile(re.escape(out.stem) + (r"_\d+" if numbered else ""))
        return ([item] if item.exists() else []) + sorted(
            path
            for path in out.parent.iterdir()
            if path.suffix in SHAPEFILE_SUFFIXES
            and stem.fullmatch(path.name.removesuffix(".xml").rpartition(".")[0] or path.stem)
        )
    names = [out.name, *(f"{out.name}-{journal}" for journal in ("wal", "shm", "journal"))]
    return [path for path in (*map(out.with_name, names), item) if path.exists()]


def shapefile_bytes(polygons: int, points: int) -> int:
    """Size of the largest file of a Shapefile, its shapes or its table."""
    return max(polygons * SHAPE_BYTES + points * POINT_BYTES, polygons * TABLE_ROW_BYTES)


def shapefile_parts(records: Iterator[pa.RecordBatch]) -> Iterator[Iterator[pa.RecordBatch]]:
    """The records of one Shapefile after the other, each below the limit of the format.

    Consume each part fully before requesting the next.
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


def move_into_place(work: Path, main: list[str], folder: Path, replaced: list[Path]) -> None:
    """Give the files of finished layers their names, the main ones last.

    A file that replaces one takes its place at once, before what belongs to it: at no moment is a
    GeoPackage gone that holds other layers, nor the new points of a sample beside the old design.
    The files of a Shapefile cannot be replaced together; the earlier ones go first.

    Args:
        work: Folder that holds them, and nothing else.
        main: Names of the files that stand for a layer.
        folder: Where they go.
        replaced: Files of an earlier layer, which are deleted.

    Raises:
        HysegError: If a file cannot be moved.
    """
    try:
        known = {path.name for path in replaced}
        at_once = [name for name in main if name in known and not name.endswith(".shp")]
        for path in replaced:
            if path.name not in at_once:
                path.unlink()
        for name in at_once:
            move(work / name, folder / name)
        for part in sorted(work.iterdir(), key=lambda path: path.name in main):
            move(part, folder / part.name)
    except OSError as error:
        raise HysegError(
            f"{folder}: the layer cannot be saved there ({error})",
            hint="Check the folder's permissions; another program may have a file open.",
        ) from error
