"""`hyseg evaluate --samples`: accuracy and area from points that were labelled.

`hyseg evaluate A B --samples`: two maps at the same labelled points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.classes.styles import ClassStyle, class_styles, name_of, named_ids
from hyseg_cli.geo.raster.gdal import gdal_env
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.legend import read_legend
from hyseg_cli.messages import Messages
from hyseg_cli.sampling.design import SampleDesign
from hyseg_cli.sampling.estimates import Z_95, Estimate, Estimates, McNemar, count_labels, estimate
from hyseg_cli.sampling.points import read_points
from hyseg_cli.sampling.population import Ints, Population, PopulationReader
from hyseg_cli.settings.sample import SampleEvaluationSettings
from hyseg_cli.workflows.evaluate.sample_units import (
    SampleUnits,
    find_design,
    pixels_of,
    reference_classes,
    sort_out,
)
from hyseg_cli.workflows.outputs import require_free
from hyseg_cli.workflows.sample import CACHE_MIB, M2_PER_HA, warn_of_areas


@dataclass(frozen=True)
class SampleEvaluation:
    """Estimates and their ingredients."""

    names: tuple[str, ...]
    """Of the classes, in the order of the estimates."""
    estimates: Estimates
    counts: Ints
    """(map classes, reference classes) points."""
    mapped_ha: tuple[float, ...]
    """Area of each class in the map."""
    design: str
    """How the points were drawn, in words."""
    left_out: Mapping[str, int]
    """Points that could not be used, by reason."""

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON; what does not exist is null."""
        classes = {
            name: {
                "users_accuracy": _estimate(of_class.users_accuracy),
                "producers_accuracy": _estimate(of_class.producers_accuracy),
                "area_ha": _estimate(in_ha(of_class.area_m2)),
                "mapped_ha": self.mapped_ha[k],
                "points_mapped": int(self.counts[k].sum()),
                "points_reference": int(self.counts[:, k].sum()),
            }
            for k, (name, of_class) in enumerate(
                zip(self.names, self.estimates.classes, strict=True)
            )
        }
        return {
            "design": self.design,
            "points": int(self.counts.sum()),
            "left_out": dict(self.left_out),
            "overall_accuracy": _estimate(self.estimates.overall_accuracy),
            "classes": classes,
            "error_matrix": {
                "rows": "map",
                "columns": "reference",
                "classes": list(self.names),
                "area_proportions": self.estimates.proportions.tolist(),
                "points": self.counts.tolist(),
            },
        }

    def to_table(self) -> str:
        """Accuracy and area of each class with 95 % margins, and the error matrix."""
        head = (
            f"{'class':<20} {'user acc.':>15} {'prod. acc.':>15} {'area ha':>27} {'mapped ha':>13}"
        )
        lines = [head]
        for k, name in enumerate(self.names):
            of_class = self.estimates.classes[k]
            lines.append(
                f"{name:<20} {_cell(of_class.users_accuracy, 3):>15} "
                f"{_cell(of_class.producers_accuracy, 3):>15} "
                f"{_cell(in_ha(of_class.area_m2), 2):>27} {self.mapped_ha[k]:>13.2f}"
            )
        lines.append(f"{'overall accuracy':<20} {_cell(self.estimates.overall_accuracy, 3):>15}")
        lines += ["", "share of the area by map class (row) and reference class (column)"]
        lines.append(" " * 20 + "".join(f" {name[:10]:>10}" for name in self.names))
        for name, row in zip(self.names, self.estimates.proportions, strict=True):
            lines.append(f"{name:<20}" + "".join(f" {share:>10.4f}" for share in row))
        lines += ["", f"{self.counts.sum()} points, {self.design}; margins are 95 %"]
        return "\n".join(lines)


def run(settings: SampleEvaluationSettings, messages: Messages) -> SampleEvaluation:
    """Estimate a map's accuracy and the area of its classes from labelled sample points.

    The design comes from the file that `hyseg sample` wrote. If the points were drawn from
    another map, they keep the strata of the design, and only their map classes are read again.

    Raises:
        ModelMismatchError: If the points are not known to be a probability sample, or too few
            of a stratum are labelled.
        HysegError: One of its kinds, if a file cannot be used.
    """
    if settings.report is not None:
        require_free(settings.report, overwrite=settings.overwrite, flag="`report`")
    return examine(settings, settings.map, messages)[0]


def examine(
    settings: SampleEvaluationSettings, path: Path, messages: Messages
) -> tuple[SampleEvaluation, dict[int, bool]]:
    """The estimates of one map, and whether it is right at each point that can be used.

    Raises:
        HysegError: As `run`.
    """
    scene = open_raster(path)
    styles = class_styles(scene, read_legend(settings.legend) if settings.legend else None)
    design = find_design(settings.samples, settings.design)
    with gdal_env(CACHE_MIB), PopulationReader(scene, named=named_ids(styles)) as reader:
        points = read_points(settings.samples, settings.field, scene)
        warn_of_areas(scene, messages)
        population = reader.count(lambda done: messages.advance("reading", done, scene.height))
        x, y = points.x, points.y
        if isinstance(design, SampleDesign):
            x, y = SampleUnits.places(design, points, reader.crs, messages)
        mapped, has_class = reader.classes_at(*pixels_of(scene, x, y))
    if isinstance(design, SampleDesign):
        units = SampleUnits.of_design(design, points, population)
    else:
        units = SampleUnits.as_stated(design, population, styles, mapped)
    legend = list(dict.fromkeys([*styles, *population.strata]))
    reference = reference_classes(points.labels, legend, styles)
    is_usable, left_out = sort_out(points, units, reference, has_class=has_class)
    _warn_of_losses(left_out, int(is_usable.sum()), messages)
    found = _Labels(units.stratum[is_usable], mapped[is_usable], reference[is_usable])
    is_right = (found.mapped == found.reference).tolist()
    right = dict(zip(np.flatnonzero(is_usable).tolist(), is_right, strict=True))
    return _evaluate(found, units, population, legend, styles, left_out, messages), right


@dataclass(frozen=True)
class _Labels:
    """The usable points; arrays (n,)."""

    stratum: Ints
    """Index of the stratum."""
    mapped: Ints
    """Class id."""
    reference: Ints
    """Class id."""


def _evaluate(
    labels: _Labels,
    units: SampleUnits,
    population: Population,
    legend: list[int],
    styles: Mapping[int, ClassStyle],
    left_out: Mapping[str, int],
    messages: Messages,
) -> SampleEvaluation:
    """Estimates for the classes that occur in the map or at the points."""
    occurring = {*population.strata, *labels.mapped.tolist(), *labels.reference.tolist()}
    shown = [class_id for class_id in legend if class_id in occurring]
    channel = {class_id: k for k, class_id in enumerate(shown)}
    table = count_labels(
        labels.stratum,
        np.array([channel[class_id] for class_id in labels.mapped.tolist()], np.int64),
        np.array([channel[class_id] for class_id in labels.reference.tolist()], np.int64),
        n_strata=len(units.strata),
        n_classes=len(shown),
    )
    estimates = estimate(table, units.strata)
    names = tuple(name_of(class_id, styles) for class_id in shown)
    _warn_of_certainty(names, estimates, messages)
    areas = dict(zip(population.strata, population.areas_m2.tolist(), strict=True))
    mapped_ha = tuple(areas.get(class_id, 0.0) / M2_PER_HA for class_id in shown)
    return SampleEvaluation(
        names, estimates, table.sum(axis=0), mapped_ha, units.description, left_out
    )


def _warn_of_losses(left_out: Mapping[str, int], used: int, messages: Messages) -> None:
    total = used + sum(left_out.values())
    for reason, n in left_out.items():
        messages.warn(f"{n} of {total} points are left out: {reason}")
    if left_out:
        messages.warn(
            "the estimates hold for the whole map only if the omitted points are a random part "
            "of all points; points that are hard to label seldom are"
        )


def _warn_of_certainty(names: tuple[str, ...], estimates: Estimates, messages: Messages) -> None:
    """A share of 0 or 1 has no spread in its sample, but that does not make it certain."""
    certain = [
        name
        for name, of_class in zip(names, estimates.classes, strict=True)
        if 0 in (of_class.users_accuracy.se, of_class.producers_accuracy.se)
    ]
    if certain:
        messages.warn(
            f"no point of {', '.join(certain)} disagrees, or none agrees: a margin of 0 only means "
            "that the sample is too small to show any"
        )


def in_ha(area_m2: Estimate) -> Estimate:
    """An area and its standard error in hectares."""
    return Estimate(area_m2.value / M2_PER_HA, area_m2.se / M2_PER_HA, area_m2.most / M2_PER_HA)


def _estimate(found: Estimate) -> dict[str, Any]:
    low, high = found.interval
    return {
        "value": _number(found.value),
        "se": _number(found.se),
        "ci95": None if math.isnan(low) else [low, high],
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _cell(found: Estimate, digits: int) -> str:
    if math.isnan(found.value):
        return "n/a"
    return f"{found.value:.{digits}f} ± {Z_95 * found.se:.{digits}f}"


@dataclass(frozen=True)
class SampleComparison:
    """The estimates of both maps, and whether they differ."""

    names: tuple[str, str]
    """The files."""
    evaluations: tuple[SampleEvaluation, SampleEvaluation]
    test: McNemar

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON."""
        return {
            "maps": [
                {"map": name, **found.to_dict()}
                for name, found in zip(self.names, self.evaluations, strict=True)
            ],
            "mcnemar": {
                "both_right": self.test.both,
                "only_first_right": self.test.only_first,
                "only_second_right": self.test.only_second,
                "neither_right": self.test.neither,
                "p_value": self.test.p_value,
            },
        }

    def to_table(self) -> str:
        """Both tables, and the test of the difference."""
        parts = [
            f"{name}\n{found.to_table()}"
            for name, found in zip(self.names, self.evaluations, strict=True)
        ]
        test = self.test
        parts.append(
            f"only {self.names[0]} is right at {test.only_first} points, only {self.names[1]} at "
            f"{test.only_second}, both at {test.both}, neither at {test.neither}: "
            f"McNemar p = {test.p_value:.4f} (points count equally, whatever area they represent)"
        )
        return "\n\n".join(parts)


def compare_maps(
    settings: SampleEvaluationSettings, other: Path, messages: Messages
) -> SampleComparison:
    """Evaluate two maps at the same points and test whether they differ by more than chance.

    Args:
        settings: The points, and the first map.
        other: The second map.
        messages: Where messages go.

    Raises:
        HysegError: As for one map, or if no point can be used for both.
    """
    first, first_right = examine(settings, settings.map, messages)
    second, second_right = examine(settings, other, messages)
    shared = sorted(first_right.keys() & second_right.keys())
    if not shared:
        raise HysegError(
            f"no labelled point lies in both {settings.map} and {other}",
            hint="Compare maps of the same place.",
        )
    test = McNemar.of(
        np.array([first_right[point] for point in shared]),
        np.array([second_right[point] for point in shared]),
    )
    return SampleComparison((str(settings.map), str(other)), (first, second), test)
