"""What is known of a scene or a map."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingFeedback,
    QgsProcessingOutputString,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterRasterLayer,
)

from .algorithm import HysegAlgorithm
from .layers import raster_path


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
        self.add(QgsProcessingParameterFileDestination("OUTPUT", "Page", "HTML files (*.html)"))
        self.addOutput(QgsProcessingOutputString("TEXT", "Facts"))

    def arguments(self, parameters: dict[str, Any], context: Any) -> list[str]:
        layer = self.parameterAsRasterLayer(parameters, "RASTER", context)
        words = [raster_path(layer, "Scene or map")]
        model = self.model(parameters, context)
        return [*words, "--model", model] if model else words

    def results(
        self,
        told: str,
        parameters: dict[str, Any],
        context: Any,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        feedback.pushInfo(told)
        path = Path(self.parameterAsFileOutput(parameters, "OUTPUT", context))
        title = html.escape(self.parameterAsRasterLayer(parameters, "RASTER", context).name())
        path.write_text(
            f'<!doctype html><meta charset="utf-8"><title>{title}</title>'
            f"<h1>{title}</h1><pre>{html.escape(told)}</pre>",
            encoding="utf-8",
        )
        return {"OUTPUT": str(path), "TEXT": told}
