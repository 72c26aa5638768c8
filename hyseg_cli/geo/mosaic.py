"""Maps on disk: finished rows -> shards -> VRT -> COG, under its name only when complete.

A GeoTIFF that is open when its process is killed reads back as zeros without an error. So rows
go to small files, each written, synced and renamed before it counts; the end is one pass of
GDAL's COG driver over all of them, and two renames.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.control import GroundControl
from hyseg_cli.geo.style import LEGEND_TAG, category_element, color_table, sidecar_xml
from hyseg_cli.legend import NODATA_ID, Legend

SHARD_ROWS = 512
"""Rows per shard, the block height of the COG."""

STALE_SUFFIXES = (".aux.xml", ".ovr", ".msk")
"""Side-cars of an overwritten map that would describe the new one wrongly."""

COG_OPTIONS = {
    "COMPRESS": "DEFLATE",
    "BLOCKSIZE": "512",
    "BIGTIFF": "IF_SAFER",
    "NUM_THREADS": "ALL_CPUS",
}


SHARE_LEVELS = 254
"""Level of a share of one; 255 is nodata."""


@dataclass(frozen=True, kw_only=True)
class MapSpec:
    """Size, place and meaning of a class raster, or of shares between 0 and 1."""

    height: int
    width: int
    crs: CRS | None
    transform: Affine
    control: GroundControl | None = None
    """Ground control that stands for the transform, or beside it."""
    legend: Legend
    tags: dict[str, str]
    """Provenance and whatever else goes into the TIFF's metadata."""
    shares: tuple[str, ...] = ()
    """Names of the bands of a raster of shares, as levels 0 to 254; empty for a class raster."""


class MosaicWriter:
    """Takes finished rows in order and turns them into a COG; mutable.

    Leaves either the complete map or nothing: the work folder beside the output is removed
    whatever happens.

    Raises:
        HysegError: If the folder or a file cannot be written.
    """

    def __init__(self, out: Path, spec: MapSpec) -> None:
        self.out = out
        self.spec = spec
        self._work = out.with_name(out.name + ".hyseg")
        self._waiting: list[npt.NDArray[np.uint8]] = []
        self._shards: list[tuple[int, int, Path]] = []
        """First row, rows and path of each shard."""
        self._next_row = 0
        try:
            shutil.rmtree(self._work, ignore_errors=True)
            self._work.mkdir()
        except OSError as error:
            raise _unwritable(out, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._work, ignore_errors=True)

    def write(self, rows: npt.NDArray[np.uint8]) -> None:
        """Append rows: (n, width) of class ids or (bands, n, width) of levels, 255 for none."""
        self._waiting.append(rows[None] if rows.ndim == 2 else rows)
        if sum(part.shape[1] for part in self._waiting) >= SHARD_ROWS:
            self._flush(whole_shards=True)

    def finish(self) -> None:
        """Write the map and its side-car under their names.

        Raises:
            ValueError: If rows are missing.
        """
        self._flush(whole_shards=False)
        if self._next_row != self.spec.height:
            message = f"{self._next_row} of {self.spec.height} rows were written"
            raise ValueError(message)
        vrt, cog = self._work / "map.vrt", self._work / "map.tif"
        sidecar = self._work / "map.aux.xml"
        # A class number between two others means nothing: the most frequent one stands for a block.
        resampling = "AVERAGE" if self.spec.shares else "MODE"
        try:
            vrt.write_text(_vrt_xml(self.spec, self._shards), encoding="utf-8")
            rasterio.shutil.copy(
                vrt, cog, driver="COG", OVERVIEW_RESAMPLING=resampling, **COG_OPTIONS
            )
            _sync(cog)
            for suffix in STALE_SUFFIXES:
                self.out.with_name(self.out.name + suffix).unlink(missing_ok=True)
            cog.replace(self.out)
            if not self.spec.shares:
                sidecar.write_text(sidecar_xml(self.spec.legend), encoding="utf-8")
                sidecar.replace(self.out.with_name(self.out.name + ".aux.xml"))
        except (OSError, RasterioError) as error:
            raise _unwritable(self.out, error) from error

    def _flush(self, *, whole_shards: bool) -> None:
        if not self._waiting:
            return
        rows = np.concatenate(self._waiting, axis=1)
        count = rows.shape[1]
        full = count // SHARD_ROWS * SHARD_ROWS if whole_shards else count
        for start in range(0, full, SHARD_ROWS):
            self._write_shard(rows[:, start : min(start + SHARD_ROWS, full)])
        self._waiting = [rows[:, full:]] if full < count else []

    def _write_shard(self, rows: npt.NDArray[np.uint8]) -> None:
        path = self._work / f"rows-{self._next_row:09d}.tif"
        temporary = path.with_suffix(".tmp")
        try:
            with rasterio.open(
                temporary,
                "w",
                driver="GTiff",
                width=self.spec.width,
                height=rows.shape[1],
                count=len(rows),
                dtype="uint8",
                tiled=True,
                blockxsize=512,
                blockysize=512,
                compress="zstd",
                zstd_level=1,
                # The VRT knows the place; any transform but the identity keeps rasterio quiet.
                transform=Affine.scale(2.0),
            ) as shard:
                shard.write(rows)
            _sync(temporary)
            temporary.replace(path)
        except (OSError, RasterioError) as error:
            raise _unwritable(self.out, error) from error
        self._shards.append((self._next_row, rows.shape[1], path))
        self._next_row += rows.shape[1]


def _vrt_xml(spec: MapSpec, shards: list[tuple[int, int, Path]]) -> str:
    """A VRT that lays the shards under each other and carries all metadata of the raster."""
    root = ET.Element("VRTDataset", rasterXSize=str(spec.width), rasterYSize=str(spec.height))
    if spec.crs is not None:
        # The axis mapping keeps x before y whatever the CRS says, as in every GeoTIFF.
        srs = ET.SubElement(root, "SRS", dataAxisToSRSAxisMapping=_axis_mapping(spec.crs))
        srs.text = spec.crs.to_wkt(version="WKT2_2019")
    if not spec.transform.is_identity:
        coefficients = ", ".join(repr(float(value)) for value in spec.transform.to_gdal())
        ET.SubElement(root, "GeoTransform").text = coefficients
    root.extend([] if spec.control is None else spec.control.to_vrt())
    metadata = ET.SubElement(root, "Metadata")
    tags = spec.tags | {LEGEND_TAG: json.dumps(spec.legend.to_dict())}
    for key, value in tags.items():
        ET.SubElement(metadata, "MDI", key=key).text = value
    for index in range(1, max(1, len(spec.shares)) + 1):
        band = ET.SubElement(root, "VRTRasterBand", dataType="Byte", band=str(index))
        if spec.shares:
            _describe_share(band, spec.shares[index - 1])
        else:
            _describe_classes(band, spec.legend)
        for row, height, path in shards:
            source = ET.SubElement(band, "SimpleSource")
            ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = path.name
            ET.SubElement(source, "SourceBand").text = str(index)
            across, down = str(spec.width), str(height)
            ET.SubElement(source, "SrcRect", xOff="0", yOff="0", xSize=across, ySize=down)
            ET.SubElement(source, "DstRect", xOff="0", yOff=str(row), xSize=across, ySize=down)
    return ET.tostring(root, encoding="unicode")


def _describe_share(band: ET.Element, name: str) -> None:
    ET.SubElement(band, "Description").text = name
    ET.SubElement(band, "NoDataValue").text = str(NODATA_ID)
    ET.SubElement(band, "ColorInterp").text = "Gray"
    ET.SubElement(band, "Offset").text = "0"
    ET.SubElement(band, "Scale").text = repr(1.0 / SHARE_LEVELS)


def _describe_classes(band: ET.Element, legend: Legend) -> None:
    ET.SubElement(band, "NoDataValue").text = str(NODATA_ID)
    ET.SubElement(band, "ColorInterp").text = "Palette"
    table = ET.SubElement(band, "ColorTable")
    colors = color_table(legend)
    for class_id in range(NODATA_ID + 1):
        red, green, blue, opacity = colors.get(class_id, (0, 0, 0, 0))
        ET.SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=str(opacity))
    band.append(category_element(legend))


def _axis_mapping(crs: CRS) -> str:
    return "2,1" if crs.is_geographic else "1,2"


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _unwritable(out: Path, error: Exception) -> HysegError:
    return HysegError(
        f"{out}: the map cannot be written ({' '.join(str(error).split())})",
        hint="Check the folder's permissions and the free space.",
    )
