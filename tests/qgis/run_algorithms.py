"""`QGIS_PYTHON run_algorithms.py FOLDER < JOBS`: algorithms of the plugin in FOLDER.

Run by the Python that QGIS belongs to, which need not have hyseg. JOBS is a JSON list of objects:
`algorithm`, `parameters`, and if need be `cancel_after` (seconds), `environment`, `setting` (path
of hyseg), `load` (outputs to load into the project), `layers` (parameters whose value is a layer
that was never saved, with its shapes and classes). Prints as JSON what became of each.
"""

import json
import os
import sys
import threading
from pathlib import Path

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsFeature,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProcessingOutputLayerDefinition,
    QgsProject,
    QgsSettings,
    QgsVectorLayer,
)


class Hearing(QgsProcessingFeedback):
    """Keeps all that it is told."""

    def __init__(self):
        super().__init__(False)
        self.told = {"info": [], "warnings": [], "errors": [], "progress": []}
        self.progressChanged.connect(lambda share: self.told["progress"].append(round(share, 1)))

    def pushInfo(self, info):
        self.told["info"].append(info)

    def pushWarning(self, warning):
        self.told["warnings"].append(warning)

    def reportError(self, error, fatalError=False):  # noqa: FBT002
        self.told["errors"].append(error)


def unsaved_layer(made, project):
    """A layer in memory with shapes and classes; of `selected`, those are chosen."""
    uri = f"{made['kind']}?crs={made['crs']}&field={made['field']}:string"
    layer = QgsVectorLayer(uri, "mine", "memory")
    features = []
    for wkt, name in made["shapes"]:
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromWkt(wkt))
        feature.setAttribute(made["field"], name)
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    project.addMapLayer(layer)
    if "selected" in made:
        layer.selectByExpression(made["selected"])
        return QgsProcessingFeatureSourceDefinition(layer.id(), True)
    return layer.id()


def describe(layer):
    found = {"name": layer.name(), "valid": layer.isValid(), "source": layer.source()}
    renderer = layer.renderer()
    found["renderer"] = renderer.type()
    if renderer.type() == "paletted":
        found["classes"] = [[c.value, c.label, c.color.name()] for c in renderer.classes()]
    elif renderer.type() == "categorizedSymbol":
        found["classes"] = [[c.value(), c.symbol().color().name()] for c in renderer.categories()]
    if isinstance(layer, QgsVectorLayer):
        found["features"] = layer.featureCount()
        found["forms"] = {
            field.name(): layer.editorWidgetSetup(index).config()
            for index, field in enumerate(layer.fields())
            if layer.editorWidgetSetup(index).type() == "ValueMap"
        }
    return found


def run(job, registry):
    from processing.gui.Postprocessing import handleAlgorithmResults

    os.environ.update(job.get("environment", {}))
    QgsSettings().setValue("Processing/Configuration/HYSEG_PROGRAM", job.get("setting", ""))
    project, context, hearing = QgsProject.instance(), QgsProcessingContext(), Hearing()
    context.setProject(project)
    before = set(project.mapLayers())
    algorithm = registry.createAlgorithmById(job["algorithm"])
    parameters = dict(job["parameters"])
    for name, made in job.get("layers", {}).items():
        parameters[name] = unsaved_layer(made, project)
    before |= set(project.mapLayers())
    can, why = algorithm.canExecute()
    fits, misfit = algorithm.checkParameterValues(parameters, context)
    hints = algorithm.parameterDefinition("MODEL")
    told = {
        "can": can, "why": why, "fits": fits, "misfit": misfit,
        "models": hints.metadata()["widget_wrapper"]["value_hints"] if hints else None,
    }  # fmt: skip
    for name in job.get("load") or ():
        # As the form does it that has "Open output file after running algorithm" ticked.
        parameters[name] = QgsProcessingOutputLayerDefinition(parameters[name], project)
    if "cancel_after" in job:
        threading.Timer(job["cancel_after"], hearing.cancel).start()
    try:
        results, done = algorithm.run(parameters, context, hearing)
    except QgsProcessingException as error:
        results, done = {}, False
        hearing.told["errors"].append(str(error))
    if done:
        handleAlgorithmResults(algorithm, context, hearing, False, parameters)
    layers = [layer for key, layer in project.mapLayers().items() if key not in before]
    return {
        **told, **hearing.told, "done": done, "results": results,
        "layers": [describe(layer) for layer in layers],
    }  # fmt: skip


def main():
    sys.path[:0] = [sys.argv[1], str(Path(QgsApplication.pkgDataPath()) / "python" / "plugins")]
    application = QgsApplication([], True)
    application.initQgis()
    sys.path.append(str(Path(QgsApplication.pkgDataPath()) / "python" / "plugins"))
    from processing.core.Processing import Processing

    Processing.initialize()
    from hyseg_qgis import classFactory

    plugin = classFactory(None)
    plugin.initProcessing()
    registry = QgsApplication.processingRegistry()
    algorithms = sorted(a.id() for a in registry.providerById("hyseg").algorithms())
    told = [run(job, registry) for job in json.load(sys.stdin)]
    plugin.unload()
    print(json.dumps({"version": Qgis.QGIS_VERSION, "algorithms": algorithms, "jobs": told}))
    sys.stdout.flush()
    os._exit(0)  # what QGIS takes apart at its end is not what is asked here


if __name__ == "__main__":
    main()
