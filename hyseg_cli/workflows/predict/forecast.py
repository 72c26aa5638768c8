"""What a run will take, told before anything is written."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyseg_cli.workflows.predict.mapper import Mapper
    from hyseg_cli.workflows.predict.plan import Plan


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

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """A few lines for people."""
        fits = "fits" if self.disk <= self.disk_free else "does not fit"
        free = f"{self.disk_free / 1e9:.2f} GB free: {fits}"
        return (
            f"  {self.width} x {self.height} px, {self.tiles} tiles in {self.parts} parts\n"
            f"  memory  about {self.peak_memory / 1e9:.2f} GB\n"
            f"  disk    about {self.disk / 1e9:.2f} GB, {free}\n"
            f"  network about {_duration(self.seconds)}"
        )


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
        parts=len(plan.units),
        peak_memory=peak_memory() + plan.working_bytes,
        disk=plan.disk_bytes(plan.window.height * plan.window.width),
        disk_free=shutil.disk_usage(_nearest_folder(plan.out)).free,
        seconds=per_tile * tiles * share / mapper.settings.devices,
    )


def _nearest_folder(path: Path) -> Path:
    """The folder of a file, or that in which it would be made."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def peak_memory() -> int:
    """Bytes that the process has had in use at most."""
    status = Path("/proc/self/status")
    if status.exists():
        # `ru_maxrss` of a process on Linux begins with what its parent had in use.
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
