"""The rows of a class raster on disk; the next rows are read while others are processed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError  # closing a file raises it bare
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.classes.raster import ClassRaster
from hyseg_cli.geo.coverage.runs import ClassRows, Rows, strips
from hyseg_cli.geo.file_names import absolute
from hyseg_cli.geo.raster.facts import require_whole
from hyseg_cli.geo.raster.raster import open_dataset
from hyseg_cli.geo.window import Window

MASKED = 1 - 2**31
"""Stands for "no class" where no value of the raster does."""


class RasterRows:
    """The rows of a class raster (`ClassRows`), 8-bit as they are, wider types as int32.

    Args:
        raster: The raster; whoever opened it closes it.
    """

    def __init__(self, raster: ClassRaster) -> None:
        self.height, self.width = raster.scene.height, raster.scene.width
        self._raster = raster
        nodata = raster.nodata
        self._is_masked = nodata is None
        self.no_class = MASKED if nodata is None else nodata
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._ahead: tuple[tuple[int, int], Future[Rows]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def read(self, row: int, count: int) -> Rows:
        if self._ahead is not None and self._ahead[0] == (row, count):
            rows = self._ahead[1].result()
        else:
            rows = self._thread.submit(self._load, row, count).result()
        following = row + count
        more = min(count, self.height - following)
        self._ahead = None
        if more > 0:
            place = (following, more)
            self._ahead = (place, self._thread.submit(self._load, *place))
        return rows

    def _load(self, row: int, count: int) -> Rows:
        classes = self._raster.read(Window(row, 0, count, self.width))
        if self._is_masked:
            return np.where(classes.valid, classes.ids.astype(np.int32), MASKED)
        return classes.ids if classes.ids.dtype == np.uint8 else classes.ids.astype(np.int32)


@contextmanager
def _without_place_warning() -> Iterator[None]:
    """A raster made from one without georeference has none either."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def write_rows(source: ClassRows, raster: ClassRaster, out: Path) -> None:
    """Write a class raster on the grid of a scene, with its colours.

    Args:
        source: The classes.
        raster: What they come from.
        out: The file, which is not complete before this returns.

    Raises:
        HysegError: If it cannot be written.
    """
    by_mask, scene = source.no_class == MASKED, raster.scene
    try:
        with open_dataset(scene.path) as model:
            has_colors = model.colorinterp[0] == ColorInterp.palette
            colors = model.colormap(1) if has_colors else None
        with (
            _without_place_warning(),
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(
                absolute(out),
                "w",
                driver="GTiff",
                height=source.height,
                width=source.width,
                count=1,
                dtype=raster.dtype,
                crs=scene.crs,
                transform=scene.transform,
                nodata=None if by_mask else source.no_class,
                tiled=True,
                blockxsize=256,
                blockysize=256,
                compress="deflate",
                BIGTIFF="IF_SAFER",
            ) as file,
        ):
            for row, count in strips(source.height):
                rows = source.read(row, count)
                window = RasterWindow(0, row, source.width, count)
                if by_mask:
                    is_valid = rows != MASKED
                    file.write_mask(is_valid, window=window)
                    rows = np.where(is_valid, rows, 0)
                file.write(rows.astype(raster.dtype), 1, window=window)
            file.update_tags(**scene.tags)
            if colors is not None:
                file.write_colormap(1, colors)
        require_whole(out)
    except (OSError, RasterioError, CPLE_BaseError) as error:
        raise HysegError(
            f"{out}: the raster cannot be written ({error})",
            hint="Check the folder's permissions and the free space.",
        ) from error
