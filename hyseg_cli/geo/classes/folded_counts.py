"""Rasters of small numbers: one number for another, and how often each occurs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.compiled import kernel

Bytes = npt.NDArray[np.uint8]


@kernel
def exchange(values: Bytes, table: Bytes) -> None:
    """Put entry `v` of a table (256,) in the place of every value v of (rows, cols)."""
    for row in range(len(values)):
        for col in range(values.shape[1]):
            values[row, col] = table[values[row, col]]


@kernel
def count_rows(
    values: Bytes,
    row_areas: npt.NDArray[np.float64],
    pixels: npt.NDArray[np.int64],
    areas: npt.NDArray[np.float64],
) -> None:
    """Add the pixels of each value of (rows, cols), and their areas, to tables (256,).

    Args:
        values: Any numbers.
        row_areas: Area of one pixel of each row, (rows,).
        pixels: Pixels by value.
        areas: Area by value.
    """
    rows, cols = values.shape
    counts = np.empty((4, 256), np.int64)
    for row in range(rows):
        counts[:] = 0
        # Neighbours are often alike. In four tables they need not wait for each other.
        for col in range(cols):
            counts[col & 3, values[row, col]] += 1
        for value in range(256):
            count = counts[0, value] + counts[1, value] + counts[2, value] + counts[3, value]
            pixels[value] += count
            areas[value] += count * row_areas[row]
