"""What mapping takes of a process's memory."""

from __future__ import annotations

from hyseg_cli.geo.output.shards import BLOCK
from hyseg_cli.geo.raster.raster import Scene
from hyseg_cli.geo.tiling.grid import TileGrid
from hyseg_cli.geo.tiling.strips import rows_of_blocks

LIBRARY_BYTES = 1.3e9
"""What libraries, model and the network at work on tiles of 512 pixels take of --max-memory."""


def bytes_for_rows(memory: int) -> float:
    """What rows in work may take of the memory: half of it at most, a fifth at least."""
    return max(memory / 5, min(memory / 2, memory - LIBRARY_BYTES))


def bytes_per_column(
    scene: Scene, bands: tuple[int, ...], grid: TileGrid, classes: int, outputs: int
) -> int:
    """Memory that one column of the rows in work takes.

    Two strips with the blocks below them, what is being read and its masks, the sums of the tiles
    with what is made of them, and the rows that wait to be written.
    """
    itemsize = max(_itemsize(scene.dtypes[band - 1]) for band in bands)
    blocks = rows_of_blocks(scene.block[0], grid.rows.length) - 1
    # The third is what is being read.
    strips = (3 * grid.rows.length + 3 * blocks) * (len(bands) * itemsize + 1)
    masks = grid.rows.length * (len(bands) + 1)
    sums = 4 * classes * grid.rows.length
    # The channels, and the levels if there are any.
    finishing = grid.rows.step * (1 + (classes if outputs > 1 else 0))
    rows = outputs * (grid.rows.step + BLOCK)
    return int(strips + masks + sums + finishing + rows)


def bytes_of_resampling(grid: TileGrid, bands: int, classes: int, tiles: int) -> int:
    """Memory of a batch of tiles that are resampled for the network, and of its answer."""
    pixels = tiles * grid.rows.length * grid.cols.length
    return 4 * pixels * (2 * bands + classes + 1)


def _itemsize(dtype: str) -> int:
    # Wider unsigned integers are handed to the network as float32.
    return {"uint8": 1, "int8": 1, "int16": 2, "float64": 8}.get(dtype, 4)
