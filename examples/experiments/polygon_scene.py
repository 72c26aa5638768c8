"""An unseen scene as a user prepares it: some images with polygons, others without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from affine import Affine
from rasterio.features import shapes
from rasterio.transform import from_origin
from scipy.ndimage import label

from hyseg_cli.geo.raster.picture import read_picture
from hyseg_cli.learn.data.encode_labels import encode_labels
from hyseg_cli.legend import Legend

CRS = "EPSG:32640"
PIXEL_M = 0.3
RADIUS_PX = 30


@dataclass(frozen=True)
class PolygonScene:
    """Images of a scene as GeoTIFFs, side by side on the ground, with their labels."""

    folder: Path
    legend: Legend
    drawn_on: tuple[int, ...]
    """Images on which polygons are drawn; the others are used for measuring."""

    @property
    def drawn(self) -> Path:
        """Folder of the images with polygons."""
        return self.folder / "drawn"

    @property
    def rest(self) -> Path:
        """Folder of the others."""
        return self.folder / "rest"

    @property
    def truth(self) -> Path:
        """Folder of the labels of all of them."""
        return self.folder / "truth"

    def write(self, scene: Path) -> None:
        """Write the images of a scene: pictures in `images`, labels in `masks`."""
        for folder in (self.drawn, self.rest, self.truth):
            folder.mkdir(parents=True, exist_ok=True)
        for path in sorted((scene / "images").glob("*.jpg")):
            number = int(path.stem[-3:])
            mask = read_picture(scene / "masks" / f"{path.stem}.png")
            labels = encode_labels(mask, self.legend, path.name)
            place = from_origin(300_000 + 1000 * number, 2_780_000, PIXEL_M, PIXEL_M)
            kind = self.drawn if number in self.drawn_on else self.rest
            _write(kind / f"{number}.tif", read_picture(path), place, None)
            _write(self.truth / f"{number}.tif", labels[None], place, 255)

    def draw(self, count: int, seed: int) -> Path:
        """Draw polygons: parts of the regions around random points, the classes in turn.

        The first ones are the same whatever the count. Returns the file.
        """
        rng = np.random.default_rng(seed)
        rasters = {}
        for number in self.drawn_on:
            with rasterio.open(self.truth / f"{number}.tif") as file:
                rasters[number] = file.read(1), file.transform
        places = [
            [
                (number, at)
                for number, (found, _) in rasters.items()
                for at in np.argwhere(found == c)
            ]
            for c in range(len(self.legend))
        ]
        present = [channel for channel, found in enumerate(places) if found]
        classes, geometry = [], []
        for turn in range(count):
            channel = present[turn % len(present)]
            number, (row, col) = places[channel][rng.integers(len(places[channel]))]
            classes.append(self.legend.names[channel])
            geometry.append(_piece(*rasters[number], row, col))
        path = self.folder / f"polygons_{count}_{seed}.gpkg"
        gpd.GeoDataFrame({"kind": classes}, geometry=geometry, crs=CRS).to_file(path)
        return path


def _write(path: Path, array: npt.NDArray[np.uint8], place: Affine, nodata: int | None) -> None:
    bands, height, width = array.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width, dtype="uint8",
        crs=CRS, transform=place, nodata=nodata,
    ) as file:  # fmt: skip
        file.write(array)


def _piece(
    labels: npt.NDArray[np.uint8], transform: Affine, row: int, col: int
) -> shapely.Geometry:
    """Outline of the pixels connected to a pixel that have its class and lie near it."""
    down, across = np.indices(labels.shape)
    near = np.hypot(down - row, across - col) < RADIUS_PX
    pieces, _ = label((labels == labels[row, col]) & near)
    piece = (pieces == pieces[row, col]).astype(np.uint8)
    outline = next(shape for shape, value in shapes(piece, transform=transform) if value == 1)
    return shapely.geometry.shape(outline)
