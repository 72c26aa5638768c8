"""Outputs beside a map: preview, report page, STAC Item, side-cars and styles.

The rasters themselves are made by `mapping`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli import __version__
from hyseg_cli.geo.classes.counts import ClassTotals
from hyseg_cli.geo.classes.styles import styles_of
from hyseg_cli.geo.classes.symbology import to_raster_qml, to_raster_sld
from hyseg_cli.geo.output.preview import Preview, draw_preview
from hyseg_cli.geo.output.sidecar import (
    class_statistics,
    share_statistics,
    sidecar_of_classes,
    sidecar_of_shares,
)
from hyseg_cli.geo.output.stac import (
    CLASSIFICATION,
    FILE,
    PROJECTION,
    RASTER,
    TIFF_TYPE,
    class_objects,
    file_fields,
    format_time,
    link_to,
    make_item,
    projection_fields,
    time_taken,
)
from hyseg_cli.geo.raster.facts import read_facts
from hyseg_cli.geo.raster.ground import north_of
from hyseg_cli.geo.raster.overviews import picture_size, read_reduced, to_colors
from hyseg_cli.geo.raster.raster import Raster, open_raster
from hyseg_cli.geo.suffixes import SIDECAR_SUFFIX, STAC_SUFFIX
from hyseg_cli.learn.model.card import ModelSource
from hyseg_cli.legend import NODATA_ID, QUANTISED_ONE, LegendClass
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.outputs import write_bytes
from hyseg_cli.workflows.predict.jobs import Job
from hyseg_cli.workflows.predict.plan import Output, Plan

PREVIEW_SIDE = 900
"""Pixels of the longer side of each picture of a preview."""
COLORS = ("red", "green", "blue")
EMPTY = (255, 255, 255)

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FinishedMap:
    """A mapped scene, before its outputs get their names."""

    settings: PredictSettings
    job: Job
    plan: Plan
    model: ModelSource
    totals: ClassTotals
    rasters: dict[Path, Path]
    """Where the raster that gets a path lies until then."""

    @property
    def map(self) -> Raster:
        """The map."""
        return open_raster(self.rasters[self.plan.out])

    @property
    def classes(self) -> tuple[tuple[LegendClass, int, float], ...]:
        """The classes that occur, with their pixels and square metres."""
        return tuple(
            (entry, int(self.totals.pixels[entry.id]), float(self.totals.area_m2[entry.id]))
            for entry in self.plan.legend.classes
            if self.totals.pixels[entry.id]
        )


Publish = Callable[[FinishedMap], None]
"""Makes the documents of a map, which are there once the map is; must be fit for threads."""


def nothing_more(_: FinishedMap) -> None:
    """Make no documents."""


@dataclass(frozen=True)
class Thumbnail:
    """A scene and its map, small enough to be shown; arrays are of one height and width."""

    photo: Bytes
    """(height, width, 3) in red, green and blue."""
    channels: Bytes
    """(height, width), channels of the legend, 255 where there is no class."""
    confidence: Bytes | None
    """(height, width), quantised; None if it was not asked for."""


def read_thumbnail(done: FinishedMap, size: tuple[int, int]) -> Thumbnail:
    """Read a scene and its map at a small size, in a time that does not grow with the scene.

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
        quantised, is_sure = read_reduced(str(done.rasters[done.job.confidence]), (1,), size)
        confidence = np.where(is_sure, quantised[0], NODATA_ID).astype(np.uint8)
    return Thumbnail(photo, channels, confidence)


def write_preview(path: Path, done: FinishedMap) -> None:
    """Draw a scene beside its map as a PNG.

    Raises:
        HysegError: If the scene cannot be read again, or the picture cannot be written.
    """
    placed = done.map
    size = picture_size(placed, PREVIEW_SIDE, enlarge=True)
    thumbnail = read_thumbnail(done, size)
    colors = np.full((NODATA_ID + 1, 3), EMPTY, np.uint8)
    colors[: len(done.plan.legend)] = [entry.color for entry in done.plan.legend.classes]
    mapped = max(1, sum(pixels for _, pixels, _ in done.classes))
    sides = placed.pixel_sides_m()
    preview = Preview(
        pictures=(
            (Path(done.job.scene).name, thumbnail.photo),
            (done.plan.out.name, colors[thumbnail.channels]),
        ),
        legend=tuple(
            (f"{entry.name} {100 * pixels / mapped:.1f} %", entry.color)
            for entry, pixels, _ in done.classes
        ),
        pixel_m=None if sides is None else sides[0] * placed.width / size[1],
        north=north_of(placed),
        lines=tuple(_lines(done, placed)),
    )
    file = io.BytesIO()
    draw_preview(preview).save(file, "PNG", optimize=True)
    write_bytes(path, file.getvalue())


def _lines(done: FinishedMap, placed: Raster) -> list[str]:
    """CRS, whom to credit for the image and the training data, model."""
    resolution = placed.resolution_m()
    size = "" if resolution is None else f", pixels of {resolution:.3g} m"
    lines = [f"{read_facts(placed).crs_name or 'No coordinate reference system'}{size}"]
    credit = done.plan.scene.tags.get("TIFFTAG_COPYRIGHT")
    lines += [f"Image: {credit}"] if credit else []
    data = done.model.card.data
    credited = ", ".join(part for part in (data.attribution, data.licence) if part)
    lines += [f"Training data: {credited}"] if credited else []
    model = done.model
    return [*lines, f"Model {model.path.stem} {model.digest}, hyseg {__version__}"]


def _shown_bands(done: FinishedMap) -> tuple[int, ...]:
    """The bands that are shown as red, green and blue: by name, or the first ones."""
    bands, names = done.plan.inspection.contract.bands, done.model.card.bands
    if set(COLORS) <= set(names):
        return tuple(bands[names.index(color)] for color in COLORS)
    return bands[:3] if len(bands) >= 3 else bands[:1]


Json = dict[str, Any]

STYLE_TYPES = {".qml": "application/xml", ".sld": "application/vnd.ogc.sld+xml"}


def map_item(plan: Plan, cogs: Sequence[Path], totals: ClassTotals) -> Json:
    """An Item for a map and its other outputs.

    Args:
        plan: The run.
        cogs: Its outputs, finished, under other names.
        totals: Pixels of the classes.
    """
    scene, folder = open_raster(cogs[0]), plan.beside[STAC_SUFFIX].parent
    assets = {}
    for output, cog in zip(plan.outputs, cogs, strict=True):
        asset = _raster(output, cog, scene, folder)
        if not output.spec.probabilities:
            asset["classification:classes"] = class_objects(plan.legend, totals.pixels)
            asset["bands"][0] |= _statistics(totals)
        assets[_name_of(output)] = asset
    sidecar = plan.out.with_name(plan.out.name + SIDECAR_SUFFIX)
    assets["attribute-table"] = _file(sidecar, folder, "application/xml", "metadata")
    for suffix, media in STYLE_TYPES.items():
        if suffix in plan.beside:
            name = f"style-{suffix.removeprefix('.')}"
            assets[name] = _file(plan.beside[suffix], folder, media, "style")
    return make_item(
        plan.out.stem,
        scene=scene,
        properties=_properties(plan) | projection_fields(scene),
        assets=assets,
        links=_links(plan, folder),
        extensions=(PROJECTION, FILE, RASTER, CLASSIFICATION),
    )


def _name_of(output: Output) -> str:
    if not output.spec.probabilities:
        return "map"
    return "probabilities" if len(output.spec.probabilities) > 1 else "confidence"


def _raster(output: Output, cog: Path, scene: Raster, folder: Path) -> Json:
    shared: Json = {"data_type": "uint8", "nodata": NODATA_ID}
    is_point = scene.tags.get("AREA_OR_POINT") == "Point"
    asset = _file(output.path, folder, TIFF_TYPE, "data") | file_fields(cog) | shared
    asset["raster:sampling"] = "point" if is_point else "area"
    resolution = scene.resolution_m()
    if resolution is not None:
        asset["raster:spatial_resolution"] = resolution
    if output.spec.probabilities:
        asset |= {"raster:scale": 1.0 / QUANTISED_ONE, "raster:offset": 0.0}
    asset["bands"] = [{"name": name} for name in output.spec.probabilities or ("class",)]
    return asset


def _statistics(totals: ClassTotals) -> Json:
    found = class_statistics(totals.pixels)
    if found is None:
        return {}
    chosen = {"minimum": found.minimum, "maximum": found.maximum}
    return {"statistics": chosen | {"valid_percent": found.valid_percent}}


def _file(path: Path, folder: Path, media: str, role: str) -> Json:
    return {"href": link_to(path, folder), "type": media, "roles": [role]}


def _properties(plan: Plan) -> Json:
    now, taken = datetime.now(UTC), time_taken(plan.source)
    description = f"Land cover of {Path(plan.source).name}."
    if taken is None:
        description += (
            " The scene does not record when it was taken, so datetime is that of the run."
        )
    tags = plan.outputs[0].spec.tags
    chosen = ("VERSION", "MODEL", "MODEL_NAME", "DATA", "LICENCE", "ATTRIBUTION")
    return {
        "datetime": format_time(taken or now),
        "created": format_time(now),
        "description": description,
        "hyseg:settings": json.loads(tags["HYSEG_SETTINGS"]),
        **{f"hyseg:{key.lower()}": tags[f"HYSEG_{key}"] for key in chosen if tags[f"HYSEG_{key}"]},
    }


def _links(plan: Plan, folder: Path) -> list[Json]:
    """A link to the scene, if it has a public address."""
    source = plan.source.removeprefix("/vsicurl/")
    if source.startswith(("http://", "https://")):
        return [{"rel": "derived_from", "href": source}]
    if Path(source).is_file():
        return [{"rel": "derived_from", "href": link_to(Path(source), folder)}]
    return []


def files_beside(plan: Plan, output: Output, cog: Path, totals: ClassTotals) -> dict[Path, str]:
    """Texts of the files that belong beside an output.

    Args:
        plan: The run.
        output: One of its outputs.
        cog: The raster, finished, under another name.
        totals: Pixels and areas of the classes.
    """
    sidecar = output.path.with_name(output.path.name + SIDECAR_SUFFIX)
    if output.spec.probabilities:
        return {sidecar: sidecar_of_shares(share_statistics(str(cog)))}
    hectares = totals.area_m2 / 1e4 if plan.has_area else None
    return {sidecar: sidecar_of_classes(plan.legend, totals.pixels, hectares)} | _styles(plan)


def _styles(plan: Plan) -> dict[Path, str]:
    styles = styles_of(plan.legend)
    made = {".qml": to_raster_qml(styles), ".sld": to_raster_sld(styles, plan.out.stem)}
    return {plan.beside[suffix]: text for suffix, text in made.items() if suffix in plan.beside}
