"""Styles that desktop GIS programs read: QML of QGIS, and SLD."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.classes.styles import ClassStyle
from hyseg_cli.legend import format_color

FIELD = "class_name"
"""Attribute that polygons are coloured by."""

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_SLD = "http://www.opengis.net/sld"
_OGC = "http://www.opengis.net/ogc"


def to_qml(
    styles: Mapping[int, ClassStyle], field: str = FIELD, *, outlines_only: bool = False
) -> str:
    """A QGIS style that fills polygons by class, without outlines, or draws outlines alone."""
    root = ET.Element("qgis", version="3.22", styleCategories="Symbology")
    renderer = ET.SubElement(
        root, "renderer-v2", type="categorizedSymbol", attr=field, symbollevels="0"
    )
    categories = ET.SubElement(renderer, "categories")
    symbols = ET.SubElement(renderer, "symbols")
    for index, style in enumerate(styles.values()):
        ET.SubElement(
            categories, "category", value=style.name, label=style.name, symbol=str(index),
            render="true", type="string",
        )  # fmt: skip
        symbol = ET.SubElement(symbols, "symbol", type="fill", name=str(index), alpha="1")
        layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1"})
        red, green, blue = style.color
        options = ET.SubElement(layer, "Option", type="Map")
        for name, value in {
            "color": f"{red},{green},{blue},255",
            "style": "no" if outlines_only else "solid",
            "outline_style": "solid" if outlines_only else "no",
            **({"outline_color": f"{red},{green},{blue},255"} if outlines_only else {}),
        }.items():
            ET.SubElement(options, "Option", name=name, type="QString", value=value)
    return ET.tostring(root, encoding="unicode")


def to_sld(styles: Mapping[int, ClassStyle], layer: str) -> str:
    """An OGC style with one rule for each class."""
    root, feature = _sld_of(layer)
    for style in styles.values():
        rule = ET.SubElement(feature, f"{{{_SLD}}}Rule")
        ET.SubElement(rule, f"{{{_SLD}}}Name").text = style.name
        equals = ET.SubElement(
            ET.SubElement(rule, f"{{{_OGC}}}Filter"), f"{{{_OGC}}}PropertyIsEqualTo"
        )
        ET.SubElement(equals, f"{{{_OGC}}}PropertyName").text = FIELD
        ET.SubElement(equals, f"{{{_OGC}}}Literal").text = style.name
        symbolizer = ET.SubElement(rule, f"{{{_SLD}}}PolygonSymbolizer")
        fill = ET.SubElement(symbolizer, f"{{{_SLD}}}Fill")
        ET.SubElement(fill, f"{{{_SLD}}}CssParameter", name="fill").text = format_color(style.color)
    return ET.tostring(root, encoding="unicode")


def to_raster_qml(styles: Mapping[int, ClassStyle]) -> str:
    """A QGIS style that shows the classes of a raster, and nothing where there is none."""
    root = ET.Element("qgis", version="3.22", styleCategories="Symbology")
    pipe = ET.SubElement(root, "pipe")
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1"
    )
    palette = ET.SubElement(renderer, "colorPalette")
    for class_id, style in sorted(styles.items()):
        ET.SubElement(
            palette, "paletteEntry", value=str(class_id), label=style.name,
            color=format_color(style.color), alpha="255",
        )  # fmt: skip
    ET.indent(root)
    return _DOCTYPE + ET.tostring(root, encoding="unicode") + "\n"


def to_raster_sld(styles: Mapping[int, ClassStyle], layer: str) -> str:
    """An OGC style that gives each value of a raster its colour."""
    root, feature = _sld_of(layer)
    rule = ET.SubElement(feature, f"{{{_SLD}}}Rule")
    symbolizer = ET.SubElement(rule, f"{{{_SLD}}}RasterSymbolizer")
    ET.SubElement(symbolizer, f"{{{_SLD}}}Opacity").text = "1"
    # Values that are not listed stay empty; without the type, colours would run into each other.
    colors = ET.SubElement(symbolizer, f"{{{_SLD}}}ColorMap", type="values")
    for class_id, style in sorted(styles.items()):
        ET.SubElement(
            colors, f"{{{_SLD}}}ColorMapEntry", quantity=str(class_id), label=style.name,
            color=format_color(style.color), opacity="1",
        )  # fmt: skip
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _sld_of(layer: str) -> tuple[ET.Element, ET.Element]:
    """A document for a layer, and the element in it that holds the rules."""
    ET.register_namespace("", _SLD)
    ET.register_namespace("ogc", _OGC)
    root = ET.Element(f"{{{_SLD}}}StyledLayerDescriptor", version="1.0.0")
    named = ET.SubElement(root, f"{{{_SLD}}}NamedLayer")
    ET.SubElement(named, f"{{{_SLD}}}Name").text = layer
    user = ET.SubElement(named, f"{{{_SLD}}}UserStyle")
    return root, ET.SubElement(user, f"{{{_SLD}}}FeatureTypeStyle")


_LAYER_STYLES = """
CREATE TABLE IF NOT EXISTS layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256),
    f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now'))
)
"""
"""The table in which QGIS looks for styles; its columns are fixed by that program."""


def add_geopackage_style(path: Path, layer: str, styles: Mapping[int, ClassStyle]) -> None:
    """Store the default style of a layer inside its GeoPackage.

    QGIS uses it only if it names the geometry column, whose name GDAL chooses.

    Raises:
        HysegError: If the file cannot be written.
    """
    _store_style(path, layer, to_qml(styles), to_sld(styles, layer))


def add_outline_style(path: Path, layer: str, styles: Mapping[int, ClassStyle], field: str) -> None:
    """The same for outlines in the colours of a column, through which an image is seen.

    Raises:
        HysegError: If the file cannot be written.
    """
    qml = to_qml(styles, field, outlines_only=True)
    _store_style(path, layer, qml, to_sld(styles, layer))


def _store_style(path: Path, layer: str, qml: str, sld: str) -> None:
    try:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(_LAYER_STYLES)
            database.execute(
                "INSERT OR IGNORE INTO gpkg_contents (table_name, data_type, identifier)"
                " VALUES ('layer_styles', 'attributes', 'layer_styles')"
            )
            database.execute(
                "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name,"
                " f_geometry_column, styleName, styleQML, styleSLD, useAsDefault, description)"
                " SELECT '', '', table_name, column_name, 'land cover', ?, ?, 1,"
                " 'classes in their colours' FROM gpkg_geometry_columns WHERE table_name = ?",
                (qml, sld, layer),
            )
    except sqlite3.Error as error:
        raise HysegError(
            f"{path.name}: the style cannot be stored ({error})",
            hint="Check the folder's permissions and the free space.",
        ) from error
