"""Labelled scenes read with GDAL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.raster.bands import require_bands
from hyseg_cli.geo.raster.raster import Raster, open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.raster.reflect import read_reflected
from hyseg_cli.geo.suffixes import VECTOR_SUFFIXES
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chip import Chip, PointRules
from hyseg_cli.learn.data.label_sources import LabelSource, RasterLabels, VectorLabels
from hyseg_cli.learn.data.pairs import TABLE_SUFFIXES, ScenePair
from hyseg_cli.learn.data.point_labels import read_layer, read_table
from hyseg_cli.legend import NODATA_ID, Legend


class RasterScene:
    """An image with its labels; windows are read from disk.

    Args:
        pair: The image, and the rasters or the vector file that label it.
        legend: The classes.
        bands: Indexes of the bands to use, from 1; None for all but alpha.
        class_field: Column of a vector file or of a table that holds the class.
        points: How points label their surroundings; None where there are none.
    """

    def __init__(
        self,
        pair: ScenePair,
        legend: Legend,
        bands: tuple[int, ...] | None,
        class_field: str,
        points: PointRules | None = None,
    ) -> None:
        self.name = str(pair.image)
        image = open_raster(pair.image)
        self.height, self.width = image.height, image.width
        chosen = bands or image.data_bands
        require_bands(chosen, len(image.dtypes), self.name)
        self.bands = len(chosen)
        self.dtype = image.dtypes[chosen[0] - 1]
        self.resolution_m = image.resolution_m()
        self._image = SceneReader(image, chosen)
        self._labels = _open_labels(pair.labels, image, legend, class_field, points)

    def read(self, window: Window) -> Chip:
        return Chip(*read_reflected(self._read_inside, self.height, self.width, window))

    def _read_inside(self, window: Window) -> tuple[npt.NDArray[Any], ...]:
        pixels = self._image.read(window)
        labels = np.where(pixels.valid, self._labels.read(window), NODATA_ID)
        return pixels.image, pixels.valid, labels.astype(np.uint8)


def _open_labels(
    paths: tuple[Path, ...],
    image: Raster,
    legend: Legend,
    class_field: str,
    points: PointRules | None,
) -> LabelSource:
    suffix = paths[0].suffix.lower()
    if suffix in TABLE_SUFFIXES and points is not None:
        return read_table(paths[0], image, legend, class_field, points)
    if suffix in VECTOR_SUFFIXES and points is not None:
        found = read_layer(paths[0], image, legend, class_field, points)
        if found is not None:
            return found
    if suffix in VECTOR_SUFFIXES:
        return VectorLabels(paths[0], image, legend, class_field)
    return RasterLabels(paths, image, legend)
