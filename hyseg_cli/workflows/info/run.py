"""`hyseg info`: what a file is, from its content; what a model is and what it costs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.raster.facts import read_facts
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.learn.model.card import ModelCard, read_card, shortened, unusable
from hyseg_cli.learn.model.locate import SUFFIX, find_model, is_path, is_safetensors
from hyseg_cli.messages import Messages
from hyseg_cli.settings.info import InfoSettings
from hyseg_cli.startup import loading
from hyseg_cli.workflows.info.map import MapInfo, describe_map, is_map, is_shares, legend_line
from hyseg_cli.workflows.info.scene import SceneInfo, describe_scene

if TYPE_CHECKING:
    from hyseg_cli.workflows.info.prior import PriorFindings
    from hyseg_models.cost import Cost, PartCost

SIDES = (512, 1024)
"""Sides in pixels of the images whose cost is printed."""


@dataclass(frozen=True)
class ModelInfo:
    """A model's card and its cost by side of the image."""

    path: Path
    card: ModelCard
    costs: dict[int, Cost]
    prior: PriorFindings | None = None
    """What was measured of its prior, if that was asked for."""

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "kind": "model",
            "path": str(self.path),
            "card": json.loads(self.card.to_json()),
            "cost": {
                str(side): {
                    "parts": {name: asdict(part) for name, part in cost.parts.items()},
                    "whole": asdict(cost.whole),
                    "bare_host": asdict(cost.bare_host),
                }
                for side, cost in self.costs.items()
            },
        } | ({} if self.prior is None else {"prior": self.prior.to_dict()})

    def to_text(self) -> str:
        """Everything for people: card, prior, cost table and configuration."""
        parts = [self._card_text(), self._cost_text(), self._config_text()]
        if self.prior is not None:
            parts.insert(1, self.prior.to_text())
        return "\n\n".join(parts)

    def to_summary(self) -> str:
        """What a user of the model has to know, in about ten lines."""
        card = self.card
        network = card.config.host.backbone
        whole = self.costs[SIDES[0]].whole
        lines = {
            "model": f"{self.path.name.removesuffix(SUFFIX)} ({self.path})",
            "classes": ", ".join(card.legend.names),
            "bands": f"{card.bands_text} ({card.dtype})",
            "pixels": card.pixels_text,
            "trained on": card.data.name or "not stated",
            "scenes": shortened(card.data.training_scenes) or "not stated",
            "licence": card.data.licence or "not stated",
            "metrics": _metrics_text(card.metrics),
            "by pixel size": _sizes_text(card.metrics),
            "network": f"{network}, {whole.parameters / 1e6:.1f} M parameters, "
            f"{whole.macs / 1e9:.0f} GMACs at {SIDES[0]} px",
        }
        table = [f"{name:<13} {text}" for name, text in lines.items() if text]
        if self.prior is not None:
            table += self.prior.to_text().splitlines()
        return "\n".join(table)

    def _card_text(self) -> str:
        card = self.card
        legend = [legend_line(c.id, c.name, c.color) for c in card.legend.classes]
        lines = {
            "model": str(self.path),
            "bands": f"{card.bands_text} ({card.dtype})",
            "resolution": card.pixels_text,
            "data": card.data.name or "not stated",
            "licence": card.data.licence or "not stated",
            "attribution": card.data.attribution or "not stated",
            "trained on": ", ".join(card.data.training_scenes) or "not stated",
            "validated on": ", ".join(card.data.validation_scenes) or "nothing",
            "temperature": f"{card.temperature:.4g}",
            "metrics": _metrics_text(card.metrics),
            "by pixel size": _sizes_text(card.metrics),
        }
        table = [f"{name:<13} {text}" for name, text in lines.items() if text]
        return "\n".join([*table, "legend", *legend])

    def _cost_text(self) -> str:
        header = "part".ljust(16) + "parameters".rjust(12)
        header += "".join(f"GMACs at {side}".rjust(16) for side in SIDES)
        first = self.costs[SIDES[0]]
        rows = [self._cost_row(name, lambda cost, n=name: cost.parts[n]) for name in first.parts]
        rows.append(self._cost_row("all", lambda cost: cost.whole))
        rows.append(self._cost_row("the host alone", lambda cost: cost.bare_host))
        return "\n".join([header, *rows])

    def _cost_row(self, name: str, pick: Any) -> str:
        found: list[PartCost] = [pick(self.costs[side]) for side in SIDES]
        row = name.ljust(16) + f"{found[0].parameters / 1e6:.2f} M".rjust(12)
        return row + "".join(f"{part.macs / 1e9:.2f}".rjust(16) for part in found)

    def _config_text(self) -> str:
        return "configuration\n" + "\n".join(_flat_lines(self.card.config.to_dict(), "  "))


def run(settings: InfoSettings, messages: Messages) -> ModelInfo | SceneInfo | MapInfo:
    """Look into a file and describe it.

    A scene that does not fit the model is not an error; the result says so.

    Raises:
        UsageProblemError: If there is no such file and no model of that name.
        HysegError: One of its kinds, if it cannot be read.
    """
    model = model_meant(settings.path)
    if model is not None:
        return _with_prior(describe_model(model), settings, messages)
    if settings.images is not None:
        raise UsageProblemError(
            "`images` measures the prior of a model, and this is not one",
            hint="Give a model before it, or leave out `images` and `labels`.",
        )
    facts = read_facts(open_raster(settings.path or "", is_sound=False))
    if is_map(facts):
        return describe_map(facts, messages)
    if is_shares(facts):
        return SceneInfo(facts, None, kind="probabilities")
    return describe_scene(facts, settings)


def _with_prior(found: ModelInfo, settings: InfoSettings, messages: Messages) -> ModelInfo:
    if settings.images is None or settings.labels is None:
        return found
    with loading():
        from hyseg_cli.workflows.info.prior import measure_prior

    prior = measure_prior(found.path, settings.images, settings.labels, messages)
    return replace(found, prior=prior)


def describe_model(model: Path) -> ModelInfo:
    """Read the card of a model, chosen by path or name, and count what it costs.

    Raises:
        HysegError: One of its kinds, as `find_model` and `read_card` raise them.
    """
    path = find_model(model)
    card = read_card(path)
    # Scenes and maps are described without PyTorch, and wrong names are reported before it loads.
    with loading():
        from hyseg_models import ConfigError
        from hyseg_models.cost import measure_cost

    try:
        costs = {side: measure_cost(card.config, side) for side in SIDES}
    except ConfigError as error:
        raise unusable(f"{path}: its network cannot be built ({error})") from error
    return ModelInfo(path, card, costs)


def model_meant(path: str | None) -> Path | None:
    """The model to describe, None if it is something else.

    An existing file is recognised by its first bytes. The name matters only for files that are
    missing or damaged: then the error is about a model.
    """
    if path is None:
        return find_model(None)
    file = Path(path)
    if is_safetensors(file) or path.lower().endswith(SUFFIX):
        return file
    # Names that GDAL opens and that are not files have a suffix or a colon.
    is_name = not (file.exists() or is_path(path) or file.suffix or ":" in path)
    return find_model(path) if is_name else None


def _metrics_text(metrics: dict[str, Any]) -> str:
    numbers = {name: value for name, value in metrics.items() if isinstance(value, float)}
    text = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items()) or "none"
    return f"{text} ({metrics['of']})" if "of" in metrics else text


def _sizes_text(metrics: dict[str, Any]) -> str:
    """Accuracy by the size of the pixels of a scene; empty if it was not measured."""
    return ", ".join(
        f"{one['overall_accuracy']:.2f} at {one['metres']:.2g} m"
        for one in metrics.get("by_pixel_size", ())
    )


def _flat_lines(values: dict[str, Any], indent: str, path: str = "") -> list[str]:
    """Nested tables as `path.to.key = value` lines."""
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += _flat_lines(value, indent, f"{path}{key}.")
        else:
            lines.append(f"{indent}{path}{key} = {json.dumps(value)}")
    return lines
