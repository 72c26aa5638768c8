"""Windows of a scene: pixels, and which of them hold data."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterWindow

from hyseg_cli.geo.crs import horizontal, way_between
from hyseg_cli.geo.raster.collar import MOST_EDGE_BYTES, edge_bytes, find_collar
from hyseg_cli.geo.raster.gdal import DAMAGED, naming_the_cause
from hyseg_cli.geo.raster.ground import PLANE, moved, steps_onto
from hyseg_cli.geo.raster.raster import Raster, is_remote, open_dataset
from hyseg_cli.geo.raster.reflect import inner_part, mirror_edges, read_reflected
from hyseg_cli.geo.raster.validity import AS_DECLARED, Validity, valid_pixels
from hyseg_cli.geo.window import Window

REMOTE_OPTIONS = {
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
}
"""GDAL options for rasters on a network: servers that stall or stop end in an error."""


REMOTE = "The server or the network failed: run again, or fetch the file first."


@dataclass(frozen=True)
class Pixels:
    """A window of a scene."""

    image: npt.NDArray[Any]
    """(bands, height, width) in the scene's data type."""
    valid: npt.NDArray[np.bool_]
    """(height, width), False where the scene holds no data."""


class SceneReader:
    """Reads windows of a scene; every thread and process has its own dataset handle.

    Args:
        scene: The scene to read.
        bands: Indexes of the bands to read, from 1, in the order wanted.
        onto: Read on the grid of this scene instead, by nearest neighbour; pixels beyond
            `scene` hold no data. Both must be georeferenced.
        validity: Rules for empty pixels, besides those that the raster declares.

    Raises:
        UnusableFileError: If nothing leads from the CRS of `scene` to that of `onto`.
    """

    def __init__(
        self,
        scene: Raster,
        bands: tuple[int, ...],
        *,
        onto: Raster | None = None,
        validity: Validity = AS_DECLARED,
    ) -> None:
        self.scene = scene
        self.bands = bands
        self._grid = onto or scene
        if onto is not None and None not in (scene.crs, onto.crs) and scene.crs != onto.crs:
            names = f"{scene.path} and {onto.path}"
            way_between(horizontal(scene.crs), horizontal(onto.crs), names)
        self._validity = validity
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
        """The pixels of a window; pixels beyond the scene's edges are reflected.

        Raises:
            UnusableFileError: If a block cannot be read.
        """
        image, valid = read_reflected(
            self._read_inside, self._grid.height, self._grid.width, window
        )
        return Pixels(image, valid)

    def room_for(self, height: int, width: int) -> Pixels:
        """Uninitialised memory for a window of some size."""
        dtype = self.scene.dtypes[self.bands[0] - 1]
        return Pixels(
            np.empty((len(self.bands), height, width), dtype), np.empty((height, width), bool)
        )

    def read_into(self, room: Pixels, window: Window) -> None:
        """As `read`, into memory of the window's size; it may be a part of larger arrays.

        Raises:
            UnusableFileError: If a block cannot be read.
        """
        inner = inner_part(self._grid.height, self._grid.width, window)
        if inner is None:
            pixels = self.read(window)
            room.image[:], room.valid[:] = pixels.image, pixels.valid
            return
        rows, cols = inner
        place = Window(
            window.row + rows.start,
            window.col + cols.start,
            rows.stop - rows.start,
            cols.stop - cols.start,
        )
        _, room.valid[rows, cols] = self._read_inside(place, room.image[:, rows, cols])
        for array in (room.image, room.valid):
            mirror_edges(array, rows, cols)

    def _read_inside(
        self, window: Window, room: npt.NDArray[Any] | None = None
    ) -> tuple[npt.NDArray[Any], ...]:
        place = RasterWindow(window.col, window.row, window.width, window.height)
        rows = f"{self.scene.path}: rows {window.row} to {window.row_stop - 1} cannot be read"
        with naming_the_cause(rows, hint=REMOTE if is_remote(self.scene.path) else DAMAGED):
            dataset = self._dataset()
            image = dataset.read(self.bands, window=place, out=room)
            valid = valid_pixels(dataset, self.bands, image, place, self._validity)
            for other in self._local.others:
                more = other.read(self.bands, window=place)
                is_new = ~valid & valid_pixels(other, self.bands, more, place, self._validity)
                image[:, is_new], valid[is_new] = more[:, is_new], True
        return image, valid

    def _dataset(self) -> rasterio.DatasetReader:
        # A forked process must not share the file position of its parent's handle.
        if getattr(self._local, "process", None) != os.getpid():
            opened, read = [open_dataset(self.scene.path)], []
            if not self._grid.is_on_grid_of(self.scene):
                read = [
                    self._warped(opened[0], step) for step in steps_onto(self.scene, self._grid)
                ]
            with self._lock:
                self._opened += [*read, *opened]
            self._local.dataset, *self._local.others = read or opened
            self._local.process = os.getpid()
        dataset: rasterio.DatasetReader = self._local.dataset
        return dataset

    def _warped(self, dataset: rasterio.DatasetReader, step: float) -> WarpedVRT:
        """The raster on the grid, after a step in x."""
        is_named = self._grid.crs is not None and self.scene.crs is not None
        return WarpedVRT(
            dataset,
            src_crs=self.scene.crs if is_named else PLANE,
            src_transform=moved(self.scene.transform, step),
            crs=self._grid.crs if is_named else PLANE,
            transform=self._grid.transform,
            height=self._grid.height,
            width=self._grid.width,
            resampling=Resampling.nearest,
            nodata=self.scene.nodata,
            # Marks where it ends, if neither a nodata value nor alpha does.
            add_alpha=self.scene.nodata is None and "alpha" not in self.scene.colors,
        )


def scene_validity(
    scene: Raster,
    bands: tuple[int, ...],
    *,
    nodata: tuple[float, ...],
    find_collars: bool,
    window: Callable[[], Window | None] = lambda: None,
) -> Validity:
    """The rule for a scene: the requested nodata values, or otherwise a collar, if any.

    A collar is looked for only where neither the raster nor the user says what is empty. Blocks
    on the edge are read for it, and those that it covers. Of a raster whose edge alone is more than
    can be read, the window is searched as if it were a raster of its own, if one was asked for.

    Args:
        scene: The scene.
        bands: Indexes of the bands in use, from 1.
        nodata: Values that count as nodata; empty for those that the raster declares.
        find_collars: Look for collars.
        window: Gives the pixels that are wanted; None for all.

    Raises:
        UsageProblemError: If the nodata values do not fit the bands.
        UnusableFileError: If a block cannot be read.
    """
    asked = Validity(nodata=nodata)
    dtypes = tuple(scene.dtypes[band - 1] for band in bands)
    asked.require_fit(dtypes)
    if nodata or scene.declares_validity or not find_collars:
        return asked
    pixel_bytes = sum(np.dtype(dtype).itemsize for dtype in dtypes)
    place = Window(0, 0, scene.height, scene.width)
    if edge_bytes((place.height, place.width), pixel_bytes) > MOST_EDGE_BYTES:
        wanted = window()
        if wanted is None or edge_bytes((wanted.height, wanted.width), pixel_bytes) > (
            MOST_EDGE_BYTES
        ):
            return asked
        place = wanted
    with SceneReader(scene, bands) as reader:
        collar = find_collar(
            lambda part: (
                reader.read(
                    Window(place.row + part.row, place.col + part.col, part.height, part.width)
                ).image
            ),
            (place.height, place.width),
            block=scene.block,
            pixel_bytes=pixel_bytes,
        )
    return Validity(collar=collar and replace(collar, origin=(place.row, place.col)))
