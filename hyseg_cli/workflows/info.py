"""`hyseg info`: what a model is and what it costs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hyseg_cli.learn.card import ModelCard, built_in_model, read_card
from hyseg_cli.legend import format_color
from hyseg_models.cost import Cost, PartCost, measure_cost

SIDES = (512, 1024)
"""Sides in pixels of the images whose cost is told."""


@dataclass(frozen=True)
class ModelInfo:
    """A model's card and its cost by side of the image."""

    path: Path
    card: ModelCard
    costs: dict[int, Cost]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
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
        }

    def to_text(self) -> str:
        """Card, cost table and configuration to read."""
        return f"{self._card_text()}\n\n{self._cost_text()}\n\n{self._config_text()}"

    def _card_text(self) -> str:
        card = self.card
        legend = [
            f"  {entry.id:>3}  {format_color(entry.color)}  {entry.name}"
            for entry in card.legend.classes
        ]
        resolution = card.resolution_m
        lines = {
            "file": str(self.path),
            "bands": f"{', '.join(card.bands)} ({card.dtype})",
            "resolution": (
                f"{resolution[0]:.3g} to {resolution[1]:.3g} m" if resolution else "not known"
            ),
            "data": card.data.name or "not stated",
            "licence": card.data.licence or "not stated",
            "attribution": card.data.attribution or "not stated",
            "trained on": ", ".join(card.data.training_scenes) or "not stated",
            "validated on": ", ".join(card.data.validation_scenes) or "nothing",
            "temperature": f"{card.temperature:.4g}",
            "metrics": _metrics_text(card.metrics),
        }
        table = [f"{name:<13} {text}" for name, text in lines.items()]
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


def run(path: Path | None) -> ModelInfo:
    """Read a model's card, the built-in one's if `path` is None, and count what it costs."""
    path = path or built_in_model()
    card = read_card(path)
    return ModelInfo(path, card, {side: measure_cost(card.config, side) for side in SIDES})


def _metrics_text(metrics: dict[str, Any]) -> str:
    numbers = {name: value for name, value in metrics.items() if isinstance(value, float)}
    return ", ".join(f"{name} {value:.3f}" for name, value in numbers.items()) or "none"


def _flat_lines(values: dict[str, Any], indent: str, path: str = "") -> list[str]:
    """Nested tables as `path.to.key = value` lines."""
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += _flat_lines(value, indent, f"{path}{key}.")
        else:
            lines.append(f"{indent}{path}{key} = {json.dumps(value)}")
    return lines
