"""`hyseg sample`: random points of a map, to be labelled by someone who does not see the map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj

from hyseg_cli.errors import HysegError, OutputExistsError
from hyseg_cli.geo.classes.styles import (
    ClassStyle,
    class_styles,
    find_classes,
    name_of,
    named_ids,
)
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.raster.gdal import gdal_env
from hyseg_cli.geo.raster.ground import distorted_areas
from hyseg_cli.geo.raster.raster import Raster, open_raster
from hyseg_cli.geo.vector.formats import files_of_layer, move_into_place
from hyseg_cli.geo.vector.geopackage import copy_other_layers
from hyseg_cli.legend import read_legend
from hyseg_cli.messages import Messages
from hyseg_cli.sampling.allocation import allocate, count_for, default_minimum, expected_se
from hyseg_cli.sampling.design import DesignPoint, DesignStratum, SampleDesign, design_path
from hyseg_cli.sampling.draw import DrawnPixels, Spacing, draw_pixels, in_pixels, on_ground
from hyseg_cli.sampling.points import LAYER, write_points
from hyseg_cli.sampling.population import (
    Floats,
    Population,
    PopulationReader,
    crs_of,
    pixel_centres,
)
from hyseg_cli.settings.checks import Quantity
from hyseg_cli.settings.sample import EXPECTED_ACCURACY, SampleSettings, parse_expectation
from hyseg_cli.workflows.outputs import require_free

M2_PER_HA = 10_000.0
CACHE_MIB = 128
"""Every row is read once or twice."""


@dataclass(frozen=True)
class SampleResult:
    """The sample that was drawn and written."""

    files: tuple[Path, Path]
    """The points and their design."""
    design: SampleDesign
    expected_se: float
    """Standard error of overall accuracy if the accuracies are as expected."""

    def to_dict(self) -> dict[str, Any]:
        """The summary, ready for JSON."""
        strata = [
            {
                "id": stratum.id,
                "name": stratum.name,
                "area_ha": stratum.area_m2 / M2_PER_HA,
                "pixels": stratum.pixels,
                "expected_accuracy": stratum.expected,
                "points": stratum.points,
            }
            for stratum in self.design.strata
        ]
        return {
            "out": [str(file) for file in self.files],
            "points": len(self.design.points),
            "allocation": self.design.allocation,
            "seed": self.design.seed,
            "expected_se": self.expected_se,
            "strata": strata,
        }

    def to_table(self) -> str:
        """A line for each stratum."""
        lines = [f"{'stratum':<20} {'area ha':>14} {'share':>7} {'expected':>8} {'points':>7}"]
        total = sum(stratum.area_m2 for stratum in self.design.strata)
        lines += [
            f"{stratum.name:<20} {stratum.area_m2 / M2_PER_HA:>14.2f} "
            f"{stratum.area_m2 / total:>7.3f} {stratum.expected:>8.2f} {stratum.points:>7}"
            for stratum in self.design.strata
        ]
        lines.append(f"{'all':<20} {total / M2_PER_HA:>14.2f} {1:>7.3f} "
                     f"{'':>8} {len(self.design.points):>7}")  # fmt: skip
        lines.append(f"expected standard error of overall accuracy: {self.expected_se:.4f}")
        return "\n".join([*lines, *map(str, self.files)])


def run(settings: SampleSettings, messages: Messages) -> SampleResult:
    """Draw a stratified random sample of a map's pixels and write it for labelling.

    The map is read twice, strip by strip. Points lie in pixel centres, in random order, with
    an empty `ref_class`; the design is written to a file beside them.

    Raises:
        HysegError: One of its kinds; nothing is then left behind.
    """
    design_file = design_path(settings.out)
    _require_free(settings, design_file)
    scene = open_raster(settings.map)
    strata = None if settings.strata is None else open_raster(settings.strata)
    styles = class_styles(scene, read_legend(settings.legend) if settings.legend else None)
    names = styles if strata is None else class_styles(strata)
    with gdal_env(CACHE_MIB), PopulationReader(scene, strata, named=named_ids(styles)) as reader:
        population = reader.count(lambda done: messages.advance("counting", done, scene.height))
        warn_of_areas(scene, messages)
        expected = _expectations(settings.expect, population, names)
        points = _share_out(settings, population, expected, messages)
        drawn = draw_pixels(
            reader,
            population,
            points,
            seed=settings.seed,
            apart=_spacing(settings, scene, messages),
        )
    design = _describe(settings, scene, population, names, expected, drawn)
    _write(settings.out, design_file, design, overwrite=settings.overwrite)
    se = expected_se(
        np.array(points), areas=population.areas_m2, pixels=population.pixels, expected=expected
    )
    return SampleResult((settings.out, design_file), design, se)


def warn_of_areas(scene: Raster, messages: Messages) -> None:
    """Warn if areas in the map's CRS differ from those on the ground."""
    warning = distorted_areas(scene, "hectares, and weights of places,")
    if warning is not None:
        messages.warn(warning)


def _require_free(settings: SampleSettings, design_file: Path) -> None:
    require_free(settings.out, overwrite=settings.overwrite)
    for path in (*files_of_layer(settings.out), design_file):
        if path.exists() and not settings.overwrite:
            # It may hold labels that someone has filled in.
            raise OutputExistsError(
                f"{path} exists already", hint="Use another `out`, or `overwrite`."
            )


def _expectations(
    texts: tuple[str, ...], population: Population, names: Mapping[int, ClassStyle]
) -> Floats:
    """Expected accuracy of each stratum; a value for a class overrides the value for all."""
    expected = np.full(len(population.strata), EXPECTED_ACCURACY)
    for name, value in sorted(map(parse_expectation, texts), key=lambda pair: pair[0] != ""):
        if name == "":
            expected[:] = value
            continue
        for class_id in find_classes(name, names, population.strata, "`expect`"):
            if class_id in population.strata:
                expected[population.strata.index(class_id)] = value
    return expected


def _share_out(
    settings: SampleSettings,
    population: Population,
    expected: Floats,
    messages: Messages,
) -> list[int]:
    """Points of each stratum."""
    rule = settings.allocation
    minimum = settings.min_per_class or default_minimum(rule)
    areas, pixels = population.areas_m2, population.pixels
    count = settings.count
    if count is None:
        count = count_for(
            settings.target_se, rule, areas=areas, pixels=pixels, expected=expected, minimum=minimum
        )
        messages.note(
            f"{count} points for a standard error of {settings.target_se} of overall accuracy, "
            f"if accuracies are as expected (`expect`, {EXPECTED_ACCURACY} unless given), "
            f"and at least {minimum} in each stratum"
        )
    points = allocate(count, rule, areas=areas, pixels=pixels, expected=expected, minimum=minimum)
    return [int(n) for n in points]


def _spacing(settings: SampleSettings, scene: Raster, messages: Messages) -> Spacing | None:
    if settings.min_distance is None:
        return None
    messages.note(
        "points that keep a distance are not quite independent: their standard errors are "
        "approximate, and usually a little too large"
    )
    distance = Quantity.parse(settings.min_distance, ("m", "px"), "`min_distance`")
    return Spacing(distance.value, in_pixels if distance.unit == "px" else on_ground(scene))


def _describe(
    settings: SampleSettings,
    scene: Raster,
    population: Population,
    names: Mapping[int, ClassStyle],
    expected: Floats,
    drawn: DrawnPixels,
) -> SampleDesign:
    # Numbers must not reveal the stratum.
    order = np.random.default_rng([settings.seed, len(drawn.rows)]).permutation(len(drawn.rows))
    x, y = pixel_centres(scene, drawn.rows[order], drawn.cols[order])
    strata = np.array(population.strata)[drawn.strata[order]]
    t = scene.transform
    return SampleDesign(
        map_name=Path(scene.path).name,
        map_digest=population.digest,
        crs=crs_of(scene).to_wkt(),
        pixel_size=float(max(np.hypot(t.a, t.d), np.hypot(t.b, t.e))),
        strata_raster=None if settings.strata is None else settings.strata.name,
        strata=tuple(
            DesignStratum(
                id=value,
                name=name_of(value, names),
                area_m2=float(area),
                pixels=int(pixels),
                points=int((strata == value).sum()),
                expected=float(accuracy),
            )
            for value, area, pixels, accuracy in zip(
                population.strata, population.areas_m2, population.pixels, expected, strict=True
            )
        ),
        allocation=settings.allocation,
        seed=settings.seed,
        target_se=settings.target_se if settings.count is None else None,
        min_distance=settings.min_distance,
        has_equal_areas=population.has_equal_areas,
        points={
            number: DesignPoint(
                stratum=int(strata[i]), map_class=int(drawn.mapped[order[i]]),
                x=float(x[i]), y=float(y[i]),
            )
            for i, number in enumerate(range(1, len(order) + 1))
        },
    )  # fmt: skip


def _write(out: Path, design_file: Path, design: SampleDesign, *, overwrite: bool) -> None:
    """Write points and design under temporary names, so that both exist or neither."""
    try:
        with WorkFolder(out).scratch() as folder:
            work = folder / "layer"
            work.mkdir()
            x = np.array([point.x for point in design.points.values()])
            y = np.array([point.y for point in design.points.values()])
            copy_other_layers(out, work / out.name, LAYER)
            write_points(work / out.name, x, y, pyproj.CRS.from_wkt(design.crs))
            (work / design_file.name).write_text(design.to_json(), encoding="utf-8")
            replaced = files_of_layer(out) if overwrite else []
            move_into_place(work, [out.name], out.parent, replaced)
    except OSError as error:
        raise HysegError(
            f"{out}: the points cannot be written ({error})",
            hint="Check the folder's permissions and the free space.",
        ) from error
