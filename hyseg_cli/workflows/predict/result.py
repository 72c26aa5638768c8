"""What `hyseg predict` did, as tables and JSON, and what a run will need, printed before it begins.

The manifest of a run has a line of JSON for each scene, written when the scene ends.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.classes.counts import ClassTotals
from hyseg_cli.geo.output.work_folder import WRITE_ERRORS, unwritable
from hyseg_cli.legend import NODATA_ID
from hyseg_cli.messages import format_duration
from hyseg_cli.workflows.predict.jobs import Job
from hyseg_cli.workflows.predict.plan import Plan

if TYPE_CHECKING:
    from hyseg_cli.workflows.predict.mapper import Mapper


@dataclass(frozen=True)
class Forecast:
    """Estimates for one scene."""

    height: int
    width: int
    tiles: int
    """Tiles at most; those without data are not run."""
    parts: int
    peak_memory: int
    """Bytes of the process."""
    disk: int
    """Free bytes that are needed, shards and outputs together."""
    disk_free: int
    seconds: float
    """Time of the network, from one batch of blank tiles."""
    network_pixel_m: float | None
    """Ground size of the pixels that the network sees, if it is known."""

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """A few lines for people."""
        fits = "fits" if self.disk <= self.disk_free else "does not fit"
        free = f"{self.disk_free / 1e9:.2f} GB free: {fits}"
        size = self.network_pixel_m
        seen = "" if size is None else f", which sees pixels of {size:.2g} m"
        return (
            f"  {self.width} x {self.height} px, {counted(self.tiles, 'tile')} in "
            f"{counted(self.parts, 'part')}\n"
            f"  memory  about {self.peak_memory / 1e9:.2f} GB\n"
            f"  disk    {size_text(self.disk)}, {free}\n"
            f"  network about {format_duration(self.seconds)}{seen}"
        )


def counted(count: int, thing: str) -> str:
    """A number of things: one part, 12 parts."""
    return f"one {thing}" if count == 1 else f"{count:,} {thing}s"


def size_text(size: int) -> str:
    """Bytes on a disk, about."""
    return "under 10 MB" if size < 1e7 else f"about {size / 1e9:.2f} GB"


def forecast(plan: Plan, mapper: Mapper) -> Forecast:
    """Estimate what mapping a scene takes; runs one batch of blank tiles to find out."""
    started = time.perf_counter()
    mapper.try_tile(plan)
    per_tile = (time.perf_counter() - started) / mapper.tiles_at_once
    tiles = plan.tiles
    share = 1.0 if mapper.settings.shard is None else 1.0 / mapper.settings.shard[1]
    return Forecast(
        height=plan.window.height,
        width=plan.window.width,
        tiles=tiles,
        parts=len(plan.blocks),
        peak_memory=peak_memory() + plan.working_bytes,
        disk=plan.disk_bytes(plan.window.height * plan.window.width),
        disk_free=shutil.disk_usage(_nearest_folder(plan.out)).free,
        seconds=per_tile * tiles * share / mapper.settings.devices,
        network_pixel_m=plan.inspection.contract.network_pixel_m(plan.scene),
    )


def _nearest_folder(path: Path) -> Path:
    """The folder of a file, or that in which it would be made."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def peak_memory() -> int:
    """Peak memory of the process in bytes; 0 where the system does not say it."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux, `ru_maxrss` of a process starts at the value of its parent.
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@dataclass(frozen=True)
class SceneResult:
    """The result of one scene."""

    job: Job
    state: Literal["done", "part", "existed", "elsewhere", "planned", "failed"]
    plan: Plan | None = None
    totals: ClassTotals | None = None
    forecast: Forecast | None = None
    error: HysegError | None = None

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON."""
        found: dict[str, Any] = {
            "scene": self.job.scene,
            "state": self.state,
            "outputs": [self.job.name_of(path) for path in self.job.outputs.values()],
            "beside": [self.job.name_of(path) for path in self.job.beside.values()],
        }
        if self.plan is not None:
            inspection = self.plan.inspection
            found["warnings"] = list(inspection.warnings)
            found["distance"] = inspection.shift.distance if inspection.shift else None
            unlike = inspection.unlike
            found["dissimilarity"] = None if unlike is None else unlike.dissimilarity
            found["model"] = self.plan.settled["model"]
            found["pixels"] = self.plan.window.height * self.plan.window.width
        if self.forecast is not None:
            found["forecast"] = self.forecast.to_dict()
        if self.totals is not None and self.plan is not None:
            seconds = self.totals.seconds
            found["seconds"] = seconds
            found["mpx_per_second"] = found["pixels"] / 1e6 / seconds if seconds else None
            found["classes"] = [
                {"id": class_id, "name": name, "pixels": pixels, "hectares": hectares}
                for class_id, name, pixels, hectares in self._classes()
            ]
        if self.error is not None:
            found["error"] = {"message": self.error.message, "hint": self.error.hint}
        return found

    def to_text(self) -> str:
        """A few lines for people."""
        if self.forecast is not None:
            return f"{self.job.scene}\n{self.forecast.to_text()}"
        if self.totals is None:
            if self.state == "elsewhere":
                return f"{self.job.scene} lies outside the requested area"
            outcomes = {"part": "part is done", "existed": "exists"}
            return f"{self.job.name_of(self.job.out)} {outcomes.get(self.state, self.state)}"
        # Shares are of what is mapped, as in `hyseg info`, previews and reports.
        mapped = max(1, int(self.totals.pixels.sum() - self.totals.pixels[NODATA_ID]))
        lines = [
            f"{name:<20} {pixels:>12} px "
            + (" " * 8 if i == NODATA_ID else f"{100.0 * pixels / mapped:6.2f} %")
            + ("" if hectares is None else f" {hectares:>14.2f} ha")
            for i, name, pixels, hectares in self._classes()
        ]
        files = (*self.job.outputs.values(), *self.job.beside.values())
        return "\n".join([*lines, *map(self.job.name_of, files)])

    def _classes(self) -> list[tuple[int, str, int, float | None]]:
        """Id, name, pixels and hectares of the classes; no hectares without a georeference."""
        if self.totals is None or self.plan is None:
            return []
        names = dict(zip(self.plan.legend.ids, self.plan.legend.names, strict=True))
        names[NODATA_ID] = "nodata"
        has_area = self.plan.has_area
        return [
            (
                i,
                names[i],
                int(self.totals.pixels[i]),
                float(self.totals.area_m2[i]) / 1e4 if has_area else None,
            )
            for i in sorted(names)
            if self.totals.pixels[i]
        ]


@dataclass(frozen=True)
class PredictResult:
    """The results of all scenes."""

    scenes: tuple[SceneResult, ...]

    @property
    def failed(self) -> int:
        """How many scenes failed."""
        return sum(scene.state == "failed" for scene in self.scenes)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON: of the scene if there is only one, else a list."""
        if len(self.scenes) == 1:
            return self.scenes[0].to_dict()
        return {
            "scenes": [scene.to_dict() for scene in self.scenes],
            "failed": self.failed,
        }

    def to_text(self) -> str:
        """Lines for people."""
        return "\n".join(scene.to_text() for scene in self.scenes)


def remembered(results: Iterable[SceneResult], path: Path | None) -> Iterator[SceneResult]:
    """Yield results, and write each to a file at once, so that a killed run leaves those it had.

    Args:
        results: The results of scenes.
        path: The file, which is overwritten; None to write none.

    Raises:
        HysegError: If it cannot be written.
    """
    if path is None:
        yield from results
        return
    try:
        file = path.open("w", encoding="utf-8")
    except WRITE_ERRORS as error:
        raise unwritable(path, error) from error
    with file:
        for result in results:
            try:
                file.write(json.dumps(result.to_dict()) + "\n")
                file.flush()
            except WRITE_ERRORS as error:
                raise unwritable(path, error) from error
            yield result
