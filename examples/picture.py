"""Draw a scene beside its map, with the legend: python picture.py SCENE MAP PICTURE.png."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import NotGeoreferencedWarning

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.patches import Patch

LARGEST_SIDE = 1000
"""Pixels of the longer side of each panel; larger rasters are read reduced."""


def read_reduced(path: Path, bands: list[int]) -> npt.NDArray[Any]:
    """Some bands of a raster as (height, width, bands), no longer than `LARGEST_SIDE`."""
    with rasterio.open(path) as file:
        factor = max(1.0, max(file.shape) / LARGEST_SIDE)
        shape = (len(bands), round(file.height / factor), round(file.width / factor))
        return np.moveaxis(file.read(bands, out_shape=shape), 0, -1)


def draw(scene: Path, land_cover: Path, picture: Path) -> None:
    """Write the picture."""
    with rasterio.open(land_cover) as file:
        legend = json.loads(file.tags()["HYSEG_LEGEND"])
        colors = np.array([file.colormap(1)[value][:3] for value in range(256)], np.uint8)
    classes = read_reduced(land_cover, [1])[..., 0]
    panels = (
        (scene.name, read_reduced(scene, [1, 2, 3])),
        (land_cover.name, np.where((classes != 255)[..., None], colors[classes], 255)),
    )
    figure, axes = plt.subplots(1, 2, figsize=(14, 7.6), layout="constrained")
    for axis, (title, image) in zip(axes, panels, strict=True):
        axis.imshow(image, interpolation="nearest")
        axis.set_title(title)
        axis.set_axis_off()
    patches = [Patch(color=entry["color"], label=entry["name"]) for entry in legend["classes"]]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    figure.savefig(picture, dpi=100)


def main() -> None:
    """Draw what the command line names."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        draw(*map(Path, sys.argv[1:]))
    print(sys.argv[3])


if __name__ == "__main__":
    main()
