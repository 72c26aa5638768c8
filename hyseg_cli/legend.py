"""Legend: the classes of a map, with their pixel values, names and colours.

Legends are read from JSON, CSV tables, QGIS styles (.qml) and colour tables (.clr).
"""

from __future__ import annotations

import colorsys
import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from xml.etree import ElementTree as ET

from hyseg_cli.errors import HysegError, UsageProblemError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Color = tuple[int, int, int]
ClassIndices: TypeAlias = "npt.NDArray[np.uint8]"
"""Numbers of classes in the order of a legend, from 0; `NODATA_ID` where there is none."""

NODATA_ID = 255
"""Pixel value without a class, in every class raster hyseg writes."""
QUANTISED_ONE = 254
"""A probability of 1 quantised to 8 bits; 0 stands for 0, and `NODATA_ID` for no data."""


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
                    raise _bad_legend(f"the {what} {value} appears twice")
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
                raise _bad_legend(f"the color {entry.color} appears twice")
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


NATURAL_COLORS: tuple[tuple[frozenset[str], Color], ...] = (
    (frozenset({"building", "buildings", "house", "houses", "roof", "urban"}), (200, 64, 60)),
    (frozenset({"road", "roads", "street", "streets", "paved", "pavement"}), (140, 140, 148)),
    (frozenset({"water", "river", "lake", "sea", "pond"}), (63, 127, 196)),
    (frozenset({"tree", "trees", "forest", "forests", "wood", "woodland"}), (38, 127, 57)),
    (frozenset({"grass", "grassland", "meadow", "lawn", "vegetation", "veg"}), (168, 212, 111)),
    (frozenset({"field", "fields", "crop", "crops", "cropland", "farmland"}), (232, 196, 76)),
    (frozenset({"bare", "soil", "sand", "ground", "barren", "land"}), (217, 192, 140)),
    (frozenset({"shrub", "shrubs", "scrub"}), (146, 158, 66)),
    (frozenset({"wetland", "wetlands", "marsh", "swamp"}), (104, 168, 166)),
    (frozenset({"snow", "ice"}), (236, 243, 250)),
)
"""Words in the names of classes, and the colours that maps are usually drawn in."""


def parse_color(text: str) -> Color:
    """`#rrggbb` as red, green and blue.

    Raises:
        HysegError: If the text is not such a colour.
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


def natural_color(name: str) -> Color | None:
    """The colour that maps give a class of this name, such as blue for water; None for none.

    The first word of the name that is known counts: `bare ground`, `Tree canopy`, `forest_2`.
    """
    for word in re.findall(r"[a-z]+", name.casefold()):
        for words, color in NATURAL_COLORS:
            if word in words:
                return color
    return None


def format_color(color: Color) -> str:
    """Red, green and blue as `#rrggbb`."""
    return f"#{bytes(color).hex()}"


def _bad_legend(problem: str) -> HysegError:
    return HysegError(
        f"the legend cannot be used: {problem}",
        hint='A legend is {"classes": [{"id": 0, "name": "water", "color": "#2060c0"}, ...], '
        '"ignore": ["#000000"]}.',
    )


ID_COLUMNS = ("id", "value", "class_id")
NAME_COLUMNS = ("name", "label", "class_name", "class")
COLOR_COLUMNS = ("color", "colour")
RGB_COLUMNS = (("red", "green", "blue"), ("r", "g", "b"))


def read_legend(path: Path) -> Legend:
    """The legend in a file; its suffix determines the format.

    `.json` is our own. `.csv` has columns id, name and color (`#rrggbb`, or red, green, blue).
    `.qml` is a QGIS style of a paletted raster or a categorised layer. `.clr` has a line
    `value red green blue [alpha] [name]` for each class.

    Raises:
        UsageProblemError: If there is no such file or the suffix is unknown.
        HysegError: If it does not hold a legend.
    """
    readers = {".json": _from_json, ".csv": _from_csv, ".qml": _from_qml, ".clr": _from_clr}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageProblemError(
            f"{path}: a legend ends in {', '.join(readers)}",
            hint="Save it in one of these formats.",
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UsageProblemError(
            f"{path}: no such legend file", hint="Give `legend` a file that exists."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, str(error)) from error
    try:
        return reader(text)
    except (ValueError, KeyError, ET.ParseError) as error:
        raise _unusable(path, f"{type(error).__name__}: {error}") from error


def _from_json(text: str) -> Legend:
    return Legend.from_dict(json.loads(text))


def _from_csv(text: str) -> Legend:
    rows = [
        {key.strip().lower(): (value or "").strip() for key, value in row.items() if key}
        for row in csv.DictReader(text.splitlines())
    ]
    return Legend(
        tuple(
            LegendClass(
                id=int(_cell(row, ID_COLUMNS)),
                name=_cell(row, NAME_COLUMNS),
                color=_color_of(row, index),
            )
            for index, row in enumerate(rows)
        )
    )


def _cell(row: Mapping[str, str], names: Iterable[str]) -> str:
    for name in names:
        if name in row:
            return row[name]
    message = f"no column {' or '.join(names)}"
    raise ValueError(message)


def _color_of(row: Mapping[str, str], index: int) -> Color:
    """The colour of a row, or one that no other row has."""
    for name in COLOR_COLUMNS:
        if row.get(name):
            return parse_color(row[name])
    for names in RGB_COLUMNS:
        if all(row.get(name) for name in names):
            red, green, blue = (int(row[name]) for name in names)
            return red, green, blue
    return distinct_color(index)


def _from_qml(text: str) -> Legend:
    """Palette entries of a raster style, or categories and the colours of their symbols."""
    root = ET.fromstring(text)  # noqa: S314 - no entities are expanded
    entries = [
        (entry.attrib["value"], entry.get("label"), parse_color(entry.attrib["color"]))
        for entry in root.iter("paletteEntry")
    ]
    if not entries:
        colors = {symbol.get("name"): _symbol_color(symbol) for symbol in root.iter("symbol")}
        entries = [
            (category.attrib["value"], category.get("label"), colors[category.get("symbol")])
            for category in root.iter("category")
            if category.get("value")
        ]
    return Legend(
        tuple(
            LegendClass(
                id=int(value) if value.isdigit() else index, name=label or value, color=color
            )
            for index, (value, label, color) in enumerate(entries)
        )
    )


def _symbol_color(symbol: ET.Element) -> Color:
    """The fill of a symbol: newer styles have `Option`, older ones `prop`."""
    for option in (*symbol.iter("Option"), *symbol.iter("prop")):
        if "color" in (option.get("name"), option.get("k")):
            red, green, blue = (option.get("value") or option.get("v") or "").split(",")[:3]
            return int(red), int(green), int(blue)
    message = f"the symbol {symbol.get('name')} has no colour"
    raise ValueError(message)


def _from_clr(text: str) -> Legend:
    classes = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        value, red, green, blue = (int(word) for word in words[:4])
        rest = words[5:] if len(words) > 4 and words[4].isdigit() else words[4:]
        classes.append(
            LegendClass(id=value, name=" ".join(rest) or str(value), color=(red, green, blue))
        )
    return Legend(tuple(classes))


def _unusable(path: Path, problem: str) -> HysegError:
    return HysegError(
        f"{path}: the legend cannot be used ({problem})",
        hint='A legend is {"classes": [{"id": 0, "name": "water", "color": "#2060c0"}, ...]}, '
        "or a table with the columns id, name, color.",
    )
