"""From a class raster to polygons with attributes, in the CRS that is asked for.

pyproj takes as long to load as a small map takes to trace, so it is imported only when needed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hyseg_cli.errors import CheckFailedError, HysegError, UsageProblemError
from hyseg_cli.geo.classes.styles import GRAY, ClassStyle, find_classes
from hyseg_cli.geo.classes.symbology import add_geopackage_style
from hyseg_cli.geo.coverage.merge import NodataAsClass
from hyseg_cli.geo.coverage.proof import Proof
from hyseg_cli.geo.coverage.regions import Regions, find_regions
from hyseg_cli.geo.coverage.runs import ClassRows, Rows, seams
from hyseg_cli.geo.coverage.trace import (
    Generalisation,
    PolygonBatch,
    expected_points,
    trace_polygons,
)
from hyseg_cli.geo.crs import crs_text
from hyseg_cli.geo.prefetch import prefetch
from hyseg_cli.geo.raster.ground import GroundMeasure
from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.geo.vector.confidence import ConfidenceRows, RegionConfidence, measure_confidence
from hyseg_cli.geo.vector.features import (
    Gatherer,
    Grouping,
    RecordBuilder,
    ShapeBuilder,
    Shapes,
    Summary,
    attributes_of,
    by_class,
    by_corners,
    one_of_each,
)
from hyseg_cli.geo.vector.formats import (
    FORMATS,
    SHAPEFILE_LIMIT,
    VectorFormat,
    files_of_layer,
    move_into_place,
    shapefile_bytes,
    shapefile_parts,
)
from hyseg_cli.geo.vector.geopackage import copy_other_layers
from hyseg_cli.geo.vector.layers import Layer
from hyseg_cli.geo.vector.writer import LayerWriter
from hyseg_cli.messages import Messages
from hyseg_cli.settings.vectorize import VectorizeSettings
from hyseg_cli.workflows.vectorize.minimum_unit import merge_below_unit

if TYPE_CHECKING:
    import pyproj


def crs_to_transform_to(
    scene: Raster, form: VectorFormat, asked_for: str | None
) -> pyproj.CRS | None:
    """The CRS that polygons of a map have to be transformed to, None if they keep the map's.

    Args:
        scene: The map.
        form: The format of the layer, which may prescribe one.
        asked_for: The value of `dst_crs`.

    Raises:
        UsageProblemError: If the map has no CRS to transform from, or there is no such CRS.
    """
    wanted = form.crs or asked_for
    if wanted is None:
        return None
    if scene.crs is None:
        raise UsageProblemError(
            f"{scene.path} has no CRS to transform from",
            hint="Write a .gpkg without `dst_crs`, or georeference the map.",
        )
    import pyproj

    try:
        return pyproj.CRS.from_user_input(wanted)
    except pyproj.exceptions.CRSError as error:
        raise UsageProblemError(
            f"{wanted!r} is not a valid CRS",
            hint="Give a code such as EPSG:4326.",
        ) from error


def as_wkt(scene: Raster, dst_crs: pyproj.CRS | None) -> str | None:
    """The CRS of a layer as a code or WKT, None for a map without place."""
    if dst_crs is not None:
        return str(dst_crs.to_wkt())
    return None if scene.crs is None else crs_text(scene.crs)


def as_projjson(wkt: str | None) -> str | None:
    """The same as PROJJSON."""
    if wkt is None:
        return None
    import pyproj

    return str(pyproj.CRS.from_user_input(wkt).to_json())


MOST_POINTS_OF_A_RUN = 8
"""A run of pixels has two ends, each with a corner above and below, seen from two sides."""


def numbered(out: Path, number: int) -> Path:
    """The name of one of several files."""
    return out.with_stem(f"{out.stem}_{number}")


class _Counted:
    """A raster that reports how much of it has been read."""

    def __init__(self, source: ClassRows, messages: Messages, task: str) -> None:
        self.height, self.width, self.no_class = source.height, source.width, source.no_class
        self._source, self._messages, self._task = source, messages, task

    def read(self, row: int, count: int) -> Rows:
        rows = self._source.read(row, count)
        self._messages.advance(self._task, row + count, self.height)
        return rows


@dataclass(frozen=True)
class PolygonJob:
    """The conversion of one raster to polygons."""

    settings: VectorizeSettings
    scene: Raster
    styles: Mapping[int, ClassStyle]
    messages: Messages
    writer: LayerWriter
    work: Path
    """Folder for unfinished files."""

    def find_regions(self, raster: ClassRows) -> tuple[ClassRows, Regions, int]:
        """The raster after merging, its regions, and how many were merged."""
        areas = GroundMeasure(self.scene).row_areas_m2()
        tile = self.settings.split_tiles
        merged, source = 0, raster
        if self.settings.mmu:
            if self.scene.crs is None and not self.settings.mmu[0].endswith("px"):
                raise UsageProblemError(
                    f"`mmu` {self.settings.mmu[0]}: {self.scene.path} is not georeferenced, "
                    "so its pixels have no area",
                    hint="Give the unit in px.",
                )
            parts = NodataAsClass(raster) if self.settings.fill_nodata else raster
            regions = find_regions(self._counted(parts, "finding regions"), areas, self.work)
            counted = self._counted(parts, "merging small regions")
            source, merged = merge_below_unit(
                self.settings, counted, regions, self.styles, raster.no_class
            )
        else:
            source = self._counted(source, "finding regions")
        return source, find_regions(source, areas, self.work, tile=tile), merged

    def write(
        self, source: ClassRows, regions: Regions
    ) -> tuple[list[Path], Summary, Proof | None]:
        """Write the polygons; returns the files, their summary, and the proof."""
        form = FORMATS[self.settings.out.suffix.lower()]
        dst_crs = crs_to_transform_to(self.scene, form, self.settings.dst_crs)
        trace = self._tracer(source, regions)
        if form.driver == "ESRI Shapefile" and not self.settings.split_files:
            _require_small(regions, trace)
        self._require_space(regions, form)
        grouping = self._grouping(source, regions)
        shapes = ShapeBuilder(self.scene, dst_crs, form.decimals)
        records = RecordBuilder(
            attributes_of(regions, grouping, self._confidence(source, regions, grouping)),
            {class_id: style.name for class_id, style in self.styles.items()},
            bounds=form.driver == "Parquet",
            fixed_point=form.driver == "ESRI Shapefile",
        )
        gatherer = Gatherer(grouping) if self._is_grouped else None
        proof = Proof(seams(source.height)) if self.settings.check else None

        def batches() -> Generator[pa.RecordBatch]:
            for batch in trace("tracing polygons", proof):
                made = shapes.build(batch)
                if proof is not None and form.decimals is not None:
                    _require_valid(made, form)
                yield from records.build(gatherer.add(made) if gatherer else made)

        names = self._write_files(batches(), records.schema, dst_crs)
        self.writer.dismiss()
        if proof is not None:
            self._require_coverage(proof, regions)
        if form.driver == "GPKG":
            present = {
                int(c): self.styles.get(int(c), ClassStyle(str(c), GRAY))
                for c in np.unique(regions.class_ids[1:])
            }
            path = self.work / "layer" / names[0]
            add_geopackage_style(path, self.settings.layer, present)
        replaced = files_of_layer(self.settings.out, numbered=self.settings.split_files)
        move_into_place(self.work / "layer", names, self.settings.out.parent, replaced)
        records.summary.vertices = shapes.vertices
        return [self.settings.out.with_name(name) for name in names], records.summary, proof

    def _require_space(self, regions: Regions, form: VectorFormat) -> None:
        """Raise if the disk is certain to fill up.

        Raises:
            HysegError: If less is free than the polygons will take.
        """
        share = self._is_chosen(regions)[1:].mean()
        points = expected_points(regions, self._generalisation())
        size = share * (len(regions) * form.polygon_bytes + points * form.point_bytes)
        free = shutil.disk_usage(self.work).free
        if size > free:
            raise HysegError(
                f"{len(regions)} polygons take about {size / 1e9:.1f} GB, "
                f"and {free / 1e9:.1f} GB are free",
                hint="Merge small regions (`mmu`), simplify, write .parquet, or free space.",
            )

    def _write_files(
        self, batches: Generator[pa.RecordBatch], schema: pa.Schema, dst_crs: pyproj.CRS | None
    ) -> list[str]:
        out, finished = self.settings.out, self.work / "layer"
        finished.mkdir()
        copy_other_layers(out, finished / out.name, self.settings.layer)
        names = []
        with closing(prefetch(batches, 4)) as records:
            parts = shapefile_parts(records) if self.settings.split_files else iter([records])
            for number, part in enumerate(parts, 1):
                name = (numbered(out, number) if self.settings.split_files else out).name
                self.writer.write(part, schema, self._layer(finished / name, dst_crs))
                names.append(name)
        return names

    def _layer(self, file: Path, dst_crs: pyproj.CRS | None) -> Layer:
        wkt = as_wkt(self.scene, dst_crs)
        return Layer(
            file=str(file),
            name=self.settings.layer,
            geometry_type="MultiPolygon" if self._is_grouped else "Polygon",
            wkt=wkt,
            projjson=as_projjson(wkt) if file.suffix.lower() == ".parquet" else None,
        )

    @property
    def _is_grouped(self) -> bool:
        return self.settings.dissolve or self.settings.connectivity == 8

    def _grouping(self, source: ClassRows, regions: Regions) -> Grouping:
        if self.settings.dissolve:
            return by_class(regions)
        if self._is_grouped:
            return by_corners(self._counted(source, "joining corners"), regions)
        return one_of_each(regions)

    def _confidence(
        self, source: ClassRows, regions: Regions, grouping: Grouping
    ) -> RegionConfidence | None:
        if self.settings.confidence is None:
            return None
        counted = self._counted(source, "measuring confidence")
        with closing(ConfidenceRows(self.settings.confidence, self.scene)) as confidence:
            return measure_confidence(counted, regions, grouping.feature_of_region, confidence)

    def _tracer(
        self, source: ClassRows, regions: Regions
    ) -> Callable[[str, Proof | None], Iterator[PolygonBatch]]:
        """Traces the polygons of the requested classes, with a name and a proof."""
        is_chosen = self._is_chosen(regions)
        generalisation = self._generalisation()

        def trace(task: str, proof: Proof | None) -> Iterator[PolygonBatch]:
            counted = self._counted(source, task)
            for batch in trace_polygons(counted, regions, generalisation, proof):
                yield batch.select(is_chosen[batch.regions]) if self.settings.classes else batch

        return trace

    def _is_chosen(self, regions: Regions) -> npt.NDArray[np.bool_]:
        """By region number, whether it belongs to the requested classes."""
        if not self.settings.classes:
            return np.ones(len(regions) + 1, np.bool_)
        present = set(np.unique(regions.class_ids[1:]).tolist())
        chosen = [
            class_id
            for name in self.settings.classes
            for class_id in find_classes(name, self.styles, present, "`classes`")
        ]
        if not present & set(chosen):
            raise UsageProblemError(
                f"{self.scene.path} has no pixel of {', '.join(self.settings.classes)}",
                hint="Leave out `classes`, or name one that occurs.",
            )
        return np.isin(regions.class_ids, chosen)

    def _counted(self, source: ClassRows, task: str) -> ClassRows:
        return _Counted(source, self.messages, task)

    def _generalisation(self) -> Generalisation:
        quantity = self.settings.tolerance
        if quantity.unit == "px":
            return Generalisation(self.settings.smooth, quantity.value)
        resolution = self.scene.resolution_m()
        if resolution is None:
            raise UsageProblemError(
                f"`simplify` {self.settings.simplify}: {self.scene.path} is not georeferenced, "
                "so its pixels have no size in metres",
                hint="Give the tolerance in px.",
            )
        return Generalisation(self.settings.smooth, quantity.value / resolution)

    def _require_coverage(self, proof: Proof, regions: Regions) -> None:
        exact = self._generalisation() == Generalisation()
        pixels = int(regions.pixels[1:].sum()) if exact else None
        problems = proof.problems(len(regions), pixels)
        if problems:
            raise CheckFailedError(
                f"the polygons do not form a coverage: {', '.join(problems)}",
                hint="Use `check=False` to look at them, and please report this with the raster.",
            )


def _require_valid(shapes: Shapes, form: VectorFormat) -> None:
    """Raise if rounding to the decimals of a format has spoilt a polygon.

    Raises:
        CheckFailedError: If it has.
    """
    import shapely  # only these formats need it

    parts = [
        shapes.geometry[begin:end].tobytes()
        for begin, end in zip(shapes.offsets[:-1], shapes.offsets[1:], strict=True)
    ]
    broken = int((~shapely.is_valid(shapely.from_wkb(parts))).sum())
    if broken:
        raise CheckFailedError(
            f"{broken} polygons break when rounded to the {form.decimals} decimals of "
            f"{form.driver}",
            hint="The pixels are too small for it: write a .gpkg.",
        )


def _require_small(
    regions: Regions, trace: Callable[[str, Proof | None], Iterator[PolygonBatch]]
) -> None:
    """Raise if the polygons are too many for one Shapefile; they are counted if in doubt.

    Raises:
        UsageProblemError: If they are.
    """
    if shapefile_bytes(len(regions), MOST_POINTS_OF_A_RUN * regions.runs) <= SHAPEFILE_LIMIT:
        return
    polygons = points = 0
    for batch in trace("measuring the Shapefile", None):
        polygons += len(batch)
        points += len(batch.points) + len(batch.ring_offsets)
    size = shapefile_bytes(polygons, points)
    if size > SHAPEFILE_LIMIT:
        raise UsageProblemError(
            f"{polygons} polygons take {size / 1e9:.1f} GB, more than a Shapefile can hold",
            hint="Write a .gpkg, or give `split_files` for several Shapefiles.",
        )
