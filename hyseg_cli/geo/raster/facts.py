"""How a raster is stored: facts of a file beyond the georeference and bands of its scene.

Fingerprints say whether an input is still the same, cheaply for files of any size.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import MaskFlags

from hyseg_cli.errors import UnusableFileError
from hyseg_cli.geo.crs import name_of_crs
from hyseg_cli.geo.raster.gdal import reading_header
from hyseg_cli.geo.raster.raster import Raster, open_dataset, to_map


@dataclass(frozen=True)
class BandFacts:
    """One band."""

    index: int
    """From 1."""
    color: str
    """Colour interpretation: red, gray, alpha, palette, undefined, ..."""
    description: str | None
    dtype: str
    nodata: float | None
    mask: str
    """What marks where it holds data: nodata, alpha, mask, or all if nothing does."""


@dataclass(frozen=True)
class RasterFacts:
    """A raster and how it is stored."""

    scene: Raster
    driver: str
    compression: str | None
    is_tiled: bool
    overviews: tuple[int, ...]
    """Factors by which they are smaller."""
    scales: tuple[float, ...]
    """Factor by which the values of each band are multiplied."""
    stored_bytes: int | None
    """Size of the file; None if it is not on this machine."""
    bands: tuple[BandFacts, ...]

    @property
    def bounds(self) -> tuple[float, float, float, float] | None:
        """Left, bottom, right and top in the CRS; None without a transform."""
        scene = self.scene
        if not scene.is_georeferenced:
            return None
        cols = np.array([0.0, scene.width, scene.width, 0.0])
        rows = np.array([0.0, 0.0, scene.height, scene.height])
        x, y = to_map(scene.transform, cols, rows)
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    @property
    def crs_name(self) -> str | None:
        """Name and code of the CRS: WGS 84 / UTM zone 32N (EPSG:32632)."""
        crs = self.scene.crs or (self.scene.control.crs if self.scene.control else None)
        if crs is None:
            return None
        name = name_of_crs(crs)
        authority = crs.to_authority()
        return name if authority is None else f"{name} ({':'.join(authority)})"

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        scene = self.scene
        return {
            "path": scene.path,
            "height": scene.height,
            "width": scene.width,
            "crs": self.crs_name,
            "crs_wkt": None if scene.crs is None else scene.crs.to_wkt(version="WKT2_2019"),
            "transform": list(scene.transform)[:6] if scene.is_georeferenced else None,
            "control_points": 0 if scene.control is None else len(scene.control.points),
            "has_rpc": scene.control is not None and bool(scene.control.rpc),
            "bounds": self.bounds,
            "pixel_m": scene.pixel_sides_m(),
            "resolution_m": scene.resolution_m(),
            "driver": self.driver,
            "compression": self.compression,
            "block": list(scene.block),
            "is_tiled": self.is_tiled,
            "overviews": list(self.overviews),
            "bytes": self.stored_bytes,
            "declares_validity": scene.declares_validity,
            "bands": [
                {
                    "index": band.index,
                    "color": band.color,
                    "description": band.description,
                    "dtype": band.dtype,
                    # JSON has no NaN and infinity.
                    "nodata": band.nodata
                    if band.nodata is None or np.isfinite(band.nodata)
                    else str(band.nodata),
                    "mask": band.mask,
                }
                for band in self.bands
            ],
        }


def read_facts(scene: Raster) -> RasterFacts:
    """How a scene is stored; its pixels are not read.

    Raises:
        UnusableFileError: If it cannot be opened any more.
    """
    with reading_header(scene.path), open_dataset(scene.path) as dataset:
        flags = dataset.mask_flag_enums
        return RasterFacts(
            scene=scene,
            driver=dataset.driver,
            compression=_text_of(dataset.compression),
            is_tiled=dataset.block_shapes[0][1] != dataset.width,
            overviews=tuple(dataset.overviews(1)),
            scales=tuple(dataset.scales),
            stored_bytes=_size_of(scene.path),
            bands=tuple(
                BandFacts(
                    index,
                    scene.colors[index - 1],
                    scene.descriptions[index - 1],
                    scene.dtypes[index - 1],
                    dataset.nodatavals[index - 1],
                    _mask_text(flags[index - 1]),
                )
                for index in range(1, dataset.count + 1)
            ),
        )


def _text_of(compression: object) -> str | None:
    """A compression by name; drivers give an enumeration, or text that rasterio does not know."""
    found = getattr(compression, "value", compression)
    return None if found is None else str(found)


def _mask_text(flags: list[MaskFlags]) -> str:
    named = {MaskFlags.nodata: "nodata", MaskFlags.alpha: "alpha", MaskFlags.all_valid: "all"}
    return next((text for flag, text in named.items() if flag in flags), "mask")


def _size_of(path: str) -> int | None:
    stored = Path(path)
    return stored.stat().st_size if stored.is_file() else None


def require_whole(path: Path) -> None:
    """Refuse a tiled TIFF of which not all blocks are there.

    GDAL closes files on a full disk without an error.

    Raises:
        OSError: If it is cut short.
    """
    if not _is_whole(path):
        raise OSError(errno.ENOSPC, "the file is cut short; is the disk full?")


def _is_whole(path: Path) -> bool:
    size = path.stat().st_size
    try:
        dataset = open_dataset(str(path))
    except UnusableFileError:
        return False
    with dataset as tiff:
        block = tiff.block_shapes[0]
        levels = [(None, 1), *enumerate(tiff.overviews(1))]
        for level, factor in levels:
            rows, cols = (
                range(-(-side // (factor * length)))
                for side, length in zip(tiff.shape, block, strict=True)
            )
            for row, col in itertools.product(rows, cols):
                start, length = (
                    int(tiff.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", 1, level) or 0)
                    for what in ("OFFSET", "SIZE")
                )
                if not 0 < start <= size - length:
                    return False
    return True


SMALL = 2**20
"""Files up to this size are compared by content."""


def fingerprint_of_raster(path: str) -> list[str]:
    """A fingerprint that distinguishes a raster from others and from changed versions.

    Returns:
        The fingerprints of all its files: side-cars, and the sources of a VRT.
    """
    return [fingerprint(name) for name in files_of_raster(path)]


def files_of_raster(path: str) -> list[str]:
    """All files of a raster, sorted by name: itself, side-cars, and the sources of a VRT."""
    with open_dataset(path) as dataset:
        return sorted({path, *dataset.files})


def fingerprint(path: str) -> str:
    """The name of a file and its hash, or its size and the time of its last change.

    For a member of an archive, the archive counts, too. A remote file is known by its
    address alone.
    """
    stored = Path(path)
    if path.startswith("/vsi"):
        inner = [Path(root, *Path(path).parts[2:]) for root in ("/", "")]
        places = [place for start in inner for place in (start, *start.parents)]
        stored = next((place for place in places if place.is_file()), stored)
    if not stored.is_file():
        return path
    return _line(stored) if str(stored) == path else f"{path} in {_line(stored)}"


def _line(path: Path) -> str:
    status = path.stat()
    # A VRT is written again with the same text.
    if status.st_size <= SMALL or path.suffix.lower() == ".vrt":
        return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    return f"{path.name} {status.st_size} bytes {status.st_mtime_ns}"
