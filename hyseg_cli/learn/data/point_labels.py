"""Points as labels: each labels the disc around it, everything else is unknown."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyproj

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.geo.vector.onto_raster import outline, points_onto
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chip import PointRules
from hyseg_cli.learn.data.label_sources import class_texts, read_features
from hyseg_cli.legend import NODATA_ID, Legend

Channels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

PIXELS, DEGREES, MAP = ("x", "y"), ("lon", "lat"), ("east", "north")
"""Columns of a table of points: pixels of its image to the right and down, from the outer corner
of the first; degrees of WGS 84; coordinates in the CRS of the image."""


class PointLabels:
    """Discs around points; a pixel belongs to the nearest point within reach.

    Args:
        positions: Columns and rows of the points in pixels of the image, (n, 2).
        channels: Channel of each point's class (n,), 255 for those without one.
        radius_px: Of the discs.
    """

    def __init__(self, positions: Floats, channels: Channels, radius_px: float) -> None:
        self._positions = positions.reshape(-1, 2)
        self._channels = channels
        self._radius = radius_px

    def read(self, window: Window) -> Channels:
        """Class channels (height, width) of a window, 255 where no point is near."""
        shape = (window.height, window.width)
        nearest = np.full(shape, np.inf)
        found = np.full(shape, NODATA_ID, np.uint8)
        local = self._positions - (window.col, window.row)
        reach = self._radius + 1.0
        is_near = ((local > -reach) & (local < (window.width + reach, window.height + reach))).all(
            axis=1
        )
        for (x, y), channel in zip(local[is_near], self._channels[is_near], strict=True):
            rows = slice(max(0, int(y - reach)), max(0, int(y + reach) + 1))
            cols = slice(max(0, int(x - reach)), max(0, int(x + reach) + 1))
            part = nearest[rows, cols]
            down = np.arange(part.shape[0])[:, None] + rows.start + 0.5 - y
            right = np.arange(part.shape[1])[None] + cols.start + 0.5 - x
            distance = np.hypot(down, right)
            is_own = (distance <= self._radius) & (distance < part)
            part[is_own] = distance[is_own]
            found[rows, cols][is_own] = channel
        return found


def read_table(
    path: Path, image: Raster, legend: Legend, field: str, rules: PointRules
) -> PointLabels:
    """The points of a CSV table; its columns say where they lie (`PIXELS`, `DEGREES`, `MAP`).

    Raises:
        UsageProblemError: If it has none of these pairs of columns, or no class for its points.
        HysegError: If a value is not a number, or a class not in the legend.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
            columns = [name.strip().lower() for name in rows[0]] if rows else list(PIXELS)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HysegError(
            f"{path} cannot be read as a table ({error})", hint="Points are CSV files in UTF-8."
        ) from error
    pair = next((names for names in (PIXELS, DEGREES, MAP) if set(names) <= set(columns)), None)
    if pair is None:
        raise UsageProblemError(
            f"{path} does not say where its points lie",
            hint="Name two columns x, y (pixels), lon, lat (degrees) or east, north (the CRS of "
            "the image).",
        )
    values = [{str(k).strip().lower(): v for k, v in row.items()} for row in rows]
    try:
        points = np.array([[float(row[name]) for name in pair] for row in values]).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise HysegError(
            f"{path} has a point whose place is not a number ({error})",
            hint=f"{' and '.join(pair)} are numbers with a decimal point.",
        ) from error
    own = field.lower()
    names = [row.get(own) or rules.point_class for row in values]
    crs = {PIXELS: None, DEGREES: "EPSG:4326", MAP: image.crs}[pair]
    return _labels(points, names, crs, image, legend, rules, path)


def read_layer(
    path: Path, image: Raster, legend: Legend, field: str, rules: PointRules
) -> PointLabels | None:
    """The points of a vector file; None if it holds other geometries. Errors as of `read_table`."""
    features = read_features(path, image, None if rules.point_class else field)
    points = features[features.intersects(outline(image))]
    if not (len(points) and (points.geom_type == "Point").all()):
        return None
    positions = np.stack([points.geometry.x, points.geometry.y], axis=1)
    names = class_texts(points[field]) if field in points else [None] * len(points)
    own = [name or rules.point_class for name in names]
    return _labels(positions, own, image.crs, image, legend, rules, path)


def _labels(
    points: Floats,
    names: list[str],
    crs: object | None,
    image: Raster,
    legend: Legend,
    rules: PointRules,
    path: Path,
) -> PointLabels:
    if crs is not None:
        points = _in_pixels(points, crs, image, path)
    channel_of = {str(entry.id): channel for channel, entry in enumerate(legend.classes)}
    channel_of |= {name: channel for channel, name in enumerate(legend.names)}
    unknown = sorted(set(names) - channel_of.keys())
    if unknown:
        raise UsageProblemError(
            f"{path}: the points' class {unknown[0]!r} is not in the legend "
            f"(it has {', '.join(legend.names)})",
            hint="Name the column of the class with class-field, or the class of all points with "
            "point-class.",
        )
    channels = np.array([channel_of[name] for name in names], np.uint8)
    resolution = image.resolution_m()
    return PointLabels(points, channels, rules.radius / (resolution or 1.0))


def _in_pixels(points: Floats, crs: object, image: Raster, path: Path) -> Floats:
    if not image.is_georeferenced:
        raise UsageProblemError(
            f"{image.path} is not georeferenced, so the points of {path} cannot be laid over it",
            hint="Give the points in pixels, columns x and y.",
        )
    placed = points_onto(points[:, 0], points[:, 1], pyproj.CRS.from_user_input(crs), image)
    inverse = ~image.transform
    found = [inverse @ (x, y) for x, y in zip(*placed, strict=True)]
    return np.array(found, float).reshape(-1, 2)
