"""Crosswalk: matching classes of several legends by name.

It converts the classes of maps and references to indices of the common legend.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.classes.raster import ClassRaster
from hyseg_cli.geo.classes.styles import class_styles
from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.encode_labels import Encoded, Mask, encode_known, encode_labels
from hyseg_cli.learn.data.label_sources import LabelSource
from hyseg_cli.learn.scores.evaluation import Patch, Unmatched
from hyseg_cli.legend import NODATA_ID, ClassIndices, Legend, LegendClass

Merging = Mapping[str, str | None]
"""New names of classes, None for those to leave out; other classes keep theirs."""

Table = npt.NDArray[np.uint8]
"""(256,): the new class index of each class index of a legend, 255 for none."""


@dataclass(frozen=True)
class Crosswalk:
    """How the class indices of maps and of their reference become those of one legend."""

    legend: Legend
    """The classes that are compared."""
    maps: tuple[Table, ...]
    reference: Table
    unmatched: npt.NDArray[np.bool_]
    """(256,): channels of the reference whose class no map has."""


def match_legends(maps: Sequence[Legend], reference: Legend, merging: Merging) -> Crosswalk:
    """Match classes by name, whatever their ids; upper and lower case do not matter.

    A class of the reference whose name is the id of a class of the first map counts as that
    class, as in polygons that hold ids.

    Args:
        maps: Legends of the maps; the classes of all of them are compared.
        reference: Legend of the reference; its classes that no map has are unmatched.
        merging: Classes to rename, and so to merge, or to leave out.

    Raises:
        UsageProblemError: If a class to merge exists nowhere.
        HysegError: If maps and reference have no class in common.
    """
    new_names = _new_names((*maps, reference), merging)
    legend = _merged(maps, new_names)
    channels = {_key(name): channel for channel, name in enumerate(legend.names)}
    by_id = {str(entry.id): new_names[_key(entry.name)] for entry in maps[0].classes}
    tables = tuple(_table(source, new_names, channels, {}) for source in maps)
    table = _table(reference, new_names, channels, by_id)
    if (table == NODATA_ID).all():
        raise HysegError(
            f"map and reference have no class in common: {', '.join(legend.names)} against "
            f"{', '.join(reference.names)}",
            hint="Name the classes alike with `map_classes`, a file such as "
            f'{{"{reference.names[0]}": "{legend.names[0]}"}}.',
        )
    wanted = [new_names[_key(name)] is not None for name in reference.names]
    unmatched = np.zeros(NODATA_ID + 1, np.bool_)
    unmatched[: len(wanted)] = wanted & (table[: len(wanted)] == NODATA_ID)
    return Crosswalk(legend, tables, table, unmatched)


def merge_classes(legend: Legend, merging: Merging) -> tuple[Legend, Table]:
    """One legend with classes renamed, merged or left out, and what its channels become.

    Names of `merging` that it does not have are those of another legend.

    Raises:
        UsageProblemError: If no class is left.
    """
    own = {_key(name) for name in legend.names}
    new_names = _new_names([legend], {old: new for old, new in merging.items() if _key(old) in own})
    merged = _merged([legend], new_names)
    channels = {_key(name): channel for channel, name in enumerate(merged.names)}
    return merged, _table(legend, new_names, channels, {})


def read_merging(path: Path) -> Merging:
    """Classes to merge, from a JSON file of names such as `{"lane": "road", "shadow": null}`.

    Raises:
        UsageProblemError: If there is no such file or it holds something else.
    """
    hint = 'Write old and new names, such as {"lane": "road"}; null leaves a class out.'
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UsageProblemError(f"`map_classes` {path}: no such file", hint=hint) from error
    except (OSError, ValueError) as error:
        raise UsageProblemError(
            f"`map_classes` {path} is not JSON ({' '.join(str(error).split())})", hint=hint
        ) from error
    if not isinstance(values, dict) or not all(
        isinstance(name, str | None) for name in values.values()
    ):
        raise UsageProblemError(f"`map_classes` {path} holds no names of classes", hint=hint)
    return values


def _key(name: str) -> str:
    return name.strip().casefold()


def _new_names(legends: Iterable[Legend], merging: Merging) -> dict[str, str | None]:
    """The name of every class after merging, by the key of its old name."""
    names: dict[str, str | None] = {}
    for legend in legends:
        for name in legend.names:
            names.setdefault(_key(name), name)
    known = sorted(str(name) for name in names.values())
    for old, new in merging.items():
        if _key(old) not in names:
            raise UsageProblemError(
                f"`map_classes`: neither map nor reference has a class {old!r}",
                hint=f"The classes are {', '.join(known)}.",
            )
        names[_key(old)] = new
    return names


def _merged(maps: Sequence[Legend], new_names: Mapping[str, str | None]) -> Legend:
    """The classes of the maps under their new names, in the order of the maps."""
    entries = [entry for legend in maps for entry in legend.classes]
    own = {_key(entry.name): entry for entry in reversed(entries)}
    merged: dict[str, LegendClass] = {}
    taken: set[int] = set()
    for entry in entries:
        name = new_names[_key(entry.name)]
        if name is None or _key(name) in merged:
            continue
        # A class that others are merged into gives them its id and colour.
        model = own.get(_key(name), entry)
        class_id = model.id if model.id not in taken else max(taken) + 1
        taken.add(class_id)
        merged[_key(name)] = LegendClass(id=class_id, name=name, color=model.color)
    if not merged:
        raise UsageProblemError(
            "`map_classes` leaves out every class of the map", hint="Keep at least one."
        )
    return Legend(tuple(merged.values()))


def _table(
    source: Legend,
    new_names: Mapping[str, str | None],
    channels: Mapping[str, int],
    by_id: Mapping[str, str | None],
) -> Table:
    found = np.full(NODATA_ID + 1, NODATA_ID, np.uint8)
    for channel, entry in enumerate(source.classes):
        name = new_names[_key(entry.name)]
        if name is not None and _key(name) not in channels:
            name = by_id.get(name)
        if name is not None:
            found[channel] = channels.get(_key(name), NODATA_ID)
    return found


@dataclass(frozen=True)
class MapClasses:
    """The classes of a map; every value must be in its legend."""

    raster: ClassRaster
    legend: Legend
    """Of the map itself."""
    table: Table

    def read(self, window: Window) -> ClassIndices:
        """ClassIndices (height, width) of a window inside the map, 255 where unknown."""
        classes = self.raster.read(window)
        name = self.raster.scene.path
        return self.table[encode_labels(classes.ids[None], self.legend, name, classes.valid)]


@dataclass
class ReferenceClasses:
    """The classes of a reference; mutable, because it counts unmatched pixels.

    Args:
        labels: A raster of ids or of colours, or labels that are channels already.
        legend: Of the reference itself.
        crosswalk: How its classes are converted.
    """

    labels: ClassRaster | SceneReader | LabelSource
    legend: Legend
    crosswalk: Crosswalk
    pixels: int = 0
    """Pixels counted so far of classes that no map has."""
    names: set[str] = field(default_factory=set)

    def read(self, patch: Patch) -> ClassIndices:
        """Class indices of `patch.read`; counts the unmatched pixels of `patch.window`."""
        encoded = self._encode(patch.read)
        is_unmatched = encoded.is_unmatched | self.crosswalk.unmatched[encoded.channels]
        count = int(np.count_nonzero(is_unmatched[patch.inner]))
        if count:
            self.pixels += count
            unmatched_classes = np.unique(
                encoded.channels[self.crosswalk.unmatched[encoded.channels]]
            )
            self.names.update(encoded.unmatched, (self.legend.names[i] for i in unmatched_classes))
        return self.crosswalk.reference[encoded.channels]

    def _encode(self, window: Window) -> Encoded:
        if isinstance(self.labels, ClassRaster):
            classes = self.labels.read(window)
            name = self.labels.scene.path
            return encode_known(classes.ids[None], self.legend, name, classes.valid)
        if isinstance(self.labels, SceneReader):
            pixels = self.labels.read(window)
            return encode_known(pixels.image, self.legend, self.labels.scene.path, pixels.valid)
        channels = self.labels.read(window)
        return Encoded(channels, np.zeros(channels.shape, np.bool_), ())

    @property
    def unmatched(self) -> Unmatched:
        """The unmatched pixels counted so far."""
        return Unmatched(self.pixels, tuple(sorted(self.names)))


def keep_common(rasters: Sequence[ClassIndices]) -> None:
    """Make pixels unknown in all rasters that are unknown in one."""
    unknown: Mask = np.logical_or.reduce([raster == NODATA_ID for raster in rasters])
    for raster in rasters:
        raster[unknown] = NODATA_ID


def named_legend(scene: Raster) -> Legend | None:
    """The classes that a raster itself names, wherever it keeps them; None if it names none.

    Raises:
        HysegError: If its names are ambiguous or too many.
    """
    styles = class_styles(scene)
    styles.pop(NODATA_ID, None)
    if all(style.name == str(value) for value, style in styles.items()):
        return None
    if len(styles) >= NODATA_ID:
        raise HysegError(
            f"{scene.path} names {len(styles)} classes; at most 254 can be compared",
            hint="Give a shorter legend with `legend` or `reference_legend`.",
        )
    return Legend(
        tuple(
            LegendClass(id=value, name=style.name, color=style.color)
            for value, style in sorted(styles.items())
        )
    )
