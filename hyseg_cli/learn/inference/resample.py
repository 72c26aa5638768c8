"""A network on scenes whose resolution differs from its training, tile by tile.

Tiles are cut from the scene so that `alignment` of its pixels stand for `ALIGNMENT` of the
network, with both ends of every tile on that raster: resampled tiles then begin at whole pixels
of the network's noise grid, and overlapping tiles see the same resampled pixels. Resampling tile
by tile keeps everything else, strips, blending and shards, on the grid of the scene, and the
blending hides tile borders as it does without resampling.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hyseg_cli.geo.tiling.grid import ALIGNMENT
from hyseg_cli.geo.window import Window

if TYPE_CHECKING:  # they need GDAL, which a training on pictures does without
    from hyseg_cli.geo.raster.reader import SceneReader
    from hyseg_cli.learn.inference.stitch import Classify

LOOKS = 3
"""Windows along each side of a scene for a first look."""
LOOK_CELLS = 8
"""Side of such a window in units of `ALIGNMENT` pixels of the network: that of usual chips."""


class AtOtherResolution:
    """Resamples windows for a classifier, and its probabilities back to the scene's pixels.

    Both directions use the antialiased bilinear filter that training scales its chips with: a
    weighted mean where pixels get coarser, interpolation where they get finer. Pixels without data
    are ignored; a resampled pixel holds data if any pixel under the filter does, so each pixel of
    the scene that holds data gets probabilities.

    Args:
        classify: The classifier.
        alignment: Pixels of the scene that stand for `ALIGNMENT` of the classifier. Windows are
            multiples of it in height, width and origin.
    """

    def __init__(self, classify: Classify, alignment: int) -> None:
        self._classify = classify
        self._alignment = alignment
        self.classes = classify.classes
        self.device = classify.device

    def __call__(self, image: Tensor, valid: Tensor, origin: Tensor) -> Tensor:
        """(B, bands, H, W), (B, 1, H, W), (B, 2) -> probabilities (B, N, H, W)."""
        size = image.shape[-2], image.shape[-1]
        image, valid = image.to(self.device), valid.to(self.device)
        height, width = (side // self._alignment * ALIGNMENT for side in size)
        seen, is_seen = _resample(image.float(), valid, (height, width))
        probabilities = self._classify(seen, is_seen, origin // self._alignment * ALIGNMENT)
        return _resample(probabilities, is_seen, size)[0]


def spread_windows(
    reader: SceneReader, within: Window, alignment: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """A few windows of a scene as a network would see them, for a first look.

    Args:
        reader: Reads the scene.
        within: The part of it that counts.
        alignment: Pixels of the scene that stand for `ALIGNMENT` of the network.

    Yields:
        Image float32 (1, bands, H, W) in the scene's values, valid bool (1, 1, H, W).

    Raises:
        UnusableFileError: If a block cannot be read.
    """
    for window in look_windows(within, alignment):
        pixels = reader.read(window)
        shown = as_shown(pixels.image, pixels.valid, alignment)
        if shown is not None:
            yield shown


def look_windows(within: Window, alignment: int, *, most: int = LOOKS) -> list[Window]:
    """Where a part of a scene is looked at.

    The windows are spread evenly, `LOOK_CELLS * ALIGNMENT` pixels of the network wide or as wide as
    the part.

    Args:
        within: The part.
        alignment: Pixels of the scene that stand for `ALIGNMENT` of the network.
        most: How many there are along each side at most.
    """
    rows, height = _spread(within.row, within.height, alignment, most)
    cols, width = _spread(within.col, within.width, alignment, most)
    return [Window(row, col, height, width) for row, col in product(rows, cols)]


def as_shown(
    image: npt.NDArray[Any], valid: npt.NDArray[np.bool_], alignment: int
) -> tuple[Tensor, Tensor] | None:
    """A window of a scene as the network sees it, or None if it is half empty.

    Args:
        image: (bands, height, width) in the scene's values.
        valid: (height, width).
        alignment: Pixels of the scene that stand for `ALIGNMENT` of the network.

    Returns:
        Image float32 (1, bands, H, W) and valid bool (1, 1, H, W), H and W multiples of
        `ALIGNMENT`.
    """
    if valid.mean() < 0.5:
        return None
    height, width = (max(1, round(side / alignment)) * ALIGNMENT for side in valid.shape)
    values = torch.from_numpy(image.astype(np.float32)).unsqueeze(0)
    return _resample(values, torch.from_numpy(valid)[None, None], (height, width))


def _spread(start: int, length: int, alignment: int, most: int) -> tuple[list[int], int]:
    """Where windows begin along a side, and how long they are."""
    side = min(length, LOOK_CELLS * alignment)
    count = max(1, min(most, length // side))
    return [start + int((i + 0.5) * length / count - side / 2) for i in range(count)], side


def _resample(values: Tensor, valid: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Values (B, C, H, W) and their validity (B, 1, H, W) at another size."""

    def scale(tensor: Tensor) -> Tensor:
        return interpolate(tensor, size, mode="bilinear", antialias=True)

    if bool(valid.all()):
        return scale(values), valid.new_ones(len(valid), 1, *size)
    share = scale(valid.to(values.dtype))
    is_valid = share > 0
    # where, not a product: NaN times zero is NaN
    total = scale(torch.where(valid, values, 0.0))
    return torch.where(is_valid, total / share.where(is_valid, 1.0), 0.0), is_valid
