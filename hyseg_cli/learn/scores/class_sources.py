"""Classes of maps and references as channels of the legend that they are compared in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.classes.styles import class_styles
from hyseg_cli.geo.raster.raster import Scene
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.encode_labels import Channels, Encoded, Mask, encode_known, encode_labels
from hyseg_cli.learn.data.label_sources import LabelSource
from hyseg_cli.learn.scores.crosswalk import Crosswalk, Table
from hyseg_cli.learn.scores.evaluation import Patch, Strangers
from hyseg_cli.legend import NODATA_ID, Legend, LegendClass


class ClassSource(Protocol):
    """Classes on the pixels of a map."""

    def read(self, window: Window) -> Channels:
        """Channels (height, width) of a window inside the map, 255 where unknown."""
        ...


@dataclass(frozen=True)
class MapClasses:
    """The classes of a map; every value must be in its legend."""

    reader: SceneReader
    legend: Legend
    """Of the map itself."""
    table: Table

    def read(self, window: Window) -> Channels:
        pixels = self.reader.read(window)
        name = self.reader.scene.path
        return self.table[encode_labels(pixels.image, self.legend, name, pixels.valid)]


@dataclass
class ReferenceClasses:
    """The classes of a reference; mutable, as it counts what no map has.

    Args:
        labels: A raster with a legend, or labels that are channels already.
        legend: Of the reference itself.
        crosswalk: What its classes become.
    """

    labels: SceneReader | LabelSource
    legend: Legend
    crosswalk: Crosswalk
    pixels: int = 0
    """Pixels counted so far of classes that no map has."""
    names: set[str] = field(default_factory=set)

    def read(self, patch: Patch) -> Channels:
        """Channels of `patch.read`, 255 where unknown; strangers are counted in `patch.window`."""
        encoded = self._encode(patch.read)
        is_strange = encoded.is_strange | self.crosswalk.strangers[encoded.channels]
        count = int(np.count_nonzero(is_strange[patch.inner]))
        if count:
            self.pixels += count
            strange = np.unique(encoded.channels[self.crosswalk.strangers[encoded.channels]])
            self.names.update(encoded.strangers, (self.legend.names[i] for i in strange))
        return self.crosswalk.reference[encoded.channels]

    def _encode(self, window: Window) -> Encoded:
        if not isinstance(self.labels, SceneReader):
            channels = self.labels.read(window)
            return Encoded(channels, np.zeros(channels.shape, np.bool_), ())
        pixels = self.labels.read(window)
        return encode_known(pixels.image, self.legend, self.labels.scene.path, pixels.valid)

    @property
    def strangers(self) -> Strangers:
        """What was counted so far."""
        return Strangers(self.pixels, tuple(sorted(self.names)))


def keep_common(rasters: Sequence[Channels]) -> None:
    """Make pixels unknown in all rasters that are unknown in one."""
    unknown: Mask = np.logical_or.reduce([raster == NODATA_ID for raster in rasters])
    for raster in rasters:
        raster[unknown] = NODATA_ID


def named_legend(scene: Scene) -> Legend | None:
    """The classes that a raster itself names, wherever it keeps them; None if it names none.

    Raises:
        HysegError: If its names cannot be told apart or are too many.
    """
    styles = class_styles(scene)
    styles.pop(NODATA_ID, None)
    if all(style.name == str(value) for value, style in styles.items()):
        return None
    if len(styles) >= NODATA_ID:
        raise HysegError(
            f"{scene.path} names {len(styles)} classes; at most 254 can be compared",
            hint="Give a shorter legend with --legend or --reference-legend.",
        )
    return Legend(
        tuple(
            LegendClass(id=value, name=style.name, color=style.color)
            for value, style in sorted(styles.items())
        )
    )
