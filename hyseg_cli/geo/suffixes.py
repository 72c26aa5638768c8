"""Suffixes of vector files that are read, and of the files that stand beside a raster."""

from __future__ import annotations

from pathlib import Path

STAC_SUFFIX = ".stac.json"
SIDECAR_SUFFIX = ".aux.xml"
OWN_SUFFIXES = (SIDECAR_SUFFIX, ".ovr", ".msk", ".vat.dbf", ".vat.cpg", STAC_SUFFIX)
"""After the whole name: side-cars of GDAL, attribute tables of ArcGIS, our own STAC Item."""
PLACE_SUFFIXES = (".tfw", ".tifw", ".tiffw")
"""Instead of the suffix: world files of TIFFs."""
STYLE_SUFFIXES = (".qml", ".sld")
"""Instead of the suffix: styles, which other layers of that name have, too."""
VECTOR_SUFFIXES = frozenset(
    {".gpkg", ".shp", ".fgb", ".parquet", ".geojson", ".json", ".geojsonl", ".geojsons"}
)
"""Of vector files that are read: all that hyseg writes, and other names of these."""
VECTOR_FORMATS = "GeoPackage, Shapefile, FlatGeobuf, GeoParquet, GeoJSON and lines of GeoJSON"
"""The same for people."""
UNREAD_SUFFIXES = frozenset(
    {".kml", ".kmz", ".gml", ".gpx", ".dxf", ".csv", ".gdb", ".sqlite", ".topojson", ".tab", ".zip"}
)
"""Of vector files that are not read."""
RASTER_MARKS = (b"<rasterrenderer", b"RasterSymbolizer")
"""Text that occurs only in the style of a raster."""


def stale_files(out: Path) -> list[Path]:
    """Files beside a raster that describe it and become wrong when it is overwritten."""
    own = [out.with_name(out.name + suffix) for suffix in OWN_SUFFIXES]
    if not out.exists():  # other names belong to somebody else, or to the new raster
        return [path for path in own if path.is_file()]
    own += [out.with_suffix(suffix) for suffix in PLACE_SUFFIXES]
    styles = [out.with_suffix(suffix) for suffix in STYLE_SUFFIXES]
    return [path for path in own if path.is_file()] + list(filter(_is_of_raster, styles))


def _is_of_raster(style: Path) -> bool:
    return style.is_file() and any(mark in style.read_bytes() for mark in RASTER_MARKS)
