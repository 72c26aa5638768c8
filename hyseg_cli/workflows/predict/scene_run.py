"""One scene while it is mapped: its state on the disk, from the plan to its outputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from zlib import crc32

from hyseg_cli.errors import ElsewhereError, StateMismatchError
from hyseg_cli.geo.output.shards import missing_blocks
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.raster.facts import files_of_raster
from hyseg_cli.geo.tiling.blocks import Block, share_of
from hyseg_cli.learn.model.card import ModelSource
from hyseg_cli.messages import Messages
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.outputs import refuse_inputs, require_free
from hyseg_cli.workflows.predict.delivery import deliver, require_absent
from hyseg_cli.workflows.predict.jobs import Job, is_single
from hyseg_cli.workflows.predict.mapping import merged
from hyseg_cli.workflows.predict.outputs import FinishedMap, Publish, nothing_more
from hyseg_cli.workflows.predict.plan import Plan, Planner
from hyseg_cli.workflows.predict.result import SceneResult

if TYPE_CHECKING:  # it needs PyTorch
    from hyseg_cli.learn.model.applicability import Unlike


@dataclass(frozen=True, kw_only=True)
class PredictRun:
    """What all scenes of a run share."""

    settings: PredictSettings
    model: ModelSource
    messages: Messages
    publish: Publish = nothing_more
    """Makes previews and pages; whoever starts the run knows how."""


class SceneRun:
    """A scene whose outputs are locked by this run; mutable.

    Args:
        job: The scene.
        plan: How it is mapped.
        work: Its folder, locked and settled.
        run: What it shares with others.
    """

    def __init__(self, job: Job, plan: Plan, work: WorkFolder, run: PredictRun) -> None:
        settings, blocks = run.settings, plan.blocks
        if settings.shard is not None:
            # Small scenes have fewer blocks than there are parts: names spread them evenly.
            blocks = share_of(blocks, *settings.shard, turn=crc32(job.out.name.encode()))
        self.job = job
        self.plan = plan
        self.work = work
        self.missing: tuple[Block, ...] = () if settings.merge else missing_blocks(work, blocks)
        """Blocks to compute."""
        self._run = run
        self._is_part = settings.shard is not None
        self._total = sum(block.pixels for block in blocks)
        self._done = self._total - sum(block.pixels for block in self.missing)

    def require_disk(self) -> None:
        """Refuse to start if the outputs will not fit.

        Raises:
            HysegError: If the free space is too little.
        """
        pixels = sum(block.pixels for block in self.missing)
        self.plan.require_disk(pixels, is_part=self._is_part)

    def advance(self, pixels: int) -> None:
        """Record that this many more pixels are done."""
        self._done += pixels
        task = f"mapping {self.plan.out.name}"
        self._run.messages.advance(task, self._done, self._total, unit="px")

    def finish(self) -> SceneResult:
        """Make the outputs, when all blocks are computed; a part of a scene makes none.

        Raises:
            HysegError: If a shard is missing, or the system refuses to write.
        """
        if self._is_part:
            return SceneResult(self.job, "part", plan=self.plan)
        run, also = self._run, self.job.documents.values()
        with merged(self.plan, self.work, also) as (totals, rasters):
            run.publish(FinishedMap(run.settings, self.job, self.plan, run.model, totals, rasters))
        deliver(self.job)
        self.work.finish()
        return SceneResult(self.job, "done", plan=self.plan, totals=totals)


def plan_scene(job: Job, planner: Planner, messages: Messages) -> Plan | SceneResult:
    """Plan how to map a scene, or return its result if there is nothing to do.

    Raises:
        HysegError: If it cannot be mapped, or an output may not be written.
    """
    settings = planner.settings
    clear_finished(job, settings)
    if settings.skip_existing and job.has(job.out) and not job.work.own_outputs:
        return SceneResult(job, "existed")
    require_outputs_free(job, settings)
    try:
        plan = planner.plan(job)
    except ElsewhereError:
        if is_single(settings):
            raise
        messages.note(f"{job.scene} does not overlap the requested area")
        return SceneResult(job, "elsewhere")
    refuse_inputs(job.outputs, files_of_raster(plan.scene.path))
    return plan


def compared(plan: Plan, unlike: Unlike | None) -> Plan:
    """The plan of a scene that was compared with the training."""
    return replace(plan, inspection=replace(plan.inspection, unlike=unlike))


def announce(plan: Plan, messages: Messages) -> None:
    """Say what was decided about a scene, and what may be wrong with it."""
    for note in plan.inspection.notes:
        messages.note(note)
    if plan.area is not None and plan.area.warning is not None:
        messages.warn(plan.area.warning)
    for warning in plan.inspection.warnings:
        messages.warn(warning)


@contextmanager
def in_work(job: Job, plan: Plan, run: PredictRun) -> Iterator[SceneRun]:
    """Keep others off the outputs of a scene, and settle what is computed.

    Args:
        job: The scene.
        plan: How it is mapped.
        run: What it shares with others.

    Raises:
        StateMismatchError: If another run is active, or left work with other settings.
        HysegError: If the disk is too small.
    """
    work, settings = job.work, run.settings
    part = None if settings.shard is None else "{}-of-{}".format(*settings.shard)
    with work.locked(part), _state_kept(plan, work, part, run.messages):
        _settle(plan, work, settings, run.messages)
        scene = SceneRun(job, plan, work, run)
        scene.require_disk()
        yield scene


def _settle(plan: Plan, work: WorkFolder, settings: PredictSettings, messages: Messages) -> None:
    settled = plan.settled
    if settings.merge:
        # A machine without a GPU may merge parts that others computed on theirs.
        settled = settled | {"precision": work.settled().get("precision")}
    goes_on = work.settle(settled, resume=settings.resume)
    if settings.shard is None:
        work.clear_temporary()
    done = len(plan.blocks) - len(missing_blocks(work, plan.blocks))
    if goes_on and done and settings.shard is None:
        messages.note(f"resuming: {done} of {len(plan.blocks)} parts of {plan.out.name} are done")


@contextmanager
def _state_kept(
    plan: Plan, work: WorkFolder, part: str | None, messages: Messages
) -> Iterator[None]:
    """Report what a run that ends early leaves behind; leave nothing if nothing is done."""
    try:
        yield
    except BaseException:
        done = len(plan.blocks) - len(missing_blocks(work, plan.blocks))
        if done:
            messages.note(
                f"{done} of {len(plan.blocks)} parts of {plan.out.name} are done and kept in "
                f"{work.location}; run the same command again to continue"
            )
        elif part is None and not work.has_shards:
            work.remove()
        raise


def clear_finished(job: Job, settings: PredictSettings) -> None:
    """Remove the leftovers of a run that was killed after its last output got its name."""
    work = job.work
    if settings.dry_run or not work.is_finished:
        return
    if settings.shard is not None and work.is_empty:
        return  # another part has just created it
    try:
        with work.locked():
            work.remove()
    except StateMismatchError:
        # Parts that start together all find it: one of them removes it.
        if settings.shard is None:
            raise


def require_outputs_free(job: Job, settings: PredictSettings) -> None:
    """Refuse outputs that exist and may not be replaced.

    Raises:
        OutputExistsError: If there is one.
        UsageProblemError: If one cannot be written.
    """
    own = job.work.own_outputs
    if settings.skip_existing and job.has(job.out):
        return
    if settings.dry_run and not is_single(settings) and not job.out.parent.exists():
        return  # the run itself makes the folders
    named_by = [*job.outputs.items(), *(("`out`", path) for path in job.beside.values())]
    for flag, path in named_by:
        may_replace = settings.overwrite or str(path.absolute()) in own
        remote = job.remote_of(path)
        if remote is None:
            require_free(path, overwrite=may_replace, flag=flag)
        elif not may_replace:
            require_absent(remote, flag)
