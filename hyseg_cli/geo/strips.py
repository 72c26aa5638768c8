"""A stretch of a scene as strips, one per row of tiles; every row is read once."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from hyseg_cli.geo.grid import Band, TileGrid, Window
from hyseg_cli.geo.reading import Pixels, SceneReader
from hyseg_cli.geo.units import Stretch


@dataclass(frozen=True)
class Strip:
    """All pixels that the tiles of one row need."""

    band: Band
    col: int
    """Column of the scene at which the first tile starts; may be negative."""
    pixels: Pixels
    """As high as the band and as wide as its tiles, reflected beyond the scene's edges."""


def read_strips(reader: SceneReader, grid: TileGrid, stretch: Stretch) -> Generator[Strip]:
    """The strips of a stretch, top to bottom; the next one is read while one is in use.

    Two strips are held at most, so memory does not grow with the scene's height.
    """
    bands = [grid.band(index) for index in stretch.bands]
    start = grid.cols.starts[stretch.columns[0]]
    cols = range(start, grid.cols.starts[stretch.columns[-1]] + grid.cols.length)
    with ThreadPoolExecutor(max_workers=1) as thread:
        upcoming = thread.submit(_read, reader, grid, cols, bands[0], None)
        for band, following in zip(bands, [*bands[1:], None], strict=True):
            strip = Strip(band, start, upcoming.result())
            if following is not None:
                upcoming = thread.submit(_read, reader, grid, cols, following, strip.pixels)
            yield strip


def _read(
    reader: SceneReader, grid: TileGrid, cols: range, band: Band, above: Pixels | None
) -> Pixels:
    """The pixels of a band; the rows it shares with the band above are copied from there."""
    shared = 0 if above is None else grid.rows.overlap
    fresh = reader.read(Window(band.row + shared, cols.start, band.height - shared, len(cols)))
    if above is None or shared == 0:
        return fresh
    return Pixels(
        np.concatenate([above.image[:, -shared:], fresh.image], axis=1),
        np.concatenate([above.valid[-shared:], fresh.valid], axis=0),
    )
