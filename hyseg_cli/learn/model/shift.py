"""How far the values of a scene are from those a model was trained on.

It uses a sample of a few pixels of the scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.model.card import LEVELS, ModelCard, quantiles

PLACES = 8
"""Windows along each side of the scene, whatever its size."""
SIDE = 64
"""Pixels of the side of a window."""


def sample_pixels(
    reader: SceneReader, elsewhere: Sequence[tuple[int, int]] = ()
) -> npt.NDArray[Any]:
    """Pixels that hold data, from windows spread evenly over a scene.

    At most 64 windows of 64 x 64 pixels are read, so the cost does not grow with the scene.

    Args:
        reader: Reads the scene.
        elsewhere: Rows and columns where windows begin that are read if the others hold no data:
            of a huge scene, a corner may be all there is.

    Returns:
        (bands, pixels) in the scene's data type; no pixels if no window holds data.

    Raises:
        UnusableFileError: If a block cannot be read.
    """
    scene = reader.scene
    spread = [(row, col) for row in _starts(scene.height) for col in _starts(scene.width)]
    found = _read_pixels(reader, spread)
    if found.shape[1] == 0 and elsewhere:
        found = _read_pixels(reader, elsewhere[: PLACES**2])
    return found


def _read_pixels(reader: SceneReader, places: Sequence[tuple[int, int]]) -> npt.NDArray[Any]:
    """Pixels that hold data in windows that begin at some places, (bands, pixels)."""
    height, width = min(SIDE, reader.scene.height), min(SIDE, reader.scene.width)
    read = (reader.read(Window(row, col, height, width)) for row, col in places)
    return np.concatenate([pixels.image[:, pixels.valid] for pixels in read], axis=1)


def _starts(size: int) -> list[int]:
    count = max(1, min(PLACES, size // SIDE))
    step = size / count
    return [max(0, int((place + 0.5) * step) - SIDE // 2) for place in range(count)]


FAR = 0.6
"""Distance above which the user is warned. Each of seven scenes of Dubai is at most 0.52 from the
six others; seven scenes of other countries are 0.65 to 1.1 from them."""


@dataclass(frozen=True)
class Shift:
    """The difference between a scene and the training pixels of a model."""

    distance: float
    """Of the band that differs most, the mean difference of its quantiles in standard deviations
    of the training pixels."""
    warning: str | None
    """What differs, if it is far."""


def measure_shift(reader: SceneReader, card: ModelCard) -> Shift | None:
    """How far a scene is from the training pixels of a model.

    Args:
        reader: Reads the model's bands of the scene.
        card: The model's card.

    Returns:
        None if the card holds no quantiles, or no sampled pixel holds data.

    Raises:
        UnusableFileError: If a block cannot be read.
    """
    if not card.quantiles:
        return None
    pixels = sample_pixels(reader)
    if pixels.shape[1] == 0:
        return None
    return compare(quantiles(pixels), card, reader.scene.path)


def compare(found: Sequence[Sequence[float]], card: ModelCard, name: str) -> Shift:
    """The shift of a scene `name` with these quantiles."""
    bands = len(found)  # without the optional ones, if the scene has none
    std = np.array(card.std[:bands])[:, None]
    difference = (np.array(found) - np.array(card.quantiles[:bands])) / std  # (bands, levels)
    distances = np.abs(difference).mean(axis=1)
    worst = int(distances.argmax())
    distance = float(distances[worst])
    if distance < FAR:
        return Shift(distance, None)
    middle = LEVELS.index(0.5)
    return Shift(
        distance,
        f"the values of {name} are far from those the model saw: band {card.bands[worst]} has a "
        f"median of {found[worst][middle]:g} instead of {card.quantiles[worst][middle]:g} "
        f"(distance {distance:.1f}); fine-tuning on a few polygons may help "
        "(`hyseg train --from`)",
    )
