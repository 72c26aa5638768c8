"""The report of `hyseg evaluate`.

Its charts have marks at positions in percent of an axis, for inline SVG.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyproj

from hyseg_cli.geo.raster.raster import Raster, degrees, to_map
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.model.card import ModelSource
from hyseg_cli.learn.scores.comparison import Comparison, Difference
from hyseg_cli.learn.scores.evaluation import Evaluation
from hyseg_cli.report import wording
from hyseg_cli.report.imagery import Layer, Palette, draw_layer, draw_photo
from hyseg_cli.report.page import render
from hyseg_cli.report.provenance import Provenance, Source, crs_name, describe_map, describe_model
from hyseg_cli.settings.evaluate import EvaluateSettings
from hyseg_cli.settings.sample import SampleEvaluationSettings
from hyseg_cli.workflows.evaluate import tables
from hyseg_cli.workflows.evaluate.pictures import Gallery, Picture, WorstPlace
from hyseg_cli.workflows.evaluate.samples import SampleEvaluation, in_ha
from hyseg_cli.workflows.outputs import write_text

if TYPE_CHECKING:
    from hyseg_cli.workflows.evaluate.calibrate import Calibration
from collections.abc import Iterable


@dataclass(frozen=True)
class Axis:
    """A linear axis."""

    low: float
    high: float

    @classmethod
    def from_zero(cls, values: Iterable[float]) -> Axis:
        """From zero to the largest of some values, ignoring NaN and infinity."""
        known = [value for value in values if math.isfinite(value)]
        return cls(0.0, max(known, default=0.0) or 1.0)

    @classmethod
    def around_zero(cls, values: Iterable[float]) -> Axis:
        """Zero in the middle and the farthest of some values at an end."""
        reach = cls.from_zero(abs(value) for value in values).high
        return cls(-reach, reach)

    def at(self, value: float) -> float:
        """Position in percent, kept on the axis; 0 for NaN."""
        if math.isnan(value):
            return 0.0
        place = 100.0 * (value - self.low) / (self.high - self.low)
        return round(min(max(place, 0.0), 100.0), 2)


@dataclass(frozen=True)
class Whisker:
    """A value with its interval on an axis, in percent."""

    low: float
    value: float
    high: float
    reference: float
    """A value to compare it with: zero, or the value of the map."""

    @classmethod
    def of(
        cls, axis: Axis, low: float, value: float, high: float, reference: float = 0.0
    ) -> Whisker | None:
        """None if the value or its interval does not exist."""
        if any(math.isnan(number) for number in (low, value, high)):
            return None
        return cls(axis.at(low), axis.at(value), axis.at(high), axis.at(reference))


ERRORS = Palette(("the same class", "another class"), ((184, 191, 199), (200, 16, 46)))
COUNTED = ("b0_error", "b1_error")
"""Differences of counts, not of shares: they do not fit on a common axis."""


@dataclass(frozen=True)
class Place:
    """A part of a scene, drawn from the reference and from the maps."""

    title: str
    note: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class DifferenceRow:
    """A difference of two maps and its mark."""

    entry: Difference
    mark: Whisker | None

    @property
    def name(self) -> str:
        """The score, and its class if it has one."""
        entry = self.entry
        return entry.metric if entry.class_name is None else f"{entry.metric} of {entry.class_name}"


def write_evaluation(
    path: Path,
    settings: EvaluateSettings,
    result: Evaluation | Comparison,
    gallery: Gallery,
    calibration: Calibration | None = None,
) -> None:
    """Write the report of maps or a model that were compared with a reference.

    Raises:
        HysegError: If the file cannot be written.
    """
    evaluations = tables.evaluations_of(result)
    first, titles = evaluations[0], _titles(result)
    palette = Palette(first.legend.names, tuple(c.color for c in first.legend.classes))
    pair = result if isinstance(result, Comparison) else None
    words = [line for evaluation in evaluations for line in wording.of_evaluation(evaluation)]
    page = render(
        "evaluation.html.j2",
        title=" and ".join(Path(e.name).name for e in evaluations),
        subtitle=f"compared with {first.reference}",
        summary=words if pair is None else [wording.of_comparison(pair), *words],
        legend=palette,
        errors=ERRORS,
        evaluations=list(zip(titles, evaluations, strict=True)),
        kappa=settings.kappa,
        differences=() if pair is None else _difference_rows(pair),
        comparison=pair,
        calibration=calibration,
        samples=None,
        pictures=[_drawn(p, Path(p.name).name, titles, palette) for p in gallery.pictures],
        scenes=gallery.scenes,
        worst=[_drawn_worst(place, titles, palette) for place in gallery.worst()],
        provenance=Provenance.of(settings, tuple(_sources(settings, first))),
        tables=tables,
    )
    write_text(path, page)


def write_samples(
    path: Path, settings: SampleEvaluationSettings, samples: SampleEvaluation
) -> None:
    """Write the report of a map that was compared with labelled points.

    Raises:
        HysegError: If the file cannot be written.
    """
    areas = [in_ha(of_class.area_m2) for of_class in samples.estimates.classes]
    highs = [area.interval[1] for area in areas]
    axis = Axis.from_zero([*highs, *samples.mapped_ha, *(area.value for area in areas)])
    page = render(
        "evaluation.html.j2",
        title=settings.map.name,
        subtitle=f"compared with the points of {settings.samples}",
        summary=list(wording.of_samples(samples)),
        evaluations=[],
        comparison=None,
        calibration=None,
        samples=samples,
        areas=[
            (area, Whisker.of(axis, area.interval[0], area.value, area.interval[1], mapped))
            for area, mapped in zip(areas, samples.mapped_ha, strict=True)
        ],
        pictures=[],
        worst=[],
        provenance=Provenance.of(settings, (describe_map("Map", settings.map),)),
        tables=tables,
    )
    write_text(path, page)


def _titles(result: Evaluation | Comparison) -> tuple[str, ...]:
    return ("First map", "Second map") if isinstance(result, Comparison) else ("Map",)


def _sources(settings: EvaluateSettings, first: Evaluation) -> Iterator[Source]:
    if not settings.maps:
        yield describe_model(ModelSource.at(Path(first.name)))
        yield Source("Scenes", tuple(("Image", name) for name in first.scenes))
    titles = ("Map",) if len(settings.maps) == 1 else ("First map", "Second map")
    for title, path in zip(titles, settings.maps, strict=False):
        yield describe_map(title, path)
    yield Source("Reference", (("File", first.reference),))


def _difference_rows(comparison: Comparison) -> list[DifferenceRow]:
    shares = [d for d in comparison.differences if d.metric not in COUNTED]
    axis = Axis.around_zero(
        value for d in shares for value in (d.interval.low, d.interval.high, d.value)
    )
    return [
        DifferenceRow(
            d,
            None
            if d.metric in COUNTED
            else Whisker.of(axis, d.interval.low, d.value, d.interval.high),
        )
        for d in comparison.differences
    ]


# ---- pictures -----------------------------------------------------------------------------------


def _drawn(picture: Picture, title: str, maps: tuple[str, ...], palette: Palette) -> Place:
    layers = [draw_layer(t, m, palette) for t, m in zip(maps, picture.maps, strict=True)]
    layers.append(draw_layer("Reference", picture.reference, palette))
    for index, name in enumerate(maps):
        of_which = "" if len(maps) == 1 else f" of the {name.lower()}"
        layers.append(draw_layer(f"Errors{of_which}", picture.errors(index), ERRORS))
    if picture.photo is not None:
        layers.append(draw_photo("Image", picture.photo))
    kept = f"; one of {picture.step} rows and columns is shown" if picture.step > 1 else ""
    window = picture.window
    return Place(title, f"{window.width:,} x {window.height:,} pixels{kept}", tuple(layers))


def _drawn_worst(place: WorstPlace, maps: tuple[str, ...], palette: Palette) -> Place:
    picture, window = place.picture, place.picture.window
    title = f"{Path(picture.name).name}, row {window.row:,}, column {window.col:,}"
    drawn = _drawn(picture, title, maps, palette)
    shares = [f"{100.0 * wrong / place.known:.1f} %" for wrong in place.wrong]
    differs = f"{' and '.join(shares)} of {place.known:,} pixels differ"
    parts = (differs, drawn.note, _middle_of(picture.scene, window))
    return Place(title, "; ".join(part for part in parts if part), drawn.layers)


def _middle_of(scene: Raster | None, window: Window) -> str:
    """The centre of a window in degrees and in the CRS of the scene; empty without georeference."""
    if scene is None or scene.crs is None or not scene.is_georeferenced:
        return ""
    col, row = window.col + window.width / 2, window.row + window.height / 2
    x, y = to_map(scene.transform, np.array([col]), np.array([row]))
    # Coordinates in metres to the metre, in degrees to about as much.
    digits = 5 if scene.crs.is_geographic else 0
    mapped = f"middle at {x[0]:.{digits}f}, {y[0]:.{digits}f} ({crs_name(scene.crs)})"
    try:
        lon, lat = degrees(scene.crs, x, y)
    except pyproj.exceptions.ProjError:
        return mapped
    if not (math.isfinite(lon[0]) and math.isfinite(lat[0])):
        return mapped
    north, east = "NS"[int(lat[0] < 0)], "EW"[int(lon[0] < 0)]
    return f"{mapped}, {abs(lat[0]):.5f}° {north}, {abs(lon[0]):.5f}° {east}"
