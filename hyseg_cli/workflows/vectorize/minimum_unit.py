"""Minimum mapping units, from the settings to a raster without regions below them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.classes.styles import ClassStyle, find_classes
from hyseg_cli.geo.coverage.merge import MergedRows, merge_small
from hyseg_cli.geo.coverage.regions import Floats, Regions
from hyseg_cli.geo.coverage.runs import NEVER, ClassRows
from hyseg_cli.settings.checks import Quantity
from hyseg_cli.settings.vectorize import VectorizeSettings

M2_PER_HA = 10_000.0


def merge_below_unit(
    settings: VectorizeSettings,
    source: ClassRows,
    regions: Regions,
    styles: Mapping[int, ClassStyle],
    no_class: int,
) -> tuple[ClassRows, int]:
    """The raster without regions below the minimum mapping unit, and the number of those regions.

    Args:
        settings: The units.
        source: The raster; where nodata is to be filled, nodata is a class of it.
        regions: Its regions.
        styles: Names of the classes.
        no_class: Value of nodata.
    """
    sizes, limits = _sizes_and_limits(settings, regions, styles)
    merging = merge_small(
        source, regions, sizes, limits, into=settings.mmu_into,
        closed_class=no_class if settings.fill_nodata else NEVER,
    )  # fmt: skip
    return MergedRows(source, merging, no_class), merging.merged


def _sizes_and_limits(
    settings: VectorizeSettings, regions: Regions, styles: Mapping[int, ClassStyle]
) -> tuple[Floats, Floats]:
    present = set(np.unique(regions.class_ids[1:]).tolist())
    limits = np.zeros(len(regions) + 1)

    def chosen(name: str, flag: str) -> npt.NDArray[np.bool_]:
        return np.isin(regions.class_ids, find_classes(name, styles, present, flag))

    in_pixels = False
    for text in sorted(settings.mmu, key=lambda text: "=" in text):
        name, _, amount = text.rpartition("=")
        quantity = Quantity.parse(amount, ("px", "m2", "ha"), "`mmu`")
        in_pixels = quantity.unit == "px"
        value = quantity.value * (M2_PER_HA if quantity.unit == "ha" else 1.0)
        if name:
            limits[chosen(name, "`mmu`")] = value
        else:
            limits[:] = value
    for name in settings.keep:
        limits[chosen(name, "`keep`")] = 0.0
    sizes = regions.pixels.astype(float) if in_pixels else regions.areas_m2
    return sizes, limits
