"""A raster: the facts about it that are known before its pixels are read.

Georeference by control: ground control points or rational polynomials instead of a transform.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC
from rasterio.transform import RPCTransformer, from_gcps

from hyseg_cli.errors import ModelMismatchError, UnusableFileError, UsageProblemError
from hyseg_cli.geo.crs import crs_text, horizontal
from hyseg_cli.geo.file_names import raster_name
from hyseg_cli.geo.raster.gdal import READ_ERRORS, cause_of, reading_header
from hyseg_cli.geo.window import Window

Floats = npt.NDArray[np.float64]

LARGEST_COORDINATE = 1e15
"""Of a raster in any unit; more than that is a damaged header."""
SMALLEST_RATIO = 1e-9
"""Of the sides of a pixel, and of its area to that of a rectangle of its sides."""
MIN_POINTS = 3
"""Ground control points that determine an affine transform."""


@dataclass(frozen=True)
class GroundControl:
    """Georeference of a raster without transform; copied to the map unchanged."""

    points: tuple[GroundControlPoint, ...]
    """Ground control points, empty if there are only polynomials."""
    crs: CRS | None
    """CRS of the points."""
    rpc: Mapping[str, str]
    """Rational polynomial coefficients as GDAL's metadata domain RPC holds them."""

    @classmethod
    def of(cls, dataset: rasterio.DatasetReader) -> GroundControl | None:
        """The control of an open raster, None if it has none."""
        points, crs = dataset.gcps
        rpc = dataset.tags(ns="RPC")
        return cls(tuple(points), crs, rpc) if points or rpc else None

    def seen_from(self, window: Window) -> GroundControl:
        """The same for a window of the raster."""
        points = tuple(
            GroundControlPoint(
                row=point.row - window.row,
                col=point.col - window.col,
                x=point.x,
                y=point.y,
                z=point.z,
                id=point.id,
                info=point.info,
            )
            for point in self.points
        )
        shifts = {"LINE_OFF": window.row, "SAMP_OFF": window.col}
        rpc = {
            key: repr(float(value) - shifts[key]) if shifts.get(key) else value
            for key, value in self.rpc.items()
        }
        return GroundControl(points, self.crs, rpc)

    def to_degrees(self, col: Floats, row: Floats) -> tuple[Floats, Floats] | None:
        """Longitude and latitude of points at fractional columns and rows, None if not known.

        Ground control points give the affine transform that fits best, polynomials the location at
        their middle height: accurate enough to measure pixels.

        Raises:
            pyproj.exceptions.ProjError: If the CRS cannot be converted.
        """
        if len(self.points) >= MIN_POINTS and self.crs is not None:
            fit = from_gcps(self.points)
            x, y = fit.a * col + fit.b * row + fit.c, fit.d * col + fit.e * row + fit.f
            return degrees(self.crs, x, y)
        if not self.rpc:
            return None
        rpc = RPC.from_gdal(dict(self.rpc))
        # The transformer uses whole numbers for pixel centres.
        with RPCTransformer(rpc) as transformer:
            x, y = transformer.xy(row, col, zs=np.full(len(row), rpc.height_off), offset="ul")
        return np.asarray(x, np.float64), np.asarray(y, np.float64)

    def to_vrt(self) -> list[ET.Element]:
        """The elements of a VRT that hold it."""
        elements = []
        if self.points:
            gcps = ET.Element("GCPList")
            if self.crs is not None:
                gcps.set("Projection", crs_text(self.crs))
                gcps.set("dataAxisToSRSAxisMapping", "2,1" if self.crs.is_geographic else "1,2")
            for number, point in enumerate(self.points, 1):
                ET.SubElement(
                    gcps,
                    "GCP",
                    Id=point.id or str(number),
                    Info=point.info or "",
                    Pixel=repr(float(point.col)),
                    Line=repr(float(point.row)),
                    X=repr(float(point.x)),
                    Y=repr(float(point.y)),
                    Z=repr(float(point.z or 0.0)),
                )
            elements.append(gcps)
        if self.rpc:
            domain = ET.Element("Metadata", domain="RPC")
            for key, value in self.rpc.items():
                ET.SubElement(domain, "MDI", key=key).text = value
            elements.append(domain)
        return elements


def degrees(crs: CRS, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Longitude and latitude of map coordinates.

    Raises:
        pyproj.exceptions.ProjError: If the CRS cannot be converted.
    """
    import pyproj  # takes long to load

    to_degrees = pyproj.Transformer.from_crs(horizontal(crs), "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(x, y, errcheck=True)
    return lon, lat


FARTHEST_M = 1e8
"""Coordinates of projections end before: twice around the earth and some."""
FINEST_M = 1e-3
"""Pixels on the ground are larger, in any image from above."""


@dataclass(frozen=True, kw_only=True)
class Raster:
    """The facts about a raster that are known before its pixels are read."""

    path: str
    height: int
    """Rows."""
    width: int
    """Columns."""
    dtypes: tuple[str, ...]
    """Data type of each band, as numpy names it."""
    colors: tuple[str, ...]
    """Colour interpretation of each band: red, green, blue, alpha, gray, undefined, ..."""
    descriptions: tuple[str | None, ...]
    """Description of each band."""
    nodata: float | None
    """Nodata value of the first band."""
    declares_validity: bool
    """Whether a nodata value, alpha or a mask declares which pixels hold data."""
    has_nodata_only: bool
    """Whether in the first band the nodata value alone does, neither alpha nor a mask."""
    block: tuple[int, int]
    """Height and width of the blocks that the first band is stored in."""
    crs: CRS | None
    transform: Affine
    """Pixel to map coordinates; the identity if the raster is not georeferenced."""
    control: GroundControl | None
    """Ground control points or rational polynomials."""
    tags: dict[str, str]
    """Metadata of the default domain."""

    @property
    def is_georeferenced(self) -> bool:
        """Whether a CRS and a transform say where each pixel lies."""
        return self.crs is not None and not self.transform.is_identity

    @property
    def has_frame(self) -> bool:
        """Whether a transform says where pixels lie, in whatever CRS."""
        return not self.transform.is_identity

    @property
    def has_place(self) -> bool:
        """Whether a transform or control ties it to the ground."""
        return self.is_georeferenced or self.control is not None

    @property
    def data_bands(self) -> tuple[int, ...]:
        """Indexes, from 1, of the bands that are not alpha."""
        return tuple(i for i, color in enumerate(self.colors, 1) if color != "alpha")

    @property
    def noise_origin(self) -> tuple[int, int]:
        """Row and column of the first pixel on the grid that determines the noise.

        Scenes cut from one grid share it: it is the map coordinate over the pixel size. The
        quarter keeps both pixel-edge and pixel-centre grids away from the rounding threshold.
        """
        t = self.transform
        if not self.is_georeferenced or t.b != 0 or t.d != 0:
            return 0, 0
        return math.floor(t.f / t.e + 0.25), math.floor(t.c / t.a + 0.25)

    def is_on_grid_of(self, other: Raster) -> bool:
        """Whether both have the same pixels on the ground."""
        same_size = (self.height, self.width) == (other.height, other.width)
        close = np.allclose(self.transform[:6], other.transform[:6], rtol=1e-9, atol=0.0)
        return same_size and bool(close) and self.crs == other.crs

    def resolution_m(self) -> float | None:
        """Ground size of the middle pixel in metres, None if the location is not known.

        The geometric mean of both sides, measured on the ellipsoid, so that degrees and
        Web Mercator come out right too.
        """
        sides = self.pixel_sides_m()
        return None if sides is None else math.sqrt(sides[0] * sides[1])

    def pixel_sides_m(self) -> tuple[float, float] | None:
        """Width and height in metres of the middle pixel, None if the location is not known."""
        row, col = self.height / 2, self.width / 2
        cols, rows = np.array([col, col + 1, col]), np.array([row, row, row + 1])
        place = self.to_degrees(cols, rows)
        if place is None:
            return None
        lon, lat = place
        import pyproj  # takes long to load

        geod = pyproj.Geod(ellps="WGS84")
        across, down = geod.inv(lon[[0, 0]], lat[[0, 0]], lon[1:], lat[1:])[2]
        return float(across), float(down)

    def to_degrees(
        self, col: npt.NDArray[np.float64], row: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
        """Longitude and latitude of fractional columns and rows, None if they are not known."""
        from pyproj.exceptions import ProjError

        if contradiction_of(self) is not None:
            return None
        try:
            if self.crs is not None and self.is_georeferenced:
                return degrees(self.crs, *to_map(self.transform, col, row))
            return None if self.control is None else self.control.to_degrees(col, row)
        except (ProjError, ValueError, KeyError):  # polynomials may hold anything
            return None


def to_map(
    transform: Affine, col: npt.NDArray[np.float64], row: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Map coordinates x, y of points at fractional columns and rows."""
    t = transform
    return t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f


def _is_place(transform: Affine) -> bool:
    """Whether a transform puts pixels of some area in some place."""
    t = transform
    sides = math.hypot(t.a, t.d), math.hypot(t.b, t.e)
    if not all(math.isfinite(value) and abs(value) < LARGEST_COORDINATE for value in t[:6]):
        return False
    return (
        min(sides) > SMALLEST_RATIO * max(sides)
        and max(sides) > 1.0 / LARGEST_COORDINATE
        and abs(t.a * t.e - t.b * t.d) > SMALLEST_RATIO * sides[0] * sides[1]
    )


def contradiction_of(scene: Raster) -> str | None:
    """What the coordinates of a raster say against its CRS, None if they go together."""
    if scene.crs is None or not scene.is_georeferenced:
        return None
    cols, rows = np.array([0, 1, 1, 0]) * scene.width, np.array([0, 0, 1, 1]) * scene.height
    x, y = (float(np.abs(values).max()) for values in to_map(scene.transform, cols, rows))
    t = scene.transform
    pixel = max(abs(value) for value in (t.a, t.b, t.d, t.e))
    if scene.crs.is_geographic:
        unit = math.degrees(scene.crs.units_factor[1])
        return _no_degrees(x * unit, y * unit, pixel * unit)
    return _no_metres(scene.crs, x, y, pixel) if scene.crs.is_projected else None


def _no_degrees(x: float, y: float, pixel: float) -> str | None:
    # Grids of points reach half a pixel beyond the poles, and global ones some turns around.
    if y <= 90.0 + pixel and x <= 2 * 360.0 + pixel:
        return None
    if x <= 90.0 and y <= 360.0:
        return f"its latitudes reach {y:.6g} degrees: latitude and longitude may be swapped"
    return f"its CRS is in degrees, but its coordinates reach {max(x, y):.10g}"


def _no_metres(crs: CRS, x: float, y: float, pixel: float) -> str | None:
    unit, metre = crs.linear_units_factor
    if max(x, y) * metre > FARTHEST_M:
        return f"its coordinates reach {max(x, y):.6g} {unit}, further than the earth does"
    if pixel * metre < FINEST_M and x <= 360.0 and y <= 90.0:
        return f"its CRS is in {unit}, but its pixels of {pixel:.3g} look like degrees"
    return None


def open_raster(path: str | Path, *, is_sound: bool = True) -> Raster:
    """Describe the raster at `path`: a file, or anything GDAL opens.

    Args:
        path: Its name.
        is_sound: Refuse a raster whose coordinates contradict its CRS.

    Raises:
        UsageProblemError: If there is no such file.
        UnusableFileError: If GDAL cannot open it, or its geotransform is not one.
        ModelMismatchError: If it has no bands or complex values, or its CRS cannot be true.
    """
    name = str(path)
    with reading_header(name), open_dataset(name) as dataset:
        scene = Raster(
            path=name,
            height=dataset.height,
            width=dataset.width,
            dtypes=tuple(dataset.dtypes),
            colors=tuple(color.name for color in dataset.colorinterp),
            descriptions=tuple(dataset.descriptions),
            nodata=dataset.nodata,
            declares_validity=any(
                MaskFlags.all_valid not in flags for flags in dataset.mask_flag_enums
            ),
            has_nodata_only=dataset.mask_flag_enums[:1] == ([MaskFlags.nodata],)
            and ColorInterp.alpha not in dataset.colorinterp,
            block=dataset.block_shapes[0] if dataset.count else (1, 1),
            crs=dataset.crs or None,
            transform=dataset.transform,
            control=GroundControl.of(dataset),
            tags=dataset.tags(),
        )
    if not scene.dtypes:
        raise ModelMismatchError(
            f"{name}: the raster has no bands",
            hint="If it is a container (NetCDF, HDF), name a subdataset; `rio info` lists them.",
        )
    if not _is_place(scene.transform):
        raise UnusableFileError(
            f"{name}: its geotransform is not valid ({', '.join(map(str, scene.transform[:6]))})",
            hint="Write it again, or give it a place: gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM.",
        )
    problem = contradiction_of(scene) if is_sound else None
    if problem is not None:
        raise ModelMismatchError(
            f"{name} contradicts its CRS: {problem}",
            hint="Assign the CRS that its coordinates are in: gdal_edit.py -a_srs EPSG:...",
        )
    # GDAL's complex integers, "complex_int16", are not numpy types.
    if any(dtype.startswith("complex") for dtype in scene.dtypes):
        raise ModelMismatchError(
            f"{name}: the pixels are complex numbers ({scene.dtypes[0]})",
            hint="Map an amplitude or intensity image made from it.",
        )
    return scene


def open_dataset(name: str) -> rasterio.DatasetReader:
    """Open a raster, without a warning if it is not georeferenced.

    Raises:
        UsageProblemError: If there is no such file.
        UnusableFileError: If GDAL cannot open it.
    """
    if not is_utf8(name):
        raise UnusableFileError(
            f"{name}: the name is not in UTF-8, so GDAL cannot open it", hint="Rename the file."
        )
    try:
        with warnings.catch_warnings():
            # `Scene.is_georeferenced` says so; each workflow reports it once, in its own words.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(raster_name(name))
    except READ_ERRORS as error:
        if not (_GDAL_NAME.match(name) or Path(name).exists()):
            raise UsageProblemError(
                f"{name}: no such file", hint="Check the path for typing errors."
            ) from error
        raise UnusableFileError(
            f"{name}: cannot be opened as a raster ({cause_of(error)})",
            hint="The file may be damaged; `rio info FILE` shows what GDAL reads from it.",
        ) from error


_GDAL_NAME = re.compile(r"/vsi|[A-Za-z0-9_+]{2,}:")
"""Not a path: a virtual file system, a URL, a subdataset such as NETCDF:file:variable."""


def is_utf8(name: str) -> bool:
    """Whether GDAL can open this name; names on Linux may hold any bytes."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def is_remote(name: str) -> bool:
    """Whether a raster is read over a network."""
    return "://" in name or name.startswith(("/vsicurl/", "/vsis3/", "/vsigs/", "/vsiaz/"))
