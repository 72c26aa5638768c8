"""Labelled points as units of a sample: where and from which stratum they were drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyproj

from hyseg_cli.errors import ModelMismatchError
from hyseg_cli.geo.classes.styles import ClassStyle, name_of
from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.messages import Messages
from hyseg_cli.sampling.design import SampleDesign, design_path, read_design
from hyseg_cli.sampling.estimates import Stratum
from hyseg_cli.sampling.points import ID_FIELD, Floats, LabelledPoints, reproject
from hyseg_cli.sampling.population import Ints, Population

UNKNOWN = -(2**40)
"""Stands for no stratum and no class; no raster can hold it."""
UNLABELLED = UNKNOWN + 1

STATED_DESIGNS = ("stratified", "random")


def find_design(samples: Path, stated: str | None) -> SampleDesign | str:
    """The design in a file, or the given word of `STATED_DESIGNS`.

    Args:
        samples: The file of points; its design is looked for beside it.
        stated: What `design` says.

    Raises:
        ModelMismatchError: If neither exists: arbitrary points allow no intervals.
    """
    if stated in STATED_DESIGNS:
        return str(stated)
    path = design_path(samples) if stated is None else Path(stated)
    if stated is None and not path.exists():
        raise ModelMismatchError(
            f"{samples}: nothing says that these points are a probability sample, "
            "and without one there are no standard errors or intervals",
            hint="Give the file that `hyseg sample` wrote with `design` FILE, or state how they "
            "were drawn: `design` stratified (at random within each map class) or "
            "`design` random (anywhere at random).",
        )
    return read_design(path)


@dataclass(frozen=True)
class SampleUnits:
    """The points by stratum."""

    strata: tuple[Stratum, ...]
    stratum: Ints
    """(points,) index of each point's stratum; `UNKNOWN` if it has none."""
    description: str
    """How they were drawn."""
    absent: int = 0
    """Points of the design that are missing from the file."""

    @classmethod
    def of_design(
        cls, design: SampleDesign, points: LabelledPoints, population: Population
    ) -> SampleUnits:
        """The units as `hyseg sample` drew them.

        Args:
            design: The design.
            points: The labelled points.
            population: Pixels of the map that is evaluated.
        """
        ids = _ids(points)
        index = {stratum.id: i for i, stratum in enumerate(design.strata)}
        strata = tuple(
            # Probabilities proportional to area have no simple correction for a finite population.
            Stratum(s.name, s.area_m2, s.pixels if design.has_equal_areas else np.inf)
            for s in design.strata
        )
        stratum = np.array(
            [
                index.get(design.points[i].stratum, UNKNOWN) if i in design.points else UNKNOWN
                for i in ids.tolist()
            ],
            np.int64,
        )
        # Of a point that appears twice, the first counts.
        repeated = np.ones(len(ids), np.bool_)
        repeated[np.unique(ids, return_index=True)[1]] = False
        stratum[repeated] = UNKNOWN
        absent = len(design.points.keys() - set(ids.tolist()))
        return cls(strata, stratum, _describe(design, population), absent)

    @classmethod
    def as_stated(
        cls, word: str, population: Population, styles: Mapping[int, ClassStyle], mapped: Ints
    ) -> SampleUnits:
        """Units of a design that the user only named.

        Args:
            word: One of `STATED_DESIGNS`.
            population: Pixels of the map.
            styles: Names of its classes.
            mapped: (points,) class id of the map.
        """
        areas, pixels = population.areas_m2, population.pixels
        if word == "random":
            everything = Stratum("the map", float(areas.sum()), float(pixels.sum()))
            described = "drawn at random, as stated"
            return cls((everything,), np.zeros(len(mapped), np.int64), described)
        strata = tuple(
            Stratum(name_of(value, styles), float(area), float(n))
            for value, area, n in zip(population.strata, areas, pixels, strict=True)
        )
        index = {value: i for i, value in enumerate(population.strata)}
        stratum = np.array([index.get(value, UNKNOWN) for value in mapped.tolist()], np.int64)
        return cls(strata, stratum, "drawn at random within map classes, as stated")

    @staticmethod
    def places(
        design: SampleDesign, points: LabelledPoints, crs: pyproj.CRS, messages: Messages
    ) -> tuple[Floats, Floats]:
        """Where the points were drawn, which counts even if someone has moved them.

        Args:
            design: The design.
            points: The labelled points, in `crs`.
            crs: CRS of the map.
            messages: Receives the number of points that were moved.
        """
        drawn = [design.points.get(i) for i in _ids(points).tolist()]
        own = pyproj.CRS.from_wkt(design.crs)
        now = np.stack(reproject(points.x, points.y, crs, own), axis=1)
        then = np.array([now[i] if p is None else (p.x, p.y) for i, p in enumerate(drawn)]).reshape(
            -1, 2
        )
        moved = int((np.abs(now - then).max(axis=1, initial=0.0) > design.pixel_size / 2).sum())
        if moved:
            messages.warn(
                f"{moved} points lie more than half a pixel from where they were drawn; "
                "the drawn pixels count"
            )
        return reproject(then[:, 0], then[:, 1], own, crs)


def pixels_of(scene: Raster, x: Floats, y: Floats) -> tuple[Ints, Ints]:
    """Rows and columns of the pixels that places lie in; they may be off the map."""
    inverse = ~scene.transform
    # Positions at infinity, outside the reach of the projection, are off every map.
    x, y = np.nan_to_num(x, posinf=1e30), np.nan_to_num(y, posinf=1e30)
    col = inverse.a * x + inverse.b * y + inverse.c
    row = inverse.d * x + inverse.e * y + inverse.f
    limit = 2.0**40
    rows, cols = (np.floor(np.clip(v, -limit, limit)).astype(np.int64) for v in (row, col))
    return rows, cols


def reference_classes(
    labels: tuple[str, ...], legend: list[int], styles: Mapping[int, ClassStyle]
) -> Ints:
    """Class ids of labels, by name or number; `UNLABELLED` if empty, `UNKNOWN` if there is none.

    Args:
        labels: The labels as filled in.
        legend: Class ids that may occur.
        styles: Their names.
    """
    by_text = {str(class_id): class_id for class_id in legend}
    # A name takes precedence over a number; case does not matter.
    by_text |= {name_of(class_id, styles).casefold(): class_id for class_id in legend}
    return np.array(
        [by_text.get(label.casefold(), UNKNOWN) if label else UNLABELLED for label in labels],
        np.int64,
    )


def sort_out(
    points: LabelledPoints,
    units: SampleUnits,
    reference: Ints,
    *,
    has_class: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Which points can be used, and how many cannot, by reason.

    Args:
        points: The points.
        units: Their strata.
        reference: Their reference classes, as `reference_classes` gives.
        has_class: Whether the map has a class there.
    """
    strange = sorted({points.labels[i] for i in np.flatnonzero(reference == UNKNOWN).tolist()})
    shown = ", ".join(strange[:5]) + (", ..." if len(strange) > 5 else "")
    reasons = {
        "not labelled": reference == UNLABELLED,
        f"labelled with what is not in the legend ({shown})": reference == UNKNOWN,
        "outside the map, or where it has no class": ~has_class,
        "not of the design, or there twice": units.stratum == UNKNOWN,
    }
    is_usable = np.ones(len(reference), np.bool_)
    left_out: dict[str, int] = {}
    for reason, is_hit in reasons.items():
        if n := int((is_usable & is_hit).sum()):
            left_out[reason] = n
        is_usable &= ~is_hit
    if units.absent:
        left_out["of the design, but missing from the file"] = units.absent
    return is_usable, left_out


def _ids(points: LabelledPoints) -> Ints:
    if points.ids is None:
        raise ModelMismatchError(
            f"the points have no field {ID_FIELD}, so their strata are not known",
            hint=f"Keep the field {ID_FIELD} that `hyseg sample` wrote.",
        )
    return points.ids


def _describe(design: SampleDesign, population: Population) -> str:
    strata = design.strata_raster or f"the classes of {design.map_name}"
    words = f"stratified random sample by {strata}"
    if design.map_digest != population.digest:
        words += ", drawn from another map than this"
    if design.min_distance is not None:
        words += f", {design.min_distance} apart"
    return words
