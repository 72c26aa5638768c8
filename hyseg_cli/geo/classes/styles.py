"""Names and colours of the classes of a raster, wherever the raster keeps them.

They come from a colour table, category names, or the legend that a map of hyseg carries.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.raster.raster import Raster, open_dataset
from hyseg_cli.legend import Color, Legend

LEGEND_TAG = "HYSEG_LEGEND"
"""TIFF tag that holds the legend as JSON."""


def color_table(legend: Legend) -> dict[int, tuple[int, int, int, int]]:
    """Red, green, blue and opacity of each pixel value."""
    return {entry.id: (*entry.color, 255) for entry in legend.classes}


def category_names(legend: Legend) -> list[str]:
    """Names by pixel value, from 0 to the largest id; gaps are empty."""
    names = dict(zip(legend.ids, legend.names, strict=True))
    return [names.get(value, "") for value in range(max(legend.ids) + 1)]


def category_element(legend: Legend) -> ET.Element:
    """GDAL's `CategoryNames` element, for VRT files and side-cars."""
    element = ET.Element("CategoryNames")
    for name in category_names(legend):
        ET.SubElement(element, "Category").text = name
    return element


def legend_of(scene: Raster) -> Legend:
    """The legend that a map written by hyseg carries.

    Raises:
        HysegError: If it carries none.
    """
    text = scene.tags.get(LEGEND_TAG)
    if text is None:
        raise HysegError(
            f"{scene.path} carries no legend",
            hint="Give one with `legend` legend.json.",
        )
    try:
        return Legend.from_dict(json.loads(text))
    except json.JSONDecodeError as error:
        raise HysegError(
            f"{scene.path}: its tag {LEGEND_TAG} is damaged",
            hint="Give a legend with `legend` legend.json.",
        ) from error


GRAY: Color = (128, 128, 128)


class ClassStyle(NamedTuple):
    """How a class is shown."""

    name: str
    color: Color


def class_styles(scene: Raster, legend: Legend | None = None) -> dict[int, ClassStyle]:
    """Name and colour of each class id of a raster, as far as they can be found.

    Sources, in this order: the given legend, the legend of a map that hyseg wrote, category
    names and attribute table of the side-car, and the colour table for colours.
    """
    if legend is None and LEGEND_TAG in scene.tags:
        legend = legend_of(scene)
    if legend is not None:
        return styles_of(legend)
    # Tables have an entry for every value; those of classes that do not occur are black.
    colors = {value: color for value, color in palette(scene).items() if any(color)}
    styles = {value: ClassStyle(str(value), color) for value, color in colors.items()}
    for value, (name, color) in _sidecar_entries(scene).items():
        known = styles.get(value, ClassStyle(name, GRAY))
        styles[value] = ClassStyle(name, color or known.color)
    return styles


def styles_of(legend: Legend) -> dict[int, ClassStyle]:
    """Name and colour of each class id of a legend."""
    return {entry.id: ClassStyle(entry.name, entry.color) for entry in legend.classes}


def name_of(class_id: int, styles: Mapping[int, ClassStyle]) -> str:
    """The name of a class, its number if it has none."""
    style = styles.get(class_id)
    return str(class_id) if style is None else style.name


def named_ids(styles: Mapping[int, ClassStyle]) -> frozenset[int]:
    """The class ids that have a name beside their number."""
    return frozenset(value for value, style in styles.items() if style.name != str(value))


def find_classes(
    name: str, styles: Mapping[int, ClassStyle], present: Collection[int], flag: str
) -> list[int]:
    """The classes with a name, or the one with a number.

    Args:
        name: What was asked for.
        styles: Names by id.
        present: Class ids of the raster.
        flag: The option that asked, for the message.

    Raises:
        UsageProblemError: If there is no such class.
    """
    named = [class_id for class_id, style in styles.items() if style.name == name]
    if named:
        return named
    if name.removeprefix("-").isdigit() and (int(name) in present or int(name) in styles):
        return [int(name)]
    known = sorted({name_of(class_id, styles) for class_id in present})
    raise UsageProblemError(
        f"{flag} {name}: there is no such class", hint=f"The classes are {', '.join(known)}."
    )


def palette(scene: Raster) -> Mapping[int, Color]:
    """The colour of each value of a raster's first band; empty if it has no palette."""
    with open_dataset(scene.path) as file:
        try:
            table = file.colormap(1)
        except ValueError:  # rasterio's way to say that there is none
            return {}
    return {value: color[:3] for value, color in table.items()}


def _sidecar_entries(scene: Raster) -> dict[int, tuple[str, Color | None]]:
    """Names, and colours where there are any, from `PATH.aux.xml`."""
    path = Path(scene.path + ".aux.xml")
    if not path.is_file():
        return {}
    try:
        root = ET.fromstring(path.read_bytes())  # noqa: S314 - no entities are expanded
    except ET.ParseError as error:
        raise HysegError(
            f"{path} is not XML ({error})", hint="Delete the file, or write it again."
        ) from error
    band = root.find("PAMRasterBand")
    if band is None:
        return {}
    categories = band.findall("CategoryNames/Category")
    entries: dict[int, tuple[str, Color | None]] = {
        value: (category.text, None) for value, category in enumerate(categories) if category.text
    }
    return entries | _attribute_table(band, path)


# Usage of a column, as GDAL numbers it.
_NAME, _MIN_MAX, _RED, _GREEN, _BLUE = "2", "5", "6", "7", "8"


def _attribute_table(band: ET.Element, path: Path) -> dict[int, tuple[str, Color | None]]:
    table = band.find("GDALRasterAttributeTable")
    if table is None:
        return {}
    usages = [field.findtext("Usage", "0") for field in table.findall("FieldDefn")]
    if _MIN_MAX not in usages or _NAME not in usages:
        return {}
    entries: dict[int, tuple[str, Color | None]] = {}
    for number, row in enumerate(table.findall("Row"), 1):
        cells = dict(zip(usages, (cell.text or "" for cell in row.findall("F")), strict=False))
        try:
            entries[int(float(cells[_MIN_MAX]))] = (cells[_NAME], _color_of(cells))
        except (ValueError, OverflowError, KeyError) as error:
            raise HysegError(
                f"{path}: row {number} of its attribute table is not a class with a colour",
                hint="Delete the file, or write it again.",
            ) from error
    return entries


def _color_of(cells: Mapping[str, str]) -> Color | None:
    values = [cells.get(usage) for usage in (_RED, _GREEN, _BLUE)]
    if not all(values):
        return None
    red, green, blue = (int(float(value)) for value in values if value)
    if not 0 <= min(red, green, blue) <= max(red, green, blue) <= 255:
        message = f"{red}, {green}, {blue} is not a colour"
        raise ValueError(message)
    return red, green, blue
