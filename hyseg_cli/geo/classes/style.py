"""How a class raster shows itself: colours, names and the legend it carries."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.raster.raster import Scene
from hyseg_cli.legend import Legend

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


def legend_of(scene: Scene) -> Legend:
    """The legend that a map written by hyseg carries.

    Raises:
        HysegError: If it carries none.
    """
    text = scene.tags.get(LEGEND_TAG)
    if text is None:
        raise HysegError(
            f"{scene.path} carries no legend",
            hint="Give one with --legend legend.json.",
        )
    try:
        return Legend.from_dict(json.loads(text))
    except json.JSONDecodeError as error:
        raise HysegError(
            f"{scene.path}: its tag {LEGEND_TAG} is damaged",
            hint="Give a legend with --legend legend.json.",
        ) from error
