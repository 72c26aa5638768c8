"""The maps that `hyseg evaluate` compares with their reference, on one grid and in one legend."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.classes.raster import ClassRaster, require_classes
from hyseg_cli.geo.classes.styles import LEGEND_TAG, legend_of
from hyseg_cli.geo.raster.ground import grid_for
from hyseg_cli.geo.raster.raster import Raster, open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.suffixes import VECTOR_SUFFIXES
from hyseg_cli.learn.data.label_sources import LabelSource, VectorLabels
from hyseg_cli.learn.data.legends import legend_of_labels
from hyseg_cli.learn.scores.crosswalk import (
    MapClasses,
    Merging,
    ReferenceClasses,
    Table,
    match_legends,
    named_legend,
)
from hyseg_cli.learn.scores.evaluation import Protocol
from hyseg_cli.learn.scores.seams import TileLines, tile_lines_of
from hyseg_cli.legend import Legend, read_legend
from hyseg_cli.settings.evaluate import EvaluateSettings
from hyseg_cli.workflows.evaluate.protocol import merging_of, protocol_of


@dataclass(frozen=True)
class EvaluatedMaps:
    """The compared rasters: maps on the grid of the first, and their reference."""

    scene: Raster
    """The first map."""
    sources: tuple[MapClasses, ...]
    lines: tuple[TileLines | None, ...]
    """Tile lines of each map."""
    reference: ReferenceClasses
    protocol: Protocol


def open_maps(settings: EvaluateSettings, stack: ExitStack) -> EvaluatedMaps:
    """Open maps and reference.

    Raises:
        HysegError: If they have no location or class in common, or one is damaged.
    """
    if settings.reference is None:
        message = "settings of maps name a reference"
        raise TypeError(message)
    scenes = [open_raster(path) for path in settings.maps]
    first = scenes[0]
    for scene in scenes:
        require_classes(scene)
        grid_for(first, scene, may_be_bare=False)
    given = read_legend(settings.legend) if settings.legend else None
    legends = [given or own_legend(scene) or legend_of(scene) for scene in scenes]
    labels, reference_legend = _open_reference(
        settings, settings.reference, first, legends[0], stack
    )
    crosswalk = match_legends(legends, reference_legend, merging_of(settings))
    sources, lines = [], []
    for scene, legend, table in zip(scenes, legends, crosswalk.maps, strict=True):
        sources.append(_classes_on(first, scene, legend, table, stack))
        lines.append(tile_lines_of(scene) if scene.is_on_grid_of(first) else None)
    return EvaluatedMaps(
        first,
        tuple(sources),
        tuple(lines),
        ReferenceClasses(labels, reference_legend, crosswalk),
        protocol_of(settings, crosswalk.legend, first),
    )


def open_pair(
    first: Path, second: Path, legend: Path | None, merging: Merging, stack: ExitStack
) -> tuple[Raster, tuple[MapClasses, MapClasses], Legend]:
    """Open two maps on the grid of the first.

    Args:
        first: The map whose grid counts.
        second: The other one, of any grid and CRS.
        legend: Legend of both; None for their own.
        merging: Classes to rename, and so to merge, or to leave out.
        stack: Closes what is opened.

    Returns:
        The first map, the classes of both as channels, and the legend of these.

    Raises:
        HysegError: If they have no location or class in common, or one is damaged.
    """
    scenes = [open_raster(path) for path in (first, second)]
    for scene in scenes:
        require_classes(scene)
        grid_for(scenes[0], scene, may_be_bare=False)
    given = read_legend(legend) if legend else None
    legends = [given or own_legend(scene) or legend_of(scene) for scene in scenes]
    crosswalk = match_legends(legends, legends[1], merging)
    one, other = (
        _classes_on(scenes[0], scene, own, table, stack)
        for scene, own, table in zip(scenes, legends, crosswalk.maps, strict=True)
    )
    return scenes[0], (one, other), crosswalk.legend


def _classes_on(
    first: Raster, scene: Raster, legend: Legend, table: Table, stack: ExitStack
) -> MapClasses:
    """The classes of a map on the grid of the first."""
    raster = ClassRaster(
        scene, onto=grid_for(first, scene, may_be_bare=False), named=frozenset(legend.ids)
    )
    return MapClasses(stack.enter_context(raster), legend, table)


def _open_reference(
    settings: EvaluateSettings, path: Path, scene: Raster, map_legend: Legend, stack: ExitStack
) -> tuple[ClassRaster | SceneReader | LabelSource, Legend]:
    """The reference on the grid of a map, and the classes it has."""
    given = read_legend(settings.reference_legend) if settings.reference_legend else None
    if path.suffix.lower() in VECTOR_SUFFIXES:
        legend = given or legend_of_labels([path], settings.class_field)
        return VectorLabels(path, scene, legend, settings.class_field), legend
    reference = open_raster(path)
    if len(reference.data_bands) not in (1, 3):
        raise HysegError(
            f"{path} has {len(reference.data_bands)} bands, neither one of class ids nor three "
            "of colours",
            hint="Give a reference with one band of class ids.",
        )
    legend = given or own_legend(reference) or map_legend
    onto = grid_for(scene, reference, may_be_bare=False)
    if len(reference.data_bands) == 1:
        raster = ClassRaster(reference, onto=onto, named=frozenset(legend.ids))
        return stack.enter_context(raster), legend
    reader = SceneReader(reference, reference.data_bands, onto=onto)
    return stack.enter_context(reader), legend


def own_legend(scene: Raster) -> Legend | None:
    """The legend that a raster carries, or the names that its side-car gives.

    Raises:
        HysegError: If it is damaged.
    """
    return legend_of(scene) if LEGEND_TAG in scene.tags else named_legend(scene)
