"""`hyseg predict`: scenes -> land-cover maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import rasterio

from hyseg_cli.errors import ElsewhereError, HysegError
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.raster.reader import REMOTE_OPTIONS
from hyseg_cli.learn.model.card import ModelSource
from hyseg_cli.messages import Messages
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.startup import loading
from hyseg_cli.workflows.predict.context import seen_together
from hyseg_cli.workflows.predict.delivery import stage
from hyseg_cli.workflows.predict.jobs import Job, is_single, list_jobs, make_folders
from hyseg_cli.workflows.predict.mosaic import make_mosaic, require_mosaic_free
from hyseg_cli.workflows.predict.outputs import Publish, nothing_more
from hyseg_cli.workflows.predict.result import PredictResult, SceneResult, forecast, remembered
from hyseg_cli.workflows.predict.scene_run import (
    PredictRun,
    announce,
    clear_finished,
    compared,
    in_work,
    plan_scene,
    require_outputs_free,
)

if TYPE_CHECKING:
    from hyseg_cli.workflows.predict.mapper import Mapper


def run(
    settings: PredictSettings, messages: Messages, publish: Publish = nothing_more
) -> PredictResult:
    """Map scenes.

    A scene that fails does not stop the others, unless `on_error` says so; it is reported in the
    result. A single scene that fails raises its error.

    Args:
        settings: What to map, and how.
        messages: Where messages go.
        publish: Makes the preview and the report of a map, as `report.prediction` does.

    Raises:
        ElsewhereError: If no scene overlaps the requested area.
        HysegError: One of its kinds. Finished parts stay in the work folder beside the output,
            and the same command continues with them; no output is left unfinished.
    """
    shared = PredictRun(
        settings=settings,
        model=ModelSource.find(settings.model),
        messages=messages,
        publish=publish,
    )
    jobs = tuple(stage(job, settings) for job in list_jobs(settings))
    if is_single(settings):
        clear_finished(jobs[0], settings)
        require_outputs_free(jobs[0], settings)
    map_all = _map_together if settings.is_shared and not settings.dry_run else _map_one_by_one
    if not settings.dry_run:
        make_folders(settings)
        require_mosaic_free(jobs, settings)
    with rasterio.Env(**REMOTE_OPTIONS), seen_together(jobs, settings, messages) as placed:
        if is_single(settings) and not settings.skip_existing:
            open_raster(jobs[0].scene)  # a wrong name is reported before PyTorch is loaded
        data = shared.model.card.data
        messages.note(f"model {shared.model.name}, trained on {data.summary}")
        ended = remembered(map_all(placed, shared), settings.manifest)
        results = {result.job.out: result for result in ended}
    here = tuple(job for job in jobs if results[job.out].state != "elsewhere")
    if not here:
        raise ElsewhereError(
            f"the area of `bounds` or `aoi` lies outside all {len(results)} scenes",
            hint="Give coordinates in the CRS of the scenes; `hyseg info SCENE` shows it.",
        )
    _join(here, settings, messages)
    return PredictResult(tuple(results[job.out] for job in jobs))


def _join(jobs: tuple[Job, ...], settings: PredictSettings, messages: Messages) -> None:
    """Make the requested mosaic of the maps that exist."""
    there = [job for job in jobs if job.out.exists()]
    if settings.mosaic is None or settings.dry_run or not there:
        return
    if len(there) < len(jobs):
        messages.warn(f"{settings.mosaic} lacks {len(jobs) - len(there)} of {len(jobs)} scenes")
    make_mosaic(there, settings, settings.mosaic, messages)


def _map_together(jobs: tuple[Job, ...], run: PredictRun) -> Iterator[SceneResult]:
    with loading():
        from hyseg_cli.workflows.predict.queue import map_queue

    return map_queue(jobs, run)


def _map_one_by_one(jobs: tuple[Job, ...], run: PredictRun) -> Iterator[SceneResult]:
    with loading():
        from hyseg_cli.workflows.predict.mapper import Mapper

    mapper = Mapper.load(run.settings, source=run.model)
    for job in jobs:
        try:
            yield _map_scene(job, mapper, run)
        except HysegError as error:
            if is_single(run.settings) or run.settings.on_error == "stop":
                raise
            run.messages.fail(f"{job.scene} is left out: {error.message}. {error.hint}")
            yield SceneResult(job, "failed", error=error)


def _map_scene(job: Job, mapper: Mapper, run: PredictRun) -> SceneResult:
    found = plan_scene(job, mapper.planner, run.messages)
    if isinstance(found, SceneResult):
        return found
    found = compared(found, mapper.looked_at(found))
    announce(found, run.messages)
    if run.settings.dry_run:
        return SceneResult(job, "planned", plan=found, forecast=forecast(found, mapper))
    with in_work(job, found, run) as scene:
        if scene.missing:
            mapper.map_blocks(found, scene.work, scene.missing, scene.advance)
        return scene.finish()
