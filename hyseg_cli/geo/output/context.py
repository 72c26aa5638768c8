"""Scenes cut from one grid, treated as one: a VRT over all of them.

A scene that is mapped alone ends at its edge, and the network sees a reflection there. Seen as
a window of the VRT it is mapped as its part of the whole: the same tiles, the same pixels.

Files that were cut by different tools are often shifted by a fraction of a pixel. Each then snaps
to the nearest whole pixel: an error of half a pixel is less than resampling would blur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
from affine import Affine

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.file_names import raster_name
from hyseg_cli.geo.output.cog import srs_element
from hyseg_cli.geo.raster.ground import step_near
from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.geo.window import Window

GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "int64": "Int64",
    "uint64": "UInt64",
    "float32": "Float32",
    "float64": "Float64",
}


@dataclass(frozen=True)
class Neighbourhood:
    """Scenes on one grid."""

    scenes: tuple[Raster, ...]
    windows: tuple[Window, ...]
    """Where each lies in the whole."""
    transform: Affine
    """Of the whole."""
    shift: float
    """Largest offset of a scene from the grid of the first, in pixels; at most 0.5."""

    @property
    def height(self) -> int:
        """Rows of the whole."""
        return max(window.row_stop for window in self.windows)

    @property
    def width(self) -> int:
        """Columns of the whole."""
        return max(window.col_stop for window in self.windows)


def find_neighbourhood(scenes: Sequence[Raster]) -> Neighbourhood:
    """Lay scenes out on the grid of the first.

    Raises:
        UsageProblemError: If they do not share a grid, apart from shifts.
    """
    first = scenes[0]
    for scene in scenes:
        difference = _difference(first, scene)
        if difference:
            raise UsageProblemError(
                f"{scene.path} and {first.path} are not parts of one grid: {difference}",
                hint="Leave out `context`, or map them in runs of their own.",
            )
    exact = np.array([_corner(first, scene) for scene in scenes])
    corners = np.round(exact).astype(int)
    top, left = (int(value) for value in corners.min(axis=0))
    windows = tuple(
        Window(int(row) - top, int(col) - left, scene.height, scene.width)
        for (row, col), scene in zip(corners, scenes, strict=True)
    )
    transform = first.transform @ Affine.translation(left, top)
    shift = float(np.abs(exact - corners).max())
    return Neighbourhood(tuple(scenes), windows, transform, shift)


def vrt_of(neighbourhood: Neighbourhood) -> str:
    """The text of the VRT; where scenes overlap, the data of the later ones lies on top."""
    first = neighbourhood.scenes[0]
    size = {"rasterXSize": str(neighbourhood.width), "rasterYSize": str(neighbourhood.height)}
    root = ET.Element("VRTDataset", size)
    root.append(srs_element(first.crs))
    coefficients = ", ".join(repr(float(value)) for value in neighbourhood.transform.to_gdal())
    ET.SubElement(root, "GeoTransform").text = coefficients
    for index, dtype in enumerate(first.dtypes, 1):
        band = ET.SubElement(root, "VRTRasterBand", dataType=GDAL_TYPES[dtype], band=str(index))
        ET.SubElement(band, "Description").text = first.descriptions[index - 1] or ""
        ET.SubElement(band, "ColorInterp").text = first.colors[index - 1].capitalize()
        if first.nodata is not None:
            ET.SubElement(band, "NoDataValue").text = repr(first.nodata)
        # Alpha has no mask of its own: where it is 0, lower layers show.
        is_alpha = first.colors[index - 1] == "alpha"
        nodata = 0 if is_alpha and first.nodata is None else first.nodata
        _add_sources(band, neighbourhood, str(index), nodata)
    if first.nodata is None and "alpha" not in first.colors:
        # Without it, areas that no scene covers would be black ground.
        mask = ET.SubElement(ET.SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte")
        _add_sources(mask, neighbourhood, "mask,1", 0)
    return ET.tostring(root, encoding="unicode")


def _add_sources(
    band: ET.Element, neighbourhood: Neighbourhood, source_band: str, nodata: float | None
) -> None:
    """Lay a band of all scenes into one of the VRT.

    Args:
        band: The band of the VRT.
        neighbourhood: The scenes.
        source_band: Which band of theirs.
        nodata: Value that lets lower layers show; None to use their masks, if they have any.
    """
    has_masks = any(scene.declares_validity for scene in neighbourhood.scenes)
    kind = "ComplexSource" if nodata is not None or has_masks else "SimpleSource"
    for scene, window in zip(neighbourhood.scenes, neighbourhood.windows, strict=True):
        source = ET.SubElement(band, kind)
        path = raster_name(scene.path)
        ET.SubElement(source, "SourceFilename", relativeToVRT="0").text = path
        ET.SubElement(source, "SourceBand").text = source_band
        size = {"xSize": str(window.width), "ySize": str(window.height)}
        ET.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **size})
        ET.SubElement(source, "DstRect", {"xOff": str(window.col), "yOff": str(window.row), **size})
        if nodata is not None:
            ET.SubElement(source, "NODATA").text = repr(nodata)
        elif has_masks:
            ET.SubElement(source, "UseMaskBand").text = "true"


def _difference(one: Raster, other: Raster) -> str:
    """Why two scenes are not parts of one grid; empty if they are."""
    if not (one.is_georeferenced and other.is_georeferenced):
        return "one is not georeferenced"
    if one.crs != other.crs:
        return "their CRS differ"
    # As text, since NaN is not equal to itself.
    if repr((one.dtypes, one.colors, one.nodata)) != repr(
        (other.dtypes, other.colors, other.nodata)
    ):
        return "their bands, data types or nodata values differ"
    shape, others = (np.array(scene.transform[:6])[[0, 1, 3, 4]] for scene in (one, other))
    if not np.allclose(shape, others, rtol=1e-9, atol=0.0):
        return "their pixels differ in size"
    return ""


def _corner(one: Raster, other: Raster) -> npt.NDArray[np.float64]:
    """Row and column of one scene at which another begins."""
    x = other.transform.c + step_near(other.transform.c, one.transform.c, one.crs)
    col, row = ~one.transform @ (x, other.transform.f)
    return np.array([row, col])
