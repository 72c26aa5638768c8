"""Real scenes of a megapixel with labels of every pixel, for maps from a few polygons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from PIL import Image

Labels = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]

UNLABELLED = 255
SIDE = 1024
"""Of a scene in pixels."""
DUBAI = {
    "building": (60, 16, 152), "land": (132, 41, 246), "road": (110, 193, 228),
    "vegetation": (254, 221, 58), "water": (226, 169, 41),
}  # fmt: skip
OHIO = ("background", "building", "road", "bare", "forest", "water")
LOVEDA = ("background", "building", "road", "water", "barren", "forest", "agriculture")
CHOOSING = ("dubai1", "dubai7", "ohio-middle")
"""Scenes on which the settings of the head were chosen; they are in no table of results."""


@dataclass(frozen=True)
class LabelledImage:
    """A scene of at most SIDE x SIDE pixels."""

    name: str
    image: Pixels
    """(H, W, 3)."""
    truth: Labels
    """(H, W), indices into the names, 255 where unknown."""
    names: tuple[str, ...]

    @property
    def place(self) -> str:
        """Dubai, Ohio or LoveDA."""
        return {"d": "Dubai", "o": "Ohio", "l": "LoveDA"}[self.name[0]]


def scenes(shared: Path) -> Iterator[LabelledImage]:
    """All of them: seven of Dubai, three of Ohio from west to east, three of LoveDA."""
    for tile in range(1, 8):
        yield _dubai(shared / "dubai" / f"Tile {tile}", f"dubai{tile}")
    yield from _ohio(shared / "ohio_naip_6class")
    for path in sorted((shared / "eval_loveda" / "images").glob("*.png")):
        mask = np.asarray(Image.open(shared / "eval_loveda" / "masks" / path.name)).astype(np.int64)
        truth = np.where(mask == 0, UNLABELLED, mask - 1)
        image = np.asarray(Image.open(path).convert("RGB"))
        yield LabelledImage(f"loveda{path.stem}", image, truth, LOVEDA)


def _dubai(folder: Path, name: str) -> LabelledImage:
    """The part of a tile with the most even shares of classes."""
    image = _stitched([folder / "images" / f"image_part_{k:03d}.jpg" for k in range(1, 10)])
    colours = _stitched([folder / "masks" / f"image_part_{k:03d}.png" for k in range(1, 10)])
    truth = np.full(colours.shape[:2], UNLABELLED, np.int64)
    for index, colour in enumerate(DUBAI.values()):
        truth[(colours == colour).all(axis=-1)] = index
    part = _richest(truth)
    return LabelledImage(name, image[part], truth[part], tuple(DUBAI))


def _stitched(paths: list[Path]) -> Pixels:
    parts = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    rows = [np.concatenate(parts[first : first + 3], axis=1) for first in (0, 3, 6)]
    return np.concatenate(rows, axis=0)


def _richest(truth: Labels) -> tuple[slice, slice]:
    """The square whose classes have the largest entropy."""
    height, width = truth.shape
    places = [
        (slice(row, row + SIDE), slice(col, col + SIDE))
        for row in range(0, max(1, height - SIDE + 1), 128)
        for col in range(0, max(1, width - SIDE + 1), 128)
    ]
    return max(places, key=lambda place: _entropy(truth[place]))


def _entropy(truth: Labels) -> float:
    counts = np.bincount(truth[truth != UNLABELLED].ravel())
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log(shares)).sum())


def _ohio(folder: Path) -> Iterator[LabelledImage]:
    """The fullest mosaic of 4 x 4 chips in each third of the chips by longitude."""
    chips = {}
    for path in sorted(folder.glob("*/img/*.tif")):
        with rasterio.open(path) as file:
            place, step = file.transform, file.transform.a * file.width
        chips[round(place.c / step), round(place.f / step)] = path
    columns = np.quantile([col for col, _ in chips], (1 / 3, 2 / 3))
    for third, name in enumerate(("west", "middle", "east")):
        own = {at: path for at, path in chips.items() if np.searchsorted(columns, at[0]) == third}
        corner = max(own, key=lambda at: sum(cell in own for cell in _cells(at)))
        image = np.full((SIDE, SIDE, 3), 100, np.uint8)
        truth = np.full((SIDE, SIDE), UNLABELLED, np.int64)
        for index, cell in enumerate(_cells(corner)):
            if cell not in own:
                continue
            row, col = (256 * part for part in divmod(index, 4))
            part = slice(row, row + 256), slice(col, col + 256)
            with rasterio.open(own[cell]) as file:
                image[part] = file.read([1, 2, 3]).transpose(1, 2, 0)
            mask = str(own[cell]).replace("/img/", "/mask/").replace("tile_", "mask_")
            with rasterio.open(mask) as file:
                truth[part] = file.read(1)
        yield LabelledImage(f"ohio-{name}", image, truth, OHIO)


def _cells(corner: tuple[int, int]) -> list[tuple[int, int]]:
    """Chips of a mosaic of four by four, from its north-west, row by row."""
    col, row = corner
    return [(col + across, row - down) for down in range(4) for across in range(4)]
