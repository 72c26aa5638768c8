"""Where georeferenced images lie beside each other, so that places can be held out whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.raster.raster import open_raster

Boxes = npt.NDArray[np.float64]


def strips_of(images: Sequence[Path], strips: int, source: str) -> list[int]:
    """The strip of each image, 1 in the west, all of nearly as many images.

    Raises:
        UsageProblemError: If an image is not georeferenced.
    """
    west, _, east, _ = _boxes(images, source).T
    middle = (west + east) / 2.0
    edges = np.quantile(middle, np.linspace(0.0, 1.0, strips + 1)[1:-1])
    return [int(strip) + 1 for strip in np.searchsorted(edges, middle, side="left")]


def touching(images: Sequence[Path], others: Sequence[Path]) -> set[Path]:
    """Those of some images that touch or overlap one of the others; all in one CRS."""
    if not all(open_raster(path).is_georeferenced for path in (*images, *others)):
        return set()
    one, other = _boxes(images, "")[:, None], _boxes(others, "")[None]
    # A thousandth of the side: neighbours of one grid touch in spite of rounding.
    slack = (other[..., 2] - other[..., 0]) * 1e-3
    meets = (
        (one[..., 0] <= other[..., 2] + slack)
        & (one[..., 2] >= other[..., 0] - slack)
        & (one[..., 1] <= other[..., 3] + slack)
        & (one[..., 3] >= other[..., 1] - slack)
    )
    return {images[index] for index in np.flatnonzero(meets.any(axis=1)).tolist()}


def _boxes(images: Sequence[Path], source: str) -> Boxes:
    """West, south, east and north of each image, in its CRS: (n, 4)."""
    found = []
    for path in images:
        scene = open_raster(path)
        if not scene.is_georeferenced:
            raise UsageProblemError(
                f"source {source}: {path} is not georeferenced, so it lies in no strip",
                hint="Name places with a pattern (place = ...) instead of strips.",
            )
        corners = [
            scene.transform @ (col, row) for col in (0, scene.width) for row in (0, scene.height)
        ]
        x, y = zip(*corners, strict=True)
        found.append((min(x), min(y), max(x), max(y)))
    return np.array(found)
