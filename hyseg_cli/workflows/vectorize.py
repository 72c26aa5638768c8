"""`hyseg vectorize`: land-cover map -> polygons that fit together."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyproj
import rasterio

from hyseg_cli.console import Report
from hyseg_cli.errors import CheckFailedError, HysegError, UsageProblemError
from hyseg_cli.geo.ahead import ahead
from hyseg_cli.geo.arcs.classes import ClassRows, Rows, seams
from hyseg_cli.geo.arcs.merge import MergedRows, merge_small
from hyseg_cli.geo.arcs.polygons import Generalisation, trace_polygons
from hyseg_cli.geo.arcs.proof import Proof
from hyseg_cli.geo.arcs.raster import RasterRows, write_rows
from hyseg_cli.geo.arcs.regions import Floats, Regions, find_regions
from hyseg_cli.geo.features import GEOMETRY, FeatureBuilder, Summary
from hyseg_cli.geo.layers import FORMATS, move_into_place, write_layer
from hyseg_cli.geo.measure import GroundMeasure
from hyseg_cli.geo.names import ClassStyle, class_styles
from hyseg_cli.geo.scene import Scene, open_scene
from hyseg_cli.geo.symbology import add_geopackage_style
from hyseg_cli.legend import read_legend
from hyseg_cli.quantity import Quantity
from hyseg_cli.settings import VectorizeSettings
from hyseg_cli.workflows.outputs import require_free

GDAL_CACHE_MB = 128
"""A strip of 256 rows is half a block row: the other half must still be there for the next."""

M2_PER_HA = 10_000.0


@dataclass(frozen=True)
class VectorizeResult:
    """What was written."""

    out: Path
    summary: Summary
    styles: Mapping[int, ClassStyle]
    merged: int
    """Regions that were taken up by neighbours."""
    proof: Proof | None
    """What was checked; it has held."""

    def to_dict(self) -> dict[str, Any]:
        """The summary, ready for JSON."""
        summary = asdict(self.summary)
        classes = [
            {
                "class_id": class_id,
                "class_name": _name(self.styles, class_id),
                "pixels": pixels,
                "area_m2": self.summary.area_m2_by_class[class_id],
            }
            for class_id, pixels in sorted(self.summary.pixels_by_class.items())
        ]
        return {
            "out": str(self.out),
            "polygons": summary["polygons"],
            "vertices": summary["vertices"],
            "merged": self.merged,
            "classes": classes,
            "check": None if self.proof is None else self.proof.to_dict(),
        }


def run(settings: VectorizeSettings, report: Report) -> VectorizeResult:
    """Turn a class raster into a coverage of polygons, strip by strip.

    Raises:
        CheckFailedError: If the polygons do not fit together.
        HysegError: One of its kinds, for anything else; nothing is left behind then.
    """
    require_free(settings.out, overwrite=settings.overwrite)
    if settings.sieve_out is not None:
        require_free(settings.sieve_out, overwrite=settings.overwrite)
    scene = open_scene(settings.map)
    styles = class_styles(scene, read_legend(settings.legend) if settings.legend else None)
    with (
        rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_MB),
        RasterRows(scene) as raster,
        _work_folder(settings.out) as work,
    ):
        areas = GroundMeasure(scene).row_areas_m2()
        source: ClassRows = _Counted(raster, report, "finding regions")
        regions = find_regions(source, areas, work)
        merged = 0
        if settings.mmu:
            source, merged = _merge(settings, source, regions, styles, report)
            regions = find_regions(source, areas, work)
        if len(regions) == 0:
            raise HysegError(f"{scene.path} holds no class", hint="All of its pixels are nodata.")
        if settings.sieve_out is not None:
            write_rows(source, scene, settings.sieve_out)
        source = _Counted(source, report, "tracing polygons")
        return _write(settings, scene, source, regions, styles, work, merged)


class _Counted:
    """A raster whose reading is reported."""

    def __init__(self, source: ClassRows, report: Report, task: str) -> None:
        self.height, self.width, self.no_class = source.height, source.width, source.no_class
        self._source, self._report, self._task = source, report, task

    def read(self, row: int, count: int) -> Rows:
        rows = self._source.read(row, count)
        self._report.advance(self._task, row + count, self.height)
        return rows


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    work = out.with_name(out.name + ".hyseg")
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
    except OSError as error:
        raise HysegError(
            f"{out}: the polygons cannot be written ({error})",
            hint="Check the folder's permissions and the free space.",
        ) from error
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _merge(
    settings: VectorizeSettings,
    source: ClassRows,
    regions: Regions,
    styles: Mapping[int, ClassStyle],
    report: Report,
) -> tuple[ClassRows, int]:
    """The raster without regions below the minimum mapping unit, and how many there were."""
    sizes, limits = _sizes_and_limits(settings, regions, styles)
    counted = _Counted(source, report, "merging small regions")
    merging = merge_small(counted, regions, sizes, limits, into=settings.mmu_into)
    return MergedRows(source, merging), merging.merged


def _sizes_and_limits(
    settings: VectorizeSettings, regions: Regions, styles: Mapping[int, ClassStyle]
) -> tuple[Floats, Floats]:
    limits = np.zeros(len(regions) + 1)
    in_pixels = False
    for text in sorted(settings.mmu, key=lambda text: "=" in text):
        name, _, amount = text.rpartition("=")
        quantity = Quantity.parse(amount, ("px", "m2", "ha"), "--mmu")
        in_pixels = quantity.unit == "px"
        value = quantity.value * (M2_PER_HA if quantity.unit == "ha" else 1.0)
        if name:
            limits[regions.class_ids == _class_id(name, styles, regions, "--mmu")] = value
        else:
            limits[:] = value
    for name in settings.keep:
        limits[regions.class_ids == _class_id(name, styles, regions, "--keep")] = 0.0
    sizes = regions.pixels.astype(float) if in_pixels else regions.areas_m2
    return sizes, limits


def _class_id(name: str, styles: Mapping[int, ClassStyle], regions: Regions, flag: str) -> int:
    """The class called `name`, or with this number."""
    for class_id, style in styles.items():
        if style.name == name:
            return class_id
    present = np.unique(regions.class_ids[1:]).tolist()
    if name.lstrip("-").isdigit() and (int(name) in present or int(name) in styles):
        return int(name)
    known = sorted({_name(styles, class_id) for class_id in present})
    raise UsageProblemError(
        f"{flag} {name}: there is no such class", hint=f"The classes are {', '.join(known)}."
    )


def _name(styles: Mapping[int, ClassStyle], class_id: int) -> str:
    style = styles.get(class_id)
    return str(class_id) if style is None else style.name


def _write(
    settings: VectorizeSettings,
    scene: Scene,
    source: ClassRows,
    regions: Regions,
    styles: Mapping[int, ClassStyle],
    work: Path,
    merged: int,
) -> VectorizeResult:
    form = FORMATS[settings.out.suffix.lower()]
    crs = _target_crs(settings, scene, form.crs)
    builder = FeatureBuilder(
        scene,
        regions,
        {class_id: style.name for class_id, style in styles.items()},
        dst_crs=crs,
        decimals=form.decimals,
        bounds=form.driver == "Parquet",
        fixed_point=form.driver == "ESRI Shapefile",
    )
    proof = Proof(seams(source.height)) if settings.check else None
    generalisation = Generalisation(settings.smooth, _tolerance_px(settings, scene))
    chosen = [_class_id(name, styles, regions, "--classes") for name in settings.classes]

    def records() -> Iterator[pa.RecordBatch]:
        for batch in trace_polygons(source, regions, generalisation, proof):
            kept = (
                batch.select(np.isin(regions.class_ids[batch.regions], chosen)) if chosen else batch
            )
            yield from builder.build(kept)

    finished = work / "layer"
    finished.mkdir()
    path = finished / settings.out.name
    write_layer(ahead(records(), 4), builder.schema, path, layer=settings.layer, crs=crs)
    if proof is not None:
        _require(proof, regions, generalisation)
    if form.driver == "GPKG":
        present = {int(c): _style(styles, int(c)) for c in np.unique(regions.class_ids[1:])}
        add_geopackage_style(path, settings.layer, GEOMETRY, present)
    move_into_place(finished, settings.out.name, settings.out)
    return VectorizeResult(settings.out, builder.summary, styles, merged, proof)


def _style(styles: Mapping[int, ClassStyle], class_id: int) -> ClassStyle:
    return styles.get(class_id, ClassStyle(str(class_id), (128, 128, 128)))


def _target_crs(
    settings: VectorizeSettings, scene: Scene, prescribed: str | None
) -> pyproj.CRS | None:
    if scene.crs is None:
        if settings.dst_crs or prescribed:
            raise UsageProblemError(
                f"{scene.path} has no CRS to transform from",
                hint="Write a .gpkg without --dst-crs, or georeference the map.",
            )
        return None
    wanted = prescribed or settings.dst_crs or scene.crs.to_wkt()
    try:
        return pyproj.CRS.from_user_input(wanted)
    except pyproj.exceptions.CRSError as error:
        raise UsageProblemError(
            f"--dst-crs {settings.dst_crs} is no CRS", hint="Give a code such as EPSG:4326."
        ) from error


def _tolerance_px(settings: VectorizeSettings, scene: Scene) -> float:
    quantity = Quantity.parse(settings.simplify, ("px", "m"), "--simplify")
    if quantity.unit == "px":
        return quantity.value
    resolution = scene.resolution_m()
    if resolution is None:
        raise UsageProblemError(
            f"--simplify {settings.simplify}: {scene.path} has no place, its pixels no metres",
            hint="Give the tolerance in px.",
        )
    return quantity.value / resolution


def _require(proof: Proof, regions: Regions, generalisation: Generalisation) -> None:
    """Raise unless the polygons are proved to form a coverage.

    Raises:
        CheckFailedError: If they are not.
    """
    problems = []
    if not proof.is_matched:
        problems.append("edges that only one polygon has")
    if proof.conflicts:
        problems.append(f"{proof.conflicts} edges that cross or touch")
    if proof.misshapen or proof.polygons != len(regions):
        problems.append(f"{proof.misshapen} misshapen polygons")
    is_exact = not generalisation.smooth and generalisation.tolerance == 0
    pixels = int(regions.pixels[1:].sum())
    if is_exact and proof.area_px != pixels:
        problems.append(f"an area of {proof.area_px} instead of {pixels} pixels")
    if problems:
        raise CheckFailedError(
            f"the polygons are no coverage: {', '.join(problems)}",
            hint="Use --no-check to look at them, and please report this with the raster.",
        )
