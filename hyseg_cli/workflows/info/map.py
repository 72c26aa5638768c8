"""`hyseg info` of a map: its classes with pixels, areas and colours, and where it comes from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hyseg_cli.geo.classes.counts import count_classes, estimate_classes
from hyseg_cli.geo.classes.raster import holds_whole_numbers
from hyseg_cli.geo.classes.styles import GRAY, LEGEND_TAG, ClassStyle, class_styles, named_ids
from hyseg_cli.geo.raster.facts import RasterFacts
from hyseg_cli.legend import Color, format_color
from hyseg_cli.messages import Messages
from hyseg_cli.workflows.info.scene import raster_lines, row


def swatch(color: Color) -> str:
    """Two characters in a colour, for terminals; two spaces where colours are taken out."""
    red, green, blue = color
    return f"\x1b[48;2;{red};{green};{blue}m  \x1b[0m"


def legend_line(class_id: int, name: str, color: Color) -> str:
    """A class on a line: number, swatch, colour, name."""
    return f"{class_id:>5}  {swatch(color)} {format_color(color)}  {name}"


COUNTED_PIXELS = 2**31
"""Larger maps are not read as a whole only to describe them."""
MAP_TAGS = {
    "HYSEG_VERSION": "made by hyseg",
    "HYSEG_MODEL_NAME": "model",
    "HYSEG_MODEL": "its digest",
    "HYSEG_INPUT": "made from",
    "HYSEG_SETTINGS": "settings",
    "HYSEG_ATTRIBUTION": "training data",
}
"""Tags of maps made by hyseg, and their names for users."""


@dataclass(frozen=True)
class ClassArea:
    """A class and its extent."""

    id: int
    name: str
    color: str
    """As `#rrggbb`."""
    pixels: int
    hectares: float | None
    """None if the map has no CRS."""


@dataclass(frozen=True)
class MapInfo:
    """A map."""

    facts: RasterFacts
    styles: dict[int, ClassStyle]
    """Of the classes listed."""
    classes: tuple[ClassArea, ...]
    empty: int
    """Pixels without a class."""
    pixels_read: int
    """All pixels, or those of the windows that the numbers are estimated from."""
    kind: str = "map"

    @property
    def is_estimated(self) -> bool:
        """Whether not all pixels were counted."""
        return self.pixels_read < self.facts.scene.height * self.facts.scene.width

    @property
    def origin(self) -> dict[str, str]:
        """Where it comes from, as far as its tags say."""
        tags = self.facts.scene.tags
        return {name: tags[tag] for tag, name in MAP_TAGS.items() if tags.get(tag)}

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "kind": self.kind,
            **self.facts.to_dict(),
            "classes": [asdict(entry) for entry in self.classes],
            "empty_pixels": self.empty,
            "pixels_read": self.pixels_read,
            "origin": self.origin,
        }

    def to_text(self) -> str:
        """Lines for people."""
        lines = [row(self.kind, self.facts.scene.path), *raster_lines(self.facts)]
        lines += [row(name, text) for name, text in self.origin.items()]
        known = max(1, sum(entry.pixels for entry in self.classes))
        wide = max((len(entry.name) for entry in self.classes), default=0)
        lines.append("legend")
        for entry in self.classes:
            named = legend_line(entry.id, f"{entry.name:<{wide}}", self.styles[entry.id].color)
            ground = "" if entry.hectares is None else f" {entry.hectares:>14.2f} ha"
            share = f"{100 * entry.pixels / known:6.2f} %"
            lines.append(f"{named} {entry.pixels:>13} px {share}{ground}")
        lines.append(row("no class", f"{self.empty} px"))
        if self.is_estimated:
            lines.append(row("estimated", f"from {self.pixels_read} px, spread over the map"))
        return "\n".join(lines)


def is_map(facts: RasterFacts) -> bool:
    """Whether a raster holds classes, by its legend, palette or names of values."""
    scene = facts.scene
    if not holds_whole_numbers(scene) or is_shares(facts):
        return False
    return scene.colors[0] == "palette" or bool(class_styles(scene))


def is_shares(facts: RasterFacts) -> bool:
    """Whether a raster holds probabilities or the confidence of a map."""
    return LEGEND_TAG in facts.scene.tags and any(scale != 1.0 for scale in facts.scales)


def describe_map(facts: RasterFacts, messages: Messages) -> MapInfo:
    """Count the classes of a map; those of a very large one are estimated from a part of it.

    Classes of a legend that hyseg wrote are listed even if they do not occur.

    Raises:
        HysegError: If it cannot be read.
    """
    scene = facts.scene
    styles = class_styles(scene)
    named, seen = named_ids(styles), scene.height * scene.width
    if seen > COUNTED_PIXELS:
        counted, empty, seen = estimate_classes(scene, named=named)
    else:
        counted, empty = count_classes(
            scene,
            lambda rows: messages.advance("counting classes", rows, scene.height),
            named=named,
        )
    own = styles if LEGEND_TAG in scene.tags else {}
    listed = {
        value: styles.get(value, ClassStyle(str(value), GRAY)) for value in sorted({*own, *counted})
    }
    has_ground = scene.crs is not None and scene.is_georeferenced
    classes = tuple(
        ClassArea(
            value,
            style.name,
            format_color(style.color),
            counted.get(value, (0, 0.0))[0],
            counted.get(value, (0, 0.0))[1] / 1e4 if has_ground else None,
        )
        for value, style in listed.items()
    )
    return MapInfo(facts, listed, classes, empty, seen)
