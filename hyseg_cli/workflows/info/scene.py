"""`hyseg info` of a scene: how it is stored, whether it fits a model, and the work to map it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyseg_cli.errors import HysegError, ModelMismatchError, UsageProblemError
from hyseg_cli.geo.raster.facts import BandFacts, RasterFacts
from hyseg_cli.geo.raster.raster import contradiction_of
from hyseg_cli.learn.model.card import ModelCard, ModelSource
from hyseg_cli.settings.info import InfoSettings
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.predict.jobs import Job
from hyseg_cli.workflows.predict.plan import Plan, Planner
from hyseg_cli.workflows.predict.result import counted, size_text

UNSAID = "nothing says which pixels are empty"


@dataclass(frozen=True)
class Fit:
    """How a model would map a scene."""

    model: Path
    card: ModelCard
    plan: Plan | None
    """How it would be mapped; None if it does not fit."""
    error: HysegError | None
    """Why not."""

    @property
    def network_pixel_m(self) -> float | None:
        """Ground size of the pixels that the network sees."""
        if self.plan is None:
            return None
        return self.plan.inspection.contract.network_pixel_m(self.plan.scene)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        values: dict[str, Any] = {"model": str(self.model), "fits": self.plan is not None}
        if self.error is not None:
            values["error"] = {"message": self.error.message, "hint": self.error.hint}
        if self.plan is not None:
            inspection = self.plan.inspection
            values |= {
                "bands": dict(zip(self.card.bands, inspection.contract.bands, strict=False)),
                "network_pixel_m": self.network_pixel_m,
                "distance": inspection.shift.distance if inspection.shift else None,
                "collar_share": inspection.validity.collar.share
                if inspection.validity.collar
                else 0.0,
                "warnings": list(inspection.warnings),
                "notes": list(inspection.notes),
                "tile_size": self.plan.grid.rows.length,
                "tiles": self.plan.tiles,
                "parts": len(self.plan.blocks),
                "disk": self.plan.disk_bytes(self.plan.window.height * self.plan.window.width),
            }
        return values

    def to_lines(self) -> list[str]:
        """The same to read."""
        if self.plan is None:
            problem = self.error.message if self.error else ""
            hint = self.error.hint if self.error else ""
            return [row("model", self.model.name), row("fits", f"no: {problem}"), row("", hint)]
        inspection = self.plan.inspection
        pairs = zip(self.card.bands, inspection.contract.bands, strict=False)
        named = ", ".join(f"{name} = {index}" for name, index in pairs)
        disk = self.plan.disk_bytes(self.plan.window.height * self.plan.window.width)
        tile = f"{self.plan.grid.rows.length} x {self.plan.grid.cols.length} px"
        seen = self.network_pixel_m
        return [
            row("model", self.model.name),
            row("trained on", self.card.data.summary),
            row("fits", f"yes, with bands {named}"),
            row("seen at", "its own resolution" if seen is None else f"{seen:.3g} m"),
            *(row("warning", text) for text in inspection.warnings),
            *(row("note", text) for text in inspection.notes),
            row(
                "mapping",
                f"{counted(self.plan.tiles, 'tile')} of {tile} in "
                f"{counted(len(self.plan.blocks), 'part')}, {size_text(disk)} of disk; "
                "time and memory: `hyseg predict --dry-run`",
            ),
        ]


@dataclass(frozen=True)
class SceneInfo:
    """A scene."""

    facts: RasterFacts
    fit: Fit | None
    """None for rasters that are not scenes, such as probabilities."""
    kind: str = "scene"

    def require_fit(self) -> None:
        """Refuse a scene that the model cannot map.

        Raises:
            ModelMismatchError: Whatever the reason is.
        """
        if self.fit is not None and self.fit.error is not None:
            error = self.fit.error
            raise ModelMismatchError(
                f"the scene does not fit the model: {error.message}", hint=error.hint
            )

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        fit = None if self.fit is None else self.fit.to_dict()
        return {"kind": self.kind, **self.facts.to_dict(), "fit": fit}

    def to_text(self) -> str:
        """Lines for people."""
        lines = [row(self.kind, self.facts.scene.path), *raster_lines(self.facts)]
        return "\n".join([*lines, *(() if self.fit is None else ("", *self.fit.to_lines()))])


def describe_scene(facts: RasterFacts, settings: InfoSettings) -> SceneInfo:
    """Compare a scene with a model; a mismatch is returned, not raised.

    Raises:
        HysegError: If the model or the scene cannot be read.
    """
    model, path = ModelSource.find(settings.model), facts.scene.path
    asked = PredictSettings(
        inputs=(path,), out=Path("map.tif"), model=settings.model, bands=settings.bands
    )
    try:
        plan = Planner(asked, model, "float32").plan(Job(path, asked.out, None, None))
    except (ModelMismatchError, UsageProblemError) as error:
        return SceneInfo(facts, Fit(model.path, model.card, None, error))
    return SceneInfo(facts, Fit(model.path, model.card, plan, None))


def row(name: str, text: str) -> str:
    """A line of a table of two columns."""
    return f"{name:<13} {text}"


def raster_lines(facts: RasterFacts) -> list[str]:
    """The georeference and storage of a raster, for people."""
    scene = facts.scene
    stored = "" if facts.stored_bytes is None else f", {facts.stored_bytes / 1e6:.2f} MB"
    packed = f", {facts.compression.lower()}" if facts.compression else ""
    block = " x ".join(str(side) for side in reversed(scene.block))
    lines = [
        row("size", f"{scene.width} x {scene.height} px"),
        row("CRS", facts.crs_name or "none"),
        row("pixel", _pixel_text(facts)),
    ]
    if facts.bounds is not None:
        digits = 7 if scene.crs is not None and scene.crs.is_geographic else 2
        lines.append(row("extent", ", ".join(f"{edge:.{digits}f}" for edge in facts.bounds)))
    problem = contradiction_of(scene)
    if problem is not None:
        lines.append(row("warning", problem))
    middle = scene.to_degrees(np.array([scene.width / 2]), np.array([scene.height / 2]))
    if middle is not None:
        lon, lat = float(middle[0][0]), float(middle[1][0])
        lines.append(row("middle", f"{_degrees(lat, 'NS')}, {_degrees(lon, 'EW')}"))
    lines += [
        row("stored", f"{facts.driver}{packed}{stored}"),
        row("blocks", f"{block} px{'' if facts.is_tiled else ', whole rows'}"),
        row("overviews", ", ".join(f"1/{factor}" for factor in facts.overviews) or "none"),
        row("empty pixels", _validity_text(facts)),
        "bands",
        *(_band_line(band) for band in facts.bands),
    ]
    return lines


def _pixel_text(facts: RasterFacts) -> str:
    sides = facts.scene.pixel_sides_m()
    if sides is None:
        return "size on the ground not known"
    return f"{sides[0]:.4g} x {sides[1]:.4g} m on the ground"


def _degrees(value: float, letters: str) -> str:
    return f"{abs(value):.5f}\N{DEGREE SIGN} {letters[value < 0]}"


def _validity_text(facts: RasterFacts) -> str:
    if not facts.scene.declares_validity:
        return UNSAID
    kinds = dict.fromkeys(band.mask for band in facts.bands if band.mask != "all")
    values = dict.fromkeys(f"{b.nodata:g}" for b in facts.bands if b.nodata is not None)
    return " and ".join(
        f"nodata {', '.join(values)}" if kind == "nodata" else f"marked by {kind}" for kind in kinds
    )


def _band_line(band: BandFacts) -> str:
    text = f"{band.index:>5}  {band.color:<10} {band.dtype:<8} {band.description or ''}"
    return text.rstrip()
