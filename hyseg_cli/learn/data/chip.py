"""The interface of labelled scenes from which chips are cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.window import Window


@dataclass(frozen=True)
class Chip:
    """A window of a labelled scene."""

    image: npt.NDArray[Any]
    """(bands, height, width) in the scene's data type."""
    valid: npt.NDArray[np.bool_]
    """(height, width), False where the image holds no data."""
    labels: npt.NDArray[np.uint8]
    """(height, width), channel of the class in the legend, 255 where unknown."""


@dataclass(frozen=True)
class PointRules:
    """How points label their surroundings."""

    radius: float
    """Of the disc, in metres, or in pixels of images whose pixels have no known size."""
    point_class: str = ""
    """Class of points that do not name theirs."""


class LabelledScene(Protocol):
    """A scene that chips are cut from."""

    height: int
    width: int
    name: str
    dtype: str
    bands: int

    def read(self, window: Window) -> Chip:
        """The pixels and labels of a window; pixels beyond the edges are reflected."""
        ...
