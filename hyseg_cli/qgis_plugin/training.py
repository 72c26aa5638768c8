"""From polygons to a model, and where the next polygons are worth the most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
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
from .form import Form
from .layers import content_mark
from .running import RunFailedError

EFFORTS = (
    ("Quick: a new head on the model, seconds to minutes", ("--preset", "probe")),
    ("The whole network, 100 steps", ("--prior-steps", "0", "--steps", "100")),
    ("The whole network, as long as hyseg would: hours without a GPU", ("--thorough",)),
)
"""What is chosen, and the options it stands for; docs/how-to/train.md compares them."""
QUICK = 0
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
        "Cancel whenever you like: a training of the whole network goes on in the next run with "
        "the same output."
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
        self.add_model("Model to start from", none="Empty: the built-in model.")
        self.add(
            QgsProcessingParameterEnum(
                "EFFORT", "Effort", [title for title, _ in EFFORTS], defaultValue=QUICK
            ),
            "Quick keeps what the model sees and learns your classes anew. It also measures what "
            "to expect of each class, on polygons that it leaves out in turn.",
        )
        self.add(
            advanced(
                QgsProcessingParameterNumber(
                    "HELD_OUT",
                    "Share of the scene to measure on (whole network)",
                    QgsProcessingParameterNumber.Double,
                    0.0,
                    minValue=0.0,
                    maxValue=0.5,
                )
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

    def checkParameterValues(self, parameters: dict[str, Any], context: Any) -> tuple[bool, str]:
        form = Form(self, parameters, context)
        if form.number("HELD_OUT") > 0 and form.choice("EFFORT") == QUICK:
            return False, (
                "A share to measure on is for the whole network. Quick measures on polygons that "
                "it leaves out in turn, and needs none."
            )
        return super().checkParameterValues(parameters, context)

    def arguments(self, form: Form) -> list[str]:
        out, field = _model_file(form), form.text("FIELD")
        mark = content_mark(form.features("POLYGONS"), field)
        # Named for what is in it: the same polygons are the same file, and a run that was
        # cancelled goes on with them, also after QGIS was closed.
        labels = out.with_name(f"{out.stem}.polygons-{mark}.gpkg")
        if not labels.exists():
            form.vector("POLYGONS", labels, only=field)
        words = ["--images", form.raster("SCENE"), "--labels", str(labels)]
        words += ["--class-field", field, "--out", str(out), "--overwrite"]
        for model in form.model():
            words += ["--from", model]
        words += EFFORTS[form.choice("EFFORT")][1]
        if form.choice("EFFORT") != QUICK:
            is_anew = form.is_ticked("ANEW") or not was_stopped(out)
            words.append("--no-resume" if is_anew else "--resume")
        if form.number("HELD_OUT") > 0:
            words += ["--val-split", repr(form.number("HELD_OUT"))]
        return words

    def results(self, form: Form, said: str, feedback: QgsProcessingFeedback) -> dict[str, Any]:
        forget_models()
        feedback.pushInfo(said)
        feedback.pushInfo('Give this file to "Map scene" as its model file.')
        return {"OUTPUT": str(_model_file(form))}

    def explain(self, error: Exception) -> str:
        text = str(error)
        if isinstance(error, RunFailedError) and error.code == STATE_IS_ANOTHER:
            text += '\nIn QGIS: tick "Start anew", or choose another model file.'
        return text


class SuggestWhereToDraw(HysegAlgorithm):
    """`hyseg suggest`."""

    NAME = "suggestwheretodraw"
    TITLE = "Suggest where to draw"
    GROUP = "Train"
    COMMAND = "suggest"
    NAMED_AFTER = "SCENE"
    LAYER = "Where to draw on {}"
    HELP = (
        "Finds places of a scene where another polygon would teach a model most: it is unsure of "
        "them, and they look like much of the scene. Each is a small square without a class. Fill "
        "the class in, or delete the square, and train on the layer: the polygons that were drawn "
        "before are copied into it."
    )

    def add_parameters(self) -> None:
        self.add(QgsProcessingParameterRasterLayer("SCENE", "Scene"))
        self.add_model()
        self.add(
            QgsProcessingParameterFeatureSource(
                "POLYGONS",
                "Polygons drawn so far",
                [QgsProcessing.TypeVectorPolygon],
                optional=True,
            ),
            "They are copied, and not suggested again.",
        )
        self.add(
            QgsProcessingParameterField(
                "FIELD", "Column with the class", "class", "POLYGONS", optional=True
            )
        )
        self.add(
            QgsProcessingParameterNumber("COUNT", "How many places", defaultValue=10, minValue=1)
        )
        self.add(QgsProcessingParameterVectorDestination("OUTPUT", "Places"))

    def arguments(self, form: Form) -> list[str]:
        words = [form.raster("SCENE"), "--out", form.out(), "--overwrite"]
        for model in form.model():
            words += ["--model", model]
        if form.has("POLYGONS"):
            field = form.text("FIELD") or "class"
            words += ["--labels", form.vector("POLYGONS", only=field), "--class-field", field]
        return [*words, "--count", str(form.whole("COUNT"))]


def _model_file(form: Form) -> Path:
    out = Path(form.file())
    # QGIS names temporary files after the first suffix that it can make out.
    return out if out.suffix == ".safetensors" else out.with_suffix(".safetensors")


def was_stopped(out: Path) -> bool:
    """Whether a training of this model began and did not end: its run is newer than the file."""
    begun = out.with_suffix(".run") / "run.json"
    if not begun.is_file():
        return False
    return not out.is_file() or begun.stat().st_mtime > out.stat().st_mtime
