"""Which pixels hold data: nodata values, alpha, masks, NaN, and undeclared collars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window as RasterWindow

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.raster.collar import Collar

Mask = npt.NDArray[np.bool_]
Values = tuple[float | None, ...]

WIDE = ("int64", "uint64")


@dataclass(frozen=True)
class Validity:
    """Rules for empty pixels, besides those that the raster itself declares."""

    nodata: tuple[float, ...] = ()
    """Replace the raster's nodata values, one for all bands read or one for each; empty to
    keep those. Alpha and mask bands count in any case."""
    collar: Collar | None = None
    """Undeclared borders without data."""

    def require_fit(self, dtypes: tuple[str, ...]) -> None:
        """Refuse nodata values that bands of these types cannot have.

        Raises:
            UsageProblemError: If the count is wrong, or a value is outside the type's range.
        """
        if not self.nodata:
            return
        if len(self.nodata) not in (1, len(dtypes)):
            raise UsageProblemError(
                f"`src_nodata` names {len(self.nodata)} values for {len(dtypes)} bands",
                hint="Give one value for all bands, or one for each band in use.",
            )
        for value, dtype in zip(self._values(len(dtypes)), dtypes, strict=True):
            if not _can_hold(np.dtype(dtype), value):
                raise UsageProblemError(
                    f"`src_nodata` {value:g} is not a valid value for {dtype} bands",
                    hint="`rio info FILE` shows the data type and the nodata value of a raster.",
                )

    def _values(self, count: int) -> tuple[float, ...]:
        return self.nodata * count if len(self.nodata) == 1 else self.nodata

    def values_of(self, dataset: rasterio.DatasetReader, bands: tuple[int, ...]) -> Values:
        """Nodata value of each band; None where there is none, or where a mask stands for it.

        For 64-bit integers GDAL's mask does: as a float their nodata value may be another number.
        """
        if self.nodata:
            return self._values(len(bands))
        return tuple(
            dataset.nodatavals[band - 1]
            if dataset.mask_flag_enums[band - 1] == [MaskFlags.nodata]
            and dataset.dtypes[band - 1] not in WIDE
            else None
            for band in bands
        )


AS_DECLARED = Validity()
"""Only what the raster itself declares."""


def _can_hold(dtype: np.dtype[Any], value: float) -> bool:
    if dtype.kind == "f":
        return math.isnan(value) or abs(value) <= float(np.finfo(dtype).max)
    limits = np.iinfo(dtype)
    return value % 1 == 0 and limits.min <= value <= limits.max


def valid_pixels(
    dataset: rasterio.DatasetReader,
    bands: tuple[int, ...],
    image: npt.NDArray[Any],
    window: RasterWindow,
    rule: Validity,
) -> Mask:
    """Which pixels of a window inside the raster hold data.

    Args:
        dataset: The raster.
        bands: Indexes of the bands read, from 1.
        image: Their pixels, (bands, height, width).
        window: Where they were read.
        rule: Rules besides the raster's own nodata values and masks.

    Returns:
        bool (height, width).

    Raises:
        RasterioError: If a mask cannot be read.
    """
    flags = [set(dataset.mask_flag_enums[band - 1]) for band in bands]
    by_nodata = [MaskFlags.nodata in found or bool(rule.nodata) for found in flags]
    masks = []
    for index, value in enumerate(rule.values_of(dataset, bands)):
        mask = None if value is None else _differs(image[index], value)
        # Values of the user replace those of the raster, also those that GDAL keeps as a mask.
        is_replaced = rule.nodata and MaskFlags.nodata in flags[index]
        is_masked = flags[index].isdisjoint({MaskFlags.all_valid, MaskFlags.nodata})
        is_wide = image.dtype.name in WIDE and MaskFlags.nodata in flags[index]
        if not is_replaced and (is_masked or is_wide or MaskFlags.per_dataset in flags[index]):
            mask = _both(mask, dataset.read_masks(bands[index], window=window) > 0)
        if image.dtype.kind == "f":
            mask = _both(mask, np.isfinite(image[index]))
        masks.append(mask)
    valid = _combined(masks, by_nodata, one_is_enough=image.dtype.itemsize == 1)
    if valid is None:
        valid = np.ones(image.shape[1:], bool)
    # A nodata value hides alpha from GDAL's masks, and so does a type above 16 bits.
    if not all(MaskFlags.alpha in found for found in flags):
        for band, color in enumerate(dataset.colorinterp, 1):
            if color == ColorInterp.alpha:
                valid &= dataset.read(band, window=window) > 0
    if rule.collar is not None:
        valid &= ~rule.collar.mask(image, window.row_off, window.col_off)
    return valid


def _differs(band: npt.NDArray[Any], value: float) -> Mask | None:
    """Where a band has another value; None for everywhere, if it cannot have this value."""
    if not _can_hold(band.dtype, value):
        return None
    return np.asarray(~np.isnan(band) if math.isnan(value) else band != band.dtype.type(value))


def _both(one: Mask | None, other: Mask) -> Mask:
    return other if one is None else one & other


def _combined(
    masks: list[Mask | None], by_nodata: list[bool], *, one_is_enough: bool
) -> Mask | None:
    """Which pixels hold data, from the masks of their bands; None means all pixels.

    A pixel is empty if any band is masked or is not finite. Only with 8-bit nodata values all
    bands that have one must be masked: 0 or 255 is an ordinary dark or bright value in one band.

    Args:
        masks: bool (height, width) of each band, True where it holds data.
        by_nodata: By band, whether its mask comes from a nodata value, not from alpha or a mask
            band.
        one_is_enough: Whether data in one of the latter bands will do.
    """
    valid: Mask | None = None
    every = list(zip(masks, by_nodata, strict=True))
    if one_is_enough:
        by_value = [mask for mask, is_value in every if is_value]
        valid = _any_of([mask for mask in by_value if mask is not None], len(by_value))
    for mask, is_value in every:
        if mask is not None and not (is_value and one_is_enough):
            valid = _both(valid, mask)
    return valid


def _any_of(masks: list[Mask], bands: int) -> Mask | None:
    """Where any of some bands holds data; None for everywhere, if a band has no mask."""
    if not masks or len(masks) < bands:
        return None
    found = masks[0].copy()
    # One after the other: a reduction over a stack of masks would copy them first.
    for mask in masks[1:]:
        found |= mask
    return found
