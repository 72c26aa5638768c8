"""Class rasters, wherever they are read: which types they may have, and which pixels have no class.

Ids are whole numbers of at most 32 bits with a sign. The type of the raster does not matter: what
another program wrote as float or in 64 bits is accepted if every value is such a number.

A pixel has no class where the raster says so, by a nodata value, a mask, alpha or NaN. In 8-bit
rasters that say nothing, 255 is nodata, as in every map that hyseg writes, unless a legend names a
class 255.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import ModelMismatchError
from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.window import Window
from hyseg_cli.legend import NODATA_ID

LEAST_ID, LARGEST_ID = -(2**31) + 2, 2**31 - 1
"""The two numbers below the least id stand for "no class" where regions are traced."""
_AS_THEY_ARE = ("uint8", "int8", "uint16", "int16", "int32")
_HINT = "Give a map of class ids, such as `hyseg predict` writes, not the scene or probabilities"


@dataclass(frozen=True)
class Classes:
    """A window of a class raster."""

    ids: npt.NDArray[Any]
    """(height, width), whole numbers of 8, 16 or 32 bits; anything where there is no class."""
    valid: npt.NDArray[np.bool_]
    """(height, width), False where there is no class."""


class ClassRaster:
    """Reads windows of a class raster; every thread and process gets a dataset handle of its own.

    Args:
        scene: The raster.
        onto: Read on the grid of this raster instead, by nearest neighbour; what lies beyond
            `scene` has no class. Both must be georeferenced.
        named: Class ids that a legend names.

    Raises:
        ModelMismatchError: If the raster cannot hold classes.
    """

    def __init__(
        self, scene: Raster, *, onto: Raster | None = None, named: frozenset[int] = frozenset()
    ) -> None:
        require_classes(scene)
        self.scene = scene
        band = scene.data_bands[0]
        self._dtype = scene.dtypes[band - 1]
        self._is_255_nodata = (
            self._dtype == "uint8" and not scene.declares_validity and NODATA_ID not in named
        )
        self._reader = SceneReader(scene, (band,), onto=onto)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.__exit__(kind, error, trace)

    @property
    def dtype(self) -> str:
        """Type of the ids that are read."""
        return self._dtype if self._dtype in _AS_THEY_ARE else "int32"

    @property
    def nodata(self) -> int | None:
        """Value of all pixels without class, and of no other; None if there may be none such."""
        if self._is_255_nodata:
            return NODATA_ID
        value = self.scene.nodata
        if value is None or not self.scene.has_nodata_only or self._dtype not in _AS_THEY_ARE:
            return None
        return int(value) if value % 1 == 0 and LEAST_ID <= value <= LARGEST_ID else None

    def read(self, window: Window) -> Classes:
        """The classes of a window inside the raster, or inside the grid that it is read on.

        Raises:
            ModelMismatchError: If a value is not a class id.
            UnusableFileError: If a block cannot be read.
        """
        pixels = self._reader.read(window)
        ids, valid = pixels.image[0], pixels.valid
        if self._is_255_nodata:
            valid = valid & (ids != NODATA_ID)
        if self._dtype not in _AS_THEY_ARE:
            ids = np.where(valid, ids, 0)
            self._require_ids(ids, window)
            ids = ids.astype(np.int32)
        return Classes(ids, valid)

    def _require_ids(self, values: npt.NDArray[Any], window: Window) -> None:
        is_id = (values >= LEAST_ID) & (values <= LARGEST_ID)
        if values.dtype.kind == "f":
            is_id &= values == np.rint(values)
        if is_id.all():
            return
        row, col = np.argwhere(~is_id)[0]
        raise _no_class_raster(
            self.scene,
            f"the pixel in row {window.row + row}, column {window.col + col} has the value "
            f"{values[row, col]}, not a whole number from {LEAST_ID} to {LARGEST_ID}",
            hint=f"{_HINT}. `gdal_translate -ot Int32 {self.scene.path} classes.tif` rounds it.",
        )


def require_classes(scene: Raster) -> None:
    """Refuse a raster that cannot hold classes, by what its header says.

    Raises:
        ModelMismatchError: If it has several bands, or holds the confidence of a map.
    """
    bands = scene.data_bands
    if len(bands) != 1:
        raise _no_class_raster(
            scene,
            f"it has {len(scene.dtypes)} bands of {', '.join(dict.fromkeys(scene.dtypes))}, "
            "not one of whole numbers",
            hint=f"{_HINT}. `gdal_translate -b 1 {scene.path} classes.tif` takes one band of it.",
        )
    if scene.descriptions[bands[0] - 1] == "confidence":
        raise _no_class_raster(scene, "it holds confidence", hint=f"{_HINT}.")


def holds_whole_numbers(scene: Raster) -> bool:
    """Whether a raster has one band beside alpha, of a type of whole numbers."""
    bands = scene.data_bands
    return len(bands) == 1 and np.dtype(scene.dtypes[bands[0] - 1]).kind in "iu"


def _no_class_raster(scene: Raster, problem: str, *, hint: str) -> ModelMismatchError:
    return ModelMismatchError(f"{scene.path} is not a class raster: {problem}", hint=hint)
