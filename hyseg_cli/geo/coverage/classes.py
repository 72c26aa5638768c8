"""Where the rows of a class raster come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

STRIP_ROWS = 256
"""Rows worked on at once. A constant, so that the result does not depend on the machine."""

NEVER = -(2**31)
"""A class that no pixel has."""

Rows = npt.NDArray[Any]
"""(rows, width) of class ids, uint8 or int32; `no_class` where there is none."""


class ClassRows(Protocol):
    """A class raster that is read from top to bottom, as often as needed."""

    height: int
    width: int
    no_class: int
    """Value of pixels that belong to no region."""

    def read(self, row: int, count: int) -> Rows:
        """Rows `row` to `row + count - 1`."""
        ...


class ArrayRows:
    """A class raster in memory."""

    def __init__(self, classes: Rows, *, no_class: int) -> None:
        self.height, self.width = classes.shape
        self.no_class = no_class
        is_byte = classes.dtype == np.uint8
        self._classes = classes if is_byte else classes.astype(np.int32)

    def read(self, row: int, count: int) -> Rows:
        return self._classes[row : row + count]


@dataclass(frozen=True)
class Seams:
    """The half-pixel rows where strips are cut from each other."""

    step: int
    """Half pixels from one seam to the next; the first lies at step - 1."""
    last: int
    """The last seam, -1 if there is none."""


def seams(height: int, strip_rows: int = STRIP_ROWS) -> Seams:
    """The seams of a raster: halfway between the vertices of neighbouring strips."""
    step = 2 * strip_rows
    return Seams(step, (len(strips(height, strip_rows)) - 1) * step - 1)


def strips(height: int, strip_rows: int = STRIP_ROWS) -> list[tuple[int, int]]:
    """First row and number of rows of each strip."""
    return [(row, min(strip_rows, height - row)) for row in range(0, height, strip_rows)]
