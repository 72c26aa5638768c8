"""Labelled scenes read with GDAL."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.bands import require_bands
from hyseg_cli.geo.grid import Window
from hyseg_cli.geo.reflect import read_reflected
from hyseg_cli.geo.scene import Scene, SceneReader, open_scene
from hyseg_cli.learn.labelled import Chip, check_same_size
from hyseg_cli.learn.labels import encode_ids, encode_labels
from hyseg_cli.learn.pairs import ScenePair
from hyseg_cli.legend import Legend


class RasterScene:
    """A georeferenced image with a label raster on the same grid; windows are read from disk."""

    def __init__(self, pair: ScenePair, legend: Legend, bands: tuple[int, ...] | None) -> None:
        self.name = str(pair.image)
        self.legend = legend
        image, labels = open_scene(pair.image), open_scene(pair.labels)
        check_same_size(pair, (image.height, image.width), (labels.height, labels.width))
        _check_same_place(image, labels)
        self.height, self.width = image.height, image.width
        chosen = bands or image.data_bands
        require_bands(chosen, len(image.dtypes), self.name)
        self.bands = len(chosen)
        self.dtype = image.dtypes[chosen[0] - 1]
        self.resolution_m = image.resolution_m()
        self._image = SceneReader(image, chosen)
        self._labels = SceneReader(labels, labels.data_bands)
        self._label_scene = labels

    def read(self, window: Window) -> Chip:
        return Chip(*read_reflected(self._read_inside, self.height, self.width, window))

    def _read_inside(self, window: Window) -> tuple[npt.NDArray[Any], ...]:
        pixels = self._image.read(window)
        values = self._labels.read(window).image
        name, nodata = self._label_scene.path, self._label_scene.nodata
        if len(values) == 1:
            labels = encode_ids(values[0], self.legend, name, nodata)
        else:
            labels = encode_labels(values, self.legend, name)
        return pixels.image, pixels.valid, labels


def _check_same_place(image: Scene, labels: Scene) -> None:
    if image.crs is None or labels.crs is None:
        return
    close = np.allclose(image.transform[:6], labels.transform[:6], rtol=1e-9, atol=0.0)
    if image.crs != labels.crs or not close:
        raise HysegError(
            f"{labels.path} does not lie on the grid of {image.path} (CRS or origin differ)",
            hint="Warp the labels to the image's grid by nearest neighbour first.",
        )
