"""A few pixels of a scene that stand for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.window import Window

PLACES = 8
"""Windows along each side of the scene, whatever its size."""
SIDE = 64
"""Pixels of the side of a window."""


def sample_pixels(reader: SceneReader) -> npt.NDArray[Any]:
    """Pixels that hold data, from windows spread evenly over a scene.

    At most 64 windows of 64 x 64 pixels are read, so the cost does not grow with the scene.

    Returns:
        (bands, pixels) in the scene's data type; no pixels if no window holds data.

    Raises:
        UnusableFileError: If a block cannot be read.
    """
    scene = reader.scene
    parts = []
    for row in _starts(scene.height):
        for col in _starts(scene.width):
            height, width = min(SIDE, scene.height), min(SIDE, scene.width)
            pixels = reader.read(Window(row, col, height, width))
            parts.append(pixels.image[:, pixels.valid])
    return np.concatenate(parts, axis=1)


def _starts(size: int) -> list[int]:
    count = max(1, min(PLACES, size // SIDE))
    step = size / count
    return [max(0, int((place + 0.5) * step) - SIDE // 2) for place in range(count)]
