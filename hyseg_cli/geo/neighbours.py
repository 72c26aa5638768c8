"""Scenes cut from one grid, seen as one: a VRT over all of them.

A scene that is mapped alone ends at its edge, and the network sees a reflection there. Seen as
a window of the VRT it is mapped as its part of the whole: the same tiles, the same pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
from affine import Affine

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.grid import Window
from hyseg_cli.geo.mosaic import srs_element
from hyseg_cli.geo.scene import Scene, open_scene

GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "float32": "Float32",
    "float64": "Float64",
}
TOLERANCE = 0.01
"""Pixels by which a scene may lie off the grid."""


@dataclass(frozen=True)
class Neighbourhood:
    """Scenes on one grid."""

    scenes: tuple[Scene, ...]
    windows: tuple[Window, ...]
    """Where each lies in the whole."""
    transform: Affine
    """Of the whole."""

    @property
    def height(self) -> int:
        """Rows of the whole."""
        return max(window.row_stop for window in self.windows)

    @property
    def width(self) -> int:
        """Columns of the whole."""
        return max(window.col_stop for window in self.windows)


def find_neighbourhood(paths: Sequence[str]) -> Neighbourhood:
    """Lay scenes out on their common grid.

    Raises:
        UsageProblemError: If they do not share one.
        UnusableFileError: If one cannot be opened.
    """
    scenes = tuple(open_scene(path) for path in paths)
    first = scenes[0]
    for scene in scenes:
        difference = _difference(first, scene)
        if difference:
            raise UsageProblemError(
                f"{scene.path} and {first.path} are not parts of one grid: {difference}",
                hint="Leave out --context, or map them in runs of their own.",
            )
    corners = np.round([_corner(first, scene) for scene in scenes]).astype(int)
    top, left = (int(value) for value in corners.min(axis=0))
    windows = tuple(
        Window(int(row) - top, int(col) - left, scene.height, scene.width)
        for (row, col), scene in zip(corners, scenes, strict=True)
    )
    return Neighbourhood(scenes, windows, first.transform @ Affine.translation(left, top))


def vrt_of(neighbourhood: Neighbourhood) -> str:
    """The text of the VRT; where scenes overlap, the later ones lie on top.

    Raises:
        UnusableFileError: If a scene cannot be opened.
    """
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
        _add_sources(band, neighbourhood, str(index), first.nodata)
    if first.nodata is None and "alpha" not in first.colors:
        # Without it, what no scene covers would be black ground.
        mask = ET.SubElement(ET.SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte")
        _add_sources(mask, neighbourhood, "mask,1", None)
    return ET.tostring(root, encoding="unicode")


def _add_sources(
    band: ET.Element, neighbourhood: Neighbourhood, source_band: str, nodata: float | None
) -> None:
    kind = "SimpleSource" if nodata is None else "ComplexSource"
    for scene, window in zip(neighbourhood.scenes, neighbourhood.windows, strict=True):
        source = ET.SubElement(band, kind)
        path = scene.path if scene.path.startswith("/vsi") else str(Path(scene.path).absolute())
        ET.SubElement(source, "SourceFilename", relativeToVRT="0").text = path
        ET.SubElement(source, "SourceBand").text = source_band
        size = {"xSize": str(window.width), "ySize": str(window.height)}
        ET.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **size})
        ET.SubElement(source, "DstRect", {"xOff": str(window.col), "yOff": str(window.row), **size})
        if nodata is not None:
            ET.SubElement(source, "NODATA").text = repr(nodata)


def _difference(one: Scene, other: Scene) -> str:
    """What keeps two scenes from being parts of one grid; empty if nothing does."""
    if not (one.is_georeferenced and other.is_georeferenced):
        return "one has no place on earth"
    if one.crs != other.crs:
        return "their CRS differ"
    if (one.dtypes, one.colors, one.nodata) != (other.dtypes, other.colors, other.nodata):
        return "their bands, data types or nodata values differ"
    shape, others = (np.array(scene.transform[:6])[[0, 1, 3, 4]] for scene in (one, other))
    if not np.allclose(shape, others, rtol=1e-9, atol=0.0):
        return "their pixels differ in size"
    corner = _corner(one, other)
    if np.abs(corner - np.round(corner)).max() > TOLERANCE:
        return "they are shifted by a part of a pixel"
    return ""


def _corner(one: Scene, other: Scene) -> npt.NDArray[np.float64]:
    """Row and column of one scene at which another begins."""
    col, row = ~one.transform @ (other.transform.c, other.transform.f)
    return np.array([row, col])
