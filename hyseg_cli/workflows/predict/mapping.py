"""Mapping one scene by its plan: shards, and the rasters made of them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.classes.counts import ClassTotals, remap
from hyseg_cli.geo.output.cog import Source, put_in_place, write_cog
from hyseg_cli.geo.output.shards import missing_blocks, read_summary, shard_path, writing_shard
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.raster.facts import files_of_raster
from hyseg_cli.geo.raster.gdal import gdal_env, trim_heap
from hyseg_cli.geo.raster.ground import GroundMeasure
from hyseg_cli.geo.raster.reader import REMOTE_OPTIONS, SceneReader
from hyseg_cli.geo.suffixes import STAC_SUFFIX
from hyseg_cli.geo.tiling.blocks import Block, BlockRun, block_runs
from hyseg_cli.geo.tiling.strips import read_strips
from hyseg_cli.geo.window import Window
from hyseg_cli.legend import NODATA_ID
from hyseg_cli.workflows.predict.outputs import files_beside, map_item
from hyseg_cli.workflows.predict.plan import Plan

if TYPE_CHECKING:
    from hyseg_cli.learn.inference.stitch import Classify, FinishedRows

CACHE_MIB = 64
"""Rows are read once, so little is enough."""

Advance = Callable[[int], None]
"""Called with the number of pixels that were done."""


def map_blocks(
    plan: Plan,
    work: WorkFolder,
    blocks: Iterable[Block],
    classify: Classify,
    batch_size: int,
    advance: Advance,
) -> None:
    """Write the missing shards of blocks.

    Raises:
        HysegError: If the scene cannot be read or a shard cannot be written.
    """
    # PyTorch is loaded with the network; making outputs from shards does not need it.
    from hyseg_cli.learn.inference.stitch import map_strips

    missing = missing_blocks(work, blocks)
    with (
        gdal_env(CACHE_MIB, **REMOTE_OPTIONS),
        SceneReader(
            plan.scene, plan.inspection.contract.bands, validity=plan.inspection.validity
        ) as reader,
    ):
        for block_run in block_runs(missing):
            # Closed before the reader: a thread reads ahead, and its dataset has to stay open.
            with closing(read_strips(reader, plan.grid, block_run)) as strips:
                rows = map_strips(
                    strips,
                    plan.grid,
                    block_run,
                    classify,
                    batch_size=batch_size,
                    noise_origin=plan.scene.noise_origin,
                    quantised=len(plan.outputs) > 1,
                    within=plan.area,
                )
                _write_run(plan, work, block_run, rows, advance)


def _write_run(
    plan: Plan,
    work: WorkFolder,
    block_run: BlockRun,
    finished: Iterator[FinishedRows],
    advance: Advance,
) -> None:
    id_of_channel = np.full(NODATA_ID + 1, NODATA_ID, np.uint8)
    id_of_channel[: len(plan.legend)] = plan.legend.ids
    is_same = list(plan.legend.ids) == list(range(len(plan.legend)))
    measure = GroundMeasure(plan.scene)
    for block in block_run.blocks:
        totals, started, row = ClassTotals(), time.perf_counter(), block.window.row
        with writing_shard(work, block, plan.shard_bands) as shard:
            for _ in block.tile_rows:
                part = next(finished)
                ids = part.channels
                if not is_same:
                    remap(ids, id_of_channel)
                shard.append(_stack(plan, ids, part.quantised))
                place = Window(row, block.window.col, *ids.shape)
                kept = place.intersection(plan.window)
                if kept is not None:
                    inside = ids[kept.seen_from(place).slices]
                    totals.count(inside, measure.row_areas_m2(range(kept.row, kept.row_stop)))
                row = place.row_stop
                advance(ids.size)
            totals.seconds = time.perf_counter() - started
            shard.finish(totals.to_dict())
        trim_heap()


def _stack(
    plan: Plan, ids: npt.NDArray[np.uint8], quantised: npt.NDArray[np.uint8] | None
) -> npt.NDArray[np.uint8]:
    """All outputs of some rows, (bands of a shard, rows, width)."""
    parts = [ids[None]]
    for output in plan.outputs[1:]:
        if quantised is None:
            message = "probabilities are wanted, but none were computed"
            raise ValueError(message)
        parts.append(quantised if output.spec.band_count > 1 else quantised.max(axis=0)[None])
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


@contextmanager
def merged(
    plan: Plan, work: WorkFolder, also: Iterable[Path] = ()
) -> Iterator[tuple[ClassTotals, dict[Path, Path]]]:
    """Make the outputs of the shards, and give them their names in the end, the map last.

    Args:
        plan: How the scene was mapped.
        work: Where the shards are.
        also: Files that are made of them meanwhile: they are there once the map is.

    Yields:
        What was mapped, and where the raster that gets a path lies until then.

    Raises:
        HysegError: If a shard is missing, or the system refuses to write.
    """
    missing = len(missing_blocks(work, plan.blocks))
    if missing:
        raise HysegError(
            f"{plan.out}: {missing} of {len(plan.blocks)} parts are not computed yet",
            hint="Run the missing `shard` parts, or without `merge` to compute what is missing.",
        )
    work.fetch(shard_path(work, block).name for block in plan.blocks)
    totals = ClassTotals()
    for block in plan.blocks:
        totals.add(read_summary(work, block))
    sources = [
        Source(shard_path(work, block), block.window.seen_from(plan.window))
        for block in plan.blocks
    ]
    cogs: list[Path] = []
    for number, output in enumerate(plan.outputs):
        cogs.append(write_cog(work, f"output{number}.tif", output.spec, sources, output.first_band))
    beside = [files_beside(plan, *pair, totals) for pair in zip(plan.outputs, cogs, strict=True)]
    if STAC_SUFFIX in plan.beside:
        item = json.dumps(map_item(plan, cogs, totals), indent=2, allow_nan=False)
        beside[0][plan.beside[STAC_SUFFIX]] = item + "\n"
    kept = {os.path.realpath(name) for name in files_of_raster(plan.scene.path)}
    paths = [output.path for output in plan.outputs]
    work.start_finishing([*also, *paths, *plan.beside.values()])
    yield totals, dict(zip(paths, cogs, strict=True))
    for path, cog, texts in reversed(list(zip(paths, cogs, beside, strict=True))):
        put_in_place(cog, path, texts, kept)
