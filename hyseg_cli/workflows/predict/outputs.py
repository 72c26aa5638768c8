"""What people look at beside a map: the preview, and the page that a report is."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyseg_cli import __version__
from hyseg_cli.geo.classes.counts import Tally
from hyseg_cli.geo.output.preview import Preview, draw_preview
from hyseg_cli.geo.raster.facts import read_facts
from hyseg_cli.geo.raster.ground import north_of
from hyseg_cli.geo.raster.overviews import picture_size, read_reduced, to_colors
from hyseg_cli.geo.raster.raster import Scene, open_scene
from hyseg_cli.learn.model.card import ModelCard
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.legend import NODATA_ID, LegendClass
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.outputs import write_bytes
from hyseg_cli.workflows.predict.jobs import Job
from hyseg_cli.workflows.predict.plan import Plan

PREVIEW_SIDE = 900
"""Pixels of the longer side of each picture of a preview."""
COLORS = ("red", "green", "blue")
EMPTY = (255, 255, 255)

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FinishedMap:
    """A scene that is mapped, before its outputs get their names."""

    job: Job
    plan: Plan
    card: ModelCard
    tally: Tally
    rasters: dict[Path, Path]
    """Where the raster that gets a path lies until then."""

    @property
    def map(self) -> Scene:
        """The map."""
        return open_scene(self.rasters[self.plan.out])

    @property
    def classes(self) -> tuple[tuple[LegendClass, int, float], ...]:
        """The classes that occur, with their pixels and square metres."""
        return tuple(
            (entry, int(self.tally.pixels[entry.id]), float(self.tally.area_m2[entry.id]))
            for entry in self.plan.legend.classes
            if self.tally.pixels[entry.id]
        )


WritePage = Callable[[Path, PredictSettings, FinishedMap], None]
"""Writes the report of a map."""


@dataclass(frozen=True)
class Look:
    """A scene and its map, small enough to be shown; arrays are of one height and width."""

    photo: Bytes
    """(height, width, 3) in red, green and blue."""
    channels: Bytes
    """(height, width), channels of the legend, 255 where there is no class."""
    confidence: Bytes | None
    """(height, width), levels 0 to 254, 255 where there is none; None if it was not asked for."""


def write_documents(
    done: FinishedMap, settings: PredictSettings, write_page: WritePage | None
) -> None:
    """Write what was asked for to be looked at.

    Raises:
        HysegError: If the scene cannot be read again, or a file cannot be written.
    """
    if done.job.preview is not None:
        write_preview(done.job.preview, settings, done)
    if done.job.report is not None and write_page is not None:
        write_page(done.job.report, settings, done)


def look_at(done: FinishedMap, size: tuple[int, int]) -> Look:
    """Read a scene and its map at a size; what is read does not grow with them.

    Raises:
        UnusableFileError: If a block cannot be read.
    """
    plan = done.plan
    ids, known = read_reduced(str(done.rasters[plan.out]), (1,), size, is_classes=True)
    channel_of = np.full(NODATA_ID + 1, NODATA_ID, np.uint8)
    channel_of[list(plan.legend.ids)] = np.arange(len(plan.legend))
    channels = np.where(known, channel_of[ids[0]], NODATA_ID).astype(np.uint8)
    image, valid = read_reduced(plan.scene.path, _shown_bands(done), size, window=plan.window)
    mapped = valid & (channels != NODATA_ID)
    photo = to_colors(image, mapped if mapped.any() else valid)
    photo[~valid] = EMPTY
    confidence = None
    if done.job.confidence is not None:
        levels, is_sure = read_reduced(str(done.rasters[done.job.confidence]), (1,), size)
        confidence = np.where(is_sure, levels[0], NODATA_ID).astype(np.uint8)
    return Look(photo, channels, confidence)


def write_preview(path: Path, settings: PredictSettings, done: FinishedMap) -> None:
    """Draw a scene beside its map as a PNG.

    Raises:
        HysegError: If the scene cannot be read again, or the picture cannot be written.
    """
    placed = done.map
    size = picture_size(placed, PREVIEW_SIDE, enlarge=True)
    look = look_at(done, size)
    colors = np.full((NODATA_ID + 1, 3), EMPTY, np.uint8)
    colors[: len(done.plan.legend)] = [entry.color for entry in done.plan.legend.classes]
    mapped = max(1, sum(pixels for _, pixels, _ in done.classes))
    sides = placed.pixel_sides_m()
    preview = Preview(
        pictures=(
            (Path(done.job.scene).name, look.photo),
            (done.plan.out.name, colors[look.channels]),
        ),
        legend=tuple(
            (f"{entry.name} {100 * pixels / mapped:.1f} %", entry.color)
            for entry, pixels, _ in done.classes
        ),
        pixel_m=None if sides is None else sides[0] * placed.width / size[1],
        north=north_of(placed),
        lines=tuple(_lines(settings, done, placed)),
    )
    file = io.BytesIO()
    draw_preview(preview).save(file, "PNG", optimize=True)
    write_bytes(path, file.getvalue())


def _lines(settings: PredictSettings, done: FinishedMap, placed: Scene) -> list[str]:
    """CRS, whom to credit for the image and the training data, model."""
    resolution = placed.resolution_m()
    size = "" if resolution is None else f", pixels of {resolution:.3g} m"
    lines = [f"{read_facts(placed).crs_name or 'No coordinate reference system'}{size}"]
    credit = done.plan.scene.tags.get("TIFFTAG_COPYRIGHT")
    lines += [f"Image: {credit}"] if credit else []
    data = done.card.data
    credited = ", ".join(part for part in (data.attribution, data.licence) if part)
    lines += [f"Training data: {credited}"] if credited else []
    name = find_model(settings.model).stem
    return [*lines, f"Model {name} {done.plan.settled['model']}, hyseg {__version__}"]


def _shown_bands(done: FinishedMap) -> tuple[int, ...]:
    """The bands that are shown as red, green and blue: by name, or the first ones."""
    bands, names = done.plan.inspection.contract.bands, done.card.bands
    if set(COLORS) <= set(names):
        return tuple(bands[names.index(color)] for color in COLORS)
    return bands[:3] if len(bands) >= 3 else bands[:1]
