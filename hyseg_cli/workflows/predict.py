"""`hyseg predict`: scenes -> land-cover maps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

import rasterio

from hyseg_cli.console import Report
from hyseg_cli.errors import HysegError
from hyseg_cli.geo.fingerprint import files_of_raster
from hyseg_cli.geo.reading import REMOTE_OPTIONS
from hyseg_cli.geo.shards import is_done
from hyseg_cli.geo.units import Unit, share_of
from hyseg_cli.geo.work import WorkFolder
from hyseg_cli.settings import PredictSettings
from hyseg_cli.workflows.documents import FinishedMap, WritePage, write_documents
from hyseg_cli.workflows.forecast import forecast
from hyseg_cli.workflows.mapper import Mapper
from hyseg_cli.workflows.mapping import merge
from hyseg_cli.workflows.mapping_plan import Plan
from hyseg_cli.workflows.outputs import refuse_inputs, require_free
from hyseg_cli.workflows.predict_result import PredictResult, SceneResult
from hyseg_cli.workflows.scene_context import seen_together
from hyseg_cli.workflows.scene_list import Job, is_single, list_jobs, make_folders
from hyseg_cli.workflows.sharing import map_in_processes


def run(
    settings: PredictSettings, report: Report, write_page: WritePage | None = None
) -> PredictResult:
    """Map scenes.

    A scene that fails does not stop the others, unless `on_error` says so; it is told in the
    result. A single scene that fails raises its error.

    Args:
        settings: What to map, and how.
        report: Where messages go.
        write_page: Writes `settings.report` of a scene; pages know workflows, not they pages.

    Raises:
        HysegError: One of its kinds. What is computed stays in the work folder beside the
            output, and the same run goes on with it; no output is left unfinished.
    """
    jobs = list_jobs(settings)
    if is_single(settings):
        _clear_finished(jobs[0], settings)
        _require_free(jobs[0], settings)
    mapper = Mapper.load(settings)
    if not settings.dry_run:
        make_folders(settings)
    with rasterio.Env(**REMOTE_OPTIONS), seen_together(jobs, settings, report) as placed:
        return PredictResult(tuple(_map_all(placed, mapper, settings, report, write_page)))


def _map_all(
    jobs: tuple[Job, ...],
    mapper: Mapper,
    settings: PredictSettings,
    report: Report,
    write_page: WritePage | None,
) -> Iterator[SceneResult]:
    for job in jobs:
        try:
            yield _map_scene(job, mapper, settings, report, write_page)
        except HysegError as error:
            if is_single(settings) or settings.on_error == "stop":
                raise
            report.fail(f"{job.scene} is left out: {error.message}. {error.hint}")
            yield SceneResult(job, "failed", error=error)


def _map_scene(
    job: Job,
    mapper: Mapper,
    settings: PredictSettings,
    report: Report,
    write_page: WritePage | None,
) -> SceneResult:
    work = WorkFolder(job.out)
    _clear_finished(job, settings)
    if settings.skip_existing and job.out.exists() and not work.own_outputs:
        return SceneResult(job, "existed")
    _require_free(job, settings)
    plan = mapper.plan(job)
    refuse_inputs(job.outputs, files_of_raster(plan.scene.path))
    for note in plan.inspection.notes:
        report.note(note)
    for warning in plan.inspection.warnings:
        report.warn(warning)
    if settings.dry_run:
        return SceneResult(job, "planned", plan=plan, forecast=forecast(plan, mapper))
    part = None if settings.shard is None else "{}-of-{}".format(*settings.shard)
    with work.locked(part), _state_kept(plan, work, part, report):
        _settle(plan, work, settings, report)
        units = plan.units
        if settings.shard is not None:
            # Small scenes have fewer units than there are parts: names spread them evenly.
            units = share_of(units, *settings.shard, turn=crc32(job.out.name.encode()))
        missing = () if settings.merge else tuple(u for u in units if not is_done(work, u))
        plan.require_disk(sum(unit.pixels for unit in missing), is_part=settings.shard is not None)
        if missing:
            _compute(plan, work, units, missing, mapper, settings, report)
        if settings.shard is not None:
            return SceneResult(job, "part", plan=plan)
        tally = merge(
            plan,
            work,
            job.documents.values(),
            lambda tally, rasters: write_documents(
                FinishedMap(job, plan, mapper.card, tally, rasters), settings, write_page
            ),
        )
        work.finish()
    return SceneResult(job, "done", plan=plan, tally=tally)


def _settle(plan: Plan, work: WorkFolder, settings: PredictSettings, report: Report) -> None:
    settled = plan.settled
    if settings.merge:
        # A machine without a GPU may merge what others computed on theirs.
        settled = settled | {"precision": work.settled().get("precision")}
    goes_on = work.settle(settled, resume=settings.resume)
    if settings.shard is None:
        work.clear_temporary()
    done = sum(is_done(work, unit) for unit in plan.units)
    if goes_on and done and settings.shard is None:
        report.note(f"going on: {done} of {len(plan.units)} parts of {plan.out.name} are there")


def _compute(
    plan: Plan,
    work: WorkFolder,
    units: tuple[Unit, ...],
    missing: tuple[Unit, ...],
    mapper: Mapper,
    settings: PredictSettings,
    report: Report,
) -> None:
    total = sum(unit.pixels for unit in units)
    done = total - sum(unit.pixels for unit in missing)

    def advance(pixels: int) -> None:
        nonlocal done
        done += pixels
        report.advance(f"mapping {plan.out.name}", done, total, unit="px")

    if settings.devices > 1 and len(missing) > 1:
        map_in_processes(plan, missing, settings, advance)
    else:
        mapper.map_units(plan, work, missing, advance)


@contextmanager
def _state_kept(plan: Plan, work: WorkFolder, part: str | None, report: Report) -> Iterator[None]:
    """Tell what a run that ends early leaves; leave nothing if nothing is done."""
    try:
        yield
    except BaseException:
        done = sum(is_done(work, unit) for unit in plan.units)
        if done:
            report.note(
                f"{done} of {len(plan.units)} parts of {plan.out.name} are done and kept in "
                f"{work.path}; the same command goes on from there"
            )
        elif part is None and not work.has_shards:
            work.remove()
        raise


def _clear_finished(job: Job, settings: PredictSettings) -> None:
    """Remove what a run left that was killed after its last output had got its name."""
    work = WorkFolder(job.out)
    if work.is_finished and not settings.dry_run:
        with work.locked():
            work.remove()


def _require_free(job: Job, settings: PredictSettings) -> None:
    own = WorkFolder(job.out).own_outputs
    if settings.skip_existing and job.out.exists():
        return
    if settings.dry_run and not is_single(settings) and not settings.out.exists():
        return  # the run itself makes the folders
    named_by = [*job.outputs.items(), *(("--out", path) for path in job.beside.values())]
    for flag, path in named_by:
        require_free(path, overwrite=settings.overwrite or str(path.absolute()) in own, flag=flag)
