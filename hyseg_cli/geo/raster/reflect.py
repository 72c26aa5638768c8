"""Windows that cross the scene edge are filled by reflection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.window import Window

Array = npt.NDArray[Any]


def reflected_positions(start: int, length: int, size: int) -> npt.NDArray[np.int64]:
    """Positions inside 0..size-1 that replace start..start+length-1.

    The edge pixel is the mirror and is not repeated; any distance from the edge is allowed.
    """
    if size == 1:
        return np.zeros(length, np.int64)
    period = 2 * (size - 1)
    folded = np.arange(start, start + length) % period
    return np.minimum(folded, period - folded)


def read_reflected(
    read: Callable[[Window], tuple[Array, ...]], height: int, width: int, window: Window
) -> tuple[Array, ...]:
    """Read a window that may cross the edges of a scene.

    Args:
        read: Reads arrays of a window inside the scene; their last two axes are rows and columns.
        height: Rows of the scene.
        width: Columns of the scene.
        window: Where to read, anywhere.
    """
    inside = (
        window.row >= 0
        and window.col >= 0
        and window.row_stop <= height
        and window.col_stop <= width
    )
    if inside:
        return read(window)
    rows = reflected_positions(window.row, window.height, height)
    cols = reflected_positions(window.col, window.width, width)
    top, left = int(rows.min()), int(cols.min())
    found = read(Window(top, left, int(rows.max()) - top + 1, int(cols.max()) - left + 1))
    inner_rows = _inside(window.row, window.height, height)
    inner_cols = _inside(window.col, window.width, width)
    return tuple(
        _laid_out(_laid_out(array, rows - top, inner_rows, -2), cols - left, inner_cols, -1)
        for array in found
    )


def inner_part(height: int, width: int, window: Window) -> tuple[slice, slice] | None:
    """Rows and columns of a window that lie inside a scene, if all others are reflections of them.

    None if the reflected pixels lie outside the window.
    """
    rows = _inside(window.row, window.height, height)
    cols = _inside(window.col, window.width, width)
    for start, length, size, inner in (
        (window.row, window.height, height, rows),
        (window.col, window.width, width, cols),
    ):
        positions = reflected_positions(start, length, size) - start
        if positions.min() < inner.start or positions.max() >= inner.stop:
            return None
    return rows, cols


def mirror_edges(array: Array, rows: slice, cols: slice) -> None:
    """Fill an array (..., height, width) around its part inside the scene, see `inner_part`."""
    for lines, inner in ((array[..., cols].swapaxes(-1, -2), rows), (array, cols)):
        length, size = lines.shape[-1], inner.stop - inner.start
        positions = reflected_positions(-inner.start, length, size) + inner.start
        for outer in (slice(0, inner.start), slice(inner.stop, length)):
            lines[..., outer] = lines[..., positions[outer]]


def _inside(start: int, length: int, size: int) -> slice:
    """Which of the positions start..start+length-1 lie inside 0..size-1, counted from the first."""
    begin = min(max(-start, 0), length)
    return slice(begin, max(begin, min(length, size - start)))


def _laid_out(array: Array, positions: npt.NDArray[np.int64], inner: slice, axis: int) -> Array:
    """The entries of an array at some positions along an axis; those of `inner` follow each other.

    In a wide window these are nearly all entries, so they are copied in one piece, which is much
    faster than indexing.
    """
    count = len(positions)
    if inner == slice(0, count):
        start = int(positions[0])
        place: tuple[Any, ...] = (..., slice(start, start + count), *(slice(None),) * (-axis - 1))
        return np.asarray(array[place])
    shape = list(array.shape)
    shape[axis] = count
    out = np.empty(shape, array.dtype)
    target, source = np.moveaxis(out, axis, -1), np.moveaxis(array, axis, -1)
    if inner.stop > inner.start:
        start = int(positions[inner.start])
        target[..., inner] = source[..., start : start + inner.stop - inner.start]
    for outer in (slice(0, inner.start), slice(inner.stop, count)):
        target[..., outer] = source[..., positions[outer]]
    return out
