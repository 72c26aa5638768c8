"""An array in memory -> class probabilities, in the tiles of `hyseg predict`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hyseg_cli.errors import ModelMismatchError, UsageProblemError
from hyseg_cli.geo.raster.reflect import read_reflected
from hyseg_cli.geo.tiling.blend import weights_of_tile
from hyseg_cli.geo.tiling.grid import ALIGNMENT, TileGrid
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.inference.resample import AtOtherResolution
from hyseg_cli.learn.inference.stitch import Classify

Image = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Probabilities = npt.NDArray[np.float32]

BATCH = 4
"""Tiles that the network gets at once."""


def map_array(
    image: Image,
    valid: Mask | None,
    classify: Classify,
    *,
    bands: int,
    tile_size: int,
    overlap: int,
    alignment: int = ALIGNMENT,
) -> Probabilities:
    """Class probabilities of an image, blended over the tiles that cover it.

    Args:
        image: (bands, height, width).
        valid: (height, width), False where the image holds no data; None for valid everywhere.
        classify: The network.
        bands: Bands that it takes.
        tile_size: Side of a tile in pixels of the network, a multiple of 32.
        overlap: Pixels of the network that neighbouring tiles share, likewise.
        alignment: Pixels of the image that stand for `ALIGNMENT` of the network.

    Returns:
        float32 (N, height, width), summing to one over N; zero where nothing is valid.

    Raises:
        ModelMismatchError: If the image has other bands.
        UsageProblemError: If a shape, the tile size or the overlap do not fit.
    """
    mask = _checked(image, valid, bands)
    height, width = mask.shape
    if alignment != ALIGNMENT:
        classify = AtOtherResolution(classify, alignment)
    grid = TileGrid.cover(height, width, tile=tile_size, overlap=overlap, alignment=alignment)
    sums = np.zeros((classify.classes, height, width), np.float32)
    for i, row in enumerate(grid.rows.starts):
        along = [Window(row, col, grid.rows.length, grid.cols.length) for col in grid.cols.starts]
        for first in range(0, len(along), BATCH):
            part = along[first : first + BATCH]
            for index, tile in _classified(image, mask, classify, part):
                weights = (
                    weights_of_tile(grid.rows, i), weights_of_tile(grid.cols, first + index)
                )  # fmt: skip
                _add(sums, tile * np.outer(*weights), part[index])
    sums[:, ~mask] = 0.0
    return sums


def _checked(image: Image, valid: Mask | None, bands: int) -> Mask:
    """The mask of an image that fits the network."""
    if image.ndim != 3 or len(image) != bands:
        raise ModelMismatchError(
            f"the image has the shape {image.shape}; the model takes ({bands}, height, width)",
            hint=f"Give {bands} bands first, then rows and columns.",
        )
    if valid is None:
        return np.ones(image.shape[1:], np.bool_)
    if valid.shape != image.shape[1:]:
        raise UsageProblemError(
            f"valid has the shape {valid.shape}, the image {image.shape[1:]}",
            hint="Give one value for each pixel.",
        )
    return valid.astype(np.bool_)


def _classified(
    image: Image, mask: Mask, classify: Classify, windows: Sequence[Window]
) -> Iterator[tuple[int, Probabilities]]:
    """Numbers of those windows that hold data, with their probabilities (N, height, width)."""

    def read(inside: Window) -> tuple[Image, ...]:
        return image[(slice(None), *inside.slices)], mask[inside.slices]

    seen: list[tuple[int, Image, Mask]] = []
    for index, window in enumerate(windows):
        pixels, valid = read_reflected(read, mask.shape[0], mask.shape[1], window)
        if valid.any():
            seen.append((index, pixels, valid))
    if not seen:
        return
    found = classify(
        torch.from_numpy(np.stack([pixels for _, pixels, _ in seen])),
        torch.from_numpy(np.stack([valid[None] for *_, valid in seen])),
        torch.tensor([(windows[index].row, windows[index].col) for index, *_ in seen]),
    )
    for (index, *_), tile in zip(seen, found.float().cpu().numpy(), strict=True):
        yield index, tile


def _add(sums: Probabilities, tile: Probabilities, window: Window) -> None:
    """Add the part of a tile that lies inside the image."""
    inside = Window(0, 0, *sums.shape[1:]).intersection(window)
    if inside is not None:
        part = inside.seen_from(window)
        sums[(slice(None), *inside.slices)] += tile[(slice(None), *part.slices)]
