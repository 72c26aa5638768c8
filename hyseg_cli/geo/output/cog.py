"""Maps on disk: shards -> VRT -> COG, which gets its name only when it is complete.

The end of a run is one pass of GDAL's COG driver over all shards, and a rename.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import rasterio.shutil
from affine import Affine
from rasterio.crs import CRS

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.atomic import move
from hyseg_cli.geo.classes.styles import LEGEND_TAG, category_element, color_table
from hyseg_cli.geo.crs import crs_text
from hyseg_cli.geo.file_names import absolute
from hyseg_cli.geo.output.work_folder import WRITE_ERRORS, WorkFolder, unwritable
from hyseg_cli.geo.raster.facts import require_whole
from hyseg_cli.geo.raster.gdal import gdal_env
from hyseg_cli.geo.raster.raster import GroundControl, open_dataset
from hyseg_cli.geo.suffixes import SIDECAR_SUFFIX, stale_files
from hyseg_cli.geo.window import Window
from hyseg_cli.legend import NODATA_ID, QUANTISED_ONE, Legend

BLOCK = 512
"""Side of the blocks of maps."""
COG_OPTIONS = {
    "COMPRESS": "DEFLATE",
    "BLOCKSIZE": str(BLOCK),
    "BIGTIFF": "IF_SAFER",
    "NUM_THREADS": "ALL_CPUS",
}

CACHE_MIB = 256
"""Block rows that overviews are made of; those of 100,000 columns take 50 MiB."""


@dataclass(frozen=True, kw_only=True)
class MapSpec:
    """Size, place and meaning of a class raster, or of probabilities."""

    height: int
    width: int
    crs: CRS | None
    transform: Affine
    control: GroundControl | None = None
    """Ground control that replaces the transform, or complements it."""
    legend: Legend
    tags: dict[str, str]
    """Provenance and other metadata of the TIFF."""
    probabilities: tuple[str, ...] = ()
    """Band names of a raster of quantised probabilities; empty for a class raster."""

    @property
    def band_count(self) -> int:
        """Bands of the raster."""
        return max(1, len(self.probabilities))


@dataclass(frozen=True)
class Source:
    """A part of a mosaic: a file and the pixels of the mosaic that it holds."""

    path: Path
    window: Window
    """Where it lies in the mosaic; parts outside the mosaic are cut off."""
    may_overlap: bool = False
    """Whether lower layers show where it holds no data."""


def write_cog(
    work: WorkFolder, name: str, spec: MapSpec, sources: Iterable[Source], first_band: int = 1
) -> Path:
    """Write a raster from its parts into the work folder.

    Args:
        work: The folder.
        name: Name of the file in it.
        spec: What the raster is.
        sources: Files in the work folder that cover it.
        first_band: Band of the sources that is the raster's first.

    Returns:
        The file.

    Raises:
        HysegError: If the system refuses to write.
    """
    # Averages of class numbers mean nothing: the most frequent class represents a block.
    resampling = "AVERAGE" if spec.probabilities else "MODE"
    vrt = work.path / f"{name}.vrt"
    with work.writing(vrt.name, here=True) as path:
        path.write_text(vrt_xml(spec, list(sources), work.path, first_band), encoding="utf-8")
    with work.writing(name, here=True) as path:
        with gdal_env(CACHE_MIB):
            rasterio.shutil.copy(
                absolute(vrt),
                absolute(path),
                driver="COG",
                OVERVIEW_RESAMPLING=resampling,
                **COG_OPTIONS,
            )
        require_whole(path)
    if spec.crs is not None:
        keep_crs(work.path / name, spec.crs)
    return work.path / name


def put_in_place(
    cog: Path,
    out: Path,
    beside: Mapping[Path, str] | None = None,
    kept: Collection[str] = (),
) -> None:
    """Give a finished raster its name, and write the files beside it.

    Args:
        cog: The raster.
        out: Its name; an existing raster is replaced, and its side-cars are deleted.
        beside: Texts of files to write beside it.
        kept: Files that are not side-cars of it, whatever their names.

    Raises:
        HysegError: If the system refuses to write.
    """
    beside = dict(beside or {})
    try:
        _add_crs(cog, out.with_name(out.name + SIDECAR_SUFFIX), beside)
        for stale in stale_files(out):
            if stale not in beside and str(stale.resolve()) not in kept:
                stale.unlink(missing_ok=True)
        for path, text in beside.items():
            waiting = cog.with_name(path.name)
            waiting.write_text(text, encoding="utf-8")
            move(waiting, path)
        move(cog, out)
    except WRITE_ERRORS as error:
        raise unwritable(out, error) from error


def keep_crs(cog: Path, crs: CRS) -> None:
    """Put into a side-car of a raster the CRS that the keys of a GeoTIFF cannot hold, if so.

    `put_in_place` gives the side-car its name, too.

    Raises:
        HysegError: If not even the side-car can.
    """
    if _crs_of(cog) == crs:
        return
    root = ET.Element("PAMDataset")
    root.append(srs_element(crs))
    cog.with_name(cog.name + SIDECAR_SUFFIX).write_bytes(ET.tostring(root))
    if _crs_of(cog) != crs:
        raise HysegError(
            f"the CRS of the map, {crs.to_string()[:200]}, cannot be kept in a GeoTIFF",
            hint="Bring the scene to another CRS first, for example with gdalwarp.",
        )


def _crs_of(raster: Path) -> CRS | None:
    with open_dataset(str(raster)) as dataset:
        return dataset.crs


def _add_crs(cog: Path, sidecar: Path, beside: dict[Path, str]) -> None:
    """Take over the CRS that stands beside a raster into the side-car that it is to get."""
    own = cog.with_name(cog.name + SIDECAR_SUFFIX)
    if not own.exists():
        return
    root = ET.fromstring(beside.get(sidecar, "<PAMDataset/>"))  # noqa: S314 - our own text
    root[:0] = ET.fromstring(own.read_bytes()).findall("SRS")  # noqa: S314 - likewise
    beside[sidecar] = ET.tostring(root, encoding="unicode") + "\n"
    own.unlink()


def vrt_xml(spec: MapSpec, sources: list[Source], folder: Path, first_band: int = 1) -> str:
    """The text of a VRT over parts of a raster, with all metadata of the raster.

    Args:
        spec: What the raster is.
        sources: Its parts; where several hold data, the last lies on top.
        folder: Where the VRT will lie.
        first_band: Band of the sources that is the raster's first.
    """
    root = ET.Element("VRTDataset", rasterXSize=str(spec.width), rasterYSize=str(spec.height))
    if spec.crs is not None:
        root.append(srs_element(spec.crs))
    if not spec.transform.is_identity:
        coefficients = ", ".join(repr(float(value)) for value in spec.transform.to_gdal())
        ET.SubElement(root, "GeoTransform").text = coefficients
    root.extend([] if spec.control is None else spec.control.to_vrt())
    metadata = ET.SubElement(root, "Metadata")
    tags = spec.tags | {LEGEND_TAG: json.dumps(spec.legend.to_dict())}
    for key, value in tags.items():
        ET.SubElement(metadata, "MDI", key=key).text = value
    for index in range(1, spec.band_count + 1):
        band = ET.SubElement(root, "VRTRasterBand", dataType="Byte", band=str(index))
        if spec.probabilities:
            _describe_probability(band, spec.probabilities[index - 1])
        else:
            _describe_classes(band, spec.legend)
        for source in sources:
            band.append(_source_element(source, spec, folder, first_band + index - 1))
    return ET.tostring(root, encoding="unicode")


def _source_element(source: Source, spec: MapSpec, folder: Path, band: int) -> ET.Element:
    element = ET.Element("ComplexSource" if source.may_overlap else "SimpleSource")
    name = os.path.relpath(source.path, folder)
    ET.SubElement(element, "SourceFilename", relativeToVRT="1").text = name
    ET.SubElement(element, "SourceBand").text = str(band)
    window = source.window
    top, left = max(window.row, 0), max(window.col, 0)
    width = str(min(window.col_stop, spec.width) - left)
    height = str(min(window.row_stop, spec.height) - top)
    for name, x, y in (("SrcRect", left - window.col, top - window.row), ("DstRect", left, top)):
        ET.SubElement(element, name, xOff=str(x), yOff=str(y), xSize=width, ySize=height)
    if source.may_overlap:
        ET.SubElement(element, "NODATA").text = str(NODATA_ID)
    return element


def _describe_probability(band: ET.Element, name: str) -> None:
    ET.SubElement(band, "Description").text = name
    ET.SubElement(band, "NoDataValue").text = str(NODATA_ID)
    ET.SubElement(band, "ColorInterp").text = "Gray"
    ET.SubElement(band, "Offset").text = "0"
    ET.SubElement(band, "Scale").text = repr(1.0 / QUANTISED_ONE)


def _describe_classes(band: ET.Element, legend: Legend) -> None:
    ET.SubElement(band, "NoDataValue").text = str(NODATA_ID)
    ET.SubElement(band, "ColorInterp").text = "Palette"
    table = ET.SubElement(band, "ColorTable")
    colors = color_table(legend)
    for class_id in range(NODATA_ID + 1):
        red, green, blue, opacity = colors.get(class_id, (0, 0, 0, 0))
        ET.SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=str(opacity))
    band.append(category_element(legend))


def srs_element(crs: CRS) -> ET.Element:
    """The CRS in a VRT; x comes before y whatever the CRS says, as in every GeoTIFF."""
    mapping = "2,1" if crs.is_geographic else "1,2"
    element = ET.Element("SRS", dataAxisToSRSAxisMapping=mapping)
    element.text = crs_text(crs)
    return element
