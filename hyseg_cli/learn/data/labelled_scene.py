"""Pairs of images and labels, opened to be read window by window.

JPEG and 8-bit PNG pairs are read with Pillow alone; GDAL is imported only when a raster needs it.
"""

from __future__ import annotations

from collections.abc import Sequence

from hyseg_cli.errors import ModelMismatchError
from hyseg_cli.geo.raster.picture import PICTURE_SUFFIXES, is_deep
from hyseg_cli.learn.data.chip import LabelledScene
from hyseg_cli.learn.data.pairs import ScenePair
from hyseg_cli.learn.data.pictures import PictureScene
from hyseg_cli.legend import Legend


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
                hint="Train on scenes of one kind, or choose common bands with --band.",
            )


def open_pair(
    pair: ScenePair, legend: Legend, bands: tuple[int, ...] | None, class_field: str
) -> LabelledScene:
    """Open one pair; see `open_pairs`.

    Raises:
        UnusableFileError: If a file is damaged, or labels lie elsewhere than their image.
        HysegError: If labels do not fit their image or the legend.
    """
    files = (pair.image, *pair.labels)
    if all(path.suffix.lower() in PICTURE_SUFFIXES and not is_deep(path) for path in files):
        return PictureScene(pair, legend, bands)
    from hyseg_cli.learn.data.raster_scene import RasterScene  # GDAL only where it is needed

    return RasterScene(pair, legend, bands, class_field)
