"""Labels on the pixel grid of a georeferenced image, from rasters or polygons of any CRS.

torchgeo's `RasterDataset`, `VectorDataset` and `IntersectionDataset` do related work. They bring
all scenes of a training to one CRS and one resolution, which resamples the images, and they have no
unlabelled pixels. Here images are read as they are and labels are resampled to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize

from hyseg_cli.errors import HysegError, UnusableFileError
from hyseg_cli.geo.classes.raster import ClassRaster
from hyseg_cli.geo.classes.styles import palette
from hyseg_cli.geo.raster.ground import grid_for, overlap
from hyseg_cli.geo.raster.picture import PICTURE_SUFFIXES
from hyseg_cli.geo.raster.raster import Raster, open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.suffixes import VECTOR_SUFFIXES
from hyseg_cli.geo.vector.onto_raster import polygons_onto, strays_of
from hyseg_cli.geo.vector.vector_files import read_vector
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.encode_labels import encode_labels
from hyseg_cli.legend import NODATA_ID, ClassIndices, Legend


class LabelSource(Protocol):
    """Labels of one image."""

    def read(self, window: Window) -> ClassIndices:
        """Class channels (height, width) of a window inside the image, 255 where unknown."""
        ...


class RasterLabels:
    """Label rasters, resampled to the image's grid by nearest neighbour.

    If several cover a pixel, the first that labels it counts. A PNG with a palette counts as
    colours, as it does beside plain pictures; in other rasters the values are the ids.

    Args:
        paths: Rasters of class ids or colours.
        image: The scene they label.
        legend: Their classes.

    Raises:
        HysegError: If a raster without georeference differs in size, or one with georeference
            does not overlap the image.
    """

    def __init__(self, paths: Sequence[Path], image: Raster, legend: Legend) -> None:
        self._legend = legend
        self._sources: list[tuple[ClassRaster | SceneReader, ClassIndices | None]] = []
        for path in paths:
            labels = open_raster(path)
            onto = grid_for(image, labels, may_be_bare=True)
            colors = _palette_of(labels)
            is_coloured = colors is not None or len(labels.data_bands) != 1
            self._sources.append(
                (SceneReader(labels, labels.data_bands, onto=onto), colors)
                if is_coloured
                else (ClassRaster(labels, onto=onto, named=frozenset(legend.ids)), None)
            )

    def read(self, window: Window) -> ClassIndices:
        found = np.full((window.height, window.width), NODATA_ID, np.uint8)
        for source, colors in self._sources:
            if isinstance(source, ClassRaster):
                classes = source.read(window)
                values, valid = classes.ids[None], classes.valid
            else:
                pixels = source.read(window)
                values = pixels.image if colors is None else colors[:, pixels.image[0]]
                valid = pixels.valid
            channels = encode_labels(values, self._legend, source.scene.path, valid)
            found = np.where(found == NODATA_ID, channels, found)
        return found


def _palette_of(labels: Raster) -> ClassIndices | None:
    """Colours (3, 256) of the values of a PNG that has a palette."""
    if Path(labels.path).suffix.lower() not in PICTURE_SUFFIXES:
        return None
    colors = palette(labels)
    if not colors:
        return None
    table = np.zeros((3, 256), np.uint8)
    for value, color in colors.items():
        table[:, value] = color
    return table


class VectorLabels:
    """Polygons with a class, rasterised window by window; pixels that none covers are unlabelled.

    A pixel belongs to the polygon that its centre lies in, to the last one in the file if there
    are several.

    Args:
        path: A vector file of one layer.
        image: The scene it labels.
        legend: The classes.
        field: Column with the class of each polygon, by name or by id; empty means unlabelled.

    Raises:
        HysegError: If a class is not in the legend or no polygon touches the image.
    """

    def __init__(self, path: Path, image: Raster, legend: Legend, field: str) -> None:
        features = _features_of(path, _changed_at(path), field)
        polygons = polygons_onto(features, image, str(path))
        if len(polygons) == 0:
            raise _no_overlap(path, image)
        self._transform = image.transform
        self._channels = _channels_of(polygons[field], legend, path)
        self._geometry = polygons.geometry.to_numpy()
        self._index = shapely.STRtree(self._geometry)

    def read(self, window: Window) -> ClassIndices:
        place = self._transform @ Affine.translation(window.col, window.row)
        corners = [
            place @ corner
            for corner in (
                (0, 0), (window.width, 0), (window.width, window.height), (0, window.height),
            )
        ]  # fmt: skip
        near = np.sort(self._index.query(shapely.Polygon(corners)))
        shape = (window.height, window.width)
        if len(near) == 0:
            return np.full(shape, NODATA_ID, np.uint8)
        burnt: ClassIndices = rasterize(
            zip(self._geometry[near], self._channels[near].tolist(), strict=True),
            out_shape=shape,
            transform=place,
            fill=NODATA_ID,
            dtype="uint8",
        )
        return burnt


def warnings_of(labels: Iterable[Path], field: str) -> Iterator[str]:
    """What is to be said of vector files with lines or points in them, which label nothing.

    A column `field` is kept; None keeps all of them.

    Raises:
        HysegError: If one cannot be read.
    """
    for path in dict.fromkeys(labels):
        if path.suffix.lower() in VECTOR_SUFFIXES:
            strays = strays_of(_features_of(path, _changed_at(path), field))
            if any(strays):
                yield f"{path}: {strays} among the polygons label nothing"


def _changed_at(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


@lru_cache(maxsize=1)
def _features_of(path: Path, _changed: int, field: str | None) -> gpd.GeoDataFrame:
    """All of a vector file, which is read once for all images that it labels."""
    return read_vector(path, field)


def read_features(path: Path, image: Raster, field: str | None) -> gpd.GeoDataFrame:
    """All features of a vector file, good or bad, in the CRS of an image.

    Polygons that touch the image are what `VectorLabels` has of them.

    Raises:
        HysegError: If the file cannot be read or has no place in the CRS of the image.
        UsageProblemError: If it has no such column or no CRS, or the image has no CRS.
    """
    found = _features_of(path, _changed_at(path), field).reset_index(drop=True)
    placed = polygons_onto(found, image, str(path)).geometry
    shapes = found.geometry.to_crs(image.crs).to_numpy().copy()
    for row, parts in placed.groupby(level=0):
        shapes[row] = parts.iloc[0] if len(parts) == 1 else shapely.union_all(parts.to_numpy())
    return found.set_geometry(gpd.GeoSeries(shapes, crs=image.crs))


def _channels_of(values: gpd.GeoSeries, legend: Legend, path: Path) -> ClassIndices:
    """The channel of each polygon, by the name of its class or by its id."""
    channel_of: dict[str, int] = {}
    for channel, entry in enumerate(legend.classes):
        channel_of[str(entry.id)] = channel
    for channel, entry in enumerate(legend.classes):
        channel_of[entry.name] = channel
    channel_of |= {str(value): NODATA_ID for value in legend.ignored_ids}
    found = []
    for text in class_texts(values):
        if text is None:
            found.append(NODATA_ID)
        elif text in channel_of:
            found.append(channel_of[text])
        else:
            raise HysegError(
                f"{path}: the class {text!r} is not in the legend "
                f"(it has {', '.join(legend.names)})",
                hint="Add the class to the legend, or correct the polygons.",
            )
    return np.array(found, np.uint8)


def class_texts(values: gpd.GeoSeries) -> list[str | None]:
    """The class of each polygon as text, whole numbers without a point; None where empty."""
    texts: list[str | None] = []
    for value, is_missing in zip(values.tolist(), values.isna().tolist(), strict=True):
        if is_missing or str(value).strip() == "":
            texts.append(None)
        elif isinstance(value, float) and value.is_integer():
            texts.append(str(int(value)))
        else:
            # Tables turn a 1 into the text 1.0.
            texts.append(re.sub(r"^(\d+)\.0+$", r"\1", str(value).strip()))
    return texts


def overlapping(image: Path, labels: Sequence[Path]) -> tuple[Path, ...]:
    """Those of some label rasters that lie where an image does."""
    scene = open_raster(image)
    if not scene.is_georeferenced:
        return ()
    found = []
    for path in labels:
        try:
            label = open_raster(path)
        except UnusableFileError:
            continue  # it may label another image; those that need it will raise
        if label.is_georeferenced and overlap(scene, label):
            found.append(path)
    return tuple(found)


def _no_overlap(path: Path, image: Raster) -> UnusableFileError:
    return UnusableFileError(
        f"{path} does not overlap the image {image.path}",
        hint="Check that both cover the same place, and the CRS of each.",
    )
