"""Pairs of images and labels, opened to be read window by window.

JPEG and 8-bit PNG pairs are read with Pillow alone; GDAL is imported only when a raster needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import HysegError, ModelMismatchError
from hyseg_cli.geo.raster.bands import require_bands
from hyseg_cli.geo.raster.picture import PICTURE_SUFFIXES, is_deep, read_picture
from hyseg_cli.geo.raster.reflect import read_reflected
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chip import Chip, LabelledScene, PointRules
from hyseg_cli.learn.data.encode_labels import encode_labels
from hyseg_cli.learn.data.pairs import ScenePair
from hyseg_cli.legend import NODATA_ID, Legend


class PictureScene:
    """A JPEG or PNG image with a picture of labels; decoded once and kept in memory."""

    def __init__(self, pair: ScenePair, legend: Legend, bands: tuple[int, ...] | None) -> None:
        self.name = str(pair.image)
        image = read_picture(pair.image)
        path = pair.labels[0]
        drawn = read_picture(path)
        is_drawn = drawn[-1] > 0 if len(drawn) in (2, 4) else None
        labels = encode_labels(drawn, legend, str(path), is_drawn)
        self.height, self.width = image.shape[1:]
        _require_same_size(pair, image.shape[1:], labels.shape)
        has_alpha = len(image) in (2, 4)
        self._valid = image[-1] > 0 if has_alpha else np.ones(image.shape[1:], bool)
        chosen = bands or tuple(range(1, len(image) + 1 - has_alpha))
        require_bands(chosen, len(image), self.name)
        self._image = image[[band - 1 for band in chosen]]
        self._labels = np.where(self._valid, labels, NODATA_ID).astype(np.uint8)
        self.bands = len(chosen)
        self.dtype = str(image.dtype)

    def read(self, window: Window) -> Chip:
        return Chip(*read_reflected(self._read_inside, self.height, self.width, window))

    def _read_inside(self, window: Window) -> tuple[npt.NDArray[Any], ...]:
        rows, cols = window.slices
        return self._image[:, rows, cols], self._valid[rows, cols], self._labels[rows, cols]


def _require_same_size(pair: ScenePair, image: tuple[int, ...], labels: tuple[int, ...]) -> None:
    if image != labels:
        raise HysegError(
            f"{pair.labels[0]} is {labels[0]} x {labels[1]} pixels, "
            f"but its image {pair.image} is {image[0]} x {image[1]}",
            hint="Labels must lie on the pixel grid of their image.",
        )


def open_pairs(
    pairs: Sequence[ScenePair],
    legend: Legend,
    bands: tuple[int, ...] | None = None,
    class_field: str = "class",
) -> list[LabelledScene]:
    """Open the pairs and check that they can be trained on together.

    Args:
        pairs: What to open.
        legend: The classes of the labels.
        bands: Indexes of the bands to use, from 1; None for all but alpha.
        class_field: Column of a vector file that holds the class.

    Raises:
        ModelMismatchError: If band counts or data types differ.
        HysegError: If a file is damaged or labels do not fit their image.
    """
    scenes = [open_pair(pair, legend, bands, class_field) for pair in pairs]
    require_one_kind(scenes)
    return scenes


def require_one_kind(scenes: Sequence[LabelledScene]) -> None:
    """Refuse scenes that cannot be trained on together.

    Raises:
        ModelMismatchError: If band counts or data types differ.
    """
    first = scenes[0]
    for scene in scenes:
        if (scene.bands, scene.dtype) != (first.bands, first.dtype):
            raise ModelMismatchError(
                f"{scene.name} has {scene.bands} bands of {scene.dtype}, "
                f"but {first.name} has {first.bands} of {first.dtype}",
                hint="Train on scenes of one kind, or choose common bands with `bands`.",
            )


def open_pair(
    pair: ScenePair,
    legend: Legend,
    bands: tuple[int, ...] | None,
    class_field: str,
    points: PointRules | None = None,
) -> LabelledScene:
    """Open one pair; see `open_pairs`.

    Args:
        pair: What to open.
        legend: The classes of the labels.
        bands: Indexes of the bands to use, from 1; None for all but alpha.
        class_field: Column of a vector file or of a table that holds the class.
        points: How points label their surroundings; None where there are none.

    Raises:
        UnusableFileError: If a file is damaged, or labels do not overlap their image.
        HysegError: If labels do not fit their image or the legend.
    """
    files = (pair.image, *pair.labels)
    if all(path.suffix.lower() in PICTURE_SUFFIXES and not is_deep(path) for path in files):
        return PictureScene(pair, legend, bands)
    from hyseg_cli.learn.data.raster_scene import RasterScene  # GDAL only where it is needed

    return RasterScene(pair, legend, bands, class_field, points)
