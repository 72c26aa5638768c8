"""From polygons to a model, and where the next polygons are worth the most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorDestination,
)

from .algorithm import HysegAlgorithm, advanced, forget_models
from .layers import content_mark, raster_path, write_features
from .results import dress
from .running import RunFailedError

EFFORTS = (
    ("Quick: 100 steps, minutes", ("--prior-steps", "0", "--steps", "100")),
    ("Normal: hyseg's own choice, hours without a GPU", ()),
)
"""What is chosen, and the options it stands for. On polygons of few places, 100 steps without the
first stage were measured to do what there is to do: docs/how-to/train.md."""
STATE_IS_ANOTHER = 3
"""Exit code of hyseg if what an earlier run left does not go with this one."""


class TrainOnPolygons(HysegAlgorithm):
    """`hyseg train`."""

    NAME = "trainonpolygons"
    TITLE = "Train on polygons"
    GROUP = "Train"
    COMMAND = "train"
    HELP = (
        "Trains a model on polygons that you drew over a scene: some dozens of them, a class in "
        "one column, and every class on several places. Selected polygons, filters and edits that "
        "are not saved count as you see them; a copy of them is kept beside the model.\n\n"
        "Cancel whenever you like: the next run with the same output goes on."
    )

    def add_parameters(self) -> None:
        self.add(QgsProcessingParameterRasterLayer("SCENE", "Scene"))
        self.add(
            QgsProcessingParameterFeatureSource(
                "POLYGONS", "Polygons", [QgsProcessing.TypeVectorPolygon]
            )
        )
        self.add(
            QgsProcessingParameterField("FIELD", "Column with the class", "class", "POLYGONS"),
            "Names of classes, or numbers.",
        )
        self.add_model("Model to start from", none="Empty: a new network, which needs much data.")
        self.add(
            QgsProcessingParameterEnum(
                "EFFORT", "Effort", [title for title, _ in EFFORTS], defaultValue=0
            )
        )
        self.add(
            QgsProcessingParameterNumber(
                "HELD_OUT",
                "Share of the scene to measure on",
                QgsProcessingParameterNumber.Double,
                0.0,
                minValue=0.0,
                maxValue=0.5,
            ),
            "A part of the scene whose polygons are not trained on: 0.2 for a fifth.",
        )
        self.add(
            advanced(
                QgsProcessingParameterBoolean(
                    "ANEW", "Start anew, even if an earlier run was cancelled", False
                )
            )
        )
        self.add(
            QgsProcessingParameterFileDestination(
                "OUTPUT", "Model file", "Models of hyseg (*.safetensors)"
            )
        )

    def arguments(self, parameters: dict[str, Any], context: Any) -> list[str]:
        scene = self.parameterAsRasterLayer(parameters, "SCENE", context)
        out = self._out(parameters, context)
        field = self.parameterAsString(parameters, "FIELD", context)
        words = ["--images", raster_path(scene, "Scene")]
        words += ["--labels", self._labels(parameters, context, field, out)]
        words += ["--class-field", field, "--out", str(out), "--overwrite"]
        is_anew = self.parameterAsBool(parameters, "ANEW", context)
        words.append("--no-resume" if is_anew or not was_stopped(out) else "--resume")
        start = self.model(parameters, context)
        if start:
            words += ["--from", start]
        words += EFFORTS[self.parameterAsEnum(parameters, "EFFORT", context)][1]
        held_out = self.parameterAsDouble(parameters, "HELD_OUT", context)
        if held_out > 0:
            words += ["--val-split", repr(held_out)]
        return words

    def results(
        self,
        told: str,
        parameters: dict[str, Any],
        context: Any,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        forget_models()
        feedback.pushInfo(told)
        feedback.pushInfo('Give this file to "Map scene" as its model file.')
        return {"OUTPUT": str(self._out(parameters, context))}

    def explain(self, error: Exception) -> str:
        text = str(error)
        if isinstance(error, RunFailedError) and error.code == STATE_IS_ANOTHER:
            text += '\nIn QGIS: tick "Start anew", or choose another model file.'
        return text

    def _out(self, parameters: dict[str, Any], context: Any) -> Path:
        out = Path(self.parameterAsFileOutput(parameters, "OUTPUT", context))
        # QGIS names temporary files after the first suffix that it can make out.
        return out if out.suffix == ".safetensors" else out.with_suffix(".safetensors")

    def _labels(self, parameters: dict[str, Any], context: Any, field: str, out: Path) -> str:
        """The polygons as a file beside the model, named for what is in it.

        So the same polygons are the same file, and a run that was cancelled goes on with them,
        also after QGIS was closed.
        """
        source = self.parameterAsSource(parameters, "POLYGONS", context)
        if source is None:
            raise QgsProcessingException("Polygons: this layer cannot be opened.")
        path = out.with_name(f"{out.stem}.polygons-{content_mark(source, field)}.gpkg")
        if not path.exists() and write_features(source, path, context, only=field) == 0:
            path.unlink()
            raise QgsProcessingException("Polygons: there are none; draw some, or select some.")
        return str(path)


class SuggestWhereToDraw(HysegAlgorithm):
    """`hyseg suggest`."""

    NAME = "suggestwheretodraw"
    TITLE = "Suggest where to draw"
    GROUP = "Train"
    COMMAND = "suggest"
    HELP = (
        "Finds the places of a scene where a model is least sure of itself: polygons drawn there "
        "teach it the most."
    )

    def add_parameters(self) -> None:
        self.add(QgsProcessingParameterRasterLayer("SCENE", "Scene"))
        self.add_model()
        self.add(
            QgsProcessingParameterNumber("COUNT", "How many places", defaultValue=20, minValue=1)
        )
        self.add(QgsProcessingParameterVectorDestination("OUTPUT", "Places"))

    def arguments(self, parameters: dict[str, Any], context: Any) -> list[str]:
        scene = self.parameterAsRasterLayer(parameters, "SCENE", context)
        out = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        words = [raster_path(scene, "Scene"), "--out", str(out), "--overwrite"]
        model = self.model(parameters, context)
        if model:
            words += ["--model", model]
        return [*words, "-n", str(self.parameterAsInt(parameters, "COUNT", context))]

    def results(
        self,
        told: str,
        parameters: dict[str, Any],
        context: Any,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        feedback.pushInfo(told)
        out = str(self.parameterAsOutputLayer(parameters, "OUTPUT", context))
        scene = self.parameterAsRasterLayer(parameters, "SCENE", context).name()
        dress(context, out, f"Where to draw on {scene}")
        return {"OUTPUT": out}


def was_stopped(out: Path) -> bool:
    """Whether a training of this model began and did not end: its run is newer than the file."""
    begun = out.with_suffix(".run") / "run.json"
    if not begun.is_file():
        return False
    return not out.is_file() or begun.stat().st_mtime > out.stat().st_mtime
