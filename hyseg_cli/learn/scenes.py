"""Labelled scenes: images and label rasters that belong together, read window by window.

JPEG and PNG pairs are read with Pillow alone; GDAL is imported only when a raster needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import HysegError, ModelMismatchError, UsageProblemError
from hyseg_cli.geo.bands import require_bands
from hyseg_cli.geo.grid import Window
from hyseg_cli.geo.picture import PICTURE_SUFFIXES, read_picture
from hyseg_cli.geo.reflect import read_reflected
from hyseg_cli.learn.labels import encode_labels
from hyseg_cli.legend import Legend

RASTER_SUFFIXES = frozenset({".tif", ".tiff", ".vrt", ".jp2", ".img"}) | PICTURE_SUFFIXES
IMAGE_FOLDERS = frozenset({"images", "image", "img"})
LABEL_FOLDERS = frozenset({"labels", "label", "masks", "mask", "annotations", "gt"})
LABEL_ENDINGS = ("_labels", "_label", "_masks", "_mask", "_gt")


@dataclass(frozen=True)
class ScenePair:
    """An image and its label raster."""

    image: Path
    labels: Path
    scene: str
    """Name of the scene; parts of one scene share it and are never split apart."""


@dataclass(frozen=True)
class Chip:
    """A window of a labelled scene."""

    image: npt.NDArray[Any]
    """(bands, height, width) in the scene's data type."""
    valid: npt.NDArray[np.bool_]
    """(height, width), False where the image holds no data."""
    labels: npt.NDArray[np.uint8]
    """(height, width), channel of the class in the legend, 255 where unknown."""


class LabelledScene(Protocol):
    """A scene that chips are cut from."""

    height: int
    width: int
    name: str
    dtype: str
    bands: int

    def read(self, window: Window) -> Chip:
        """The pixels and labels of a window; what lies beyond the edges is reflected."""
        ...


def find_pairs(images: Path, labels: Path) -> list[ScenePair]:
    """Match images to label rasters by name, sorted by path.

    Names match when they are equal up to the suffix, endings such as `_mask`, and folders such
    as `images` and `masks`. Both may be single files, folders, or the same folder.

    Raises:
        UsageProblemError: If a path is missing or nothing matches.
    """
    for path in (images, labels):
        if not path.exists():
            raise UsageProblemError(f"{path}: no such file or folder", hint="Check the path.")
    if images.is_file() and labels.is_file():
        return [ScenePair(images, labels, images.stem)]
    label_of = dict(_named(labels, skip=IMAGE_FOLDERS))
    pairs = [
        ScenePair(path, label_of[key], key[0])
        for key, path in _named(images, skip=LABEL_FOLDERS)
        if key in label_of and label_of[key] != path
    ]
    if not pairs:
        raise UsageProblemError(
            f"no image in {images} has a label raster of the same name in {labels}",
            hint="Name them alike, such as images/a.tif and labels/a.tif.",
        )
    return pairs


def _named(root: Path, *, skip: frozenset[str]) -> Iterable[tuple[tuple[str, ...], Path]]:
    """The rasters below a folder, each with the parts of its name that must match."""
    files = [root] if root.is_file() else sorted(root.rglob("*"))
    for path in files:
        folders = path.relative_to(root).parent.parts if path != root else ()
        if path.suffix.lower() not in RASTER_SUFFIXES or any(f.lower() in skip for f in folders):
            continue
        stem = path.stem
        for ending in LABEL_ENDINGS:
            stem = stem.removesuffix(ending)
        kept = [f for f in folders if f.lower() not in IMAGE_FOLDERS | LABEL_FOLDERS]
        yield (*kept, stem), path


def open_pairs(
    pairs: Sequence[ScenePair], legend: Legend, bands: tuple[int, ...] | None = None
) -> list[LabelledScene]:
    """Open the pairs and check that they can be trained on together.

    Args:
        pairs: What to open.
        legend: The classes of the label rasters.
        bands: Indexes of the bands to use, from 1; None for all but alpha.

    Raises:
        ModelMismatchError: If band counts or data types differ.
        HysegError: If a file is damaged or an image and its labels differ in size.
    """
    scenes = [_open_pair(pair, legend, bands) for pair in pairs]
    first = scenes[0]
    for scene in scenes:
        if (scene.bands, scene.dtype) != (first.bands, first.dtype):
            raise ModelMismatchError(
                f"{scene.name} has {scene.bands} bands of {scene.dtype}, "
                f"but {first.name} has {first.bands} of {first.dtype}",
                hint="Train on scenes of one kind, or choose common bands with --band.",
            )
    return scenes


def _open_pair(pair: ScenePair, legend: Legend, bands: tuple[int, ...] | None) -> LabelledScene:
    if {pair.image.suffix.lower(), pair.labels.suffix.lower()} <= PICTURE_SUFFIXES:
        return PictureScene(pair, legend, bands)
    from hyseg_cli.learn.rasters import RasterScene  # GDAL only where it is needed

    return RasterScene(pair, legend, bands)


class PictureScene:
    """A JPEG or PNG image with a picture of labels; decoded once and kept in memory."""

    def __init__(self, pair: ScenePair, legend: Legend, bands: tuple[int, ...] | None) -> None:
        self.name = str(pair.image)
        image = read_picture(pair.image)
        labels = encode_labels(read_picture(pair.labels), legend, str(pair.labels))
        self.height, self.width = image.shape[1:]
        check_same_size(pair, image.shape[1:], labels.shape)
        has_alpha = len(image) in (2, 4)
        self._valid = image[-1] > 0 if has_alpha else np.ones(image.shape[1:], bool)
        chosen = bands or tuple(range(1, len(image) + 1 - has_alpha))
        require_bands(chosen, len(image), self.name)
        self._image = image[[band - 1 for band in chosen]]
        self._labels = labels
        self.bands = len(chosen)
        self.dtype = str(image.dtype)

    def read(self, window: Window) -> Chip:
        return Chip(*read_reflected(self._read_inside, self.height, self.width, window))

    def _read_inside(self, window: Window) -> tuple[npt.NDArray[Any], ...]:
        rows, cols = window.slices
        return self._image[:, rows, cols], self._valid[rows, cols], self._labels[rows, cols]


def check_same_size(pair: ScenePair, image: tuple[int, ...], labels: tuple[int, ...]) -> None:
    """Refuse an image and labels of different size.

    Raises:
        HysegError: If (height, width) differ.
    """
    if image != labels:
        raise HysegError(
            f"{pair.labels} is {labels[0]} x {labels[1]} pixels, "
            f"but its image {pair.image} is {image[0]} x {image[1]}",
            hint="Labels must lie on the pixel grid of their image.",
        )
