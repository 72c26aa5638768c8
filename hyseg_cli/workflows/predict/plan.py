"""What mapping one scene means, decided before any work is done."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from affine import Affine

from hyseg_cli import __version__
from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.output.cog import MapSpec
from hyseg_cli.geo.raster.facts import fingerprint_of_raster
from hyseg_cli.geo.raster.raster import Scene
from hyseg_cli.geo.tiling import units as cut
from hyseg_cli.geo.tiling.grid import ALIGNMENT, TileGrid
from hyseg_cli.geo.tiling.units import Unit, cut_units
from hyseg_cli.geo.vector.area_of_interest import AreaOfInterest, window_of_bounds
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.model.card import ModelCard
from hyseg_cli.learn.scores.seams import TILES_TAG, describe_tiles
from hyseg_cli.legend import Legend
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.predict.inspection import Inspection
from hyseg_cli.workflows.predict.jobs import Job
from hyseg_cli.workflows.predict.map_tags import map_tags
from hyseg_cli.workflows.predict.mapping_memory import (
    bytes_for_rows,
    bytes_of_resampling,
    bytes_per_column,
)

BYTES_PER_CLASS_PIXEL = 0.25
"""Measured on maps of small fields, packed; smoother ones take less."""
BYTES_PER_SHARE_PIXEL = 0.7
FINAL_COPIES = 1.4
"""The final raster with its overviews."""


@dataclass(frozen=True)
class Output:
    """A raster that is written."""

    path: Path
    spec: MapSpec
    first_band: int
    """Its first band in the shards."""


@dataclass(frozen=True)
class Plan:
    """How a scene is mapped."""

    source: str
    """The scene as it was named."""
    inspection: Inspection
    """The scene, and how the model reads it."""
    legend: Legend
    grid: TileGrid
    window: Window
    """Pixels of the scene that are written."""
    area: AreaOfInterest | None
    """Where in it pixels are wanted; None for everywhere."""
    units: tuple[Unit, ...]
    outputs: tuple[Output, ...]
    """The map comes first."""
    remote: str | None
    """Name of the map in object storage; None if it stays where it is."""
    beside: Mapping[str, Path]
    """Files that are wanted beside the map, by what their names end in."""
    settled: dict[str, Any]
    """All that the result depends on."""
    working_bytes: int
    """Memory for the rows in work."""

    @property
    def scene(self) -> Scene:
        """What is read; a scene that is seen with its neighbours is a window of it."""
        return self.inspection.scene

    @property
    def out(self) -> Path:
        """The map."""
        return self.outputs[0].path

    @property
    def has_area(self) -> bool:
        """Whether pixels have an area on the ground that is known."""
        return self.scene.is_georeferenced

    @property
    def shard_bands(self) -> int:
        """Bands of a shard: of all outputs."""
        return sum(output.spec.band_count for output in self.outputs)

    @property
    def tiles(self) -> int:
        """Tiles at most; those without data are not run."""
        bands = {index for unit in self.units for index in unit.bands}
        columns = {index for unit in self.units for index in unit.columns}
        return len(bands) * len(columns)

    def disk_bytes(self, missing: int, *, is_part: bool = False) -> int:
        """Free space that the run needs, about.

        Args:
            missing: Pixels that are not in shards yet.
            is_part: Make shards only.
        """
        shares = self.shard_bands - 1
        packed = BYTES_PER_CLASS_PIXEL + shares * BYTES_PER_SHARE_PIXEL
        final = 0.0 if is_part else FINAL_COPIES * self.window.height * self.window.width
        return int(packed * (missing + final))

    def require_disk(self, missing: int, *, is_part: bool = False) -> None:
        """Refuse to start what will not fit; the arguments are those of `disk_bytes`.

        Raises:
            HysegError: If the free space is too little.
        """
        free = shutil.disk_usage(self.out.parent).free
        needed = self.disk_bytes(missing, is_part=is_part)
        if free < needed:
            raise HysegError(
                f"{self.out}: about {_gigabytes(needed)} are needed, {_gigabytes(free)} are free",
                hint="Make space, choose another --out, or map parts of it with --bounds.",
            )


def make_plan(
    inspection: Inspection,
    card: ModelCard,
    digest: str,
    precision: str,
    job: Job,
    settings: PredictSettings,
) -> Plan:
    """Decide how a scene is mapped.

    Args:
        inspection: The scene, and how the model reads it.
        card: The model's card.
        digest: Hash of the model.
        precision: Floating-point format of the network.
        job: The outputs.
        settings: What was asked for.

    Raises:
        UsageProblemError: If tiles, bounds or area make no sense for the scene.
    """
    scene, contract = inspection.scene, inspection.contract
    grid = TileGrid.cover(
        scene.height,
        scene.width,
        tile=settings.tile_size,
        overlap=settings.overlap_px,
        phase=scene.noise_origin,
        alignment=contract.alignment,
    )
    area = AreaOfInterest(settings.aoi, scene) if settings.aoi else None
    window = _window(scene, area, job, settings)
    outputs = _outputs(inspection, grid, window, card, digest, job, settings)
    count = sum(output.spec.band_count for output in outputs)
    pixel_bytes = bytes_per_column(scene, contract.bands, grid, len(card.legend), count)
    budget = bytes_for_rows(settings.max_memory_bytes) / pixel_bytes
    columns = max(1, int((budget - grid.cols.length) // grid.cols.step))
    units = cut_units(grid, window, columns)
    resampling = 0
    if contract.alignment != ALIGNMENT:
        resampling = bytes_of_resampling(
            grid, len(contract.bands), len(card.legend), settings.batch_size
        )
    widest = max(unit.window.width for unit in units) + grid.cols.length
    return Plan(
        source=job.scene,
        inspection=inspection,
        legend=card.legend,
        grid=grid,
        window=window,
        area=area,
        units=units,
        outputs=outputs,
        remote=job.remote_of(job.out),
        beside=job.beside,
        settled=_settled(inspection, digest, precision, window, area, job, columns, settings),
        working_bytes=widest * pixel_bytes + resampling,
    )


def _window(
    scene: Scene, area: AreaOfInterest | None, job: Job, settings: PredictSettings
) -> Window:
    """The pixels that all of context, bounds and area leave."""
    found = job.window or Window(0, 0, scene.height, scene.width)
    asked = {}
    if settings.bounds is not None:
        asked["--bounds"] = window_of_bounds(scene, settings.bounds, "--bounds")
    if area is not None:
        asked["--aoi"] = area.window
    for flag, window in asked.items():
        both = found.intersection(window)
        if both is None:
            raise UsageProblemError(
                f"{flag} leaves nothing of {job.scene}", hint="Leave it out, or correct it."
            )
        found = both
    return found


def _outputs(
    inspection: Inspection,
    grid: TileGrid,
    window: Window,
    card: ModelCard,
    digest: str,
    job: Job,
    settings: PredictSettings,
) -> tuple[Output, ...]:
    scene = inspection.scene
    placed, corner = scene, window
    if job.itself is not None and job.window is not None:
        placed, corner = job.itself, window.seen_from(job.window)
    tags = map_tags(inspection, placed, card, digest, job, settings)
    tags[TILES_TAG] = describe_tiles(grid, window)
    spec = MapSpec(
        height=window.height,
        width=window.width,
        crs=placed.crs,
        transform=placed.transform @ Affine.translation(corner.col, corner.row),
        control=None if scene.control is None else scene.control.seen_from(window),
        legend=card.legend,
        tags=tags,
    )
    outputs = [Output(job.out, spec, 1)]
    if job.confidence is not None:
        outputs.append(Output(job.confidence, replace(spec, shares=("confidence",)), 2))
    if job.probabilities is not None:
        shares = replace(spec, shares=card.legend.names)
        outputs.append(Output(job.probabilities, shares, 1 + len(outputs)))
    return tuple(outputs)


def _settled(
    inspection: Inspection,
    digest: str,
    precision: str,
    window: Window,
    area: AreaOfInterest | None,
    job: Job,
    columns: int,
    settings: PredictSettings,
) -> dict[str, Any]:
    return {
        "version": __version__,
        "model": digest,
        "precision": precision,
        "scene": fingerprint_of_raster(inspection.scene.path),
        "bands": inspection.contract.bands,
        "pixels per 32 of the network (--gsd)": inspection.contract.alignment,
        "src-nodata": [repr(value) for value in settings.src_nodata],
        "collar": settings.collar,
        "tile-size": settings.tile_size,
        "overlap": settings.overlap_px,
        "seed": settings.seed,
        "noise": settings.noise,
        "tta": settings.tta,
        "window": [window.row, window.col, window.height, window.width],
        "aoi": None if area is None else area.digest,
        "outputs": list(job.rasters),
        "columns of tiles (--max-memory)": columns,
        "pixels of a part": cut.UNIT_PIXELS,
    }


def _gigabytes(amount: float) -> str:
    return f"{amount / 1e9:.2f} GB"
