"""Mapping shared by several workers: what they are told, and what they do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hyseg_cli.cluster.pool import Advance, Crew, Skill
from hyseg_cli.errors import HysegError
from hyseg_cli.geo.output.shards import missing_units
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.tiling.units import Unit, stretches
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.predict.mapper import Mapper, Planner
from hyseg_cli.workflows.predict.plan import Plan


@dataclass(frozen=True)
class MapTask:
    """Neighbouring units of a scene for one worker."""

    scene: int
    """Number of the scene in the run."""
    plan: Plan
    """Without its units, to be short."""
    mark: str
    """Of the work folder, as it was settled."""
    units: tuple[Unit, ...]

    @property
    def size(self) -> int:
        """Pixels."""
        return sum(unit.pixels for unit in self.units)

    @property
    def work(self) -> WorkFolder:
        """Where the shards go."""
        return WorkFolder(self.plan.out, self.mark, self.plan.remote)

    def rest(self) -> MapTask | None:
        """The units whose shards are not there; None if all are."""
        left = missing_units(self.work, self.units)
        return replace(self, units=left) if left else None


@dataclass(frozen=True)
class MapTrade:
    """What a worker needs to map: a model that is loaded once, on a device of its own."""

    settings: PredictSettings
    digest: str
    """Hash of the model file that the run began with."""
    devices: tuple[str, ...]
    """For the workers in turn."""
    threads: int | None
    """Of PyTorch on a CPU; None to leave it to the environment."""

    def learn(self, seat: int) -> Skill:
        """Load the model.

        Raises:
            HysegError: If it cannot be loaded or is another one.
        """
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        mapper = Mapper.load(self.settings, self.devices[seat % len(self.devices)])
        if mapper.planner.digest != self.digest:
            raise HysegError(
                f"{self.settings.model or 'the built-in model'} is another model here than where "
                "the run was started",
                hint="Put the model file on storage that all machines share.",
            )

        def do(task: Any, advance: Advance) -> None:
            mapper.map_units(task.plan, task.work, task.units, advance)

        return do


def tasks_of(
    scene: int, plan: Plan, mark: str, units: Iterable[Unit], pixels: Iterator[int]
) -> Iterator[MapTask]:
    """Cut units of a scene into tasks.

    Args:
        scene: Number of the scene.
        plan: How it is mapped.
        mark: Of its work folder.
        units: What is to be done.
        pixels: For each task, how many it may have at most; a unit is never cut.
    """
    brief = replace(plan, units=())
    for stretch in stretches(units):
        left = list(stretch.units)
        while left:
            limit, taken = next(pixels), [left.pop(0)]
            total = taken[0].pixels
            while left and total + left[0].pixels <= limit:
                total += left[0].pixels
                taken.append(left.pop(0))
            yield MapTask(scene, brief, mark, tuple(taken))


def open_crew(settings: PredictSettings) -> tuple[Crew, Planner, int]:
    """Whoever maps, how scenes are planned for them, and how many they are.

    Raises:
        HysegError: If the model or the engine cannot be used.
    """
    if settings.cluster is None:
        return _open_local(settings)
    from hyseg_cli.cluster.ray_pool import RayCrew

    has_gpus = settings.gpus_per_worker > 0
    address = settings.cluster
    if settings.model is not None:
        settings = replace(settings, model=Path(made_absolute(str(settings.model))))
    planner = Planner.load(settings, "cuda" if has_gpus else "cpu")
    # Ray shows each worker the GPUs that are its own, and says how many threads it has.
    trade = MapTrade(settings, planner.digest, ("cuda" if has_gpus else "cpu",), None)
    crew = RayCrew(address, trade, gpus=settings.gpus_per_worker)
    return crew, planner, settings.workers or crew.room


def _open_local(settings: PredictSettings) -> tuple[Crew, Planner, int]:
    from hyseg_cli.cluster.local_pool import LocalCrew

    kind, threads = settings.device, None
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    devices = tuple(f"cuda:{seat}" for seat in range(settings.devices))
    if kind == "cpu":
        devices = ("cpu",)
        threads = max(1, (os.cpu_count() or 1) // settings.devices)
    planner = Planner.load(settings, devices[0].partition(":")[0])
    return (
        LocalCrew(MapTrade(settings, planner.digest, devices, threads)),
        planner,
        settings.devices,
    )


def made_absolute(name: str) -> str:
    """The name of a scene or model as other machines find it; what is no file stays as it is."""
    return str(Path(name).absolute()) if Path(name).exists() else name
