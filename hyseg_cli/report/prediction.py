"""The report of `hyseg predict`: the map over its scene, areas, and where both come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hyseg_cli.geo.raster.ground import area_distortion
from hyseg_cli.geo.raster.overviews import picture_size
from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.legend import NODATA_ID, LegendClass
from hyseg_cli.report.imagery import Layer, Palette, draw_layer, draw_photo, draw_quantised
from hyseg_cli.report.page import format_count, format_percent, render
from hyseg_cli.report.provenance import Provenance, Row, Source, crs_name, describe_model
from hyseg_cli.workflows.outputs import write_text
from hyseg_cli.workflows.predict.outputs import (
    FinishedMap,
    Thumbnail,
    read_thumbnail,
    write_preview,
)

PICTURE_SIDE = 1600
"""Pixels of the longer side of a picture at most; smaller scenes are shown pixel by pixel."""
DISTORTION_TO_TELL = 0.01
"""Relative difference between areas of a CRS and on the ground above which a note is shown."""


@dataclass(frozen=True)
class Place:
    """The scene, the map and further layers."""

    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class ClassRow:
    """A class of the map and its extent."""

    entry: LegendClass
    pixels: int
    hectares: float
    share: float
    """Of what is mapped, 0 to 1."""
    start: float
    """Shares of the classes before it."""


def write_documents(done: FinishedMap) -> None:
    """Write the preview and the report of a scene that was mapped, as far as they are wanted.

    Raises:
        HysegError: If the scene cannot be read again, or a file cannot be written.
    """
    if done.job.preview is not None:
        write_preview(done.job.preview, done)
    if done.job.report is not None:
        write_page(done.job.report, done)


def write_page(path: Path, done: FinishedMap) -> None:
    """Write the report of a scene that was mapped.

    Raises:
        HysegError: If the scene cannot be read again, or the file cannot be written.
    """
    placed = done.map
    size = picture_size(placed, PICTURE_SIDE)
    thumbnail = read_thumbnail(done, size)
    legend = done.plan.legend
    palette = Palette(legend.names, tuple(entry.color for entry in legend.classes))
    rows = tuple(_rows(done))
    has_ground = placed.crs is not None and placed.is_georeferenced
    provenance = Provenance.of(done.settings, tuple(_sources(done, placed)))
    page = render(
        "prediction.html.j2",
        title=Path(done.job.scene).name,
        subtitle=f"mapped to {done.plan.out.name}",
        summary=tuple(_summary(rows, done, thumbnail)),
        tiles=tuple(_tiles(rows, done, placed, has_ground=has_ground)),
        warnings=done.plan.inspection.warnings,
        place=Place(tuple(_layers(thumbnail, palette))),
        size_note=_size_note(placed, size),
        rows=rows,
        has_confidence=thumbnail.confidence is not None,
        has_ground=has_ground,
        distortion=area_distortion(placed) if has_ground else 1.0,
        distortion_to_tell=DISTORTION_TO_TELL,
        provenance=provenance,
    )
    write_text(path, page)


def _rows(done: FinishedMap) -> Iterator[ClassRow]:
    """The classes that occur, the largest first."""
    total = max(1, sum(pixels for _, pixels, _ in done.classes))
    start = 0.0
    for entry, pixels, area_m2 in sorted(done.classes, key=lambda c: -c[1]):
        yield ClassRow(entry, pixels, area_m2 / 1e4, pixels / total, start)
        start += pixels / total


def _layers(thumbnail: Thumbnail, palette: Palette) -> Iterator[Layer]:
    yield draw_photo("Scene", thumbnail.photo)
    yield draw_layer("Map", thumbnail.channels, palette)
    if thumbnail.confidence is not None:
        yield draw_quantised("Confidence", thumbnail.confidence)


def _summary(rows: tuple[ClassRow, ...], done: FinishedMap, thumbnail: Thumbnail) -> Iterator[str]:
    if not rows:
        yield "No pixel of the scene was mapped."
        return
    named = [f"{format_percent(row.share)} {row.entry.name}" for row in rows[:3]]
    yield f"Of what is mapped, {', '.join(named)}{' and others' if len(rows) > 3 else ''}."
    empty = int(done.totals.pixels[NODATA_ID])
    if empty:
        yield f"{format_count(empty)} pixels hold no data or were not asked for."
    if thumbnail.confidence is not None and (thumbnail.confidence != NODATA_ID).any():
        sure = thumbnail.confidence[thumbnail.confidence != NODATA_ID].mean() / (NODATA_ID - 1)
        yield f"On average the most probable class has a probability of {format_percent(sure)}."


def _tiles(
    rows: tuple[ClassRow, ...], done: FinishedMap, placed: Raster, *, has_ground: bool
) -> Iterator[Row]:
    if has_ground:
        yield "Mapped area", f"{sum(row.hectares for row in rows):,.2f} ha"
    yield "Mapped pixels", format_count(sum(row.pixels for row in rows))
    yield "Classes found", f"{len(rows)} of {len(done.plan.legend)}"
    resolution = placed.resolution_m()
    if resolution is not None:
        yield "Pixel", f"{resolution:.3g} m"


def _size_note(placed: Raster, size: tuple[int, int]) -> str:
    shown = f"{placed.width:,} x {placed.height:,} pixels"
    return (
        shown
        if size == (placed.height, placed.width)
        else (f"{shown}, shown as {size[1]:,} x {size[0]:,}")
    )


def _sources(done: FinishedMap, placed: Raster) -> Iterator[Source]:
    scene, inspection = done.plan.scene, done.plan.inspection
    # The optional ones, the last, may lack.
    bands = zip(done.model.card.bands, inspection.contract.bands, strict=False)
    rows = [("File", done.job.scene)]
    if done.job.part_of is None:
        rows.append(("Pixels", f"{scene.width:,} x {scene.height:,}"))
    rows.append(("Bands", ", ".join(f"{name} = {index}" for name, index in bands)))
    rows += [("Note", note) for note in inspection.notes]
    credit = scene.tags.get("TIFFTAG_COPYRIGHT")
    rows += [("Credit", credit)] if credit else []
    yield Source("Scene", tuple(rows))
    rows = [("File", str(done.plan.out)), ("Pixels", f"{placed.width:,} x {placed.height:,}")]
    if placed.crs is not None:
        rows.append(("Place", crs_name(placed.crs)))
    seconds = done.totals.seconds
    rows += [("Time", f"{seconds:,.1f} s of computing")] if seconds else []
    yield Source("Map", tuple(rows))
    yield describe_model(done.model)
