"""Labels on the pixel grid of a georeferenced image, from rasters or polygons of any CRS.

torchgeo's `RasterDataset`, `VectorDataset` and `IntersectionDataset` do related work. They bring
all scenes of a training to one CRS and one resolution, which resamples the images, and they know
no pixel that is unlabelled; here images are read as they are and labels are brought to them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import geopandas as gpd
import numpy as np
import pyogrio
import pyogrio.errors
import shapely
from affine import Affine
from rasterio.features import rasterize

from hyseg_cli.errors import HysegError, UnusableFileError, UsageProblemError
from hyseg_cli.geo.classes.raster import ClassRaster
from hyseg_cli.geo.classes.styles import palette
from hyseg_cli.geo.raster.picture import PICTURE_SUFFIXES
from hyseg_cli.geo.raster.raster import Raster, open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.vector.formats import geometry_layer
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.encode_labels import encode_labels
from hyseg_cli.legend import NODATA_ID, ClassIndices, Legend


class LabelSource(Protocol):
    """Labels of one image."""

    def read(self, window: Window) -> ClassIndices:
        """Class channels (height, width) of a window inside the image, 255 where unknown."""
        ...


class RasterLabels:
    """Label rasters, brought to the image's grid by nearest neighbour.

    Where several cover a pixel, the first that labels it counts. A PNG with a palette is one of
    colours, as it is beside plain pictures; in other rasters the values are the ids.

    Args:
        paths: Rasters of class ids or colours.
        image: The scene they label.
        legend: Their classes.

    Raises:
        HysegError: If a raster without place differs in size, or one with place does not
            overlap the image.
    """

    def __init__(self, paths: Sequence[Path], image: Raster, legend: Legend) -> None:
        self._legend = legend
        self._sources: list[tuple[ClassRaster | SceneReader, ClassIndices | None]] = []
        for path in paths:
            labels = open_raster(path)
            has_place = labels.is_georeferenced and image.is_georeferenced
            if not has_place and (labels.height, labels.width) != (image.height, image.width):
                raise HysegError(
                    f"{path} is {labels.height} x {labels.width} pixels, "
                    f"but its image {image.path} is {image.height} x {image.width}",
                    hint="Georeference both, or put labels on the pixel grid of their image.",
                )
            if has_place and not overlap(image, labels):
                raise _no_overlap(path, image)
            onto = image if has_place else None
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
    """Polygons with a class, rasterised window by window; what none covers is unlabelled.

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
        polygons = read_polygons(path, image, field)
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


def read_polygons(path: Path, image: Raster, field: str | None) -> gpd.GeoDataFrame:
    """The polygons of a vector file that may touch an image, in its CRS.

    A column `field` is kept; None keeps all of them.

    Raises:
        HysegError: If the file cannot be read or has no CRS.
        UsageProblemError: If it has no such column or the image has no place.
    """
    polygons = read_features(path, image, field)
    polygons = polygons[polygons.geometry.notna() & ~polygons.geometry.is_empty]
    return polygons[polygons.intersects(outline_of(image))]


def read_features(path: Path, image: Raster, field: str | None) -> gpd.GeoDataFrame:
    """All features of a vector file, good or bad, in the CRS of an image; errors as above."""
    if not image.is_georeferenced:
        raise UsageProblemError(
            f"{image.path} is not georeferenced, so polygons cannot be laid over it",
            hint="Georeference the image, or give label rasters.",
        )
    try:
        layer = geometry_layer(path)
        fields = set(pyogrio.read_info(path, layer=layer)["fields"])
        if field is not None and field not in fields:
            raise UsageProblemError(
                f"{path} has no column {field!r}",
                hint=f"Its columns are {', '.join(sorted(fields))}: name one with --class-field.",
            )
        polygons = gpd.read_file(path, layer=layer, columns=None if field is None else [field])
    except pyogrio.errors.DataSourceError as error:
        raise HysegError(
            f"{path} cannot be read as a vector file ({' '.join(str(error).split())})",
            hint="GeoPackage, Shapefile, GeoJSON and FlatGeobuf of one layer are read.",
        ) from error
    if polygons.crs is None:
        raise HysegError(
            f"{path} has no CRS", hint="Assign one, or write a GeoPackage, which keeps it."
        )
    return polygons.to_crs(image.crs)


def outline_of(image: Raster) -> shapely.Polygon:
    """The corners of an image, in its CRS."""
    t, width, height = image.transform, image.width, image.height
    return shapely.Polygon([t @ (0, 0), t @ (width, 0), t @ (width, height), t @ (0, height)])


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
            # 1.0 as text is what tables make of a 1.
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


def overlap(one: Raster, other: Raster) -> bool:
    """Whether two georeferenced scenes meet, seen in the CRS of the second, the larger one."""
    own = gpd.GeoSeries([_footprint(one)], crs=one.crs).to_crs(other.crs)
    return bool(own.iloc[0].intersects(_footprint(other)))


def _footprint(scene: Raster) -> shapely.Polygon:
    """Outline of a scene in its CRS, with points along the sides for bent projections."""
    t, width, height = scene.transform, scene.width, scene.height
    outline = shapely.Polygon([t @ (0, 0), t @ (width, 0), t @ (width, height), t @ (0, height)])
    return shapely.segmentize(outline, outline.length / 64)


def _no_overlap(path: Path, image: Raster) -> UnusableFileError:
    return UnusableFileError(
        f"{path} does not overlap the image {image.path}",
        hint="Check that both cover the same place, and the CRS of each.",
    )
