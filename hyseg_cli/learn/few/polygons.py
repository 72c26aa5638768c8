"""Polygons that somebody drew: what is usable of them, and which of their pixels are looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely

from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.geo.vector.onto_raster import outline
from hyseg_cli.learn.data.label_sources import class_texts, read_features
from hyseg_cli.legend import Legend

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CANDIDATES = 65_536
"""Pixels of a polygon among which those that are looked at are drawn."""
FEWEST, MOST = 16, 256
"""Pixels that are looked at in a small and in a large polygon."""


@dataclass(frozen=True)
class DrawnPolygon:
    """A usable polygon on one scene."""

    row: int
    """Its place in the file, counted from 0: a polygon on two scenes has the same in both."""
    channel: int
    """Class, as an index into the legend."""
    rows: Ints
    """(n,) rows of the pixels that are looked at."""
    cols: Ints
    """(n,) their columns."""


@dataclass(frozen=True)
class Drawing:
    """The polygons of a file on one scene, and what was wrong with the others."""

    polygons: tuple[DrawnPolygon, ...]
    problems: Mapping[str, int]
    """What was left out or mended, with how many polygons it concerns."""
    outside: frozenset[int]
    """Rows of the file that do not touch the scene."""
    features: int
    """How many features the file has."""

    @property
    def corners(self) -> list[tuple[int, int]]:
        """First row and column of the pixels that are looked at in each polygon."""
        return [(int(p.rows.min()), int(p.cols.min())) for p in self.polygons]


def read_drawing(path: Path, image: Raster, legend: Legend, field: str, *, seed: int) -> Drawing:
    """What a vector file says of a scene.

    Left out are features without a class or a geometry, and what is not an area; areas that
    touch themselves are mended; pixels that polygons of two classes cover belong to none.

    Args:
        path: Vector file of one layer, in any CRS.
        image: The scene.
        legend: The classes, by name or id.
        field: Column that holds the class.
        seed: Of the choice of pixels.

    Raises:
        HysegError: If the file cannot be read or has no CRS.
        UsageProblemError: If it has no such column or the image is not georeferenced.
    """
    table = read_features(path, image, field)
    problems: Counter[str] = Counter()
    channels = channels_of(class_texts(table[field]), legend)
    shapes = _areas(table, channels, problems)
    outside = _outside(shapes, image)
    kept = {row: shape for row, shape in shapes.items() if row not in outside}
    polygons, near = [], _neighbours(kept)
    for row, shape in kept.items():
        drawn = _look(row, shape, channels[row], image, seed)
        others = [kept[other] for other in near[row] if channels[other] != channels[row]]
        clear = _outside_of(drawn, others, image)
        if len(clear.rows) < len(drawn.rows):
            problems["overlap polygons of another class, where they count for neither"] += 1
        if len(clear.rows):
            polygons.append(clear)
    return Drawing(tuple(polygons), problems, frozenset(outside), len(table))


def areas_of(shapes: gpd.GeoSeries) -> gpd.GeoSeries:
    """The geometries that are there and not empty."""
    # GeoPandas warns of `notna` where geometries are empty.
    found = shapes.to_numpy()
    return shapes[~(shapely.is_missing(found) | shapely.is_empty(found))]


def channels_of(texts: Sequence[str | None], legend: Legend) -> list[int]:
    """Indices into the legend of classes by name or by id; -1 for what is not among them."""
    known = {str(entry.id): index for index, entry in enumerate(legend.classes)}
    known |= {entry.name: index for index, entry in enumerate(legend.classes)}
    return [known.get(text, -1) if text is not None else -1 for text in texts]


def _areas(
    table: gpd.GeoDataFrame, channels: Sequence[int], problems: Counter[str]
) -> dict[int, shapely.Geometry]:
    """The usable areas by row; what is wrong with the others is counted."""
    found = {}
    for row, shape in enumerate(table.geometry):
        if channels[row] < 0:
            problems["have no class of the legend"] += 1
        elif shape is None or shape.is_empty:
            problems["are empty"] += 1
        elif (mended := shapely.make_valid(shape)).area == 0:
            problems["are not areas"] += 1
        else:
            found[row] = mended
            if not shape.is_valid:
                problems["touch or cross themselves and were mended"] += 1
    return found


def _outside(shapes: Mapping[int, shapely.Geometry], image: Raster) -> set[int]:
    corners = outline(image)
    return {row for row, shape in shapes.items() if not shape.intersects(corners)}


def _look(
    row: int, shape: shapely.Geometry, channel: int, image: Raster, seed: int
) -> DrawnPolygon:
    """A polygon with a random choice of its pixels; the same one whatever else is drawn."""
    rng = np.random.default_rng([seed, row])
    inverse = ~image.transform
    corners = [inverse @ corner for corner in _corners(shape)]
    cols, rows = zip(*corners, strict=True)
    top, bottom = max(0, int(min(rows))), min(image.height, int(np.ceil(max(rows))))
    left, right = max(0, int(min(cols))), min(image.width, int(np.ceil(max(cols))))
    across = max(right - left, 0)
    count = max(bottom - top, 0) * across
    places = np.arange(count) if count <= CANDIDATES else rng.integers(0, count, CANDIDATES)
    at_row, at_col = top + places // max(across, 1), left + places % max(across, 1)
    x, y = middles(image, at_row, at_col)
    inside = np.flatnonzero(shapely.contains_xy(shape, x, y))
    chosen = np.sort(rng.permutation(inside)[: looked_at(len(inside))])
    return DrawnPolygon(row, channel, at_row[chosen], at_col[chosen])


def _corners(shape: shapely.Geometry) -> list[tuple[float, float]]:
    left, bottom, right, top = shape.bounds
    return [(left, bottom), (right, bottom), (right, top), (left, top)]


def middles(image: Raster, rows: Ints, cols: Ints) -> tuple[Floats, Floats]:
    """Map coordinates x and y of the middles of some pixels, (n,) each."""
    t, x, y = image.transform, cols + 0.5, rows + 0.5
    return t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f


def looked_at(pixels: int) -> int:
    """How many of a polygon's pixels are looked at: twice the root, within bounds."""
    return int(np.clip(2 * np.sqrt(pixels), FEWEST, MOST))


def _neighbours(shapes: Mapping[int, shapely.Geometry]) -> dict[int, list[int]]:
    """The rows of the areas that each area meets."""
    rows, areas = list(shapes), list(shapes.values())
    near: dict[int, list[int]] = {row: [] for row in rows}
    if rows:
        for one, other in shapely.STRtree(areas).query(areas, predicate="intersects").T:
            near[rows[one]].append(rows[other])
    return near


def _outside_of(
    drawn: DrawnPolygon, others: Sequence[shapely.Geometry], image: Raster
) -> DrawnPolygon:
    """A polygon without the pixels that lie in other areas."""
    if not others:
        return drawn
    x, y = middles(image, drawn.rows, drawn.cols)
    free = ~np.any([shapely.contains_xy(shape, x, y) for shape in others], axis=0)
    return DrawnPolygon(drawn.row, drawn.channel, drawn.rows[free], drawn.cols[free])
