"""Scene: a georeferenced image, described when opened and read window by window."""

from __future__ import annotations

import math
import os
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterWindow

from hyseg_cli.errors import ModelMismatchError, UnusableFileError, UsageProblemError
from hyseg_cli.geo.grid import Window
from hyseg_cli.geo.reflect import read_reflected


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is known of a raster before its pixels are read."""

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
    crs: CRS | None
    transform: Affine
    """Pixel to map coordinates; the identity if the raster has no place."""
    tags: dict[str, str]
    """Metadata of the default domain."""

    @property
    def is_georeferenced(self) -> bool:
        return self.crs is not None and not self.transform.is_identity

    @property
    def data_bands(self) -> tuple[int, ...]:
        """Indexes, from 1, of the bands that are not alpha."""
        return tuple(i for i, color in enumerate(self.colors, 1) if color != "alpha")

    @property
    def noise_origin(self) -> tuple[int, int]:
        """Row and column of the first pixel on the grid that noise is keyed to.

        Scenes cut from one grid share it: it is the map coordinate over the pixel size. The
        quarter keeps both pixel-edge and pixel-centre grids away from the rounding threshold.
        """
        t = self.transform
        if not self.is_georeferenced or t.b != 0 or t.d != 0:
            return 0, 0
        return math.floor(t.f / t.e + 0.25), math.floor(t.c / t.a + 0.25)

    def is_on_grid_of(self, other: Scene) -> bool:
        """Whether both have the same pixels on the ground."""
        same_size = (self.height, self.width) == (other.height, other.width)
        close = np.allclose(self.transform[:6], other.transform[:6], rtol=1e-9, atol=0.0)
        return same_size and bool(close) and self.crs == other.crs

    def resolution_m(self) -> float | None:
        """Ground size of the middle pixel in metres, None if the place is not known.

        The geometric mean of both sides, measured on the ellipsoid, so that degrees and
        Web Mercator come out right too.
        """
        if self.crs is None or not self.is_georeferenced:
            return None
        row, col = self.height / 2, self.width / 2
        x, y = to_map(self.transform, np.array([col, col + 1, col]), np.array([row, row, row + 1]))
        try:
            to_degrees = pyproj.Transformer.from_crs(
                pyproj.CRS.from_wkt(self.crs.to_wkt()), "EPSG:4326", always_xy=True
            )
            lon, lat = to_degrees.transform(x, y, errcheck=True)
        except pyproj.exceptions.ProjError:
            return None
        geod = pyproj.Geod(ellps="WGS84")
        across, down = geod.inv(lon[[0, 0]], lat[[0, 0]], lon[1:], lat[1:])[2]
        return math.sqrt(across * down)


def to_map(
    transform: Affine, col: npt.NDArray[np.float64], row: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Map coordinates x, y of points at fractional columns and rows."""
    t = transform
    return t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f


@dataclass(frozen=True)
class Pixels:
    """A window of a scene."""

    image: npt.NDArray[Any]
    """(bands, height, width) in the scene's data type."""
    valid: npt.NDArray[np.bool_]
    """(height, width), False where the scene holds no data."""


def open_scene(path: str | Path) -> Scene:
    """Describe the raster at `path`: a file, or anything GDAL opens.

    Raises:
        UsageProblemError: If there is no such file.
        UnusableFileError: If GDAL cannot open it.
        ModelMismatchError: If it has no bands or complex values.
    """
    name = str(path)
    with open_dataset(name) as dataset:
        scene = Scene(
            path=name,
            height=dataset.height,
            width=dataset.width,
            dtypes=tuple(dataset.dtypes),
            colors=tuple(color.name for color in dataset.colorinterp),
            descriptions=tuple(dataset.descriptions),
            nodata=dataset.nodata,
            crs=dataset.crs,
            transform=dataset.transform,
            tags=dataset.tags(),
        )
    if not scene.dtypes:
        raise ModelMismatchError(
            f"{name}: the raster has no bands",
            hint="If it is a container (NetCDF, HDF), name a subdataset; `rio info` lists them.",
        )
    # GDAL's complex integers, "complex_int16", are no numpy types.
    if any(dtype.startswith("complex") for dtype in scene.dtypes):
        raise ModelMismatchError(
            f"{name}: the pixels are complex numbers ({scene.dtypes[0]})",
            hint="Map an amplitude or intensity image made from it.",
        )
    return scene


def open_dataset(name: str) -> rasterio.DatasetReader:
    """Open a raster; that it may have no place is not warned of.

    Raises:
        UsageProblemError: If there is no such file.
        UnusableFileError: If GDAL cannot open it.
    """
    is_local = "://" not in name and not name.startswith("/vsi")
    if is_local and not Path(name).exists():
        raise UsageProblemError(f"{name}: no such file", hint="Check the path for typing errors.")
    try:
        with warnings.catch_warnings():
            # `Scene.is_georeferenced` tells; each workflow says it once, in its own words.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(name)
    except RasterioIOError as error:
        raise UnusableFileError(
            f"{name}: cannot be opened as a raster ({_one_line(error)})",
            hint="`rio info FILE` shows what GDAL makes of it; the file may be damaged.",
        ) from error


class SceneReader:
    """Reads windows of a scene; every thread and process gets a dataset handle of its own.

    Args:
        scene: The scene to read.
        bands: Indexes of the bands to read, from 1, in the order wanted.
        onto: Read on the grid of this scene instead, by nearest neighbour; what lies beyond
            `scene` holds no data. Both must be georeferenced.
    """

    def __init__(self, scene: Scene, bands: tuple[int, ...], *, onto: Scene | None = None) -> None:
        self.scene = scene
        self.bands = bands
        self._grid = onto or scene
        self._local = threading.local()
        self._opened: list[rasterio.DatasetReader] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for dataset in self._opened:
            dataset.close()

    def read(self, window: Window) -> Pixels:
        """The pixels of a window; what lies beyond the scene's edges is reflected.

        Raises:
            UnusableFileError: If a block cannot be read.
        """
        image, valid = read_reflected(
            self._read_inside, self._grid.height, self._grid.width, window
        )
        return Pixels(image, valid)

    def _read_inside(self, window: Window) -> tuple[npt.NDArray[Any], ...]:
        place = RasterWindow(window.col, window.row, window.width, window.height)
        try:
            dataset = self._dataset()
            image = dataset.read(self.bands, window=place)
            masks = dataset.read_masks(self.bands, window=place) > 0
            if isinstance(dataset, WarpedVRT) and self._adds_alpha:
                # GDAL takes alpha for a mask only beside 8-bit and unsigned 16-bit bands.
                masks &= dataset.read(dataset.count, window=place) > 0
            flags = {f for b in self.bands for f in dataset.mask_flag_enums[b - 1]}
        except RasterioError as error:
            raise UnusableFileError(
                f"{self.scene.path}: rows {window.row} to {window.row_stop - 1} cannot be read "
                f"({_one_line(error)})",
                hint="The file is damaged or cut short: fetch or write it again.",
            ) from error
        return image, combine_masks(image, masks, by_nodata=MaskFlags.nodata in flags)

    def _dataset(self) -> rasterio.DatasetReader:
        # A forked process must not share the file position of its parent's handle.
        if getattr(self._local, "process", None) != os.getpid():
            opened = [open_dataset(self.scene.path)]
            if not self._grid.is_on_grid_of(self.scene):
                opened.insert(0, self._warped(opened[0]))
            with self._lock:
                self._opened += opened
            self._local.dataset, self._local.process = opened[0], os.getpid()
        dataset: rasterio.DatasetReader = self._local.dataset
        return dataset

    def _warped(self, dataset: rasterio.DatasetReader) -> WarpedVRT:
        return WarpedVRT(
            dataset,
            crs=self._grid.crs,
            transform=self._grid.transform,
            height=self._grid.height,
            width=self._grid.width,
            resampling=Resampling.nearest,
            nodata=self.scene.nodata,
            add_alpha=self._adds_alpha,
        )

    @property
    def _adds_alpha(self) -> bool:
        """Whether a warped raster needs a band that tells where it ends."""
        return self.scene.nodata is None and "alpha" not in self.scene.colors


def combine_masks(
    image: npt.NDArray[Any], masks: npt.NDArray[np.bool_], *, by_nodata: bool
) -> npt.NDArray[np.bool_]:
    """Which pixels hold data, from the masks of their bands.

    A pixel is empty if any band is masked or is not finite. Only with an 8-bit nodata value all
    bands must have it: 0 or 255 is an ordinary dark or bright value in one band alone.

    Args:
        image: (bands, height, width).
        masks: bool (bands, height, width), True where the band holds data.
        by_nodata: The masks come from a nodata value, not from alpha or a mask band.

    Returns:
        bool (height, width).
    """
    if by_nodata and image.dtype.itemsize == 1:
        return np.asarray(masks.any(axis=0))
    if image.dtype.kind == "f":
        masks = masks & np.isfinite(image)
    return np.asarray(masks.all(axis=0))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
