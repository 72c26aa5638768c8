"""A legend derived from the labels, if none is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.classes.raster import ClassRaster
from hyseg_cli.geo.classes.styles import class_styles
from hyseg_cli.geo.raster.picture import PICTURE_SUFFIXES, is_deep, read_picture
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.suffixes import VECTOR_SUFFIXES
from hyseg_cli.geo.vector.vector_files import read_column
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.label_sources import class_texts
from hyseg_cli.legend import (
    NODATA_ID,
    Color,
    Legend,
    LegendClass,
    distinct_color,
    format_color,
    natural_color,
)

STRIP_ROWS = 512


def legend_of_labels(paths: Sequence[Path], class_field: str) -> Legend:
    """The classes that occur in labels: names of polygons, ids or colours of rasters.

    Raises:
        UsageProblemError: If a vector file has no such column, or there are too many classes.
        HysegError: If a file cannot be read.
    """
    if paths[0].suffix.lower() in VECTOR_SUFFIXES:
        return _legend_of_polygons(paths, class_field)
    ids: dict[int, tuple[str, Color | None]] = {}
    colors: set[Color] = set()
    for path in paths:
        values = _distinct_values(path)
        if values.shape[1] >= 3:
            colors |= {(int(r), int(g), int(b)) for r, g, b in values[:, :3]}
        else:
            styles = (
                {} if path.suffix.lower() in PICTURE_SUFFIXES else class_styles(open_raster(path))
            )
            for value in values[:, 0].tolist():
                style = styles.get(value)
                ids.setdefault(value, (style.name, style.color) if style else (str(value), None))
    ids.pop(NODATA_ID, None)
    _require_few(len(ids) + len(colors), paths[0])
    if colors:
        return Legend(
            tuple(
                LegendClass(id=index, name=format_color(color), color=color)
                for index, color in enumerate(sorted(colors))
            )
        )
    return _with_different_colors(dict(sorted(ids.items())))


def _legend_of_polygons(paths: Sequence[Path], field: str) -> Legend:
    texts = {
        text
        for path in dict.fromkeys(paths)
        for text in class_texts(read_column(path, field))
        if text is not None
    }
    _require_few(len(texts), paths[0])
    if all(text.isdigit() and str(int(text)) == text and int(text) < NODATA_ID for text in texts):
        return _with_different_colors({i: (str(i), None) for i in sorted(map(int, texts))})
    return _with_different_colors({i: (text, None) for i, text in enumerate(sorted(texts))})


def _distinct_values(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """The values of the labelled pixels, one in a row: (n, bands)."""
    if path.suffix.lower() in PICTURE_SUFFIXES and not is_deep(path):
        picture = read_picture(path)
        return np.unique(picture.reshape(len(picture), -1).T.astype(np.int64), axis=0)
    scene = open_raster(path)
    is_of_ids = len(scene.data_bands) == 1
    with ClassRaster(scene) if is_of_ids else SceneReader(scene, scene.data_bands) as source:
        found = [
            np.unique(_labelled_values(source, Window(row, 0, rows, scene.width)), axis=0)
            for row in range(0, scene.height, STRIP_ROWS)
            for rows in (min(STRIP_ROWS, scene.height - row),)
        ]
    return np.unique(np.concatenate(found), axis=0)


def _labelled_values(
    source: ClassRaster | SceneReader, window: Window
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    if isinstance(source, ClassRaster):
        classes = source.read(window)
        return classes.ids[classes.valid].astype(np.int64)[:, None]
    pixels = source.read(window)
    return pixels.image[:, pixels.valid].T.astype(np.int64)


def _require_few(classes: int, path: Path) -> None:
    if not 0 < classes < NODATA_ID:
        raise UsageProblemError(
            f"{path} has {classes} different classes",
            hint="Labels have 1 to 254: give a `legend`, or another `class_field`.",
        )


def _with_different_colors(entries: dict[int, tuple[str, Color | None]]) -> Legend:
    """Keep colours that are known and used once; other classes get new ones, by their names."""
    taken: set[Color] = set()
    classes = []
    for index, (class_id, (name, color)) in enumerate(entries.items()):
        wanted = (color, natural_color(name), distinct_color(index))
        chosen = next((one for one in wanted if one and one not in taken), wanted[-1])
        taken.add(chosen)
        classes.append(LegendClass(id=class_id, name=name, color=chosen))
    return Legend(tuple(classes))
