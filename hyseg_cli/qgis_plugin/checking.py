"""What a raster is, and how good a map is: against a reference, and by a sample of points."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDistance,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorDestination,
)

from .algorithm import HysegAlgorithm, advanced
from .form import Form
from .layers import file_beside
from .results import choose_from, dress, open_page

PAGE = "HTML files (*.html)"
REFERENCE_FIELD = "ref_class"
"""Field that an interpreter fills in."""
ALLOCATIONS = ("olofsson", "proportional", "equal", "neyman")


class Facts(HysegAlgorithm):
    """`hyseg info`."""

    NAME = "facts"
    TITLE = "Facts about a scene or a map"
    GROUP = "Check"
    COMMAND = "info"
    # 4 says that the scene does not fit the model, which is one of the facts.
    ACCEPTED = (0, 4)
    HELP = (
        "Shows what a raster is. Of a scene: place, bands, storage, whether it fits the model, and "
        "what mapping it takes. Of a map: its classes with their areas."
    )

    def add_parameters(self) -> None:
        self.add(QgsProcessingParameterRasterLayer("RASTER", "Scene or map"))
        self.add_model("Model to map a scene with")
        self.add(QgsProcessingParameterFileDestination("OUTPUT", "Page", PAGE))
        self.addOutput(QgsProcessingOutputString("TEXT", "Facts"))

    def arguments(self, form: Form) -> list[str]:
        words = [form.raster("RASTER")]
        for model in form.model():
            words += ["--model", model]
        return words

    def results(self, form: Form, said: str, feedback: QgsProcessingFeedback) -> dict[str, Any]:
        feedback.pushInfo(said)
        title = html.escape(form.layer("RASTER").name())
        Path(form.file()).write_text(
            f'<!doctype html><meta charset="utf-8"><title>{title}</title>'
            f"<h1>{title}</h1><pre>{html.escape(said)}</pre>",
            encoding="utf-8",
        )
        return {"OUTPUT": form.file(), "TEXT": said}


class _WithPage(HysegAlgorithm):
    """An algorithm that makes a page and opens it."""

    _page = ""

    def results(self, form: Form, said: str, feedback: QgsProcessingFeedback) -> dict[str, Any]:
        feedback.pushInfo(said)
        self._page = form.file()
        return {"OUTPUT": self._page}

    def postProcessAlgorithm(self, context: Any, feedback: Any) -> dict[str, Any]:  # noqa: ARG002
        # In the main thread, which the browser is opened from.
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
        form = Form(self, parameters, context)
        if not form.has("REFERENCE") and not form.has("POLYGONS"):
            return False, "Choose a reference, a raster or polygons."
        return super().checkParameterValues(parameters, context)

    def arguments(self, form: Form) -> list[str]:
        words = [form.raster("MAP"), *self._reference(form)]
        if form.is_ticked("STRUCTURE"):
            words.append("--structure")
        return [*words, "--report", form.file(), "--overwrite", "--json"]

    def results(self, form: Form, said: str, feedback: QgsProcessingFeedback) -> dict[str, Any]:
        scores = json.loads(said)
        # Null where it does not exist, such as for a reference without a known pixel.
        values = {"ACCURACY": scores["overall_accuracy"], "MEAN_IOU": scores["miou"]}
        text = ", ".join(
            f"{name.lower().replace('_', ' ')} {value:.3f}"
            for name, value in values.items()
            if value is not None
        )
        return {**values, **super().results(form, text, feedback)}

    def _reference(self, form: Form) -> list[str]:
        if form.has("REFERENCE"):
            return ["--reference", form.raster("REFERENCE")]
        field = form.text("FIELD") or "class"
        return ["--reference", form.vector("POLYGONS", only=field), "--class-field", field]


class SampleForAccuracy(HysegAlgorithm):
    """`hyseg sample`."""

    NAME = "sampleforaccuracy"
    TITLE = "Sample for accuracy"
    GROUP = "Check"
    COMMAND = "sample"
    NAMED_AFTER = "MAP"
    LAYER = "{} (points to label)"
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

    def arguments(self, form: Form) -> list[str]:
        words = [form.raster("MAP"), "--out", form.out(), "--overwrite", "--json"]
        if form.has("COUNT"):
            words += ["--count", str(form.whole("COUNT"))]
        words += ["--allocation", ALLOCATIONS[form.choice("ALLOCATION")]]
        apart = form.number("APART")
        if apart > 0:
            side = form.layer("MAP").rasterUnitsPerPixelX()
            words += ["--min-distance", f"{apart / side:.6f}px"]
        return [*words, "--seed", str(form.whole("SEED"))]

    def results(self, form: Form, said: str, feedback: QgsProcessingFeedback) -> dict[str, Any]:
        found = json.loads(said)
        feedback.pushInfo(f"{found['points']} points")
        names = [str(stratum["name"]) for stratum in found["strata"]]
        choices = choose_from(REFERENCE_FIELD, {name: name for name in names})
        dress(form.context, form.out(), self.layer_name(form), choices)
        return {"OUTPUT": form.out()}


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

    def arguments(self, form: Form) -> list[str]:
        words = [form.raster("MAP"), "--samples", form.vector("POINTS")]
        words += ["--field", form.text("FIELD")]
        design = file_beside(form.vector_layer("POINTS"), ".design.json")
        if design is not None:
            words += ["--design", str(design)]
        return [*words, "--report", form.file(), "--overwrite"]
