"""From a scene to a map, and from a map to polygons."""

from __future__ import annotations

import math
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingFeedback,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDistance,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorDestination,
)

from .algorithm import HysegAlgorithm, advanced
from .form import Form
from .results import dress

VIEWS = ("none", "flip", "d4", "multiscale")
"""Values of `--tta`."""


class MapScene(HysegAlgorithm):
    """`hyseg predict`."""

    NAME = "mapscene"
    TITLE = "Map scene"
    GROUP = "Map"
    COMMAND = "predict"
    NAMED_AFTER = "SCENE"
    LAYER = "Land cover of {}"
    HELP = (
        "Maps the land cover of a scene of any size with a model. Cancel whenever you like: with "
        "the same output file, the next run goes on where this one stopped.\n\n"
        "No model knows every landscape: map a part of the scene first (Extent), look at it, and "
        "train on a few polygons where it is wrong."
    )

    def add_parameters(self) -> None:
        self.add(QgsProcessingParameterRasterLayer("SCENE", "Scene"))
        self.add_model()
        self.add(
            QgsProcessingParameterExtent("EXTENT", "Extent to map", optional=True),
            "Empty for the whole scene.",
        )
        self.add(
            QgsProcessingParameterFeatureSource(
                "AREA", "Area to map", [QgsProcessing.TypeVectorPolygon], optional=True
            ),
            "Polygons; what lies outside them is left empty.",
        )
        self.add(
            advanced(
                QgsProcessingParameterEnum(
                    "VIEWS",
                    "Look at each place in several ways and average",
                    ["no", "mirrored (4 x the time)", "turned and mirrored (8 x)", "3 sizes (3 x)"],
                    defaultValue=0,
                )
            )
        )
        self.add(QgsProcessingParameterRasterDestination("OUTPUT", "Map"))
        self.add(
            QgsProcessingParameterRasterDestination(
                "CONFIDENCE", "Confidence", optional=True, createByDefault=False
            ),
            "How sure the model is of each pixel, 0 to 1.",
        )

    def arguments(self, form: Form) -> list[str]:
        words = [form.raster("SCENE"), "--out", form.out(), "--style", "--overwrite"]
        for model in form.model():
            words += ["--model", model]
        if form.has("EXTENT"):
            # A first number below zero must not look like an option.
            words.append("--bounds=" + ",".join(map(repr, form.box("EXTENT", "SCENE"))))
        if form.has("AREA"):
            words += ["--aoi", form.vector("AREA")]
        if form.choice("VIEWS"):
            words += ["--tta", VIEWS[form.choice("VIEWS")]]
        if form.has("CONFIDENCE"):
            words += ["--confidence", form.out("CONFIDENCE")]
        return words

    def results(self, form: Form, said: str, feedback: QgsProcessingFeedback) -> dict[str, Any]:
        found = super().results(form, said, feedback)
        if form.has("CONFIDENCE"):
            found["CONFIDENCE"] = form.out("CONFIDENCE")
            dress(form.context, found["CONFIDENCE"], f"Confidence of {form.layer('SCENE').name()}")
        return found


class MapToPolygons(HysegAlgorithm):
    """`hyseg vectorize`."""

    NAME = "maptopolygons"
    TITLE = "Map to polygons"
    GROUP = "Map"
    COMMAND = "vectorize"
    NAMED_AFTER = "MAP"
    LAYER = "{} (polygons)"
    HELP = (
        "Turns a map of classes into polygons that fit together: neighbours share their borders "
        "exactly, also after smoothing and simplifying. This is checked before the file is saved."
    )

    def add_parameters(self) -> None:
        self.add(QgsProcessingParameterRasterLayer("MAP", "Map"))
        self.add(
            QgsProcessingParameterNumber(
                "MMU",
                "Minimum mapping unit in m²",
                QgsProcessingParameterNumber.Double,
                0.0,
                minValue=0.0,
            ),
            "Smaller regions become part of the neighbour with the longest border; 0 keeps all.",
        )
        self.add(
            QgsProcessingParameterBoolean("SMOOTH", "Smooth", True),
            "Borders run through the middles of pixel edges: no stairs.",
        )
        self.add(
            QgsProcessingParameterDistance(
                "SIMPLIFY", "Tolerance of the simplification", 0.0, "MAP", minValue=0.0
            ),
            "In units of the map; about a pixel is a good start, 0 keeps every corner.",
        )
        self.add(
            QgsProcessingParameterRasterLayer("CONFIDENCE", "Confidence of the map", optional=True),
            "Adds to each polygon how sure the model was of it.",
        )
        self.add(
            advanced(QgsProcessingParameterBoolean("DISSOLVE", "One multipolygon a class", False))
        )
        self.add(
            QgsProcessingParameterVectorDestination(
                "OUTPUT", "Polygons", QgsProcessing.TypeVectorPolygon
            )
        )

    def arguments(self, form: Form) -> list[str]:
        words = [form.raster("MAP"), "--out", form.out(), "--overwrite"]
        unit, tolerance = form.number("MMU"), form.number("SIMPLIFY")
        if unit > 0:
            words += ["--mmu", f"{_plain(unit)}m2"]
        words.append("--smooth" if form.is_ticked("SMOOTH") else "--no-smooth")
        if tolerance > 0:
            # In pixels there is no question of units: maps may be in degrees or in feet.
            layer = form.layer("MAP")
            side = math.sqrt(layer.rasterUnitsPerPixelX() * layer.rasterUnitsPerPixelY())
            words += ["--simplify", f"{_plain(tolerance / side)}px"]
        if form.has("CONFIDENCE"):
            words += ["--confidence", form.raster("CONFIDENCE")]
        if form.is_ticked("DISSOLVE"):
            words.append("--dissolve")
        return words


class Changes(HysegAlgorithm):
    """`hyseg change`."""

    NAME = "changes"
    TITLE = "Changes between two maps"
    GROUP = "Map"
    COMMAND = "change"
    NAMED_AFTER = "NEW"
    LAYER = "{} (changes)"
    HELP = (
        "Shows what became of what between two maps of one place: a map with a class for each kind "
        "of change, and the areas in the log. Counted areas hold the errors of both maps: for "
        'areas with intervals, run "Sample for accuracy" on the map of changes.'
    )

    def add_parameters(self) -> None:
        self.add(QgsProcessingParameterRasterLayer("OLD", "Older map"))
        self.add(QgsProcessingParameterRasterLayer("NEW", "Newer map"))
        self.add(QgsProcessingParameterRasterDestination("OUTPUT", "Map of changes"))

    def arguments(self, form: Form) -> list[str]:
        words = [form.raster("OLD"), form.raster("NEW"), "--out", form.out()]
        return [*words, "--style", "--overwrite"]


def _plain(number: float) -> str:
    """A number as hyseg reads amounts: no exponent."""
    return f"{number:.6f}".rstrip("0").rstrip(".")
