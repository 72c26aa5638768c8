"""All scenes of a run as one queue that several workers share: their tasks and what they do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hyseg_cli.cluster.pool import Advance, RunTask, WorkerPool
from hyseg_cli.cluster.scheduler import Scheduler
from hyseg_cli.errors import HysegError
from hyseg_cli.geo.output.shards import missing_blocks
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.raster.raster import open_dataset
from hyseg_cli.geo.tiling.blocks import Block, block_runs
from hyseg_cli.learn.model.applicability import Unlike
from hyseg_cli.learn.model.card import ModelSource
from hyseg_cli.learn.model.weights import remembers_looks
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.predict.jobs import Job, is_single
from hyseg_cli.workflows.predict.mapper import Mapper
from hyseg_cli.workflows.predict.plan import Plan, Planner
from hyseg_cli.workflows.predict.result import SceneResult
from hyseg_cli.workflows.predict.scene_run import (
    PredictRun,
    SceneRun,
    announce,
    compared,
    in_work,
    plan_scene,
)


@dataclass(frozen=True)
class LookTask:
    """A comparison of a scene with the training, for one worker; the others map it meanwhile."""

    scene: int
    """Number of the scene in the run."""
    plan: Plan
    """Without its blocks, to be short."""

    @property
    def size(self) -> int:
        """Pixels: none, as it maps none."""
        return 0

    def rest(self) -> LookTask:
        """All of it."""
        return self

    def run(self, mapper: Mapper, advance: Advance) -> Unlike | None:  # noqa: ARG002 - no pixels
        """How unlike the scene is; the errors are those of `Mapper.looked_at`."""
        return mapper.looked_at(self.plan)


@dataclass(frozen=True)
class MapTask:
    """Neighbouring blocks of a scene for one worker."""

    scene: int
    """Number of the scene in the run."""
    plan: Plan
    """Without its blocks, to be short."""
    mark: str
    """Mark of the settled work folder."""
    blocks: tuple[Block, ...]

    @property
    def size(self) -> int:
        """Pixels."""
        return sum(block.pixels for block in self.blocks)

    @property
    def work(self) -> WorkFolder:
        """Where the shards go."""
        return WorkFolder(self.plan.out, self.mark, self.plan.remote)

    def rest(self) -> MapTask | None:
        """The blocks whose shards are missing; None if there are none."""
        left = missing_blocks(self.work, self.blocks)
        return replace(self, blocks=left) if left else None

    def run(self, mapper: Mapper, advance: Advance) -> None:
        """Write the shards; the errors are those of `Mapper.map_blocks`."""
        mapper.map_blocks(self.plan, self.work, self.blocks, advance)


Task = LookTask | MapTask


@dataclass(frozen=True)
class MapSetup:
    """What a worker needs to map: a model that is loaded once, on a device of its own."""

    settings: PredictSettings
    digest: str
    """Hash of the model file that the run began with."""
    devices: tuple[str, ...]
    """Devices, assigned to the workers in turn."""
    threads: int | None
    """Threads of PyTorch on a CPU; None for the default of the environment."""

    def prepare(self, slot: int) -> RunTask:
        """Load the model.

        Raises:
            HysegError: If it cannot be loaded or is another one.
        """
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        mapper = Mapper.load(self.settings, device=self.devices[slot % len(self.devices)])
        if mapper.planner.model.digest != self.digest:
            raise HysegError(
                f"{self.settings.model or 'the built-in model'} differs from the model that "
                "the run was started with",
                hint="Put the model file on storage that all machines share.",
            )

        def do(task: Task, advance: Advance) -> Unlike | None:
            return task.run(mapper, advance)

        return do


def tasks_of(
    scene: int, plan: Plan, mark: str, blocks: Iterable[Block], pixels: Iterator[int]
) -> Iterator[MapTask]:
    """Cut blocks of a scene into tasks.

    Args:
        scene: Number of the scene.
        plan: How it is mapped.
        mark: Of its work folder.
        blocks: The blocks to map.
        pixels: The most pixels of each task; a block is never cut.
    """
    brief = replace(plan, blocks=())
    for block_run in block_runs(blocks):
        left = list(block_run.blocks)
        while left:
            limit, taken = next(pixels), [left.pop(0)]
            total = taken[0].pixels
            while left and total + left[0].pixels <= limit:
                total += left[0].pixels
                taken.append(left.pop(0))
            yield MapTask(scene, brief, mark, tuple(taken))


def open_pool(run: PredictRun) -> tuple[WorkerPool, Planner, int]:
    """Whoever maps, how scenes are planned for them, and how many they are.

    Raises:
        HysegError: If the model or the engine cannot be used.
    """
    settings, source = run.settings, run.model
    if settings.cluster is None:
        return _open_local(settings, source)
    from hyseg_cli.cluster.ray_pool import RayPool

    has_gpus = settings.gpus_per_worker > 0
    address = settings.cluster
    if settings.model is not None:
        settings = replace(settings, model=Path(made_absolute(str(settings.model))))
    planner = Planner.on("cuda" if has_gpus else "cpu", source, settings)
    # Ray shows each worker the GPUs that are its own, and says how many threads it has.
    setup = MapSetup(settings, source.digest, ("cuda" if has_gpus else "cpu",), None)
    pool = RayPool(address, setup, gpus=settings.gpus_per_worker)
    return pool, planner, settings.workers or pool.room


def _open_local(settings: PredictSettings, source: ModelSource) -> tuple[WorkerPool, Planner, int]:
    from hyseg_cli.cluster.local_pool import LocalPool

    kind, threads = settings.device, None
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    devices = tuple(f"cuda:{slot}" for slot in range(settings.devices))
    if kind == "cpu":
        devices = ("cpu",)
        threads = max(1, (os.cpu_count() or 1) // settings.devices)
    planner = Planner.on(devices[0].partition(":")[0], source, settings)
    pool = LocalPool(MapSetup(settings, source.digest, devices, threads))
    return pool, planner, settings.devices


def made_absolute(name: str) -> str:
    """The name of a file as other machines find it; other names stay as they are."""
    return str(Path(name).absolute()) if Path(name).exists() else name


CORES_PER_MERGE = 4
"""Cores of this machine for each scene whose outputs are made while others are mapped: some of that
work, such as overviews, keeps one core busy, some of it all of them."""
HEADERS_AT_ONCE = 16
"""Scenes whose size is read at the same time; they may be on a network."""
TASKS_LEFT = 2
"""Tasks per worker into which the remaining work is cut: they get smaller towards the end, so that
all workers finish at about the same time."""


def map_queue(jobs: tuple[Job, ...], run: PredictRun) -> Iterator[SceneResult]:
    """Map scenes, the largest first; a scene is opened when workers come free.

    Yields:
        The result of each, in the order in which they end.

    Raises:
        HysegError: If a scene fails and the run is to stop, or no worker can work.
    """
    pool, planner, workers = open_pool(run)
    merges = max(1, (os.cpu_count() or 1) // CORES_PER_MERGE)
    # On every exit, the workers stop first, then the merging of outputs, then locks are freed.
    with ExitStack() as scenes, ThreadPoolExecutor(merges) as merging, pool:
        queue = _Queue(jobs, planner, workers, run, scenes, merging)
        scheduler: Scheduler[Task] = Scheduler(
            pool,
            workers=workers,
            rest=lambda task: task.rest(),
            advance=queue.advance,
            warn=run.messages.warn,
        )
        for task, answer in scheduler.run(queue.tasks()):
            queue.end_task(task, answer)
            yield from queue.ended()
        yield from queue.ended(wait_for_all=True)


@dataclass
class _Open:
    """A scene in work; mutable."""

    run: SceneRun
    locks: ExitStack
    waiting: int = 0
    """Tasks that are not done."""
    is_cut: bool = False
    """Whether all of its tasks are known."""
    result: Future[SceneResult] | None = None
    """Its outputs, while they are made."""


class _Queue:
    """The scenes of a run, those in work and those that wait; mutable."""

    def __init__(
        self,
        jobs: tuple[Job, ...],
        planner: Planner,
        workers: int,
        run: PredictRun,
        scenes: ExitStack,
        merging: ThreadPoolExecutor,
    ) -> None:
        self._jobs = jobs
        self._planner = planner
        self._workers = workers
        self._settings = planner.settings
        self._run = run
        self._scenes = scenes
        self._merging = merging
        self._open: dict[int, _Open] = {}
        self._ended: list[SceneResult] = []
        self._left = 0
        self._looks = remembers_looks(run.model)

    def tasks(self) -> Iterator[Task]:
        """The tasks of all scenes; opens one scene after the other."""
        sizes = _sizes(self._jobs)
        self._left = sum(sizes)
        for number in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
            left_then = self._left - sizes[number]
            scene = self._start(number)
            if scene is not None:
                plan, mark = scene.run.plan, scene.run.work.mark
                missing = scene.run.missing
                self._left = left_then + sum(block.pixels for block in missing)
                if self._looks:
                    scene.waiting += 1
                    yield LookTask(number, replace(plan, blocks=()))
                for task in tasks_of(number, plan, mark, missing, self._limits()):
                    if number not in self._open:
                        break  # it has failed meanwhile
                    self._left -= task.size
                    scene.waiting += 1
                    yield task
                scene.is_cut = True
                self._finish_if_done(number)
            self._left = left_then

    def end_task(self, task: Task, answer: Unlike | HysegError | None) -> None:
        """A task is done, or has failed and its scene with it."""
        scene = self._open.get(task.scene)
        if scene is None:
            return  # it has failed before
        scene.waiting -= 1
        if isinstance(answer, HysegError):
            self._fail(task.scene, answer)
            return
        if isinstance(task, LookTask):
            scene.run.plan = compared(scene.run.plan, answer)
            announce(scene.run.plan, self._run.messages)
        self._finish_if_done(task.scene)

    def advance(self, task: Task, pixels: int) -> None:
        """Record that this many more pixels of a task are done."""
        scene = self._open.get(task.scene)
        if scene is not None:
            scene.run.advance(pixels)

    def ended(self, *, wait_for_all: bool = False) -> list[SceneResult]:
        """The scenes that have ended since the last call."""
        merging = {scene.result: number for number, scene in self._open.items() if scene.result}
        if wait_for_all:
            wait(merging)
        for result, number in merging.items():
            if result.done():
                self._leave(number, result)
        ended, self._ended = self._ended, []
        return ended

    def _limits(self) -> Iterator[int]:
        while True:
            yield self._left // (TASKS_LEFT * self._workers)

    def _start(self, number: int) -> _Open | None:
        job = self._jobs[number]
        if self._settings.cluster is not None:
            job = replace(job, scene=made_absolute(job.scene), out=job.out.absolute())
        locks = ExitStack()
        try:
            found = plan_scene(job, self._planner, self._run.messages)
            if isinstance(found, SceneResult):
                self._ended.append(replace(found, job=self._jobs[number]))
                return None
            if not self._looks:
                announce(found, self._run.messages)
            run = locks.enter_context(in_work(job, found, self._run))
        except HysegError as error:
            self._give_up(number, error)
            return None
        self._scenes.push(locks)
        self._open[number] = _Open(run, locks)
        return self._open[number]

    def _finish_if_done(self, number: int) -> None:
        scene = self._open.get(number)
        if scene is not None and scene.is_cut and not scene.waiting:
            scene.result = self._merging.submit(scene.run.finish)

    def _leave(self, number: int, result: Future[SceneResult]) -> None:
        """Free the locks of a scene whose outputs exist or could not be made."""
        scene = self._open.pop(number)
        try:
            with scene.locks:
                self._ended.append(replace(result.result(), job=self._jobs[number]))
        except HysegError as error:
            self._give_up(number, error)

    def _fail(self, number: int, error: HysegError) -> None:
        failed: Future[SceneResult] = Future()
        failed.set_exception(error)
        self._leave(number, failed)

    def _give_up(self, number: int, error: HysegError) -> None:
        job = self._jobs[number]
        if is_single(self._settings) or self._settings.on_error == "stop":
            raise error
        self._run.messages.fail(f"{job.scene} is left out: {error.message}. {error.hint}")
        self._ended.append(SceneResult(job, "failed", error=error))


def _sizes(jobs: tuple[Job, ...]) -> list[int]:
    """Pixels of each scene; 0 if it cannot be opened, which is reported when it is mapped."""
    if len(jobs) == 1:
        return [0]
    with ThreadPoolExecutor(HEADERS_AT_ONCE) as threads:
        return list(threads.map(_size, jobs))


def _size(job: Job) -> int:
    try:
        with open_dataset(job.scene) as dataset:
            return int(dataset.height) * int(dataset.width)
    except HysegError:
        return 0
