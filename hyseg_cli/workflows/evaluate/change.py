"""`hyseg change`: from which class to which, how much, and a map of it.

The map of changes is an ordinary class raster with one class for each kind of change: QGIS shows
its legend, and `sample`, `evaluate --samples` and `vectorize` work on it. Counted pixels add up the
errors of both maps; areas with intervals come from a sample of the map of changes.
"""

from __future__ import annotations

import csv
import io
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli import __version__
from hyseg_cli.errors import HysegError
from hyseg_cli.geo.classes.counts import STRIP_PIXELS, strips_of
from hyseg_cli.geo.classes.styles import styles_of
from hyseg_cli.geo.classes.symbology import to_raster_qml, to_raster_sld
from hyseg_cli.geo.output.cog import MapSpec, Source, put_in_place, write_cog
from hyseg_cli.geo.output.shards import shard_path, writing_shard
from hyseg_cli.geo.output.sidecar import sidecar_of_classes
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.raster.ground import GroundMeasure
from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.geo.suffixes import SIDECAR_SUFFIX
from hyseg_cli.geo.tiling.blocks import Block
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.scores.crosswalk import MapClasses, read_merging
from hyseg_cli.legend import NODATA_ID, Legend, LegendClass
from hyseg_cli.messages import Messages
from hyseg_cli.settings.change import ChangeSettings
from hyseg_cli.workflows.evaluate.maps import open_pair
from hyseg_cli.workflows.outputs import refuse_inputs, require_free, write_bytes, write_text

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

UNCHANGED = LegendClass(id=0, name="unchanged", color=(225, 225, 225))
MOST_KINDS = NODATA_ID - 1
"""Kinds of change that an 8-bit map can hold, besides `unchanged` and nodata."""
NEW_SHARE = 0.7
"""How much of the colour of a change is that of the new class; the rest is the old one's."""
M2_PER_HA = 1e4


@dataclass(frozen=True)
class Change:
    """One kind of change that occurs."""

    id: int
    """Its value in the map of changes."""
    old: str
    new: str
    pixels: int
    hectares: float | None
    """None for maps without place."""

    @property
    def name(self) -> str:
        """As the map of changes has it."""
        return f"{self.old} to {self.new}"


@dataclass(frozen=True)
class ChangeResult:
    """How much of which class became which."""

    legend: Legend
    """The classes of both maps."""
    pixels: Ints
    """(N, N): old class x new class, where both maps have one."""
    area_m2: Floats | None
    """The same on the ground; None for maps without place."""
    unknown: int
    """Pixels where a map has no class."""
    changes: tuple[Change, ...]
    """The largest first."""
    out: Path | None

    @property
    def _amounts(self) -> tuple[Floats, str]:
        if self.area_m2 is None:
            return self.pixels.astype(np.float64), "px"
        return self.area_m2 / M2_PER_HA, "ha"

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        hectares = None if self.area_m2 is None else (self.area_m2 / M2_PER_HA).tolist()
        return {
            "classes": list(self.legend.names),
            "pixels": self.pixels.tolist(),
            "hectares": hectares,
            "unknown_pixels": self.unknown,
            "changes": [{**asdict(change), "name": change.name} for change in self.changes],
            "out": None if self.out is None else str(self.out),
        }

    def to_text(self) -> str:
        """Tables for people: losses and gains of each class, and the kinds of change."""
        amounts, unit = self._amounts
        total, same = float(amounts.sum()), float(np.trace(amounts))
        share = 100 * (total - same) / total if total else 0.0
        lines = [f"changed {total - same:.2f} of {total:.2f} {unit} ({share:.2f} %)", ""]
        lines.append(
            f"{'class':<20}" + "".join(f"{name:>14}" for name in ("old", "new", "lost", "won"))
        )
        for row, name in enumerate(self.legend.names):
            old, new = float(amounts[row].sum()), float(amounts[:, row].sum())
            kept = float(amounts[row, row])
            numbers = (old, new, old - kept, new - kept)
            lines.append(f"{name:<20}" + "".join(f"{number:>14.2f}" for number in numbers))
        if self.changes:
            lines += ["", f"{'id':>3}  {'change':<36}{unit:>14}"]
            lines += [
                f"{change.id:>3}  {change.name:<36}"
                f"{change.pixels if change.hectares is None else change.hectares:>14.2f}"
                for change in self.changes
            ]
        return "\n".join(lines if self.out is None else [*lines, str(self.out)])

    def to_csv(self) -> str:
        """A line for each kind of change, and for what stayed of each class."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["old", "new", "pixels", "hectares"])
        for row, old in enumerate(self.legend.names):
            for col, new in enumerate(self.legend.names):
                count = int(self.pixels[row, col])
                ground = "" if self.area_m2 is None else self.area_m2[row, col] / M2_PER_HA
                if count:
                    writer.writerow([old, new, count, ground])
        return text.getvalue()


def run(settings: ChangeSettings, messages: Messages) -> ChangeResult:
    """Count the changes between two maps, and map them if asked to.

    The maps are read strip by strip; NEW is brought onto the grid of OLD by nearest neighbour.

    Raises:
        HysegError: One of its kinds; no output is then left behind.
    """
    _require_outputs(settings)
    merging = read_merging(settings.map_classes) if settings.map_classes else {}
    with ExitStack() as stack:
        scene, sources, legend = open_pair(
            settings.old, settings.new, settings.legend, merging, stack
        )
        counter = _Counter(scene, len(legend))
        for window in strips_of(scene, STRIP_PIXELS):
            counter.add(window, _codes(sources, window, len(legend)))
            messages.advance("counting changes", window.row_stop, scene.height)
        result = counter.result(legend, settings.out)
        if settings.out is not None:
            _write_map(settings, settings.out, scene, sources, result, messages)
    if settings.csv is not None:
        write_text(settings.csv, result.to_csv())
    return result


def _require_outputs(settings: ChangeSettings) -> None:
    outputs = {"`out`": settings.out, "`csv`": settings.csv}
    asked = {flag: path for flag, path in outputs.items() if path is not None}
    for flag, path in asked.items():
        require_free(path, overwrite=settings.overwrite, flag=flag)
    refuse_inputs(asked, [str(settings.old), str(settings.new)])


def _codes(sources: tuple[MapClasses, MapClasses], window: Window, count: int) -> Ints:
    """Old channel x count + new channel, (height, width); count squared where one is unknown."""
    old, new = (source.read(window) for source in sources)
    codes = old.astype(np.int64) * count + new
    codes[(old == NODATA_ID) | (new == NODATA_ID)] = count**2
    return codes


class _Counter:
    """Adds up pixels and ground by kind of change; mutable."""

    def __init__(self, scene: Raster, classes: int) -> None:
        self._classes = classes
        self._pixels = np.zeros(classes**2 + 1, np.int64)
        self._areas = np.zeros(classes**2)
        has_ground = scene.crs is not None and scene.is_georeferenced
        self._row_areas = GroundMeasure(scene).row_areas_m2() if has_ground else None

    def add(self, window: Window, codes: Ints) -> None:
        """Count a strip."""
        counted = np.bincount(codes.ravel(), minlength=self._classes**2 + 1)
        self._pixels += counted
        if self._row_areas is None:
            return
        # Areas of pixels differ between rows only: a table of what occurs by row.
        present = np.flatnonzero(counted)
        places = np.zeros(len(counted), np.int64)
        places[present] = np.arange(len(present))
        lines = np.arange(window.height)[:, None] * len(present)
        table = np.bincount(
            (places[codes] + lines).ravel(), minlength=len(present) * window.height
        ).reshape(window.height, len(present))
        ground = self._row_areas[window.row : window.row_stop] @ table
        known = present < self._classes**2
        self._areas[present[known]] += ground[known]

    def result(self, legend: Legend, out: Path | None) -> ChangeResult:
        """What was counted."""
        square = (self._classes, self._classes)
        pixels = self._pixels[:-1].reshape(square)
        areas = None if self._row_areas is None else self._areas.reshape(square)
        changes = tuple(_changes(pixels, areas, legend))
        if out is not None and len(changes) > MOST_KINDS:
            raise HysegError(
                f"{len(changes)} kinds of change occur; a map can hold {MOST_KINDS}",
                hint="Merge classes with `map_classes`, or leave out `out`.",
            )
        return ChangeResult(legend, pixels, areas, int(self._pixels[-1]), changes, out)


def _changes(pixels: Ints, areas: Floats | None, legend: Legend) -> list[Change]:
    """The kinds that occur, numbered in the order of the legend, the largest first."""
    pairs = [(a, b) for a, b in np.argwhere(pixels).tolist() if a != b]
    found = [
        Change(
            number,
            legend.names[a],
            legend.names[b],
            int(pixels[a, b]),
            None if areas is None else float(areas[a, b]) / M2_PER_HA,
        )
        for number, (a, b) in enumerate(pairs, UNCHANGED.id + 1)
    ]
    return sorted(found, key=lambda change: (-change.pixels, change.id))


def change_legend(changes: tuple[Change, ...], legend: Legend) -> Legend:
    """The legend of a map of changes; each has mostly the colour of its new class."""
    colors = {entry.name: np.array(entry.color) for entry in legend.classes}
    classes = [UNCHANGED]
    for change in sorted(changes, key=lambda change: change.id):
        mixed = NEW_SHARE * colors[change.new] + (1 - NEW_SHARE) * colors[change.old]
        red, green, blue = np.rint(mixed).astype(int).tolist()
        classes.append(LegendClass(id=change.id, name=change.name, color=(red, green, blue)))
    return Legend(tuple(classes))


def _ids(result: ChangeResult) -> npt.NDArray[np.uint8]:
    """The value in the map of changes of each code."""
    count = len(result.legend)
    channels = {name: channel for channel, name in enumerate(result.legend.names)}
    ids = np.full(count**2 + 1, UNCHANGED.id, np.uint8)
    for change in result.changes:
        ids[channels[change.old] * count + channels[change.new]] = change.id
    ids[-1] = NODATA_ID
    return ids


def _write_map(
    settings: ChangeSettings,
    out: Path,
    scene: Raster,
    sources: tuple[MapClasses, MapClasses],
    result: ChangeResult,
    messages: Messages,
) -> None:
    legend, ids, count = (
        change_legend(result.changes, result.legend),
        _ids(result),
        len(result.legend),
    )
    spec = MapSpec(
        height=scene.height,
        width=scene.width,
        crs=scene.crs,
        transform=scene.transform,
        control=scene.control,
        legend=legend,
        tags={
            "HYSEG_VERSION": __version__,
            "HYSEG_INPUT": f"changes from {settings.old.name} to {settings.new.name}",
        },
    )
    work = WorkFolder(out)
    with work.scratch():
        pixels, shards = np.zeros(NODATA_ID + 1, np.int64), []
        for window in strips_of(scene, STRIP_PIXELS):
            block = Block(range(1), range(1), window)
            values = ids[_codes(sources, window, count)]
            with writing_shard(work, block, 1) as shard:
                shard.append(values[None])
                shard.finish({})
            pixels += np.bincount(values.ravel(), minlength=NODATA_ID + 1)
            shards.append(Source(shard_path(work, block), window))
            messages.advance("mapping changes", window.row_stop, scene.height)
        cog = write_cog(work, "change.tif", spec, shards)
        sidecar = out.with_name(out.name + SIDECAR_SUFFIX)
        put_in_place(cog, out, {sidecar: sidecar_of_classes(legend, pixels, None)})
    if settings.style:
        styles = styles_of(legend)
        write_bytes(out.with_suffix(".qml"), to_raster_qml(styles).encode())
        write_bytes(out.with_suffix(".sld"), to_raster_sld(styles, out.stem).encode())
