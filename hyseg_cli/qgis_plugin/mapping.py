"""From a scene to a map, and from a map to polygons."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingException,
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
    QgsProcessingUtils,
)

from .algorithm import HysegAlgorithm, advanced
from .layers import raster_path, write_features
from .results import dress

VIEWS = ("none", "flip", "d4", "multiscale")
"""Values of `--tta`."""


class MapScene(HysegAlgorithm):
    """`hyseg predict`."""

    NAME = "mapscene"
    TITLE = "Map scene"
    GROUP = "Map"
    COMMAND = "predict"
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

    def arguments(self, parameters: dict[str, Any], context: Any) -> list[str]:
        scene = self.parameterAsRasterLayer(parameters, "SCENE", context)
        words = [raster_path(scene, "Scene"), "--out", self._output(parameters, "OUTPUT", context)]
        words += ["--style", "--overwrite"]
        model = self.model(parameters, context)
        if model:
            words += ["--model", model]
        if self.has(parameters, "EXTENT"):
            box = self.parameterAsExtent(parameters, "EXTENT", context, scene.crs())
            sides = (box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum())
            # A first number below zero must not look like an option.
            words.append("--bounds=" + ",".join(repr(side) for side in sides))
        area = self.parameterAsSource(parameters, "AREA", context)
        if area is not None:
            words += ["--aoi", _polygons(area, context, "Area to map")]
        views = self.parameterAsEnum(parameters, "VIEWS", context)
        if views:
            words += ["--tta", VIEWS[views]]
        if self.has(parameters, "CONFIDENCE"):
            words += ["--confidence", self._output(parameters, "CONFIDENCE", context)]
        return words

    def results(
        self,
        told: str,
        parameters: dict[str, Any],
        context: Any,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        feedback.pushInfo(told)
        scene = self.parameterAsRasterLayer(parameters, "SCENE", context).name()
        found = {"OUTPUT": self._output(parameters, "OUTPUT", context)}
        dress(context, found["OUTPUT"], f"Land cover of {scene}")
        if self.has(parameters, "CONFIDENCE"):
            found["CONFIDENCE"] = self._output(parameters, "CONFIDENCE", context)
            dress(context, found["CONFIDENCE"], f"Confidence of {scene}")
        return found

    def _output(self, parameters: dict[str, Any], name: str, context: Any) -> str:
        return str(self.parameterAsOutputLayer(parameters, name, context))


class MapToPolygons(HysegAlgorithm):
    """`hyseg vectorize`."""

    NAME = "maptopolygons"
    TITLE = "Map to polygons"
    GROUP = "Map"
    COMMAND = "vectorize"
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

    def arguments(self, parameters: dict[str, Any], context: Any) -> list[str]:
        layer = self.parameterAsRasterLayer(parameters, "MAP", context)
        out = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        words = [raster_path(layer, "Map"), "--out", str(out), "--overwrite"]
        unit = self.parameterAsDouble(parameters, "MMU", context)
        if unit > 0:
            words += ["--mmu", f"{_plain(unit)}m2"]
        words.append(
            "--smooth" if self.parameterAsBool(parameters, "SMOOTH", context) else "--no-smooth"
        )
        tolerance = self.parameterAsDouble(parameters, "SIMPLIFY", context)
        if tolerance > 0:
            # In pixels there is no question of units: maps may be in degrees or in feet.
            side = math.sqrt(layer.rasterUnitsPerPixelX() * layer.rasterUnitsPerPixelY())
            words += ["--simplify", f"{_plain(tolerance / side)}px"]
        if self.has(parameters, "CONFIDENCE"):
            sure = self.parameterAsRasterLayer(parameters, "CONFIDENCE", context)
            words += ["--confidence", raster_path(sure, "Confidence of the map")]
        if self.parameterAsBool(parameters, "DISSOLVE", context):
            words.append("--dissolve")
        return words

    def results(
        self,
        told: str,
        parameters: dict[str, Any],
        context: Any,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        feedback.pushInfo(told)
        out = str(self.parameterAsOutputLayer(parameters, "OUTPUT", context))
        name = self.parameterAsRasterLayer(parameters, "MAP", context).name()
        dress(context, out, f"{name} (polygons)")
        return {"OUTPUT": out}


class Changes(HysegAlgorithm):
    """`hyseg change`."""

    NAME = "changes"
    TITLE = "Changes between two maps"
    GROUP = "Map"
    COMMAND = "change"
    HELP = (
        "Shows what became of what between two maps of one place: a map with a class for each kind "
        "of change, and the areas in the log. Counted areas hold the errors of both maps: for "
        'areas with intervals, run "Sample for accuracy" on the map of changes.'
    )

    def add_parameters(self) -> None:
        self.add(QgsProcessingParameterRasterLayer("OLD", "Older map"))
        self.add(QgsProcessingParameterRasterLayer("NEW", "Newer map"))
        self.add(QgsProcessingParameterRasterDestination("OUTPUT", "Map of changes"))

    def arguments(self, parameters: dict[str, Any], context: Any) -> list[str]:
        old = self.parameterAsRasterLayer(parameters, "OLD", context)
        new = self.parameterAsRasterLayer(parameters, "NEW", context)
        out = str(self.parameterAsOutputLayer(parameters, "OUTPUT", context))
        words = [raster_path(old, "Older map"), raster_path(new, "Newer map")]
        return [*words, "--out", out, "--style", "--overwrite"]

    def results(
        self,
        told: str,
        parameters: dict[str, Any],
        context: Any,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        feedback.pushInfo(told)
        out = str(self.parameterAsOutputLayer(parameters, "OUTPUT", context))
        name = self.parameterAsRasterLayer(parameters, "NEW", context).name()
        dress(context, out, f"{name} (changes)")
        return {"OUTPUT": out}


def _polygons(source: Any, context: Any, what: str) -> str:
    path = QgsProcessingUtils.generateTempFilename("area.gpkg")
    if write_features(source, Path(path), context) == 0:
        raise QgsProcessingException(f"{what}: the layer has no polygons.")
    return str(path)


def _plain(number: float) -> str:
    """A number as hyseg reads amounts: no exponent."""
    return f"{number:.6f}".rstrip("0").rstrip(".")
