"""How `hyseg evaluate` measures, according to its settings."""

from __future__ import annotations

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.learn.scores.boundaries import Disc
from hyseg_cli.learn.scores.crosswalk import Merging, read_merging
from hyseg_cli.learn.scores.evaluation import PatchGrid, Protocol, Unmatched
from hyseg_cli.learn.scores.structure import require_skeletons
from hyseg_cli.legend import Legend
from hyseg_cli.messages import Messages
from hyseg_cli.settings.evaluate import EvaluateSettings


def merging_of(settings: EvaluateSettings) -> Merging:
    """The classes to merge or leave out."""
    return read_merging(settings.map_classes) if settings.map_classes else {}


def patches_of(height: int, width: int, protocol: Protocol) -> PatchGrid:
    """The patches in which a map is counted; their rim serves boundaries and seams."""
    rim = 1 if protocol.disc is None else protocol.disc.reach + 1
    return PatchGrid.cover(height, width, side=protocol.patch_px, rim=rim)


def protocol_of(
    settings: EvaluateSettings,
    legend: Legend,
    scene: Raster | None,
    unscored: tuple[str, ...] = (),
) -> Protocol:
    """How to measure: widths in pixels of the map, classes as channels.

    Args:
        settings: The settings of the run.
        legend: The classes compared.
        scene: The map; None for models, whose widths are in pixels.
        unscored: Further classes that the means leave out, where they exist.

    Raises:
        UsageProblemError: If a class or a width in metres means nothing here, or structure is to
            be measured without the package for it.
    """
    if settings.structure:
        require_skeletons()
    channel_of = {name: channel for channel, name in enumerate(legend.names)}
    asked = [("`exclude`", name) for name in settings.exclude]
    asked += [("`fail_under`", t.class_name) for t in settings.thresholds if t.class_name]
    for flag, name in asked:
        if name not in channel_of:
            raise UsageProblemError(
                f"{flag} {name}: there is no such class",
                hint=f"The classes are {', '.join(legend.names)}.",
            )
    return Protocol(
        settings.patch_size,
        _disc(settings, scene) if settings.structure else None,
        tuple(c for n, c in channel_of.items() if n in (*settings.exclude, *unscored)),
    )


def _disc(settings: EvaluateSettings, scene: Raster | None) -> Disc:
    width = settings.boundary_width
    if width.unit == "px" or scene is None:
        return Disc(width.value)
    resolution = scene.resolution_m()
    if resolution is None or width.value < resolution:
        size = "is not georeferenced" if resolution is None else f"has pixels of {resolution:.2f} m"
        raise UsageProblemError(
            f"`boundary` {settings.boundary}: {scene.path} {size}",
            hint="Give the width in pixels, such as 3px.",
        )
    return Disc(width.value / resolution)


def warn_of_unmatched(unmatched: Unmatched, messages: Messages) -> None:
    """Warn of pixels that were left out because no map has their class."""
    if unmatched.pixels:
        names = ", ".join(unmatched.names[:8]) + (", ..." if len(unmatched.names) > 8 else "")
        messages.warn(
            f"{unmatched.pixels:,} pixels of the reference are not compared: the map has no class "
            f"{names}; `map_classes` can rename or merge classes"
        )
