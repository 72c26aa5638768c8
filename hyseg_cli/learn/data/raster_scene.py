"""Labelled scenes read with GDAL."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.raster.bands import require_bands
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.raster.reflect import read_reflected
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chip import Chip
from hyseg_cli.learn.data.label_sources import LabelSource, RasterLabels, VectorLabels
from hyseg_cli.learn.data.pairs import VECTOR_SUFFIXES, ScenePair
from hyseg_cli.legend import NODATA_ID, Legend


class RasterScene:
    """An image with its labels; windows are read from disk.

    Args:
        pair: The image, and the rasters or the vector file that label it.
        legend: The classes.
        bands: Indexes of the bands to use, from 1; None for all but alpha.
        class_field: Column of a vector file that holds the class.
    """

    def __init__(
        self,
        pair: ScenePair,
        legend: Legend,
        bands: tuple[int, ...] | None,
        class_field: str,
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
        self._labels: LabelSource
        if pair.labels[0].suffix.lower() in VECTOR_SUFFIXES:
            self._labels = VectorLabels(pair.labels[0], image, legend, class_field)
        else:
            self._labels = RasterLabels(pair.labels, image, legend)

    def read(self, window: Window) -> Chip:
        return Chip(*read_reflected(self._read_inside, self.height, self.width, window))

    def _read_inside(self, window: Window) -> tuple[npt.NDArray[Any], ...]:
        pixels = self._image.read(window)
        labels = np.where(pixels.valid, self._labels.read(window), NODATA_ID)
        return pixels.image, pixels.valid, labels.astype(np.uint8)
