"""`QGIS_PYTHON look_at_layers.py FOLDER LAYER...`: what QGIS makes of files that are dropped on it.

Run by the Python that QGIS belongs to, which need not have hyseg. Loads each LAYER, a raster or a
vector file, with the style that QGIS itself finds for it, draws it into FOLDER, and prints as JSON
what the legend would show.
"""

import json
import sys
from pathlib import Path

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def load(path):
    name = Path(path).stem
    if path.endswith(".tif"):
        return QgsRasterLayer(path, name)
    return QgsVectorLayer(path, name, "ogr")


def classes_of(renderer):
    """Value, label, colour and opacity of each entry of the legend."""
    if renderer.type() == "paletted":
        return [[c.value, c.label, c.color.name(), c.color.alpha()] for c in renderer.classes()]
    if renderer.type() == "categorizedSymbol":
        return [
            [c.value(), c.label(), c.symbol().color().name(), c.symbol().color().alpha()]
            for c in renderer.categories()
        ]
    return []


def draw(layer, path):
    """As large as the raster, or 400 pixels; without smoothing, so that colours are exact."""
    extent = layer.extent()
    width, height = 400, max(1, round(400 * extent.height() / extent.width()))
    if isinstance(layer, QgsRasterLayer):
        width, height = layer.width(), layer.height()
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(extent)
    settings.setOutputSize(QSize(width, height))
    settings.setBackgroundColor(QColor(255, 255, 255, 0))
    settings.setFlag(QgsMapSettings.Antialiasing, False)
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    errors = [error.message for error in job.errors()]
    job.renderedImage().save(str(path), "PNG")
    return errors


def look(path, number, folder):
    layer = load(path)
    if not layer.isValid():
        return {"layer": path, "valid": False}
    picture = folder / f"layer{number}.png"
    found = {
        "layer": path,
        "valid": True,
        "renderer": layer.renderer().type(),
        "classes": classes_of(layer.renderer()),
        "crs": layer.crs().authid(),
        "errors": draw(layer, picture),
        "picture": str(picture),
    }
    if isinstance(layer, QgsRasterLayer):
        provider = layer.dataProvider()
        bands = range(1, layer.bandCount() + 1)
        found["bands"] = [layer.bandName(band) for band in bands]
        found["scales"] = [provider.bandScale(band) for band in bands]
    else:
        found["features"] = layer.featureCount()
    return found


def main():
    folder, paths = Path(sys.argv[1]), sys.argv[2:]
    application = QgsApplication([], False)
    application.initQgis()
    looks = [look(path, number, folder) for number, path in enumerate(paths)]
    print(json.dumps({"version": Qgis.QGIS_VERSION, "layers": looks}))
    application.exitQgis()


if __name__ == "__main__":
    main()
