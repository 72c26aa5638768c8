"""Collars: black or white borders around an image that no nodata value or mask declares.

The rule:

- A cell, a square of `MIN_CELL` pixels or more, is *padding* if all its pixels are within `FRINGE`
  levels of black (0 in all bands), or all of white (the largest value of an unsigned type), and
  `EXACT_SHARE` of them are exactly that. Dark water and bright roofs carry noise; only pixels that
  a program has filled are exact. Lossy compression keeps it so inside and blurs it by some levels
  where the image begins.
- Padding cells that reach the raster's edge through other padding cells of the same colour are
  *collar*, if those on the edge are at least `EDGE_SHARE` of the raster's shorter side: a
  saturated roof that the edge cuts does not reach so far.
- A pixel is empty if it is within `FRINGE` of the colour, and its cell or one of the eight around
  it is collar.

So a pixel depends on its colour and on a raster of cells, of which there are at most `MAX_CELLS`
however large the scene is. Only blocks on the edge, and those that the collar runs into, are read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hyseg_cli.geo.window import Window

MIN_CELL = 8
"""Pixels of the side of a cell, that of a JPEG block."""
MAX_CELLS = 2**24
"""Cells of one scene; the search holds about eleven bytes for each."""
FRINGE = 8
"""Levels of an 8-bit band by which lossy compression changes padding beside the image."""
EXACT_SHARE = 0.75
EDGE_SHARE = 1 / 16
CHUNK_SIDE = 512
"""Side in pixels of the window read at once, unless blocks are larger."""
CHUNK_BYTES = 2**26
"""Most bytes read at once, unless one row of cells is more."""

MOST_EDGE_BYTES = 2**33
"""Of blocks along the edge of a raster, beyond which they are not searched."""

Cells = npt.NDArray[np.bool_]
Image = npt.NDArray[Any]
Places = npt.NDArray[np.int64]
Chunk = tuple[slice, slice]
"""Rows and columns of cells."""


@dataclass(frozen=True, eq=False)
class Collar:
    """Where the padding of a scene lies, to the cell."""

    cell: int
    """Side of a cell in pixels."""
    cells: Cells
    """(2, rows, cols) for black and white, True for collar cells."""
    near: Cells
    """The same, with the eight neighbours of each."""
    origin: tuple[int, int] = (0, 0)
    """Row and column of the scene's first pixel on the raster that is read."""

    @property
    def share(self) -> float:
        """Part of the scene's cells that it takes."""
        return float(self.cells.any(axis=0).mean())

    def mask(self, image: Image, row: int, col: int) -> npt.NDArray[np.bool_]:
        """Which pixels of a window are padding; none of those outside the scene are.

        Args:
            image: (bands, height, width).
            row: First row of the window on the raster that is read.
            col: Its first column.

        Returns:
            bool (height, width).
        """
        height, width = image.shape[-2:]
        found = np.zeros((height, width), bool)
        places = (
            np.arange(row, row + height) - self.origin[0],
            np.arange(col, col + width) - self.origin[1],
        )
        inside = tuple(
            slice(*np.searchsorted(place, (0, cells * self.cell)))
            for place, cells in zip(places, self.cells.shape[1:], strict=True)
        )
        rows, cols = (place[part] // self.cell for place, part in zip(places, inside, strict=True))
        if len(rows) and len(cols):
            found[inside] = self._mask_inside(image[:, *inside], rows, cols)
        return found

    def _mask_inside(self, image: Image, rows: Places, cols: Places) -> npt.NDArray[np.bool_]:
        """The mask of pixels (bands, height, width) in these rows and columns of cells."""
        found = np.zeros(image.shape[-2:], bool)
        for near, is_white in zip(self.near, (False, True), strict=True):
            part = near[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
            if part.any():
                is_near = part[(rows - rows[0])[:, None], cols - cols[0]]
                found |= is_near & _is_within(image, _fringe(image.dtype), is_white=is_white)
        return found


def find_collar(
    read: Callable[[Window], Image],
    size: tuple[int, int],
    *,
    block: tuple[int, int],
    pixel_bytes: int,
    max_cells: int = MAX_CELLS,
) -> Collar | None:
    """The collar of a scene, None if it has none.

    Args:
        read: Reads (bands, height, width) of a window inside the scene.
        size: Height and width of the scene.
        block: Height and width of the blocks it is stored in.
        pixel_bytes: Bytes of a pixel in all bands that are read.
        max_cells: Cells at most.
    """
    height, width = size
    cell = MIN_CELL
    while -(-height // cell) * -(-width // cell) > max_cells:
        cell *= 2

    def padding(chunk: Chunk) -> Cells:
        top, left = chunk[0].start * cell, chunk[1].start * cell
        bottom, right = min(chunk[0].stop * cell, height), min(chunk[1].stop * cell, width)
        return _padding_cells(read(Window(top, left, bottom - top, right - left)), cell)

    shape = -(-height // cell), -(-width // cell)
    reached = _flood_from_edge(padding, shape, _chunk_shape(size, block, cell, pixel_bytes))
    kept = np.stack([_large_at_edge(cells) for cells in reached])
    if not kept.any():
        return None
    around = np.ones((3, 3), bool)
    near = np.stack([ndimage.binary_dilation(cells, around) for cells in kept])
    return Collar(cell, kept, near)


def edge_bytes(size: tuple[int, int], pixel_bytes: int) -> int:
    """About how much is read of a raster of some height and width that has no collar."""
    return 2 * (size[0] + size[1]) * CHUNK_SIDE * pixel_bytes


def _chunk_shape(
    size: tuple[int, int], block: tuple[int, int], cell: int, pixel_bytes: int
) -> tuple[int, int]:
    """Rows and columns of cells to read at once: whole blocks, as far as memory allows."""
    width = min(max(CHUNK_SIDE, block[1]), size[1])
    height = min(max(CHUNK_SIDE, block[0]), CHUNK_BYTES // (width * pixel_bytes))
    return max(1, height // cell), max(1, -(-width // cell))


def _flood_from_edge(
    padding: Callable[[Chunk], Cells], shape: tuple[int, int], step: tuple[int, int]
) -> Cells:
    """Padding cells that the edge reaches through padding cells of their colour.

    Args:
        padding: Finds (2, rows, cols) of a chunk; asked once for each that is visited.
        shape: Rows and columns of cells.
        step: Rows and columns of a chunk.

    Returns:
        bool (2, rows, cols).
    """
    found = np.zeros((2, *shape), bool)
    reached = np.zeros((2, *shape), bool)
    last = (shape[0] - 1) // step[0], (shape[1] - 1) // step[1]
    on_edge = {(row, col) for row in range(last[0] + 1) for col in (0, last[1])}
    on_edge |= {(row, col) for row in (0, last[0]) for col in range(last[1] + 1)}
    queue, waiting = deque(sorted(on_edge)), set(on_edge)
    visited = set()
    while queue:
        place = queue.popleft()
        waiting.remove(place)
        row, col = place
        chunk = (
            slice(row * step[0], min((row + 1) * step[0], shape[0])),
            slice(col * step[1], min((col + 1) * step[1], shape[1])),
        )
        if place not in visited:
            found[:, *chunk] = padding(chunk)
            visited.add(place)
        grown = [_spread(found[i], reached[i], chunk) for i in range(2)]
        if not any(grown):
            continue
        for near in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
            exists = 0 <= near[0] <= last[0] and 0 <= near[1] <= last[1]
            if exists and near not in waiting and _faces(reached, chunk, place, near):
                queue.append(near)
                waiting.add(near)
    return reached


def _spread(padding: Cells, reached: Cells, chunk: Chunk) -> bool:
    """Spread `reached` through a chunk from its neighbours; return whether that added cells."""
    rows, cols = chunk
    seeds = reached[rows, cols].copy()
    seeds[0] |= reached[rows.start - 1, cols] if rows.start > 0 else True
    seeds[-1] |= reached[rows.stop, cols] if rows.stop < len(reached) else True
    seeds[:, 0] |= reached[rows, cols.start - 1] if cols.start > 0 else True
    seeds[:, -1] |= reached[rows, cols.stop] if cols.stop < reached.shape[1] else True
    grown = ndimage.binary_propagation(seeds & padding[rows, cols], mask=padding[rows, cols])
    is_new = bool((grown != reached[rows, cols]).any())
    reached[rows, cols] = grown
    return is_new


def _faces(reached: Cells, chunk: Chunk, place: tuple[int, int], near: tuple[int, int]) -> bool:
    """Whether reached cells of a chunk touch the neighbour `near`."""
    part = reached[:, *chunk]
    if near[0] != place[0]:
        return bool(part[:, -1 if near[0] > place[0] else 0].any())
    return bool(part[:, :, -1 if near[1] > place[1] else 0].any())


def _large_at_edge(cells: Cells) -> Cells:
    """The regions that lie along the edge for `EDGE_SHARE` of the shorter side."""
    if not cells.any():
        return cells
    label, count = ndimage.label(cells)
    inner = label[1:-1]
    edge = np.concatenate([label[0], label[-1], inner[:, 0], inner[:, -1]])
    is_large = np.bincount(edge, minlength=count + 1) >= min(cells.shape) * EDGE_SHARE
    is_large[0] = False
    return np.asarray(is_large[label])


def _padding_cells(image: Image, cell: int) -> Cells:
    """bool (2, rows, cols): cells of black and of white padding in an image (bands, H, W)."""
    height, width = image.shape[-2:]
    missing = (0, -height % cell), (0, -width % cell)

    def share(pixels: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        if pixels.all() or not pixels.any():  # most blocks are far inside padding or image
            return np.full((-(-height // cell), -(-width // cell)), float(pixels[0, 0]))
        full = np.pad(pixels, missing, mode="edge")
        blocks = full.reshape(full.shape[0] // cell, cell, full.shape[1] // cell, cell)
        return np.asarray(blocks.mean(axis=(1, 3)))

    planes = []
    for is_white in (False, True):
        close = _is_within(image, _fringe(image.dtype), is_white=is_white)
        exact = _is_within(image, 0, is_white=is_white) if close.any() else close
        planes.append((share(close) == 1.0) & (share(exact) >= EXACT_SHARE))
    return np.stack(planes)


def _fringe(dtype: np.dtype[Any]) -> int:
    return FRINGE if dtype == np.uint8 else 0


def _is_within(image: Image, levels: int, *, is_white: bool) -> npt.NDArray[np.bool_]:
    """bool (height, width): pixels that differ from black or white by at most some levels."""
    if image.dtype.kind != "u":
        # Only 0 means empty in types whose range no sensor exhausts.
        nothing = np.zeros(image.shape[-2:], bool)
        return nothing if is_white else np.asarray((image == 0).all(axis=0))
    if is_white:
        return np.asarray(image.min(axis=0) >= np.iinfo(image.dtype).max - levels)
    return np.asarray(image.max(axis=0) <= levels)
