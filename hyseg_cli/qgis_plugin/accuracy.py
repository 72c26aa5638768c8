"""How good a map is: against a reference, and by a sample of points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDistance,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorDestination,
    QgsProcessingUtils,
)

from .algorithm import HysegAlgorithm, advanced
from .layers import file_beside, raster_path, write_features
from .results import choose_from, dress, open_page

PAGE = "HTML files (*.html)"
REFERENCE_FIELD = "ref_class"
"""Field that an interpreter fills in."""
ALLOCATIONS = ("olofsson", "proportional", "equal", "neyman")


class _WithPage(HysegAlgorithm):
    """An algorithm that makes a page and opens it."""

    _page = ""

    def page(self, parameters: dict[str, Any], context: Any) -> str:
        """The file of the page."""
        self._page = str(self.parameterAsFileOutput(parameters, "OUTPUT", context))
        return self._page

    def postProcessAlgorithm(self, context: Any, feedback: Any) -> dict[str, Any]:  # noqa: ARG002
        if self._page and Path(self._page).is_file():
            open_page(self._page)
        return {}


class CompareWithReference(_WithPage):
    """`hyseg evaluate MAP --reference`."""

    NAME = "comparewithreference"
    TITLE = "Compare with a reference"
    GROUP = "Check"
    COMMAND = "evaluate"
    HELP = (
        "Compares a map with the truth, a raster of classes or polygons, on the grid of the map. "
        "Opens a page with scores, a confusion matrix, charts and the worst places."
    )

    def add_parameters(self) -> None:
        self.add(QgsProcessingParameterRasterLayer("MAP", "Map"))
        self.add(
            QgsProcessingParameterRasterLayer("REFERENCE", "Reference: a raster", optional=True)
        )
        self.add(
            QgsProcessingParameterFeatureSource(
                "POLYGONS", "... or polygons", [QgsProcessing.TypeVectorPolygon], optional=True
            ),
            "They count where there is no reference raster.",
        )
        self.add(
            QgsProcessingParameterField(
                "FIELD", "Column with the class", "class", "POLYGONS", optional=True
            )
        )
        self.add(
            QgsProcessingParameterBoolean("STRUCTURE", "Also measure shapes (slower)", False),
            "Lines, pieces, holes and boundaries, not pixels alone.",
        )
        self.add(QgsProcessingParameterFileDestination("OUTPUT", "Page", PAGE))
        self.addOutput(QgsProcessingOutputNumber("ACCURACY", "Overall accuracy"))
        self.addOutput(QgsProcessingOutputNumber("MEAN_IOU", "Mean IoU"))

    def checkParameterValues(self, parameters: dict[str, Any], context: Any) -> tuple[bool, str]:
        if not self.has(parameters, "REFERENCE") and not self.has(parameters, "POLYGONS"):
            return False, "Choose a reference, a raster or polygons."
        return super().checkParameterValues(parameters, context)

    def arguments(self, parameters: dict[str, Any], context: Any) -> list[str]:
        layer = self.parameterAsRasterLayer(parameters, "MAP", context)
        words = [raster_path(layer, "Map"), *self._reference(parameters, context)]
        if self.parameterAsBool(parameters, "STRUCTURE", context):
            words.append("--structure")
        return [*words, "--report", self.page(parameters, context), "--overwrite", "--json"]

    def results(
        self,
        told: str,
        parameters: dict[str, Any],
        context: Any,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        found = json.loads(told)
        scores = found.get("overall", found)
        values = {
            "ACCURACY": scores.get("overall_accuracy"),
            "MEAN_IOU": scores.get("mean_iou", scores.get("miou")),
        }
        for name, value in values.items():
            if value is not None:
                feedback.pushInfo(f"{name.lower().replace('_', ' ')}: {value:.3f}")
        return {**values, "OUTPUT": self.page(parameters, context)}

    def _reference(self, parameters: dict[str, Any], context: Any) -> list[str]:
        if self.has(parameters, "REFERENCE"):
            layer = self.parameterAsRasterLayer(parameters, "REFERENCE", context)
            return ["--reference", raster_path(layer, "Reference")]
        source = self.parameterAsSource(parameters, "POLYGONS", context)
        field = self.parameterAsString(parameters, "FIELD", context) or "class"
        path = QgsProcessingUtils.generateTempFilename("reference.gpkg")
        if write_features(source, Path(path), context, only=field) == 0:
            raise QgsProcessingException("Reference: the layer has no polygons.")
        return ["--reference", str(path), "--class-field", field]


class SampleForAccuracy(HysegAlgorithm):
    """`hyseg sample`."""

    NAME = "sampleforaccuracy"
    TITLE = "Sample for accuracy"
    GROUP = "Check"
    COMMAND = "sample"
    HELP = (
        "Draws random points of a map, stratified by its classes. Look at the scene at each point "
        f"and choose its class in the form ({REFERENCE_FIELD}); the map's own class is not shown, "
        'as it would lead you. Then run "Accuracy from points".'
    )

    def add_parameters(self) -> None:
        self.add(QgsProcessingParameterRasterLayer("MAP", "Map"))
        self.add(
            QgsProcessingParameterNumber("COUNT", "Points", optional=True, minValue=1),
            "Empty: as many as a standard error of one percent of the accuracy needs.",
        )
        self.add(
            QgsProcessingParameterEnum(
                "ALLOCATION",
                "How classes share them",
                ["by area, at least 50", "by area", "alike", "by area and spread"],
                defaultValue=0,
            )
        )
        self.add(
            advanced(
                QgsProcessingParameterDistance(
                    "APART", "Least distance between points", 0.0, "MAP", minValue=0.0
                )
            ),
            "In units of the map.",
        )
        self.add(advanced(QgsProcessingParameterNumber("SEED", "Seed", defaultValue=0, minValue=0)))
        self.add(
            QgsProcessingParameterVectorDestination(
                "OUTPUT", "Points", QgsProcessing.TypeVectorPoint
            )
        )

    def arguments(self, parameters: dict[str, Any], context: Any) -> list[str]:
        layer = self.parameterAsRasterLayer(parameters, "MAP", context)
        out = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        words = [raster_path(layer, "Map"), "--out", str(out), "--overwrite", "--json"]
        if self.has(parameters, "COUNT"):
            words += ["--count", str(self.parameterAsInt(parameters, "COUNT", context))]
        chosen = self.parameterAsEnum(parameters, "ALLOCATION", context)
        words += ["--allocation", ALLOCATIONS[chosen]]
        apart = self.parameterAsDouble(parameters, "APART", context)
        if apart > 0:
            words += ["--min-distance", f"{apart / layer.rasterUnitsPerPixelX():.6f}px"]
        return [*words, "--seed", str(self.parameterAsInt(parameters, "SEED", context))]

    def results(
        self,
        told: str,
        parameters: dict[str, Any],
        context: Any,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        found = json.loads(told)
        feedback.pushInfo(f"{found['points']} points")
        names = [str(stratum["name"]) for stratum in found["strata"]]
        out = str(self.parameterAsOutputLayer(parameters, "OUTPUT", context))
        layer = self.parameterAsRasterLayer(parameters, "MAP", context)
        form = choose_from(REFERENCE_FIELD, {name: name for name in names})
        dress(context, out, f"{layer.name()} (points to label)", form)
        return {"OUTPUT": out}


class AccuracyFromPoints(_WithPage):
    """`hyseg evaluate MAP --samples`."""

    NAME = "accuracyfrompoints"
    TITLE = "Accuracy from points"
    GROUP = "Check"
    COMMAND = "evaluate"
    HELP = (
        "Estimates how accurate a map is, and the area of each class, with 95 % intervals, from "
        "points that were drawn and then labelled. Opens a page with the estimates."
    )

    def add_parameters(self) -> None:
        self.add(QgsProcessingParameterRasterLayer("MAP", "Map"))
        self.add(
            QgsProcessingParameterFeatureSource(
                "POINTS", "Labelled points", [QgsProcessing.TypeVectorPoint]
            )
        )
        self.add(
            QgsProcessingParameterField(
                "FIELD", "Column with the true class", REFERENCE_FIELD, "POINTS"
            )
        )
        self.add(QgsProcessingParameterFileDestination("OUTPUT", "Page", PAGE))

    def arguments(self, parameters: dict[str, Any], context: Any) -> list[str]:
        layer = self.parameterAsRasterLayer(parameters, "MAP", context)
        source = self.parameterAsSource(parameters, "POINTS", context)
        points = self.parameterAsVectorLayer(parameters, "POINTS", context)
        path = QgsProcessingUtils.generateTempFilename("points.gpkg")
        if write_features(source, Path(path), context) == 0:
            raise QgsProcessingException("Labelled points: the layer has none.")
        words = [raster_path(layer, "Map"), "--samples", str(path)]
        words += ["--field", self.parameterAsString(parameters, "FIELD", context)]
        design = file_beside(points, ".design.json")
        if design is not None:
            words += ["--design", str(design)]
        return [*words, "--report", self.page(parameters, context), "--overwrite"]

    def results(
        self,
        told: str,
        parameters: dict[str, Any],
        context: Any,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        feedback.pushInfo(told)
        return {"OUTPUT": self.page(parameters, context)}
