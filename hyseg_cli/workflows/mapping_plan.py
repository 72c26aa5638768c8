"""What mapping one scene means, decided before any work is done."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from affine import Affine

from hyseg_cli import __version__
from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.fingerprint import fingerprint, fingerprint_of_raster
from hyseg_cli.geo.grid import TileGrid, Window
from hyseg_cli.geo.mosaic import MapSpec
from hyseg_cli.geo.place import AreaOfInterest, window_of_bounds
from hyseg_cli.geo.scene import Scene
from hyseg_cli.geo.shards import BLOCK
from hyseg_cli.geo.units import Unit, cut_units
from hyseg_cli.learn.card import MODEL_TAG, ModelCard
from hyseg_cli.legend import Legend
from hyseg_cli.settings import PredictSettings
from hyseg_cli.workflows.scene_list import Job

SHARE_OF_MEMORY = 0.5
"""Part of --max-memory that rows in work may take; libraries and the network take the rest."""
BYTES_PER_CLASS_PIXEL = 0.25
"""Measured on maps of small fields, packed; smoother ones take less."""
BYTES_PER_SHARE_PIXEL = 0.7
COPIES = 2.4
"""Shards, and the final raster with overviews."""


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

    scene: Scene
    bands: tuple[int, ...]
    """Bands to read, from 1."""
    legend: Legend
    grid: TileGrid
    window: Window
    """Pixels of the scene that are written."""
    area: AreaOfInterest | None
    """Where in it pixels are wanted; None for everywhere."""
    units: tuple[Unit, ...]
    outputs: tuple[Output, ...]
    """The map comes first."""
    settled: dict[str, Any]
    """All that the result depends on."""
    working_bytes: int
    """Memory for the rows in work."""

    @property
    def out(self) -> Path:
        """The map."""
        return self.outputs[0].path

    @property
    def shard_bands(self) -> int:
        """Bands of a shard: of all outputs."""
        return sum(output.spec.band_count for output in self.outputs)

    @property
    def disk_bytes(self) -> int:
        """Free space that the run needs, about."""
        pixels = self.window.height * self.window.width
        shares = self.shard_bands - 1
        packed = BYTES_PER_CLASS_PIXEL + shares * BYTES_PER_SHARE_PIXEL
        return int(pixels * packed * COPIES)

    def require_disk(self) -> None:
        """Refuse to start what will not fit.

        Raises:
            HysegError: If the free space is too little.
        """
        free = shutil.disk_usage(self.out.parent).free
        if free < self.disk_bytes:
            raise HysegError(
                f"{self.out}: about {_gigabytes(self.disk_bytes)} are needed, "
                f"{_gigabytes(free)} are free",
                hint="Make space, choose another --out, or map parts of it with --bounds.",
            )


def make_plan(
    scene: Scene,
    bands: tuple[int, ...],
    card: ModelCard,
    digest: str,
    precision: str,
    job: Job,
    settings: PredictSettings,
) -> Plan:
    """Decide how a scene is mapped.

    Args:
        scene: The scene.
        bands: Its bands in the model's order.
        card: The model's card.
        digest: Hash of the model.
        precision: Floating-point format of the network.
        job: The outputs.
        settings: What was asked for.

    Raises:
        UsageProblemError: If tiles, bounds or area make no sense for the scene.
    """
    grid = TileGrid.cover(
        scene.height,
        scene.width,
        tile=settings.tile_size,
        overlap=settings.overlap_px,
        phase=scene.noise_origin,
    )
    area = AreaOfInterest(settings.aoi, scene) if settings.aoi else None
    window = _window(scene, area, job, settings)
    outputs = _outputs(scene, window, card, digest, job, settings)
    count = sum(output.spec.band_count for output in outputs)
    pixel_bytes = _bytes_per_column(scene, bands, grid, len(card.legend), count)
    budget = settings.max_memory_bytes * SHARE_OF_MEMORY / pixel_bytes
    columns = max(1, int((budget - grid.cols.length) // grid.cols.step))
    units = cut_units(grid, window, columns)
    widest = max(unit.window.width for unit in units) + grid.cols.length
    return Plan(
        scene=scene,
        bands=bands,
        legend=card.legend,
        grid=grid,
        window=window,
        area=area,
        units=units,
        outputs=outputs,
        settled=_settled(scene, bands, digest, precision, window, outputs, columns, settings),
        working_bytes=widest * pixel_bytes,
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
    scene: Scene,
    window: Window,
    card: ModelCard,
    digest: str,
    job: Job,
    settings: PredictSettings,
) -> tuple[Output, ...]:
    tags = {
        "HYSEG_VERSION": __version__,
        MODEL_TAG: digest,
        "HYSEG_SETTINGS": json.dumps(
            {
                "tile_size": settings.tile_size,
                "overlap": settings.overlap_px,
                "seed": settings.seed,
                **({"noise": settings.noise} if settings.noise else {}),
                **({"tta": settings.tta} if settings.tta != "none" else {}),
            }
        ),
        "HYSEG_INPUT": Path(job.scene).name,
        "HYSEG_ATTRIBUTION": card.data.attribution,
    }
    if "AREA_OR_POINT" in scene.tags:
        tags["AREA_OR_POINT"] = scene.tags["AREA_OR_POINT"]
    spec = MapSpec(
        height=window.height,
        width=window.width,
        crs=scene.crs,
        transform=scene.transform @ Affine.translation(window.col, window.row),
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


def _bytes_per_column(
    scene: Scene, bands: tuple[int, ...], grid: TileGrid, classes: int, outputs: int
) -> int:
    """Memory that one column of the rows in work takes.

    Three strips (in use, being read, being put together), the sums of the tiles with what is
    made of them, and the rows that wait to be written.
    """
    itemsize = max(_itemsize(scene.dtypes[band - 1]) for band in bands)
    pixel = len(bands) * (itemsize + 1) + 1
    strips = 3 * grid.rows.length * pixel
    sums = 4 * classes * (grid.rows.length + grid.rows.overlap)
    # The largest share and its channel (4 + 8 bytes); the levels, before and after rounding.
    finishing = grid.rows.step * (12 + (8 * classes if outputs > 1 else 0))
    rows = 3 * outputs * (grid.rows.step + BLOCK)
    return int(strips + sums + finishing + rows)


def _itemsize(dtype: str) -> int:
    # Wider unsigned integers are handed to the network as float32.
    return {"uint8": 1, "int8": 1, "int16": 2, "float64": 8}.get(dtype, 4)


def _settled(
    scene: Scene,
    bands: tuple[int, ...],
    digest: str,
    precision: str,
    window: Window,
    outputs: tuple[Output, ...],
    columns: int,
    settings: PredictSettings,
) -> dict[str, Any]:
    return {
        "version": __version__,
        "model": digest,
        "precision": precision,
        "scene": fingerprint_of_raster(scene.path),
        "bands": bands,
        "tile-size": settings.tile_size,
        "overlap": settings.overlap_px,
        "seed": settings.seed,
        "noise": settings.noise,
        "tta": settings.tta,
        "window": [window.row, window.col, window.height, window.width],
        "aoi": None if settings.aoi is None else fingerprint(str(settings.aoi)),
        "outputs": [output.path.name for output in outputs],
        "columns of tiles (--max-memory)": columns,
    }


def _gigabytes(amount: float) -> str:
    return f"{amount / 1e9:.2f} GB"
