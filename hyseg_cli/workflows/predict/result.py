"""What `hyseg predict` did, as tables and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.classes.counts import Tally
from hyseg_cli.legend import NODATA_ID
from hyseg_cli.workflows.predict.forecast import Forecast
from hyseg_cli.workflows.predict.jobs import Job
from hyseg_cli.workflows.predict.plan import Plan


@dataclass(frozen=True)
class SceneResult:
    """What became of one scene."""

    job: Job
    state: Literal["done", "part", "existed", "elsewhere", "planned", "failed"]
    plan: Plan | None = None
    tally: Tally | None = None
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
            found["model"] = self.plan.settled["model"]
            found["pixels"] = self.plan.window.height * self.plan.window.width
        if self.forecast is not None:
            found["forecast"] = self.forecast.to_dict()
        if self.tally is not None and self.plan is not None:
            seconds = self.tally.seconds
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
        if self.tally is None:
            if self.state == "elsewhere":
                return f"{self.job.scene} lies elsewhere"
            told = {"part": "part is done", "existed": "exists"}
            return f"{self.job.name_of(self.job.out)} {told.get(self.state, self.state)}"
        total = max(1, int(self.tally.pixels.sum()))
        lines = [
            f"{name:<20} {pixels:>12} px {100.0 * pixels / total:6.2f} %"
            + ("" if hectares is None else f" {hectares:>14.2f} ha")
            for _, name, pixels, hectares in self._classes()
        ]
        files = (*self.job.outputs.values(), *self.job.beside.values())
        return "\n".join([*lines, *map(self.job.name_of, files)])

    def _classes(self) -> list[tuple[int, str, int, float | None]]:
        """Id, name, pixels and hectares of what occurs; no hectares where pixels have no place."""
        if self.tally is None or self.plan is None:
            return []
        names = dict(zip(self.plan.legend.ids, self.plan.legend.names, strict=True))
        names[NODATA_ID] = "nodata"
        has_area = self.plan.has_area
        return [
            (
                i,
                names[i],
                int(self.tally.pixels[i]),
                float(self.tally.area_m2[i]) / 1e4 if has_area else None,
            )
            for i in sorted(names)
            if self.tally.pixels[i]
        ]


@dataclass(frozen=True)
class PredictResult:
    """What became of all scenes."""

    scenes: tuple[SceneResult, ...]

    @property
    def failed(self) -> int:
        """How many scenes failed."""
        return sum(scene.state == "failed" for scene in self.scenes)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON: of the scene if there is one, else a list."""
        if len(self.scenes) == 1:
            return self.scenes[0].to_dict()
        return {
            "scenes": [scene.to_dict() for scene in self.scenes],
            "failed": self.failed,
        }

    def to_text(self) -> str:
        """Lines for people."""
        return "\n".join(scene.to_text() for scene in self.scenes)
