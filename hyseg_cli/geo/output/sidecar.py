"""The side-car `OUT.tif.aux.xml`: class names, attribute table and statistics for GDAL's readers.

A TIFF holds none of them. QGIS and ArcGIS read the file automatically, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.classes.styles import category_element
from hyseg_cli.geo.raster.raster import open_dataset
from hyseg_cli.legend import NODATA_ID, Legend

ENOUGH_PIXELS = 2**22
"""Of a band of probabilities, from which a GIS takes the range of its colours."""

# Type and usage of a column, as GDAL numbers them.
INTEGER, REAL, TEXT = "0", "1", "2"
OTHER, COUNT, NAME, VALUE, RED, GREEN, BLUE = "0", "1", "2", "5", "6", "7", "8"


@dataclass(frozen=True)
class Statistics:
    """Of the valid pixels of a band, in its stored numbers."""

    minimum: float
    maximum: float
    mean: float
    std: float
    valid_percent: float
    is_exact: bool = True
    """Whether all pixels were counted, not those of an overview."""


def sidecar_of_classes(
    legend: Legend, pixels: npt.NDArray[np.int64], hectares: npt.NDArray[np.float64] | None
) -> str:
    """The side-car of a class raster.

    Args:
        legend: Its classes.
        pixels: How many pixels have each value, (256,).
        hectares: Their area, (256,); None for a raster without georeference.
    """
    band = ET.Element("PAMRasterBand", band="1")
    band.append(category_element(legend))
    band.append(_attribute_table(legend, pixels, hectares))
    statistics = class_statistics(pixels)
    if statistics is not None:
        band.append(_metadata(statistics))
    return _to_xml([band])


def sidecar_of_shares(bands: Iterable[Statistics | None]) -> str:
    """The side-car of a raster of probabilities, with the statistics of its bands."""
    elements = []
    for number, statistics in enumerate(bands, 1):
        if statistics is not None:
            elements.append(ET.Element("PAMRasterBand", band=str(number)))
            elements[-1].append(_metadata(statistics))
    return _to_xml(elements)


def class_statistics(pixels: npt.NDArray[np.int64]) -> Statistics | None:
    """Statistics of the class ids of a raster, None if it has only nodata.

    Args:
        pixels: How many pixels have each value, (256,).
    """
    counts = pixels[:NODATA_ID].astype(np.float64)
    valid, present = counts.sum(), np.flatnonzero(counts)
    if valid == 0:
        return None
    mean = float((counts * np.arange(NODATA_ID)).sum() / valid)
    variance = float((counts * (np.arange(NODATA_ID) - mean) ** 2).sum() / valid)
    return Statistics(
        minimum=float(present[0]),
        maximum=float(present[-1]),
        mean=mean,
        std=math.sqrt(variance),
        valid_percent=float(100.0 * valid / pixels.sum()),
    )


def share_statistics(path: str, *, enough: int = ENOUGH_PIXELS) -> list[Statistics | None]:
    """Statistics of each band of a raster, of an overview if it is large.

    None of a band without valid pixels.

    Raises:
        rasterio.errors.RasterioError: If it cannot be read.
    """
    with open_dataset(path) as dataset:
        shapes = [(-(-dataset.height // f), -(-dataset.width // f)) for f in dataset.overviews(1)]
        fitting = [dataset.shape, *shapes]
        shape = next((s for s in fitting if s[0] * s[1] <= enough), fitting[-1])
        bands = (dataset.read(b, masked=True, out_shape=shape) for b in dataset.indexes)
        return [_statistics_of(band, is_exact=shape == dataset.shape) for band in bands]


def _statistics_of(values: np.ma.MaskedArray, *, is_exact: bool) -> Statistics | None:
    valid = values.compressed().astype(np.float64)
    if len(valid) == 0:
        return None
    return Statistics(
        minimum=float(valid.min()),
        maximum=float(valid.max()),
        mean=float(valid.mean()),
        std=float(valid.std()),
        valid_percent=100.0 * len(valid) / values.size,
        is_exact=is_exact,
    )


def _attribute_table(
    legend: Legend, pixels: npt.NDArray[np.int64], hectares: npt.NDArray[np.float64] | None
) -> ET.Element:
    columns = [
        ("Value", INTEGER, VALUE),
        ("Class_name", TEXT, NAME),
        ("Red", INTEGER, RED),
        ("Green", INTEGER, GREEN),
        ("Blue", INTEGER, BLUE),
        # GDAL's integers end at 2**31, which is 4.6 km at 10 cm.
        ("Count", REAL, COUNT),
    ]
    if hectares is not None:
        columns.append(("Area_ha", REAL, OTHER))
    table = ET.Element("GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(columns):
        field = ET.SubElement(table, "FieldDefn", index=str(index))
        for tag, text in (("Name", name), ("Type", kind), ("Usage", usage)):
            ET.SubElement(field, tag).text = text
    for index, entry in enumerate(sorted(legend.classes, key=lambda entry: entry.id)):
        row = ET.SubElement(table, "Row", index=str(index))
        cells = [entry.id, entry.name, *entry.color, pixels[entry.id]]
        if hectares is not None:
            # Not all digits: the last ones must not depend on how the work was divided.
            cells.append(f"{hectares[entry.id]:.6f}")
        for cell in cells:
            ET.SubElement(row, "F").text = str(cell)
    return table


def _metadata(statistics: Statistics) -> ET.Element:
    """Statistics under the names that GDAL looks for."""
    values = {
        "MAXIMUM": statistics.maximum,
        "MEAN": statistics.mean,
        "MINIMUM": statistics.minimum,
        "STDDEV": statistics.std,
        "VALID_PERCENT": statistics.valid_percent,
    }
    element = ET.Element("Metadata")
    if not statistics.is_exact:
        ET.SubElement(element, "MDI", key="STATISTICS_APPROXIMATE").text = "YES"
    for key, value in values.items():
        ET.SubElement(element, "MDI", key=f"STATISTICS_{key}").text = f"{value:.10g}"
    return element


def _to_xml(bands: Iterable[ET.Element]) -> str:
    root = ET.Element("PAMDataset")
    root.extend(bands)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"
