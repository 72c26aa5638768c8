"""`qgis --code ten_minutes.py`: what the page "hyseg in QGIS in ten minutes" says, by a script.

It stands in for the hand: in the window of QGIS it loads a scene, draws polygons into a layer that
is never saved, runs the algorithms of the toolbox one after the other, and takes pictures. The
variable TEN_MINUTES is a folder with scene.tif and polygons.json (a class and a ring of map
coordinates each); pictures, the project and told.json come there.
"""

import json
import os
import time
import traceback
from pathlib import Path

from qgis.core import (
    QgsApplication,
    QgsCategorizedSymbolRenderer,
    QgsFeature,
    QgsFillSymbol,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsRasterLayer,
    QgsRendererCategory,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QTimer
from qgis.PyQt.QtWidgets import QApplication, QDockWidget, QTreeView
from qgis.utils import iface

FOLDER = Path(os.environ["TEN_MINUTES"])
COLORS = {
    "building": "#e31a1c", "field": "#ffd92f", "grass": "#66e066", "road": "#ffffff",
    "trees": "#008837", "water": "#2b83ff",
}  # fmt: skip
told = {"seconds": {}, "layers": {}, "texts": {}}


def settle(seconds):
    """Let QGIS draw."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.02)


def take(widget, name):
    iface.mapCanvas().refresh()
    settle(4)
    widget.grab().save(str(FOLDER / f"{name}.png"))


def arrange(window):
    """The toolbox beside the map, with the group of hyseg open."""
    window.resize(1400, 900)
    for dock in window.findChildren(QDockWidget):
        if dock.objectName() == "ProcessingToolbox":
            dock.show()
            dock.setFloating(False)
        elif dock.objectName() != "Layers":
            dock.hide()
    settle(2)
    toolbox = window.findChild(QDockWidget, "ProcessingToolbox")
    tree = toolbox.findChildren(QTreeView)[0]
    model = tree.model()
    for row in range(model.rowCount()):
        index = model.index(row, 0)
        if "hyseg" in (index.data() or ""):
            tree.expand(index)
            for below in range(model.rowCount(index)):
                tree.expand(model.index(below, 0, index))
            tree.scrollTo(index, QTreeView.PositionAtTop)


def draw(scene):
    """A temporary scratch layer with polygons, as they are drawn."""
    layer = QgsVectorLayer(
        f"Polygon?crs={scene.crs().authid()}&field=class:string", "polygons", "memory"
    )
    QgsProject.instance().addMapLayer(layer)
    layer.startEditing()
    for name, ring in json.loads((FOLDER / "polygons.json").read_text()):
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromPolygonXY([[QgsPointXY(*point) for point in ring]]))
        feature["class"] = name
        layer.addFeature(feature)
    layer.commitChanges()
    categories = []
    for name, color in COLORS.items():
        symbol = QgsFillSymbol.createSimple({"color": color, "outline_color": "black"})
        symbol.setOpacity(0.65)
        categories.append(QgsRendererCategory(name, symbol, name))
    layer.setRenderer(QgsCategorizedSymbolRenderer("class", categories))
    return layer


def form(name, values, window):
    """A picture of the form of an algorithm, filled in."""
    from processing.gui.AlgorithmDialog import AlgorithmDialog

    algorithm = QgsApplication.processingRegistry().createAlgorithmById(f"hyseg:{name}")
    dialog = AlgorithmDialog(algorithm, False, window)
    dialog.setParameters(values)
    dialog.resize(1000, 640)
    dialog.show()
    take(dialog, name)
    dialog.close()


def run(name, values):
    """Run an algorithm as its form does; the layers that it adds to the project, by name."""
    import processing

    project = QgsProject.instance()
    before, began = set(project.mapLayers()), time.monotonic()
    results = processing.runAndLoadResults(f"hyseg:{name}", values)
    told["seconds"][name] = round(time.monotonic() - began, 1)
    told["texts"][name] = {key: str(value) for key, value in results.items()}
    settle(1)
    return {layer.name(): layer for key, layer in project.mapLayers().items() if key not in before}


def only(found, role):
    """The one layer that an algorithm added, which is told under what it is."""
    ((name, layer),) = found.items()
    told["layers"][role] = {
        "name": name,
        "valid": layer.isValid(),
        "source": layer.source(),
        "renderer": layer.renderer().type(),
    }
    return layer


def walk():
    window, project = iface.mainWindow(), QgsProject.instance()
    scene = QgsRasterLayer(str(FOLDER / "scene.tif"), "scene")
    project.addMapLayer(scene)
    polygons = draw(scene)
    arrange(window)
    iface.mapCanvas().setExtent(scene.extent())
    take(window, "polygons")
    model = str(FOLDER / "fields.safetensors")
    training = {
        "SCENE": scene.id(), "POLYGONS": polygons.id(), "FIELD": "class", "MODEL": "default",
    }  # fmt: skip
    form("trainonpolygons", {**training, "OUTPUT": "/home/me/fields.safetensors"}, window)
    run("trainonpolygons", {**training, "OUTPUT": model})
    tree = project.layerTreeRoot()
    places = only(run("suggestwheretodraw", {
        "SCENE": scene.id(), "MODEL_FILE": model, "POLYGONS": polygons.id(), "FIELD": "class",
        "COUNT": 5, "OUTPUT": "TEMPORARY_OUTPUT",
    }), "places")  # fmt: skip
    told["layers"]["places"]["features"] = places.featureCount()
    told["layers"]["places"]["drawn"] = polygons.featureCount()
    tree.findLayer(places.id()).setItemVisibilityChecked(False)
    tree.findLayer(polygons.id()).setItemVisibilityChecked(False)
    land = only(run("mapscene", {
        "SCENE": scene.id(), "MODEL_FILE": model, "OUTPUT": str(FOLDER / "landcover.tif"),
    }), "map")  # fmt: skip
    told["layers"]["map"]["classes"] = [
        [entry.label, entry.color.name()] for entry in land.renderer().classes()
    ]
    take(window, "map")
    shapes = only(run("maptopolygons", {
        "MAP": land.id(), "MMU": 25, "SMOOTH": True, "SIMPLIFY": 0.6,
        "OUTPUT": "TEMPORARY_OUTPUT",
    }), "polygons")  # fmt: skip
    told["layers"]["polygons"]["features"] = shapes.featureCount()
    shapes.setOpacity(0.5)
    tree.findLayer(land.id()).setItemVisibilityChecked(False)
    extent = scene.extent()
    extent.scale(0.5)
    iface.mapCanvas().setExtent(extent)
    take(window, "result")
    run("facts", {"RASTER": land.id(), "MODEL": "default", "OUTPUT": str(FOLDER / "facts.html")})
    project.write(str(FOLDER / "fields.qgz"))


def go():
    try:
        walk()
    except BaseException:  # noqa: BLE001 - whatever it is, it is told and QGIS ends
        told["error"] = traceback.format_exc()
    (FOLDER / "told.json").write_text(json.dumps(told))
    # What QGIS asks before it ends, such as whether to save, waits for a hand.
    os._exit(0)


QTimer.singleShot(4000, go)
