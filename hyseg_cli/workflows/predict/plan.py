"""The plan to map one scene, made before any work is done.

It inspects how the model would read the scene, bounds the memory of a process, and records in TIFF
tags how the map is made.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affine import Affine

from hyseg_cli import __version__
from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.output.cog import MapSpec
from hyseg_cli.geo.output.shards import BLOCK
from hyseg_cli.geo.raster.facts import fingerprint_of_raster
from hyseg_cli.geo.raster.ground import distorted_areas
from hyseg_cli.geo.raster.raster import Raster, open_raster
from hyseg_cli.geo.raster.reader import SceneReader, scene_validity
from hyseg_cli.geo.raster.validity import Validity
from hyseg_cli.geo.tiling import blocks as cut
from hyseg_cli.geo.tiling.blocks import Block, cut_blocks
from hyseg_cli.geo.tiling.grid import ALIGNMENT, TileGrid
from hyseg_cli.geo.tiling.strips import rows_of_blocks
from hyseg_cli.geo.vector.area_of_interest import AreaOfInterest, window_of_bounds
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.model.card import MODEL_TAG, ModelCard, ModelSource
from hyseg_cli.learn.model.contract import Contract, match
from hyseg_cli.learn.model.shift import Shift, measure_shift
from hyseg_cli.learn.scores.seams import TILES_TAG, describe_tiles
from hyseg_cli.legend import Legend
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.predict.jobs import Job

if TYPE_CHECKING:
    from hyseg_cli.learn.inference.precision import Precision
    from hyseg_cli.learn.model.applicability import Unlike

LIBRARY_BYTES = 1.3e9
"""Part of `max_memory` that libraries, the model and the network with tiles of 512 pixels need."""


def bytes_for_rows(memory: int) -> float:
    """Part of the memory for rows in work: half of it at most, a fifth at least."""
    return max(memory / 5, min(memory / 2, memory - LIBRARY_BYTES))


def bytes_per_column(
    scene: Raster, bands: tuple[int, ...], grid: TileGrid, classes: int, outputs: int
) -> int:
    """Memory that one column of the rows in work takes.

    Two strips with the blocks below them, what is being read and its masks, the sums of the tiles
    with what is made of them, and the rows that wait to be written.
    """
    itemsize = max(_itemsize(scene.dtypes[band - 1]) for band in bands)
    blocks = rows_of_blocks(scene.block[0], grid.rows.length) - 1
    # The third is what is being read.
    strips = (3 * grid.rows.length + 3 * blocks) * (len(bands) * itemsize + 1)
    masks = grid.rows.length * (len(bands) + 1)
    sums = 4 * classes * grid.rows.length
    # The classes, and the probabilities if there are any.
    finishing = grid.rows.step * (1 + (classes if outputs > 1 else 0))
    rows = outputs * (grid.rows.step + BLOCK)
    return int(strips + masks + sums + finishing + rows)


def bytes_of_resampling(grid: TileGrid, bands: int, classes: int, tiles: int) -> int:
    """Memory of a batch of tiles that are resampled for the network, and of its answer."""
    pixels = tiles * grid.rows.length * grid.cols.length
    return 4 * pixels * (2 * bands + classes + 1)


def _itemsize(dtype: str) -> int:
    # Wider unsigned integers are handed to the network as float32.
    return {"uint8": 1, "int8": 1, "int16": 2, "float64": 8}.get(dtype, 4)


@dataclass(frozen=True)
class Part:
    """A scene in a raster that also holds others."""

    scene: Raster
    window: Window
    """Where it lies in the raster."""


@dataclass(frozen=True)
class Inspection:
    """A scene, and how a model reads it."""

    scene: Raster
    """The raster that is read."""
    itself: Raster
    """What is to be mapped: this raster, or a part of it."""
    contract: Contract
    validity: Validity
    shift: Shift | None
    """How far its values are from the training's; None if that is not known."""
    distortion: str | None
    """A warning about areas in its CRS."""
    unlike: Unlike | None = None
    """How unlike it looks to the training, which counts more than its values, if it is known."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Problems that may reduce accuracy."""
        # Values differ between most places, whether a model can map them or not.
        unlike = self.unlike or self.shift
        found = (unlike and unlike.warning, self.distortion)
        return self.contract.warnings + tuple(warning for warning in found if warning)

    @property
    def notes(self) -> tuple[str, ...]:
        """Decisions that the user can override."""
        collar = self.validity.collar
        if collar is None:
            return ()
        share = f"{100 * collar.share:.1f} % of {self.itself.path}"
        return (f"{share} are a collar without data; `collar` none maps it, too",)


def inspect_scene(
    path: str, card: ModelCard, settings: PredictSettings, part: Part | None = None
) -> Inspection:
    """Look at a scene.

    Args:
        path: The raster.
        card: The card of the model.
        settings: The settings of the run.
        part: The scene, if the raster also holds others.

    Raises:
        HysegError: If it cannot be read or does not fit the model.
    """
    scene = open_raster(path)
    contract = match(scene, card, settings.bands, gsd_m=settings.gsd_m)
    validity = _validity(scene, contract, settings)
    if part is not None:
        collar = _validity(part.scene, contract, settings).collar
        if collar is not None:
            origin = part.window.row + collar.origin[0], part.window.col + collar.origin[1]
            collar = replace(collar, origin=origin)
        validity = replace(validity, collar=collar)
    with SceneReader(scene, contract.bands, validity=validity) as reader:
        shift = measure_shift(reader, card)
    itself = scene if part is None else part.scene
    return Inspection(scene, itself, contract, validity, shift, distorted_areas(scene))


def _validity(scene: Raster, contract: Contract, settings: PredictSettings) -> Validity:
    return scene_validity(
        scene,
        contract.bands,
        nodata=settings.src_nodata,
        find_collars=settings.collar == "auto",
        window=lambda: _window_asked(scene, settings),
    )


def _window_asked(scene: Raster, settings: PredictSettings) -> Window | None:
    """The pixels that bounds or area leave, None if neither is given."""
    if settings.bounds is not None:
        return window_of_bounds(scene, settings.bounds, "`bounds`")
    return None if settings.aoi is None else AreaOfInterest(settings.aoi, scene).window


COPIED = ("AREA_OR_POINT", "TIFFTAG_DATETIME")
"""Tags of a scene that also apply to its map: the meaning of a pixel, the time it was taken."""


BYTES_PER_CLASS_PIXEL = 0.25
"""Measured on compressed maps of small fields; smoother ones take less."""
BYTES_PER_PROBABILITY_PIXEL = 0.7
MOST_PIXELS = 2**43
"""Of one map: more than an empty one could be written of in a year."""
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
    blocks: tuple[Block, ...]
    outputs: tuple[Output, ...]
    """The map comes first."""
    remote: str | None
    """Name of the map in object storage; None if it stays on disk."""
    beside: Mapping[str, Path]
    """Files beside the map, by the ending of their names."""
    settled: dict[str, Any]
    """Everything that the result depends on."""
    working_bytes: int
    """Memory for the rows in work."""

    @property
    def scene(self) -> Raster:
        """The raster that is read; a scene with neighbours is a window of it."""
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
        rows = {index for block in self.blocks for index in block.tile_rows}
        cols = {index for block in self.blocks for index in block.tile_cols}
        return len(rows) * len(cols)

    def disk_bytes(self, missing: int, *, is_part: bool = False) -> int:
        """Free space that the run needs, about.

        Args:
            missing: Pixels that are not in shards yet.
            is_part: Make shards only.
        """
        probabilities = self.shard_bands - 1
        packed = BYTES_PER_CLASS_PIXEL + probabilities * BYTES_PER_PROBABILITY_PIXEL
        final = 0.0 if is_part else FINAL_COPIES * self.window.height * self.window.width
        return int(packed * (missing + final))

    def require_disk(self, missing: int, *, is_part: bool = False) -> None:
        """Refuse to start if the outputs will not fit; the arguments are those of `disk_bytes`.

        Raises:
            HysegError: If the free space is too little.
        """
        free = shutil.disk_usage(self.out.parent).free
        needed = self.disk_bytes(missing, is_part=is_part)
        if free < needed:
            raise HysegError(
                f"{self.out}: about {needed / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free",
                hint="Make space, choose another `out`, or map parts of it with `bounds`.",
            )


@dataclass(frozen=True, kw_only=True)
class MappingRequest:
    """A scene, the model that maps it and what was asked for: all that a plan is made of."""

    job: Job
    inspection: Inspection
    """The scene, and how the model reads it."""
    model: ModelSource
    precision: str
    """Floating-point format of the network."""
    settings: PredictSettings

    @property
    def tiling(self) -> tuple[int, int]:
        """Side and overlap of the tiles, in pixels of the network."""
        return self.model.card.tiling(self.settings.tile_size, self.settings.overlap)

    def plan(self) -> Plan:
        """Decide how the scene is mapped.

        Raises:
            UsageProblemError: If tiles, bounds or area make no sense for the scene.
        """
        scene, contract = self.inspection.scene, self.inspection.contract
        job, settings, legend = self.job, self.settings, self.model.card.legend
        grid = TileGrid.cover(
            scene.height,
            scene.width,
            tile=self.tiling[0],
            overlap=self.tiling[1],
            phase=scene.noise_origin,
            alignment=contract.alignment,
        )
        area = AreaOfInterest(settings.aoi, scene) if settings.aoi else None
        window = self._window(area)
        if window.height * window.width > MOST_PIXELS:
            raise UsageProblemError(
                f"{job.scene} has {window.width} x {window.height} pixels, too many for one map",
                hint="Map parts of it with `bounds` or `aoi`.",
            )
        outputs = self._outputs(grid, window)
        count = sum(output.spec.band_count for output in outputs)
        pixel_bytes = bytes_per_column(scene, contract.bands, grid, len(legend), count)
        budget = bytes_for_rows(settings.max_memory_bytes) / pixel_bytes
        columns = max(1, int((budget - grid.cols.length) // grid.cols.step))
        blocks = cut_blocks(grid, window, columns)
        bands, resampling = len(contract.bands), 0
        if contract.alignment != ALIGNMENT:
            resampling = bytes_of_resampling(grid, bands, len(legend), settings.batch_size)
        widest = max(block.window.width for block in blocks) + grid.cols.length
        return Plan(
            source=job.scene,
            inspection=self.inspection,
            legend=legend,
            grid=grid,
            window=window,
            area=area,
            blocks=blocks,
            outputs=outputs,
            remote=job.remote_of(job.out),
            beside=job.beside,
            settled=self.settled(window, area, columns),
            working_bytes=widest * pixel_bytes + resampling,
        )

    def settled(self, window: Window, area: AreaOfInterest | None, columns: int) -> dict[str, Any]:
        """All that the result depends on, as JSON can hold it.

        Args:
            window: Pixels that are written.
            area: Where in it pixels are wanted.
            columns: Columns of tiles of a part.
        """
        contract, settings = self.inspection.contract, self.settings
        return {
            "version": __version__,
            "model": self.model.digest,
            "precision": self.precision,
            "scene": fingerprint_of_raster(self.inspection.scene.path),
            "bands": contract.bands,
            "pixels per 32 of the network (--gsd)": contract.alignment,
            "src-nodata": [repr(value) for value in settings.src_nodata],
            "collar": settings.collar,
            "tile-size": self.tiling[0],
            "overlap": self.tiling[1],
            "seed": settings.seed,
            "noise": settings.noise,
            "tta": settings.tta,
            "window": [window.row, window.col, window.height, window.width],
            "aoi": None if area is None else area.digest,
            "outputs": list(self.job.rasters),
            "columns of tiles (--max-memory)": columns,
            "pixels of a part": cut.BLOCK_PIXELS,
        }

    def tags(self, itself: Raster) -> dict[str, str]:
        """Provenance of the map; nothing in it changes from one run to the next.

        Args:
            itself: The scene alone; with its neighbours, if asked for, it is what is read.
        """
        settings, data = self.settings, self.model.card.data
        used = {
            "bands": self.inspection.contract.bands,
            "tile_size": self.tiling[0],
            "overlap": self.tiling[1],
            "seed": settings.seed,
            "noise": settings.noise,
            "tta": settings.tta,
            "gsd": settings.gsd,
            "collar": settings.collar,
            # JSON has no NaN.
            "src_nodata": [v if math.isfinite(v) else str(v) for v in settings.src_nodata],
            "context": settings.context,
            "bounds": settings.bounds,
            "aoi": None if settings.aoi is None else settings.aoi.name,
        }
        tags = {
            "HYSEG_VERSION": __version__,
            "HYSEG_MODEL_NAME": self.model.name,
            MODEL_TAG: self.model.digest,
            "HYSEG_SETTINGS": json.dumps(used),
            "HYSEG_INPUT": Path(self.job.scene).name,
            "HYSEG_INPUT_SIZE": f"{itself.width} x {itself.height}",
            "HYSEG_DATA": data.name,
            "HYSEG_LICENCE": data.licence,
            "HYSEG_ATTRIBUTION": data.attribution,
            "TIFFTAG_SOFTWARE": f"hyseg {__version__}",
        }
        return tags | {key: itself.tags[key] for key in COPIED if key in itself.tags}

    def _window(self, area: AreaOfInterest | None) -> Window:
        """The pixels that all of context, bounds and area leave."""
        scene, bounds = self.inspection.scene, self.settings.bounds
        found = self.job.window or Window(0, 0, scene.height, scene.width)
        asked = {}
        if bounds is not None:
            asked["`bounds`"] = window_of_bounds(scene, bounds, "`bounds`")
        if area is not None:
            asked["`aoi`"] = area.window
        for flag, window in asked.items():
            both = found.intersection(window)
            if both is None:
                raise UsageProblemError(
                    f"{flag} leaves nothing of {self.job.scene}",
                    hint="Leave it out, or correct it.",
                )
            found = both
        return found

    def _outputs(self, grid: TileGrid, window: Window) -> tuple[Output, ...]:
        job, legend = self.job, self.model.card.legend
        scene = placed = self.inspection.scene
        corner = window
        if job.itself is not None and job.window is not None:
            placed, corner = job.itself, window.seen_from(job.window)
        spec = MapSpec(
            height=window.height,
            width=window.width,
            crs=placed.crs,
            transform=placed.transform @ Affine.translation(corner.col, corner.row),
            control=None if scene.control is None else scene.control.seen_from(window),
            legend=legend,
            tags=self.tags(placed) | {TILES_TAG: describe_tiles(grid, window)},
        )
        outputs = [Output(job.out, spec, 1)]
        if job.confidence is not None:
            outputs.append(Output(job.confidence, replace(spec, probabilities=("confidence",)), 2))
        if job.probabilities is not None:
            probabilities = replace(spec, probabilities=legend.names)
            outputs.append(Output(job.probabilities, probabilities, 1 + len(outputs)))
        return tuple(outputs)


@dataclass(frozen=True)
class Planner:
    """What must be known of a model to plan with it, on whatever machine it will run."""

    settings: PredictSettings
    model: ModelSource
    precision: str
    """Floating-point format of the network."""

    @classmethod
    def on(cls, device_type: str, model: ModelSource, settings: PredictSettings) -> Planner:
        """Plan for a kind of device, cpu or cuda."""
        return cls(settings, model, precision_on(device_type, settings))

    def plan(self, job: Job) -> Plan:
        """How a scene is mapped.

        Raises:
            HysegError: If the scene cannot be read or does not fit the model.
        """
        part = None
        if job.itself is not None and job.window is not None:
            part = Part(job.itself, job.window)
        path = job.part_of or job.scene
        inspection = inspect_scene(path, self.model.card, self.settings, part)
        return MappingRequest(
            job=job,
            inspection=inspection,
            model=self.model,
            precision=self.precision,
            settings=self.settings,
        ).plan()


def format_on(device_type: str, settings: PredictSettings) -> Precision:
    """Floating-point format of the network on a kind of device; it may be measured first."""
    # PyTorch takes seconds to load, and plans are made without it, too.
    from hyseg_cli.learn.inference.precision import choose_precision

    is_shared = settings.shard is not None or settings.cluster is not None
    return choose_precision(settings.precision, device_type, is_shared=is_shared)


def precision_on(device_type: str, settings: PredictSettings) -> str:
    """Format of the network, and whether it is compiled, on a kind of device."""
    kind = format_on(device_type, settings)
    # A compiled network rounds in other places: it must not go on with the parts of another.
    return f"{kind}, compiled" if settings.compiled else kind
