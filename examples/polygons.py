"""Draw part of a map beside its polygons: python polygons.py MAP POLYGONS.gpkg PICTURE.png."""

from __future__ import annotations

import sys
from pathlib import Path

import geopandas as gpd
import matplotlib as mpl
import numpy as np
import rasterio
from rasterio.windows import Window
from rasterio.windows import bounds as bounds_of

mpl.use("Agg")

from matplotlib import pyplot as plt

SIDE = 128
"""Side of the part of the map that is shown, in pixels, from its middle."""


def draw(land_cover: Path, polygons: Path, picture: Path) -> None:
    """Write the picture."""
    with rasterio.open(land_cover) as file:
        window = Window((file.width - SIDE) // 2, (file.height - SIDE) // 2, SIDE, SIDE)
        classes = file.read(1, window=window)
        left, bottom, right, top = bounds_of(window, file.transform)
        colors = np.array([file.colormap(1)[value][:3] for value in range(256)], np.uint8)
    features = gpd.read_file(polygons, layer="landcover", bbox=(left, bottom, right, top))
    figure, (raster_axis, polygon_axis) = plt.subplots(
        1, 2, figsize=(14, 7.3), layout="constrained"
    )
    raster_axis.imshow(colors[classes], extent=(left, right, bottom, top), interpolation="nearest")
    raster_axis.set_title(f"{land_cover.name}: pixels")
    features.plot(
        ax=polygon_axis,
        color=[tuple(colors[value] / 255) for value in features.class_id],
        edgecolor="black",
        linewidth=0.6,
    )
    polygon_axis.set_title(f"{polygons.name}: polygons that share edges")
    for axis in (raster_axis, polygon_axis):
        axis.set(xlim=(left, right), ylim=(bottom, top))
        axis.set_axis_off()
    figure.savefig(picture, dpi=90)


def main() -> None:
    """Draw the files named on the command line."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    draw(*map(Path, sys.argv[1:]))


if __name__ == "__main__":
    main()
