"""The scene as strips, one per band of tiles; every row is read once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from hyseg_cli.geo.grid import Band, TileGrid, Window
from hyseg_cli.geo.reading import Pixels, SceneReader


@dataclass(frozen=True)
class Strip:
    """All pixels that the tiles of one band need."""

    band: Band
    pixels: Pixels
    """As high as the band and as wide as the grid, reflected beyond the scene's edges."""


def read_strips(reader: SceneReader, grid: TileGrid) -> Iterator[Strip]:
    """The strips of a scene, top to bottom; the next one is read while one is in use.

    Two strips are held at most, so memory does not grow with the scene's height.
    """
    bands = list(grid.bands())
    with ThreadPoolExecutor(max_workers=1) as thread:
        upcoming = thread.submit(_read, reader, grid, bands[0], None)
        for band, following in zip(bands, [*bands[1:], None], strict=True):
            strip = Strip(band, upcoming.result())
            if following is not None:
                upcoming = thread.submit(_read, reader, grid, following, strip.pixels)
            yield strip


def _read(reader: SceneReader, grid: TileGrid, band: Band, above: Pixels | None) -> Pixels:
    """The pixels of a band; the rows it shares with the band above are copied from there."""
    shared = 0 if above is None else grid.rows.overlap
    width = grid.cols.starts[-1] + grid.cols.length - grid.cols.first
    window = Window(band.row + shared, grid.cols.first, band.height - shared, width)
    fresh = reader.read(window)
    if above is None or shared == 0:
        return fresh
    return Pixels(
        np.concatenate([above.image[:, -shared:], fresh.image], axis=1),
        np.concatenate([above.valid[-shared:], fresh.valid], axis=0),
    )
