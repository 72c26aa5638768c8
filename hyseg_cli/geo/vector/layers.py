"""Layers of vector files, written from streams of records."""

from __future__ import annotations

import json
import warnings
from contextlib import ExitStack, chdir, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa

from hyseg_cli.geo.file_names import absolute
from hyseg_cli.geo.vector.formats import FORMATS, GEOMETRY, VectorFormat

_KEY = b"hyseg:layer"
"""Metadata of a schema that say where its records go."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The description of a layer, besides its records."""

    file: str
    """Path of the file; its suffix names the format, and the file must not exist."""
    name: str
    """Name of the layer, where a format has layers."""
    geometry_type: str
    """Polygon, MultiPolygon or Point; Unknown for several kinds."""
    wkt: str | None
    """CRS of the geometry as WKT, None for a map without georeference."""
    projjson: str | None = None
    """The same as PROJJSON, for formats that store it that way."""

    @property
    def form(self) -> VectorFormat:
        """Its format."""
        return FORMATS[Path(self.file).suffix.lower()]

    def describe(self, schema: pa.Schema) -> pa.Schema:
        """A schema that carries this description, for a stream of its own."""
        return schema.with_metadata({_KEY: json.dumps(asdict(self)).encode()})

    @classmethod
    def described_by(cls, schema: pa.Schema) -> Self:
        """The layer that a schema carries the description of."""
        return cls(**json.loads(schema.metadata[_KEY]))


def write_layer(records: pa.RecordBatchReader) -> None:
    """Write a layer to its file.

    Args:
        records: The features, geometry as WKB in the column `geometry`; the schema describes
            the layer (`Layer.describe`).

    Raises:
        OSError: If the file cannot be written.
        pyogrio.errors.DataSourceError: Likewise, by GDAL's drivers.
        pyogrio.errors.DataLayerError: Likewise.
    """
    layer = Layer.described_by(records.schema)
    if layer.form.driver == "Parquet":
        _write_parquet(records, layer)
    else:
        _write_by_gdal(records, layer)


def _write_by_gdal(records: pa.RecordBatchReader, layer: Layer) -> None:
    """Write under a name of our own, which pyogrio cannot read as an address, then rename."""
    import pyogrio

    out, waiting = Path(layer.file), "layer" + Path(layer.file).suffix.lower()
    # The index grows beside the rows from the first one on, not only after a hundred thousand.
    pyogrio.set_gdal_config_options({"OGR_GPKG_THREADED_RTREE_AT_FIRST_FEATURE": True})
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.filterwarnings("ignore", "'crs' was not provided")  # the map has none either
        # The map's code and definition differ, not only the layer's.
        warnings.filterwarnings("ignore", "Passed SRS uses .* not compatible with the official")
        stack.enter_context(chdir(out.parent))
        with suppress(FileNotFoundError):  # other layers of the file, which stay
            Path(out.name).rename(waiting)
        pyogrio.write_arrow(
            records,
            waiting,
            layer=layer.name if layer.form.driver == "GPKG" else out.stem,
            driver=layer.form.driver,
            geometry_name=GEOMETRY,
            geometry_type=layer.geometry_type,
            crs=layer.wkt,
            **layer.form.options,
        )
        for made in Path().glob("layer.*"):
            made.rename(out.name if made.name == waiting else out.stem + made.suffix)


def _write_parquet(records: pa.RecordBatchReader, layer: Layer) -> None:
    """GeoParquet 1.1: WKB, CRS as PROJJSON, a bounding box beside each feature."""
    import pyarrow.parquet as pq

    sides = [side.name for side in records.schema.field("bbox").type]
    column = {
        "encoding": "WKB",
        "geometry_types": [layer.geometry_type],
        "crs": None if layer.projjson is None else json.loads(layer.projjson),
        "orientation": "counterclockwise",
        "edges": "planar",
        "covering": {"bbox": {side: ["bbox", side] for side in sides}},
    }
    geo = {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
    described = records.schema.with_metadata({b"geo": json.dumps(geo).encode()})
    with pq.ParquetWriter(absolute(layer.file), described, compression="zstd") as writer:
        for record in records:
            writer.write_batch(record.replace_schema_metadata(described.metadata))
