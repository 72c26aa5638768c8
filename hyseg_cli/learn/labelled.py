"""What a labelled scene is to those who cut chips from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.grid import Window
from hyseg_cli.learn.pairs import ScenePair


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
