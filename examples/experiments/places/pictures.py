"""An image beside the maps that several models make of it, as a picture.

    python pictures.py IMAGE before.tif today.tif --out place.jpg

Maps are rasters of `hyseg predict`. Classes have the same colours in all of them, whatever the
model's are, as far as their names say what they look like.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import rasterio
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from rasterio.enums import Resampling

from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.learn.scores.crosswalk import named_legend
from hyseg_cli.legend import natural_color

Bytes = npt.NDArray[np.uint8]


def read_image(path: Path, most: int) -> Bytes:
    """The first three bands (height, width, 3), at most so many pixels high and wide."""
    with rasterio.open(path) as image:
        factor = max(1.0, max(image.shape) / most)
        size = [round(side / factor) for side in image.shape]
        bands = image.read((1, 2, 3), out_shape=(3, *size), resampling=Resampling.average)
        valid = image.dataset_mask(out_shape=tuple(size)) > 0
    return np.where(valid[..., None], np.moveaxis(bands, 0, -1), 255).astype(np.uint8)


def draw(image: Path, maps: tuple[Path, ...], titles: tuple[str, ...], most: int) -> Figure:
    """The image and the maps side by side, each above the names of its classes."""
    layers: list[tuple[str, Any, list[Patch]]] = [("", read_image(image, most), [])]
    for path, title in zip(maps, titles, strict=True):
        layers.append((title, *_colours(path, most)))
    height, width = layers[0][1].shape[:2]
    figure = Figure(figsize=(4.0 * len(layers), 4.0 * height / width + 0.7), layout="constrained")
    for axes, (title, pixels, classes) in zip(figure.subplots(1, len(layers)), layers, strict=True):
        axes.imshow(pixels, interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
        if classes:
            under = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "frameon": False}
            axes.legend(handles=classes, ncols=3, fontsize=8, **under)
    return figure


def _colours(path: Path, most: int) -> tuple[Bytes, list[Patch]]:
    """A map in its colours, white without class, and the classes that occur in it."""
    with rasterio.open(path) as raster:
        factor = max(1.0, max(raster.shape) / most)
        size = tuple(round(side / factor) for side in raster.shape)
        ids = raster.read(1, out_shape=size, resampling=Resampling.nearest)
    legend = named_legend(open_raster(path))
    if legend is None:
        raise click.UsageError(f"{path} does not say what its classes are called")
    colours = np.full((256, 3), 255, np.uint8)
    patches = []
    for entry in legend.classes:
        if (ids == entry.id).any():
            colour = natural_color(entry.name) or entry.color
            colours[entry.id] = colour
            patches.append(Patch(color=[part / 255.0 for part in colour], label=entry.name))
    return colours[ids], patches


@click.command()
@click.argument("image", type=click.Path(path_type=Path, exists=True))
@click.argument("maps", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option("--title", "titles", multiple=True, help="Of each map.  [default: its name]")
@click.option("--most", type=int, default=700, show_default=True, help="Pixels, longer side.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(
    image: Path, maps: tuple[Path, ...], titles: tuple[str, ...], most: int, out: Path
) -> None:
    """Draw IMAGE beside MAPS."""
    names = titles or tuple(path.stem for path in maps)
    draw(image, maps, names, most).savefig(out, dpi=110)


if __name__ == "__main__":
    main()
