"""Legend: the classes of a map, with their pixel values, names and colours."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Any

from hyseg_cli.errors import HysegError

Color = tuple[int, int, int]

NODATA_ID = 255
"""Pixel value without a class, in every class raster hyseg writes."""


@dataclass(frozen=True, kw_only=True)
class LegendClass:
    """One class of a map."""

    id: int
    """Pixel value; 0 to 254 in maps that hyseg writes."""
    name: str
    color: Color
    """Red, green, blue, 0 to 255."""


@dataclass(frozen=True)
class Legend:
    """The classes of a map in the order of the network's channels."""

    classes: tuple[LegendClass, ...]
    ignored_colors: tuple[Color, ...] = ()
    """Colours that mean "no label" in colour-coded label rasters."""
    ignored_ids: tuple[int, ...] = ()
    """Pixel values that mean "no label" in label rasters."""

    def __post_init__(self) -> None:
        if not self.classes:
            raise _bad_legend("it has no classes")
        for what in ("id", "name"):
            seen: set[object] = set()
            for entry in self.classes:
                value = getattr(entry, what)
                if value in seen:
                    raise _bad_legend(f"the {what} {value} stands twice")
                seen.add(value)

    def require_for_maps(self) -> Legend:
        """The legend itself, if maps of it can be written and coloured labels read.

        Raises:
            HysegError: If an id does not fit into 8 bits or two classes share a colour.
        """
        seen: set[Color] = set()
        for entry in self.classes:
            if not 0 <= entry.id < NODATA_ID:
                raise _bad_legend(f"the id {entry.id} of {entry.name} is not in 0..254")
            if entry.color in seen:
                raise _bad_legend(f"the color {entry.color} stands twice")
            seen.add(entry.color)
        return self

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(entry.id for entry in self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.classes)

    def to_dict(self) -> dict[str, Any]:
        """The legend as JSON-ready values, colours as `#rrggbb`."""
        return {
            "classes": [
                {"id": c.id, "name": c.name, "color": format_color(c.color)} for c in self.classes
            ],
            "ignore": [format_color(color) for color in self.ignored_colors]
            + list(self.ignored_ids),
        }

    @classmethod
    def from_dict(cls, values: Any) -> Legend:
        """The legend stored by `to_dict`.

        Raises:
            HysegError: If the values do not describe a legend.
        """
        try:
            classes = tuple(
                LegendClass(
                    id=int(entry["id"]), name=str(entry["name"]), color=parse_color(entry["color"])
                )
                for entry in values["classes"]
            )
            ignored = values.get("ignore", [])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _bad_legend(f"{type(error).__name__}: {error}") from error
        return cls(
            classes,
            ignored_colors=tuple(parse_color(v) for v in ignored if isinstance(v, str)),
            ignored_ids=tuple(v for v in ignored if isinstance(v, int)),
        )


def parse_color(text: str) -> Color:
    """`#rrggbb` as red, green and blue.

    Raises:
        HysegError: If the text is no such colour.
    """
    digits = text.removeprefix("#")
    try:
        red, green, blue = bytes.fromhex(digits)
    except ValueError as error:
        raise _bad_legend(f"{text!r} is not a colour like #3c1098") from error
    return red, green, blue


def distinct_color(index: int) -> Color:
    """A colour for a class that has none: hues a golden ratio apart, so that they differ."""
    golden = 0.618034
    red, green, blue = colorsys.hls_to_rgb(index * golden % 1.0, 0.35 + 0.15 * (index % 3), 0.6)
    return round(red * 255), round(green * 255), round(blue * 255)


def format_color(color: Color) -> str:
    """Red, green and blue as `#rrggbb`."""
    return f"#{bytes(color).hex()}"


def _bad_legend(problem: str) -> HysegError:
    return HysegError(
        f"the legend cannot be used: {problem}",
        hint='A legend is {"classes": [{"id": 0, "name": "water", "color": "#2060c0"}, ...], '
        '"ignore": ["#000000"]}.',
    )
