"""The rows of a class raster on disk; the next rows are read while others are processed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from hyseg_cli.errors import HysegError, ModelMismatchError
from hyseg_cli.geo.coverage.runs import NEVER, ClassRows, Rows, strips
from hyseg_cli.geo.raster.raster import Raster, open_dataset

MASKED = 1 - 2**31
"""Stands for "no class" where the raster names no nodata value."""

CLASS_TYPES = ("uint8", "int8", "uint16", "int16", "int32")


class RasterRows:
    """A raster of one band of class ids (`ClassRows`): 8-bit as stored, wider types as int32.

    Raises:
        ModelMismatchError: If the raster has several bands or does not hold whole numbers.
        HysegError: If a row cannot be read.
    """

    def __init__(self, scene: Raster) -> None:
        is_share = scene.descriptions[:1] == ("confidence",)
        if len(scene.dtypes) != 1 or scene.dtypes[0] not in CLASS_TYPES or is_share:
            raise ModelMismatchError(
                f"{scene.path} is not a class raster: it has {', '.join(scene.dtypes)}"
                f"{' of confidence' if is_share else ''}, "
                "not one band of whole numbers of at most 32 bits",
                hint="Give the map that `hyseg predict` wrote, not the scene or probabilities.",
            )
        self.height, self.width = scene.height, scene.width
        self._path = scene.path
        self._dataset = open_dataset(scene.path)
        flags = self._dataset.mask_flag_enums[0]
        self._by_mask = MaskFlags.per_dataset in flags or MaskFlags.alpha in flags
        self._nodata = _whole(scene.nodata)
        # The kernels reserve the least number.
        self._by_mask |= self._nodata == NEVER
        self.no_class = MASKED if self._nodata is None or self._by_mask else self._nodata
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
        self._dataset.close()

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
        window = RasterWindow(0, row, self.width, count)
        try:
            rows = self._dataset.read(1, window=window)
            if self._by_mask:
                valid = self._dataset.read_masks(1, window=window) > 0
                if self._nodata is not None:
                    valid &= rows != self._nodata
                rows = np.where(valid, rows.astype(np.int32), MASKED)
        except RasterioError as error:
            raise HysegError(
                f"{self._path}: rows {row} to {row + count - 1} cannot be read ({error})",
                hint="The file is damaged or cut short: fetch or write it again.",
            ) from error
        return rows if rows.dtype == np.uint8 else rows.astype(np.int32)


def _whole(nodata: float | None) -> int | None:
    """A nodata value that pixels of whole numbers can have."""
    if nodata is None or not math.isfinite(nodata) or nodata != int(nodata):
        return None
    return int(nodata) if -(2**31) <= nodata < 2**31 else None


@contextmanager
def _without_place_warning() -> Iterator[None]:
    """A raster made from one without georeference has none either."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def write_rows(source: ClassRows, scene: Raster, out: Path) -> None:
    """Write a class raster on the grid of a scene, with its colours.

    Raises:
        HysegError: If it cannot be written.
    """
    temporary = out.with_name(out.name + ".tmp")
    by_mask = source.no_class == MASKED
    try:
        with open_dataset(scene.path) as model:
            has_colors = model.colorinterp[0] == ColorInterp.palette
            colors = model.colormap(1) if has_colors else None
        with (
            _without_place_warning(),
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(
                temporary,
                "w",
                driver="GTiff",
                height=source.height,
                width=source.width,
                count=1,
                dtype=scene.dtypes[0],
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
                file.write(rows.astype(scene.dtypes[0]), 1, window=window)
            file.update_tags(**scene.tags)
            if colors is not None:
                file.write_colormap(1, colors)
        temporary.replace(out)
    except (OSError, RasterioError) as error:
        raise HysegError(
            f"{out}: the raster cannot be written ({error})",
            hint="Check the folder's permissions and the free space.",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
