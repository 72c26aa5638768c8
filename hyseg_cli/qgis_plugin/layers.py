"""Layers of QGIS as files that hyseg can read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsFeature,
    QgsFeatureSource,
    QgsFields,
    QgsProcessingException,
    QgsProviderRegistry,
    QgsRasterLayer,
    QgsVectorFileWriter,
    QgsVectorLayer,
)


def raster_path(layer: QgsRasterLayer, what: str) -> str:
    """What GDAL opens the raster of a layer by.

    Args:
        layer: The layer.
        what: What it is to the algorithm, for the error.

    Raises:
        QgsProcessingException: If it is not a raster of GDAL's, such as a map service.
    """
    kind = layer.providerType()
    if kind != "gdal":
        raise QgsProcessingException(
            f"{what}: {layer.name()} is not a file ({kind}). "
            "Save it as a GeoTIFF first: Export > Save As... in the menu of the layer."
        )
    parts = QgsProviderRegistry.instance().decodeUri("gdal", layer.source())
    # Layers of a GeoPackage and other subdatasets are not named by their file alone.
    if parts.get("layerName") or parts.get("openOptions"):
        return str(layer.source())
    return str(parts.get("path") or layer.source())


def write_features(
    source: QgsFeatureSource, path: Path, context: Any, only: str | None = None
) -> int:
    """Write features into a GeoPackage, as they are in QGIS: edits, filter and selection count.

    Args:
        source: The features.
        path: The file, which is replaced.
        context: The context of the algorithm.
        only: The one field to keep; None for all.

    Returns:
        How many features there are.

    Raises:
        QgsProcessingException: If the file cannot be written.
    """
    fields = _kept(source.fields(), only)
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    # A column `fid` of the layer's own would have to be whole and unique.
    options.layerOptions = ["FID=hyseg_fid"]
    writer = QgsVectorFileWriter.create(
        str(path),
        fields,
        source.wkbType(),
        source.sourceCrs(),
        context.transformContext(),
        options,
    )
    count = 0
    for feature in source.getFeatures():
        copy = QgsFeature(fields)
        copy.setGeometry(feature.geometry())
        for field in fields:
            copy.setAttribute(field.name(), feature.attribute(field.name()))
        writer.addFeature(copy)
        count += 1
    problem = writer.errorMessage()
    del writer  # closes the file
    if problem:
        raise QgsProcessingException(f"{path} cannot be written: {problem}")
    return count


def content_mark(source: QgsFeatureSource, field: str) -> str:
    """Eight letters that change if the shapes or the classes of features do."""
    mark = hashlib.sha256()
    for feature in source.getFeatures():
        mark.update(bytes(feature.geometry().asWkb()))
        mark.update(repr(feature.attribute(field)).encode())
    return mark.hexdigest()[:8]


def file_beside(layer: QgsVectorLayer | None, suffix: str) -> Path | None:
    """The file `NAME + suffix` beside the file of a layer, if there is one."""
    if layer is None or layer.providerType() != "ogr":
        return None
    parts = QgsProviderRegistry.instance().decodeUri("ogr", layer.source())
    path = Path(str(parts.get("path") or layer.source()))
    beside = path.with_name(path.stem + suffix)
    return beside if beside.is_file() else None


def _kept(fields: QgsFields, only: str | None) -> QgsFields:
    kept = QgsFields()
    for field in fields:
        if only is None or field.name() == only:
            kept.append(field)
    return kept
